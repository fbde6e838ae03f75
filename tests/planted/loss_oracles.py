"""What a loss, an estimate and a sampler must be, where log p(x) is known exactly.

An oracle is called with a system and raises AssertionError where the system is wrong. What is
random is integrated out, so that an oracle has no luck, but where it is an estimate that is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import pytest
from exact_models import (
    Enumerated,
    LinearGaussian,
    Weights,
    all_images,
    gauss_hermite,
    log_normal,
    small_vae,
    trapezoid,
)

import tinyvae as tv
from tinyvae.evaluation.likelihood import LogLikelihood
from tinyvae.objectives import Terms

Loss = Callable[[tv.VAE, tv.Tensor, np.ndarray], tv.Tensor]
"""A number, of a model, an image (1, D) and noise."""
IMAGES = all_images(4)[[1, 6]]


def vae(latent: int) -> tv.VAE:
    return small_vae((2, 2), latent)


@cache
def exact(latent: int) -> Enumerated:
    return Enumerated.of(vae(latent))


def averaged(loss: Loss, x: np.ndarray, nodes: tuple[Any, Any]) -> tuple[float, Any]:
    """The expectation over the noise of a loss of one image, and of its gradient by weight."""
    model, row, total = vae(1), tv.Tensor(x[None]), 0.0
    for noise, share in zip(*nodes, strict=True):
        value = loss(model, row, noise)
        total += share * value.item()
        (value * float(share)).backward()
    return total, gradients_of(model)


def gradients_of(model: tv.VAE) -> Weights:
    named = model.named_parameters()
    return {name: np.zeros(p.shape) if p.grad is None else p.grad for name, p in named}


def assert_gradients(got: Weights, wanted: Weights) -> None:
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], rtol=0, atol=1e-8, err_msg=name)


# Objectives, as `negative_elbo`

Objective = Callable[[tv.VAE, tv.Tensor, np.ndarray], Terms]


def the_parts_are_the_gap_to_the_evidence(objective: Objective) -> None:
    """Cross-entropy and KL of each example sum to -log p(x) + KL(q(z | x) || p(z | x))."""
    known = exact(2)
    for x in IMAGES:
        rows = tv.Tensor(np.tile(x, (len(known.z), 1)))
        terms = objective(vae(2), rows, known.z)
        got = known.share @ (terms.reconstruction + terms.kl).numpy()
        assert got == pytest.approx(known.gap(x) - known.log_evidence(x), abs=1e-9)


def the_kl_that_is_told_is_the_kl(objective: Objective) -> None:
    """By its definition, the expectation of log q(z | x) - log p(z)."""
    known = exact(2)
    for x in IMAGES:
        mean, variance = known.encoded(x)
        z = mean + np.sqrt(variance) * known.z
        kl = known.share @ (log_normal(z, mean, variance) - log_normal(z))
        told = objective(vae(2), tv.Tensor(x[None]), np.zeros((1, 2))).kl
        np.testing.assert_allclose(told.numpy(), [kl], rtol=1e-9)


def the_loss_is_the_negative_elbo(objective: Objective) -> None:
    """Its expectation over the noise, and that of its gradient for every weight."""

    def loss(model: tv.VAE, row: tv.Tensor, noise: np.ndarray) -> tv.Tensor:
        return -objective(model, row, noise[None]).loss

    for x in IMAGES:
        elbo, gradients = averaged(loss, x, trapezoid(9, 0.2))
        assert elbo == pytest.approx(exact(1).log_evidence(x) - exact(1).gap(x), abs=1e-8)
        assert_gradients(gradients, exact(1).elbo_gradients(x))


def the_loss_of_a_batch_is_the_mean_of_its_images(objective: Objective) -> None:
    model, x, noise = vae(2), all_images(4), trapezoid(3, 2.0, 2)[0]
    each = [objective(model, tv.Tensor(x[k : k + 1]), noise[k : k + 1]).loss for k in range(16)]
    whole = objective(model, tv.Tensor(x), noise).loss
    assert whole.item() == pytest.approx(np.mean([loss.item() for loss in each]), rel=1e-12)


def the_bound_is_that_of_two_weights(bound: Callable[..., tv.Tensor]) -> None:
    """Of the importance weighted autoencoder, of each example: its value and its gradient."""
    pairs, share = trapezoid(9, 0.2, 2)
    for x in IMAGES:
        model, rows = vae(1), tv.Tensor(np.tile(x, (len(pairs), 1)))
        value = (tv.Tensor(share) * bound(model, rows, pairs[:, :, None])).sum()
        value.backward()
        assert value.item() == pytest.approx(exact(1).bound_of_two(x), abs=1e-8)
        assert_gradients(gradients_of(model), bound_gradients(tuple(x)))


@cache
def bound_gradients(x: tuple[float, ...]) -> dict[str, np.ndarray]:
    return exact(1).bound_gradients(np.array(x))


# Losses with Gaussian pixels: of x, the mean and log variance of its pixels, and those of q

LINEAR = LinearGaussian.random()
X = LINEAR.sample(3)


def linear_loss(loss: Callable[..., tv.Tensor]) -> tuple[np.ndarray, list[np.ndarray]]:
    """At the true posterior, (N,), and its gradients: W, b, log sigma^2, mean and spread of q."""
    values = (LINEAR.W, LINEAR.b, LINEAR.log_variance, *LINEAR.diagonal_posterior(X))
    W, b, s, mean, spread = leaves = [tv.Tensor(v, requires_grad=True) for v in values]
    total = 0 * mean.sum(axis=1)
    for noise, share in zip(*gauss_hermite(3, 2), strict=True):
        z = tv.gaussian_sample(mean, spread, tv.Tensor(np.tile(noise, (len(X), 1))))
        pixels = tv.affine(z, tv.transpose(W), b)
        total = total + float(share) * loss(tv.Tensor(X), pixels, s, mean, spread)
    total.sum().backward()
    return total.numpy(), [np.zeros(x.shape) if x.grad is None else x.grad for x in leaves]


def the_true_posterior_is_best(loss: Callable[..., tv.Tensor]) -> None:
    """For a loss that a constant may be added to: no gradient at the true posterior."""
    for gradient in linear_loss(loss)[1][3:]:
        assert abs(gradient).max() < 1e-8


def the_pixels_gradient_is_that_of_the_evidence(loss: Callable[..., tv.Tensor]) -> None:
    """For a loss that a constant may be added to: at the true posterior, for W, b, log sigma^2."""
    gradients = linear_loss(loss)[1][:3]
    for got, wanted in zip(gradients, LINEAR.evidence_gradients(X), strict=True):
        np.testing.assert_allclose(got, -wanted, rtol=0, atol=1e-8)


def the_loss_is_the_evidence_at_the_true_posterior(loss: Callable[..., tv.Tensor]) -> None:
    np.testing.assert_allclose(linear_loss(loss)[0], -LINEAR.log_evidence(X), atol=1e-8)


# KLs to a prior that is a mixture, of one sample each

SHARES, MEANS, VARIANCES = np.array([0.3, 0.7]), np.array([-1.5, 1.0]), np.array([0.25, 1.0])


def the_kl_is_to_the_whole_mixture(kl: Callable[..., tv.Tensor]) -> None:
    noise, share = trapezoid(9, 0.1)
    for mean, variance in ((0.0, 1.0), (-1.5, 0.25), (2.0, 0.5)):
        z = mean + np.sqrt(variance) * noise
        log_q = log_normal(z, mean, variance)
        prior = np.exp([log_normal(z, m, v) for m, v in zip(MEANS, VARIANCES, strict=True)])
        wanted = share @ (log_q - np.log(SHARES @ prior))
        columns = np.full_like(noise, mean), np.full_like(noise, np.log(variance)), noise
        assert share @ kl(*map(tv.Tensor, columns)).numpy() == pytest.approx(wanted, abs=1e-9)


# Densities and estimators


def every_axis_has_its_own_variance(log_density: Callable[..., tv.Tensor]) -> None:
    """The density integrates to 1, and to each axis's variance."""
    mean, variance = np.array([0.5, -1.0]), np.array([0.3, 2.0])
    z, share = trapezoid(16, 0.25, 2)
    rows = (np.broadcast_to(row, z.shape).copy() for row in (mean, np.log(variance)))
    p = np.exp(log_density(*map(tv.Tensor, (z, *rows))).numpy() - log_normal(z)) * share
    assert p.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(p @ (z - mean) ** 2, variance, rtol=1e-9)


