"""Functions to be checked: their formulas, their derivatives, and wrong pullbacks beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyvae.autograd import op
from tinyvae.checker import GradientReport
from tinyvae.evaluation.cases import CASES
from tinyvae.noise import Noise

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
TARGETS = RNG.uniform(0.1, 0.9, (3, 4))


class Smooth(NamedTuple):
    """A function of one number, its derivative, and between which numbers to look at it."""

    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    low: float
    high: float


SMOOTH = {
    "exp": Smooth(np.exp, np.exp, -5, 5),
    "log": Smooth(np.log, lambda x: 1 / x, 1e-3, 1e3),
    "sqrt": Smooth(np.sqrt, lambda x: 0.5 / np.sqrt(x), 1e-3, 1e3),
    "tanh": Smooth(np.tanh, lambda x: 1 / np.cosh(x) ** 2, -5, 5),
    "sine": Smooth(np.sin, np.cos, -10, 10),
    "cube": Smooth(lambda x: x**3, lambda x: 3 * x * x, -10, 10),
    "reciprocal": Smooth(lambda x: 1 / x, lambda x: -1 / (x * x), 0.01, 100),
    "arctan": Smooth(np.arctan, lambda x: 1 / (1 + x * x), -10, 10),
    "log1p": Smooth(np.log1p, lambda x: 1 / (1 + x), -0.9, 10),
    "expm1": Smooth(np.expm1, np.exp, -5, 5),
    "softplus": Smooth(lambda x: np.logaddexp(0, x), lambda x: 1 / (1 + np.exp(-x)), -30, 30),
    "bell": Smooth(lambda x: np.exp(-x * x), lambda x: -2 * x * np.exp(-x * x), -4, 4),
    "entropy": Smooth(lambda x: x * np.log(x), lambda x: 1 + np.log(x), 1e-3, 10),
}

LINEAR = (
    *("abs", "add", "astype", "broadcast_to", "concatenate", "getitem", "leaky_relu", "max"),
    *("maximum", "mean", "negative", "relu", "reshape", "stack", "subtract", "sum", "transpose"),
    "uniform_log_likelihood",
)
"""Ops that are linear, or linear on each side of a kink."""


def planted(value: Callable[..., Any], *pullbacks: Callable[..., Any]) -> Callable[..., Any]:
    """An op of arrays with those pullbacks, each of the inputs and g."""

    @op
    def wrong(*xs: Any) -> Any:
        return value(*xs), tuple(lambda g, p=p: p(*xs, g) for p in pullbacks)

    return wrong


def plain(function: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """The function for real numbers alone, so that there is no complex step."""
    return lambda x: function(np.asarray(x, dtype=float))


def drawn(name: str, seed: int) -> list[tuple[Any, ...]]:
    """Every case of an op: its function, and its inputs, drawn from the seed."""
    noise = Noise(seed, name, backend="numpy")
    return [(function, *(draw(noise) for draw in draws)) for function, *draws in CASES[name]]


def verdicts(report: GradientReport) -> list[str]:
    return [argument.verdict for argument in report.arguments]


def fan(n: int) -> np.ndarray:
    """Numbers from -1 to 1, none of them 0, in an order without a pattern."""
    return np.cos(np.arange(1, n + 1) * math.e)
