"""How a forward is held to a definition: exact values in 50 digits, and what is allowed.

A definition works on numbers of mpmath and gives the terms whose sum is the value. The unit of
an error is the sum of the terms without their signs: where terms truly cancel, no float formula
is good to more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import mpmath as mp
import numpy as np

from tinyvae.errors import ShapeError

Forward: TypeAlias = Callable[..., np.ndarray]
Oracle: TypeAlias = Callable[[Forward], None]
Shape: TypeAlias = tuple[int, ...]

ROUNDINGS = 16  # of the dtype's epsilon: a rounding or two for every step of a formula


class Exact(NamedTuple):
    """True values, and the unit in which an error counts at each."""

    values: np.ndarray
    units: np.ndarray


def rounded(cells: Iterable[Any], shape: Shape) -> Exact:
    """Every cell's terms, or its one number, summed exactly and then rounded once."""
    rows = [cell if isinstance(cell, tuple) else (cell,) for cell in cells]
    values = [float(mp.fsum(terms)) for terms in rows]
    units = [float(mp.fsum(map(abs, terms))) for terms in rows]
    return Exact(np.array(values).reshape(shape), np.array(units).reshape(shape))


def holds(definition: Callable[..., Exact], *inputs: np.ndarray, **options: Any) -> Oracle:
    """The oracle that a forward has the values of ``definition`` at these inputs."""

    @cache
    def exact() -> Exact:
        with mp.workdps(50):
            return definition(*inputs, **options)

    def oracle(forward: Forward) -> None:
        value = value_of(forward, *inputs, **options)
        assert str(value.dtype) == options.get("dtype", str(inputs[0].dtype)), value.dtype
        assert_near(value, exact())

    oracle.__doc__ = f"{[x.shape for x in inputs]} {options or ''}"
    return oracle


def value_of(forward: Forward, *inputs: np.ndarray, **options: Any) -> np.ndarray:
    """The value; the forward must leave its inputs alone and give no view of them.

    Nor may it overflow on the way, even where the result does not show it.
    """
    given = [x.copy() for x in inputs]
    with np.errstate(over="raise", divide="raise", invalid="raise", under="ignore"):
        try:
            value = np.asarray(forward(*given, **options))
        except FloatingPointError as error:
            raise AssertionError(f"{error}, at numbers that have a value") from error
    for x, before in zip(given, inputs, strict=True):
        assert np.array_equal(x, before, equal_nan=True), "the forward changed its input"
        assert not np.shares_memory(x, value), "the value is a view of the input"
    return value.copy()


def assert_near(value: np.ndarray, exact: Exact) -> None:
    """All within `ROUNDINGS` of the exact values; a shape that only broadcasts is wrong."""
    assert value.shape == exact.values.shape, (value.shape, exact.values.shape)
    limits = np.finfo(value.dtype)
    with np.errstate(all="ignore"):
        errors = np.abs(value - exact.values)
    errors = np.where(value == exact.values, 0, errors)  # two equal infinities
    wrong = ~(errors <= ROUNDINGS * limits.eps * exact.units + limits.tiny)
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size} wrong, the first {value[wrong][0]!r} "
        f"where {exact.values[wrong][0]!r} is true"
    )


def refuses(*shapes: Shape) -> Oracle:
    """The oracle that arrays of these shapes are refused, rather than broadcast."""

    def oracle(forward: Forward) -> None:
        try:
            forward(*map(np.zeros, shapes))
        except ShapeError:
            return
        raise AssertionError(f"arrays of shapes {shapes} are taken")

    oracle.__doc__ = f"{shapes} do not fit"
    return oracle


def number_at(x: np.ndarray, index: Shape) -> Any:
    """The exact number that broadcasting takes from ``x`` for an index of the whole."""
    own = index[len(index) - x.ndim :]
    return mp.mpf(float(x[tuple(0 if n == 1 else i for i, n in zip(own, x.shape, strict=True))]))


def common_shape(*shapes: Shape) -> Shape:
    """The longest of the axes that lie over one another, counted from the last."""
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    return tuple(max(lengths) for lengths in zip(*padded, strict=True))


def of_numbers(definition: Callable[..., Any], *xs: np.ndarray, **options: Any) -> Exact:
    """A definition of single numbers, element by element."""
    shape = common_shape(*(x.shape for x in xs))
    cells = [
        definition(*(number_at(x, index) for x in xs), **options) for index in np.ndindex(shape)
    ]
    return rounded(cells, shape)


def elementwise(definition: Callable[..., Any], *inputs: np.ndarray, **options: Any) -> Oracle:
    """`holds` for a definition of single numbers."""
    return holds(partial(of_numbers, definition), *inputs, **options)
