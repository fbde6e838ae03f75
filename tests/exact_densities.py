"""The densities beside the Gaussian's by 50 digits of mpmath: values, gradients, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
from hypothesis import strategies as st

Terms = tuple[mp.mpf, ...]


class Exact(NamedTuple):
    """The terms of a value, and of its gradient for every input, by the definition."""

    value: Callable[..., Terms]
    gradients: tuple[Callable[..., Terms], ...]


HALF, H = mp.mpf(1) / 2, mp.mpf(1) / 510
exp, log = mp.exp, mp.log


def sigma(x: Any) -> Any:
    return 1 / (1 + exp(-x))


def excess(x: Any) -> Any:
    """e^x - 1 - x, whose first terms cancel beyond 50 digits for a tiny x."""
    if abs(x) > mp.mpf("1e-6"):
        return mp.expm1(x) - x
    return mp.fsum(x**n / mp.factorial(n) for n in range(2, 10))


def nearer_end(u: Any) -> Any:
    return min(u, 1 - u)


# The Laplace, logistic and uniform distributions


def of_location(unit: Callable[[Any], Terms], slope: Callable[[Any], Any]) -> Exact:
    """The log density of (x - m) / s less log s, from that at scale 1 and its slope."""

    def u(x: Any, m: Any, s: Any) -> Any:
        return (x - m) * exp(-s)

    return Exact(
        lambda x, m, s: (*unit(u(x, m, s)), -s),
        (
            lambda x, m, s: (slope(u(x, m, s)) * exp(-s),),
            lambda x, m, s: (-slope(u(x, m, s)) * exp(-s),),
            lambda x, m, s: (-u(x, m, s) * slope(u(x, m, s)), mp.mpf(-1)),
        ),
    )


def of_quantile(quantile: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Exact:
    """The sample m + s Q(u), from the quantile function Q at scale 1 and its slope."""
    return Exact(
        lambda m, s, u: (m, exp(s) * quantile(u)),
        (
            lambda m, s, u: (mp.mpf(1),),
            lambda m, s, u: (exp(s) * quantile(u),),
            lambda m, s, u: (exp(s) * slope(u),),
        ),
    )


def of_divergence(unit_variance: Any, entropy: Any) -> Exact:
    """KL from N(0, 1), from the variance and the entropy at scale 1."""
    with mp.workdps(50):
        log_unit = log(unit_variance())
        least = (1 + log(2 * mp.pi) + log_unit) / 2 - entropy()
    return Exact(
        lambda m, s: ((m**2 + excess(2 * s + log_unit)) / 2, least),
        (lambda m, s: (m,), lambda m, s: (exp(2 * s + log_unit), mp.mpf(-1))),
    )


# Pixels


def log_sinch(x: Any) -> Any:
    """log(sinh(x) / x), by its series for a tiny x."""
    return log(mp.sinh(x) / x) if abs(x) > mp.mpf("1e-12") else x**2 / 6


def continuous(x: Any, t: Any) -> Terms:
    """-log of e^(t l) l / (e^l - 1)."""
    if abs(x) <= 4:
        return (HALF - t) * x, log_sinch(x / 2)
    return max(x, mp.mpf(0)) - t * x, mp.log1p(-exp(-abs(x))), -log(abs(x))


def continuous_slope(x: Any, t: Any) -> Terms:
    if abs(x) < mp.mpf("1e-12"):
        return HALF - t, x / 12
    if abs(x) <= 4:
        return HALF - t, (mp.coth(x / 2) - 2 / x) / 2
    return mp.mpf(x > 0) - t, mp.sign(x) / mp.expm1(abs(x)), -1 / x


class Bin(NamedTuple):
    """Of a grey level: its edges, its width, and whether it has an upper and a lower edge."""

    a: Any
    b: Any
    width: Any
    under: int
    over: int


def bin_of(m: Any, s: Any, t: Any) -> Bin:
    a, b = (t + H - m) * exp(-s), (t - H - m) * exp(-s)
    return Bin(a, b, 2 * H * exp(-s), int(t + H < 1), int(t - H > 0))


def discretised(m: Any, s: Any, t: Any) -> Terms:
    """log(1 + e^-a), log(1 + e^b) and -log(1 - e^-w), of which none is negative."""
    a, b, width, under, over = bin_of(m, s, t)
    inner = -log(-mp.expm1(-width)) if under and over else mp.mpf(0)
    return under * mp.log1p(exp(-a)), over * mp.log1p(exp(b)), inner


def by_mean(m: Any, s: Any, t: Any) -> Terms:
    a, b, _, under, over = bin_of(m, s, t)
    return under * sigma(-a) * exp(-s), -over * sigma(b) * exp(-s)


def by_scale(m: Any, s: Any, t: Any) -> Terms:
    a, b, width, under, over = bin_of(m, s, t)
    return under * a * sigma(-a), -over * b * sigma(b), under * over * width / mp.expm1(width)


DENSITIES = {
    "laplace_log_likelihood": of_location(lambda u: (-abs(u), -log(2)), lambda u: -mp.sign(u)),
    "laplace_sample": of_quantile(
        lambda u: mp.sign(u - HALF) * -log(2 * nearer_end(u)), lambda u: 1 / nearer_end(u)
    ),
    "kl_laplace_standard_normal": of_divergence(lambda: mp.mpf(2), lambda: 1 + log(2)),
    "logistic_log_likelihood": of_location(
        lambda u: (-abs(u), -2 * mp.log1p(exp(-abs(u)))), lambda u: -mp.tanh(u / 2)
    ),
    "logistic_sample": of_quantile(lambda u: log(u / (1 - u)), lambda u: 1 / (u * (1 - u))),
    "kl_logistic_standard_normal": of_divergence(lambda: mp.pi**2 / 3, lambda: mp.mpf(2)),
    "uniform_log_likelihood": Exact(
        lambda x, m, s: (-s,),
        (lambda x, m, s: (0 * x,), lambda x, m, s: (0 * x,), lambda x, m, s: (0 * x - 1,)),
    ),
    "uniform_sample": of_quantile(lambda u: u - HALF, lambda u: mp.mpf(1)),
    "kl_uniform_standard_normal": of_divergence(lambda: 1 / mp.mpf(12), lambda: mp.mpf(0)),
    "continuous_bernoulli_cross_entropy": Exact(continuous, (continuous_slope, lambda x, t: (-x,))),
    "discretised_logistic_cross_entropy": Exact(
        discretised,
        (by_mean, by_scale, lambda *at: tuple(-term for term in by_mean(*at))),
    ),
}

# Where each kind of input is looked at by hand

MEANS = (0.0, 1e-160, 1e-25, 1e-8, -0.3, -1e3)
LOG_SCALES = (0.0, 1e-300, 1e-8, -1e-8, 0.45, -0.34657, -0.5954, 1.2424, -40.0, 40.0)
UNIFORM = (0.5, 0.5 + 1e-7, 0.5 - 1e-7, 1e-6, 0.1, 0.9, 1 - 1e-6)
LOGITS = (0.0, -0.0, 1e-300, -1e-300, 1e-5, 0.7, -3.2, 4.0, -4.001, 36.7, -36.7, 745.5, 1e4, -1e4)
TARGETS = (0.0, 1.0, 1 / 255, 127 / 255, 254 / 255, 1e-10, 1 - 1e-10, 0.5)
SCALES = (0.0, -7.0, -3.0, 1.5, 6.0)
BY_HAND = {
    "laplace_log_likelihood": (MEANS, MEANS, LOG_SCALES),
    "laplace_sample": (MEANS, LOG_SCALES, UNIFORM),
    "kl_laplace_standard_normal": (MEANS, LOG_SCALES),
    "logistic_log_likelihood": (MEANS, MEANS, LOG_SCALES),
    "logistic_sample": (MEANS, LOG_SCALES, UNIFORM),
    "kl_logistic_standard_normal": (MEANS, LOG_SCALES),
    "uniform_log_likelihood": ((0.0, 0.3), (0.0, -0.1), (0.0, 0.9, 2.1, 80.0)),
    "uniform_sample": (MEANS, LOG_SCALES, (0.0, *UNIFORM)),
    "kl_uniform_standard_normal": (MEANS, LOG_SCALES),
    "continuous_bernoulli_cross_entropy": (LOGITS, TARGETS),
    "discretised_logistic_cross_entropy": ((0.0, 0.4, 1.0), SCALES, (0.0, 1.0, 0.2, 0.4)),
}

means, log_scales = st.floats(-1e3, 1e3), st.floats(-40, 40) | st.floats(-2, 2)
uniform = st.floats(1e-6, 1 - 1e-6)
grey = st.sampled_from([0.0, 1.0]) | st.integers(0, 255).map(lambda k: k / 255)
INPUTS = {
    **dict.fromkeys(
        ("laplace_log_likelihood", "logistic_log_likelihood"), st.tuples(means, means, log_scales)
    ),
    **dict.fromkeys(
        ("laplace_sample", "logistic_sample", "uniform_sample"),
        st.tuples(means, log_scales, uniform),
    ),
    **dict.fromkeys(
        (name for name in DENSITIES if name.startswith("kl_")), st.tuples(means, log_scales)
    ),
    "uniform_log_likelihood": st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(1.5, 80)),
    "continuous_bernoulli_cross_entropy": st.tuples(
        st.floats(-1e4, 1e4) | st.floats(-5, 5), grey | st.floats(0, 1)
    ),
    "discretised_logistic_cross_entropy": st.tuples(st.floats(0, 1), st.floats(-7, 5), grey),
}


def columns(n: int) -> dict[str, tuple[np.ndarray, ...]]:
    """Points where rounding bites: nearly equal numbers, scales near those of N(0, 1)."""
    rng = np.random.default_rng(1)
    mean = rng.normal(size=n) * 10.0 ** rng.uniform(-9, 3, n)
    near = mean * np.where(rng.random(n) < 0.5, 1 + 1e-6 * rng.normal(size=n), rng.normal(size=n))
    log_scale = np.where(rng.random(n) < 0.5, rng.uniform(-1.5, 1.5, n), rng.uniform(-40, 40, n))
    u = np.where(rng.random(n) < 0.5, rng.random(n), 0.5 + 1e-3 * rng.normal(size=n))
    u = np.clip(u, 1e-6, 1 - 1e-6)
    grey_levels = rng.integers(0, 256, n) / 255
    return {
        "laplace_log_likelihood": (near, mean, log_scale),
        "laplace_sample": (mean, log_scale, u),
        "kl_laplace_standard_normal": (mean, log_scale),
        "logistic_log_likelihood": (near, mean, log_scale),
        "logistic_sample": (mean, log_scale, u),
        "kl_logistic_standard_normal": (mean, log_scale),
        "uniform_log_likelihood": (rng.uniform(-1, 1, n), rng.uniform(-1, 1, n), 1 + 9 * u),
        "uniform_sample": (mean, log_scale, u),
        "kl_uniform_standard_normal": (mean, log_scale),
        "continuous_bernoulli_cross_entropy": (rng.normal(size=n) * 4, grey_levels),
        "discretised_logistic_cross_entropy": (u, rng.uniform(-7, 3, n), grey_levels),
    }
