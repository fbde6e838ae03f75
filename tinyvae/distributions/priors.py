"""The distributions p(z) of the codes, before an image is seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from tinyvae import backend as backends
from tinyvae.autograd import Tensor
from tinyvae.autograd.densities import mixture_log_likelihood
from tinyvae.autograd.derivations import gaussian_log_likelihood
from tinyvae.autograd.ops import sigmoid
from tinyvae.backend import Array
from tinyvae.distributions.part import made, whole
from tinyvae.distributions.posteriors import Gaussian, Parameters, Posterior
from tinyvae.errors import OptionError
from tinyvae.nn import Module
from tinyvae.noise import Noise

Encode: TypeAlias = Callable[[Tensor], Parameters]
"""A model's encoder, which some priors are made of."""


class Prior(Module):
    """What a prior is made of; a new one defines `log_prob` and `sample`."""

    def __init__(self, latent: int, pixels: int, noise: Noise) -> None:
        self.latent = latent

    @property
    def is_standard(self) -> bool:
        """Whether it is the standard normal, from which posteriors may know their KL."""
        return False

    def log_prob(self, z: Tensor, encode: Encode) -> Tensor:
        """log p(z) in nats, (B,), of codes (B, K)."""
        raise NotImplementedError

    def sample(self, count: int, noise: Noise, encode: Encode) -> Array:
        """So many codes, (count, K), on the host."""
        raise NotImplementedError

    def begin(self, images: Any) -> None:
        """Told once, before the first step of a training, what is trained on."""

    def check(self, posterior: Posterior) -> None:
        """Refuse, with OptionError, a posterior that it cannot be taken with."""


class StandardNormal(Prior):
    """Independent standard normals."""

    @property
    def is_standard(self) -> bool:
        return True

    def log_prob(self, z: Tensor, encode: Encode) -> Tensor:
        return gaussian_log_likelihood(z, Tensor.wrap(z.backend.xp.zeros_like(z.array)), 0.0)

    def sample(self, count: int, noise: Noise, encode: Encode) -> Array:
        return noise.normal((count, self.latent))


class Mixture(Prior):
    """A mixture of M diagonal Gaussians, all trained with the model: ``"mixture:10"``.

    The first means are drawn from N(0, 1/4), with the variance 3/4 about each, so that together
    they are nearly the standard normal.
    """

    def __init__(self, latent: int, pixels: int, noise: Noise, components: float = 10) -> None:
        super().__init__(latent, pixels, noise)
        shape = (whole(components), latent)
        means, zeros = noise.normal(shape) / 2, noise.backend.xp.zeros(shape, dtype="float32")
        self.logits = Tensor(zeros[:, 0], requires_grad=True)
        self.means = Tensor(means, requires_grad=True)
        self.log_variances = Tensor(zeros + math.log(0.75), requires_grad=True)

    def log_prob(self, z: Tensor, encode: Encode) -> Tensor:
        return mixture_log_likelihood(z, self.logits, self.means, self.log_variances)

    def sample(self, count: int, noise: Noise, encode: Encode) -> Array:
        parts = (self.logits, self.means, self.log_variances)
        return sample_mixture(noise, count, *(part.numpy() for part in parts))


def sample_mixture(
    noise: Noise, count: int, logits: Array, means: Array, log_variances: Array
) -> Array:
    """So many codes of a mixture with these weights, as their logits, on the host.

    Parameters
    ----------
    logits : (M,) array
    means, log_variances : (M, K) array
    """
    xp, dtype = noise.backend.xp, str(means.dtype)
    ends = xp.cumsum(xp.exp(logits - logits.max()))
    u = noise.uniform((count,), dtype) * ends[-1]
    chosen = xp.sum(u[:, None] >= ends[:-1], axis=1)
    sigma = xp.exp(log_variances[chosen] / 2)
    drawn: Any = means[chosen] + sigma * noise.normal((count, means.shape[1]), dtype)
    return drawn


