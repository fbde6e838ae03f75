"""Wrong gradients of the derivations: the losses, the sample, the divergences."""

from __future__ import annotations

import numpy as np

from planted.ops.pullbacks import Entry
from tinyvae.autograd.ops import fit, logistic

exp = np.exp


def row(g: np.ndarray) -> np.ndarray:
    """The upstream gradient with the summed axis back."""
    return np.asarray(g)[..., None]


CROSS_ENTROPY: list[Entry] = [
    (0, "t - p", "sign", lambda g, x, t: row(g) * (t - logistic(x))),
    (0, "p alone", "term", lambda g, x, t: row(g) * logistic(x)),
    (
        0,
        "p (1 - p) too many",
        "",
        lambda g, x, t: row(g) * (logistic(x) - t) * logistic(x) * logistic(-x),
    ),
    (0, "the logits for p", "", lambda g, x, t: row(g) * (x - t)),
    (
        0,
        "with respect to p",
        "",
        lambda g, x, t: row(g) * (logistic(x) - t) / (logistic(x) * logistic(-x)),
    ),
    (
        0,
        "averaged over the pixels",
        "factor",
        lambda g, x, t: row(g) * (logistic(x) - t) / x.shape[-1],
    ),
    (0, "averaged over the batch", "factor", lambda g, x, t: row(g) * (logistic(x) - t) / len(x)),
    (
        0,
        "a softmax for the sigmoid",
        "",
        lambda g, x, t: row(g) * (exp(x) / exp(x).sum(-1, keepdims=True) - t),
    ),
    (0, "of the positive term only", "", lambda g, x, t: -row(g) * t * logistic(-x)),
    (0, "of the negative term only", "", lambda g, x, t: row(g) * (1 - t) * logistic(x)),
    (0, "black and white targets", "", lambda g, x, t: row(g) * (logistic(x) - (t > 0.5))),
    (
        0,
        "the targets swapped with their complement",
        "",
        lambda g, x, t: row(g) * (logistic(x) - (1 - t)),
    ),
    (
        0,
        "the examples' order reversed",
        "permuted",
        lambda g, x, t: row(g[::-1]) * (logistic(x) - t),
    ),
    (
        0,
        "the targets of the next example",
        "",
        lambda g, x, t: row(g) * (logistic(x) - np.roll(t, 1, 0)),
    ),
    (0, "the upstream summed", "", lambda g, x, t: np.sum(g) * (logistic(x) - t)),
    (
        0,
        "the last example forgotten",
        "row",
        lambda g, x, t: row(g) * (logistic(x) - t) * but_last(x),
    ),
    (0, "only the hinge's", "", lambda g, x, t: row(g) * ((x > 0) - t)),
    (1, "the minus forgotten", "sign", lambda g, x, t: row(g) * x),
    (1, "zero, since targets are data", "zero", lambda g, x, t: np.zeros_like(t)),
    (1, "-log p", "", lambda g, x, t: -row(g) * np.log(logistic(x))),
    (1, "p for the logit", "", lambda g, x, t: -row(g) * logistic(x)),
    (1, "the logits' gradient", "swapped", lambda g, x, t: row(g) * (logistic(x) - t)),
]

SAMPLE: list[Entry] = [
    (0, "zero, since the sample is a draw", "zero", lambda g, m, v, n: np.zeros_like(m)),
    (0, "times sigma", "swapped", lambda g, m, v, n: g * exp(v / 2)),
    (0, "divided by sigma", "sigma", lambda g, m, v, n: g / exp(v / 2)),
    (0, "times the noise", "input factor", lambda g, m, v, n: g * n),
    (1, "zero, since the sample is a draw", "zero", lambda g, m, v, n: np.zeros_like(v)),
    (1, "the 1/2 forgotten", "factor", lambda g, m, v, n: g * exp(v / 2) * n),
    (1, "the noise forgotten", "noise", lambda g, m, v, n: g * exp(v / 2) / 2),
    (1, "the variance for sigma", "sigma", lambda g, m, v, n: g * exp(v) * n / 2),
    (1, "with respect to sigma", "sigma", lambda g, m, v, n: g * n),
    (1, "with respect to the variance", "sigma", lambda g, m, v, n: g * n / (2 * exp(v / 2))),
    (1, "the sample for the deviation", "", lambda g, m, v, n: g * (m + exp(v / 2) * n) / 2),
    (1, "1 + the log variance for sigma", "", lambda g, m, v, n: g * (1 + v / 2) * n / 2),
    (1, "the noise's size", "", lambda g, m, v, n: g * exp(v / 2) * np.abs(n) / 2),
    (
        1,
        "the noise of the next example",
        "",
        lambda g, m, v, n: g * exp(v / 2) * np.roll(n, 1, 0) / 2,
    ),
    (1, "a new draw of the noise", "", lambda g, m, v, n: g * exp(v / 2) * draw(n) / 2),
    (1, "1/sigma for sigma", "sigma", lambda g, m, v, n: g * exp(-v / 2) * n / 2),
    (2, "1, sigma forgotten", "swapped", lambda g, m, v, n: g),
    (2, "the variance for sigma", "sigma", lambda g, m, v, n: g * exp(v)),
    (2, "zero, since the noise is no parameter", "zero", lambda g, m, v, n: np.zeros_like(n)),
]

