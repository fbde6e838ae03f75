"""The distributions q(z | x) of a code, given what the encoder makes of its image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

from tinyvae.autograd import Tensor
from tinyvae.autograd.derivations import (
    gaussian_log_likelihood,
    gaussian_sample,
    kl_standard_normal,
)
from tinyvae.autograd.ops import split
from tinyvae.backend import Array
from tinyvae.distributions.part import made
from tinyvae.nn import Module
from tinyvae.noise import Noise

Parameters: TypeAlias = tuple[Tensor, ...]
"""Of the distributions of B codes: the first axis of each is B."""


class Posterior(Module):
    """What a posterior is made of; a new one defines `sample`, `log_prob`, and `kl` if it can.

    Attributes
    ----------
    parts : int
        How many numbers a latent dimension's distribution needs of the encoder, whose output is
        (B, parts K) and is split into as many parameters, each (B, K).
    noise : {"normal", "uniform"}
        From what `sample` makes a code: numbers from the standard normal, or from [0, 1).
    kl : callable or None
        Of the parameters, KL(q(z | x) || N(0, 1)) in nats, (B,); None where there is no closed
        form.
    has_density : bool
        Whether `log_prob` takes any code, not only those that `draw` has drawn.
    has_score : bool
        Whether the gradient of `log_prob` for the parameters has the expectation 0 under q(z | x);
        not where they move its support, as those of a uniform distribution do.
    is_factorised : bool
        Whether the latent dimensions are independent under q(z | x), so that `kl` and
        `log_prob` of one dimension are those of its parameters.
    """

    parts = 2
    noise = "normal"
    kl: Callable[[Parameters], Tensor] | None = None
    has_density = True
    has_score = True
    is_factorised = True

    def __init__(self, latent: int, noise: Noise) -> None:
        self.latent = latent

    @property
    def outputs(self) -> int:
        """The width of the encoder's output."""
        return self.parts * self.latent

    @property
    def noise_width(self) -> int:
        """How many numbers are drawn for a code."""
        return self.latent

    def split(self, output: Tensor) -> Parameters:
        """The encoder's output, (B, outputs), as the parameters."""
        return tuple(split(output, self.parts))

    def sample(self, parameters: Parameters, noise: Array) -> Tensor:
        """Codes (B, K), differentiable in the parameters, from noise (B, noise_width)."""
        raise NotImplementedError

    def log_prob(self, parameters: Parameters, z: Tensor) -> Tensor:
        """log q(z | x) in nats, (B,)."""
        raise NotImplementedError

    def draw(self, parameters: Parameters, noise: Array) -> tuple[Tensor, Tensor]:
        """A `sample`, and its `log_prob`."""
        z = self.sample(parameters, noise)
        return z, self.log_prob(parameters, z)

    def mean(self, parameters: Parameters) -> Tensor:
        """The expected code, (B, K)."""
        return parameters[0]


class Gaussian(Posterior):
    """Independent Gaussians; the parameters are their means and log variances."""

    def sample(self, parameters: Parameters, noise: Array) -> Tensor:
        return gaussian_sample(*parameters, Tensor.wrap(noise))

    def log_prob(self, parameters: Parameters, z: Tensor) -> Tensor:
        return gaussian_log_likelihood(z, *parameters)

    def kl(self, parameters: Parameters) -> Tensor:
        return kl_standard_normal(*parameters)


def cut(output: Tensor, widths: Sequence[int]) -> Parameters:
    """Rows cut into columns of these widths, for parameters that are not all (B, K).

    >>> [part.shape for part in cut(Tensor([[1.0, 2.0, 3.0]]), [2, 1])]
    [(1, 2), (1, 1)]
    """
    ends = [*accumulate(widths, initial=0)]
    return tuple(output[:, start:end] for start, end in pairwise(ends))


def drawn(q: Posterior, noise: Noise, shape: tuple[int, ...], dtype: str) -> Array:
    """From a stream the noise that codes of q are made from, (*shape, noise_width).

    >>> drawn(Gaussian(2, Noise(0)), Noise(0), (3, 5), "float32").shape
    (3, 5, 2)
    """
    draw = noise.normal if q.noise == "normal" else noise.uniform
    return draw((*shape, q.noise_width), dtype)


POSTERIORS: dict[str, Callable[..., Posterior]] = {"gaussian": Gaussian}
"""What ``VAE(posterior=...)`` and ``--posterior`` take; other files add theirs."""


def posterior(asked: Any, latent: int, noise: Noise) -> Posterior:
    """The posterior that is asked for, of codes of so many dimensions."""
    found: Posterior = made("posterior", asked, POSTERIORS, latent, noise)
    return found