def the_gradient_of_the_expected_square_is_twice_the_mean(
    estimator: Callable[[float, np.ndarray], np.ndarray],
) -> None:
    """For z from N(theta, 1): d E[z^2] / d theta = 2 theta."""
    noise, share = gauss_hermite(8)
    for theta in (2.0, -0.5):
        assert share @ estimator(theta, noise) == pytest.approx(2 * theta, rel=1e-9)


# Estimates of log p(x), as `log_likelihood`

Estimate = Callable[[tv.VAE, np.ndarray, int, int], LogLikelihood]


def every_image() -> np.ndarray:
    return all_images(4).reshape(-1, 2, 2).astype("float32")


def the_estimate_is_the_evidence(estimate: Estimate) -> None:
    """Within four standard errors, which are small."""
    result = estimate(vae(1), every_image(), 2000, 0)
    wanted = [exact(1).log_evidence(x) for x in all_images(4)]
    assert (result.standard_errors < 0.03).all()
    assert (abs(result.per_image - wanted) <= 4 * result.standard_errors).all()


def the_standard_error_is_the_spread(estimate: Estimate) -> None:
    """Of the estimates for one image again and again, each drawn apart."""
    images = np.repeat(every_image()[6:7], 1000, axis=0)
    result = estimate(vae(1), images, 100, 0)
    assert len(np.unique(result.per_image)) == 1000
    scores = (result.per_image - exact(1).log_evidence(IMAGES[1])) / result.standard_errors
    assert np.std(scores) == pytest.approx(1, abs=0.1)


