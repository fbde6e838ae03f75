"""The beta-TCVAE estimates the total correlation of the aggregate posterior, and presses on it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from exact_models import gauss_hermite
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import tinyvae as tv
from tinyvae.autograd.derivations import gaussian_sample, kl_standard_normal
from tinyvae.backend import Backend
from tinyvae.distributions import Gaussian, StandardNormal
from tinyvae.errors import OptionError
from tinyvae.models.beta_tcvae import BetaTCVAE, aggregate, pairwise, total_correlation
from tinyvae.objectives import Inferred, infer

RNG = np.random.default_rng(0)
Q = Gaussian(2, tv.Noise(0))
MEAN, LOG_VARIANCE, Z = RNG.standard_normal((3, 5, 2)) * [[[1.5]], [[0.5]], [[1.0]]]


def tensors(*arrays: np.ndarray) -> list[tv.Tensor]:
    return [tv.Tensor(array) for array in arrays]


def aggregated(
    mean: np.ndarray, log_variance: np.ndarray, z: np.ndarray, images: int = 0
) -> np.ndarray:
    """log q(z) and sum_k log q(z_k), (2, M)."""
    *parameters, codes = tensors(mean, log_variance, z)
    return np.array([t.numpy() for t in aggregate(Q, tuple(parameters), codes, images)])


def costs(mean: np.ndarray, log_variance: np.ndarray, z: np.ndarray) -> Inferred:
    parameters, zero = tensors(mean, log_variance), tv.Tensor(np.zeros(len(mean)))
    return Inferred(tuple(parameters), tv.Tensor(z), zero, kl_standard_normal(*parameters))


# The densities of the aggregate posterior


def test_each_code_is_judged_under_each_image_and_dimension(backend: Backend) -> None:
    *parameters, z = tensors(MEAN, LOG_VARIANCE, Z[:3])
    densities = pairwise(Q, tuple(parameters), z).numpy()
    wanted = norm.logpdf(Z[:3, None], MEAN, np.exp(LOG_VARIANCE / 2))
    np.testing.assert_allclose(densities, wanted, rtol=1e-12)


def test_of_all_images_at_once_the_densities_are_those_of_the_mixture(backend: Backend) -> None:
    joint, product = aggregated(MEAN, LOG_VARIANCE, Z, images=5)
    covariances = [np.diag(v) for v in np.exp(LOG_VARIANCE)]
    parts = [multivariate_normal.logpdf(Z, m, c) for m, c in zip(MEAN, covariances, strict=True)]
    np.testing.assert_allclose(joint, logsumexp(parts, axis=0) - np.log(5), rtol=1e-12)
    marginals = norm.pdf(Z[:, None], MEAN, np.exp(LOG_VARIANCE / 2)).mean(axis=1)  # (M, K)
    np.testing.assert_allclose(product, np.log(marginals).sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("images", [0, 3])
def test_before_a_training_of_more_images_the_batch_is_all_there_is(images: int) -> None:
    found, wanted = (aggregated(MEAN, LOG_VARIANCE, Z, n) for n in (images, 5))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_density_from_a_batch_is_right_on_average_over_all_batches(size: int) -> None:
    """Of image 0 with its code and every choice of the others, of 5 images in all."""
    whole = np.exp(aggregated(MEAN, LOG_VARIANCE, Z, images=5)[0, 0])
    estimates = []
    for others in itertools.combinations(range(1, 5), size - 1):
        rows = [0, *others]
        batch = aggregated(MEAN[rows], LOG_VARIANCE[rows], Z[rows], images=5)
        estimates.append(np.exp(batch[0, 0]))
    assert np.mean(estimates) == pytest.approx(whole, rel=1e-12)
    assert np.std(estimates) > 0


def test_of_one_image_alone_the_density_is_its_share() -> None:
    joint, _ = aggregated(MEAN[:1], LOG_VARIANCE[:1], Z[:1], images=5)
    own = norm.logpdf(Z[0], MEAN[0], np.exp(LOG_VARIANCE[0] / 2)).sum()
    np.testing.assert_allclose(joint, own - math.log(5))


def test_several_codes_of_an_image_have_that_image_for_their_own() -> None:
    twice = np.repeat(Z, 2, axis=0)
    one, two = (aggregated(MEAN, LOG_VARIANCE, z, images=50) for z in (Z, twice))
    np.testing.assert_allclose(two, np.repeat(one, 2, axis=1), rtol=1e-12)


@pytest.mark.parametrize("prior", ["normal", "mixture:2"])
def test_an_image_is_its_own_once_however_its_kl_is_found(prior: str) -> None:
    model = BetaTCVAE((2, 2), hidden=(4,), prior=prior).to(dtype="float64")
    x, noise = tv.Tensor(RNG.random((3, 4))), RNG.standard_normal((3, 5, 2))
    found = infer(model, x, noise)
    mean, log_variance = (p.numpy() for p in model.encode(x))
    wanted = aggregated(mean, log_variance, found.z.numpy(), images=50)
    got = aggregate(model.posterior, found.parameters, found.z, 50)
    np.testing.assert_allclose([t.numpy() for t in got], wanted, rtol=1e-12)


# The decomposition of the KL


def test_information_total_correlation_and_the_rest_add_up_to_the_average_kl() -> None:
    """Exactly: the expectation over q(z | x) by quadrature, the batch being all images."""
    nodes, weights = gauss_hermite(20, axes=2)
    noise = np.tile(nodes, (5, 1))  # (5 S, 2): for each image in succession
    mean, log_variance = (np.repeat(p, len(nodes), axis=0) for p in (MEAN, LOG_VARIANCE))
    z = mean + np.exp(log_variance / 2) * noise
    joint, product = aggregated(MEAN, LOG_VARIANCE, z, images=5)
    own = norm.logpdf(z, mean, np.exp(log_variance / 2)).sum(axis=1)
    prior = norm.logpdf(z).sum(axis=1)
    every = np.tile(weights, 5) / 5
    information, correlation, rest = (
        every @ terms for terms in (own - joint, joint - product, product - prior)
    )
    kl = kl_standard_normal(*tensors(MEAN, LOG_VARIANCE)).numpy().mean()
    assert information + correlation + rest == pytest.approx(kl, rel=1e-9)
    assert 0 < information < math.log(5)
    assert min(correlation, rest) > 0


@pytest.mark.parametrize("rho", [0.0, 0.6, -0.9])
def test_the_total_correlation_of_a_gaussian_is_that_of_its_formula(rho: float) -> None:
    """Many narrow posteriors whose means are correlated: -log(1 - rho^2) / 2."""
    variance, count = 0.1, 1500
    covariance = np.array([[1, rho], [rho, 1]]) - variance * np.eye(2)
    mean = RNG.multivariate_normal(np.zeros(2), covariance, size=count, check_valid="ignore")
    z = mean + math.sqrt(variance) * RNG.standard_normal((count, 2))
    narrow = np.full((count, 2), math.log(variance))
    estimate = total_correlation(Q, costs(mean, narrow, z), count).mean().item()
    assert estimate == pytest.approx(-math.log(1 - rho**2) / 2, abs=0.05)


def test_dimensions_that_do_not_depend_on_each_other_have_no_total_correlation() -> None:
    grid = np.array(list(itertools.product([-2.0, 0.0, 1.0], [-1.0, 3.0])))
    z = RNG.standard_normal((6, 2))
    found = costs(grid, np.full((6, 2), -1.0), z)
    np.testing.assert_allclose(total_correlation(Q, found, 6).numpy(), 0, atol=1e-12)


# The loss


def test_the_gradients_are_right(backend: Backend) -> None:
    def loss(mean: tv.Tensor, log_variance: tv.Tensor, noise: tv.Tensor) -> tv.Tensor:
        z = gaussian_sample(mean, log_variance, noise)
        joint, product = aggregate(Q, (mean, log_variance), z, 12)
        return (joint - 3 * product).sum()

    assert tv.gradcheck(loss, *tensors(MEAN, LOG_VARIANCE, Z))


def test_the_loss_has_the_total_correlation_beta_times() -> None:
    model, plain = BetaTCVAE((2, 2), hidden=(4,)), tv.VAE((2, 2), hidden=(4,))
    found = costs(MEAN, LOG_VARIANCE, Z)
    model.begin(range(12))
    tc = total_correlation(Q, found, 12).mean().item()
    assert abs(tc) > 0.01
    for beta in (0.0, 1.0, 6.0):
        wanted = plain.weigh(found).item() + (beta - 1) * tc
        assert model.weigh(found, beta).item() == pytest.approx(wanted)


def test_at_beta_1_it_is_trained_as_the_plain_vae_is(backend: Backend) -> None:
    images = RNG.integers(256, size=(24, 2, 2), dtype=np.uint8)
    models: list[Any] = [kind((2, 2), hidden=(4,), seed=1) for kind in (tv.VAE, BetaTCVAE)]
    one, other = (tv.fit(model, images, epochs=2, batch=8) for model in models)
    assert one[-1]["train_loss"] == pytest.approx(other[-1]["train_loss"], rel=1e-6)
    assert models[1].images == 24


def test_images_on_the_device_make_no_difference(backend: Backend) -> None:
    images = RNG.integers(256, size=(24, 2, 2), dtype=np.uint8)
    models: list[Any] = [BetaTCVAE((2, 2), hidden=(4,), seed=1) for _ in range(2)]
    for model, resident in zip(models, (True, False), strict=True):
        tv.fit(model, images, epochs=3, batch=10, beta=5, warm_up=2, resident=resident)
    one, other = (model.state_dict() for model in models)
    for name, value in other.items():
        np.testing.assert_allclose(one[name], value, rtol=1e-4, atol=1e-5)


def test_the_prior_is_told_of_the_images_too() -> None:
    class Told(StandardNormal):
        def begin(self, images: Any) -> None:
            self.images = images

    model = BetaTCVAE((2, 2), hidden=(4,), prior=Told)
    model.begin([1, 2, 3])
    assert model.prior.images == [1, 2, 3]


def test_training_brings_the_total_correlation_down_as_beta_presses() -> None:
    """Bars that stand in four places across and four down, mostly in the same of both."""
    where = RNG.integers(4, size=(128, 2))
    where[:96, 1] = where[:96, 0]
    images = np.zeros((128, 8, 8), dtype=np.uint8)
    for image, (across, down) in zip(images, where, strict=True):
        image[2 * down : 2 * down + 2] = 255
        image[:, 2 * across : 2 * across + 2] = 255
    found = []
    for beta in (1, 10):
        model = BetaTCVAE((8, 8), latent=3, hidden=(32,), seed=0)
        tv.fit(model, images, epochs=40, batch=32, beta=beta, learning_rate=0.01)
        x = tv.Tensor(images.reshape(128, 64) / np.float32(255))
        codes = infer(model, x, tv.Noise(0).normal((128, 5, 3)))
        found.append(total_correlation(Q, codes, 128).mean().item())
    assert found[1] < 0.5 * found[0]
    assert found[0] > 0.1


def test_a_posterior_whose_dimensions_depend_on_each_other_is_refused() -> None:
    class Correlated(Gaussian):
        is_factorised = False

    with pytest.raises(OptionError, match="which Correlated does not have"):
        BetaTCVAE((2, 2), posterior=Correlated)


def test_a_posterior_whose_density_jumps_is_refused() -> None:
    with pytest.raises(OptionError, match="Uniform jumps at edges"):
        BetaTCVAE((2, 2), posterior="uniform")
