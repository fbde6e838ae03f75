"""What is drawn follows the law it should: by its moments, by Kolmogorov and Smirnov, by means.

Seeds are fixed. A score is a distance in standard errors, computed from the true law: beyond
`LIMIT` is one draw in two million. Beside each test stands the wrong sampler that it must catch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles import ORACLES
from scipy import stats

from tinyvae.autograd import OPS, Tensor, derivations
from tinyvae.noise import BLOCK, Noise

Sampler = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

COUNT = 100_000
LIMIT = 5.0
UNLIKELY = 1e-6

# E u^k for k = 0 to 8, of a number u with mean 0 and variance 1
MOMENTS = {
    "normal": [1, 0, 1, 0, 3, 0, 15, 0, 105],
    "uniform": [0 if k % 2 else 3 ** (k / 2) / (k + 1) for k in range(9)],
}
LAWS = {"normal": stats.norm(), "uniform": stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))}
GAUSSIANS = [(0.0, math.log(0.25)), (-1.5, 2.0), (3.0, -3.0), (0.1, 0.3)]

kinds = pytest.mark.parametrize("kind", LAWS)
gaussians = pytest.mark.parametrize(("mean", "log_variance"), GAUSSIANS)
streams = pytest.mark.parametrize(("seed", "path"), [(0, ()), (1, ("sample",)), (2, ("a", "b"))])


def scores(u: np.ndarray, kind: str = "normal") -> list[float]:
    """Mean, variance, skewness and kurtosis of standardised draws, in standard errors."""
    true = MOMENTS[kind]
    errors = [math.sqrt((true[2 * k] - true[k] ** 2) / len(u)) for k in (1, 2, 3, 4)]
    return [(float((u**k).mean()) - true[k]) / errors[k - 1] for k in (1, 2, 3, 4)]


def chance(u: np.ndarray, kind: str = "normal") -> float:
    """The Kolmogorov-Smirnov test's probability of so large a distance from the law."""
    return float(stats.kstest(u, LAWS[kind].cdf).pvalue)


def follows(u: np.ndarray, kind: str = "normal") -> bool:
    return max(map(abs, scores(u, kind))) < LIMIT and chance(u, kind) > UNLIKELY


def standardised(kind: str, draws: np.ndarray) -> np.ndarray:
    """To mean 0 and variance 1: by nothing for the normal, by the exact numbers for [0, 1)."""
    draws = draws.astype("float64")
    return draws if kind == "normal" else (draws - 0.5) * math.sqrt(12)


# The noise


@kinds
@streams
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_has_the_moments_and_the_distribution_of_its_law(kind, seed, path, dtype):
    u = standardised(kind, getattr(Noise(seed, *path), kind)((COUNT,), dtype))
    assert max(map(abs, scores(u, kind))) < LIMIT
    assert chance(u, kind) > UNLIKELY


