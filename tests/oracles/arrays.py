"""Oracles of matrix products and of changes of shape: index by index, in loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mpmath as mp
import numpy as np

from oracles.measure import (
    Exact,
    Oracle,
    Shape,
    common_shape,
    holds,
    number_at,
    refuses,
    rounded,
)

RNG = np.random.default_rng(1)
X = RNG.normal(size=(2, 3, 4)) * 2
Y = RNG.normal(size=(2, 3, 4)) * 2
SINGLE = X.astype("float32")


def filled(shape: Shape, cell: Callable[..., Any]) -> Exact:
    """An array of which every cell is given by a function of its index."""
    return rounded([cell(*index) for index in np.ndindex(shape)], shape)


# Products


def product(a: np.ndarray, b: np.ndarray) -> Exact:
    """Every row of a with every column of b: the sum over the axis that they share."""
    lead = common_shape(a.shape[:-2], b.shape[:-2])
    shape = (*lead, *a.shape[-2:-1], *(b.shape[-1:] if b.ndim > 1 else ()))

    def cell(*index: int) -> tuple[Any, ...]:
        batch, own = index[: len(lead)], index[len(lead) :]
        i, j = own[: a.ndim > 1], own[len(own) - (b.ndim > 1) :]
        return tuple(
            number_at(a, ((*batch, *i) if a.ndim > 1 else ()) + (k,))
            * number_at(b, (*batch, k, *j) if b.ndim > 1 else (k,))
            for k in range(a.shape[-1])
        )

    return filled(shape, cell)


PRODUCTS = (
    ((2, 3), (3, 4)),
    ((3,), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((2, 3, 4), (2, 4, 5)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 3)),
    ((3, 3), (3, 3)),
)


def affine_terms(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> Callable[..., Any]:
    """Example n, output o: the bias of o and the inputs times their weights."""

    def cell(n: int, o: int) -> tuple[Any, ...]:
        inputs = range(x.shape[1])
        terms = [number_at(x, (n, i)) * number_at(weight, (i, o)) for i in inputs]
        return number_at(bias, (o,)), *terms

    return cell


def affine(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> Exact:
    """The sums of the terms."""
    return filled((x.shape[0], weight.shape[1]), affine_terms(x, weight, bias))


def affine_relu(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> Exact:
    """The same where they are above 0, and 0 elsewhere."""
    terms = affine_terms(x, weight, bias)

    def cell(n: int, o: int) -> Any:
        return terms(n, o) if mp.fsum(terms(n, o)) > 0 else 0

    return filled((x.shape[0], weight.shape[1]), cell)


NOT_AFFINE = (
    ((3,), (3, 4), (4,)),
    ((2, 3, 4), (4, 5), (5,)),
    ((2, 3), (3,), ()),
    ((2, 3), (3, 4), (1,)),
    ((2, 3), (3, 4), ()),
    ((2, 3), (3, 1), (2, 1)),
    ((3, 3), (5, 3, 4), (3, 4)),
)


def drawn(*shapes: Shape) -> Iterator[np.ndarray]:
    """Arrays of random numbers."""
    return (RNG.normal(size=shape) for shape in shapes)


# Shapes


def reshaped(true: Shape, x: np.ndarray, shape: Any) -> Exact:
    """The elements in row-major order, in the ``true`` shape that the option stands for."""
    return rounded([number_at(x, index) for index in np.ndindex(x.shape)], true)


def transposed(x: np.ndarray, axes: Any = None) -> Exact:
    """Axis k of the result is axis axes[k] of ``x``."""
    order = [k % x.ndim for k in axes] if axes else list(range(x.ndim))[::-1]
    shape = tuple(x.shape[k] for k in order)
    return filled(
        shape, lambda *index: number_at(x, tuple(index[order.index(k)] for k in range(x.ndim)))
    )


def broadcast(x: np.ndarray, shape: Shape) -> Exact:
    """The index of the whole with 0 for every axis of length 1, and without those in front."""
    return filled(shape, lambda *index: number_at(x, index))


def same(x: np.ndarray, dtype: str) -> Exact:
    """The same numbers; an error of one rounding is allowed."""
    return filled(x.shape, lambda *index: number_at(x, index))


def joined(*xs: np.ndarray, axis: int = 0) -> Exact:
    """Along the axis first all of the first, then all of the second, and so on."""
    k = axis % xs[0].ndim
    owners = [(x, i) for x in xs for i in range(x.shape[k])]
    shape = (*xs[0].shape[:k], len(owners), *xs[0].shape[k + 1 :])

    def cell(*index: int) -> Any:
        x, i = owners[index[k]]
        return number_at(x, (*index[:k], i, *index[k + 1 :]))

    return filled(shape, cell)


def stacked(*xs: np.ndarray, axis: int = 0) -> Exact:
    """The new axis says which of the inputs."""
    k = axis % (xs[0].ndim + 1)
    shape = (*xs[0].shape[:k], len(xs), *xs[0].shape[k:])
    return filled(shape, lambda *i: number_at(xs[i[k]], (*i[:k], *i[k + 1 :])))


def picked(pick: Callable[[Any], Any], x: np.ndarray, index: Any) -> Exact:
    """The same elements, picked out of nested lists."""
    values = np.array(pick(x.tolist()))
    return Exact(values, abs(values))


MASK = np.array(
    [[[(3 * i + j + k) % 3 == 0 for k in range(4)] for j in range(3)] for i in range(2)]
)
PICKS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (1, lambda x: x[1]),
    (-1, lambda x: x[1]),
    ((0, 2, 3), lambda x: x[0][2][3]),
    ((0, -1), lambda x: x[0][2]),
    (slice(None, None, -1), lambda x: [x[1], x[0]]),
    ((slice(None), slice(1, 3)), lambda x: [[row[1], row[2]] for row in x]),
    ((0, slice(None), slice(None, None, 2)), lambda x: [[row[0], row[2]] for row in x[0]]),
    ((..., 0), lambda x: [[row[0] for row in rows] for rows in x]),
    ((None, 1), lambda x: [x[1]]),
    ([1, 0, 1], lambda x: [x[1], x[0], x[1]]),
    (np.array([[0, 1], [1, 1]]), lambda x: [[x[0], x[1]], [x[1], x[1]]]),
    ((0, [2, 0, 0], [1, 1, 3]), lambda x: [x[0][2][1], x[0][0][1], x[0][0][3]]),
    ((slice(None), [2, 0], [1, 1]), lambda x: [[rows[2][1], rows[0][1]] for rows in x]),
    ((slice(None), [False, True, True]), lambda x: [[rows[1], rows[2]] for rows in x]),
    (
        MASK,
        lambda x: [x[i][j][k] for i, j, k in np.ndindex(2, 3, 4) if MASK[i, j, k]],
    ),
)
RESHAPES = (
    ((4, 6), (4, 6)),
    ((4, -1), (4, 6)),
    (((6, 4),), (6, 4)),
    ((24,), (24,)),
    ((2, 3, 4), (2, 3, 4)),
)
JOINS = (((2, 3), 0), ((2, 3), 1), ((2, 3), -1), ((3,), 0))

ARRAYS: dict[str, tuple[Oracle, ...]] = {
    "matmul": tuple(holds(product, *drawn(a, b)) for a, b in PRODUCTS),
    "affine": (
        *(holds(affine, *drawn((b, i), (i, o), (o,))) for b, i, o in ((2, 3, 4), (3, 3, 3))),
        *(refuses(*shapes) for shapes in NOT_AFFINE),
    ),
    "affine_relu": (
        *(holds(affine_relu, *drawn((b, i), (i, o), (o,))) for b, i, o in ((2, 3, 4), (3, 3, 3))),
        *(refuses(*shapes) for shapes in NOT_AFFINE),
    ),
    "reshape": tuple(holds(partial(reshaped, true), X, shape=shape) for shape, true in RESHAPES),
    "transpose": (
        *(holds(transposed, x) for x in (X, X[0], X[0, 0])),
        *(
            holds(transposed, X, axes=axes)
            for axes in ((1, -1, 0), (0, 2, 1), (2, 0, 1), (0, 1, 2))
        ),
    ),
    "broadcast_to": tuple(
        holds(broadcast, x, shape=shape)
        for x, shape in (
            (X[:, :1], (5, 2, 3, 4)),
            (X[0, 0], (2, 4)),
            (X, (2, 3, 4)),
            (X[0, :, :1], (3, 3)),
        )
    ),
    "astype": tuple(
        holds(same, x, dtype=dtype) for x in (X, SINGLE) for dtype in ("float32", "float64")
    ),
    "getitem": tuple(holds(partial(picked, pick), X, index=index) for index, pick in PICKS),
    "concatenate": (
        *(holds(joined, *drawn(shape, shape, shape), axis=axis) for shape, axis in JOINS),
        holds(joined, *drawn((1, 3), (2, 3))),
        holds(joined, *drawn((2, 1, 2), (2, 4, 2), (2, 2, 2)), axis=-2),
        holds(joined, SINGLE),
    ),
    "stack": (
        *(holds(stacked, X, Y, axis=axis) for axis in (0, 1, 2, 3, -1, -2)),
        holds(stacked, *drawn((3,), (3,), (3,))),
        holds(stacked, SINGLE),
    ),
}
