"""Priors: each is a density, its samples come from it, its gradients reach what is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax, logsumexp

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.data import Split
from tinyvae.distributions import Fitted, Mixture, StandardNormal, Vamp
from tinyvae.distributions.priors import PRIORS
from tinyvae.errors import DataError, OptionError

RNG = np.random.default_rng(0)
NAMES = ["normal", "mixture:3", "vamp:4", "fitted:2"]
IMAGES = RNG.integers(256, size=(40, 2, 2), dtype=np.uint8)


def model(prior: str, latent: int = 2, dtype: str = "float64") -> tv.VAE:
    """A VAE with weights far from those it begins with."""
    made = tv.VAE((2, 2), latent, (3,), "tanh", prior=prior).to(dtype=dtype)
    rng = np.random.default_rng(1)
    shapes = {name: (p.shape, p.dtype) for name, p in made.state_dict().items()}
    made.load_state_dict({n: rng.standard_normal(s).astype(d) for n, (s, d) in shapes.items()})
    return made


def log_prob(made: tv.VAE, z: np.ndarray) -> np.ndarray:
    return made.prior.log_prob(tv.Tensor(z), made.encode).numpy()


def mixture_by_definition(z: np.ndarray, logits: Any, means: Any, log_variances: Any) -> Any:
    each = stats.norm(means, np.exp(log_variances / 2)).logpdf(z[:, None]).sum(axis=2)
    return logsumexp(log_softmax(logits) + each, axis=1)


# The densities


def test_every_prior_is_tested():
    assert {name.partition(":")[0] for name in NAMES} == set(PRIORS)


@pytest.mark.parametrize("name", NAMES)
def test_a_prior_integrates_to_1(backend: Backend, name: str) -> None:
    z = np.arange(-30, 30, 0.01)
    density = np.exp(log_prob(model(name, latent=1), z[:, None]))
    assert density.sum() * 0.01 == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("name", ["mixture:3", "fitted:2"])
def test_a_mixtures_density_is_that_of_its_definition(backend: Backend, name: str) -> None:
    made, z = model(name), RNG.normal(size=(5, 2)) * 2
    p = made.prior
    parts = (part.numpy() for part in (p.logits, p.means, p.log_variances))
    np.testing.assert_allclose(log_prob(made, z), mixture_by_definition(z, *parts), rtol=1e-12)


def test_a_vamp_prior_is_the_mean_of_the_posteriors_of_its_pseudo_inputs(backend: Backend) -> None:
    made, z = model("vamp:4"), RNG.normal(size=(5, 2))
    u = made.prior.pseudo_inputs.numpy()
    mean, log_variance = (part.numpy() for part in made.encode(tv.Tensor(1 / (1 + np.exp(-u)))))
    wanted = mixture_by_definition(z, np.zeros(4), mean, log_variance)
    np.testing.assert_allclose(log_prob(made, z), wanted, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_distribution_of_the_density(name: str) -> None:
    made = model(name, latent=1)
    noise = tv.Noise(0, backend="numpy")
    z = made.prior.sample(20_000, noise, made.encode)[:, 0]
    grid = np.arange(-30, 30, 0.01)
    below = np.cumsum(np.exp(log_prob(made, grid[:, None]))) * 0.01
    assert stats.kstest(z, lambda at: np.interp(at, grid + 0.005, below)).pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_alike_on_every_backend(backend: Backend, name: str) -> None:
    made, noise = model(name), tv.Noise(0, backend="numpy")
    with tv.use("numpy"):
        wanted = model(name)
        expected = wanted.prior.sample(5, tv.Noise(0), wanted.encode)
    np.testing.assert_allclose(made.prior.sample(5, noise, made.encode), expected, rtol=1e-12)


def test_the_first_mixture_is_nearly_the_standard_normal() -> None:
    prior = Mixture(1, 4, tv.Noise(0), 1000)
    z = prior.sample(100_000, tv.Noise(1), lambda x: (x,))
    assert stats.describe(z[:, 0]).mean == pytest.approx(0, abs=0.06)
    assert z.var() == pytest.approx(1, abs=0.06)


# In a model


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_loss_and_replays_its_steps(
    backend: Backend, name: str, resident: bool
) -> None:
    made = tv.VAE((2, 2), 2, (8,), prior=name)
    options = {"epochs": 6, "batch": 8, "learning_rate": 0.01, "resident": resident}
    history = tv.fit(made, IMAGES, **options)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    found = tv.evaluate(made, IMAGES)
    assert tv.log_likelihood(made, IMAGES, 50).mean > -found.loss - 0.1
    assert made.sample(3).shape == (3, 2, 2)


@pytest.mark.parametrize("name", ["mixture:3", "vamp:4"])
def test_a_prior_is_trained_and_kept_with_the_weights(backend: Backend, name: str) -> None:
    made = tv.VAE((2, 2), 2, (8,), prior=name)
    made.begin(Split(IMAGES))
    before = {k: v for k, v in made.state_dict().items() if k.startswith("prior.")}
    tv.fit(made, IMAGES, epochs=2, batch=8)
    state = made.state_dict()
    assert before
    assert all((state[key] != value).any() for key, value in before.items())
    other = tv.VAE((2, 2), 2, (8,), seed=1, prior=name)
    other.load_state_dict(state)
    assert tv.evaluate(other, IMAGES) == tv.evaluate(made, IMAGES)


def test_a_prior_in_the_shape_of_the_posteriors_leaves_a_kl_of_0(backend: Backend) -> None:
    # One image, and one pseudo-input that is it: q(z | x) is p(z), so log q - log p is 0.
    made = tv.VAE((2, 2), 2, (8,), prior="vamp:1").to(dtype="float64")
    pixels = 1 / (1 + np.exp(-made.prior.pseudo_inputs.numpy()))
    terms = tv.negative_elbo(made, tv.Tensor(pixels), tv.Tensor(RNG.normal(size=(1, 2))).array)
    assert abs(terms.kl.item()) < 1e-12


# Pseudo-inputs


def test_pseudo_inputs_begin_with_images_of_the_training_part(backend: Backend) -> None:
    made = tv.VAE((2, 2), 2, (8,), prior="vamp:6")
    made.begin(Split(IMAGES))
    pixels = 1 / (1 + np.exp(-made.prior.pseudo_inputs.numpy()))
    images = 0.05 + 0.9 * (IMAGES.reshape(-1, 4) / 255)
    distance = abs(pixels[:, None] - images).max(axis=2)
    assert (distance.min(axis=1) < 1e-6).all()
    assert len(set(distance.argmin(axis=1))) > 3


def test_pseudo_inputs_that_were_trained_stay(backend: Backend) -> None:
    made = tv.VAE((2, 2), 2, (8,), prior="vamp:6")
    tv.fit(made, IMAGES, epochs=1, batch=8)
    trained = made.prior.pseudo_inputs.numpy()
    made.begin(Split(IMAGES))
    np.testing.assert_array_equal(made.prior.pseudo_inputs.numpy(), trained)


def test_a_vamp_prior_refuses_posteriors_that_are_not_gaussian() -> None:
    class Wider(tv.distributions.Gaussian):
        """Another one."""

    with pytest.raises(OptionError, match="Gaussian posteriors, and this model's is Wider"):
        tv.VAE((2, 2), posterior=Wider, prior="vamp")


# After training


def test_a_prior_is_fitted_to_the_codes(backend: Backend) -> None:
    made = tv.VAE((2, 2), 2, (8,), prior="fitted:2")
    tv.fit(made, IMAGES, epochs=20, batch=8, learning_rate=0.01, beta=0.01)
    before = tv.evaluate(made, IMAGES)
    made.prior = tv.fit_prior(made, IMAGES, components=2)
    after = tv.evaluate(made, IMAGES)
    assert after.reconstruction == before.reconstruction
    assert after.kl < before.kl
    assert after.kl_per_dimension == []


def test_a_fitted_mixture_of_one_has_the_moments_of_the_codes() -> None:
    made = model("fitted:1", dtype="float32")
    images = RNG.integers(256, size=(4000, 2, 2), dtype=np.uint8)
    mean, log_variance = made.embed(images)
    prior = tv.fit_prior(made, images, components=1)
    assert prior.means.numpy()[0] == pytest.approx(mean.mean(axis=0), abs=0.1)
    wanted = mean.var(axis=0) + np.exp(log_variance).mean(axis=0)
    assert np.exp(prior.log_variances.numpy()[0]) == pytest.approx(wanted, rel=0.1)


def test_a_fitted_prior_is_the_standard_normal_until_it_is_fitted(backend: Backend) -> None:
    parts = {name: tv.VAE((2, 2), 2, (8,), prior=name) for name in ("fitted:2", "normal")}
    rows = [tv.fit(made, IMAGES, epochs=2, batch=8) for made in parts.values()]
    assert rows[0] == rows[1]
    assert not any(values.any() for values in parts["fitted:2"].prior.state_dict().values())
    fresh = tv.VAE((2, 2), 2, prior="fitted:2")  # as a run is read back
    z = RNG.normal(size=(5, 2)).astype("float32")
    wanted = stats.norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(log_prob(fresh, z), wanted, rtol=1e-5)


def test_a_fitted_prior_is_read_back_with_the_weights() -> None:
    made = tv.VAE((2, 2), 2, (8,), prior="fitted:2")
    tv.fit(made, IMAGES, epochs=2, batch=8)
    made.prior = tv.fit_prior(made, IMAGES, components=2)
    other = tv.VAE((2, 2), 2, (8,), prior="fitted:2", seed=1)
    assert other.prior.is_standard
    other.load_state_dict(made.state_dict())
    assert not other.prior.is_standard
    assert tv.evaluate(other, IMAGES) == tv.evaluate(made, IMAGES)


def test_training_goes_on_from_a_fitted_prior_with_the_standard_normal() -> None:
    made = tv.VAE((2, 2), 2, (8,), prior="fitted:2")
    tv.fit(made, IMAGES, epochs=1, batch=8)
    made.prior = tv.fit_prior(made, IMAGES, components=2)
    tv.fit(made, IMAGES, epochs=1, batch=8)
    assert len(tv.evaluate(made, IMAGES).kl_per_dimension) == 2


def test_fewer_images_than_components_are_refused() -> None:
    with pytest.raises(DataError, match="10 components"):
        tv.fit_prior(tv.VAE((2, 2)), IMAGES[:5])


@pytest.mark.parametrize("asked", ["mixture:0", "mixture:2.5", "vamp:-1", "vamp:inf", "normal:3"])
def test_a_number_that_a_prior_does_not_take_is_refused(asked: str) -> None:
    with pytest.raises(OptionError, match=f"the prior '{asked}'"):
        tv.VAE((2, 2), prior=asked)


def test_the_kinds_of_priors() -> None:
    noise = tv.Noise(0)
    kinds = (StandardNormal, Mixture, Vamp, Fitted)
    assert [kind(2, 4, noise).is_standard for kind in kinds] == [True, False, False, True]
    assert len(Vamp(2, 4, noise).pseudo_inputs) == 500
