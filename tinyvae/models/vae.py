"""The variational autoencoder (Kingma and Welling, 2014) with dense layers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tinyvae import backend as backends
from tinyvae.autograd import Tensor, no_grad
from tinyvae.backend import Array
from tinyvae.distributions.likelihoods import likelihood as likelihood_of
from tinyvae.distributions.posteriors import Parameters
from tinyvae.distributions.posteriors import posterior as posterior_of
from tinyvae.distributions.priors import prior as prior_of
from tinyvae.errors import OptionError, ShapeError
from tinyvae.nn import MLP, Module
from tinyvae.noise import Noise
from tinyvae.objectives.elbo import Inferred, check_pixels, weigh

ROWS = 1000  # images that go through the model at once where no gradient is wanted,
PIXELS = 1 << 20  # with no more pixels than these


class VAE(Module):
    """A VAE: by default with a Gaussian posterior, a standard normal prior, Bernoulli pixels.

    Parameters
    ----------
    image_shape : tuple of int
        (H, W) for grey images, (H, W, 3) for colour; D is their number of pixels.
    latent : int
        K, the number of latent dimensions.
    hidden : tuple of int
        Widths of the encoder's hidden layers; the decoder has them in reverse.
    activation : str
        Between the layers; one of `tinyvae.nn.ACTIVATIONS`.
    seed : int
        Of the first weights.
    likelihood, posterior, prior : str or callable
        The distributions of `tinyvae.distributions`, by their names; or what makes one of
        your own.

    Raises
    ------
    OptionError
        A size below 1, an unknown activation, or a distribution of no such name.

    Examples
    --------
    >>> model = VAE((8, 8), latent=2, hidden=(64,))
    >>> model.sample(3).shape
    (3, 8, 8)
    """

    is_per_image = True
    """Whether `weigh` averages over images, so that several processes can share a batch."""

    is_plain_sum = True
    """Whether `weigh` is the reconstruction and beta times the KL, as some objectives take it."""

    number: str | None = None
    """Which of its parameters ``--model name:number`` sets, if any."""

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent: int = 2,
        hidden: tuple[int, ...] = (400,),
        activation: str = "relu",
        seed: int = 0,
        likelihood: Any = "bernoulli",
        posterior: Any = "gaussian",
        prior: Any = "normal",
    ) -> None:
        if not _are_sizes(image_shape, (latent,), hidden):
            raise OptionError(
                f"sizes are whole numbers from 1 up, not image_shape={image_shape}, "
                f"latent={latent}, hidden={hidden}; hidden is a tuple such as (400,)"
            )
        self.image_shape, self.latent = tuple(image_shape), latent
        self.hidden, self.activation = tuple(hidden), activation
        self._asked = {"likelihood": likelihood, "posterior": posterior, "prior": prior}
        pixels, noise = math.prod(image_shape), Noise(seed, "initialise")
        made_likelihood = likelihood_of(likelihood, pixels, noise.stream("likelihood"))
        made_posterior = posterior_of(posterior, latent, noise.stream("posterior"))
        self.encoder = MLP((pixels, *hidden, made_posterior.outputs), noise, activation)
        outputs = made_likelihood.outputs * pixels
        self.decoder = MLP((latent, *reversed(hidden), outputs), noise, activation)
        self.likelihood, self.posterior = made_likelihood, made_posterior
        self.prior = prior_of(prior, latent, pixels, noise.stream("prior"))
        self.prior.check(made_posterior)

    @property
    def config(self) -> dict[str, Any]:
        """What makes a model of the same shape: ``VAE(**config)``."""
        return {
            "image_shape": list(self.image_shape),
            "latent": self.latent,
            "hidden": list(self.hidden),
            "activation": self.activation,
        } | {name: _named(part) for name, part in self._asked.items()}

    # Tensors to Tensors

    def encode(self, x: Tensor) -> Parameters:
        """Rows (B, D) to the parameters of q(z | x): mean and log variance, each (B, K)."""
        return self.posterior.split(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, K) to the parameters of p(x | z): the logits of the pixels, (B, D)."""
        return self.decoder(z)

    def weigh(self, found: Inferred, beta: float | Tensor = 1.0) -> Tensor:
        """What is minimised: -ELBO, with the weight ``beta`` for the KL; a number, in nats."""
        return weigh(found, beta)

    def describe(self, beta: float) -> str:
        """What `weigh` makes small with this ``beta``."""
        return f"-log p(x | z) + {beta:g} KL"

    def begin(self, images: Any) -> None:
        """Told once, before the first step of a training, what is trained on."""
        self.prior.begin(images)

    # Host arrays to host arrays, without gradients

    def embed(self, images: Any) -> tuple[Any, ...]:
        """Images to the mean of q(z | x), (N, K), and its further parameters.

        For the Gaussian these are the log variances, (N, K). ``images`` are bytes, or floats
        in [0, 1], of shape (N, *image_shape) or (N, D).
        """
        with no_grad():
            parts = [self.encode(x) for x in self.chunks(images)]
            parts = [(self.posterior.mean(p), *p[1:]) for p in parts]
        return tuple(_joined([p.numpy() for p in column]) for column in zip(*parts, strict=True))

    def generate(self, z: Any) -> Any:
        """Codes (N, K) to the expected images, (N, *image_shape)."""
        if z.ndim != 2 or z.shape[1] != self.latent or len(z) == 0:
            raise ShapeError(
                f"codes are of shape (N, {self.latent}), with N from 1 up, not {z.shape}"
            )
        with no_grad():
            size = rows_at_once(self.likelihood.outputs * math.prod(self.image_shape))
            parts = [self._pixels(z[k : k + size]) for k in range(0, len(z), size)]
        return _joined(parts)

    def reconstruct(self, images: Any) -> Any:
        """Images through the mean of q(z | x) and back, (N, *image_shape)."""
        return self.generate(self.embed(images)[0])

    def sample(self, count: int, seed: int = 0) -> Any:
        """Images from the prior: z from p(z), decoded."""
        if count < 1:
            raise OptionError(f"the number of samples is from 1 up, not {count}")
        with no_grad():
            z = self.prior.sample(count, Noise(seed, "sample", backend="numpy"), self.encode)
        return self.generate(z)

    def _pixels(self, z: Any) -> Any:
        output = self.decode(Tensor.wrap(self.backend.asarray(z, self.dtype)))
        return self.likelihood.mean(output).numpy().reshape(-1, *self.image_shape)

    def chunks(self, images: Any) -> Iterator[Tensor]:
        """Images as rows (B, D) of the model's dtype, on its backend, so many at once as fit."""
        pixels = math.prod(self.image_shape)
        if len(images) == 0 or images.shape[1:] not in (self.image_shape, (pixels,)):
            raise ShapeError(
                f"this model takes images of shape (N, {', '.join(map(str, self.image_shape))}) "
                f"or (N, {pixels}), with N from 1 up, not {images.shape}"
            )
        scale = 1 / 255 if str(images.dtype) == "uint8" else 1
        size = rows_at_once(pixels)
        for start in range(0, len(images), size):
            chosen = images[start : start + size]  # which may be on disk
            rows = backends.get("numpy").xp.asarray(chosen).reshape(-1, pixels)
            check_pixels(rows)
            yield Tensor.wrap(self.backend.from_host(rows.astype(self.dtype) * scale))


def _named(part: Any) -> str:
    return part if isinstance(part, str) else getattr(part, "__name__", type(part).__name__)


def rows_at_once(pixels: int) -> int:
    """How many images of so many pixels go through a model at once without gradients.

    >>> rows_at_once(784), rows_at_once(2**19)
    (1000, 2)
    """
    return min(ROWS, max(1, PIXELS // pixels))


def _are_sizes(*groups: Any) -> bool:
    """Whether every group is a tuple or list of whole numbers from 1 to 10^9."""
    return all(
        isinstance(group, (tuple, list))
        and all(isinstance(n, int) and 1 <= n <= 10**9 for n in group)
        for group in groups
    )


def _joined(parts: list[Array]) -> Any:
    return backends.get("numpy").xp.concatenate(parts)