def as_many_codes_are_drawn_as_asked_for(estimate: Estimate) -> None:
    decoded: list[np.ndarray] = []
    decode = tv.VAE.decode

    def spy(self: tv.VAE, z: tv.Tensor) -> tv.Tensor:
        decoded.append(z.numpy())
        return decode(self, z)

    with mock.patch.object(tv.VAE, "decode", spy):
        estimate(vae(1), every_image(), 30, 0)
    assert len(np.unique(np.concatenate(decoded))) == 30 * 16


def an_image_of_probability_e_to_the_minus_3000_has_an_estimate(estimate: Estimate) -> None:
    model = tv.VAE((28, 28), hidden=()).to(dtype="float64")
    state = {name: 0 * value for name, value in model.state_dict().items()}
    model.load_state_dict(state | {"decoder.layers.0.bias": np.full(784, -4.0)})
    with np.errstate(all="ignore"):
        result = estimate(model, np.ones((1, 28, 28), dtype="float32"), 10, 0)
    assert result.mean == pytest.approx(-784 * np.log1p(np.exp(4.0)), rel=1e-9)


# Samples from the model


def samples_are_of_the_model(sample: Callable[[tv.VAE, int, int], np.ndarray]) -> None:
    """The pixels' probabilities have the mean and the second moment that the model gives them."""
    count, known = 20_000, exact(1)
    pixels = sample(vae(1), count, 0).reshape(count, 4)
    for power in (1, 2):
        wanted, square = (known.share @ known.pixels() ** n for n in (power, 2 * power))
        error = np.sqrt((square - wanted**2) / count)
        assert (abs((pixels**power).mean(axis=0) - wanted) < 4 * error).all()
