"""Paths between codes: straight, along a great circle, and along one latent dimension.

Codes are rows of K numbers, in an array of the host with any axes before them; a path has one
axis more, of S steps: (..., K) to (..., S, K). What a model makes of it is
``model.generate(path.reshape(-1, K))``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tinyvae.errors import DataError, OptionError, ShapeError

OPPOSITE = 1e-6  # of the sum of two unit vectors: shorter, and they point opposite ways


def linear(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """A straight path, (1 - t) a + t b, both ends among its steps.

    Parameters
    ----------
    start, end : ndarray of float, shape (..., K)
        Codes a and b.
    steps : int
        S, from 2 up.

    Returns
    -------
    ndarray, shape (..., S, K)

    Raises
    ------
    ShapeError
        Two shapes that differ, or no axis.
    OptionError
        Fewer than 2 steps.

    Examples
    --------
    >>> linear(np.array([0.0, 2.0]), np.array([4.0, 0.0]), steps=3)
    array([[0., 2.],
           [2., 1.],
           [4., 0.]])
    """
    a, b, t = _ends(start, end, steps)
    return np.asarray((1 - t) * a + t * b, np.result_type(start, end))


def spherical(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """A path whose direction turns along a great circle, while its length changes evenly.

    Directions u and v, with the angle w between them, are weighted by sin((1 - t) w) / sin(w) and
    sin(t w) / sin(w) (Shoemake, 1985). Codes from a standard normal of many dimensions are
    all about sqrt(K) long; the middle of a straight path between two of them is shorter by
    sqrt(2), where the prior has next to nothing (White, 2016).

    From or to a code of length 0, which has no direction, the path is straight.

    Parameters
    ----------
    start, end : ndarray of float, shape (..., K)
        Codes a and b.
    steps : int
        S, from 2 up.

    Returns
    -------
    ndarray, shape (..., S, K)

    Raises
    ------
    DataError
        Two codes that point opposite ways (always so in one dimension, where their signs differ):
        every great circle is as short as any other.
    ShapeError, OptionError
        As for `linear`.

    Examples
    --------
    >>> spherical(np.array([1.0, 0.0]), np.array([0.0, 3.0]), steps=3).round(3)
    array([[1.   , 0.   ],
           [1.414, 1.414],
           [0.   , 3.   ]])
    """
    a, b, t = _ends(start, end, steps)
    u, v = _directions(a, b)
    angle = 2 * np.arctan2(_length(u - v), _length(u + v))  # exact for small and for large ones
    direction = _share(1 - t, angle) * u + _share(t, angle) * v
    length = (1 - t) * _length(a) + t * _length(b)
    return np.asarray(length * direction, np.result_type(start, end))


def _ends(start: np.ndarray, end: np.ndarray, steps: int) -> tuple[np.ndarray, ...]:
    """Both ends as (..., 1, K) in float64, and the times, (S, 1)."""
    if steps < 2:
        raise OptionError(f"a path has both ends among its steps: from 2 up, not {steps}")
    if start.shape != end.shape or start.ndim < 1:
        raise ShapeError(
            f"a path leads from codes (..., K) to as many, not from {start.shape} to {end.shape}"
        )
    a, b = (np.asarray(x, np.float64)[..., None, :] for x in (start, end))
    return a, b, np.linspace(0, 1, steps)[:, None]


def _length(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(rows, axis=-1, keepdims=True))


def _directions(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along a and b; one that is 0 takes the direction of the other."""
    lengths = _length(a), _length(b)
    u, v = (x / np.where(length > 0, length, 1) for x, length in zip((a, b), lengths, strict=True))
    u, v = np.where(lengths[0] > 0, u, v), np.where(lengths[1] > 0, v, u)
    some = np.maximum(*lengths) > 0
    if (some & (_length(u + v) < OPPOSITE)).any():
        raise DataError(
            "two codes point opposite ways, and no great circle between them is the shortest: "
            "take a straight path"
        )
    return u, v


def _share(t: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """sin(t w) / sin(w), which is t where w is 0."""
    share: np.ndarray = t * np.sinc(t * angle / np.pi) / np.sinc(angle / np.pi)
    return share


PATHS: Mapping[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = MappingProxyType(
    {"linear": linear, "spherical": spherical}
)
"""What leads from one code to another, by name."""


def fade(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """The straight path between the pixels of images (N, H, W) or (N, H, W, 3), (N, S, ...).

    What a walk in the latent space is set against: half-way, it shows both images at once.

    Parameters
    ----------
    start, end : ndarray of float or uint8
        Images, as many as each other; bytes stand for k / 255.
    steps : int
        S, from 2 up.

    Examples
    --------
    >>> fade(np.zeros((1, 1, 2)), np.ones((1, 1, 2)), steps=3)[0, :, 0, 0]
    array([0. , 0.5, 1. ])
    """
    a, b = (as_rows(images) for images in (start, end))
    return linear(a, b, steps).reshape(len(start), steps, *start.shape[1:])


def as_rows(images: Any) -> np.ndarray:
    """Images as rows of floats, (N, D); bytes become k / 255.

    >>> as_rows(np.full((1, 1, 2), 255, np.uint8))
    array([[1., 1.]], dtype=float32)
    """
    images = np.asarray(images)
    rows: np.ndarray = images.reshape(len(images), -1)
    return rows.astype(np.float32) / 255 if images.dtype == np.uint8 else rows


def traversals(code: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Walks along each latent dimension by itself, all others left at a code.

    Parameters
    ----------
    code : ndarray, shape (K,)
        Where the others stay.
    values : ndarray, shape (S,)
        Where the walked dimension goes: quantiles of the prior, say.

    Returns
    -------
    ndarray, shape (K, S, K)
        A walk for each dimension, in the dtype of the code.

    Examples
    --------
    >>> traversals(np.array([5.0, 7.0]), np.array([-1.0, 1.0])).tolist()
    [[[-1.0, 7.0], [1.0, 7.0]], [[5.0, -1.0], [5.0, 1.0]]]
    """
    if code.ndim != 1 or values.ndim != 1:
        raise ShapeError(
            f"a traversal wants one code (K,) and values (S,), not {code.shape} and {values.shape}"
        )
    walks = np.tile(code, (len(code), len(values), 1))
    for k, walk in enumerate(walks):
        walk[:, k] = values
    return walks
