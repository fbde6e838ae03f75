"""Wrong models of the densities beside the Gaussian's, of Tensors: their gradients agree."""

from __future__ import annotations

import numpy as np

import tinyvae as tv
from planted.ops.models import Model, logistic_loss
from tinyvae import Tensor


def kl_by(variance: float, constant: float) -> Model:
    """KL from N(0, 1) by the variance at scale 1, and a constant for each dimension."""
    return lambda m, s: (
        tv.kl_standard_normal(m, 2 * s + float(np.log(variance))) + constant * m.shape[-1]
    )


def folded(u: Tensor) -> Tensor:
    """2 min(u, 1 - u)."""
    return 1 - tv.abs(2 * u - 1)


def inner(m: Tensor, s: Tensor, t: Tensor, half: float = 1 / 510) -> Tensor:
    """-log of a bin's share, open at no end."""
    a, b = (t + half - m) * tv.exp(-s), (t - half - m) * tv.exp(-s)
    return -tv.log(tv.sigmoid(a) - tv.sigmoid(b)).sum(axis=-1)


def mixed(z: Tensor, m: Tensor, v: Tensor) -> Tensor:
    """The log density of every component, (B, M)."""
    r = tv.reshape(z, shape=(z.shape[0], 1, z.shape[1])) - m
    return -(r * r * tv.exp(-v) + v + float(np.log(2 * np.pi))).sum(axis=-1) / 2


