"""The one call that evaluates: all there is to say of a model on images that it has not seen."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np

from tinyvae.autograd import Tensor
from tinyvae.data.dataset import Dataset, Split, as_split
from tinyvae.data.ondisk import OnDisk, spooled
from tinyvae.distributions.divergences import is_analytic
from tinyvae.errors import DataError
from tinyvae.evaluation import words
from tinyvae.evaluation.elbo import Elbo, batches_of, elbo_of, inferred
from tinyvae.evaluation.likelihood import LogLikelihood, log_likelihood
from tinyvae.evaluation.quality import Quality, sample_quality
from tinyvae.evaluation.surgery import Surgery, surgery
from tinyvae.models.vae import VAE
from tinyvae.objectives import Inferred

SURGERY = 10_000  # images that the surgery is done to: its time grows with their square


@dataclass(frozen=True)
class Evaluation(Elbo):
    """What `evaluate` measures, in nats per image; with the figures of `Elbo`.

    Attributes
    ----------
    split : str
        Which images, in words.
    images : int
        How many there are, N.
    standard_errors : dict
        Of ``"loss"``, ``"reconstruction"`` and ``"kl"``: how far the average over N other
        images and codes would be from this one.
    is_analytic : bool
        Whether the KL of each image is exact, or the Monte Carlo estimate log q - log p.
    entropy_floor : float or None
        What a loss of grey pixels under a Bernoulli cannot fall below: the entropy of the
        pixels. 0 where all are black or white; None for another likelihood.
    bits_per_dimension : float or None
        The loss in bits for each number of an image, where that has a meaning: pixels of
        256 levels, or black and white ones.
    surgery : Surgery or None
        Of the first 10,000 images; None where the posterior does not allow it.
    log_likelihood : LogLikelihood or None
        Where samples were asked for.
    quality : Quality or None
        Where it was asked for.
    notes : list of str
        What to know of these figures, in sentences.
    """

    split: str
    images: int
    standard_errors: dict[str, float]
    is_analytic: bool
    entropy_floor: float | None
    bits_per_dimension: float | None
    surgery: Surgery | None
    log_likelihood: LogLikelihood | None
    quality: Quality | None
    notes: list[str]

    def rows(self) -> list[tuple[str, str, str]]:
        """A table to print: what was measured, its value, and how to read it."""
        return words.rows(self)


def evaluate(
    model: VAE,
    data: Dataset | Split | np.ndarray,
    seed: int = 0,
    dynamic: bool = False,
    samples: int = 0,
    quality: bool = False,
) -> Evaluation:
    """How good a model is on images that it has not seen.

    Parameters
    ----------
    model : VAE
    data : Dataset, Split or array
        A data set, of which the test images are taken and nothing else; or images, for an
        honest figure ones that the model was not trained on.
    seed : int
        Of the codes and the binarisation; the same seed, the same figures.
    dynamic : bool
        Whether to binarise the pixels, each drawn with its grey value for probability.
    samples : int
        Codes for each image from which log p(x) is estimated; see `log_likelihood`. Published
        figures take 5,000, which is a tenth of a second an image. 0 for no estimate.
    quality : bool
        Whether to measure the samples, too: needs a data set with labels; see
        `sample_quality`.

    Raises
    ------
    DataError
        No images, or pixels outside [0, 1]; or quality is asked for, and ``data`` is no
        data set, or has no labels.
    OptionError
        1 sample, or fewer than 0.

    Notes
    -----
    The surgery (see `tinyvae.evaluation.surgery`) takes the KL of these images apart at the
    codes that the ELBO was estimated with, so

        loss = reconstruction + mutual information + marginal KL

    holds to rounding. Of more than 10,000 images it takes the first: then it adds up to their KL.

    Examples
    --------
    >>> from tinyvae.data import load
    >>> digits = load("digits")
    >>> result = evaluate(VAE((8, 8), hidden=(4,)), digits)
    >>> result.split, result.images
    ('test images of digits', 300)
    >>> parts = result.surgery
    >>> abs(parts.mutual_information + parts.marginal_kl - result.kl) < 1e-6
    True
    """
    split, name = _test_of(data)
    if dynamic:
        split = _binarised(split, seed, model.likelihood.outputs)
    found = list(inferred(model, split, seed))
    measured, costs = elbo_of(model, found), _costs(found)
    floor = entropy(split) if model.likelihood.kind == "binary" else None
    result = Evaluation(
        **asdict(measured),
        split=name,
        images=len(split),
        standard_errors=_errors(costs),
        is_analytic=is_analytic(model.posterior, model.prior),
        entropy_floor=floor,
        bits_per_dimension=_bits(model, measured.loss, floor, split.pixels),
        surgery=_surgery_of(model, found, costs["kl"]) if model.posterior.has_density else None,
        log_likelihood=log_likelihood(model, split, samples, seed) if samples else None,
        quality=_quality(model, data, seed) if quality else None,
        notes=[],
    )
    return replace(result, notes=words.notes(result, model))


def _test_of(data: Dataset | Split | np.ndarray) -> tuple[Split, str]:
    if isinstance(data, Dataset):
        return data.test, f"test images of {data.name}"
    return as_split(data), "the images given"


def _binarised(split: Split, seed: int, outputs: int) -> Split:
    """The black and white images that `elbo` sees with ``dynamic``; on disk if those are."""
    split.check()
    drawn = batches_of(split, seed, True, "float32", outputs)
    parts = (rows.astype(np.uint8) * np.uint8(255) for rows in drawn)
    if isinstance(split.images, OnDisk):
        return Split(spooled(parts, split.images.shape))
    rows = np.concatenate([np.empty((0, split.pixels), np.uint8), *parts])
    return Split(rows.reshape(split.images.shape))


def _costs(found: list[Inferred]) -> dict[str, np.ndarray]:
    """What each image costs, (N,) each."""
    reconstruction, kl = (
        np.concatenate([getattr(part, name).numpy() for part in found])
        for name in ("reconstruction", "kl")
    )
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


def _errors(costs: dict[str, np.ndarray]) -> dict[str, float]:
    """The standard error of each average."""
    if len(costs["loss"]) < 2:
        return dict.fromkeys(costs, math.nan)
    return {
        name: float(each.std(ddof=1, dtype=np.float64)) / math.sqrt(len(each))
        for name, each in costs.items()
    }


def _surgery_of(model: VAE, found: list[Inferred], kl: np.ndarray) -> Surgery:
    xp = model.backend.xp
    columns = zip(*(part.parameters for part in found), strict=True)
    parameters = [xp.concatenate([p.array for p in column]) for column in columns]
    z = xp.concatenate([part.z.array for part in found])
    parts = [Tensor.wrap(p[:SURGERY]) for p in parameters]
    return surgery(model, tuple(parts), Tensor.wrap(z[:SURGERY]), kl[:SURGERY])


def _bits(model: VAE, loss: float, floor: float | None, pixels: int) -> float | None:
    """Nats an image in bits a number, of a probability of the pixels as they are stored."""
    is_probability = model.likelihood.kind == "levels" or floor == 0
    return loss / (pixels * math.log(2)) if is_probability else None


def entropy(split: Split) -> float:
    """The entropy of pixels that are white with their grey value for probability, in nats.

    Averaged over the images: the least cross-entropy that a Bernoulli can have with them.

    >>> entropy(Split(np.array([[[0.5, 1.0]]], dtype=np.float32)))  # log 2 + 0
    0.6931471805599453
    """
    total = 0.0
    for rows in batches_of(split, 0, False, "float64"):
        p = np.stack([rows, 1 - rows])
        total -= float((p * np.log(np.where(p > 0, p, 1))).sum())
    return total / len(split)


def _quality(model: VAE, data: Dataset | Split | np.ndarray, seed: int) -> Quality:
    if isinstance(data, Dataset):
        return sample_quality(model, data, seed)
    raise DataError(
        "the quality of samples is measured in the features of a network that is trained on "
        "labels: give a whole data set such as load('mnist'), not images alone"
    )