KL_STANDARD: list[Entry] = [
    (0, "the square's factor 2", "factor", lambda g, m, v: row(g) * 2 * m),
    (0, "half", "factor", lambda g, m, v: row(g) * m / 2),
    (0, "the sign of the ELBO", "sign", lambda g, m, v: -row(g) * m),
    (0, "over the variance", "sigma", lambda g, m, v: row(g) * m / exp(v)),
    (0, "the square itself", "input factor", lambda g, m, v: row(g) * m**2 / 2),
    (1, "the -1 forgotten", "term", lambda g, m, v: row(g) * exp(v) / 2),
    (1, "the -1 alone", "", lambda g, m, v: row(g) * np.full_like(v, -0.5)),
    (1, "the 1/2 forgotten", "factor", lambda g, m, v: row(g) * (exp(v) - 1)),
    (1, "the sign of the ELBO", "sign", lambda g, m, v: row(g) * (1 - exp(v)) / 2),
    (1, "sigma for the variance", "sigma", lambda g, m, v: row(g) * (exp(v / 2) - 1) / 2),
    (1, "with respect to sigma", "sigma", lambda g, m, v: row(g) * (exp(v / 2) - exp(-v / 2))),
    (1, "with respect to the variance", "sigma", lambda g, m, v: row(g) * (1 - exp(-v)) / 2),
    (1, "the log variance for the variance", "sigma", lambda g, m, v: row(g) * (v - 1) / 2),
    (1, "the log variance for its exponential less 1", "sigma", lambda g, m, v: row(g) * v / 2),
    (1, "plus for minus", "term", lambda g, m, v: row(g) * (exp(v) + 1) / 2),
    (1, "1/v for v", "sigma", lambda g, m, v: row(g) * (exp(-v) - 1) / 2),
    (1, "the mean's gradient", "swapped", lambda g, m, v: row(g) * m),
    (
        1,
        "averaged over the latents",
        "factor",
        lambda g, m, v: row(g) * (exp(v) - 1) / (2 * v.shape[-1]),
    ),
    (1, "averaged over the batch", "factor", lambda g, m, v: row(g) * (exp(v) - 1) / (2 * len(v))),
    (1, "the log variance misplaced", "", lambda g, m, v: row(g) * (exp(v) - v) / 2),
]

KL_GAUSSIAN: list[Entry] = [
    (0, "not divided by w", "sigma", lambda g, m, v, p, w: row(g) * (m - p)),
    (0, "divided by v", "sigma", lambda g, m, v, p, w: row(g) * (m - p) / exp(v)),
    (0, "divided by the root of w", "sigma", lambda g, m, v, p, w: row(g) * (m - p) / exp(w / 2)),
    (0, "of the standard normal", "", lambda g, m, v, p, w: row(g) * m),
    (0, "p - m", "sign", lambda g, m, v, p, w: row(g) * (p - m) / exp(w)),
    (0, "the 1/2 kept", "factor", lambda g, m, v, p, w: row(g) * (m - p) / (2 * exp(w))),
    (1, "the -1 forgotten", "term", lambda g, m, v, p, w: row(g) * exp(v - w) / 2),
    (1, "of the standard normal", "", lambda g, m, v, p, w: row(g) * (exp(v) - 1) / 2),
    (1, "w/v for v/w", "swapped", lambda g, m, v, p, w: row(g) * (exp(w - v) - 1) / 2),
    (1, "the ratio of sigmas", "sigma", lambda g, m, v, p, w: row(g) * (exp((v - w) / 2) - 1) / 2),
    (1, "the 1/2 forgotten", "factor", lambda g, m, v, p, w: row(g) * (exp(v - w) - 1)),
    (2, "the minus forgotten", "sign", lambda g, m, v, p, w: row(g) * (m - p) / exp(w)),
    (2, "zero, since the prior is fixed", "zero", lambda g, m, v, p, w: np.zeros_like(p)),
    (3, "the distance forgotten", "", lambda g, m, v, p, w: row(g) * (1 - exp(v - w)) / 2),
    (
        3,
        "the distance not divided by w",
        "sigma",
        lambda g, m, v, p, w: row(g) * (1 - exp(v - w) - (m - p) ** 2) / 2,
    ),
    (
        3,
        "the log variance's sign flipped",
        "sign",
        lambda g, m, v, p, w: row(g) * (exp(v - w) - 1 + (m - p) ** 2 / exp(w)) / 2,
    ),
    (
        3,
        "plus the distance",
        "",
        lambda g, m, v, p, w: row(g) * (1 - exp(v - w) + (m - p) ** 2 / exp(w)) / 2,
    ),
    (3, "minus that of v", "", lambda g, m, v, p, w: -row(g) * (exp(v - w) - 1) / 2),
    (
        3,
        "the 1 forgotten",
        "term",
        lambda g, m, v, p, w: -row(g) * (exp(v - w) + (m - p) ** 2 / exp(w)) / 2,
    ),
]

