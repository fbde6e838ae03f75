"""Posteriors of other families than the diagonal Gaussian, each with its closed form of the KL."""

from __future__ import annotations

from tinyvae.autograd import Tensor
from tinyvae.autograd.densities import (
    kl_laplace_standard_normal,
    kl_logistic_standard_normal,
    kl_uniform_standard_normal,
    laplace_log_likelihood,
    laplace_sample,
    logistic_log_likelihood,
    logistic_sample,
    uniform_log_likelihood,
    uniform_sample,
)
from tinyvae.backend import Array
from tinyvae.distributions.posteriors import POSTERIORS, Parameters, Posterior


class Laplace(Posterior):
    """Independent Laplace distributions; the parameters are means and log scales."""

    noise = "uniform"

    def sample(self, parameters: Parameters, noise: Array) -> Tensor:
        return laplace_sample(*parameters, Tensor.wrap(noise))

    def log_prob(self, parameters: Parameters, z: Tensor) -> Tensor:
        return laplace_log_likelihood(z, *parameters)

    def kl(self, parameters: Parameters) -> Tensor:
        return kl_laplace_standard_normal(*parameters)


class Logistic(Posterior):
    """Independent logistic distributions; the parameters are means and log scales."""

    noise = "uniform"

    def sample(self, parameters: Parameters, noise: Array) -> Tensor:
        return logistic_sample(*parameters, Tensor.wrap(noise))

    def log_prob(self, parameters: Parameters, z: Tensor) -> Tensor:
        return logistic_log_likelihood(z, *parameters)

    def kl(self, parameters: Parameters) -> Tensor:
        return kl_logistic_standard_normal(*parameters)


class Uniform(Posterior):
    """Independent uniform distributions; the parameters are middles and log widths."""

    noise = "uniform"
    has_score = False

    def sample(self, parameters: Parameters, noise: Array) -> Tensor:
        return uniform_sample(*parameters, Tensor.wrap(noise))

    def log_prob(self, parameters: Parameters, z: Tensor) -> Tensor:
        return uniform_log_likelihood(z, *parameters)

    def kl(self, parameters: Parameters) -> Tensor:
        return kl_uniform_standard_normal(*parameters)


POSTERIORS |= {"laplace": Laplace, "logistic": Logistic, "uniform": Uniform}
