"""Tensors, ops, the derivations the project is about, and the check of every gradient."""

from tinyvae.autograd import derivations, ops
from tinyvae.autograd.gradcheck import GradientReport, gradcheck
from tinyvae.autograd.lift import no_grad, op, trace_non_finite
from tinyvae.autograd.tensor import OPS, Tensor

__all__ = [
    "OPS",
    "GradientReport",
    "Tensor",
    "derivations",
    "gradcheck",
    "no_grad",
    "op",
    "ops",
    "trace_non_finite",
]
