"""Many images as one picture, each enlarged by a whole factor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from tinyvae.errors import DataError, ShapeError
from tinyvae.plots.style import DPI, STYLE, finite

WIDEST, LARGEST = 1300, 150  # pixels: of a whole grid, and of one image in it
SMALL = 20  # pixels of an image's longer side, below which it is enlarged smoothly
THIN, WIDE = 4, 22  # pixels between images
PAD = 24  # pixels of white around a picture


def as_pixels(images: np.ndarray, name: str, leading: str) -> np.ndarray:
    """The images as bytes in colour, shape (*leading, H, W, 3)."""
    images, first = np.asarray(images), len(leading.split(", "))
    colour = images.ndim == first + 3 and images.shape[-1] == 3
    if not images.size or not (images.ndim == first + 2 or colour):
        raise ShapeError(
            f"{name} of shape {images.shape}; wanted is ({leading}, H, W) or "
            f"({leading}, H, W, 3), none of them 0"
        )
    pixels = _bytes(images, name)
    return pixels if colour else np.repeat(pixels[..., None], 3, axis=-1)


def _bytes(images: np.ndarray, name: str) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise DataError(f"{name} of {images.dtype}; wanted are uint8, or floats from 0 to 1")
    return (finite(images, name).clip(0, 1) * 255).round().astype(np.uint8)


def check_columns(columns: int | None, default: int) -> int:
    """The number of columns asked for, or the default."""
    columns = default if columns is None else columns
    if columns < 1:
        raise ShapeError(f"a grid has one column or more, not {columns}")
    return columns


def enlarged(pixels: np.ndarray, columns: int) -> np.ndarray:
    """Every pixel as a square of whole pixels; or, in small images, smoothly.

    Single pixels as large as the strokes that they make up hide what the image shows.
    """
    room, (height, width) = min(LARGEST, WIDEST // columns), pixels.shape[-3:-1]
    factor = max(1, room // max(height, width))
    if not is_small(pixels):
        return pixels.repeat(factor, axis=-3).repeat(factor, axis=-2)
    down, across = _cubic(height, factor), _cubic(width, factor)
    smooth = np.einsum("ah,...hwc,bw->...abc", down, pixels, across, optimize=True)
    return np.asarray(smooth.clip(0, 255).round(), np.uint8)


def is_small(pixels: np.ndarray) -> bool:
    """Whether the images (..., H, W, 3) are of the kind that is enlarged smoothly."""
    return bool(max(pixels.shape[-3:-1]) < SMALL)


def _cubic(size: int, factor: int) -> np.ndarray:
    """Cubic convolution (Keys, 1981) as a matrix, (size factor, size); edges are repeated."""
    places = (np.arange(size * factor) + 0.5) / factor - 0.5
    sources = np.arange(-2, size + 2)
    d = np.abs(places[:, None] - sources)
    near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    weights = np.where(d <= 1, near, np.where(d < 2, far, 0))
    matrix = np.zeros((size * factor, size))
    np.add.at(matrix.T, sources.clip(0, size - 1), weights.T)
    return matrix


def in_rows(pixels: np.ndarray, columns: int) -> np.ndarray:
    """(N, H, W, 3) in rows, (R, C, H, W, 3), white where the images run out."""
    blank = np.full((-len(pixels) % columns, *pixels.shape[1:]), 255, np.uint8)
    return np.concatenate([pixels, blank]).reshape(-1, columns, *pixels.shape[1:])


def gaps_before(count: int, gap: int, between_pairs: int | None = None) -> np.ndarray:
    """Pixels left free before each of the rows, or columns: none before the first."""
    gaps = np.full(count, gap)
    gaps[::2] = gap if between_pairs is None else between_pairs
    gaps[0] = 0
    return gaps


def _starts(gaps: np.ndarray, size: int) -> np.ndarray:
    return gaps.cumsum() + size * np.arange(len(gaps))


def mosaic(grid: np.ndarray, above: np.ndarray, before: np.ndarray) -> np.ndarray:
    """A grid of images (R, C, H, W, 3) as one picture, with white gaps."""
    height, width = grid.shape[2:4]
    tops, lefts = _starts(above, height), _starts(before, width)
    canvas = np.full((tops[-1] + height, lefts[-1] + width, 3), 255, np.uint8)
    for row, top in zip(grid, tops, strict=True):
        for image, left in zip(row, lefts, strict=True):
            canvas[top : top + height, left : left + width] = image
    return canvas


def framed(
    picture: np.ndarray, title: str | None, left: int = PAD, below: int = PAD
) -> tuple[Figure, Axes]:
    """A figure with room for a title, in which each pixel of the picture is one on the screen."""
    height, width = picture.shape[:2]
    title_width, title_height = _title_size(title)
    total = left + max(width, title_width) + PAD, below + height + PAD + title_height
    figure = Figure(figsize=(total[0] / DPI, total[1] / DPI))
    axes = figure.add_axes((left / total[0], below / total[1], width / total[0], height / total[1]))
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title or "")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def _title_size(title: str | None) -> tuple[int, int]:
    """Pixels that a title takes."""
    lines = title.splitlines() if title else []
    points = STYLE["axes.titlesize"]
    return text_width(lines, points), round(len(lines) * 1.3 * points * DPI / 72)


def text_width(lines: Sequence[str], points: float) -> int:
    """Pixels that the longest of some lines takes, in letters of so many points."""
    widths = [TextPath((0, 0), line, size=points).get_extents().width for line in lines if line]
    return round(max(widths, default=0) * DPI / 72)


def name_cells(axes: Axes, way: str, names: Sequence[str], size: int, gaps: np.ndarray) -> None:
    """Name the rows ("y") or the columns ("x") of a mosaic, at the middle of each."""
    axes.set(**{f"{way}ticks": _starts(gaps, size) + size / 2 - 0.5, f"{way}ticklabels": names})
