"""Oracles of the ops that work on single numbers, and of arithmetic with its broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np

from oracles.measure import Oracle, elementwise

RNG = np.random.default_rng(0)
SMALL = np.array([0.0, -0.0, 1e-300, -1e-300, 1e-8, -1e-8, 1e-3, -1e-3])
LARGE = np.array([10.0, -10, 40, -40, 100, -100, 700, -700, 1000, -1000, 1e4, -1e4])
ANY = np.concatenate([SMALL, LARGE, RNG.normal(size=40) * 2])
POSITIVE = np.array([1e300, 1e-300, 1e-8, 1.0, 1e8, *10.0 ** RNG.uniform(-3, 3, 40)])
SINGLE = RNG.normal(size=(2, 5)).astype("float32")


def one(definition: Callable[..., Any], x: np.ndarray = ANY, **options: Any) -> tuple[Oracle, ...]:
    """A function of one number: at ``x``, in float32, of a (2, 3, 4) and of a lone number."""
    box, single = x[-24:].reshape(2, 3, 4), x[-8:].reshape(2, 4).astype("float32")
    lone = np.array(x[-1])
    return tuple(elementwise(definition, at, **options) for at in (x, box, single, lone))


SHAPES = (((2, 3, 4), (3, 4)), ((2, 1, 4), (3, 1)), ((), (3,)), ((3, 2), (3, 2)), ((1, 2), (3, 1)))


def two(definition: Callable[..., Any]) -> tuple[Oracle, ...]:
    """A function of two numbers: every pair of some, equal ones too, in shapes that broadcast."""
    ends = np.array([-1e8, -3.0, -1e-8, 0.5, 2.0, 7.0, 1e8])
    pairs = [(ends[:, None], ends[None]), (SINGLE, 2 + SINGLE[::-1])]
    pairs += [(RNG.normal(size=a), RNG.normal(size=b)) for a, b in SHAPES]
    return tuple(elementwise(definition, a, b) for a, b in pairs)


def sigmoid(x: Any) -> Any:
    """The probability of white, of which x is the log odds."""
    return 1 / (1 + mp.exp(-x))


def gelu(x: Any) -> tuple[Any, ...]:
    """Hendrycks and Gimpel's approximation, as the sum of its two halves."""
    u = mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3)
    return x / 2, x / 2 * mp.tanh(u)


def is_near_x_times_the_normal_distribution(forward: Any) -> None:
    """What gelu approximates is x Phi(x), and it is off by 5e-4 at the most."""
    x = np.linspace(-8, 8, 201)
    true = np.array([float(v * mp.ncdf(v)) for v in x])
    assert np.abs(forward(x) - true).max() < 5e-4


def power(x: Any, exponent: float) -> Any:
    """By multiplication for a whole number, else e^(n log x)."""
    if exponent == int(exponent):
        product = mp.fprod([x] * int(abs(exponent)))
        return product if exponent >= 0 else 1 / product
    return mp.exp(exponent * mp.log(x))


def bent(x: Any, slope: float = 0.01) -> Any:
    """The identity, flatter below 0."""
    return x if x > 0 else mp.mpf(slope) * x


def elu(x: Any, alpha: float = 1.0) -> Any:
    """The identity, with an exponential towards -alpha below 0."""
    return x if x > 0 else mp.mpf(alpha) * mp.expm1(x)


NONZERO = np.concatenate([ANY[ANY != 0][2:], [-2.0, 3.0]])
WHOLE = (0, 1, 2, 3)

ELEMENTWISE: dict[str, tuple[Oracle, ...]] = {
    "add": two(lambda a, b: (a, b)),
    "subtract": two(lambda a, b: (a, -b)),
    "multiply": two(lambda a, b: a * b),
    "divide": two(lambda a, b: a / b),
    "maximum": two(lambda a, b: a if a > b else b),
    "negative": one(lambda x: -x),
    "power": (
        *(oracle for n in WHOLE for oracle in one(power, exponent=n)),
        *(oracle for n in (-1, -2) for oracle in one(power, NONZERO, exponent=n)),
        *(oracle for n in (0.5, -0.5, 2.5) for oracle in one(power, POSITIVE[1:], exponent=n)),
    ),
    "exp": one(mp.exp, ANY[ANY < 709]),
    "log": one(mp.log, POSITIVE),
    "sqrt": one(mp.sqrt, POSITIVE),
    "abs": one(lambda x: x if x > 0 else -x),
    "tanh": one(mp.tanh),
    "sigmoid": one(sigmoid),
    "softplus": one(lambda x: mp.log1p(mp.exp(x))),
    "relu": one(lambda x: x if x > 0 else mp.mpf(0)),
    "leaky_relu": (*one(bent), *one(bent, slope=0.3), *one(bent, slope=2.0)),
    "elu": (*one(elu), *one(elu, alpha=0.5), *one(elu, alpha=2.0)),
    "gelu": (*one(gelu), is_near_x_times_the_normal_distribution),
}
