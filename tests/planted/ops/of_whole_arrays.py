"""Wrong gradients of the densities of whole arrays: full covariance, mixtures, levels of grey."""

from __future__ import annotations

from typing import Any

import numpy as np

from planted.ops.of_derivations import row
from planted.ops.pullbacks import Entry

exp = np.exp
Array = np.ndarray


def factor(d: Array, a: Array) -> Array:
    """Lower triangular, with e^d on the diagonal."""
    k = d.shape[-1]
    whole = exp(d)[..., None] * np.eye(k)
    whole[(..., *np.tril_indices(k, -1))] = a
    return whole


def below(matrix: Array) -> Array:
    return matrix[(..., *np.tril_indices(matrix.shape[-1], -1))]


def outer(g: Array, n: Array) -> Array:
    return g[..., :, None] * n[..., None, :]


def solved(x: Array, m: Array, d: Array, a: Array) -> tuple[Array, Array]:
    """The noise n that makes x, and y with A^T y = n."""
    whole = factor(d, a)
    n = np.linalg.solve(whole, (x - m)[..., None])
    y = np.linalg.solve(np.swapaxes(whole, -1, -2), n)
    return n[..., 0], y[..., 0]


def turned(d: Array, a: Array, g: Array) -> Array:
    """A g, where A^T g belongs."""
    return (factor(d, a) @ g[..., None])[..., 0]


SAMPLE: list[Entry] = [
    (0, "zero, since the sample is a draw", "zero", lambda g, m, d, a, n: np.zeros_like(m)),
    (1, "its exponential forgotten", "", lambda g, m, d, a, n: g * n),
    (1, "half, as of a log variance", "factor", lambda g, m, d, a, n: g * exp(d) * n / 2),
    (2, "transposed", "", lambda g, m, d, a, n: below(outer(n, g))),
    (2, "zero, as of independent ones", "zero", lambda g, m, d, a, n: np.zeros_like(a)),
    (3, "not transposed", "", lambda g, m, d, a, n: turned(d, a, g)),
    (3, "the diagonal alone", "", lambda g, m, d, a, n: g * exp(d)),
]
LIKELIHOOD: list[Entry] = [
    (0, "the minus forgotten", "sign", lambda g, *at: row(g) * solved(*at)[1]),
    (1, "the noise", "", lambda g, *at: row(g) * solved(*at)[0]),
    (
        2,
        "the -1 forgotten",
        "term",
        lambda g, x, m, d, a: row(g) * exp(d) * np.prod(solved(x, m, d, a), 0),
    ),
    (2, "the square less 1", "", lambda g, x, m, d, a: row(g) * (solved(x, m, d, a)[0] ** 2 - 1)),
    (3, "transposed", "", lambda g, *at: row(g) * below(outer(*solved(*at)))),
    (3, "its sign", "sign", lambda g, *at: -row(g) * below(outer(*solved(*at)[::-1]))),
    (3, "of the noise alone", "", lambda g, *at: row(g) * below(outer(*[solved(*at)[0]] * 2))),
]
DIVERGENCE: list[Entry] = [
    (0, "the square's factor 2", "factor", lambda g, m, d, a: row(g) * 2 * m),
    (1, "the -1 forgotten", "term", lambda g, m, d, a: row(g) * exp(2 * d)),
    (1, "half, as of a log variance", "factor", lambda g, m, d, a: row(g) * (exp(2 * d) - 1) / 2),
    (1, "the diagonal for its square", "", lambda g, m, d, a: row(g) * (exp(d) - 1)),
    (2, "half", "factor", lambda g, m, d, a: row(g) * a / 2),
    (2, "zero, as of independent ones", "zero", lambda g, m, d, a: np.zeros_like(a)),
]


def shares(z: Array, w: Array, m: Array, v: Array) -> Array:
    """The responsibilities (B, M)."""
    a = w - (((z[:, None] - m) ** 2 / exp(v) + v).sum(-1)) / 2
    e = exp(a - a.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def softmax(w: Array) -> Array:
    return exp(w) / exp(w).sum()


def pulls(g: Array, r: Array, z: Array, m: Array, v: Array) -> Array:
    return (g[:, None] * r)[..., None] * (z[:, None] - m) / exp(v)


MIXTURE: list[Entry] = [
    (
        0,
        "the minus forgotten",
        "sign",
        lambda g, z, w, m, v: pulls(g, shares(z, w, m, v), z, m, v).sum(1),
    ),
    (
        0,
        "by the weights",
        "",
        lambda g, z, w, m, v: -pulls(g, softmax(w) + 0 * z[:, :1], z, m, v).sum(1),
    ),
    (
        0,
        "of the nearest alone",
        "",
        lambda g, z, w, m, v: -pulls(g, 1.0 * (shares(z, w, m, v) > 0.5), z, m, v).sum(1),
    ),
    (1, "the weights forgotten", "", lambda g, z, w, m, v: g @ shares(z, w, m, v)),
    (
        1,
        "not normalised, of 0.9 of them",
        "",
        lambda g, z, w, m, v: g @ shares(z, w, m, v) - 0.9 * softmax(w) * g.sum(),
    ),
    (2, "of the first example", "", lambda g, z, w, m, v: pulls(g, shares(z, w, m, v), z, m, v)[0]),
    (
        2,
        "without responsibilities",
        "",
        lambda g, z, w, m, v: pulls(g, 1 + 0 * shares(z, w, m, v), z, m, v).sum(0),
    ),
    (
        2,
        "the minus too many",
        "sign",
        lambda g, z, w, m, v: -pulls(g, shares(z, w, m, v), z, m, v).sum(0),
    ),
    (
        3,
        "the -1 forgotten",
        "",
        lambda g, z, w, m, v: (pulls(g, shares(z, w, m, v), z, m, v) * (z[:, None] - m) / 2).sum(0),
    ),
    (3, "zero", "zero", lambda g, z, w, m, v: np.zeros_like(v)),
]


def probabilities(logits: Array) -> Array:
    e = exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def one_hot(logits: Array, k: Array) -> Array:
    return 1.0 * (np.arange(logits.shape[-1]) == k[..., None])


def each(g: Array) -> Array:
    return np.asarray(g)[..., None, None]


CATEGORICAL: list[Entry] = [
    (0, "its sign", "sign", lambda g, x, k: each(g) * (one_hot(x, k) - probabilities(x))),
    (0, "the probabilities alone", "", lambda g, x, k: each(g) * probabilities(x)),
    (0, "of the next level", "", lambda g, x, k: each(g) * (probabilities(x) - one_hot(x, k + 1))),
    (0, "a sigmoid for each", "", lambda g, x, k: each(g) * (1 / (1 + exp(-x)) - one_hot(x, k))),
    (1, "a slope of 1", "", lambda g, x, k: row(g) + 0 * k),
]

WHOLE_ARRAYS: dict[str, list[Any]] = {
    "cholesky_sample": SAMPLE,
    "cholesky_log_likelihood": LIKELIHOOD,
    "kl_cholesky_standard_normal": DIVERGENCE,
    "mixture_log_likelihood": MIXTURE,
    "categorical_cross_entropy": CATEGORICAL,
}
