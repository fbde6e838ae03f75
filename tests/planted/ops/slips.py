"""Slips that any op can have: in a pullback, whatever it computes, or in the value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from planted.ops.error import Op, Planted, calls, many, right_outcome
from tinyvae.autograd import OPS

Array: TypeAlias = np.ndarray
Pullback: TypeAlias = Callable[[Array], Array]
Slip: TypeAlias = Callable[[Array, Pullback, Array], Any]
"""From the upstream gradient, the right pullback and its input to a wrong gradient."""


def one_changed(x: Array, factor: float, like: Array | None = None) -> Array:
    """A copy with one element multiplied: where ``like``, or the array itself, is largest."""
    like = np.abs(x if like is None else like)
    x = np.array(x)
    x[np.unravel_index(like.argmax(), like.shape)] *= factor
    return x


def one_off(factor: float) -> Slip:
    """One element of the gradient multiplied, the same one whatever the upstream."""
    return lambda g, right, x: one_changed(right(g), factor, right(np.ones_like(g)))


def next_row(x: Array) -> Array:
    """Every row in the place of the one before it; a number as it is."""
    return np.roll(x, 1, axis=0) if np.ndim(x) else x


def spoiled(array: Array, result: Any) -> Any:
    """``result``, after the array has been changed in place."""
    array *= 1.5
    return result


SLIPS: dict[str, tuple[str, Slip]] = {
    "the sign flipped": ("sign", lambda g, right, x: -right(g)),
    "twice the gradient": ("factor", lambda g, right, x: 2 * right(g)),
    "half the gradient": ("factor", lambda g, right, x: right(g) / 2),
    "a gradient of zero": ("zero", lambda g, right, x: 0 * right(g)),
    "divided by the number of elements": ("factor", lambda g, right, x: right(g) / (x.size + 1)),
    "the upstream ignored": ("upstream", lambda g, right, x: right(np.ones_like(g))),
    "the upstream squared": ("upstream", lambda g, right, x: right(g * g)),
    "only the upstream's sign": ("upstream", lambda g, right, x: right(np.sign(g))),
    "the upstream averaged": ("upstream", lambda g, right, x: right(g * 0 + np.mean(g))),
    "a constant added": ("upstream", lambda g, right, x: right(g) + 1),
    "the upstream's square added": ("linear", lambda g, right, x: right(g) + right(g * g) / 1000),
    "one element 0.1% off": ("element", one_off(1.001)),
    "one element left at zero": ("element", one_off(0)),
    "one element's sign flipped": ("element", one_off(-1)),
    "the elements in reverse": ("", lambda g, right, x: right(g).ravel()[::-1].reshape(x.shape)),
    "the rows moved by one": (
        "permuted",
        lambda g, right, x: np.roll(right(g), 1, 0 if x.ndim else None),
    ),
    "transposed": ("transposed", lambda g, right, x: right(g).T),
    "of two decimals": ("", lambda g, right, x: np.round(right(g), 2)),
    "everything 0.001% off": ("factor", lambda g, right, x: right(g) * (1 + 1e-5)),
    "the upstream changed in place": ("changed", lambda g, right, x: spoiled(g, right(g.copy()))),
    "its input changed in place": ("changed", lambda g, right, x: spoiled(x, right(g))),
    "noise in the gradient": (
        "deterministic",
        lambda g, right, x: right(g) * np.random.default_rng().normal(1, 1e-3, x.shape),
    ),
    "nothing returned": ("error", lambda g, right, x: None),
    "an axis too many": ("error", lambda g, right, x: np.asarray(right(g))[None]),
    "in float32": ("error", lambda g, right, x: np.asarray(right(g), "float32")),
    "not a number": ("error", lambda g, right, x: right(g) * np.nan),
}
"""What is wrong: the usual slip that it is, and the gradient."""


def with_slip(op: str, argument: int, slip: Slip) -> Op:
    """The op with the slip in one of its pullbacks."""

    def function(*inputs: Array, **options: Any) -> tuple[Any, Any]:
        value, pullbacks = OPS[op].bare(*inputs, **options)
        changed = list(many(pullbacks))
        k = argument % len(changed)
        right, x = changed[k], inputs[k]
        changed[k] = lambda g: slip(g, right, x)
        return value, tuple(changed)

    return function


def sloping(op: str) -> list[int]:
    """The arguments whose gradient is not 0 everywhere, where twice as much would be right too."""
    gradients = [right_outcome(op, call)[1:] for call in calls(op)]
    return [k for k, found in enumerate(zip(*gradients, strict=False)) if any(map(np.any, found))]


def wrong_pullbacks(op: str) -> Iterator[Planted]:
    """Every slip, in turn in each argument that the value depends on smoothly."""
    arguments = sloping(op)
    for number, (label, (diagnosis, slip)) in enumerate(SLIPS.items()):
        k = arguments[number % len(arguments)]
        yield Planted(
            f"{op}: {label}, argument {k}", op, "pullback", with_slip(op, k, slip), diagnosis
        )
