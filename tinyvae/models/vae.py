"""The variational autoencoder (Kingma and Welling, 2014) with dense layers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tinyvae import backend as backends
from tinyvae.autograd import Tensor, no_grad
from tinyvae.autograd.ops import sigmoid, split
from tinyvae.backend import Array
from tinyvae.errors import OptionError, ShapeError
from tinyvae.nn import MLP, Module
from tinyvae.noise import Noise
from tinyvae.objectives import check_pixels

ROWS = 1000  # images that go through the model at once where no gradient is wanted,
PIXELS = 1 << 20  # with no more pixels than these


class VAE(Module):
    """A VAE with a Gaussian posterior, a standard normal prior and Bernoulli pixels.

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

    Raises
    ------
    OptionError
        A size below 1, or an unknown activation.

    Examples
    --------
    >>> model = VAE((8, 8), latent=2, hidden=(64,))
    >>> model.sample(3).shape
    (3, 8, 8)
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent: int = 2,
        hidden: tuple[int, ...] = (400,),
        activation: str = "relu",
        seed: int = 0,
    ) -> None:
        if not _are_sizes(image_shape, (latent,), hidden):
            raise OptionError(
                f"sizes are whole numbers from 1 up, not image_shape={image_shape}, "
                f"latent={latent}, hidden={hidden}; hidden is a tuple such as (400,)"
            )
        self.image_shape, self.latent = tuple(image_shape), latent
        self.hidden, self.activation = tuple(hidden), activation
        pixels, noise = math.prod(image_shape), Noise(seed, "initialise")
        self.encoder = MLP((pixels, *hidden, 2 * latent), noise, activation)
        self.decoder = MLP((latent, *reversed(hidden), pixels), noise, activation)

    @property
    def config(self) -> dict[str, Any]:
        """What makes a model of the same shape: ``VAE(**config)``."""
        return {
            "image_shape": list(self.image_shape),
            "latent": self.latent,
            "hidden": list(self.hidden),
            "activation": self.activation,
        }

    # Tensors to Tensors

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B, D) to the mean and the log variance of q(z | x), each (B, K)."""
        mean, log_variance = split(self.encoder(x), 2)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, K) to the logits of the pixels, (B, D)."""
        return self.decoder(z)

    # Host arrays to host arrays, without gradients

    def embed(self, images: Any) -> tuple[Any, Any]:
        """Images to the mean and the log variance of q(z | x), each (N, K).

        ``images`` are bytes, or floats in [0, 1], of shape (N, *image_shape) or (N, D).
        """
        with no_grad():
            parts = [self.encode(x) for x in self._chunks(images)]
        mean, log_variance = ([p[k].numpy() for p in parts] for k in (0, 1))
        return _joined(mean), _joined(log_variance)

    def generate(self, z: Any) -> Any:
        """Codes (N, K) to images: the probability of every pixel, (N, *image_shape)."""
        if z.ndim != 2 or z.shape[1] != self.latent or len(z) == 0:
            raise ShapeError(
                f"codes are of shape (N, {self.latent}), with N from 1 up, not {z.shape}"
            )
        with no_grad():
            size = rows_at_once(math.prod(self.image_shape))
            parts = [self._pixels(z[k : k + size]) for k in range(0, len(z), size)]
        return _joined(parts)

    def reconstruct(self, images: Any) -> Any:
        """Images through the mean of q(z | x) and back, (N, *image_shape)."""
        return self.generate(self.embed(images)[0])

    def sample(self, count: int, seed: int = 0) -> Any:
        """Images from the prior: z from the standard normal, decoded."""
        if count < 1:
            raise OptionError(f"the number of samples is from 1 up, not {count}")
        return self.generate(Noise(seed, "sample", backend="numpy").normal((count, self.latent)))

    def _pixels(self, z: Any) -> Any:
        logits = self.decode(Tensor.wrap(self.backend.asarray(z, self.dtype)))
        return sigmoid(logits).numpy().reshape(-1, *self.image_shape)

    def _chunks(self, images: Any) -> Iterator[Tensor]:
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
