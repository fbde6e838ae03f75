"""How smooth a walk is, and whether its frames look like the data.

The distance between two images is the root mean square of the differences of their pixels, so
that black and white are 1 apart, whatever the size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyvae.errors import ShapeError
from tinyvae.latent.paths import as_rows

ROWS = 1000  # images of the data that are compared at once


class Smoothness(NamedTuple):
    """How P walks of S frames go through image space; the names and the ratios are ours.

    Attributes
    ----------
    length : ndarray, shape (P,)
        The sum of the distances from frame to frame: a path length, as it is taken in a
        space of features by Karras et al. (2019), here of the pixels themselves.
    detour : ndarray, shape (P,)
        The length over the distance between the ends, from 1 up; a fade has 1.
    unevenness : ndarray, shape (P,)
        The longest step over the mean step, from 1 to S - 1: 1 for an even pace, and S - 1 where
        everything happens in one jump. A fade has 1.
    """

    length: np.ndarray
    detour: np.ndarray
    unevenness: np.ndarray


def smoothness(frames: np.ndarray) -> Smoothness:
    """How smooth walks are, from their frames.

    A fade is the smoothest walk there is, and still a bad one: `unlikeness` and `nearest` say
    whether the frames are like images of the data.

    Parameters
    ----------
    frames : ndarray of float or uint8
        Shape (P, S, H, W) or (P, S, H, W, 3), with S from 2 up.

    Raises
    ------
    ShapeError
        Another shape, or a single frame.

    Examples
    --------
    >>> found = smoothness(np.array([0.0, 0.1, 0.4, 0.3]).reshape(1, 4, 1, 1))
    >>> found.length.round(3), found.detour.round(3), found.unevenness.round(3)
    (array([0.5]), array([1.667]), array([1.8]))
    """
    rows = _walks(frames)
    if rows.shape[1] < 2:
        raise ShapeError(f"walks of {rows.shape[1]} frames have no steps: S is from 2 up")
    steps = _distance(rows[:, 1:], rows[:, :-1])  # (P, S - 1)
    length, apart = steps.sum(axis=1), _distance(rows[:, -1], rows[:, 0])
    return Smoothness(length, _ratio(length, apart), _ratio(steps.max(axis=1), steps.mean(axis=1)))


def _walks(frames: np.ndarray) -> np.ndarray:
    """Frames as (P, S, D), in float64."""
    if frames.ndim not in (4, 5):
        raise ShapeError(f"frames are of shape (P, S, H, W) or (P, S, H, W, 3), not {frames.shape}")
    rows = as_rows(frames.reshape(-1, *frames.shape[2:]))
    return rows.reshape(*frames.shape[:2], -1).astype(np.float64)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.sqrt(np.mean((a - b) ** 2, axis=-1))
    return distance


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """1 where both are 0, as of a walk that stands still; infinite where ``below`` alone is."""
    at_rest = np.where(above > 0, np.inf, 1.0)
    return np.asarray(np.divide(above, below, out=at_rest, where=below > 0))


def nearest(frames: np.ndarray, images: Any) -> np.ndarray:
    """The distance of each frame to the image of the data that is nearest to it, (P, S).

    Parameters
    ----------
    frames : ndarray of float or uint8, shape (P, S, H, W) or (P, S, H, W, 3)
    images : ndarray or OnDisk, shape (N, H, W) or (N, H, W, 3)

    Raises
    ------
    ShapeError
        Frames and images of different sizes.

    Examples
    --------
    >>> frames = np.array([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1)
    >>> nearest(frames, np.array([0.1, 0.9]).reshape(2, 1, 1)).round(3)
    array([[0.1, 0.4, 0.1]])
    """
    if frames.shape[2:] != images.shape[1:]:
        raise ShapeError(f"frames {frames.shape} and images {images.shape} differ in size")
    rows = _walks(frames).reshape(-1, int(np.prod(frames.shape[2:])))
    closest = np.full(len(rows), np.inf)
    for start in range(0, len(images), ROWS):
        chosen = as_rows(images[start : start + ROWS]).astype(np.float64)
        closest = np.minimum(closest, _squares(rows, chosen).min(axis=1))
    distance = np.sqrt(np.maximum(closest, 0) / rows.shape[1])
    return np.asarray(distance.reshape(frames.shape[:2]))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances between the rows, from one matrix product."""
    return np.asarray((a * a).sum(axis=1)[:, None] - 2 * a @ b.T + (b * b).sum(axis=1))


def unlikeness(model: Any, frames: np.ndarray) -> np.ndarray:
    """The distance of each frame to what the model makes of it, (P, S).

    A VAE rebuilds what is like its data, and little else. The model's own frames it rebuilds well
    in any case: a measure that does not favour them is `nearest`.

    Parameters
    ----------
    model : VAE
    frames : ndarray of float or uint8, shape (P, S, H, W) or (P, S, H, W, 3)

    Examples
    --------
    >>> import tinyvae as tv
    >>> unlikeness(tv.VAE((2, 2), hidden=(4,)), np.zeros((3, 5, 2, 2), np.float32)).shape
    (3, 5)
    """
    rows = _walks(frames)
    flat = rows.reshape(-1, rows.shape[2])
    rebuilt = as_rows(model.reconstruct(flat.reshape(-1, *frames.shape[2:])))
    return _distance(flat, rebuilt).reshape(frames.shape[:2])
