"""A linear VAE with Gaussian pixels, whose log p(x) has a closed form: all is as it should be.

The ELBO at the true posterior is log p(x), in value and in gradient; elsewhere it is below by the
KL; and the importance-sampled estimate is as far off as it says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exact_models import LinearGaussian, gauss_hermite, kl_to_full
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from networks import log_ratio
from scipy.stats import multivariate_normal

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.evaluation.likelihood import log_mean

LINEAR = LinearGaussian.random()
X = LINEAR.sample(4)
EVIDENCE = LINEAR.log_evidence(X)
POSTERIOR = LINEAR.diagonal_posterior(X)

away = arrays(np.float64, (4, 2), elements=st.floats(-3, 3))


def leaf(values: np.ndarray) -> tv.Tensor:
    return tv.Tensor(values, requires_grad=True)


def decoder(model: LinearGaussian) -> list[tv.Tensor]:
    return [leaf(model.W), leaf(model.b), leaf(model.log_variance)]


def log_pixels(z: tv.Tensor, x: tv.Tensor, W: tv.Tensor, b: tv.Tensor, s: tv.Tensor) -> tv.Tensor:
    """log p(x | z), (N,)."""
    return tv.gaussian_log_likelihood(x, tv.affine(z, tv.transpose(W), b), s)


def expected_elbo(x: tv.Tensor, mean: tv.Tensor, spread: tv.Tensor, *pixels: tv.Tensor) -> Any:
    """The ELBO, (N,): exact, as log p(x | z) is quadratic in the noise; ``spread`` is log s^2."""
    total = -tv.kl_standard_normal(mean, spread)
    for noise, share in zip(*gauss_hermite(3, mean.shape[1]), strict=True):
        z = tv.gaussian_sample(mean, spread, tv.Tensor(np.tile(noise, (len(mean), 1))))
        total = total + float(share) * log_pixels(z, x, *pixels)
    return total


def elbo_at(model: LinearGaussian, mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    parts = tv.Tensor(X), tv.Tensor(mean), tv.Tensor(log_variance)
    return expected_elbo(*parts, *decoder(model)).numpy()


def test_the_evidence_of_the_linear_model_is_that_of_scipys_gaussian() -> None:
    covariance = LINEAR.W @ LINEAR.W.T + np.exp(LINEAR.log_variance) * np.eye(5)
    wanted = multivariate_normal(LINEAR.b, covariance).logpdf(X)
    np.testing.assert_allclose(EVIDENCE, wanted, rtol=1e-12)


def test_the_elbo_at_the_true_posterior_is_the_evidence(backend: Backend) -> None:
    np.testing.assert_allclose(elbo_at(LINEAR, *POSTERIOR), EVIDENCE, rtol=0, atol=1e-12)


@settings(max_examples=15)
@given(away, away)
def test_elsewhere_the_elbo_is_below_the_evidence_by_exactly_the_kl(
    backend: Backend, shift: np.ndarray, widening: np.ndarray
) -> None:
    mean, log_variance = POSTERIOR[0] + shift, POSTERIOR[1] + widening
    gap = EVIDENCE - elbo_at(LINEAR, mean, log_variance)
    kl = tv.kl_gaussian(*map(tv.Tensor, (mean, log_variance, *POSTERIOR))).numpy()
    independent = kl_to_full(mean, log_variance, *LINEAR.posterior(X))
    np.testing.assert_allclose(gap, kl, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(gap, independent, rtol=1e-8, atol=1e-8)
    assert (gap >= -1e-12).all()


@settings(max_examples=15)
@given(away, away)
def test_a_diagonal_posterior_does_not_reach_the_evidence_where_the_true_one_has_correlations(
    backend: Backend, shift: np.ndarray, widening: np.ndarray
) -> None:
    model = LinearGaussian.random(skew=1.0)
    mean, covariance = model.posterior(X)
    precision = np.linalg.inv(covariance)
    best = np.broadcast_to(-np.log(np.diag(precision)), mean.shape)
    least = (np.log(np.diag(precision)).sum() + np.linalg.slogdet(covariance)[1]) / 2
    evidence = model.log_evidence(X)
    assert least > 0.1
    np.testing.assert_allclose(evidence - elbo_at(model, mean, best), least, rtol=1e-10)
    elsewhere = mean + shift, best + widening
    gap = evidence - elbo_at(model, *elsewhere)
    np.testing.assert_allclose(gap, kl_to_full(*elsewhere, mean, covariance), rtol=1e-8)
    assert (gap >= least - 1e-12).all()


def gradients(*leaves: tv.Tensor) -> list[np.ndarray]:
    return [x.backend.to_host(x.grad.copy()) for x in leaves]


def test_at_the_true_posterior_the_gradient_of_the_elbo_is_that_of_the_evidence(
    backend: Backend,
) -> None:
    parameters, posterior = decoder(LINEAR), [tv.Tensor(part) for part in POSTERIOR]
    expected_elbo(tv.Tensor(X), *posterior, *parameters).sum().backward()
    for got, wanted in zip(gradients(*parameters), LINEAR.evidence_gradients(X), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8)
        assert abs(wanted).max() > 0.01


def test_elsewhere_it_is_not(backend: Backend) -> None:
    parameters = decoder(LINEAR)
    posterior = tv.Tensor(POSTERIOR[0] + 0.3), tv.Tensor(POSTERIOR[1] + 0.5)
    expected_elbo(tv.Tensor(X), *posterior, *parameters).sum().backward()
    for got, wanted in zip(gradients(*parameters), LINEAR.evidence_gradients(X), strict=True):
        assert abs(got - wanted).max() > 1e-2


def test_at_the_true_posterior_a_linear_encoder_has_no_gradient(backend: Backend) -> None:
    v, covariance = np.exp(LINEAR.log_variance), LINEAR.posterior(X)[1]
    weight = LINEAR.W @ covariance / v
    encoder = [leaf(weight), leaf(-LINEAR.b @ weight), leaf(POSTERIOR[1][0])]

    def learn(bias: float) -> list[np.ndarray]:
        for part in encoder:
            part.zero_grad()
        mean = tv.affine(tv.Tensor(X), encoder[0], encoder[1] + bias)
        spread = tv.broadcast_to(encoder[2] + bias, shape=mean.shape)
        expected_elbo(tv.Tensor(X), mean, spread, *decoder(LINEAR)).sum().backward()
        return gradients(*encoder)

    assert all(abs(part).max() < 1e-8 for part in learn(0.0))
    assert all(abs(part).max() > 0.1 for part in learn(0.1))


def importance_estimate(
    mean: np.ndarray, log_variance: np.ndarray, x: np.ndarray, samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `log_likelihood` does it, with Gaussian pixels, one sample of each image at a time."""
    q, noise = [tv.Tensor(part) for part in (mean, log_variance)], tv.Noise(seed)

    def chunk() -> np.ndarray:
        z = tv.gaussian_sample(*q, tv.Tensor.wrap(noise.normal(mean.shape, "float64")))
        log_w = log_pixels(z, tv.Tensor(x), *decoder(LINEAR)) + log_ratio(z, *q)
        return log_w.numpy()[:, None]

    with tv.no_grad():
        return log_mean(chunk() for _ in range(samples))


