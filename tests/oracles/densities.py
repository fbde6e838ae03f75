"""Oracles of the densities beside the Gaussian's: their definitions, and what they imply.

A divergence is a mean under q, by a quadrature that is exact for it; a density integrates to 1;
SciPy's distribution functions take a sample back to the noise that it was made of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mpmath as mp
import numpy as np
from scipy import stats

from oracles.distributions import (
    LOG_2_PI,
    LOGITS,
    MEANS,
    TARGETS,
    given_variance,
    in_shapes,
    points,
    summed,
)
from oracles.measure import Forward, Oracle, holds, of_numbers, refuses, value_of

RNG = np.random.default_rng(5)
LOG_SCALES = (0.0, 1e-8, 0.45, -0.55, 1.05, -40.0, 40.0)
UNIFORM = (0.0, 0.5, 0.25, 2.0**-24, 1 - 2.0**-24)

# Densities in one dimension, of the distance u from the mean in units of the scale


def log_laplace(u: Any) -> tuple[Any, ...]:
    return -abs(u), -mp.log(2)


def log_logistic(u: Any) -> tuple[Any, ...]:
    return -abs(u), -2 * mp.log1p(mp.exp(-abs(u)))


def log_uniform(u: Any) -> tuple[Any, ...]:
    return (mp.mpf(0) if abs(u) <= mp.mpf(1) / 2 else -mp.inf,)


def log_density(unit: Callable[..., Any], x: Any, mean: Any, log_scale: Any) -> tuple[Any, ...]:
    """That of (x - mean) / scale, less the log of the scale."""
    return *unit((x - mean) / mp.exp(log_scale)), -log_scale


# Samples: where the distribution function is the noise


def laplace_quantile(u: Any) -> Any:
    return mp.log(2 * u) if u < 0.5 else -mp.log(2 * (1 - u))


def logistic_quantile(u: Any) -> Any:
    return mp.log(u / (1 - u))


def uniform_quantile(u: Any) -> Any:
    return u - mp.mpf(1) / 2


def at_quantile(
    quantile: Callable[..., Any], least: float, mean: Any, log_scale: Any, u: Any
) -> tuple[Any, ...]:
    return mean, mp.exp(log_scale) * quantile(max(u, mp.mpf(least)))


def single(definition: Callable[..., Any], *columns: np.ndarray) -> Oracle:
    """In float32, whose noise is coarser."""
    return holds(partial(of_numbers, definition), *(x.astype("float32") for x in columns))


def samples(quantile: Callable[..., Any], least: float = 2.0**-54) -> tuple[Oracle, ...]:
    """Of every noise, 0 among them, which stands for a half of the smallest that is drawn."""
    definition = partial(at_quantile, quantile, least)
    columns = points(MEANS, LOG_SCALES, UNIFORM, drawn=(normal(2), normal(), RNG.random(48)))
    whole = (
        holds(partial(of_numbers, definition), *(c[:24].reshape(s) for c in columns))
        for s in ((24,), (4, 6), (2, 3, 4))
    )
    coarse = partial(at_quantile, quantile, 2.0**-25 if least else 0.0)
    return (holds(partial(of_numbers, definition), *columns), *whole, single(coarse, *columns))


def takes_back_to_the_noise(law: Any) -> Oracle:
    """The distribution function of a sample is the noise."""

    def oracle(forward: Forward) -> None:
        u = np.linspace(0.001, 0.999, 97)
        for mean, scale in ((0.0, 1.0), (-1.3, 0.2), (4.0, 7.0)):
            z = value_of(forward, 0 * u + mean, 0 * u + np.log(scale), u)
            assert np.allclose(law(mean, scale).cdf(z), u, 0, 1e-12), (mean, scale)

    return oracle


def uniform_law(mean: float, width: float) -> Any:
    return stats.uniform(mean - width / 2, width)


# Divergences


@cache
def laplace_nodes() -> list[tuple[Any, Any]]:
    """Gauss and Laguerre's two points on either side, exact for cubes of the distance."""
    root = mp.sqrt(2)
    return [
        (side * (2 + sign * root), (2 - sign * root) / 8) for side in (1, -1) for sign in (1, -1)
    ]


@cache
def logistic_nodes() -> list[tuple[Any, Any]]:
    """The trapezoid rule, good to 21 digits."""
    h = mp.mpf("0.4")
    at = [k * h for k in range(-150, 151)]
    return [(u, h * mp.exp(mp.fsum(log_logistic(u)))) for u in at]


