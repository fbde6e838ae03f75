"""For the tests of other projects: an assertion for pytest, and a strategy for hypothesis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyvae.checker import GradientReport, gradcheck
from tinyvae.errors import MissingExtraError, OptionError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

LENGTHS = (2, 3, 4, 5, 6, 7)
GRID = 1024  # values lie on a grid of so many steps, so that failing ones shrink to simple numbers


def assert_gradients(function: Callable[..., Any], *inputs: Any, **options: Any) -> GradientReport:
    """Fail with the whole report unless every gradient is surely right.

    Parameters
    ----------
    function, *inputs, **options
        As for `tinyvae.gradcheck`.

    Raises
    ------
    AssertionError
        With the report of the check as its message.

    Examples
    --------
    >>> import numpy as np
    >>> report = assert_gradients(np.sin, np.ones(3), pullback=lambda g, x: g * np.cos(x))
    >>> [argument.verdict for argument in report.arguments]
    ['right']
    """
    __tracebackhide__ = True  # pytest shows the line that asserts, not this one
    report = gradcheck(function, *inputs, **options)
    if not report:
        raise AssertionError(f"a gradient is not surely right\n{report}")
    return report


def points(*axes: str, low: float = -3.0, high: float = 3.0) -> SearchStrategy[Any]:
    """A hypothesis strategy for the inputs of a function, as a tuple of float64 arrays.

    Parameters
    ----------
    *axes : str
        For each input a letter for each axis: equal letters have equal lengths, different
        letters different ones, all above 1, so that no wrong shape passes by broadcasting.
        A ``"1"`` is an axis of that length, and ``""`` a number.
    low, high : float
        Between which the values lie; those of one array differ from each other.

    Raises
    ------
    MissingExtraError
        hypothesis is not installed.
    OptionError
        More than six letters; or bounds without a number between them.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(points("bi", "io", "o"))  # rows, weight and bias of a dense layer
    ... def test_shapes_fit(inputs):
    ...     x, weight, bias = inputs
    ...     assert (x @ weight + bias).shape == (len(x), len(bias))
    >>> test_shapes_fit()
    """
    try:
        from hypothesis import strategies as st
        from hypothesis.extra.numpy import arrays
    except ImportError as error:
        raise MissingExtraError(
            "tinyvae.testing.points needs hypothesis: pip install 'tinyvae[testing]'"
        ) from error
    letters = sorted({letter for axis in axes for letter in axis} - {"1"})
    if len(letters) > len(LENGTHS) or not math.isfinite(high - low) or not low < high:
        raise OptionError(
            f"up to {len(LENGTHS)} letters and low < high, not {letters}, {low} and {high}"
        )
    values = st.integers(0, GRID).map(lambda k: low + (high - low) * k / GRID)

    def of_lengths(lengths: list[int]) -> SearchStrategy[Any]:
        length = dict(zip(letters, lengths, strict=False)) | {"1": 1}
        shapes = [tuple(length[letter] for letter in axis) for axis in axes]
        return st.tuples(
            *(arrays(np.float64, shape, elements=values, unique=True) for shape in shapes)
        )

    return st.permutations(LENGTHS).flatmap(of_lengths)