def test_at_the_true_posterior_every_weight_is_the_evidence_itself(backend: Backend) -> None:
    estimate, error, effective = importance_estimate(*POSTERIOR, X, samples=5, seed=0)
    np.testing.assert_allclose(estimate, EVIDENCE, rtol=0, atol=1e-12)
    np.testing.assert_allclose(effective, 5, rtol=1e-12)
    assert (error < 1e-6).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_importance_sampled_evidence_is_within_three_standard_errors(
    backend: Backend, seed: int
) -> None:
    mean, log_variance = POSTERIOR[0] + 0.1, POSTERIOR[1] + 0.3
    estimate, error, effective = importance_estimate(mean, log_variance, X, 500, seed)
    assert (abs(estimate - EVIDENCE) < 3 * error).all()
    assert ((error > 1e-3) & (error < 0.04)).all()
    assert ((effective > 250) & (effective < 498)).all()


def test_the_standard_error_is_the_spread_of_the_estimates(backend: Backend) -> None:
    repeats = 2000  # of one image
    x, mean, log_variance = (
        np.repeat(part[:1], repeats, axis=0) for part in (X, POSTERIOR[0] - 0.2, POSTERIOR[1] + 0.4)
    )
    estimate, error, _ = importance_estimate(mean, log_variance, x, samples=200, seed=0)
    scores = (estimate - EVIDENCE[0]) / error
    assert abs(scores.mean()) < 3 / np.sqrt(repeats) + error.mean() / 2  # and Jensen's bias
    assert scores.std() == pytest.approx(1, abs=3 / np.sqrt(2 * repeats))
