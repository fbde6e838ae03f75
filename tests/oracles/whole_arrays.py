"""Oracles of the densities of whole arrays: full covariance, mixtures, levels of grey."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import mpmath as mp
import numpy as np

from oracles.distributions import log_normal
from oracles.measure import Exact, Forward, Oracle, holds, refuses, rounded, value_of

RNG = np.random.default_rng(7)
Numbers = list[Any]


def exactly(row: np.ndarray) -> Numbers:
    return [mp.mpf(float(v)) for v in row]


def by_example(definition: Any, *inputs: np.ndarray) -> Exact:
    """A definition of one example's vectors, for each of the batch."""
    batch = inputs[0].shape[:-1]
    return rounded(
        [definition(*(exactly(x[at]) for x in inputs)) for at in np.ndindex(batch)], batch
    )


# A Gaussian of full covariance


def factor(log_diagonal: Numbers, lower: Numbers) -> Any:
    """Row by row: what is below the diagonal, then the diagonal's own."""
    left, k = iter(lower), len(log_diagonal)
    cell = lambda i, j: next(left) if j < i else mp.exp(log_diagonal[i]) * (i == j)  # noqa: E731
    return mp.matrix([[cell(i, j) for j in range(k)] for i in range(k)])


def full_sample(
    mean: np.ndarray, log_diagonal: np.ndarray, lower: np.ndarray, noise: np.ndarray
) -> Exact:
    """Every number of z, by row times column."""
    cells = []
    for at in np.ndindex(mean.shape[:-1]):
        a, n = factor(exactly(log_diagonal[at]), exactly(lower[at])), exactly(noise[at])
        cells += [
            (m, *(a[i, j] * n[j] for j in range(i + 1))) for i, m in enumerate(exactly(mean[at]))
        ]
    return rounded(cells, mean.shape)


def full_density(
    x: Numbers, mean: Numbers, log_diagonal: Numbers, lower: Numbers
) -> tuple[Any, ...]:
    """By the inverse and the determinant of the covariance."""
    a, k = factor(log_diagonal, lower), len(x)
    r, covariance = mp.matrix(x) - mp.matrix(mean), a * a.T
    square = (r.T * mp.inverse(covariance) * r)[0]
    return -square / 2, -mp.log(mp.det(covariance)) / 2, -k * mp.log(2 * mp.pi) / 2


def full_divergence(mean: Numbers, log_diagonal: Numbers, lower: Numbers) -> Any:
    """The mean of log q - log p over noise of -1 and 1 in every dimension, exact for squares."""
    a, corners = factor(log_diagonal, lower), list(itertools.product((-1, 1), repeat=len(mean)))
    ratios = []
    for corner in corners:
        z = list(mp.matrix(mean) + a * mp.matrix(corner))
        q = full_density(z, mean, log_diagonal, lower)
        p = itertools.chain.from_iterable(log_normal(v, mp.mpf(0), mp.mpf(0)) for v in z)
        ratios.append(mp.fsum(q) - mp.fsum(p))
    return mp.fsum(ratios) / len(corners)