@kinds
def test_noise_drawn_in_odd_pieces_across_blocks_follows_its_law_too(kind):
    noise = Noise(4)
    pieces = [getattr(noise, kind)((7, 1429), "float64") for _ in range(3 * BLOCK // 10_000)]
    assert follows(standardised(kind, np.concatenate(pieces).ravel()), kind)


def test_a_law_a_little_off_is_found_out():
    u = Noise(0).normal((COUNT,), "float64")
    assert follows(u)
    wide, shifted, clipped = 1.02 * u, u + 0.05, np.clip(u, -2.5, 2.5)
    flat = standardised("uniform", Noise(0).uniform((COUNT,), "float64"))
    skew = np.where(u > 0, 1.05 * u, 0.95 * u)
    for wrong in (wide, shifted, clipped, flat, skew, np.round(u, 1), np.abs(u)):
        assert not follows(wrong)


def test_streams_of_other_seeds_and_names_are_independent():
    names = [(seed, *path) for seed in (0, 1, 2**32) for path in ((), ("a",), ("b",), ("a", "b"))]
    draws = [Noise(*name).normal((COUNT,), "float64") for name in names]
    for a, b in itertools.combinations(draws, 2):
        assert abs(a @ b) / math.sqrt(COUNT) < LIMIT
    assert follows(sum(draws) / math.sqrt(len(draws)))
    assert not follows((draws[0] + draws[0]) / math.sqrt(2))  # as two streams of one seed


@pytest.mark.parametrize("lag", [1, 2, 20, 784, BLOCK])
def test_a_number_says_nothing_about_a_later_one(lag):
    u = Noise(5).normal((COUNT,), "float64")
    for power in (1, 2):
        centred = u**power - MOMENTS["normal"][power]
        spread = MOMENTS["normal"][2 * power] - MOMENTS["normal"][power] ** 2
        assert abs(centred[lag:] @ centred[:-lag]) / spread / math.sqrt(COUNT - lag) < LIMIT


# The reparameterised sample


def gaussian_sample(mean: np.ndarray, log_variance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return derivations.gaussian_sample(*map(Tensor, (mean, log_variance, noise))).numpy()


def drawn(sampler: Sampler, mean: float, log_variance: float, seed: int = 0) -> np.ndarray:
    noise = Noise(seed, "sample", backend="numpy").normal((COUNT,), "float64")
    return sampler(np.full(COUNT, mean), np.full(COUNT, log_variance), noise)


def by_the_law(z: np.ndarray, mean: float, log_variance: float) -> np.ndarray:
    """Standard normal numbers, if z is from N(mean, exp(log_variance))."""
    return (z - mean) / math.exp(log_variance) ** 0.5


WRONG: dict[str, Sampler] = {
    "the variance where sigma belongs": lambda m, v, n: m + np.exp(v) * n,
    "the log variance as sigma": lambda m, v, n: m + v * n,
    "1 / sigma": lambda m, v, n: m + np.exp(-v / 2) * n,
    "the root of sigma": lambda m, v, n: m + np.exp(v / 4) * n,
    "a hundredth of the noise": lambda m, v, n: m + 0.01 * np.exp(v / 2) * n,
    "no noise": lambda m, v, n: m + 0 * n,
    "the mean left out": lambda m, v, n: np.exp(v / 2) * n,
    "the mean scaled too": lambda m, v, n: (m + n) * np.exp(v / 2),
    "the noise folded": lambda m, v, n: m + np.exp(v / 2) * abs(n),
    "one draw for all": lambda m, v, n: m + np.exp(v / 2) * n[0],
    "uniform noise": lambda m, v, n: m + np.exp(v / 2) * (stats.norm.cdf(n) - 0.5) * math.sqrt(12),
    "sigma 2% off": lambda m, v, n: m + 1.02 * np.exp(v / 2) * n,
}


@gaussians
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_sample_has_the_moments_and_the_distribution_asked_for(
    backend, mean, log_variance, seed
):
    u = by_the_law(drawn(gaussian_sample, mean, log_variance, seed), mean, log_variance)
    assert max(map(abs, scores(u))) < LIMIT
    assert chance(u) > UNLIKELY


@pytest.mark.parametrize("slip", WRONG)
def test_a_wrong_sampler_is_found_out_by_its_distribution_and_by_its_values(slip):
    laws = [by_the_law(drawn(WRONG[slip], *gaussian), *gaussian) for gaussian in GAUSSIANS]
    assert not all(map(follows, laws))
    with pytest.raises(AssertionError, match="wrong"):
        ORACLES["gaussian_sample"][0](WRONG[slip])


def test_noise_scaled_by_the_variance_gives_0_063_for_a_variance_of_0_25():
    right = drawn(gaussian_sample, 0.0, math.log(0.25)).var()
    wrong = drawn(WRONG["the variance where sigma belongs"], 0.0, math.log(0.25)).var()
    assert right == pytest.approx(0.25, rel=0.02)
    assert wrong == pytest.approx(0.0625, rel=0.02)


def test_each_dimension_of_each_example_has_its_own_gaussian(backend):
    rng = np.random.default_rng(0)
    mean, log_variance = rng.normal(size=(2, 3, 4))
    noise = Noise(6).normal((COUNT // 5, 3, 4), "float64")
    rows = [np.broadcast_to(x, noise.shape).copy() for x in (mean, log_variance)]
    z = derivations.gaussian_sample(*map(Tensor, rows), Tensor(noise)).numpy()
    u = ((z - mean) / np.exp(log_variance) ** 0.5).reshape(-1, 12)
    assert all(follows(u[:, k]) for k in range(12))
    for i, j in itertools.combinations(range(12), 2):
        assert abs(u[:, i] @ u[:, j]) / math.sqrt(len(u)) < LIMIT


# Samples of other distributions, from uniform noise

OF_UNIFORM: dict[str, Callable[[float, float], Any]] = {
    "laplace_sample": stats.laplace,
    "logistic_sample": stats.logistic,
    "uniform_sample": lambda mean, width: stats.uniform(mean - width / 2, width),
}
from_uniform_noise = pytest.mark.parametrize("name", OF_UNIFORM)


def drawn_from_uniform(name: str, mean: float, log_scale: float, dtype: str) -> np.ndarray:
    noise = Noise(8, name).uniform((COUNT,), dtype)
    columns = (Tensor(np.full(COUNT, number, dtype)) for number in (mean, log_scale))
    return OPS[name](*columns, Tensor(noise)).numpy()


@from_uniform_noise
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, 0.0), (-1.5, 1.0), (3.0, -1.5)])
def test_a_sample_from_uniform_noise_has_its_distribution(backend, name, dtype, mean, log_scale):
    z = drawn_from_uniform(name, mean, log_scale, dtype).astype("float64")
    law = OF_UNIFORM[name](mean, math.exp(log_scale))
    assert stats.kstest(z, law.cdf).pvalue > UNLIKELY
    assert stats.kstest(1.06 * (z - mean) + mean, law.cdf).pvalue < UNLIKELY


@from_uniform_noise
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_ends_of_the_noise_give_finite_samples_and_slopes(backend, name, dtype):
    noise = Tensor(np.array([0.0, 1 - np.finfo(dtype).eps / 2], dtype), requires_grad=True)
    scale = Tensor(np.zeros(2, dtype), requires_grad=True)
    z = OPS[name](Tensor(np.zeros(2, dtype)), scale, noise)
    z.backward(np.ones(2, dtype))
    for values in (z.numpy(), backend.to_host(scale.grad), backend.to_host(noise.grad)):
        assert np.isfinite(values).all()
    assert z.numpy()[0] < 0 < z.numpy()[1]


@from_uniform_noise
@pytest.mark.parametrize(("mean", "log_scale"), [(0.3, -0.7), (1.5, 0.5)])
def test_kl_agrees_with_the_mean_log_ratio_of_samples_from_uniform_noise(name, mean, log_scale):
    family, z = name.removesuffix("_sample"), drawn_from_uniform(name, mean, log_scale, "float64")
    columns = [Tensor(z[:, None] * 0 + number) for number in (mean, log_scale)]
    log_q = OPS[f"{family}_log_likelihood"](Tensor(z[:, None]), *columns).numpy()
    kl = OPS[f"kl_{family}_standard_normal"](*numbers(mean, log_scale)).item()
    got, error = estimate(log_q - log_density(z, 0.0, 0.0))
    assert abs(got - kl) < 4 * error < 0.1 * kl


# Divergences and entropies as means over samples

PAIRS = [
    ((0.3, -0.7), (0.0, 0.0)),
    ((1.5, 1.0), (-0.5, -1.2)),
    ((0.0, -2.0), (2.0, 0.5)),
    ((-2.0, 1.2), (0.0, 0.0)),
]


def log_density(z: np.ndarray, mean: float, log_variance: float) -> np.ndarray:
    column = z[:, None]
    value = derivations.gaussian_log_likelihood(
        Tensor(column), Tensor(0 * column + mean), log_variance
    )
    return value.numpy()


def estimate(terms: np.ndarray) -> tuple[float, float]:
    """The mean of independent terms, and its standard error."""
    return float(terms.mean()), float(terms.std()) / math.sqrt(len(terms))


def numbers(*values: float) -> list[Tensor]:
    return [Tensor(np.array([value])) for value in values]


@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_kl_agrees_with_the_mean_log_ratio_of_samples(backend, q, p):
    def monte_carlo(sampler: Sampler) -> tuple[float, float]:
        z = drawn(sampler, *q)
        return estimate(log_density(z, *q) - log_density(z, *p))

    kl = derivations.kl_gaussian(*numbers(*q, *p)).item()
    mean, error = monte_carlo(gaussian_sample)
    assert abs(mean - kl) < 4 * error < 0.05 * kl
    if p == (0.0, 0.0):
        assert derivations.kl_standard_normal(*numbers(*q)).item() == pytest.approx(kl, rel=1e-14)
    mean, error = monte_carlo(WRONG["the variance where sigma belongs"])
    assert abs(mean - kl) > 10 * error


@gaussians
def test_the_mean_log_density_of_samples_is_less_by_the_entropy(backend, mean, log_variance):
    entropy = (1 + math.log(2 * math.pi) + log_variance) / 2
    z = drawn(gaussian_sample, mean, log_variance)
    got, error = estimate(-log_density(z, mean, log_variance))
    assert abs(got - entropy) < 4 * error < 0.02


@pytest.mark.parametrize("logit", [-3.0, 0.4, 2.0])
def test_the_mean_cross_entropy_of_sampled_pixels_is_their_entropy(backend, logit):
    white = 1 / (1 + math.exp(-logit))
    pixels = (Noise(7, backend="numpy").uniform((COUNT, 1), "float64") < white).astype("float64")
    logits = np.full_like(pixels, logit)
    losses = derivations.bernoulli_cross_entropy(Tensor(logits), Tensor(pixels)).numpy()
    got, error = estimate(losses)
    entropy = float(stats.bernoulli(white).entropy())
    assert abs(got - entropy) < 4 * error < 0.02
