"""Oracles of reductions and of what works along an axis: the numbers gathered in lists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mpmath as mp
import numpy as np

from oracles.arrays import SINGLE, X, filled
from oracles.measure import Exact, Forward, Oracle, Shape, holds, number_at, refuses, rounded

FAR = np.array([[-1e4, -1e3, 0.0], [1e3, 999, -1e4], [-1e3, -1e3, -999], [7, 700, -700]])

Row = list[Any]


def reduced(
    of: Callable[[Row], Any], x: np.ndarray, axis: Any = None, keepdims: bool = False
) -> Exact:
    """``of`` the list of all numbers that share an index once ``axis`` is left out."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    gone = {k % x.ndim for k in axes}
    rows: dict[Shape, Row] = {}
    for index in np.ndindex(x.shape):
        kept = tuple(0 if k in gone else i for k, i in enumerate(index))
        rows.setdefault(kept, []).append(number_at(x, index))
    lengths = [(1 if k in gone else n, k in gone) for k, n in enumerate(x.shape)]
    shape = tuple(n for n, left_out in lengths if keepdims or not left_out)
    return rounded([of(row) for row in rows.values()], shape)


REDUCTIONS = (
    (X, {}),
    (X, {"keepdims": True}),
    *((X, {"axis": axis}) for axis in (0, 1, 2, -1, -2, (0, 1), (0, -1), (2, 1), (0, 1, 2))),
    *((X, {"axis": axis, "keepdims": True}) for axis in (0, 1, -1, (0, 2), (1, -1))),
    (SINGLE, {"axis": 1}),
    (X[0, 0], {"axis": 0}),
    (X[:, :1], {"axis": 0}),
    (FAR, {"axis": 1}),
    (FAR, {"axis": 0}),
)


def reduction(of: Callable[[Row], Any], default: Any = None) -> tuple[Oracle, ...]:
    """A function of a list of numbers, over every kind of axis."""
    return tuple(holds(partial(over_axis, of, default), x, **options) for x, options in REDUCTIONS)


def over_axis(
    of: Callable[[Row], Any], default: Any, x: np.ndarray, axis: Any = "default", **options: Any
) -> Exact:
    """`reduced`, along the op's own axis where none is named."""
    return reduced(of, x, default if axis == "default" else axis, **options)


def log_sum_exp(row: Row) -> tuple[Any, ...]:
    """log sum e^x, as the largest plus the rest."""
    top = max(row)
    return top, mp.log(mp.fsum(mp.exp(v) for v in row)) - top


def log_mean_exp(row: Row) -> tuple[Any, ...]:
    """log of the mean of e^x, as the largest plus the rest."""
    top = max(row)
    return top, mp.log(mp.fsum(mp.exp(v - top) for v in row) / len(row))


def equal_weights_have_the_bound_of_each(forward: Forward) -> None:
    """The mean of equal numbers is that number, however many there are; and of a 0 less."""
    value = forward(np.array([[-800.0] * 4, [3.0] * 4, [-np.inf, -np.inf, -np.inf, 0.0]]))
    assert value.tolist() == [-800, 3, -np.log(4)]


def what_is_impossible_adds_nothing(forward: Forward) -> None:
    """e^-inf is 0: beside a 0 it changes nothing, and alone its logarithm is -inf."""
    with np.errstate(divide="ignore"):
        value = forward(np.array([[-np.inf, 0.0], [-np.inf, -np.inf]]))
    assert value.tolist() == [0, -np.inf]


def along(of: Callable[[Row, Any], Any], x: np.ndarray, axis: int = -1) -> Exact:
    """``of`` the list of the numbers that lie along ``axis`` with each number, and that number."""

    def cell(*index: int) -> Any:
        k = axis % x.ndim
        row = [number_at(x, (*index[:k], i, *index[k + 1 :])) for i in range(x.shape[k])]
        return of(row, number_at(x, index))

    return filled(x.shape, cell)


def rowwise(of: Callable[[Row, Any], Any]) -> tuple[Oracle, ...]:
    """A function of each number and of those along one axis with it."""
    definition = partial(along, of)
    anywhere = (holds(definition, X, axis=axis) for axis in (0, 1, 2, -1, -3))
    return (
        *anywhere,
        *(holds(definition, x) for x in (X, FAR, X[0, 0], SINGLE)),
        holds(definition, FAR, axis=0),
    )


def softmax(row: Row, x: Any) -> Any:
    """e^x over the sum of e^x."""
    return mp.exp(x) / mp.fsum(mp.exp(v) for v in row)


def log_softmax(row: Row, x: Any) -> tuple[Any, ...]:
    """x less its log-sum-exp."""
    return x, *(-term for term in log_sum_exp(row))


ALONG_AN_AXIS: dict[str, tuple[Oracle, ...]] = {
    "sum": reduction(tuple),
    "mean": (*reduction(lambda row: tuple(v / len(row) for v in row)), refuses((0, 3))),
    "max": reduction(lambda row: sorted(row)[-1]),
    "logsumexp": (*reduction(log_sum_exp, default=-1), what_is_impossible_adds_nothing),
    "importance_bound": (
        *(holds(partial(reduced, log_mean_exp, axis=-1), x) for x in (X, FAR, X[0, 0], SINGLE)),
        *(
            holds(partial(reduced, log_mean_exp, axis=-1), x)
            for x in (X[..., :1], X.swapaxes(1, 2))
        ),
        equal_weights_have_the_bound_of_each,
    ),
    "softmax": rowwise(softmax),
    "log_softmax": rowwise(log_softmax),
}
