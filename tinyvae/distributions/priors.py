"""The distributions p(z) of the codes, before an image is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from tinyvae.autograd import Tensor
from tinyvae.autograd.derivations import gaussian_log_likelihood
from tinyvae.backend import Array
from tinyvae.distributions.part import made
from tinyvae.distributions.posteriors import Parameters
from tinyvae.nn import Module
from tinyvae.noise import Noise

Encode: TypeAlias = Callable[[Tensor], Parameters]
"""A model's encoder, which some priors are made of."""


class Prior(Module):
    """What a prior is made of; a new one defines `log_prob` and `sample`."""

    def __init__(self, latent: int, pixels: int, noise: Noise) -> None:
        self.latent = latent

    def log_prob(self, z: Tensor, encode: Encode) -> Tensor:
        """log p(z) in nats, (B,), of codes (B, K)."""
        raise NotImplementedError

    def sample(self, count: int, noise: Noise, encode: Encode) -> Array:
        """So many codes, (count, K), on the host."""
        raise NotImplementedError

    def begin(self, images: Any) -> None:
        """Told once, before the first step of a training, what is trained on."""


class StandardNormal(Prior):
    """Independent standard normals."""

    def log_prob(self, z: Tensor, encode: Encode) -> Tensor:
        return gaussian_log_likelihood(z, Tensor.wrap(z.backend.xp.zeros_like(z.array)), 0.0)

    def sample(self, count: int, noise: Noise, encode: Encode) -> Array:
        return noise.normal((count, self.latent))


PRIORS: dict[str, Callable[..., Prior]] = {"normal": StandardNormal}
"""What ``VAE(prior=...)`` and ``--prior`` take."""


def prior(asked: Any, latent: int, pixels: int, noise: Noise) -> Prior:
    """The prior that is asked for, of codes of so many dimensions."""
    found: Prior = made("prior", asked, PRIORS, latent, pixels, noise)
    return found
