"""Wrong losses: the negative ELBO of black and white pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tinyvae as tv
from planted.loss_oracles import (
    Objective,
    the_kl_that_is_told_is_the_kl,
    the_loss_is_the_negative_elbo,
    the_loss_of_a_batch_is_the_mean_of_its_images,
    the_parts_are_the_gap_to_the_evidence,
)
from planted.system import PlantedSystem
from tinyvae.objectives import Terms, negative_elbo

Part = Callable[..., tv.Tensor]


def objective(
    sample: Part = tv.gaussian_sample,
    pixels: Part = tv.bernoulli_cross_entropy,
    kl: Part = tv.kl_standard_normal,
    loss: Part = lambda bce, kl: (bce + kl).mean(),
) -> Objective:
    """`negative_elbo` put together anew, from parts that are right but for those given."""

    def of_model(model: tv.VAE, x: tv.Tensor, noise: np.ndarray) -> Terms:
        mean, log_variance = model.encode(x)
        z = sample(mean, log_variance, tv.Tensor(noise))
        bce, divergence = pixels(model.decode(z), x), kl(mean, log_variance)
        return Terms(loss(bce, divergence), bce, divergence)

    return of_model


def told(model: tv.VAE, x: tv.Tensor, noise: np.ndarray) -> Terms:
    """The right loss, and a KL for the log with its sign flipped."""
    terms = negative_elbo(model, x, noise)
    return terms._replace(kl=-terms.kl)


def kl_of(mean: tv.Tensor, variance: tv.Tensor, log_variance: tv.Tensor) -> tv.Tensor:
    """-1/2 sum(1 + log s^2 - m^2 - s^2), with whatever is taken for each."""
    return -(1 + log_variance - mean * mean - variance).sum(axis=1) / 2


# What is wrong, where it has been seen, and the system with it

SAMPLES: list[tuple[str, str, Part]] = [
    ("noise times the variance", "DeZero, numpy-ml", lambda m, v, e: m + tv.exp(v) * e),
    ("noise times log sigma^2", "beginners' code", lambda m, v, e: m + v * e),
    ("noise times exp(2 log sigma^2)", "beginners' code", lambda m, v, e: m + tv.exp(2 * v) * e),
    (
        "noise with sigma 0.01",
        "an early Keras example",
        lambda m, v, e: m + tv.exp(v / 2) * e / 100,
    ),
    ("sigma fixed at 1", "beginners' code", lambda m, v, e: m + e),
    ("no noise", "an autoencoder with a KL", lambda m, v, e: m),
    ("one draw for the whole batch", "broadcasting", lambda m, v, e: m + tv.exp(v / 2) * e[:1]),
    ("noise from 0 to 1", "rand for randn", lambda m, v, e: m + tv.exp(v / 2) * tv.sigmoid(e)),
]
PIXELS: list[tuple[str, str, Part]] = [
    (
        "cross-entropy averaged over the pixels",
        "mean-BCE with sum-KL: beta is the number of pixels",
        lambda logits, x: tv.bernoulli_cross_entropy(logits, x) / x.shape[1],
    ),
    (
        "sigmoid before a cross-entropy from logits",
        "the loss with logits, on probabilities",
        lambda logits, x: tv.bernoulli_cross_entropy(tv.sigmoid(logits), x),
    ),
    (
        "images and reconstructions swapped",
        "the order of arguments",
        lambda logits, x: tv.bernoulli_cross_entropy(14 * x - 7, tv.sigmoid(logits)),
    ),
    (
        "squared error in place of the cross-entropy",
        "a reconstruction loss",
        lambda logits, x: ((tv.sigmoid(logits) - x) ** 2).sum(axis=1),
    ),
    (
        "the white pixels alone",
        "the second term forgotten",
        lambda logits, x: (x * tv.softplus(-logits)).sum(axis=1),
    ),
    (
        "logarithms to base 2",
        "bits reported as nats",
        lambda logits, x: tv.bernoulli_cross_entropy(logits, x) / math.log(2),
    ),
]
KLS: list[tuple[str, str, Part]] = [
    ("KL with its sign flipped", "well-known code", lambda m, v: -tv.kl_standard_normal(m, v)),
    ("KL without its half", "well-known code", lambda m, v: 2 * tv.kl_standard_normal(m, v)),
    (
        "KL averaged over the latent dimensions",
        "an early Keras example",
        lambda m, v: tv.kl_standard_normal(m, v) / m.shape[1],
    ),
    (
        "KL over the number of pixels",
        "an early PyTorch example",
        lambda m, v: tv.kl_standard_normal(m, v) / 4,
    ),
    (
        "sigma where the variance belongs",
        "well-known code",
        lambda m, v: kl_of(m, tv.exp(v / 2), v),
    ),
    ("log sigma for log sigma^2", "well-known code", lambda m, v: kl_of(m, tv.exp(v), v / 2)),
    (
        "log sigma^2 over sigma^2, by a parenthesis",
        "well-known code",
        lambda m, v: kl_of(m, tv.exp(v), v / tv.exp(v)),
    ),
    (
        "KL without its -1",
        "well-known code",
        lambda m, v: tv.kl_standard_normal(m, v) + m.shape[1] / 2,
    ),
    (
        "one variance for all dimensions",
        "'covariance sigma^2 I'",
        lambda m, v: tv.kl_standard_normal(m, v * 0 + v.mean(axis=1, keepdims=True)),
    ),
    (
        "KL in the other direction",
        "the order of arguments",
        lambda m, v: tv.kl_gaussian(m * 0, v * 0, m, v),
    ),
]
REDUCTIONS: list[tuple[str, str, Part, Any]] = [
    (
        "-BCE + KL, both with the wrong sign",
        "a popular explanation",
        lambda bce, kl: (-bce - kl).mean(),
        the_loss_is_the_negative_elbo,
    ),
    (
        "BCE + 1/2 sum(1 + log s^2 - m^2 - s^2)",
        "a popular explanation",
        lambda bce, kl: (bce - kl).mean(),
        the_loss_is_the_negative_elbo,
    ),
    (
        "the KL left out",
        "an autoencoder with noise",
        lambda bce, kl: (bce + 0 * kl).mean(),
        the_loss_is_the_negative_elbo,
    ),
    (
        "a loss with the mean-BCE and the sum-KL, and a log with sums",
        "well-known code: beta is the number of pixels",
        lambda bce, kl: (bce / 4 + kl).mean(),
        the_loss_is_the_negative_elbo,
    ),
    (
        "a mean over the batch taken twice",
        "well-known code",
        lambda bce, kl: (bce + kl).mean() / len(bce),
        the_loss_of_a_batch_is_the_mean_of_its_images,
    ),
    (
        "a mean over the batch taken twice of the KL alone",
        "an early PyTorch example",
        lambda bce, kl: bce.mean() + kl.mean() / len(kl),
        the_loss_of_a_batch_is_the_mean_of_its_images,
    ),
    (
        "the sum over the batch",
        "a reduction that is another's default",
        lambda bce, kl: (bce + kl).sum(),
        the_loss_of_a_batch_is_the_mean_of_its_images,
    ),
    (
        "the sum of the BCE and the mean of the KL",
        "two reductions",
        lambda bce, kl: bce.sum() + kl.mean(),
        the_loss_of_a_batch_is_the_mean_of_its_images,
    ),
]
STOPPED: list[tuple[str, str, Objective]] = [
    (
        "no gradient through the sample",
        "'no gradient can pass through sampling'",
        objective(sample=lambda *parts: tv.gaussian_sample(*parts).detach()),
    ),
    (
        "no gradient through sigma",
        "a variance that is not trained by the pixels",
        objective(sample=lambda m, v, e: tv.gaussian_sample(m, v.detach(), e)),
    ),
    (
        "no gradient through the KL",
        "a KL computed on the host",
        objective(kl=lambda m, v: tv.kl_standard_normal(m.detach(), v.detach())),
    ),
]

PARTS = {"sample": SAMPLES, "pixels": PIXELS, "kl": KLS}
LOSSES: list[PlantedSystem] = [
    *(
        PlantedSystem(
            name,
            source,
            objective(**{part: wrong}),
            negative_elbo,
            the_parts_are_the_gap_to_the_evidence,
        )
        for part, errors in PARTS.items()
        for name, source, wrong in errors
    ),
    PlantedSystem(
        "the KL logged with its sign flipped",
        "well-known code",
        told,
        negative_elbo,
        the_kl_that_is_told_is_the_kl,
    ),
    *(
        PlantedSystem(name, source, objective(loss=wrong), negative_elbo, oracle)
        for name, source, wrong, oracle in REDUCTIONS
    ),
    *(
        PlantedSystem(name, source, wrong, negative_elbo, the_loss_is_the_negative_elbo)
        for name, source, wrong in STOPPED
    ),
]
