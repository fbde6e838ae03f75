"""The negative ELBO of a model on images, and how its latent dimensions are used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyvae.autograd import Tensor, no_grad
from tinyvae.data.dataset import Split, as_split
from tinyvae.errors import DataError
from tinyvae.models.vae import VAE
from tinyvae.noise import Noise
from tinyvae.objectives import kl_per_dimension, negative_elbo

ROWS = 1000
ACTIVE = 0.01  # the variance of a unit's posterior mean over the data, from which it counts


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measures, in nats per image.

    Attributes
    ----------
    loss : float
        The negative ELBO, ``cross_entropy + kl``.
    cross_entropy, kl : float
        Its two parts, averaged over the images.
    kl_per_dimension : list of float
        The KL of each latent dimension; they sum to ``kl``.
    active_units : int
        Dimensions whose posterior mean varies over the images by more than 0.01
        (Burda et al., 2015).
    """

    cross_entropy: float
    kl: float
    kl_per_dimension: list[float]
    active_units: int

    @property
    def loss(self) -> float:
        """The negative ELBO."""
        return self.cross_entropy + self.kl


def evaluate(
    model: VAE, split: Split | np.ndarray, seed: int = 0, dynamic: bool = False
) -> Evaluation:
    """The negative ELBO on images, with one posterior sample for each.

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
        Pixels outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> model = VAE((2, 2), hidden=(4,))
    >>> result = evaluate(model, Split(np.zeros((5, 2, 2), dtype=np.uint8)))
    >>> len(result.kl_per_dimension)
    2
    """
    split = as_split(split)
    if len(split) == 0:
        raise DataError("there are no images to evaluate on")
    split.check()
    noise = Noise(seed, "evaluate", backend=model.backend)
    pixels = Noise(seed, "evaluate", "pixels", backend="numpy") if dynamic else None
    sums, spread, means = np.zeros(2), np.zeros(model.latent), []
    with no_grad():
        for start in range(0, len(split), ROWS):
            rows = split.batch(slice(start, start + ROWS), pixels, model.dtype)
            x = Tensor.wrap(model.backend.from_host(rows))
            draws = noise.normal((len(rows), model.latent), model.dtype)
            terms = negative_elbo(model, x, draws)
            parts = (terms.cross_entropy, terms.kl)
            sums += [float(part.numpy().sum(dtype=np.float64)) for part in parts]
            spread += len(rows) * kl_per_dimension(terms.mean, terms.log_variance).numpy()
            means.append(terms.mean.numpy())
    variances = np.concatenate(means).var(axis=0, dtype=np.float64)
    cross_entropy, kl = (sums / len(split)).tolist()
    return Evaluation(
        cross_entropy, kl, (spread / len(split)).tolist(), int((variances > ACTIVE).sum())
    )
