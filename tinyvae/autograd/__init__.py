"""Tensors, ops, and the derivations the project is about."""

from tinyvae.autograd import densities, derivations, ops
from tinyvae.autograd.lift import no_grad, op, trace_non_finite
from tinyvae.autograd.replay import Replay
from tinyvae.autograd.tensor import OPS, Tensor

DERIVATIONS = {
    name: function
    for module in (derivations, densities)
    for name, function in vars(module).items()
    if hasattr(function, "bare")
}
"""The derivations by name: the ops that have a probability, a sample or a divergence for value."""

__all__ = [
    "DERIVATIONS",
    "OPS",
    "Replay",
    "Tensor",
    "densities",
    "derivations",
    "no_grad",
    "op",
    "ops",
    "trace_non_finite",
]
