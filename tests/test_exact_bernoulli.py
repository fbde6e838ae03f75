"""A VAE so small that all images can be listed and its codes integrated out: all is as it should.

What is held to the exact figures is the package's own model, loss, importance weights and
estimate; the figures are computed from the model's weights in `exact_models`.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
from exact_models import Enumerated, all_images, small_vae, trapezoid

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.evaluation.likelihood import log_likelihood
from tinyvae.objectives import log_weights, negative_elbo

SIZES = [((1, 3), 1), ((2, 2), 2)]
small = pytest.mark.parametrize("size", SIZES, ids=["three pixels, one code", "four pixels, two"])


@cache
def known(size: Any) -> Enumerated:
    with tv.use("numpy"):
        return Enumerated.of(small_vae(*size))


def images_of(size: Any) -> np.ndarray:
    return all_images(int(np.prod(size[0])))


def evidence_of(size: Any) -> np.ndarray:
    return np.array([known(size).log_evidence(x) for x in images_of(size)])


@cache
def gradients_of(size: Any, of: str, k: int) -> dict[str, np.ndarray]:
    """Of the "elbo" or the "evidence" of the k-th image, for every weight."""
    return getattr(known(size), f"{of}_gradients")(images_of(size)[k])


SOME = (1, 6)


def on_the_grid(size: Any, x: np.ndarray) -> tuple[tv.Tensor, Any, tv.Tensor]:
    """One image, with the nodes of a quadrature for its noise, and their weights."""
    model = known(size)
    rows = tv.Tensor(np.tile(x, (len(model.z), 1)))
    return rows, tv.Tensor(model.z).array, tv.Tensor(model.share)


def quadrature_evidence(model: tv.VAE, x: np.ndarray, z: np.ndarray, share: np.ndarray) -> Any:
    """log of the expected weight: log p(x) by the package's own importance weights."""
    log_w = log_weights(model, tv.Tensor(x[None]), tv.Tensor(z[None]).array)
    return tv.logsumexp(log_w[0] + tv.Tensor(np.log(share)))


@small
def test_the_evidence_of_all_images_sums_to_one(backend: Backend, size: Any) -> None:
    model, exact = small_vae(*size), known(size)
    assert np.exp(evidence_of(size)).sum() == pytest.approx(1, abs=1e-10)
    log_p = [quadrature_evidence(model, x, exact.z, exact.share).item() for x in images_of(size)]
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-10)


@small
def test_the_elbo_falls_short_of_the_evidence_by_the_kl_to_the_true_posterior(
    backend: Backend, size: Any
) -> None:
    model, exact = small_vae(*size), known(size)
    for x, evidence in zip(images_of(size), evidence_of(size), strict=True):
        rows, noise, share = on_the_grid(size, x)
        terms = negative_elbo(model, rows, noise)
        elbo = -(share * (terms.reconstruction + terms.kl)).sum().item()
        assert exact.gap(x) > 0.01
        assert elbo == pytest.approx(evidence - exact.gap(x), abs=1e-10)


@small
def test_log_weights_average_to_the_elbo_and_weights_to_the_evidence(
    backend: Backend, size: Any
) -> None:
    model, exact = small_vae(*size), known(size)
    for x, evidence in zip(images_of(size), evidence_of(size), strict=True):
        log_w = log_weights(model, tv.Tensor(x[None]), tv.Tensor(exact.z[None]).array).numpy()[0]
        assert exact.share @ log_w == pytest.approx(evidence - exact.gap(x), abs=1e-10)
        assert np.log(exact.share @ np.exp(log_w)) == pytest.approx(evidence, abs=1e-10)


def test_the_bound_of_two_weights_lies_between_the_elbo_and_the_evidence(backend: Backend) -> None:
    model, exact = small_vae(), known(SIZES[0])
    z, share = trapezoid(8, 0.2, axes=2)
    for x, evidence in zip(images_of(SIZES[0]), evidence_of(SIZES[0]), strict=True):
        pairs = tv.Tensor(z[:, :, None]).array  # (B, 2, 1)
        log_w = log_weights(model, tv.Tensor(np.tile(x, (len(z), 1))), pairs)
        bound = share @ tv.logsumexp(log_w).numpy() - np.log(2)
        assert bound == pytest.approx(exact.bound_of_two(x), abs=1e-9)
        assert evidence - exact.gap(x) + 0.01 < bound < evidence - 0.01


