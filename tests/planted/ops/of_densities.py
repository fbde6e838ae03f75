"""Wrong gradients of the densities beside the Gaussian's: their scores, samples, divergences."""

from __future__ import annotations

import numpy as np

from planted.ops.of_derivations import row
from planted.ops.pullbacks import Entry
from tinyvae.autograd.ops import fit, logistic

exp, sign, tanh = np.exp, np.sign, np.tanh


def inner(t: np.ndarray) -> np.ndarray:
    """1 for a grey level that is neither black nor white."""
    return 1.0 * ((t > 1 / 510) & (t < 1 - 1 / 510))


def units(x: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The distance from the mean, in units of the scale."""
    return (x - m) / exp(s)


def edges(m: np.ndarray, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (t + 1 / 510 - m) / exp(s), (t - 1 / 510 - m) / exp(s)


LAPLACE: list[Entry] = [
    (0, "the minus forgotten", "sign", lambda g, x, m, s: row(g) * sign(x - m) / exp(s)),
    (0, "zero, since x is data", "zero", lambda g, x, m, s: np.zeros_like(x)),
    (0, "the Gaussian's", "", lambda g, x, m, s: -row(g) * units(x, m, s)),
    (1, "the distance for its sign", "", lambda g, x, m, s: row(g) * units(x, m, s)),
    (1, "not divided by the scale", "", lambda g, x, m, s: row(g) * sign(x - m)),
    (1, "divided by its square", "", lambda g, x, m, s: row(g) * sign(x - m) / exp(2 * s)),
    (2, "the -1 forgotten", "term", lambda g, x, m, s: fit(row(g) * abs(units(x, m, s)), s)),
    (2, "the -1 alone", "", lambda g, x, m, s: fit(row(g) * np.full_like(x, -1), s)),
    (2, "the square", "", lambda g, x, m, s: fit(row(g) * ((x - m) ** 2 / exp(2 * s) - 1), s)),
    (2, "with its sign", "", lambda g, x, m, s: fit(row(g) * (units(x, m, s) - 1), s)),
    (2, "by the scale", "", lambda g, x, m, s: fit(row(g) * (abs(units(x, m, s)) - 1) / exp(s), s)),
]
LOGISTIC: list[Entry] = [
    (
        0,
        "the minus forgotten",
        "sign",
        lambda g, x, m, s: row(g) * tanh(units(x, m, s) / 2) / exp(s),
    ),
    (0, "zero, since x is data", "zero", lambda g, x, m, s: np.zeros_like(x)),
    (0, "of the whole distance", "", lambda g, x, m, s: -row(g) * tanh(units(x, m, s)) / exp(s)),
    (1, "not divided by the scale", "", lambda g, x, m, s: row(g) * tanh(units(x, m, s) / 2)),
    (1, "the sign", "", lambda g, x, m, s: row(g) * sign(x - m) / exp(s)),
    (
        1,
        "the logistic function",
        "",
        lambda g, x, m, s: row(g) * logistic(units(x, m, s)) / exp(s),
    ),
    (2, "the -1 alone", "", lambda g, x, m, s: fit(row(g) * np.full_like(x, -1), s)),
    (
        2,
        "plus 1",
        "",
        lambda g, x, m, s: fit(row(g) * (units(x, m, s) * tanh(units(x, m, s) / 2) + 1), s),
    ),
    (
        2,
        "the size of the distance",
        "",
        lambda g, x, m, s: fit(row(g) * (abs(units(x, m, s)) - 1), s),
    ),
]
UNIFORM: list[Entry] = [
    (0, "the density", "", lambda g, x, m, s: row(g) / exp(s)),
    (1, "minus the density", "", lambda g, x, m, s: -row(g) / exp(s)),
    (2, "the minus forgotten", "sign", lambda g, x, m, s: row(g) + 0 * s),
    (2, "by the width", "", lambda g, x, m, s: -row(g) / exp(s)),
    (2, "zero, since L is flat", "zero", lambda g, x, m, s: np.zeros_like(s)),
]


def sample(slope_of: str) -> list[Entry]:
    """Of m + s Q(u), with the quantile function of that name."""
    q = {
        "laplace": lambda u: -sign(u - 0.5) * np.log(2 * np.minimum(u, 1 - u)),
        "logistic": lambda u: np.log(u / (1 - u)),
        "uniform": lambda u: u - 0.5,
    }[slope_of]
    return [
        (0, "zero, since the sample is a draw", "zero", lambda g, m, s, u: np.zeros_like(m)),
        (0, "times the scale", "", lambda g, m, s, u: g * exp(s)),
        (1, "zero, since the sample is a draw", "zero", lambda g, m, s, u: np.zeros_like(s)),
        (1, "by the scale", "", lambda g, m, s, u: g * q(u)),
        (1, "the square of the scale", "", lambda g, m, s, u: g * exp(2 * s) * q(u)),
        (1, "the noise for its quantile", "", lambda g, m, s, u: g * exp(s) * u),
        (1, "the sample for the deviation", "", lambda g, m, s, u: g * (m + exp(s) * q(u))),
        (2, "zero, since the noise is no parameter", "zero", lambda g, m, s, u: np.zeros_like(u)),
        (2, "twice the scale", "", lambda g, m, s, u: 2 * g * exp(s)),
        (2, "the density", "", lambda g, m, s, u: g * u * (1 - u) / exp(s)),
    ]


def divergence(unit: float) -> list[Entry]:
    """Of a q with that variance at scale 1."""
    return [
        (0, "the square's factor 2", "factor", lambda g, m, s: row(g) * 2 * m),
        (0, "the sign of the ELBO", "sign", lambda g, m, s: -row(g) * m),
        (1, "the -1 forgotten", "term", lambda g, m, s: row(g) * unit * exp(2 * s)),
        (1, "the 1/2 kept", "factor", lambda g, m, s: row(g) * (unit * exp(2 * s) - 1) / 2),
        (
            1,
            "the scale's square for the variance",
            "",
            lambda g, m, s: row(g) * (exp(2 * s) - 1.01),
        ),
        (1, "the scale for its square", "", lambda g, m, s: row(g) * (unit * exp(s) - 1)),
        (1, "the sign of the ELBO", "sign", lambda g, m, s: row(g) * (1 - unit * exp(2 * s))),
        (
            1,
            "averaged over the latents",
            "factor",
            lambda g, m, s: row(g) * (unit * exp(2 * s) - 1) / s.shape[-1],
        ),
    ]


CONTINUOUS: list[Entry] = [
    (0, "the Bernoulli's", "", lambda g, x, t: row(g) * (logistic(x) - t)),
    (0, "t less the mean", "sign", lambda g, x, t: row(g) * (t - 1 / (1 - exp(-x)) + 1 / x)),
    (0, "1/l forgotten", "", lambda g, x, t: row(g) * (1 / (1 - exp(-x)) - t)),
    (0, "the mean alone", "term", lambda g, x, t: row(g) * (1 / (1 - exp(-x)) - 1 / x)),
    (0, "the normaliser's alone", "", lambda g, x, t: row(g) * (1 / x - 1 / np.sinh(x))),
    (1, "the minus forgotten", "sign", lambda g, x, t: row(g) * x),
    (1, "zero, since targets are data", "zero", lambda g, x, t: np.zeros_like(t)),
]
DISCRETISED: list[Entry] = [
    (0, "its sign", "sign", lambda g, m, s, t: row(g) * upper_less_lower(m, s, t, -1) / exp(s)),
    (0, "not divided by the scale", "", lambda g, m, s, t: row(g) * upper_less_lower(m, s, t, 1)),
    (
        0,
        "of the density's centre",
        "",
        lambda g, m, s, t: -row(g) * np.tanh((t - m) / exp(s) / 2) / exp(s),
    ),
    (
        0,
        "no open edges",
        "",
        lambda g, m, s, t: (
            row(g) * (logistic(-edges(m, s, t)[0]) - logistic(edges(m, s, t)[1])) / exp(s)
        ),
    ),
    (1, "the width forgotten", "", lambda g, m, s, t: fit(row(g) * by_edges(m, s, t), s)),
    (
        1,
        "1 for the width's term",
        "",
        lambda g, m, s, t: fit(row(g) * (by_edges(m, s, t) + 1 + 0.1 * inner(t)), s),
    ),
    (2, "zero, since targets are data", "zero", lambda g, m, s, t: np.zeros_like(t)),
    (2, "the mean's", "", lambda g, m, s, t: row(g) * upper_less_lower(m, s, t, 1) / exp(s)),
]


def upper_less_lower(m: np.ndarray, s: np.ndarray, t: np.ndarray, factor: float) -> np.ndarray:
    a, b = edges(m, s, t)
    return factor * (logistic(-a) * (t < 1 - 1 / 510) - logistic(b) * (t > 1 / 510))


def by_edges(m: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    a, b = edges(m, s, t)
    return a * logistic(-a) * (t < 1 - 1 / 510) - b * logistic(b) * (t > 1 / 510)


DENSITIES: dict[str, list[Entry]] = {
    "laplace_log_likelihood": LAPLACE,
    "laplace_sample": sample("laplace"),
    "kl_laplace_standard_normal": divergence(2.0),
    "logistic_log_likelihood": LOGISTIC,
    "logistic_sample": sample("logistic"),
    "kl_logistic_standard_normal": divergence(np.pi**2 / 3),
    "uniform_log_likelihood": UNIFORM,
    "uniform_sample": sample("uniform"),
    "kl_uniform_standard_normal": divergence(1 / 12),
    "continuous_bernoulli_cross_entropy": CONTINUOUS,
    "discretised_logistic_cross_entropy": DISCRETISED,
}
