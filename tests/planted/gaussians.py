"""Wrong losses of Gaussian pixels, wrong KLs to a mixture prior, a wrong density."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tinyvae as tv
from planted.loss_oracles import (
    MEANS,
    SHARES,
    VARIANCES,
    every_axis_has_its_own_variance,
    the_kl_is_to_the_whole_mixture,
    the_loss_is_the_evidence_at_the_true_posterior,
    the_pixels_gradient_is_that_of_the_evidence,
    the_true_posterior_is_best,
)
from planted.system import PlantedSystem

Part = Callable[..., tv.Tensor]


def square(x: tv.Tensor, pixels: tv.Tensor) -> tv.Tensor:
    return (x - pixels) ** 2


GAUSSIAN: list[tuple[str, str, Part, Any]] = [
    (
        "squared error without 1 / (2 sigma^2)",
        "well-known code",
        lambda x, pixels, s: square(x, pixels).sum(axis=1) + 0 * s,
        the_true_posterior_is_best,
    ),
    (
        "squared error over 2, whatever sigma is",
        "well-known code",
        lambda x, pixels, s: square(x, pixels).sum(axis=1) / 2 + 0 * s,
        the_true_posterior_is_best,
    ),
    (
        "mean squared error",
        "a loss of the framework",
        lambda x, pixels, s: square(x, pixels).mean(axis=1) / (2 * tv.exp(s)),
        the_true_posterior_is_best,
    ),
    (
        "squared error over sigma",
        "sigma where the variance belongs",
        lambda x, pixels, s: ((square(x, pixels) / tv.exp(s / 2) + s) / 2).sum(axis=1),
        the_true_posterior_is_best,
    ),
    (
        "log sigma^2 over sigma^2, by a parenthesis",
        "well-known code",
        lambda x, pixels, s: ((square(x, pixels) + s) / tv.exp(s) / 2).sum(axis=1),
        the_pixels_gradient_is_that_of_the_evidence,
    ),
    (
        "log sigma for log sigma^2",
        "well-known code",
        lambda x, pixels, s: (square(x, pixels) / tv.exp(s) / 2 + s).sum(axis=1),
        the_pixels_gradient_is_that_of_the_evidence,
    ),
    (
        "a sigma that is learned, without its log",
        "the constant that is none",
        lambda x, pixels, s: (square(x, pixels) / tv.exp(s) / 2).sum(axis=1),
        the_pixels_gradient_is_that_of_the_evidence,
    ),
    (
        "log(2 pi) left out",
        "figures that cannot be compared",
        lambda x, pixels, s: ((square(x, pixels) / tv.exp(s) + s) / 2).sum(axis=1),
        the_loss_is_the_evidence_at_the_true_posterior,
    ),
]


def gaussian_loss(pixels_loss: Part) -> Part:
    """Of x, the mean and log variance of its pixels, and those of q."""
    return lambda x, pixels, s, m, v: pixels_loss(x, pixels, s) + tv.kl_standard_normal(m, v)


true_gaussian = gaussian_loss(lambda *parts: -tv.gaussian_log_likelihood(*parts))

# A mixture of Gaussians for a prior: of q's mean and log variance, and noise, each (N, 1)


def component(like: tv.Tensor, k: int) -> tuple[tv.Tensor, tv.Tensor]:
    """Mean and log variance of one component, each (N, 1)."""
    return 0 * like + float(MEANS[k]), 0 * like + math.log(VARIANCES[k])


def kl_to_mixture(mean: tv.Tensor, log_variance: tv.Tensor, noise: tv.Tensor) -> tv.Tensor:
    """log q(z) - log p(z) at one sample."""
    z = tv.gaussian_sample(mean, log_variance, noise)
    parts = [tv.gaussian_log_likelihood(z, *component(z, k)) + math.log(SHARES[k]) for k in (0, 1)]
    log_prior = tv.logsumexp(tv.stack(*parts), axis=0)
    return tv.gaussian_log_likelihood(z, mean, log_variance) - log_prior


def mean_of_kls(mean: tv.Tensor, log_variance: tv.Tensor, noise: tv.Tensor) -> tv.Tensor:
    kls = [tv.kl_gaussian(mean, log_variance, *component(mean, k)) for k in (0, 1)]
    return float(SHARES[0]) * kls[0] + float(SHARES[1]) * kls[1]


def kl_to_moments(mean: tv.Tensor, log_variance: tv.Tensor, noise: tv.Tensor) -> tv.Tensor:
    middle = float(SHARES @ MEANS)
    variance = float(SHARES @ (VARIANCES + MEANS**2)) - middle**2
    return tv.kl_gaussian(mean, log_variance, 0 * mean + middle, 0 * mean + math.log(variance))


MIXTURE: list[tuple[str, str, Part]] = [
    (
        "the analytic KL to N(0, 1) under a mixture prior",
        "well-known code",
        lambda mean, log_variance, noise: tv.kl_standard_normal(mean, log_variance),
    ),
    ("the analytic KL to each component, averaged", "well-known code", mean_of_kls),
    ("the analytic KL to a Gaussian of the mixture's moments", "a shortcut", kl_to_moments),
]
SHARED_VARIANCE = PlantedSystem(
    "one variance for all axes of a density",
    "'covariance sigma^2 I' for a vector of variances",
    lambda z, m, v: tv.gaussian_log_likelihood(z, m, 0 * v + v.mean(axis=1, keepdims=True)),
    tv.gaussian_log_likelihood,
    every_axis_has_its_own_variance,
)
GAUSSIANS: list[PlantedSystem] = [
    *(
        PlantedSystem(name, source, gaussian_loss(wrong), true_gaussian, oracle)
        for name, source, wrong, oracle in GAUSSIAN
    ),
    *(
        PlantedSystem(name, source, wrong, kl_to_mixture, the_kl_is_to_the_whole_mixture)
        for name, source, wrong in MIXTURE
    ),
    SHARED_VARIANCE,
]
