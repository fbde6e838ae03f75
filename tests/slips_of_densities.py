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


def factor(d: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Lower triangular, with e^d on the diagonal."""
    k = d.shape[-1]
    whole = np.exp(d)[..., None] * np.eye(k)
    whole[(..., *np.tril_indices(k, -1))] = a
    return whole


def log_full(x: np.ndarray, m: np.ndarray, d: np.ndarray, a: np.ndarray) -> np.ndarray:
    n = np.linalg.solve(factor(d, a), (x - m)[..., None])[..., 0]
    return -(n * n / 2 + d + np.log(2 * np.pi) / 2).sum(axis=-1)


def naive_mixture(z: np.ndarray, w: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Without taking the largest out of the sum."""
    squares = (z[:, None] - m) ** 2 / np.exp(v) + v + np.log(2 * np.pi)
    return np.log((np.exp(w) / np.exp(w).sum() * np.exp(-squares.sum(-1) / 2)).sum(-1))


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
    "cholesky_sample": (
        lambda m, d, a, n: m + np.exp(d) * n,
        lambda m, d, a, n: m + (np.swapaxes(factor(d, a), -1, -2) @ n[..., None])[..., 0],
    ),
    "cholesky_log_likelihood": (
        lambda x, m, d, a: log_full(x, m, d, a) + d.sum(axis=-1) / 2,
        lambda x, m, d, a: log_full(x, m, d, 0 * a),
        lambda x, m, d, a: log_full(x, m, 2 * d, a),
    ),
    "kl_cholesky_standard_normal": (
        lambda m, d, a: ((m * m + excess(2 * d)) / 2).sum(axis=-1),
        lambda m, d, a: ((m * m + excess(2 * d)) / 2).sum(axis=-1) + (a * a).sum(axis=-1),
    ),
    "mixture_log_likelihood": (
        lambda z, w, m, v: naive_mixture(z, w, m, v),
        lambda z, w, m, v: naive_mixture(z, 0 * w, m, v) - np.log(np.exp(w).sum() / len(w)),
        lambda z, w, m, v: naive_mixture(z, w, m, 2 * v),
    ),
    "categorical_cross_entropy": (
        lambda logits, k: (
            np.log(np.exp(logits).sum(-1))
            - np.take_along_axis(logits, k[..., None].astype(int), -1)[..., 0]
        ).sum(-1),
        lambda logits, k: np.log(np.exp(logits - logits.max()).sum(-1)).sum(-1),
    ),
    "discretised_logistic_cross_entropy": (
        clipped_bins,
        lambda m, s, t: (-np.log(256) + (abs(t - m) / np.exp(s) + s)).sum(axis=-1),
    ),
}
