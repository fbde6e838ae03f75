"""Flat shapes with soft edges, drawn for many pictures at once with NumPy.

A shape is a signed distance: negative inside, positive outside, in the units of the canvas.
A pixel is covered in full where it lies half a pixel inside, not at all half a pixel outside,
and linearly in between: anti-aliasing without supersampling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tinyvae.data.dataset import Dataset, Split
from tinyvae.errors import DataError, OptionError, ShapeError

FLAT = 1e-6  # keeps the slope of an ellipse from zero at its centre
CHUNK_PIXELS = 1 << 15  # drawn at once: a layer of so many stays in the processor's cache


class Box(NamedTuple):
    """A part of the canvas, in its coordinates."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Canvas:
    """N square pictures in colour, or a window on them, over [-1, 1] x [-1, 1] with y down.

    Attributes
    ----------
    pixels : ndarray of float32, shape (N, 3, H, W)
        Colours in [0, 1]; a window is a view, so painting there paints the whole.
    x, y : ndarray of float32, shapes (1, 1, W) and (1, H, 1)
        Where the centres of the pixels are.
    pixel : float
        The side of a pixel.

    Examples
    --------
    >>> canvas = Canvas.blank(count=1, size=4)
    >>> canvas.paint(disc(canvas.x, canvas.y, 0.5), np.float32(1.0))
    >>> canvas.pixels[0, 0, 1].round(2)
    array([0.  , 0.79, 0.79, 0.  ], dtype=float32)
    """

    pixels: np.ndarray
    x: np.ndarray
    y: np.ndarray
    pixel: float

    @classmethod
    def blank(cls, count: int, size: int) -> Canvas:
        """N black pictures of size x size pixels."""
        centres = ((2 * np.arange(size) + 1) / size - 1).astype(np.float32)
        pixels = np.zeros((count, 3, size, size), np.float32)
        return cls(pixels, centres[None, None, :], centres[None, :, None], 2 / size)

    def window(self, box: Box) -> Canvas:
        """The pixels whose centres lie in the box, as a canvas that shares them."""
        columns = slice(*np.searchsorted(self.x.ravel(), (box.left, box.right)))
        rows = slice(*np.searchsorted(self.y.ravel(), (box.top, box.bottom)))
        return replace(
            self,
            pixels=self.pixels[:, :, rows, columns],
            x=self.x[:, :, columns],
            y=self.y[:, rows],
        )

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """How much of each pixel a shape covers, from 0 to 1, from its signed distance."""
        return coverage(distance, self.pixel)

    def paint(self, distance: np.ndarray, colour: np.ndarray) -> None:
        """Fill a shape with a colour, one or (N, 3, 1, 1)."""
        self.tint(self.cover(distance), colour)

    def tint(self, opacity: np.ndarray, colour: np.ndarray) -> None:
        """Mix a colour in, by an opacity from 0 to 1 of shape (N, H, W)."""
        change = colour - self.pixels
        change *= opacity[:, None]
        self.pixels[...] += change

    def to_bytes(self) -> np.ndarray:
        """The pictures as uint8 of shape (N, H, W, 3)."""
        return (self.pixels * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)


def coverage(distance: np.ndarray, pixel: float) -> np.ndarray:
    """How much of each pixel a shape covers, from its signed distance and a pixel's side.

    >>> coverage(np.array([-1.0, -0.25, 0.0, 0.25, 1.0]), pixel=1.0)
    array([1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    covered: np.ndarray = np.clip(0.5 - distance * (1 / pixel), 0, 1)
    return covered


def disc(x: np.ndarray, y: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Signed distance to a disc about the origin."""
    distance: np.ndarray = np.sqrt(x * x + y * y) - radius
    return distance


def ellipse(
    x: np.ndarray, y: np.ndarray, a: np.ndarray | float, b: np.ndarray | float
) -> np.ndarray:
    """Signed distance to an ellipse about the origin, exact on its edge and first order near it.

    With f = (x / a)^2 + (y / b)^2 - 1, it is f / |grad f|, and never deeper than the
    smaller half-axis, so that a thin ellipse stays thin.
    """
    u, v = x / a, y / b
    slope = np.sqrt((u / a) ** 2 + (v / b) ** 2)
    near_edge = (u * u + v * v - 1) / (2 * slope + FLAT)
    distance: np.ndarray = np.maximum(near_edge, -np.minimum(a, b))
    return distance


