"""Walks as frames: what a model draws on the way through its latent space."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyvae.data.dataset import Dataset, Split
from tinyvae.errors import DataError, OptionError
from tinyvae.latent.attributes import Attributes
from tinyvae.latent.measures import nearest, smoothness, unlikeness
from tinyvae.latent.paths import PATHS, fade

KINDS = (*PATHS, "fade")
DEGREE = 2  # of the polynomial that `attribute_walk` goes by
TAIL = 0.05  # of the images lie beyond either end of an attribute walk


def decoded(model: Any, codes: np.ndarray) -> np.ndarray:
    """Codes (P, S, K) as frames, (P, S, *image_shape), cut off at 0 and 1."""
    frames = model.generate(codes.reshape(-1, codes.shape[-1])).clip(0, 1)
    return np.asarray(frames.reshape(*codes.shape[:2], *frames.shape[1:]))


def between(
    model: Any, start: np.ndarray, end: np.ndarray, kind: str = "linear", steps: int = 11
) -> np.ndarray:
    """Walks from images to as many others, each through the latent space or through the pixels.

    Every kind begins and ends at the same frames, the reconstructions of the two images.

    Parameters
    ----------
    model : VAE
    start, end : ndarray, shape (P, H, W) or (P, H, W, 3)
        Images of the model's shape.
    kind : {"linear", "spherical", "fade"}
        A straight path between the posterior means, one along a great circle, or the fade of the
        pixels that both are set against.
    steps : int
        S, from 2 up.

    Returns
    -------
    ndarray, shape (P, S, *image_shape)

    Raises
    ------
    OptionError
        Another kind, or fewer than 2 steps.
    DataError
        Codes that point opposite ways; see `spherical`.

    Examples
    --------
    >>> import tinyvae as tv
    >>> model, images = tv.VAE((2, 2), hidden=(4,)), np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    >>> between(model, images[:2], images[2:], "spherical", steps=5).shape
    (2, 5, 2, 2)
    """
    if kind not in KINDS:
        raise OptionError(f"a walk is one of {', '.join(KINDS)}, not {kind!r}")
    if kind == "fade":
        a, b = (model.reconstruct(images).clip(0, 1) for images in (start, end))
        return fade(a, b, steps)
    a, b = (model.embed(images)[0] for images in (start, end))
    return decoded(model, PATHS[kind](a, b, steps))


class Smooth(NamedTuple):
    """How smooth walks are, and how far from the data, each averaged over the walks.

    Attributes
    ----------
    detour, unevenness : float
        Of `smoothness`.
    nearest, unlikeness : float
        Of the frames between the ends: the functions of these names.
    """

    detour: float
    unevenness: float
    nearest: float
    unlikeness: float


def smooth(model: Any, frames: np.ndarray, images: Any) -> Smooth:
    """The measures of walks (P, S, ...) against the images (N, ...) of the data; S is 3 or more."""
    if frames.shape[1] < 3:
        raise OptionError("a walk that is measured has a frame between its ends: 3 steps or more")
    pace, inner = smoothness(frames), frames[:, 1:-1]
    means = (pace.detour, pace.unevenness, nearest(inner, images), unlikeness(model, inner))
    return Smooth(*(float(mean.mean()) for mean in means))


class AttributeWalk(NamedTuple):
    """Walks of one attribute.

    Attributes
    ----------
    frames : ndarray, shape (P, S, *image_shape)
    values : ndarray, shape (S,)
        Of the attribute, in each step.
    """

    frames: np.ndarray
    values: np.ndarray


def attribute_walk(
    model: Any, dataset: Dataset, attribute: str, images: Split, steps: int = 9
) -> AttributeWalk:
    """Images with one attribute changed, and nothing else as far as `Attributes` can hold it.

    The attributes are fitted to the training images and their labels.

    Parameters
    ----------
    model : VAE
    dataset : Dataset
        With factors, or with classes.
    attribute : str
        The name of a factor, which goes from its 5 % to its 95 % quantile; or a class, which
        goes from 0, without, to 1, with it.
    images : Split
        Where the walks go: P images and their labels.
    steps : int
        S, from 2 up.

    Raises
    ------
    DataError
        No labels.
    OptionError
        No such attribute, or fewer than 2 steps.
    """
    if steps < 2:
        raise OptionError(f"a walk has both ends among its steps: from 2 up, not {steps}")
    factors, column = _factors(dataset, dataset.train, attribute)
    tail = TAIL if dataset.factor_names else 0
    low, high = np.quantile(factors[:, column], (tail, 1 - tail)).tolist()
    values = np.linspace(low, high, steps)
    fitted = Attributes.fit(model.embed(dataset.train.images)[0], factors, DEGREE)
    theirs, _ = _factors(dataset, images, attribute)
    codes = fitted.walk(model.embed(images.images)[0], theirs, column, values)
    return AttributeWalk(decoded(model, codes), values)


def _factors(dataset: Dataset, images: Split, attribute: str) -> tuple[np.ndarray, int]:
    """The factors (N, F) of images and the column of one; or a class as the only factor."""
    if images.labels is None or dataset.train.labels is None:
        raise DataError(f"{dataset.name} has no labels, from which an attribute could be learnt")
    if dataset.factor_names:
        _check_known(dataset, attribute, dataset.factor_names)
        return images.labels, dataset.factor_names.index(attribute)
    _check_known(dataset, attribute, [str(name) for name in np.unique(dataset.train.labels)])
    return (images.labels.astype(str) == attribute).astype(np.float64)[:, None], 0


def _check_known(dataset: Dataset, attribute: str, known: Any) -> None:
    if attribute not in known:
        raise OptionError(f"{dataset.name} has no attribute {attribute!r}: {', '.join(known)}")