def named_gradients(model: tv.VAE) -> dict[str, np.ndarray]:
    return {n: p.backend.to_host(p.grad.copy()) for n, p in model.named_parameters()}


def assert_gradients(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert got.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], rtol=0, atol=1e-9, err_msg=name)


@small
def test_the_gradient_of_the_elbo_is_that_of_the_evidence_less_the_kl(
    backend: Backend, size: Any
) -> None:
    for k in SOME:
        model = small_vae(*size)
        rows, noise, share = on_the_grid(size, images_of(size)[k])
        terms = negative_elbo(model, rows, noise)
        (-share * (terms.reconstruction + terms.kl)).sum().backward()
        assert_gradients(named_gradients(model), gradients_of(size, "elbo", k))


@small
def test_the_gradient_of_the_expected_weight_is_that_of_the_evidence_and_none_for_the_encoder(
    backend: Backend, size: Any
) -> None:
    for k in SOME:
        model, exact = small_vae(*size), known(size)
        quadrature_evidence(model, images_of(size)[k], exact.z, exact.share).backward()
        wanted = gradients_of(size, "evidence", k)
        assert_gradients(named_gradients(model), wanted)
        for name, gradient in wanted.items():
            assert abs(gradient).max() > 0.01 if name.startswith("decoder") else not gradient.any()


@small
def test_the_gradient_of_the_evidence_is_the_posterior_average_of_that_of_the_pixels(
    backend: Backend, size: Any
) -> None:
    # Fisher's identity: d log p(x) = E[d log p(x | z)] under p(z | x).
    for k in SOME:
        model, x = small_vae(*size), images_of(size)[k]
        rows, z, _ = on_the_grid(size, x)
        cross_entropy = tv.bernoulli_cross_entropy(model.decode(tv.Tensor.wrap(z)), rows)
        (tv.Tensor(-known(size).posterior(x)) * cross_entropy).sum().backward()
        wanted = gradients_of(size, "evidence", k)
        for name, parameter in model.decoder.named_parameters("decoder."):
            got = parameter.backend.to_host(parameter.grad)
            np.testing.assert_allclose(got, wanted[name], rtol=0, atol=1e-9)


@small
@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_of_every_image_is_within_three_standard_errors(
    backend: Backend, size: Any, seed: int
) -> None:
    images = images_of(size).reshape(-1, *size[0]).astype("float32")
    result, exact = log_likelihood(small_vae(*size), images, 3000, seed), evidence_of(size)
    assert (abs(result.per_image - exact) < 3 * result.standard_errors).all()
    assert abs(result.mean - exact.mean()) < 3 * result.standard_error
    assert (result.standard_errors < 0.05).all()
    assert result.standard_error < 0.01
    assert (result.standard_errors > 1e-3).all()


def test_the_estimates_of_different_images_are_drawn_apart(backend: Backend) -> None:
    # The same image many times: the average is as much surer as its standard error says.
    images = np.repeat(all_images(3)[5][None, None], 400, axis=0).astype("float32")
    result = log_likelihood(small_vae(), images, samples=100)
    assert len(set(result.per_image)) == 400
    exact = known(SIZES[0]).log_evidence(all_images(3)[5])
    scores = (result.per_image - exact) / result.standard_errors
    assert scores.std() == pytest.approx(1, abs=3 / np.sqrt(2 * 400))
    assert abs(result.mean - exact) < 3 * result.standard_error
    assert result.standard_error == pytest.approx(result.per_image.std() / 20, rel=0.15)


def test_the_list_of_all_images_has_each_once() -> None:
    assert sorted(map(tuple, all_images(3))) == sorted(itertools.product((0, 1), repeat=3))