def box(
    x: np.ndarray,
    y: np.ndarray,
    a: np.ndarray | float,
    b: np.ndarray | float,
    corner: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Signed distance to a box of half-sides a and b, its corners rounded by a radius."""
    return round_and(np.abs(x) - a, np.abs(y) - b, corner)


def round_and(a: np.ndarray, b: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Signed distance to where two shapes overlap, the corners between them rounded."""
    outside = np.sqrt(np.maximum(a + radius, 0) ** 2 + np.maximum(b + radius, 0) ** 2)
    distance: np.ndarray = np.minimum(np.maximum(a, b), -radius) + outside
    return distance


def glow(x: np.ndarray, y: np.ndarray, a: float, b: float) -> np.ndarray:
    """A soft spot: 1 at the origin, falling smoothly to 0 on the ellipse of half-axes a and b."""
    spot: np.ndarray = np.maximum(1 - (x / a) ** 2 - (y / b) ** 2, 0) ** 2
    return spot


def colours(codes: str) -> np.ndarray:
    """A palette from its hexadecimal codes, as float32 of shape (K, 3) in [0, 1].

    >>> colours("ff0000 0000ff")
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    stops = [list(bytes.fromhex(code)) for code in codes.split()]
    return np.array(stops, np.float32) / 255


def blend(palette: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The colours at places in [0, 1] along a palette, shape (N, 3, 1, 1).

    >>> blend(colours("ff0000 0000ff"), np.array([0.5])).ravel()
    array([0.5, 0. , 0.5], dtype=float32)
    """
    stops = np.linspace(0, 1, len(palette))
    channels = [np.interp(place.ravel(), stops, channel) for channel in palette.T]
    return np.stack(channels, axis=1).astype(np.float32)[:, :, None, None]


def chunks(count: int, pixels: int) -> list[slice]:
    """Slices of the pictures to draw at once, each picture of so many pixels.

    >>> chunks(count=40, pixels=1024)
    [slice(0, 32, None), slice(32, 64, None)]
    """
    step = max(1, CHUNK_PIXELS // pixels)
    return [slice(start, start + step) for start in range(0, count, step)]


def check_factors(
    factors: np.ndarray, names: tuple[str, ...], low: tuple[float, ...], high: tuple[float, ...]
) -> None:
    """Refuse factors that are not (N, F) numbers, each between its lowest and highest."""
    if factors.ndim != 2 or factors.shape[1] != len(names):
        raise ShapeError(
            f"factors have shape (N, {len(names)}), a column each for {', '.join(names)}; "
            f"not {factors.shape}"
        )
    wrong = np.argwhere(~((factors >= low) & (factors <= high)))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{names[column]} lies between {low[column]:.4g} and {high[column]:.4g}, "
            f"not {factors[row, column]:.4g} (row {row})"
        )


def check_size(size: int, smallest: int = 16) -> None:
    """Refuse pictures too small to show their shapes."""
    if size < smallest:
        raise OptionError(f"pictures are at least {smallest} pixels wide, not {size}")


def check_count(count: int) -> None:
    """Refuse fewer pictures than fill three parts."""
    if count < 10:
        raise OptionError(f"at least 10 pictures make the three parts, not {count}")


def drawn_dataset(
    name: str, images: np.ndarray, labels: np.ndarray, factor_names: tuple[str, ...]
) -> Dataset:
    """A data set of drawn pictures: 80 % to train, 10 % to validate, 10 % to test."""
    tenth = len(images) // 10
    whole = Split(images, labels)
    return Dataset(
        name,
        train=whole[: -2 * tenth],
        valid=whole[-2 * tenth : -tenth],
        test=whole[-tenth:],
        factor_names=factor_names,
        licence="MIT, drawn by tinyvae",
        source=f"tinyvae.data.{name}",
    )