@cache
def uniform_nodes() -> list[tuple[Any, Any]]:
    """Gauss and Legendre's two points, exact for cubes."""
    u = 1 / mp.sqrt(12)
    return [(-u, mp.mpf(1) / 2), (u, mp.mpf(1) / 2)]


def divergence(
    unit: Callable[..., Any], nodes: Callable[..., Any], mean: Any, log_scale: Any
) -> Any:
    """KL(q || N(0, 1)) as the mean of log q - log p under q."""
    scale = mp.exp(log_scale)
    square = mp.fsum(weight * (mean + scale * u) ** 2 for u, weight in nodes())
    return mean_log(unit, nodes) - log_scale + square / 2 + LOG_2_PI / 2


@cache
def mean_log(unit: Callable[..., Any], nodes: Callable[..., Any]) -> Any:
    """The mean of log q under q, at scale 1."""
    return mp.fsum(weight * mp.fsum(unit(u)) for u, weight in nodes())


def divergences(unit: Callable[..., Any], nodes: Callable[..., Any]) -> tuple[Oracle, ...]:
    columns = points(MEANS, LOG_SCALES, drawn=(normal(2), normal()))
    return in_shapes(partial(summed, partial(divergence, unit, nodes)), *columns)


def normal(spread: float = 1.0) -> np.ndarray:
    return RNG.normal(size=48) * spread


# Densities, what they imply


def integrates_to_one(reach: float) -> Oracle:
    """By Gauss and Legendre's rule on panels that meet at the mean and end at the edges."""
    u, weights = np.polynomial.legendre.leggauss(40)

    def oracle(forward: Forward) -> None:
        for mean, log_scale in ((0.0, 0.0), (1.3, 1.0), (-2.0, -1.5)):
            panel = np.exp(log_scale) * reach / 16
            x = (mean + panel * (np.arange(-16, 16)[:, None] + (u + 1) / 2)).reshape(-1, 1)
            logs = value_of(forward, x, 0 * x + mean, 0 * x + log_scale)
            assert logs.shape == (len(x),)
            total = np.exp(logs).reshape(-1, 40) @ weights * panel / 2
            assert abs(total.sum() - 1) < 1e-10, (mean, log_scale)

    return oracle


def densities(unit: Callable[..., Any]) -> tuple[Oracle, ...]:
    """At numbers near and far, and with a scale that pixels share."""
    definition = partial(log_density, unit)
    columns = points(MEANS, MEANS, LOG_SCALES, drawn=(normal(2), normal(), normal()))
    shared = (
        holds(
            partial(summed, definition), *(RNG.normal(size=shape) for shape in ((3, 4), (3, 4), s))
        )
        for s in ((), (1,), (4,), (3, 1), (3, 4))
    )
    return (*in_shapes(partial(summed, definition), *columns), *shared)


def a_number_for_the_scale_keeps_float32(forward: Forward) -> None:
    """The value is of the dtype of the arrays, though a Python number is of double precision."""
    x = np.ones((2, 3), "float32")
    assert value_of(partial(given_variance, forward, 0.7), x, x).dtype == "float32"


def the_edges_count_as_within(forward: Forward) -> None:
    """Any sample has the density 1 / width, in float32 too, where it is rounded to an edge."""
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        mean, log_width = (a.astype(dtype) for a in rng.normal(size=(2, 500, 1)) * [[[9]], [[3]]])
        for u in (0.0, 1 - np.finfo(dtype).eps / 2):
            z = mean + np.exp(log_width) * np.asarray(u - 0.5, dtype)
            assert np.array_equal(value_of(forward, z, mean, log_width), -log_width[:, 0]), dtype


def outside_it_is_minus_infinity(forward: Forward) -> None:
    """A millionth beyond an edge, in one dimension of two."""
    x = np.array([[0.0, 0.5 + 1e-6], [-0.5 - 1e-6, 0.0], [0.4, -0.4]])
    assert value_of(forward, x, 0 * x, 0 * x).tolist() == [-np.inf, -np.inf, 0]


# Pixels


def continuous(logit: Any, target: Any) -> tuple[Any, ...]:
    """-log of p^t (1 - p)^(1 - t) over its integral, (2 p - 1) / (2 artanh(2 p - 1))."""
    if not logit:
        return (mp.mpf(0),)
    with mp.workdps(700):  # artanh of what is nearly 1
        p = 1 / (1 + mp.exp(-logit))
        whole = (2 * p - 1) / (2 * mp.atanh(2 * p - 1)) if abs(logit) < 1500 else 1 / abs(logit)
        log_p, log_rest = -mp.log1p(mp.exp(-logit)), -mp.log1p(mp.exp(logit))
        return -target * log_p, -(1 - target) * log_rest, mp.log(whole)