def full(definition: Any, vectors: int, *, noise: bool = False) -> tuple[Oracle, ...]:
    """Of several dimensions and batches, the last in float32; ``lower`` before the noise."""
    found = []
    for shape in ((3, 1), (4, 2), (2, 3, 3), (4,), (2, 4)):
        k = shape[-1]
        arrays = [RNG.normal(size=shape) for _ in range(vectors)]
        arrays.insert(vectors - noise, RNG.normal(size=(*shape[:-1], k * (k - 1) // 2)))
        single = shape == (2, 4)
        found.append(holds(definition, *(a.astype("float32") if single else a for a in arrays)))
    return tuple(found)


def full_samples_have_their_covariance(forward: Forward) -> None:
    """Of noise that has the mean 0 and the covariance I exactly: its corners."""
    noise = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    mean, log_diagonal, lower = (np.tile(RNG.normal(size=3), (8, 1)) for _ in range(3))
    z = value_of(forward, mean, log_diagonal, lower, noise)
    a = np.diag(np.exp(log_diagonal[0]))
    a[np.tril_indices(3, -1)] = lower[0]
    assert np.allclose(np.cov(z.T, bias=True), a @ a.T, 1e-12, 1e-12)


# A mixture


def mixture(
    z: np.ndarray, logits: np.ndarray, means: np.ndarray, log_variances: np.ndarray
) -> Exact:
    """The log of the sum of weights times densities; the unit that of its largest part."""
    weights, found, units = exactly(logits), [], []
    whole = mp.log(mp.fsum(map(mp.exp, weights)))
    for row in z:
        parts = []
        for w, m, v in zip(weights, means, log_variances, strict=True):
            each = map(log_normal, exactly(row), exactly(m), exactly(v))
            parts.append((w, -whole, *itertools.chain.from_iterable(each)))
        found.append(float(mp.log(mp.fsum(mp.exp(mp.fsum(terms)) for terms in parts))))
        units.append(float(mp.fsum(map(abs, max(parts, key=mp.fsum)))))
    return Exact(np.array(found), np.array(units))


def mixtures() -> tuple[Oracle, ...]:
    """Of one component and of several, near each other and far apart."""
    shapes = ((3, 1, 1), (4, 3, 2), (2, 1, 3), (5, 6, 4))
    found = []
    for b, m, k in shapes:
        z, means, log_variances = (RNG.normal(size=shape) for shape in ((b, k), (m, k), (m, k)))
        found.append(holds(mixture, z, 2 * RNG.normal(size=m), means, log_variances))
    far = [np.array([[0.0], [500.0], [-1500.0]]), np.array([0.0, -800.0, 3.0])]
    far += [np.array([[-1000.0], [0.0], [1000.0]]), np.array([[0.0], [2.0], [0.5]])]
    single = (a.astype("float32") for a in (z, RNG.normal(size=m), means, log_variances))
    return (*found, holds(mixture, *far), holds(mixture, *single))


def a_mixture_integrates_to_one(forward: Forward) -> None:
    """On a line, by the trapezoid rule."""
    z = np.linspace(-12, 12, 2401)[:, None]
    logs = value_of(
        forward, z, np.array([0.3, -1.0]), np.array([[-1.0], [2.0]]), np.array([[0.5], [-2.0]])
    )
    assert logs.shape == (2401,)
    assert abs(np.exp(logs).sum() * 0.01 - 1) < 1e-12


def components_in_another_order_are_the_same(forward: Forward) -> None:
    """And one that is there twice, with half of the weight each."""
    z, means, log_variances = (RNG.normal(size=shape) for shape in ((4, 2), (3, 2), (3, 2)))
    logits, order = RNG.normal(size=3), [2, 0, 1, 1]
    halved = logits[order] - np.log([1, 1, 2, 2])
    one = value_of(forward, z, logits, means, log_variances)
    other = value_of(forward, z, halved, means[order], log_variances[order])
    assert one.shape == (4,)
    assert np.allclose(one, other, 1e-13, 1e-13)


# Levels of grey


def level_terms(logits: np.ndarray, levels: np.ndarray) -> Exact:
    """-log of the softmax at each level, summed over the pixels."""
    cells = []
    for at in np.ndindex(levels.shape[:-1]):
        terms: list[Any] = []
        for row, k in zip(logits[at], levels[at], strict=True):
            numbers = exactly(row)
            terms += [mp.log(mp.fsum(map(mp.exp, numbers))), -numbers[int(k)]]
        cells.append(tuple(terms))
    return rounded(cells, levels.shape[:-1])


def categorical() -> tuple[Oracle, ...]:
    found = []
    for shape, v in (((3, 1), 2), ((4, 5), 4), ((2, 2, 3), 7), ((6,), 3)):
        for scale in (1.0, 300.0):
            logits, levels = scale * RNG.normal(size=(*shape, v)), RNG.integers(0, v, shape) * 1.0
            found.append(holds(level_terms, logits, levels))
    single = (logits.astype("float32"), levels.astype("float32"))
    return (*found, holds(level_terms, *single))


def levels_have_probabilities_that_sum_to_one(forward: Forward) -> None:
    """All 16 images of two pixels of four levels."""
    logits = np.tile(3 * RNG.normal(size=(2, 4)), (16, 1, 1))
    images = np.array(list(itertools.product(range(4), repeat=2)), float)
    losses = value_of(forward, logits, images)
    assert abs(np.exp(-losses).sum() - 1) < 1e-12


ARRAYS_OF_DENSITIES: dict[str, tuple[Oracle, ...]] = {
    "cholesky_sample": (
        *full(full_sample, 3, noise=True),
        full_samples_have_their_covariance,
        *(refuses((2, 3), (2, 3), (2, 3), (3,)), refuses((2, 3), (2, 3), (2, 2), (2, 3))),
        refuses((2, 2), (2, 2), (1,), (2, 2)),
    ),
    "cholesky_log_likelihood": (
        *full(partial(by_example, full_density), 3),
        *(refuses((2, 3), (2, 3), (3,), (2, 3)), refuses((2, 3), (2, 3), (2, 3), (2, 2))),
    ),
    "kl_cholesky_standard_normal": (
        *full(partial(by_example, full_divergence), 2),
        *(refuses((2, 3), (3,), (2, 3)), refuses((2, 3), (2, 3), (2, 6))),
    ),
    "mixture_log_likelihood": (
        *mixtures(),
        a_mixture_integrates_to_one,
        components_in_another_order_are_the_same,
        *(refuses((2, 3), (2,), (2, 3), (1, 3)), refuses((2, 3), (1,), (2, 3), (2, 3))),
        *(refuses((3,), (2,), (2, 3), (2, 3)), refuses((2, 3), (0,), (0, 3), (0, 3))),
        *(refuses((2, 1), (2,), (2, 3), (2, 3)), refuses((2, 3), (2, 1), (2, 3), (2, 3))),
    ),
    "categorical_cross_entropy": (
        *categorical(),
        levels_have_probabilities_that_sum_to_one,
        refuses((2, 3, 4), (3,)),
    ),
}
