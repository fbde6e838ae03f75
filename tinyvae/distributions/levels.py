"""Likelihoods of pixels of so many grey levels: probabilities, so that nothing is above 1."""

from __future__ import annotations

from tinyvae.autograd import Tensor
from tinyvae.autograd.densities import (
    categorical_cross_entropy,
    discretised_logistic_cross_entropy,
    logistic_sample,
)
from tinyvae.autograd.ops import exp, softmax, softplus, split
from tinyvae.backend import Array
from tinyvae.distributions.likelihoods import LIKELIHOODS, Likelihood
from tinyvae.distributions.part import whole
from tinyvae.noise import Noise


class CategoricalPixels(Likelihood):
    """Each of V grey levels with a probability of its own: ``"categorical:17"``, 256 without.

    The decoder gives V logits for each pixel. The levels are k / (V - 1), and a pixel counts for
    the nearest one.
    """

    kind = "levels"

    def __init__(self, pixels: int, noise: Noise, levels: float = 256) -> None:
        self.outputs = self.levels = whole(levels, least=2)

    def _logits(self, output: Tensor) -> Tensor:
        return output.reshape(len(output), -1, self.levels)  # (B, D, V)

    def cross_entropy(self, output: Tensor, x: Tensor) -> Tensor:
        level = x.backend.xp.rint(x.array * (self.levels - 1))
        return categorical_cross_entropy(self._logits(output), Tensor.wrap(level))

    def mean(self, output: Tensor) -> Tensor:
        grey = output.backend.xp.arange(self.levels, dtype=output.dtype) / (self.levels - 1)
        return softmax(self._logits(output)) @ Tensor.wrap(grey)

    def sample(self, output: Tensor, noise: Noise) -> Array:
        p = softmax(self._logits(output)).array
        xp, ends = output.backend.xp, p.cumsum(axis=-1)[..., :-1]
        u = noise.uniform(p.shape[:2], output.dtype)[..., None]
        return xp.sum((u >= ends).astype(p.dtype), axis=-1) / (self.levels - 1)


class LogisticPixels(Likelihood):
    """256 grey levels, each with the probability of its span under a logistic distribution.

    The decoder gives the distribution's mean and its log scale for each pixel (Salimans et al.,
    2017). What lies below black counts as black, and above white as white; a pixel counts for the
    nearest level.
    """

    outputs = 2
    kind = "levels"
    levels = 256

    def cross_entropy(self, output: Tensor, x: Tensor) -> Tensor:
        level = Tensor.wrap(x.backend.xp.rint(x.array * 255) / 255)
        return discretised_logistic_cross_entropy(*split(output, 2), level)

    def mean(self, output: Tensor) -> Tensor:
        """Of the logistic distribution cut off at 0 and 1; the levels' is within half of one."""
        mean, log_scale = split(output, 2)
        scale = exp(log_scale)
        return scale * (softplus(mean / scale) - softplus((mean - 1) / scale))

    def sample(self, output: Tensor, noise: Noise) -> Array:
        mean, log_scale = split(output, 2)
        drawn = Tensor.wrap(noise.uniform(mean.shape, output.dtype))
        grey = output.backend.xp.clip(logistic_sample(mean, log_scale, drawn).array, 0, 1)
        return output.backend.xp.rint(255 * grey) / 255


LIKELIHOODS |= {"categorical": CategoricalPixels, "discretised-logistic": LogisticPixels}
