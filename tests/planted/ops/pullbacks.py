"""Wrong gradients that people derive or type: the usual slips of each op and derivation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from planted.ops.error import Op, Planted, many
from tinyvae.autograd import OPS

Gradient: TypeAlias = Callable[..., Any]
"""From the upstream gradient, the inputs and the options to a wrong gradient."""
Entry: TypeAlias = tuple[int, str, str, Gradient]
"""The argument, what is wrong, the usual slip that it is, and the gradient."""


def one_way(g: np.ndarray, like: np.ndarray, reduce: Callable[..., Any]) -> np.ndarray:
    """``g`` brought to a broadcast input's shape, but not by its sum."""
    lead = tuple(range(g.ndim - like.ndim))
    g = reduce(g, axis=lead) if lead else g
    stretched = tuple(k for k, n in enumerate(like.shape) if n == 1 < g.shape[k])
    return reduce(g, axis=stretched, keepdims=True) if stretched else g


def first(g: np.ndarray, axis: Any, keepdims: bool = False) -> np.ndarray:
    """The first along the axes, where the sum is wanted."""
    for k in reversed(axis):
        g = g.take([0] if keepdims else 0, axis=k)
    return g


def with_gradient(op: str, argument: int, gradient: Gradient) -> Op:
    """The op with the pullback of one argument replaced."""

    def function(*inputs: np.ndarray, **options: Any) -> tuple[Any, Any]:
        value, pullbacks = OPS[op].bare(*inputs, **options)
        changed = list(many(pullbacks))
        changed[argument] = lambda g: gradient(g, *inputs, **options)
        return value, tuple(changed)

    return function


def wrong_gradients(op: str, entries: list[Entry]) -> Iterator[Planted]:
    """The ops with each of these gradients."""
    for argument, label, diagnosis, gradient in entries:
        name = f"{op}: gradient {argument}: {label}"
        yield Planted(name, op, "pullback", with_gradient(op, argument, gradient), diagnosis)
