"""The distributions p(x | z) of an image, given what the decoder makes of its code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyvae.autograd import Tensor
from tinyvae.autograd.derivations import bernoulli_cross_entropy
from tinyvae.autograd.ops import sigmoid
from tinyvae.backend import Array
from tinyvae.distributions.part import made
from tinyvae.nn import Module
from tinyvae.noise import Noise


class Likelihood(Module):
    """What a likelihood is made of; a new one defines these.

    Attributes
    ----------
    outputs : int
        How many numbers a pixel's distribution needs of the decoder, whose output is
        (B, outputs D).
    kind : {"binary", "levels", "density"}
        Of what -log p(x | z) is: a probability of black and white pixels, one of grey
        levels, or a density of real numbers, which has no least value.
    """

    outputs = 1
    kind = "density"

    def __init__(self, pixels: int, noise: Noise) -> None:
        pass

    def cross_entropy(self, output: Tensor, x: Tensor) -> Tensor:
        """-log p(x | z) in nats, (B,), of rows ``x`` (B, D) in [0, 1]."""
        raise NotImplementedError

    def mean(self, output: Tensor) -> Tensor:
        """The expected image, (B, D)."""
        raise NotImplementedError

    def sample(self, output: Tensor, noise: Noise) -> Array:
        """Images drawn from it, (B, D)."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Black or white pixels, each white with a probability; the decoder gives its logit."""

    kind = "binary"

    def cross_entropy(self, output: Tensor, x: Tensor) -> Tensor:
        return bernoulli_cross_entropy(output, x)

    def mean(self, output: Tensor) -> Tensor:
        return sigmoid(output)

    def sample(self, output: Tensor, noise: Noise) -> Array:
        white = self.mean(output).array
        return (noise.uniform(white.shape, output.dtype) < white).astype(white.dtype)


LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {"bernoulli": Bernoulli}
"""What ``VAE(likelihood=...)`` and ``--likelihood`` take; other files add theirs."""


def likelihood(asked: Any, pixels: int, noise: Noise) -> Likelihood:
    """The likelihood that is asked for, of images of so many pixels."""
    found: Likelihood = made("likelihood", asked, LIKELIHOODS, pixels, noise)
    return found
