"""The negative ELBO of a model on images, and how its latent dimensions are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvae.autograd import Tensor, no_grad
from tinyvae.data.dataset import Split, as_split
from tinyvae.distributions.posteriors import drawn
from tinyvae.errors import DataError
from tinyvae.models.vae import VAE, rows_at_once
from tinyvae.noise import Noise
from tinyvae.objectives import Inferred, infer, kl_per_dimension

ACTIVE = 0.01  # the variance of a unit's posterior mean over the data, from which it counts


@dataclass(frozen=True)
class Elbo:
    """What `elbo` measures, in nats per image.

    Attributes
    ----------
    loss : float
        The negative ELBO, ``reconstruction + kl``.
    reconstruction, kl : float
        Its two parts, averaged over the images.
    kl_per_dimension : list of float
        The KL of each latent dimension; they sum to ``kl``. Empty where it does not come apart:
        the dimensions depend on each other, or the KL has no closed form.
    active_units : int
        Dimensions whose posterior mean varies over the images by more than 0.01
        (Burda et al., 2015).
    """

    reconstruction: float
    kl: float
    kl_per_dimension: list[float]
    active_units: int

    @property
    def loss(self) -> float:
        """The negative ELBO."""
        return self.reconstruction + self.kl


def elbo(model: VAE, split: Split | np.ndarray, seed: int = 0, dynamic: bool = False) -> Elbo:
    """The negative ELBO on images, with one posterior sample for each.

    This is what a training logs; `tinyvae.evaluate` measures more.

    Parameters
    ----------
    model : VAE
    split : Split or array
        Images of the model's shape; for an honest figure, ones that it was not trained on.
    seed : int
        Of the posterior samples and the binarisation; the same seed, the same figure.
    dynamic : bool
        Whether to binarise the pixels, each drawn with its grey value for probability.

    Raises
    ------
    DataError
        No images, or pixels outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> model = VAE((2, 2), hidden=(4,))
    >>> result = elbo(model, Split(np.zeros((5, 2, 2), dtype=np.uint8)))
    >>> len(result.kl_per_dimension)
    2
    """
    return elbo_of(model, inferred(model, as_split(split), seed, dynamic))


def inferred(model: VAE, split: Split, seed: int, dynamic: bool = False) -> Iterator[Inferred]:
    """A code for each image, and what it costs, of some images at a time."""
    if len(split) == 0:
        raise DataError("there are no images to evaluate on")
    split.check()
    noise = Noise(seed, "evaluate", backend=model.backend)
    for rows in batches_of(split, seed, dynamic, model.dtype, model.likelihood.outputs):
        x = Tensor.wrap(model.backend.from_host(rows))
        draws = drawn(model.posterior, noise, (len(rows),), model.dtype)
        with no_grad():
            found = infer(model, x, draws)
        yield found


def batches_of(
    split: Split, seed: int, dynamic: bool, dtype: str, outputs: int = 1
) -> Iterator[np.ndarray]:
    """The images in order, as rows (B, D) in [0, 1]; with ``dynamic`` black or white.

    ``outputs`` is how many numbers a pixel the decoder makes, of which there is room for so many.
    """
    pixels = Noise(seed, "evaluate", "pixels", backend="numpy") if dynamic else None
    size = rows_at_once(outputs * split.pixels)
    for start in range(0, len(split), size):
        yield split.batch(slice(start, start + size), pixels, dtype)


def elbo_of(model: VAE, found: Iterable[Inferred]) -> Elbo:
    """The averages over all images."""
    sums, spread, moments = np.zeros(2), np.zeros(()), Moments()
    with no_grad():
        for part in found:
            *costs, means, divergences = _fetched(
                part.reconstruction,
                part.kl,
                model.posterior.mean(part.parameters),
                kl_per_dimension(model, part.parameters),
            )
            sums += [float(cost.sum(dtype=np.float64)) for cost in costs]
            spread = spread + len(means) * divergences
            moments = moments.joined_by(means)
    reconstruction, kl = (sums / moments.count).tolist()
    active = int((moments.squares / moments.count > ACTIVE).sum())
    return Elbo(reconstruction, kl, (spread / moments.count).tolist(), active)


def _fetched(*tensors: Tensor) -> list[np.ndarray]:
    """Their values on the host, for which the device is waited for once."""
    xp, ends = tensors[0].backend.xp, np.cumsum([tensor.size for tensor in tensors])
    values = Tensor.wrap(xp.concatenate([tensor.array.reshape(-1) for tensor in tensors])).numpy()
    parts = np.split(values, ends[:-1])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


@dataclass(frozen=True)
class Moments:
    """How many rows there were, their mean, and their squared distances from it, summed.

    >>> Moments().joined_by(np.array([[1.0], [3.0]])).joined_by(np.array([[8.0]]))
    Moments(count=3, mean=array([4.]), squares=array([26.]))
    """

    count: int = 0
    mean: Any = 0.0
    squares: Any = 0.0

    def joined_by(self, rows: np.ndarray) -> Moments:
        """Those of more rows, in float64 (Chan et al., 1979)."""
        rows = rows.astype(np.float64)
        share, away = len(rows) / (self.count + len(rows)), rows.mean(axis=0) - self.mean
        squares = len(rows) * rows.var(axis=0) + self.count * share * away**2
        return Moments(self.count + len(rows), self.mean + share * away, self.squares + squares)
