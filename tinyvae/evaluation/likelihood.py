"""The log-likelihood log p(x) of images under a model, estimated by importance sampling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tinyvae.autograd import Tensor, no_grad
from tinyvae.data.dataset import Split, as_split
from tinyvae.distributions.posteriors import drawn
from tinyvae.errors import DataError, OptionError
from tinyvae.models.vae import VAE, rows_at_once
from tinyvae.noise import Noise
from tinyvae.objectives import log_weights


@dataclass(frozen=True)
class LogLikelihood:
    """What `log_likelihood` estimates, in nats.

    Attributes
    ----------
    per_image : (N,) ndarray
        The estimate of log p(x) for each image.
    standard_errors : (N,) ndarray
        Of each of them, because the codes are drawn.
    effective_samples : (N,) ndarray
        How many samples of equal weight tell as much: from 1, where one weight outweighs all
        others and the estimate is not to be trusted, to all of them.
    """

    per_image: np.ndarray
    standard_errors: np.ndarray
    effective_samples: np.ndarray

    @property
    def mean(self) -> float:
        """The average over the images."""
        return float(self.per_image.mean())

    @property
    def standard_error(self) -> float:
        """Of the average over these images, because the codes are drawn.

        How far it is from the average over other images is another matter:
        ``per_image.std() / sqrt(N)``.
        """
        return math.sqrt(float((self.standard_errors**2).sum())) / len(self.standard_errors)


def log_likelihood(
    model: VAE, split: Split | np.ndarray, samples: int = 1000, seed: int = 0
) -> LogLikelihood:
    """The log-likelihood of images, by importance sampling from the posterior.

    Parameters
    ----------
    model : VAE
    split : Split or array
        Images of the model's shape. For pixels that are drawn black or white, draw them
        first: ``split.binarised(noise)``.
    samples : int
        Codes drawn for each image, S, from 2 up. Published figures take 5,000.
    seed : int
        Of the codes; the same seed, the same figure.

    Raises
    ------
    DataError
        No images, or pixels outside [0, 1].
    OptionError
        Fewer than 2 samples, of which there is no standard error.

    Notes
    -----
    Where q(z | x) is above 0 for every z, the weights w = p(x | z) p(z) / q(z | x) of codes z
    from it have the expectation p(x) (a uniform's have less, so that its estimate is a lower
    bound, however many samples there are),

        log p(x) ~ log((w_1 + ... + w_S) / S)            (Burda et al., 2015, section 5),

    and since d log(w) = dw / w, the standard error of the logarithm is that of the mean weight
    over the mean weight. With the effective samples (Kong et al., 1994)

        n = (sum of w)^2 / sum of w^2,

    its square is (S / n - 1) / (S - 1). The estimate is too low on average, by about half of
    that square (Jensen's inequality), so more samples raise it.

    The sums are in float64 and go on from chunk to chunk, and a chunk is no larger than a
    batch of images: so memory grows neither with the samples nor with the images. Nearly all
    of the time goes into the decoder's products, of which there are N S.

    Examples
    --------
    >>> model = VAE((2, 2), hidden=(4,))
    >>> result = log_likelihood(model, np.zeros((3, 2, 2), dtype=np.uint8), samples=10)
    >>> result.per_image.shape
    (3,)
    """
    split = as_split(split)
    if len(split) == 0:
        raise DataError("there are no images to evaluate on")
    if samples < 2:
        raise OptionError(f"the number of samples is from 2 up, not {samples}")
    split.check()
    noise = Noise(seed, "likelihood", backend=model.backend)
    rows = rows_at_once(model.likelihood.outputs * split.pixels)
    size = max(1, rows // samples)
    with no_grad():
        parts = [
            log_mean(_chunks(model, split[start : start + size], samples, rows, noise))
            for start in range(0, len(split), size)
        ]
    return LogLikelihood(*map(np.concatenate, zip(*parts, strict=True)))


def _chunks(
    model: VAE, split: Split, samples: int, rows: int, noise: Noise
) -> Iterator[np.ndarray]:
    """The logarithms of the weights of all images, so many samples at a time, (B, S)."""
    x = Tensor.wrap(model.backend.from_host(split.batch(slice(None), dtype=model.dtype)))
    for done in range(0, samples, rows):
        shape = (len(split), min(rows, samples - done))
        yield log_weights(model, x, drawn(model.posterior, noise, shape, model.dtype)).numpy()


def log_mean(chunks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The logarithm of the mean weight, its standard error, and the effective samples, each (B,).

    ``chunks`` are of logarithms of weights, each of shape (B, ...), of which one is held at a
    time. The largest is taken out of the sums, so that no weight overflows.

    >>> log_mean([np.log([[1.0, 2.0]]), np.log([[3.0]])])[0]  # log 2
    array([0.69314718])
    """
    top, first, second, count = np.array(-np.inf), np.array(0.0), np.array(0.0), 0
    for chunk in chunks:
        log_w = chunk.astype(np.float64)  # (B, S)
        new = np.maximum(top, log_w.max(axis=1))
        new = np.where(np.isfinite(new), new, 0.0)  # while all weights so far are 0
        shrink, w = np.exp(top - new), np.exp(log_w - new[:, None])
        first = first * shrink + w.sum(axis=1)
        second = second * shrink**2 + (w * w).sum(axis=1)
        top, count = new, count + log_w.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):  # where every weight is 0
        return _log_mean_of(top, first, second, count)


def _log_mean_of(
    top: np.ndarray, first: np.ndarray, second: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from the sums of the weights and of their squares, over e^top and its square."""
    effective = first * first / second
    spread = np.maximum(count / effective - 1, 0) / (count - 1)
    return top + np.log(first / count), np.sqrt(spread), effective
