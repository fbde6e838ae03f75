"""Sprites: one white shape on black, ruled by five factors, to judge disentanglement by."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinyvae.data.dataset import Dataset
from tinyvae.data.drawing import (
    box,
    check_count,
    check_factors,
    check_size,
    chunks,
    coverage,
    disc,
    drawn_dataset,
    ellipse,
)
from tinyvae.errors import DataError
from tinyvae.noise import Noise

FACTORS: tuple[str, ...] = ("shape", "scale", "rotation", "x", "y")
SHAPES: tuple[str, ...] = ("square", "ellipse", "heart")
GRID: tuple[np.ndarray, ...] = (
    np.arange(3.0),
    np.linspace(0.5, 1, 6),
    np.arange(40) * (math.tau / 40),
    np.linspace(0, 1, 32),
    np.linspace(0, 1, 32),
)
LOWEST = (0.0, 0.5, 0.0, 0.0, 0.0)
HIGHEST = (2.0, 1.0, float(np.float32(math.tau)), 1.0, 1.0)

# In widths of the picture. At scale 1 every shape fits the circle of radius REACH about its
# centroid, which stays MARGIN from the border: from 16 pixels on, the outermost are black.
REACH, MARGIN = 3 / 16, 1 / 4
SQUARE = REACH / math.sqrt(2)  # half a side
LONG, SHORT = REACH, 0.6 * REACH  # the half-axes of the ellipse
# A heart is a square on its corner with half a disc on each upper side. In half-sides of the
# square, the middle of a disc lies LOBE across and up, and the first moments of the half discs
# put the centroid RISE above the middle of the square, its lowest point included in REACH.
LOBE = 1 / math.sqrt(2)
RISE = (math.pi / 4 + 1 / 3) * LOBE / (1 + math.pi / 4)
HEART = REACH / (math.sqrt(2) + RISE)


def draw(factors: np.ndarray, size: int = 64) -> np.ndarray:
    """Sprites from their factors, in natural units.

    Parameters
    ----------
    factors : array_like of shape (N, 5)
        A column each, in the order of `FACTORS`: shape 0 (square), 1 (ellipse) or 2 (heart);
        scale from 0.5 to 1; rotation in radians from 0 to 2 pi, clockwise as seen; x and y of
        the centroid from 0 (a quarter of the picture from its left, from its top) to 1
        (a quarter from its right, from its bottom).
    size : int, default 64
        Pixels across and down, from 16.

    Returns
    -------
    ndarray of uint8, shape (N, size, size)
        White on black with anti-aliased edges; the outermost pixels are black.

    Raises
    ------
    ShapeError
        Factors that are not five columns.
    DataError
        A factor out of its range, or a shape between two shapes.
    OptionError
        A size below 16.

    Examples
    --------
    >>> square = draw([[SHAPES.index("square"), 1, 0, 0.5, 0.5]], size=16)[0]
    >>> square[8, 4:12]
    array([  0,  31, 255, 255, 255, 255,  31,   0], dtype=uint8)
    """
    factors = np.asarray(factors, np.float64)
    check_factors(factors, FACTORS, LOWEST, HIGHEST)
    check_size(size)
    _check_shape(factors[:, 0])
    images = np.zeros((len(factors), size, size), np.uint8)
    for kind, distance in enumerate((_square, _ellipse, _heart)):
        rows = np.flatnonzero(factors[:, 0] == kind)
        for chunk in chunks(len(rows), _tile(size) ** 2):
            _stamp(images, rows[chunk], factors[rows[chunk], 1:], distance)
    return images


def _check_shape(shape: np.ndarray) -> None:
    between = np.flatnonzero(shape != np.round(shape))
    if len(between):
        row = between[0]
        raise DataError(
            f"shape is 0 (square), 1 (ellipse) or 2 (heart), not {shape[row]:.4g} (row {row})"
        )


def _tile(size: int) -> int:
    """The side of a tile that holds any shape, wherever in a pixel its centroid is."""
    return 2 * math.ceil(REACH * size) + 2


def _stamp(
    images: np.ndarray,
    rows: np.ndarray,
    factors: np.ndarray,
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    """Draw a tile about each centroid: the rest of a picture is black already."""
    size = images.shape[1]
    side = _tile(size)
    scale, rotation = factors[:, :2].T[:, :, None, None]
    centre = (MARGIN + (1 - 2 * MARGIN) * factors[:, 2:]) * size  # (N, 2), in pixels
    corner = np.clip(np.floor(centre).astype(int) - side // 2, 0, size - side)
    away = (corner - centre)[:, :, None] + (np.arange(side) + 0.5)  # (N, 2, side)
    u, v = _turned(away[:, 0, None, :], away[:, 1, :, None], rotation, scale * size)
    tiles = coverage(distance(u, v) * scale.astype(np.float32), 1 / size)
    windows = sliding_window_view(images, (side, side), axis=(1, 2), writeable=True)
    windows[rows, corner[:, 1], corner[:, 0]] = tiles * 255 + 0.5


def _turned(
    x: np.ndarray, y: np.ndarray, rotation: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places in the picture as places in the shape's own frame."""
    cos, sin = np.cos(rotation) / unit, np.sin(rotation) / unit
    x, y, cos, sin = (array.astype(np.float32) for array in (x, y, cos, sin))
    return cos * x + sin * y, cos * y - sin * x


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return box(x, y, SQUARE, SQUARE)


def _ellipse(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ellipse(x, y, LONG, SHORT)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Upright at rotation 0; as it is the same left and right, one disc does for two."""
    x, y = np.abs(x), y - RISE * HEART
    corner = box((x + y) * LOBE, (x - y) * LOBE, HEART, HEART)
    heart: np.ndarray = np.minimum(corner, disc(x - LOBE * HEART, y + LOBE * HEART, HEART))
    return heart


def load(*, count: int = 20_000, size: int = 64, seed: int = 0) -> Dataset:
    """Sprites whose factors are drawn at random, independently, from the values of `GRID`.

    There are 3 shapes, 6 scales, 40 rotations and 32 values each of x and y: 737,280 sprites.

    Parameters
    ----------
    count : int, default 20000
        Sprites in all, from 10: 80 % to train, 10 % to validate, 10 % to test.
    size : int, default 64
        Pixels across and down, from 16.
    seed : int, default 0
        The same seed draws the same sprites, bit for bit.

    Returns
    -------
    Dataset
        Images uint8 of shape (N, size, size), labels float32 of shape (N, 5) in the order of
        `FACTORS`.

    Raises
    ------
    OptionError
        A size below 16, or fewer than ten sprites.

    Examples
    --------
    >>> sprites = load(count=100)
    >>> sprites.train.images.shape, sprites.factor_names[:2]
    ((80, 64, 64), ('shape', 'scale'))
    """
    check_count(count)
    noise = Noise(seed, "sprites", backend="numpy")
    columns = [values[noise.integers(len(values), (count,))] for values in GRID]
    factors = np.stack(columns, axis=1).astype(np.float32)
    return drawn_dataset("sprites", draw(factors, size), factors, FACTORS)
