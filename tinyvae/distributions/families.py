"""Posteriors beside the diagonal Gaussian, each with its KL from N(0, I) in closed form."""

from __future__ import annotations

from tinyvae.autograd import Tensor
from tinyvae.autograd.densities import (
    cholesky_log_likelihood,
    cholesky_sample,
    kl_cholesky_standard_normal,
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
from tinyvae.distributions.posteriors import POSTERIORS, Parameters, Posterior, cut


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


class FullGaussian(Posterior):
    """A Gaussian of any covariance A A'; A is lower triangular.

    The parameters are the mean, the logs of A's diagonal, each (B, K), and what is below that,
    row by row, (B, K (K - 1)/2).
    """

    is_factorised = False

    @property
    def outputs(self) -> int:
        return self.latent * (self.latent + 3) // 2

    def split(self, output: Tensor) -> Parameters:
        return cut(output, [self.latent, self.latent, self.outputs - 2 * self.latent])

    def sample(self, parameters: Parameters, noise: Array) -> Tensor:
        return cholesky_sample(*parameters, Tensor.wrap(noise))

    def log_prob(self, parameters: Parameters, z: Tensor) -> Tensor:
        return cholesky_log_likelihood(z, *parameters)

    def kl(self, parameters: Parameters) -> Tensor:
        return kl_cholesky_standard_normal(*parameters)


POSTERIORS |= {"full": FullGaussian}
POSTERIORS |= {"laplace": Laplace, "logistic": Logistic, "uniform": Uniform}
