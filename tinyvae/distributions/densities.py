"""Likelihoods of pixels as real numbers: densities, so that log p(x | z) may be positive."""

from __future__ import annotations

import math

from tinyvae.autograd import Tensor
from tinyvae.autograd.densities import (
    continuous_bernoulli_cross_entropy,
    laplace_log_likelihood,
    laplace_sample,
)
from tinyvae.autograd.derivations import gaussian_log_likelihood, gaussian_sample
from tinyvae.autograd.ops import broadcast_to, softplus, split
from tinyvae.backend import Array
from tinyvae.distributions.likelihoods import LIKELIHOODS, Likelihood
from tinyvae.errors import OptionError
from tinyvae.noise import Noise

LEAST = math.log(1 / 255)
"""The log of the least scale that is learnt: one grey level of bytes."""
FIRST = -1.0
"""The log of the scale that learning begins with, about that of grey pixels: e^-1 = 0.37."""


def kept_above(free: Tensor, least: float) -> Tensor:
    """``free`` where it is well above ``least``, and never below: by a softplus.

    Where a decoder could give its images back exactly, the likelihood would grow without bound as
    the scale goes to 0 (Mattei and Frellsen, 2018). Pixels of bytes do not tell more than their
    grey level, and so no learnt scale need be smaller.
    """
    return softplus(free - least) + least


class GaussianPixels(Likelihood):
    """Independent Gaussians of one fixed sigma: ``"gaussian:0.1"``; the decoder gives the means.

    -log p(x | z) is the squared error over 2 sigma^2, and a constant.
    """

    def __init__(self, pixels: int, noise: Noise, sigma: float = 0.0) -> None:
        if not 0 < sigma < math.inf:
            raise OptionError(
                "a squared error has a weight, 1 / (2 sigma^2): name a sigma above 0, as in "
                "'gaussian:0.1', or let it be learnt, as in 'sigma'"
            )
        self.log_variance = 2 * math.log(sigma)

    def cross_entropy(self, output: Tensor, x: Tensor) -> Tensor:
        return -gaussian_log_likelihood(x, output, self.log_variance)

    def mean(self, output: Tensor) -> Tensor:
        return output

    def sample(self, output: Tensor, noise: Noise) -> Array:
        deviation = math.exp(self.log_variance / 2) * noise.normal(output.shape, output.dtype)
        return output.array + deviation


class SigmaPixels(Likelihood):
    """Independent Gaussians of one sigma, which is learnt (Rybkin et al., 2021: the sigma-VAE).

    So the weight of the squared error beside the KL is learnt too.
    """

    def __init__(self, pixels: int, noise: Noise) -> None:
        first = noise.backend.xp.full(1, 2 * FIRST, dtype="float32")
        self.free = Tensor(first, requires_grad=True)

    @property
    def log_variance(self) -> Tensor:
        """Of all pixels, (1,)."""
        return kept_above(self.free, 2 * LEAST)

    def cross_entropy(self, output: Tensor, x: Tensor) -> Tensor:
        return -gaussian_log_likelihood(x, output, self.log_variance)

    def mean(self, output: Tensor) -> Tensor:
        return output

    def sample(self, output: Tensor, noise: Noise) -> Array:
        log_variance = broadcast_to(self.log_variance, shape=output.shape)
        drawn = noise.normal(output.shape, output.dtype)
        return gaussian_sample(output, log_variance, Tensor.wrap(drawn)).array


class VariancePixels(Likelihood):
    """Independent Gaussians, of which the decoder gives the means and the log variances."""

    outputs = 2

    def _parts(self, output: Tensor) -> tuple[Tensor, Tensor]:
        mean, free = split(output, 2)
        return mean, kept_above(free + 2 * FIRST, 2 * LEAST)

    def cross_entropy(self, output: Tensor, x: Tensor) -> Tensor:
        return -gaussian_log_likelihood(x, *self._parts(output))

    def mean(self, output: Tensor) -> Tensor:
        return self._parts(output)[0]

    def sample(self, output: Tensor, noise: Noise) -> Array:
        mean, log_variance = self._parts(output)
        drawn = noise.normal(mean.shape, output.dtype)
        return gaussian_sample(mean, log_variance, Tensor.wrap(drawn)).array


class LaplacePixels(Likelihood):
    """Independent Laplace distributions of one scale, which is learnt; the decoder gives the means.

    -log p(x | z) is the absolute error over the scale, and what depends on the scale alone.
    """

    def __init__(self, pixels: int, noise: Noise) -> None:
        first = noise.backend.xp.full(1, FIRST, dtype="float32")
        self.free = Tensor(first, requires_grad=True)

    @property
    def log_scale(self) -> Tensor:
        """Of all pixels, (1,)."""
        return kept_above(self.free, LEAST)

    def cross_entropy(self, output: Tensor, x: Tensor) -> Tensor:
        return -laplace_log_likelihood(x, output, self.log_scale)

    def mean(self, output: Tensor) -> Tensor:
        return output

    def sample(self, output: Tensor, noise: Noise) -> Array:
        log_scale = broadcast_to(self.log_scale, shape=output.shape)
        drawn = noise.uniform(output.shape, output.dtype)
        return laplace_sample(output, log_scale, Tensor.wrap(drawn)).array


class ContinuousBernoulli(Likelihood):
    """Grey pixels in [0, 1] of density proportional to p^x (1 - p)^(1 - x), p = sigmoid(output).

    What a Bernoulli's cross-entropy is for grey pixels, made a density (Loaiza-Ganem and
    Cunningham, 2019).
    """

    def cross_entropy(self, output: Tensor, x: Tensor) -> Tensor:
        return continuous_bernoulli_cross_entropy(output, x)

    def mean(self, output: Tensor) -> Tensor:
        """The slope of the log normaliser, which is that of the cross-entropy of x = 0."""
        xp, logits = output.backend.xp, output.array
        black = xp.zeros_like(logits)
        _, (slope, _) = continuous_bernoulli_cross_entropy.bare(logits, black)  # type: ignore[attr-defined]
        return Tensor.wrap(slope(xp.ones_like(logits[:, 0])))

    def sample(self, output: Tensor, noise: Noise) -> Array:
        """Where the distribution function (e^(l x) - 1) / (e^l - 1) is uniform; l = -|logit|."""
        xp, logits = output.backend.xp, output.array
        u = noise.uniform(logits.shape, output.dtype)
        low = xp.minimum(-xp.abs(logits), -1e-4)  # below that x = u, as good as
        x = xp.log1p(u * xp.expm1(low)) / low
        return xp.where(logits > 0, 1 - x, x)


LIKELIHOODS |= {
    "gaussian": GaussianPixels,
    "sigma": SigmaPixels,
    "gaussian-pixel": VariancePixels,
    "laplace": LaplacePixels,
    "continuous-bernoulli": ContinuousBernoulli,
}