LIKELIHOOD: list[Entry] = [
    (0, "the minus forgotten", "sign", lambda g, x, m, v: row(g) * (x - m) / exp(v)),
    (0, "zero, since x is data", "zero", lambda g, x, m, v: np.zeros_like(x)),
    (1, "not divided by the variance", "sigma", lambda g, x, m, v: row(g) * (x - m)),
    (1, "divided by sigma", "sigma", lambda g, x, m, v: row(g) * (x - m) / exp(v / 2)),
    (1, "divided by the log variance", "sigma", lambda g, x, m, v: row(g) * (x - m) / v),
    (1, "the square's factor 2", "factor", lambda g, x, m, v: row(g) * 2 * (x - m) / exp(v)),
    (1, "m - x", "sign", lambda g, x, m, v: row(g) * (m - x) / exp(v)),
    (
        1,
        "the sign alone, of an absolute error",
        "",
        lambda g, x, m, v: row(g) * np.sign(x - m) / exp(v),
    ),
    (
        1,
        "averaged over the pixels",
        "factor",
        lambda g, x, m, v: row(g) * (x - m) / exp(v) / x.shape[-1],
    ),
    (2, "the -1 forgotten", "term", lambda g, x, m, v: fit(row(g) * (x - m) ** 2 / exp(v) / 2, v)),
    (2, "the -1 alone", "", lambda g, x, m, v: fit(row(g) * np.full_like(x, -0.5), v)),
    (
        2,
        "the 1/2 forgotten",
        "factor",
        lambda g, x, m, v: fit(row(g) * ((x - m) ** 2 / exp(v) - 1), v),
    ),
    (
        2,
        "the sign of the loss",
        "sign",
        lambda g, x, m, v: fit(row(g) * (1 - (x - m) ** 2 / exp(v)) / 2, v),
    ),
    (
        2,
        "with respect to sigma",
        "sigma",
        lambda g, x, m, v: fit(row(g) * ((x - m) ** 2 / exp(v) - 1) / exp(v / 2), v),
    ),
    (
        2,
        "with respect to the variance",
        "sigma",
        lambda g, x, m, v: fit(row(g) * ((x - m) ** 2 / exp(v) - 1) / exp(v) / 2, v),
    ),
    (
        2,
        "not divided by the variance",
        "sigma",
        lambda g, x, m, v: fit(row(g) * ((x - m) ** 2 - 1) / 2, v),
    ),
    (
        2,
        "divided by sigma",
        "sigma",
        lambda g, x, m, v: fit(row(g) * ((x - m) ** 2 / exp(v / 2) - 1) / 2, v),
    ),
    (
        2,
        "the distance for its square",
        "",
        lambda g, x, m, v: fit(row(g) * (np.abs(x - m) / exp(v) - 1) / 2, v),
    ),
]


def normalised(x: np.ndarray) -> np.ndarray:
    """e^x over its sum along the last axis."""
    return exp(x) / exp(x).sum(-1, keepdims=True)


BOUND: list[Entry] = [
    (0, "the weights' sign", "", lambda g, x: row(g) * normalised(-x)),
    (0, "the same for all samples", "", lambda g, x: row(g) * np.ones_like(x) / x.shape[-1]),
    (0, "1 for all samples", "", lambda g, x: row(g) * np.ones_like(x)),
    (0, "not normalised", "", lambda g, x: row(g) * exp(x)),
    (
        0,
        "by the mean weight",
        "factor",
        lambda g, x: row(g) * normalised(x) * x.shape[-1],
    ),
    (0, "over their number again", "factor", lambda g, x: row(g) * normalised(x) / x.shape[-1]),
    (0, "squared", "", lambda g, x: row(g) * normalised(x) ** 2),
    (0, "the largest alone", "", lambda g, x: row(g) * (x == x.max(-1, keepdims=True))),
    (0, "of all examples", "", lambda g, x: row(g) * exp(x) / exp(x).sum()),
    (0, "of a softmax's diagonal", "", lambda g, x: row(g) * normalised(x) * (1 - normalised(x))),
]

DERIVATIONS: dict[str, list[Entry]] = {
    "bernoulli_cross_entropy": CROSS_ENTROPY,
    "gaussian_sample": SAMPLE,
    "kl_standard_normal": KL_STANDARD,
    "kl_gaussian": KL_GAUSSIAN,
    "gaussian_log_likelihood": LIKELIHOOD,
    "importance_bound": BOUND,
}


def but_last(x: np.ndarray) -> np.ndarray:
    """1 for every example but the last."""
    return (np.arange(len(x)) < len(x) - 1).reshape(-1, *[1] * (x.ndim - 1))


def draw(like: np.ndarray) -> np.ndarray:
    """Noise that nobody has seen before."""
    return np.random.default_rng(7).standard_normal(like.shape)
