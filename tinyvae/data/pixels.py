"""From pixels as they are stored to the numbers of a batch: scaled, or drawn black or white."""

from __future__ import annotations

import math

import numpy as np

from tinyvae.noise import Noise


def as_floats(pixels: np.ndarray, draws: np.ndarray | None, dtype: str) -> np.ndarray:
    """Pixels in [0, 1]; or, with ``draws``, 1 where the pixel is above its draw and 0 elsewhere.

    >>> as_floats(np.array([0, 51, 255], np.uint8), None, "float64")
    array([0. , 0.2, 1. ])
    """
    if draws is not None:
        return (draws < pixels).astype(dtype)
    if pixels.dtype != np.uint8:
        return pixels.astype(dtype, copy=False)
    floats = pixels.astype(dtype)
    floats *= floats.dtype.type(1 / 255)
    return floats


def draws(shape: tuple[int, ...], dtype: np.dtype, noise: Noise) -> np.ndarray:
    """What pixels of that dtype are drawn against: P(draw < p) is the grey value of p, exactly."""
    return _below_255(shape, noise) if dtype == np.uint8 else noise.uniform(shape)


def _below_255(shape: tuple[int, ...], noise: Noise) -> np.ndarray:
    """Draws from 0, ..., 254: eight bytes of one draw, and those that are 255 again.

    It takes a fifth of the time of ``noise.integers(255, shape, "uint8")``.
    """
    count = math.prod(shape)
    words = noise.integers(2**64, (math.ceil(count / 8),), "uint64")
    found = words.view(np.uint8)[:count]
    again = np.flatnonzero(found == 255)
    found[again] = noise.integers(255, again.shape, "uint8")
    return found.reshape(shape)
