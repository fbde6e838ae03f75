"""Tensors, ops, and the derivations the project is about."""

from tinyvae.autograd import derivations, ops
from tinyvae.autograd.lift import no_grad, op, trace_non_finite
from tinyvae.autograd.replay import Replay
from tinyvae.autograd.tensor import OPS, Tensor

__all__ = [
    "OPS",
    "Replay",
    "Tensor",
    "derivations",
    "no_grad",
    "op",
    "ops",
    "trace_non_finite",
]
