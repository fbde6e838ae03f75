"""Slips in the values of the densities beside the Gaussian's: they run, and they look right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

LOG_2 = np.log(2)


def excess(v: np.ndarray) -> np.ndarray:
    """e^v - 1 - v."""
    return np.exp(v) - 1 - v


def kl_by(variance: float, constant: float) -> Callable[..., Any]:
    """KL from N(0, 1) by the variance at scale 1, and a constant for each dimension."""
    return lambda m, s: ((m * m + excess(2 * s + np.log(variance))) / 2 + constant).sum(axis=-1)


def clipped_bins(m: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """As many have it: probabilities held above 1e-12."""
    below = [1 / (1 + np.exp(-(t + h - m) / np.exp(s))) for h in (1 / 510, -1 / 510)]
    upper, lower = np.where(t > 0.999, 1, below[0]), np.where(t < 0.001, 0, below[1])
    return -np.log(np.maximum(upper - lower, 1e-12)).sum(axis=-1)


def textbook_continuous(logits: np.ndarray, t: np.ndarray) -> np.ndarray:
    """With the normaliser of the definition, taken for 2 near 1/2."""
    p = 1 / (1 + np.exp(-logits))
    near = abs(p - 0.5) < 0.001
    log_c = np.log(np.where(near, 2, 2 * np.arctanh(1 - 2 * p) / (1 - 2 * p + near)))
    return (np.logaddexp(0, logits) - t * logits - log_c).sum(axis=-1)


DENSITIES: dict[str, tuple[Callable[..., Any], ...]] = {
    "laplace_log_likelihood": (
        lambda x, m, s: -(abs(x - m) / np.exp(s) + s).sum(axis=-1),
        lambda x, m, s: -(abs(x - m) / np.exp(s) + LOG_2).sum(axis=-1),
        lambda x, m, s: -(abs(x - m) * np.sqrt(2) / np.exp(s) + s + LOG_2 / 2).sum(axis=-1),
    ),
    "laplace_sample": (
        lambda m, s, u: m - np.exp(s) * np.sign(u - 0.5) * np.log(1 - 2 * abs(u - 0.5)),
        lambda m, s, u: m + np.exp(s) * np.sign(u - 0.5) * np.log(2 * np.minimum(u, 1 - u)),
        lambda m, s, u: m - np.exp(s) * np.log(u + 1e-10),
    ),
    "kl_laplace_standard_normal": (kl_by(2, 0), kl_by(1, (np.log(np.pi) - 1) / 2)),
    "logistic_log_likelihood": (
        lambda x, m, s: -((x - m) / np.exp(s) + 2 * np.log1p(np.exp(-(x - m) / np.exp(s)))).sum(-1),
        lambda x, m, s: -(abs(x - m) / np.exp(s) + s).sum(axis=-1),
    ),
    "logistic_sample": (
        lambda m, s, u: m + np.exp(s) * np.log(u / (1 - u)),
        lambda m, s, u: m + np.exp(s) * np.log((u + 1e-8) / (1 - u + 1e-8)),
        lambda m, s, u: m - np.exp(s) * np.log(u / (1 - u) + 1e-8),
    ),
    "kl_logistic_standard_normal": (kl_by(np.pi**2 / 3, 0), kl_by(1, 0.0144)),
    "uniform_log_likelihood": (
        lambda x, m, s: -s.sum(axis=-1),
        lambda x, m, s: np.where(abs(x - m) < np.exp(s) / 2, -s, -np.inf).sum(axis=-1),
        lambda x, m, s: np.where(abs(x - m) <= np.exp(s), -s, -np.inf).sum(axis=-1),
    ),
    "uniform_sample": (
        lambda m, s, u: m + np.exp(s) * u,
        lambda m, s, u: m + np.exp(s) * (2 * u - 1),
    ),
    "kl_uniform_standard_normal": (kl_by(1 / 12, 0), kl_by(1 / 3, 0.1765)),
    "continuous_bernoulli_cross_entropy": (
        textbook_continuous,
        lambda logits, t: (np.logaddexp(0, logits) - t * logits).sum(axis=-1),
        lambda logits, t: (np.logaddexp(0, logits) - t * logits - LOG_2).sum(axis=-1),
    ),
    "discretised_logistic_cross_entropy": (
        clipped_bins,
        lambda m, s, t: (-np.log(256) + (abs(t - m) / np.exp(s) + s)).sum(axis=-1),
    ),
}
