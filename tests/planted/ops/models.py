"""Wrong models: what each computes, of Tensors, so that its gradient agrees with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

import tinyvae as tv
from tinyvae import Tensor

Model: TypeAlias = Callable[..., Tensor]
"""A function of Tensors, with the op's options."""


def logistic_loss(x: Tensor, t: Tensor) -> Tensor:
    """Cross-entropy by pixel."""
    return tv.softplus(x) - t * x


def excess(v: Tensor) -> Tensor:
    """e^v - 1 - v."""
    return tv.exp(v) - 1 - v


MODELS: dict[str, dict[str, Model]] = {
    "bernoulli_cross_entropy": {
        "averaged over the pixels": lambda x, t: logistic_loss(x, t).mean(axis=-1),
        "summed over the batch": lambda x, t: logistic_loss(x, t).sum(axis=0),
        "the log-likelihood": lambda x, t: -logistic_loss(x, t).sum(axis=-1),
        "the negative term forgotten": lambda x, t: (t * tv.softplus(-x)).sum(axis=-1),
        "the positive term forgotten": lambda x, t: ((1 - t) * tv.softplus(x)).sum(axis=-1),
        "the targets swapped with their complement": lambda x, t: (
            tv.softplus(x) - (1 - t) * x
        ).sum(axis=-1),
        "log 1 + e^l without t l": lambda x, t: tv.softplus(x).sum(axis=-1),
        "a sigmoid too many": lambda x, t: logistic_loss(tv.sigmoid(x), t).sum(axis=-1),
        "the squared error": lambda x, t: ((tv.sigmoid(x) - t) ** 2).sum(axis=-1),
        "in bits": lambda x, t: logistic_loss(x, t).sum(axis=-1) / float(np.log(2)),
        "the hinge alone": lambda x, t: (tv.relu(x) - t * x).sum(axis=-1),
        "probabilities lifted by 1e-7": lambda x, t: (
            -(t * tv.log(tv.sigmoid(x) + 1e-7) + (1 - t) * tv.log(tv.sigmoid(-x) + 1e-7)).sum(
                axis=-1
            )
        ),
        "less the entropy of the targets": lambda x, t: (logistic_loss(x, t) - t * (1 - t)).sum(
            axis=-1
        ),
    },
    "gaussian_sample": {
        "the variance for sigma": lambda m, v, n: m + tv.exp(v) * n,
        "the log variance for log sigma": lambda m, v, n: m + tv.exp(2 * v) * n,
        "the log variance for sigma": lambda m, v, n: m + v * n,
        "1/sigma for sigma": lambda m, v, n: m + tv.exp(-v / 2) * n,
        "the root of the log variance": lambda m, v, n: m + tv.sqrt(tv.abs(v)) * n,
        "minus the mean": lambda m, v, n: tv.exp(v / 2) * n - m,
        "the mean forgotten": lambda m, v, n: tv.exp(v / 2) * n + m * 0,
        "the noise forgotten": lambda m, v, n: m + tv.exp(v / 2) + n * 0,
        "sigma 1": lambda m, v, n: m + n + v * 0,
        "sigma 0.01": lambda m, v, n: m + 0.01 * n + v * 0,
        "the noise squared": lambda m, v, n: m + tv.exp(v / 2) * n**2,
        "mean and noise swapped": lambda m, v, n: n + tv.exp(v / 2) * m,
        "mean and log variance swapped": lambda m, v, n: v + tv.exp(m / 2) * n,
        "one draw for all latents": lambda m, v, n: m + tv.exp(v / 2) * n[..., :1],
        "the deviation without its factor": lambda m, v, n: (m + n) * tv.exp(v / 2),
    },
    "kl_standard_normal": {
        "its sign flipped": lambda m, v: -(m**2 + excess(v)).sum(axis=-1) / 2,
        "the 1/2 forgotten": lambda m, v: (m**2 + excess(v)).sum(axis=-1),
        "the 1/2 of the mean's term only": lambda m, v: (m**2 / 2 + excess(v)).sum(axis=-1),
        "the -1 forgotten": lambda m, v: (m**2 + excess(v) + 1).sum(axis=-1) / 2,
        "the mean not squared": lambda m, v: (m + excess(v)).sum(axis=-1) / 2,
        "the log variance not subtracted": lambda m, v: (m**2 + tv.exp(v) - 1).sum(axis=-1) / 2,
        "plus the log variance": lambda m, v: (m**2 + tv.exp(v) - 1 + v).sum(axis=-1) / 2,
        "the log variance for log sigma": lambda m, v: (
            (m**2 + tv.exp(2 * v) - 1 - 2 * v).sum(axis=-1) / 2
        ),
        "sigma for the variance": lambda m, v: (m**2 + tv.exp(v / 2) - 1 - v).sum(axis=-1) / 2,
        "the reverse": lambda m, v: ((m**2 + 1) * tv.exp(-v) - 1 + v).sum(axis=-1) / 2,
        "averaged over the latents": lambda m, v: (m**2 + excess(v)).mean(axis=-1) / 2,
        "summed over the batch": lambda m, v: (m**2 + excess(v)).sum(axis=0) / 2,
        "the mean's term forgotten": lambda m, v: (excess(v) + m * 0).sum(axis=-1) / 2,
        "mean and log variance swapped": lambda m, v: (v**2 + excess(m)).sum(axis=-1) / 2,
        "log variance over the variance": lambda m, v: (
            (m**2 + tv.exp(v) - 1 - v * tv.exp(-v)).sum(axis=-1) / 2
        ),
        "in bits": lambda m, v: (m**2 + excess(v)).sum(axis=-1) / float(2 * np.log(2)),
    },
    "kl_gaussian": {
        "the reverse": lambda m, v, p, w: tv.kl_gaussian(p, w, m, v),
        "of the standard normal": lambda m, v, p, w: (
            tv.kl_standard_normal(m, v) + 0 * (p + w).sum(axis=-1)
        ),
        "the variances swapped": lambda m, v, p, w: tv.kl_gaussian(m, w, p, v),
        "its sign flipped": lambda m, v, p, w: -tv.kl_gaussian(m, v, p, w),
        "the distance not squared": lambda m, v, p, w: (
            (tv.abs(m - p) * tv.exp(-w) + excess(v - w)).sum(axis=-1) / 2
        ),
        "the distance not divided by w": lambda m, v, p, w: (
            ((m - p) ** 2 + excess(v - w)).sum(axis=-1) / 2
        ),
        "the distance divided by v": lambda m, v, p, w: (
            ((m - p) ** 2 * tv.exp(-v) + excess(v - w)).sum(axis=-1) / 2
        ),
        "the means added": lambda m, v, p, w: (
            ((m + p) ** 2 * tv.exp(-w) + excess(v - w)).sum(axis=-1) / 2
        ),
        "the -1 forgotten": lambda m, v, p, w: (
            ((m - p) ** 2 * tv.exp(-w) + excess(v - w) + 1).sum(axis=-1) / 2
        ),
        "log variances for log sigmas": lambda m, v, p, w: tv.kl_gaussian(m, 2 * v, p, 2 * w),
        "averaged over the latents": lambda m, v, p, w: tv.kl_gaussian(m, v, p, w) / m.shape[-1],
    },
    "gaussian_log_likelihood": {
        "its sign flipped": lambda x, m, v: -tv.gaussian_log_likelihood(x, m, v),
        "the 1/2 forgotten": lambda x, m, v: 2 * tv.gaussian_log_likelihood(x, m, v),
        "log 2 pi forgotten": lambda x, m, v: -((x - m) ** 2 * tv.exp(-v) + v).sum(axis=-1) / 2,
        "log pi for log 2 pi": lambda x, m, v: (
            -((x - m) ** 2 * tv.exp(-v) + v + float(np.log(np.pi))).sum(axis=-1) / 2
        ),
        "log 2 pi once for all pixels": lambda x, m, v: (
            -((x - m) ** 2 * tv.exp(-v) + v).sum(axis=-1) / 2 - float(np.log(2 * np.pi) / 2)
        ),
        "the log variance forgotten": lambda x, m, v: (
            tv.gaussian_log_likelihood(x, m, v) + (v + x * 0).sum(axis=-1) / 2
        ),
        "minus the log variance": lambda x, m, v: (
            tv.gaussian_log_likelihood(x, m, v) + (v + x * 0).sum(axis=-1)
        ),
        "sigma for the variance": lambda x, m, v: tv.gaussian_log_likelihood(x, m, v / 2),
        "the log variance for log sigma": lambda x, m, v: tv.gaussian_log_likelihood(x, m, 2 * v),
        "the variance for its logarithm": lambda x, m, v: tv.gaussian_log_likelihood(
            x, m, tv.exp(v)
        ),
        "the precision for the variance": lambda x, m, v: tv.gaussian_log_likelihood(x, m, -v),
        "the squared error": lambda x, m, v: -((x - m) ** 2 + v * 0).sum(axis=-1),
        "the absolute error": lambda x, m, v: (
            -(tv.abs(x - m) * tv.exp(-v) + v + float(np.log(2 * np.pi))).sum(axis=-1) / 2
        ),
        "averaged over the pixels": lambda x, m, v: (
            tv.gaussian_log_likelihood(x, m, v) / x.shape[-1]
        ),
    },
    "importance_bound": {
        "of the sum": lambda x: tv.logsumexp(x),
        "the mean of the logarithms": lambda x: x.mean(axis=-1),
        "the largest": lambda x: tv.max(x, axis=-1),
        "the weights' sign": lambda x: -tv.importance_bound(-x),
        "of -x": lambda x: tv.importance_bound(-x),
        "not shifted": lambda x: tv.log(tv.exp(x).mean(axis=-1)),
        "over one sample fewer": lambda x: (
            tv.logsumexp(x) - float(np.log(max(x.shape[-1] - 1, 0.5)))
        ),
    },
    "softmax": {
        "along the first axis": lambda x, axis=-1: tv.softmax(x, axis=0 if axis else -1),
        "of -x": lambda x, axis=-1: tv.softmax(-x, axis=axis),
        "by the largest": lambda x, axis=-1: tv.exp(x - tv.max(x, axis=axis, keepdims=True)),
        "over all axes": lambda x, axis=-1: tv.exp(x - tv.logsumexp(x, axis=None)),
        "of base 2": lambda x, axis=-1: tv.softmax(x * float(np.log(2)), axis=axis),
        "of the squares": lambda x, axis=-1: x * x / (x * x).sum(axis=axis, keepdims=True),
    },
    "log_softmax": {
        "along the first axis": lambda x, axis=-1: tv.log_softmax(x, axis=0 if axis else -1),
        "the largest for the log-sum-exp": lambda x, axis=-1: (
            x - tv.max(x, axis=axis, keepdims=True)
        ),
        "the softmax": lambda x, axis=-1: tv.softmax(x, axis=axis),
        "lifted by 1e-7": lambda x, axis=-1: tv.log(tv.softmax(x, axis=axis) + 1e-7),
    },
    "logsumexp": {
        "of the mean": lambda x, axis=-1, keepdims=False: tv.log(
            tv.exp(x).mean(axis=axis, keepdims=keepdims)
        ),
        "the largest": lambda x, axis=-1, keepdims=False: tv.max(x, axis=axis, keepdims=keepdims),
        "not shifted": lambda x, axis=-1, keepdims=False: tv.log(
            tv.exp(x).sum(axis=axis, keepdims=keepdims)
        ),
        "of -x": lambda x, axis=-1, keepdims=False: tv.logsumexp(-x, axis=axis, keepdims=keepdims),
    },
    "sigmoid": {
        "of -x": lambda x: tv.sigmoid(-x),
        "the tangent": lambda x: tv.tanh(x),
        "hard": lambda x: tv.maximum(1 - tv.relu(0.5 - x / 6), 0.0),
        "1/(1 + e^-x), which overflows": lambda x: 1 / (1 + tv.exp(-x)),
    },
    "softplus": {
        "of -x": lambda x: tv.softplus(-x),
        "log(1 + e^x), which overflows": lambda x: tv.log(1 + tv.exp(x)),
        "the rectifier": lambda x: tv.relu(x),
    },
    "tanh": {"the sigmoid": lambda x: tv.sigmoid(x), "of x/2": lambda x: tv.tanh(x / 2)},
    "gelu": {
        "x Phi(x), by logistic(1.702 x)": lambda x: x * tv.sigmoid(1.702 * x),
        "the swish": lambda x: x * tv.sigmoid(x),
        "0.044 for 0.044715": lambda x: (
            x / 2 * (1 + tv.tanh(float(np.sqrt(2 / np.pi)) * (x + 0.044 * x**3)))
        ),
    },
    "relu": {
        "of -x": lambda x: tv.relu(-x),
        "leaky": lambda x: tv.leaky_relu(x),
        "shifted": lambda x: tv.relu(x - 0.1),
    },
    "leaky_relu": {
        "the slope forgotten": lambda x, slope=0.01: tv.relu(x),
        "the branches swapped": lambda x, slope=0.01: (
            tv.maximum(x, 0.0) * slope + tv.relu(x) - tv.relu(-x)
        ),
        "the slope's sign flipped": lambda x, slope=0.01: tv.leaky_relu(x, slope=-slope),
    },
    "elu": {
        "alpha forgotten": lambda x, alpha=1.0: tv.elu(x),
        "e^x without the -1": lambda x, alpha=1.0: (
            tv.maximum(x, 0.0) + alpha * tv.exp(-tv.relu(-x))
        ),
        "alpha also for positive x": lambda x, alpha=1.0: alpha * tv.elu(x) * 1.5,
    },
    "exp": {
        "of -x": lambda x: tv.exp(-x),
        "less 1": lambda x: tv.exp(x) - 1,
        "of base 2": lambda x: tv.exp(x * 0.693),
    },
    "log": {
        "of base 2": lambda x: tv.log(x) / 0.693,
        "of 1 + x": lambda x: tv.log(1 + x),
        "lifted": lambda x: tv.log(x + 1e-7),
    },
    "sqrt": {"the square": lambda x: x * x, "lifted": lambda x: tv.sqrt(x + 1e-7)},
    "mean": {
        "the sum": lambda x, **o: tv.sum(x, **o),
        "by one less": lambda x, **o: tv.mean(x, **o) * 7 / 6,
    },
    "sum": {
        "the mean": lambda x, **o: tv.mean(x, **o),
        "of all": lambda x, **o: tv.sum(x, **o) * 0 + tv.sum(x),
    },
    "max": {
        "the smallest": lambda x, **o: -tv.max(-x, **o),
        "the largest of all": lambda x, **o: tv.max(x, **o) * 0 + tv.max(x),
    },
    "maximum": {
        "the smaller": lambda a, b: -tv.maximum(-a, -b),
        "the first": lambda a, b: a + b * 0,
    },
    "divide": {"upside down": lambda a, b: b / a, "lifted": lambda a, b: a / (b + 1e-7)},
    "subtract": {"the other way round": lambda a, b: b - a, "the sum": lambda a, b: a + b},
    "add": {"the difference": lambda a, b: a - b, "the mean of the two": lambda a, b: (a + b) / 2},
    "multiply": {
        "of the first alone": lambda a, b: a * (b * 0 + 2),
        "the square": lambda a, b: a * b * b,
    },
    "negative": {"x": lambda x: x * 1.0, "1 - x": lambda x: 1 - x},
    "abs": {"x": lambda x: x * 1.0, "squared": lambda x: x * x},
    "power": {"one more": lambda x, exponent: tv.power(x, exponent=exponent) * x},
    "affine": {
        "the bias forgotten": lambda x, w, b: x @ w + b * 0,
        "the bias subtracted": lambda x, w, b: x @ w - b,
    },
    "affine_relu": {
        "the bias after the rectifier": lambda x, w, b: tv.relu(x @ w) + b,
        "not rectified": lambda x, w, b: x @ w + b,
        "of the negative": lambda x, w, b: tv.relu(-(x @ w + b)),
    },
    "transpose": {
        "the inverse": lambda x, axes=None: (
            tv.transpose(x, axes=tuple(map(int, np.argsort(axes)))) if axes else -tv.transpose(-x)
        )
    },
    "concatenate": {"in reverse": lambda *xs, axis=0: tv.concatenate(*xs[::-1], axis=axis)},
    "stack": {"in reverse": lambda *xs, axis=0: tv.stack(*xs[::-1], axis=axis)},
}
