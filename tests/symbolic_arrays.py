"""What the densities of whole arrays compute, by definition, in small arrays of symbols."""

from __future__ import annotations

from typing import Any, NamedTuple

import sympy as sp


class Defined(NamedTuple):
    """The inputs of an op, nested as its arrays are, and its value, by definition."""

    inputs: tuple[Any, ...]
    value: Any


def symbols(name: str, *shape: int) -> sp.Array:
    count = sp.prod(shape)
    return sp.Array(sp.symbols(f"{name}:{count}", real=True, seq=True), shape)


K = 3
x, mean, log_diagonal, noise = (symbols(name, K) for name in ("x", "m", "d", "n"))
lower = symbols("a", K * (K - 1) // 2)
FACTOR = sp.Matrix(
    [
        [sp.exp(log_diagonal[0]), 0, 0],
        [lower[0], sp.exp(log_diagonal[1]), 0],
        [lower[1], lower[2], sp.exp(log_diagonal[2])],
    ]
)
COVARIANCE = FACTOR * FACTOR.T


def column(array: Any) -> Any:
    return sp.Matrix(list(array))


def log_density() -> Any:
    """By the covariance's determinant and inverse."""
    r = column(x) - column(mean)
    volume = (2 * sp.pi) ** K * COVARIANCE.det()
    return -(r.T * COVARIANCE.inv() * r)[0] / 2 - sp.log(volume) / 2


def divergence() -> Any:
    """From N(0, I): by E z z^T, and the entropies."""
    second = COVARIANCE + column(mean) * column(mean).T
    entropy = (K * (1 + sp.log(2 * sp.pi)) + sp.log(COVARIANCE.det())) / 2
    return second.trace() / 2 + K * sp.log(2 * sp.pi) / 2 - entropy


z, weights = symbols("z", 2, 2), symbols("w", 3)
means, log_variances = symbols("mu", 3, 2), symbols("v", 3, 2)


def gaussian(at: Any, center: Any, log_variance: Any) -> Any:
    v = sp.exp(log_variance)
    return sp.exp(-((at - center) ** 2) / (2 * v)) / sp.sqrt(2 * sp.pi * v)


def mixture(row: int) -> Any:
    """The log of the sum of weights times densities."""
    whole = sp.Add(*(sp.exp(w) for w in weights))
    shares = (
        sp.exp(weights[j])
        / whole
        * sp.prod([gaussian(z[row, k], means[j, k], log_variances[j, k]) for k in range(2)])
        for j in range(3)
    )
    return sp.log(sp.Add(*shares))


logits = symbols("l", 2, 3)
LEVELS = (2, 0)


def categorical() -> Any:
    """-log of the softmax at each level."""
    return -sp.Add(
        *(sp.log(sp.exp(logits[d, LEVELS[d]]) / sp.Add(*map(sp.exp, logits[d]))) for d in range(2))
    )


ARRAYS = {
    "cholesky_sample": Defined(
        (mean, log_diagonal, lower, noise), list(column(mean) + FACTOR * column(noise))
    ),
    "cholesky_log_likelihood": Defined((x, mean, log_diagonal, lower), log_density()),
    "kl_cholesky_standard_normal": Defined((mean, log_diagonal, lower), divergence()),
    "mixture_log_likelihood": Defined((z, weights, means, log_variances), [mixture(0), mixture(1)]),
    "categorical_cross_entropy": Defined((logits, sp.Array(LEVELS)), categorical()),
}
