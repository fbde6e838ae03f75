"""The surgery of the ELBO takes the average KL apart, and what it finds is what it says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.distributions import Gaussian, Posterior, Prior, StandardNormal
from tinyvae.errors import OptionError
from tinyvae.evaluation import surgery as module
from tinyvae.evaluation.surgery import Surgery, surgery

seeds = st.integers(0, 2**32 - 1)
NOISE = tv.Noise(0, backend="numpy")


def made_of(posterior: Any = Gaussian, prior: Any = StandardNormal, latent: int = 2) -> Any:
    """What the surgery asks of a model."""
    return SimpleNamespace(
        posterior=posterior(latent, NOISE), prior=prior(latent, 1, NOISE), encode=None
    )


def drawn(seed: int, count: int, latent: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, log variances and a code of each posterior."""
    mean, log_variance, noise = np.random.default_rng(seed).standard_normal((3, count, latent))
    return mean, log_variance, mean + np.exp(log_variance / 2) * noise


def exact_kl(mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    return -(1 + log_variance - mean**2 - np.exp(log_variance)) / 2


def of_gaussians(mean: np.ndarray, log_variance: np.ndarray, z: np.ndarray) -> Surgery:
    model, kl = made_of(latent=z.shape[1]), exact_kl(mean, log_variance).sum(axis=1)
    return surgery(model, (tv.Tensor(mean), tv.Tensor(log_variance)), tv.Tensor(z), kl)


def information(log_q: np.ndarray) -> float:
    """The mutual information from log q(z_n | x_m), (N, N), in float64."""
    aggregate = logsumexp(log_q, axis=1) - np.log(len(log_q))
    return float((np.diag(log_q) - aggregate).mean())


# The figures


@given(seeds, st.integers(1, 9), st.integers(1, 4))
def test_the_parts_are_those_of_their_definitions(seed: int, count: int, latent: int) -> None:
    mean, log_variance, z = drawn(seed, count, latent)
    found = of_gaussians(mean, log_variance, z)
    log_q = norm.logpdf(z[:, None], mean, np.exp(log_variance / 2))  # (N, N, K)
    told = information(log_q.sum(axis=2))
    each = np.array([information(log_q[..., k]) for k in range(latent)])
    kl = exact_kl(mean, log_variance).mean(axis=0)
    assert found.mutual_information == pytest.approx(told, rel=1e-9, abs=1e-11)
    assert found.marginal_kl == pytest.approx(kl.sum() - told, rel=1e-9, abs=1e-11)
    np.testing.assert_allclose(found.dimension_kl, kl - each, rtol=1e-9, atol=1e-11)
    assert found.total_correlation == pytest.approx(each.sum() - told, rel=1e-9, abs=1e-11)
    assert found.ceiling == np.log(count)


@given(seeds, st.integers(2, 20), st.integers(1, 5))
def test_the_parts_add_up_to_the_kl_also_in_float32(seed: int, count: int, latent: int) -> None:
    mean, log_variance, z = (x.astype("float32") for x in drawn(seed, count, latent))
    found = of_gaussians(mean, log_variance, z)
    kl = exact_kl(mean, log_variance).sum(axis=1).mean(dtype=np.float64)
    assert found.mutual_information + found.marginal_kl == pytest.approx(kl, abs=1e-6)
    apart = found.total_correlation + sum(found.dimension_kl)
    assert apart == pytest.approx(found.marginal_kl, abs=1e-6)
    assert found.mutual_information <= found.ceiling + 1e-5


def test_a_posterior_that_is_the_prior_tells_nothing(backend: Backend) -> None:
    zero = np.zeros((7, 2))
    found = of_gaussians(zero, zero, np.random.default_rng(0).standard_normal((7, 2)))
    parts = [found.mutual_information, found.marginal_kl, found.total_correlation]
    np.testing.assert_allclose(parts + found.dimension_kl, 0, atol=1e-12)
    assert found.standard_error == pytest.approx(0, abs=1e-12)


def test_posteriors_that_are_far_apart_tell_every_image_from_the_others(backend: Backend) -> None:
    mean = 1000.0 * np.arange(12).reshape(6, 2)
    found = of_gaussians(mean, np.zeros((6, 2)), mean + 0.5)
    assert found.mutual_information == pytest.approx(np.log(6))
    assert found.total_correlation == pytest.approx(np.log(6))  # z_1 tells z_2


def test_codes_of_few_posteriors_have_the_information_of_their_mixture(backend: Backend) -> None:
    # Two posteriors of correlated means, so that the mixture's dimensions depend on each other.
    centers, sigma, count = np.array([[-1.0, -0.8], [0.7, 1.1]]), np.array([0.6, 0.9]), 3000
    mean = np.tile(centers, (count // 2, 1))
    log_variance = np.tile(2 * np.log(sigma), (count, 1))
    z = mean + sigma * np.random.default_rng(3).standard_normal((count, 2))
    found = of_gaussians(mean, log_variance, z)

    grid = np.linspace(-8, 8, 801)
    step = grid[1] - grid[0]
    one = norm.pdf(grid[:, None, None], centers, sigma)  # (grid, posterior, dimension)
    both = one[:, None, :, 0] * one[None, :, :, 1]  # (grid, grid, posterior)
    aggregate, marginals = both.mean(axis=2), one.mean(axis=1)
    told = (both * np.log(both / aggregate[..., None])).sum() * step**2 / 2
    independent = marginals[:, 0, None] * marginals[None, :, 1]
    total = (aggregate * np.log(aggregate / independent)).sum() * step**2
    prior = norm.pdf(grid)[:, None]
    dimensions = (marginals * np.log(marginals / prior)).sum(axis=0) * step
    assert found.standard_error < 0.02
    assert abs(found.mutual_information - told) < 4 * found.standard_error
    assert found.total_correlation == pytest.approx(total, abs=0.04)
    np.testing.assert_allclose(found.dimension_kl, dimensions, atol=0.04)


def test_the_codes_go_through_in_parts_without_a_difference(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = of_gaussians(*drawn(0, 9, 2))
    monkeypatch.setattr(module, "NUMBERS", 40)  # two codes at a time, and one at the end
    assert of_gaussians(*drawn(0, 9, 2)) == whole


# Other posteriors and priors


class Rotated(Posterior):
    """A Gaussian of independent dimensions, turned by 45 degrees."""

    parts, is_factorised = 2, False
    turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)

    def log_prob(self, parameters: Any, z: tv.Tensor) -> tv.Tensor:
        return Gaussian.log_prob(self, parameters, tv.matmul(z, tv.Tensor(self.turn.T)))


class Sampled(Gaussian):
    """A Gaussian without a KL in closed form."""

    kl = None


class Shifted(Prior):
    """A normal about (1, 1)."""

    def log_prob(self, z: tv.Tensor, encode: Any) -> tv.Tensor:
        return StandardNormal.log_prob(self, z - 1.0, encode)


def test_a_posterior_with_dependent_dimensions_has_no_parts_of_dimensions(
    backend: Backend,
) -> None:
    mean, log_variance, z = drawn(1, 8, 2)
    kl, turn = np.arange(8.0), Rotated.turn
    parameters = tv.Tensor(mean), tv.Tensor(log_variance)
    found = surgery(made_of(Rotated), parameters, tv.Tensor(z), kl)
    covariances = [turn.T @ np.diag(np.exp(row)) @ turn for row in log_variance]
    pairs = zip(mean, covariances, strict=True)
    columns = [multivariate_normal.logpdf(z, turn.T @ m, c) for m, c in pairs]
    told = information(np.stack(columns, axis=1))
    assert found.mutual_information == pytest.approx(told, rel=1e-9)
    assert found.marginal_kl == pytest.approx(3.5 - told, rel=1e-9)
    assert (found.total_correlation, found.dimension_kl) == (None, [])


def test_a_kl_that_is_estimated_is_taken_apart_at_the_same_codes(backend: Backend) -> None:
    mean, log_variance, z = drawn(2, 8, 2)
    log_q = norm.logpdf(z[:, None], mean, np.exp(log_variance / 2))
    each = np.stack([np.diag(log_q[..., k]) for k in (0, 1)], axis=1) - norm.logpdf(z)
    parameters = tv.Tensor(mean), tv.Tensor(log_variance)
    found = surgery(made_of(Sampled), parameters, tv.Tensor(z), each.sum(axis=1))
    told = [information(log_q[..., k]) for k in (0, 1)]
    np.testing.assert_allclose(found.dimension_kl, each.mean(axis=0) - told, rtol=1e-9)
    aggregate = logsumexp(log_q.sum(axis=2), axis=1) - np.log(8)
    gap = (aggregate - norm.logpdf(z).sum(axis=1)).mean()  # log q(z) - log p(z), as it is defined
    assert found.marginal_kl == pytest.approx(gap, rel=1e-9)


def test_under_another_prior_the_information_is_the_same_and_there_are_no_dimensions(
    backend: Backend,
) -> None:
    mean, log_variance, z = drawn(2, 8, 2)
    parameters, kl = (tv.Tensor(mean), tv.Tensor(log_variance)), np.ones(8)
    found = surgery(made_of(prior=Shifted), parameters, tv.Tensor(z), kl)
    told = of_gaussians(mean, log_variance, z).mutual_information
    assert found.mutual_information == pytest.approx(told, rel=1e-12)
    assert found.marginal_kl == pytest.approx(1 - told, rel=1e-12)
    assert (found.total_correlation, found.dimension_kl) == (None, [])


def test_a_posterior_without_a_density_elsewhere_is_refused_with_the_reason() -> None:
    class Flow(Gaussian):
        has_density = False

    mean, log_variance, z = map(tv.Tensor, drawn(0, 3, 2))
    with pytest.raises(OptionError, match="Flow has it at its own codes alone"):
        surgery(made_of(Flow), (mean, log_variance), z, np.ones(3))
