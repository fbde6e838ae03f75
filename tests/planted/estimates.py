"""Wrong estimates: of log p(x), of the bound of many samples, of gradients; and wrong samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from networks import log_ratio

import tinyvae as tv
from planted.loss_oracles import (
    Estimate,
    an_image_of_probability_e_to_the_minus_3000_has_an_estimate,
    as_many_codes_are_drawn_as_asked_for,
    samples_are_of_the_model,
    the_bound_is_that_of_two_weights,
    the_estimate_is_the_evidence,
    the_gradient_of_the_expected_square_is_twice_the_mean,
    the_standard_error_is_the_spread,
)
from planted.system import PlantedSystem, where
from tinyvae.distributions import Gaussian
from tinyvae.evaluation import likelihood
from tinyvae.evaluation.likelihood import log_likelihood, log_mean
from tinyvae.objectives import log_weights

Chunks = Iterable[np.ndarray]
Result = tuple[np.ndarray, np.ndarray, np.ndarray]


def weighing(ratio: Callable[..., tv.Tensor]) -> Estimate:
    """`log_likelihood` with another log p(z) - log q(z | x)."""
    wrong = lambda self, q, z: log_prior(z) - ratio(z, *q)  # noqa: E731
    return where(Gaussian, "log_prob", wrong, log_likelihood)


def averaging(mean: Callable[[Chunks], Result]) -> Estimate:
    """`log_likelihood` with another mean of the weights, or another standard error."""
    return where(likelihood, "log_mean", mean, log_likelihood)


def drawing(kept: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """`log_likelihood` with what is kept of the noise, (B, S, K)."""
    wrong = lambda model, x, noise: log_weights(model, x, kept(noise))  # noqa: E731
    return where(likelihood, "log_weights", wrong, log_likelihood)


def with_value(value: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """What is made of all the logarithms of weights, (B, S), in place of that of their mean."""

    def of_chunks(chunks: Chunks) -> Result:
        log_w = np.concatenate(list(chunks), axis=1)
        return value(log_w), *log_mean([log_w])[1:]

    return averaging(of_chunks)


def with_error(error: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """The same for the standard error."""

    def of_chunks(chunks: Chunks) -> Result:
        log_w = np.concatenate(list(chunks), axis=1)
        estimate, _, effective = log_mean([log_w])
        return estimate, error(log_w), effective

    return averaging(of_chunks)


EVIDENCE: list[tuple[str, str, Estimate]] = [
    (
        "the ratio of prior and posterior upside down",
        "the IWAE weights' sign",
        weighing(lambda *parts: -log_ratio(*parts)),
    ),
    (
        "the posterior left out of the weights",
        "a sum over samples of p(x, z)",
        weighing(lambda z, m, v: log_prior(z)),
    ),
    (
        "the prior left out of the weights",
        "p(x | z) averaged over q",
        weighing(lambda z, m, v: 0 * z.sum(axis=1)),
    ),
    (
        "sigma for the variance of q",
        "variance where sigma belongs",
        weighing(lambda z, m, v: log_ratio(z, m, v / 2)),
    ),
    (
        "the KL in place of the ratio at the sample",
        "an ELBO's parts in the weights",
        weighing(lambda z, m, v: -tv.kl_standard_normal(m, v)),
    ),
    ("the ELBO told as log p(x)", "well-known code", with_value(lambda w: w.mean(axis=1))),
    ("the largest weight", "a best of k", with_value(lambda w: w.max(axis=1))),
    (
        "the number of samples not divided by",
        "log-sum-exp without log k",
        with_value(lambda w: np.logaddexp.reduce(w, axis=1)),
    ),
    (
        "the weights' inverses averaged",
        "the IWAE weights' sign",
        with_value(lambda w: math.log(w.shape[1]) - np.logaddexp.reduce(-w, axis=1)),
    ),
]
ERRORS: list[tuple[str, str, Estimate]] = [
    (
        "the spread of the weights for that of their mean",
        "a standard deviation as error bar",
        with_error(lambda w: log_mean([w])[1] * math.sqrt(w.shape[1])),
    ),
    (
        "the variance of the mean for its root",
        "variance where sigma belongs",
        with_error(lambda w: log_mean([w])[1] ** 2),
    ),
    (
        "ten codes that count as a hundred",
        "'k samples' that silently draws another number",
        drawing(lambda noise: np.repeat(noise[:, :10], noise.shape[1] // 10, axis=1)),
    ),
    (
        "the same noise for every image",
        "broadcasting",
        drawing(lambda noise: np.repeat(noise[:1], len(noise), axis=0)),
    ),
]
COUNTS: list[tuple[str, str, Estimate]] = [
    (
        "half as many codes",
        "'k samples' that silently draws another number",
        drawing(lambda noise: noise[:, ::2]),
    ),
    (
        "a single code",
        "'k samples' that silently draws another number",
        drawing(lambda noise: np.repeat(noise[:, :1], noise.shape[1], axis=1)),
    ),
]


def log_prior(z: tv.Tensor) -> tv.Tensor:
    return tv.gaussian_log_likelihood(z, 0 * z, 0.0)


# The bound of the importance weighted autoencoder: of the logarithms of weights, (B, S)


def of_weights(bound: Callable[[tv.Tensor], tv.Tensor]) -> Callable[..., tv.Tensor]:
    return lambda model, x, noise: bound(log_weights(model, x, noise))


def bound(log_w: tv.Tensor) -> tv.Tensor:
    return tv.logsumexp(log_w) - math.log(log_w.shape[1])


BOUNDS: list[tuple[str, str, Callable[[tv.Tensor], tv.Tensor]]] = [
    ("weights with the wrong sign", "the IWAE weights' sign", lambda w: -bound(-w)),
    ("a bound with the wrong sign", "the IWAE weights' sign", lambda w: bound(-w)),
    ("the mean of the logarithms", "a VAE of k samples", lambda w: w.mean(axis=1)),
    (
        "normalised weights that are differentiated, too",
        "a surrogate loss",
        lambda w: (tv.softmax(w) * w).sum(axis=1),
    ),
    (
        "the larger weight counted less",
        "the IWAE weights' sign",
        lambda w: (tv.softmax(-w).detach() * w).sum(axis=1),
    ),
    (
        "no gradient through the second weight",
        "a sample that was detached",
        lambda w: bound(tv.stack(w[:, 0], w[:, 1].detach(), axis=1)),
    ),
    ("log k left out", "log-sum-exp without log k", tv.logsumexp),
]

# The gradient of E[z^2] for the mean of z, one estimate for each sample


def gradient_of(surrogate: Callable[[tv.Tensor, tv.Tensor], tv.Tensor]) -> Callable[..., Any]:
    def estimator(theta: float, noise: np.ndarray) -> np.ndarray:
        mean = tv.Tensor(np.full_like(noise, theta), requires_grad=True)  # (N, 1)
        z = tv.gaussian_sample(mean, 0 * mean.detach(), tv.Tensor(noise))
        surrogate(mean, z).sum().backward()
        return np.asarray(mean.grad)[:, 0]

    return estimator


def log_density(z: tv.Tensor, mean: tv.Tensor) -> tv.Tensor:
    return tv.gaussian_log_likelihood(z, mean, 0.0)


def square(z: tv.Tensor) -> tv.Tensor:
    return (z * z).sum(axis=1)


pathwise = gradient_of(lambda mean, z: square(z))
score_function = gradient_of(lambda m, z: square(z.detach()) * log_density(z.detach(), m))

GRADIENTS: list[tuple[str, str, Callable[..., Any]]] = [
    (
        "a sample that stops the gradient",
        "'no gradient can pass through sampling'",
        gradient_of(lambda mean, z: square(z.detach()) + 0 * mean.sum(axis=1)),
    ),
    (
        "a score at a sample that moves with the mean",
        "well-known code",
        gradient_of(lambda mean, z: square(z).detach() * log_density(z, mean)),
    ),
    (
        "the pathwise gradient added to the score function's",
        "a sample that was not detached",
        gradient_of(lambda m, z: square(z) + square(z.detach()) * log_density(z.detach(), m)),
    ),
    (
        "a baseline that knows the sample",
        "a baseline that is fitted to it",
        gradient_of(lambda m, z: 0 * square(z.detach()) * log_density(z.detach(), m)),
    ),
]

# Images from the prior


def draw(model: tv.VAE, count: int, seed: int) -> Any:
    return tv.Noise(seed).normal((count, model.latent), "float64")


SAMPLES: list[tuple[str, str, Callable[..., Any]]] = [
    (
        "a prior with half the variance",
        "variance where sigma belongs",
        lambda *asked: asked[0].generate(draw(*asked) * 0.5),
    ),
    ("the prior's mean alone", "no noise", lambda *asked: asked[0].generate(draw(*asked) * 0)),
    (
        "uniform codes",
        "rand for randn",
        lambda model, count, seed: model.generate(tv.Noise(seed).uniform((count, 1), "float64")),
    ),
    (
        "logits for probabilities",
        "a sigmoid that is in the loss",
        lambda *asked: asked[0].decode(tv.Tensor(draw(*asked))).numpy(),
    ),
]


def unscaled(chunks: Chunks) -> Result:
    """The mean of the weights themselves."""
    log_w = np.concatenate(list(chunks), axis=1)
    return np.log(np.exp(log_w).mean(axis=1)), *log_mean([log_w])[1:]


ESTIMATES: list[PlantedSystem] = [
    *(
        PlantedSystem(name, source, wrong, log_likelihood, oracle)
        for oracle, errors in (
            (the_estimate_is_the_evidence, EVIDENCE),
            (the_standard_error_is_the_spread, ERRORS),
            (as_many_codes_are_drawn_as_asked_for, COUNTS),
        )
        for name, source, wrong in errors
    ),
    PlantedSystem(
        "weights that underflow",
        "an exponential before the sum",
        averaging(unscaled),
        log_likelihood,
        an_image_of_probability_e_to_the_minus_3000_has_an_estimate,
    ),
    *(
        PlantedSystem(
            name, source, of_weights(wrong), of_weights(bound), the_bound_is_that_of_two_weights
        )
        for name, source, wrong in BOUNDS
    ),
    *(
        PlantedSystem(
            name,
            source,
            wrong,
            score_function,
            the_gradient_of_the_expected_square_is_twice_the_mean,
        )
        for name, source, wrong in GRADIENTS
    ),
    *(
        PlantedSystem(name, source, wrong, tv.VAE.sample, samples_are_of_the_model)
        for name, source, wrong in SAMPLES
    ),
]