def level(mean: Any, log_scale: Any, target: Any) -> Any:
    """-log of the logistic distribution's share of a bin, open below black and above white."""
    half, scale = mp.mpf(1) / 510, mp.exp(log_scale)

    def below(edge: Any) -> Any:
        return 1 / (1 + mp.exp(-(edge - mean) / scale))

    with mp.workdps(150):
        upper = below(target + half) if target < 1 - half else mp.mpf(1)
        lower = below(target - half) if target > half else mp.mpf(0)
        return -mp.log(upper - lower)


def grey_levels_have_probabilities_that_sum_to_one(forward: Forward) -> None:
    """All 256, under narrow and wide distributions within and without."""
    levels = np.arange(256)[:, None] / 255
    for mean, log_scale in ((0.5, -4.0), (0.001, -6.0), (-0.3, 0.0), (1.2, -1.0), (0.7, 3.0)):
        loss = value_of(forward, 0 * levels + mean, 0 * levels + log_scale, levels)
        assert abs(np.exp(-loss).sum() - 1) < 1e-12, (mean, log_scale)


def pixels_have_a_density(forward: Forward) -> None:
    """It integrates to 1 over [0, 1], by Gauss and Legendre's rule."""
    u, weights = np.polynomial.legendre.leggauss(60)
    t = (u[:, None] + 1) / 2
    for logit in (0.0, 1e-9, -0.01, 1.0, 3.999, -4.001, 20.0):
        loss = value_of(forward, 0 * t + logit, t)
        assert loss.shape == (60,)
        assert abs(np.exp(-loss) @ weights / 2 - 1) < 1e-12, logit


GREY = RNG.integers(1, 255, 48) / 255
DENSITIES: dict[str, tuple[Oracle, ...]] = {
    "laplace_log_likelihood": (
        *densities(log_laplace),
        integrates_to_one(40.0),
        a_number_for_the_scale_keeps_float32,
        *(refuses((2, 3), (3,), (2, 3)), refuses((3,), (3,), (2, 3))),
    ),
    "laplace_sample": (
        *samples(laplace_quantile),
        takes_back_to_the_noise(stats.laplace),
        refuses((2, 3), (2, 3), (3,)),
    ),
    "kl_laplace_standard_normal": (
        *divergences(log_laplace, laplace_nodes),
        refuses((2, 3), (3,)),
    ),
    "logistic_log_likelihood": (
        *densities(log_logistic),
        integrates_to_one(80.0),
        a_number_for_the_scale_keeps_float32,
        *(refuses((2, 3), (3,), (2, 3)), refuses((3,), (3,), (2, 3))),
    ),
    "logistic_sample": (
        *samples(logistic_quantile),
        takes_back_to_the_noise(stats.logistic),
        refuses((2, 3), (2, 3), (3,)),
    ),
    "kl_logistic_standard_normal": (
        *divergences(log_logistic, logistic_nodes),
        refuses((2, 3), (3,)),
    ),
    "uniform_log_likelihood": (
        *in_shapes(
            partial(summed, partial(log_density, log_uniform)),
            *points(
                *((0.0, 0.1), (0.0, -0.2), (0.0, 0.7, -0.3, 40.0)),
                drawn=(RNG.random(48), RNG.random(48), 1 + RNG.random(48)),
            ),
        ),
        the_edges_count_as_within,
        outside_it_is_minus_infinity,
        refuses((2, 3), (2, 3), (3,)),
    ),
    "uniform_sample": (
        *samples(uniform_quantile, 0.0),
        takes_back_to_the_noise(uniform_law),
        refuses((2, 3), (2, 3), (3,)),
    ),
    "kl_uniform_standard_normal": (
        *divergences(log_uniform, uniform_nodes),
        refuses((2, 3), (3,)),
    ),
    "continuous_bernoulli_cross_entropy": (
        *in_shapes(
            partial(summed, continuous),
            *points((*LOGITS, 4.0, -4.0, 3.9), TARGETS, drawn=(normal(4), RNG.random(48))),
        ),
        pixels_have_a_density,
        refuses((2, 3), (3,)),
    ),
    "discretised_logistic_cross_entropy": (
        *in_shapes(
            partial(summed, level),
            *points(
                *((0.0, 0.3, 1.0), (0.0, -4.0, -6.5, 5.0), (0.0, 1.0, 1 / 255, 0.9995)),
                drawn=(RNG.random(48), normal() - 2, GREY),
            ),
        ),
        grey_levels_have_probabilities_that_sum_to_one,
        *(refuses((2, 3), (2, 3), (3,)), refuses((3,), (2, 3), (3,))),
    ),
}