MODELS: dict[str, dict[str, Model]] = {
    "laplace_log_likelihood": {
        "its sign flipped": lambda x, m, s: -tv.laplace_log_likelihood(x, m, s),
        "log 2 forgotten": lambda x, m, s: -(tv.abs(x - m) * tv.exp(-s) + s).sum(axis=-1),
        "log s forgotten": lambda x, m, s: (
            tv.laplace_log_likelihood(x, m, s) + (s + 0 * x).sum(axis=-1)
        ),
        "the Gaussian's": lambda x, m, s: tv.gaussian_log_likelihood(x, m, 2 * s),
        "sigma for the scale": lambda x, m, s: tv.laplace_log_likelihood(
            x, m, s - float(np.log(2) / 2)
        ),
        "the square": lambda x, m, s: (
            -((x - m) ** 2 * tv.exp(-s) + s + float(np.log(2))).sum(axis=-1)
        ),
        "averaged over the pixels": lambda x, m, s: (
            tv.laplace_log_likelihood(x, m, s) / x.shape[-1]
        ),
    },
    "laplace_sample": {
        "one tail": lambda m, s, u: m - tv.exp(s) * tv.log(u),
        "the factor 2 forgotten": lambda m, s, u: (
            m + (tv.laplace_sample(m, s, u) - m) * (1 + float(np.log(2)))
        ),
        "the signs swapped": lambda m, s, u: 2 * m - tv.laplace_sample(m, s, u),
        "the logistic's": lambda m, s, u: tv.logistic_sample(m, s, u),
        "a scale forgotten": lambda m, s, u: tv.laplace_sample(m, 0 * s, u),
        "lifted by 1e-6": lambda m, s, u: tv.laplace_sample(m, s, u * (1 - 2e-6) + 1e-6),
        "the log scale for the scale": lambda m, s, u: m + s * tv.laplace_sample(0 * m, 0 * s, u),
    },
    "kl_laplace_standard_normal": {
        "the Gaussian's of its variance": kl_by(2.0, 0.0),
        "the variance b^2": kl_by(1.0, (np.log(np.pi) - 1) / 2),
        "its sign flipped": lambda m, s: -tv.kl_laplace_standard_normal(m, s),
        "the constant once for all": lambda m, s: (
            tv.kl_standard_normal(m, 2 * s + float(np.log(2))) + float(np.log(np.pi) - 1) / 2
        ),
        "with log pi for log 2 pi": kl_by(2.0, (np.log(np.pi / 2) - 1) / 2),
    },
    "logistic_log_likelihood": {
        "its sign flipped": lambda x, m, s: -tv.logistic_log_likelihood(x, m, s),
        "log s forgotten": lambda x, m, s: (
            tv.logistic_log_likelihood(x, m, s) + (s + 0 * x).sum(axis=-1)
        ),
        "one softplus": lambda x, m, s: (
            -((x - m) * tv.exp(-s) + tv.softplus(-(x - m) * tv.exp(-s)) + s).sum(axis=-1)
        ),
        "the distribution function": lambda x, m, s: (
            -(tv.softplus(-(x - m) * tv.exp(-s))).sum(axis=-1)
        ),
        "of the standard deviation": lambda x, m, s: tv.logistic_log_likelihood(
            x, m, s - float(np.log(np.pi / np.sqrt(3)))
        ),
        "averaged over the pixels": lambda x, m, s: (
            tv.logistic_log_likelihood(x, m, s) / x.shape[-1]
        ),
    },
    "logistic_sample": {
        "the Laplace's": lambda m, s, u: tv.laplace_sample(m, s, u),
        "the signs swapped": lambda m, s, u: 2 * m - tv.logistic_sample(m, s, u),
        "log u alone": lambda m, s, u: m + tv.exp(s) * tv.log(u + 1e-30),
        "lifted by 1e-6": lambda m, s, u: tv.logistic_sample(m, s, u * (1 - 2e-6) + 1e-6),
        "the log scale for the scale": lambda m, s, u: m + s * tv.logistic_sample(0 * m, 0 * s, u),
    },
    "kl_logistic_standard_normal": {
        "the Gaussian's of its variance": kl_by(np.pi**2 / 3, 0.0),
        "the variance s^2": kl_by(1.0, 0.01436227472001807),
        "the Laplace's": lambda m, s: tv.kl_laplace_standard_normal(m, s),
        "its sign flipped": lambda m, s: -tv.kl_logistic_standard_normal(m, s),
    },
    "uniform_log_likelihood": {
        "its sign flipped": lambda x, m, s: -tv.uniform_log_likelihood(x, m, s),
        "without an outside": lambda x, m, s: -(s + 0 * x + 0 * m).sum(axis=-1),
        "the half width for the width": lambda x, m, s: tv.uniform_log_likelihood(
            x, m, s - float(np.log(2))
        ),
        "from 0, not from the middle": lambda x, m, s: tv.uniform_log_likelihood(
            x - tv.exp(s) / 2, m, s
        ),
    },
    "uniform_sample": {
        "from the lower edge": lambda m, s, u: m + tv.exp(s) * u,
        "twice as wide": lambda m, s, u: m + tv.exp(s) * (2 * u - 1),
        "the log width for the width": lambda m, s, u: m + s * (u - 0.5),
        "the signs swapped": lambda m, s, u: m - tv.exp(s) * (u - 0.5),
    },
    "kl_uniform_standard_normal": {
        "the Gaussian's of its variance": kl_by(1 / 12, 0.0),
        "the variance of the half width": kl_by(1 / 3, (np.log(np.pi / 6) + 1) / 2),
        "the entropy alone": lambda m, s: (0 * m - s).sum(axis=-1),
        "its sign flipped": lambda m, s: -tv.kl_uniform_standard_normal(m, s),
    },
    "continuous_bernoulli_cross_entropy": {
        "the Bernoulli's": lambda x, t: logistic_loss(x, t).sum(axis=-1),
        "the normaliser added": lambda x, t: (
            2 * logistic_loss(x, t).sum(axis=-1) - tv.continuous_bernoulli_cross_entropy(x, t)
        ),
        "the normaliser 2": lambda x, t: (logistic_loss(x, t) - float(np.log(2))).sum(axis=-1),
        "the targets swapped with their complement": lambda x, t: (
            tv.continuous_bernoulli_cross_entropy(x, 1 - t)
        ),
        "averaged over the pixels": lambda x, t: (
            tv.continuous_bernoulli_cross_entropy(x, t) / x.shape[-1]
        ),
        "the normaliser's first two terms": lambda x, t: (
            logistic_loss(x, t) - float(np.log(2)) - x**2 / 12
        ).sum(axis=-1),
    },
    "cholesky_sample": {
        "of independent ones": lambda m, d, a, n: m + tv.exp(d) * n + 0 * a.sum(),
        "minus the mean": lambda m, d, a, n: tv.cholesky_sample(-m, d, a, n),
        "the lower part's sign": lambda m, d, a, n: tv.cholesky_sample(m, d, -a, n),
        "a log variance in the diagonal": lambda m, d, a, n: tv.cholesky_sample(m, d / 2, a, n),
    },
    "cholesky_log_likelihood": {
        "its sign flipped": lambda x, m, d, a: -tv.cholesky_log_likelihood(x, m, d, a),
        "half of the determinant": lambda x, m, d, a: (
            tv.cholesky_log_likelihood(x, m, d, a) + d.sum(axis=-1) / 2
        ),
        "of the precision's factor": lambda x, m, d, a: tv.cholesky_log_likelihood(x, m, -d, a),
        "log 2 pi forgotten": lambda x, m, d, a: (
            tv.cholesky_log_likelihood(x, m, d, a) + x.shape[-1] * float(np.log(2 * np.pi) / 2)
        ),
        "of independent ones": lambda x, m, d, a: tv.cholesky_log_likelihood(x, m, d, 0 * a),
    },
    "kl_cholesky_standard_normal": {
        "its sign flipped": lambda m, d, a: -tv.kl_cholesky_standard_normal(m, d, a),
        "of independent ones": lambda m, d, a: tv.kl_cholesky_standard_normal(m, d, 0 * a),
        "the lower part doubled": lambda m, d, a: (
            tv.kl_cholesky_standard_normal(m, d, a) + (a * a).sum(axis=-1) / 2
        ),
        "a log variance in the diagonal": lambda m, d, a: tv.kl_cholesky_standard_normal(
            m, d / 2, a
        ),
    },
    "mixture_log_likelihood": {
        "its sign flipped": lambda z, w, m, v: -tv.mixture_log_likelihood(z, w, m, v),
        "weights that do not sum to 1": lambda z, w, m, v: (
            tv.mixture_log_likelihood(z, w, m, v) + tv.logsumexp(w)
        ),
        "the log variance for log sigma": lambda z, w, m, v: tv.mixture_log_likelihood(
            z, w, m, 2 * v
        ),
        "summed over the batch": lambda z, w, m, v: tv.mixture_log_likelihood(z, w, m, v).sum(),
        "the mean of log densities": lambda z, w, m, v: (tv.softmax(w) * mixed(z, m, v)).sum(
            axis=-1
        ),
        "the largest alone": lambda z, w, m, v: (tv.log_softmax(w) + mixed(z, m, v)).max(axis=-1),
        "one log 2 pi": lambda z, w, m, v: (
            tv.mixture_log_likelihood(z, w, m, v)
            + (z.shape[1] - 0.5) * float(np.log(2 * np.pi) / 2)
        ),
    },
    "categorical_cross_entropy": {
        "its sign flipped": lambda x, k: -tv.categorical_cross_entropy(x, k),
        "averaged over the pixels": lambda x, k: tv.categorical_cross_entropy(x, k) / k.shape[-1],
        "in bits": lambda x, k: tv.categorical_cross_entropy(x, k) / float(np.log(2)),
        "of the first level": lambda x, k: tv.categorical_cross_entropy(x, 0 * k),
        "without the level's own": lambda x, k: tv.logsumexp(x).sum(axis=-1) + 0 * k.sum(axis=-1),
    },
    "discretised_logistic_cross_entropy": {
        "closed at the ends": lambda m, s, t: inner(m, s, t),
        "of 255 levels": lambda m, s, t: inner(m, s, t, 1 / 508),
        "of a whole level to either side": lambda m, s, t: inner(m, s, t, 1 / 255),
        "the density": lambda m, s, t: -tv.logistic_log_likelihood(t, m, s),
        "the density times the width": lambda m, s, t: (
            -(tv.logistic_log_likelihood(t, m, s) - m.shape[-1] * float(np.log(255)))
        ),
        "its sign flipped": lambda m, s, t: -tv.discretised_logistic_cross_entropy(m, s, t),
        "probabilities lifted by 1e-7": lambda m, s, t: (
            -tv.log(tv.exp(-tv.discretised_logistic_cross_entropy(m, s, t)) + 1e-7)
        ),
    },
}
