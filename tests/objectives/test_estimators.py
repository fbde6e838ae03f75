"""Every estimator tells the value of its bound, and its gradient has the right expectation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exact_models import small_vae
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from planted.estimator_oracles import (
    every_sample_lands,
    expected,
    linear_model,
    the_expected_gradient_is_that_of_the_bound_of_two,
    the_expected_gradient_is_that_of_the_elbo,
)
from planted.loss_oracles import IMAGES, bound_gradients
from scipy.special import logsumexp

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.distributions import Gaussian
from tinyvae.distributions.posteriors import POSTERIORS, drawn
from tinyvae.errors import OptionError
from tinyvae.models import MODELS, model_class
from tinyvae.objectives import OBJECTIVES, log_weights
from tinyvae.objectives.samples import take_samples
from tinyvae.objectives.score import leave_one_out, leave_one_out_bound, score_terms

CLOSED = ["elbo", "elbo-analytic"]
SAMPLED = ["elbo-mc", "stl", "score", "score-loo"]
OF_THE_ELBO = [*CLOSED, *SAMPLED]
OF_THE_BOUND = ["iwae", "dreg", "vimco"]
BIASED = ["iwae-stl"]
ONE_SAMPLE = ["elbo", "elbo-mc", "stl", "score", "iwae", "iwae-stl", "dreg"]

RNG = np.random.default_rng(0)
X, NOISE = RNG.random((3, 4)), RNG.standard_normal((3, 5, 2))


def terms_at(name: str, noise: np.ndarray = NOISE, **options: Any) -> tuple[Any, tv.VAE]:
    model = small_vae((2, 2), latent=2)
    x, noise = tv.Tensor(X), tv.Tensor(noise).array
    return OBJECTIVES[name](model, x, noise, **options), model


def gradients(name: str, noise: np.ndarray = NOISE) -> list[np.ndarray]:
    terms, model = terms_at(name, noise)
    terms.loss.backward()
    return [p.backend.to_host(p.grad.copy()) for p in model.parameters()]


def test_every_objective_is_tested() -> None:
    assert OBJECTIVES.keys() == {*OF_THE_ELBO, *OF_THE_BOUND, *BIASED}


# In expectation


@pytest.mark.parametrize("name", OF_THE_ELBO)
def test_the_expectation_of_the_gradient_is_the_gradient_of_the_elbo(name: str) -> None:
    the_expected_gradient_is_that_of_the_elbo(OBJECTIVES[name])


@pytest.mark.parametrize("name", OF_THE_BOUND)
def test_the_expectation_of_the_gradient_is_the_gradient_of_the_bound(name: str) -> None:
    the_expected_gradient_is_that_of_the_bound_of_two(OBJECTIVES[name])


def test_any_constant_is_a_baseline_without_bias() -> None:
    for baseline in (-3.0, 7.0):
        the_expected_gradient_is_that_of_the_elbo(
            lambda *given, b=baseline: score_terms(*given, baseline=b)
        )


def test_without_the_score_the_bound_of_many_has_a_bias_for_the_encoder_alone() -> None:
    _, found = expected(OBJECTIVES["iwae-stl"], IMAGES[0])
    for name, wanted in bound_gradients(tuple(IMAGES[0])).items():
        error = abs(found[name] + wanted).max()
        assert error > 1e-4 if name.startswith("encoder") else error < 1e-8, name


# At the true posterior


@pytest.mark.parametrize("name", ["stl", "dreg", "iwae-stl"])
def test_at_the_true_posterior_an_estimator_without_the_score_has_no_noise(name: str) -> None:
    every_sample_lands(OBJECTIVES[name])


@pytest.mark.parametrize("name", ["elbo-mc", "iwae", "score", "vimco"])
def test_there_the_others_have(name: str) -> None:
    with pytest.raises(AssertionError):
        every_sample_lands(OBJECTIVES[name])


def test_there_the_costs_of_all_samples_are_equal_and_leave_one_out_takes_all_of_them() -> None:
    every_sample_lands(OBJECTIVES["score-loo"])


# What is told


def test_the_estimators_of_the_elbo_tell_the_mean_of_the_log_weights(backend: Backend) -> None:
    log_w = log_weights(small_vae((2, 2), latent=2), tv.Tensor(X), tv.Tensor(NOISE).array).numpy()
    for name in SAMPLED:
        terms, _ = terms_at(name)
        told = (terms.reconstruction + terms.kl).numpy()
        np.testing.assert_allclose(told, -log_w.mean(axis=1), rtol=1e-12)
        assert terms.loss.item() == pytest.approx(-log_w.mean(), rel=1e-12)


def test_the_elbo_of_several_samples_has_all_of_them_where_its_kl_is_an_estimate() -> None:
    model = tv.VAE((2, 2), 2, (3,), prior="mixture:2").to(dtype="float64")
    log_w = log_weights(model, tv.Tensor(X), NOISE).numpy()
    terms = OBJECTIVES["elbo"](model, tv.Tensor(X), NOISE)
    told = (terms.reconstruction + terms.kl).numpy()
    np.testing.assert_allclose(told, -log_w.mean(axis=1), rtol=1e-12)


def test_those_of_the_bound_tell_the_log_of_the_mean_weight(backend: Backend) -> None:
    log_w = log_weights(small_vae((2, 2), latent=2), tv.Tensor(X), tv.Tensor(NOISE).array).numpy()
    bound = logsumexp(log_w, axis=1) - np.log(5)
    for name in (*OF_THE_BOUND, *BIASED):
        terms, _ = terms_at(name)
        np.testing.assert_allclose((terms.reconstruction + terms.kl).numpy(), -bound, rtol=1e-12)
        assert terms.loss.item() == pytest.approx(-bound.mean(), rel=1e-12)


def test_the_reconstruction_of_the_bound_is_the_weights_average(backend: Backend) -> None:
    samples, _ = terms_at("elbo-mc", NOISE[:, :1])
    alone, _ = terms_at("iwae", NOISE[:, :1])
    np.testing.assert_allclose(alone.reconstruction.numpy(), samples.reconstruction.numpy())
    each = [terms_at("elbo-mc", NOISE[:, k : k + 1])[0] for k in range(5)]
    costs = np.stack([terms.reconstruction.numpy() for terms in each], axis=1)  # (B, S)
    log_w = -costs - np.stack([terms.kl.numpy() for terms in each], axis=1)
    share = np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True))
    told = terms_at("iwae")[0].reconstruction.numpy()
    np.testing.assert_allclose(told, (share * costs).sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_beta_weighs_the_kl_of_those_that_have_one(beta: float) -> None:
    for name in OF_THE_ELBO:
        terms, _ = terms_at(name, beta=beta)
        wanted = (terms.reconstruction + beta * terms.kl).numpy().mean()
        assert terms.loss.item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("name", ["score", "score-loo"])
def test_the_score_carries_the_cost_with_the_weight_of_its_kl(name: str, beta: float) -> None:
    terms, model = terms_at(name, beta=beta)
    terms.loss.backward()
    found = [p.grad.copy() for p in model.encoder.parameters()]
    for parameter in model.parameters():
        parameter.zero_grad()
    samples = take_samples(model, tv.Tensor(X), NOISE, through=tv.Tensor.detach)
    kl = samples.log_q.numpy() - samples.log_p.numpy()
    costs = samples.reconstruction.numpy() + beta * kl
    if name == "score-loo":
        costs = (costs - costs.mean(axis=1, keepdims=True)) * 5 / 4
    (tv.Tensor(costs) * samples.log_q).mean().backward()
    assert_same(found, [p.grad.copy() for p in model.encoder.parameters()])


# How they hang together


def assert_same(ours: list[np.ndarray], others: list[np.ndarray]) -> None:
    for got, wanted in zip(ours, others, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("many", "one"), [("iwae", "elbo-mc"), ("dreg", "stl"), ("iwae-stl", "stl")]
)
def test_the_bound_of_one_sample_is_the_elbo(backend: Backend, many: str, one: str) -> None:
    assert_same(gradients(many, NOISE[:, :1]), gradients(one, NOISE[:, :1]))


@pytest.mark.parametrize("name", ONE_SAMPLE)
def test_noise_of_two_axes_is_one_sample_for_each_image(backend: Backend, name: str) -> None:
    assert_same(gradients(name, NOISE[:, 0]), gradients(name, NOISE[:, :1]))


@pytest.mark.parametrize("name", ["elbo-mc", "stl", "score"])
def test_the_gradient_of_several_samples_is_the_mean_of_each(backend: Backend, name: str) -> None:
    each = [gradients(name, NOISE[:, k : k + 1]) for k in range(5)]
    assert_same(gradients(name), [np.mean(parts, axis=0) for parts in zip(*each, strict=True)])


@pytest.mark.parametrize("name", [*OF_THE_BOUND, *BIASED])
def test_the_decoder_has_the_gradient_of_the_bound_whatever_the_encoder_has(name: str) -> None:
    assert_same(gradients(name)[4:], gradients("iwae")[4:])


@pytest.mark.parametrize(
    ("name", "usual"),
    [("stl", "elbo-mc"), ("score", "elbo-mc"), ("score-loo", "elbo-mc")]
    + [(name, "iwae") for name in (*OF_THE_BOUND, *BIASED)],
)
def test_a_prior_learns_alike_whatever_the_encoder_learns_from(name: str, usual: str) -> None:
    found = []
    for objective in (name, usual):
        model = tv.VAE((2, 2), 2, (3,), prior="mixture:2").to(dtype="float64")
        OBJECTIVES[objective](model, tv.Tensor(X), NOISE).loss.backward()
        found.append([p.grad.copy() for p in model.prior.parameters()])
    assert all(abs(gradient).max() > 1e-6 for gradient in found[1])
    assert_same(*found)


# The baselines

costs = arrays(
    np.float64, st.tuples(st.integers(1, 3), st.integers(2, 6)), elements=st.floats(-50, 50)
)


@given(costs)
def test_leave_one_out_is_the_mean_of_the_others(values: np.ndarray) -> None:
    found = leave_one_out(tv.Tensor(values)).numpy()
    for b, s in np.ndindex(values.shape):
        assert found[b, s] == pytest.approx(np.delete(values[b], s).mean(), abs=1e-9)


@given(costs)
def test_the_bound_of_the_others_has_their_geometric_mean_in_the_place_of_the_own(
    values: np.ndarray,
) -> None:
    found = leave_one_out_bound(tv.Tensor(values)).numpy()
    for b, s in np.ndindex(values.shape):
        others = np.delete(values[b], s)
        weights = [*others, others.mean()]
        wanted = logsumexp(weights) - np.log(len(weights))
        assert found[b, s] == pytest.approx(wanted, abs=1e-9)


@given(costs, st.floats(-50, 50))
def test_no_baseline_knows_its_own_sample(values: np.ndarray, other: float) -> None:
    changed = values.copy()
    changed[:, 0] = other
    for baseline in (leave_one_out, leave_one_out_bound):
        before, after = (baseline(tv.Tensor(v)).numpy()[:, 0] for v in (values, changed))
        np.testing.assert_allclose(before, after, atol=1e-9)


# What is refused


@pytest.mark.parametrize("name", ["score-loo", "vimco"])
@pytest.mark.parametrize("noise", [NOISE[:, 0], NOISE[:, :1]])
def test_a_single_sample_has_no_others(name: str, noise: np.ndarray) -> None:
    with pytest.raises(OptionError, match=f"{name}.*samples=2"):
        terms_at(name, noise)


@pytest.mark.parametrize("name", [*OF_THE_BOUND, *BIASED])
@pytest.mark.parametrize("beta", [0.5, tv.Tensor(1.0)])
def test_a_bound_of_many_has_no_kl_to_weigh(name: str, beta: Any) -> None:
    with pytest.raises(OptionError, match=f"{name}.*no KL to weigh"):
        terms_at(name, beta=beta)


@pytest.mark.parametrize("name", [*SAMPLED, *OF_THE_BOUND, *BIASED])
def test_free_bits_need_a_closed_form(name: str) -> None:
    with pytest.raises(OptionError, match=f"free_bits.*{name}"):
        terms_at(name, free_bits=0.1)


class Flowing(Gaussian):
    """Without a density at any code."""

    has_density = False


class Uniform(Gaussian):
    """As one whose support moves."""

    has_score = False


@pytest.mark.parametrize(
    ("posterior", "names"),
    [
        (Flowing, ["stl", "iwae-stl", "dreg", "score", "score-loo", "vimco"]),
        (Uniform, ["stl", "iwae-stl", "dreg", "score", "score-loo", "vimco"]),
    ],
)
def test_a_posterior_that_cannot_serve_is_refused(posterior: Any, names: list[str]) -> None:
    model = tv.VAE((2, 2), posterior=posterior).to(dtype="float64")
    for name in OBJECTIVES:
        if name in names:
            with pytest.raises(OptionError, match=f"{name}.*{posterior.__name__}"):
                OBJECTIVES[name](model, tv.Tensor(X), NOISE)
        else:
            OBJECTIVES[name](model, tv.Tensor(X), NOISE)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_a_loss_of_its_own_is_not_trained_by_another(name: str) -> None:
    model = model_class(name)((2, 2), 2, (3,)).to(dtype="float64")
    model.begin(X)
    for objective in (*SAMPLED, *OF_THE_BOUND, *BIASED):
        if name in ("vae", "beta-vae"):
            OBJECTIVES[objective](model, tv.Tensor(X), NOISE)
        else:
            with pytest.raises(OptionError, match=f"{objective}.*{type(model).__name__}"):
                OBJECTIVES[objective](model, tv.Tensor(X), NOISE)


@pytest.mark.parametrize("name", MODELS)
def test_free_bits_do_not_take_the_place_of_a_loss_of_its_own(name: str) -> None:
    model = model_class(name)((2, 2), 2, (3,)).to(dtype="float64")
    model.begin(X)
    given = (model, tv.Tensor(X), NOISE[:, 0], 1.0, 0.1)
    if name in ("vae", "beta-vae"):
        OBJECTIVES["elbo"](*given)
    else:
        with pytest.raises(OptionError, match=f"free_bits.*{type(model).__name__}"):
            OBJECTIVES["elbo"](*given)


OF_THE_SCORE = ["score", "score-loo", "vimco"]
OF_THE_PATH = ["stl", "dreg", "iwae-stl"]
NONE = [*OF_THE_SCORE, *OF_THE_PATH]
REFUSED = {"uniform": NONE, "iaf": OF_THE_PATH, "planar": NONE}


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_with_any_posterior_an_estimator_tells_its_bound_or_says_why_not(posterior: str) -> None:
    model = tv.VAE((2, 2), latent=2, hidden=(3,), posterior=posterior).to(dtype="float64")
    noise = drawn(model.posterior, tv.Noise(0), (3, 5), "float64")
    log_w = log_weights(model, tv.Tensor(X), noise).numpy()
    wanted = dict.fromkeys(SAMPLED, -log_w.mean(axis=1))
    wanted |= dict.fromkeys([*OF_THE_BOUND, *BIASED], np.log(5) - logsumexp(log_w, axis=1))
    for name in REFUSED.get(posterior, []):
        with pytest.raises(OptionError, match=f"{name}.*{type(model.posterior).__name__}"):
            OBJECTIVES[name](model, tv.Tensor(X), noise)
    for name in wanted.keys() - set(REFUSED.get(posterior, [])):
        terms = OBJECTIVES[name](model, tv.Tensor(X), noise)
        told = (terms.reconstruction + terms.kl).numpy()
        np.testing.assert_allclose(told, wanted[name], rtol=1e-10)


def test_a_model_of_encode_and_decode_alone_will_do() -> None:
    model = linear_model()
    del model.likelihood
    x = tv.Tensor(RNG.random((3, 5)))
    for name in OBJECTIVES:
        assert OBJECTIVES[name](model, x, NOISE[:, :, :2]).kl.shape == (3,)