class Fitted(Mixture):
    """A mixture that is fitted once the model is trained, by `tinyvae.fit_prior`: ``"fitted:10"``.

    Until then it is the standard normal, and so it is in training. Its parameters are there from
    the start, so that a run has a place for them; all components begin as the standard normal.
    """

    def __init__(self, latent: int, pixels: int, noise: Noise, components: float = 10) -> None:
        super().__init__(latent, pixels, noise, components)
        self._known: bool | None = None
        self._reset()

    @property
    def is_standard(self) -> bool:
        """True in training; else whether all components are still where they began."""
        return not self.means.numpy().any() if self._known is None else self._known

    def _reset(self) -> None:
        for part in (self.logits, self.means, self.log_variances):
            part.data = part.backend.xp.zeros_like(part.array)

    def begin(self, images: Any) -> None:
        self._reset()
        self._known = True

    def log_prob(self, z: Tensor, encode: Encode) -> Tensor:
        way = StandardNormal.log_prob if self.is_standard else Mixture.log_prob
        return way(self, z, encode)  # type: ignore[arg-type]

    def take(self, logits: Any, means: Any, log_variances: Any) -> None:
        """Be the mixture of these, arrays of the host, from now on."""
        taken = {"logits": logits, "means": means, "log_variances": log_variances}
        for name, values in taken.items():
            part = getattr(self, name)
            part.data = part.backend.asarray(values, part.dtype)
        self._known = False


class Vamp(Prior):
    """The mean of q(z | u) over M pseudo-inputs u, which are trained: ``"vamp:500"``.

    The best prior for given q is the mean of q(z | x) over the images x; these are fewer, and
    not taken from the data (Tomczak and Welling, 2018). A pseudo-input is of pixels in (0, 1),
    each the sigmoid of a parameter; training begins with M of its images.
    """

    DULL = 0.05
    """How far from black and white the first pixels are, where a sigmoid would be too flat."""

    def __init__(self, latent: int, pixels: int, noise: Noise, components: float = 500) -> None:
        super().__init__(latent, pixels, noise)
        self.shape = (whole(components), pixels)
        self.noise = noise
        self.pseudo_inputs = Tensor(self._first(), requires_grad=True)

    def _first(self) -> Array:
        return self.noise.stream("pseudo-inputs").normal(self.shape)

    def check(self, posterior: Posterior) -> None:
        if type(posterior) is not Gaussian:
            raise OptionError(
                f"the prior 'vamp' is a mixture of Gaussian posteriors, and this model's is "
                f"{type(posterior).__name__}: use posterior='gaussian', or prior='mixture'"
            )

    def begin(self, images: Any) -> None:
        """Begin with some of the images, unless the pseudo-inputs were trained before."""
        first = self.pseudo_inputs.backend.to_host
        if (first(self.pseudo_inputs.array) == self.noise.backend.to_host(self._first())).all():
            rows = self.noise.stream("images").integers(len(images), (self.shape[0],))
            pixels = self.DULL + (1 - 2 * self.DULL) * images.batch(rows)
            xp = backends.of(pixels).xp
            self.pseudo_inputs.data = self.pseudo_inputs.backend.asarray(
                xp.log(pixels / (1 - pixels)), self.pseudo_inputs.dtype
            )

    def _encoded(self, encode: Encode) -> Parameters:
        return encode(sigmoid(self.pseudo_inputs))  # mean, log variance, each (M, K)

    def log_prob(self, z: Tensor, encode: Encode) -> Tensor:
        equal = Tensor.wrap(z.backend.xp.zeros(self.shape[0], dtype=z.dtype))
        return mixture_log_likelihood(z, equal, *self._encoded(encode))

    def sample(self, count: int, noise: Noise, encode: Encode) -> Array:
        parts = (part.numpy() for part in self._encoded(encode))
        equal = noise.backend.xp.zeros(self.shape[0])
        return sample_mixture(noise, count, equal, *parts)


PRIORS: dict[str, Callable[..., Prior]] = {
    "normal": StandardNormal,
    "mixture": Mixture,
    "vamp": Vamp,
    "fitted": Fitted,
}
"""What ``VAE(prior=...)`` and ``--prior`` take."""


def prior(asked: Any, latent: int, pixels: int, noise: Noise) -> Prior:
    """The prior that is asked for, of codes of so many dimensions."""
    found: Prior = made("prior", asked, PRIORS, latent, pixels, noise)
    return found
