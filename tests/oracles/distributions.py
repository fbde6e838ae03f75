"""Oracles of the derivations: the definitions of probability, and what they imply.

Nothing here is a closed form where the definition is an integral: a divergence is the mean of
log q - log p under q, by quadrature.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mpmath as mp
import numpy as np

from oracles.measure import (
    Exact,
    Forward,
    Oracle,
    common_shape,
    holds,
    number_at,
    of_numbers,
    refuses,
    rounded,
    value_of,
)

RNG = np.random.default_rng(2)
with mp.workdps(50):
    LOG_2_PI = mp.log(2 * mp.pi)
exp = cache(mp.exp)  # of the same log variance at every node of the quadrature

# Definitions in one dimension


def cross_entropy(logit: Any, target: Any) -> tuple[Any, ...]:
    """-t log p - (1 - t) log(1 - p), where p = 1 / (1 + e^-l) and 1 - p = 1 / (1 + e^l)."""
    return target * mp.log1p(mp.exp(-logit)), (1 - target) * mp.log1p(mp.exp(logit))


def sample(mean: Any, log_variance: Any, noise: Any) -> tuple[Any, ...]:
    """The mean and, times the noise, the root of the variance."""
    return mean, mp.sqrt(mp.exp(log_variance)) * noise


def log_normal(x: Any, mean: Any, log_variance: Any) -> tuple[Any, ...]:
    """The log of e^(-r^2 / 2v) / sqrt(2 pi v)."""
    return -((x - mean) ** 2) / (2 * exp(log_variance)), -log_variance / 2, -LOG_2_PI / 2


@cache
def nodes() -> list[tuple[Any, Any]]:
    """Points of the standard normal and their weights, by the trapezoid rule, to 50 digits.

    On a Gaussian times a polynomial it errs by e^(-2 pi^2 / h^2): 10^-53 for h = 0.4.
    """
    h = mp.mpf("0.4")
    return [(k * h, h * mp.npdf(k * h)) for k in range(-40, 41)]


def expected(f: Callable[[Any], Any], mean: Any, log_variance: Any) -> Any:
    """The mean of f under a Gaussian."""
    sigma = mp.exp(log_variance / 2)
    return mp.fsum(weight * f(mean + sigma * u) for u, weight in nodes())


@cache
def divergence(mean: Any, log_variance: Any, other_mean: Any, other_log_variance: Any) -> Any:
    """KL(q || p) as the mean of log q - log p under q."""

    def log_ratio(z: Any) -> Any:
        q = log_normal(z, mean, log_variance)
        return mp.fsum(q) - mp.fsum(log_normal(z, other_mean, other_log_variance))

    return expected(log_ratio, mean, log_variance)


def divergence_from_standard(mean: Any, log_variance: Any) -> Any:
    """KL(q || N(0, 1)), likewise."""
    return divergence(mean, log_variance, mp.mpf(0), mp.mpf(0))


# The same for examples of many dimensions


def summed(definition: Callable[..., Any], *xs: np.ndarray) -> Exact:
    """A definition of one dimension, summed over the last axis."""
    shape = common_shape(*(x.shape for x in xs))

    def terms(example: tuple[int, ...]) -> tuple[Any, ...]:
        parts = [definition(*(number_at(x, (*example, k)) for x in xs)) for k in range(shape[-1])]
        return tuple(
            itertools.chain.from_iterable(p if isinstance(p, tuple) else (p,) for p in parts)
        )

    return rounded([terms(example) for example in np.ndindex(shape[:-1])], shape[:-1])


def in_shapes(definition: Callable[..., Exact], *columns: np.ndarray) -> tuple[Oracle, ...]:
    """Number by number, and in arrays of several shapes, of float32 too."""
    each = [column[:, None] for column in columns]
    some = [column[-24:] for column in columns]
    shapes = ((24,), (4, 6), (2, 3, 4), (2, 1, 12), (3, 8, 1))
    whole = (holds(definition, *(x.reshape(shape) for x in some)) for shape in shapes)
    single = holds(definition, *(x.reshape(6, 4).astype("float32") for x in some))
    return (holds(definition, *each), *whole, single)


# Where they are looked at: every combination of hand-made numbers, then random ones


def points(*columns: tuple[float, ...], drawn: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """One array for each input."""
    grid = np.array(list(itertools.product(*columns))).T
    return [np.concatenate(pair) for pair in zip(grid, drawn, strict=True)]


def normal(spread: float = 1.0) -> np.ndarray:
    """Random numbers of that standard deviation."""
    return RNG.normal(size=48) * spread


LOGITS = (0.0, 1e-300, 1e-8, -1e-8, 0.7, -3.2, 36.7, -36.7, 80.0, -80.0, 1e3, -1e3, 1e4, -1e4)
TARGETS = (0.0, 1.0, 1 / 255, 254 / 255, 1e-10, 0.5)
MEANS = (0.0, 1e-8, -0.3, -1e3)
LOG_VARIANCES = (0.0, 1e-8, -1e-8, 0.9, -1.1, 2.1, -80.0, 80.0)
NOISE = (0.0, 1e-8, 1.0, -2.5)

SHARED = tuple(
    holds(partial(summed, log_normal), *(RNG.normal(size=shape) for shape in ((3, 4), (3, 4), own)))
    for own in ((), (1,), (4,), (3, 1), (3, 4))
)

# Two Gaussians that differ in the mean alone, in the variance alone or in both, a little or a lot
APART = np.array([*itertools.product((0.0, 1e-9, 0.2), (1e-8, -1e-5, 0.3, -0.9, 1.7, 2.3, -40.7))])
NEAR = (0.7 + APART[:, :1], 39.9 + APART[:, 1:], np.full((21, 1), 0.7), np.full((21, 1), 39.9))
WIDTHS = (0.0, -1e-8, -1.1, 33.7, 79.3, -79.9)

# What the definitions imply


def all_images_have_probabilities_that_sum_to_one(forward: Forward) -> None:
    """All eight images of three pixels, black or white."""
    logits = np.array([0.4, -3.0, 8.0])
    images = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
    losses = value_of(forward, np.tile(logits, (8, 1)), images)
    assert abs(np.exp(-losses).sum() - 1) < 1e-12


def the_density_integrates_to_one(forward: Forward) -> None:
    """In one dimension and in two, over 12 standard deviations, by the trapezoid rule."""
    u = np.linspace(-12, 12, 121)
    for mean, log_variance in ((0.0, 0.0), (1.3, 2.0), (-2.0, -3.0)):
        sigma = np.exp(log_variance / 2)
        for d, step in ((1, 0.2 * sigma), (2, (0.2 * sigma) ** 2)):
            x = mean + sigma * np.array(list(itertools.product(u, repeat=d)))
            logs = value_of(partial(given_variance, forward, log_variance), x, 0 * x + mean)
            assert abs(np.exp(logs).sum() * step - 1) < 1e-10, (mean, log_variance, d)


def the_sample_has_the_moments_asked_for(forward: Forward) -> None:
    """Of noise whose own mean and variance are exactly 0 and 1."""
    noise = np.array([-1.5, -1.0, -0.5, 0.5, 1.0, 1.5, -0.2, 0.2])
    noise /= noise.std()
    for mean, variance in ((0.0, 0.25), (-1.5, 7.0), (3.0, 1.0)):
        z = value_of(forward, np.full(8, mean), np.full(8, np.log(variance)), noise)
        assert abs(z.mean() - mean) < 1e-12
        assert abs(z.var() - variance) < 1e-12 * variance, f"{z.var()} for {variance}"


def given_variance(forward: Forward, log_variance: float, *xs: np.ndarray) -> np.ndarray:
    """The density with a plain number for its log variance."""
    return forward(*xs, log_variance)


def a_number_for_the_variance_keeps_float32(forward: Forward) -> None:
    """The value is of the dtype of the arrays, though a Python number is of double precision."""
    x = np.ones((2, 3), "float32")
    assert value_of(partial(given_variance, forward, 0.7), x, x).dtype == "float32"


DISTRIBUTIONS: dict[str, tuple[Oracle, ...]] = {
    "bernoulli_cross_entropy": (
        *in_shapes(
            partial(summed, cross_entropy),
            *points(LOGITS, TARGETS, drawn=(normal(4), RNG.integers(0, 256, 48) / 255)),
        ),
        all_images_have_probabilities_that_sum_to_one,
        refuses((2, 3), (3,)),
    ),
    "gaussian_sample": (
        *in_shapes(
            partial(of_numbers, sample),
            *points(MEANS, LOG_VARIANCES, NOISE, drawn=(normal(2), normal(), normal())),
        ),
        the_sample_has_the_moments_asked_for,
        refuses((2, 3), (2, 3), (3,)),
    ),
    "kl_standard_normal": (
        *in_shapes(
            partial(summed, divergence_from_standard),
            *points(MEANS, LOG_VARIANCES, drawn=(normal(2), normal())),
        ),
        refuses((2, 3), (3,)),
    ),
    "kl_gaussian": (
        holds(partial(summed, divergence), *NEAR),
        *in_shapes(
            partial(summed, divergence),
            *points(
                MEANS[:3],
                WIDTHS,
                (1.0,),
                WIDTHS,
                drawn=(normal(2), normal(), normal(), normal()),
            ),
        ),
        refuses((2, 3), (2, 3), (3,), (3,)),
    ),
    "gaussian_log_likelihood": (
        *in_shapes(
            partial(summed, log_normal),
            *points(MEANS, MEANS, LOG_VARIANCES, drawn=(normal(2), normal(), normal())),
        ),
        *SHARED,
        the_density_integrates_to_one,
        a_number_for_the_variance_keeps_float32,
        refuses((2, 3), (3,), (2, 3)),
        refuses((3,), (3,), (2, 3)),
        refuses((1, 3), (1, 3), (2, 3)),
    ),
}
