"""Faces that the package draws itself, each ruled by ten factors that can be walked."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from tinyvae.data.dataset import Dataset
from tinyvae.data.drawing import (
    Canvas,
    check_count,
    check_factors,
    check_size,
    chunks,
    drawn_dataset,
)
from tinyvae.data.portrait import LAYERS, Face
from tinyvae.noise import Noise

FACTORS: tuple[str, ...] = tuple(field.name for field in fields(Face))
GLASSES_SHARE = 0.35  # of the faces in the data set


def draw(factors: np.ndarray, size: int = 32) -> np.ndarray:
    """Faces from their factors, each from 0 to 1.

    ======================  =======================================  ====================
    factor                  at 0                                     at 1
    ======================  =======================================  ====================
    skin_tone, hair_colour  deep; black                              light; silver
    hair_length             short                                    on the shoulders
    smile                   a frown                                  a broad smile
    eye_openness            closed                                   wide open
    brow                    low and knitted                          raised
    face_width              narrow                                   wide
    glasses                 none                                     worn (between: faint)
    background              round a circle of pastels                the same as at 0
    head_turn               to the left of the picture               to its right
    ======================  =======================================  ====================

    Parameters
    ----------
    factors : array_like of shape (N, 10)
        A column each, in the order of `FACTORS`.
    size : int, default 32
        Pixels across and down, from 16.

    Returns
    -------
    ndarray of uint8, shape (N, size, size, 3)
        A face depends on its own factors alone, to the last bit.

    Raises
    ------
    ShapeError
        Factors that are not ten columns.
    DataError
        A factor that is not a number from 0 to 1.
    OptionError
        A size below 16.

    Examples
    --------
    >>> plain = np.full((1, 10), 0.5)
    >>> draw(plain).shape
    (1, 32, 32, 3)
    >>> draw(plain, size=64)[0, 0, 0]  # a corner of the backdrop
    array([165, 197, 192], dtype=uint8)
    """
    factors = np.asarray(factors, np.float32)
    check_factors(factors, FACTORS, low=(0.0,) * 10, high=(1.0,) * 10)
    check_size(size)
    images = np.empty((len(factors), size, size, 3), np.uint8)
    for chunk in chunks(len(factors), size**2):
        images[chunk] = _draw_chunk(factors[chunk], size)
    return images


def _draw_chunk(factors: np.ndarray, size: int) -> np.ndarray:
    canvas = Canvas.blank(len(factors), size)
    face = Face(*factors.T[:, :, None, None])
    for layer in LAYERS:
        layer(canvas, face)
    return canvas.to_bytes()


def load(*, count: int = 20_000, size: int = 32, seed: int = 0) -> Dataset:
    """Faces of random factors, independent and uniform; about one in three wears glasses.

    Parameters
    ----------
    count : int, default 20000
        Faces in all, from 10: 80 % to train, 10 % to validate, 10 % to test.
    size : int, default 32
        Pixels across and down, from 16.
    seed : int, default 0
        The same seed draws the same faces, bit for bit.

    Returns
    -------
    Dataset
        Images uint8 of shape (N, size, size, 3), labels float32 of shape (N, 10) in the order
        of `FACTORS`.

    Raises
    ------
    OptionError
        A size below 16, or fewer than ten faces.

    Examples
    --------
    >>> faces = load(count=100)
    >>> len(faces.train), len(faces.valid), len(faces.test)
    (80, 10, 10)
    >>> faces.factor_names[:3]
    ('skin_tone', 'hair_colour', 'hair_length')
    """
    check_count(count)
    factors = Noise(seed, "faces", backend="numpy").uniform((count, len(FACTORS)))
    worn = FACTORS.index("glasses")
    factors[:, worn] = factors[:, worn] < GLASSES_SHARE
    return drawn_dataset("faces", draw(factors, size), factors, FACTORS)
