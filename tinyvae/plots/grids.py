"""Images beside each other: samples, reconstructions, a latent plane, walks through it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tinyvae.errors import ShapeError
from tinyvae.plots.mosaic import (
    PAD,
    THIN,
    WIDE,
    as_pixels,
    check_columns,
    enlarged,
    framed,
    gaps_before,
    in_rows,
    is_small,
    mosaic,
    name_cells,
    text_width,
)
from tinyvae.plots.style import STYLE, house_style


@house_style()
def images(images: np.ndarray, *, columns: int | None = None, title: str | None = None) -> Figure:
    """Images in a tight grid, row by row; places left over at the end stay blank.

    Here and in the other grids, images of fewer than 20 pixels a side are enlarged smoothly,
    larger ones pixel by pixel.

    Parameters
    ----------
    images : ndarray of uint8 or float
        Shape (N, H, W) or (N, H, W, 3); floats run from 0 to 1, beyond which they are cut off.
    columns : int, optional
        Images in a row; by default about as many as there are rows.
    title : str, optional
        Written above the grid.

    Raises
    ------
    ShapeError
        For any other shape, for no image at all, and for fewer than one column.
    DataError
        For another dtype, and for values that are not finite.

    Examples
    --------
    >>> figure = images(np.random.default_rng(0).random((10, 8, 8)), columns=5)
    >>> [axes.get_images()[0].get_array().shape for axes in figure.axes]
    [(292, 736, 3)]
    """
    pixels = as_pixels(images, "images", "N")
    columns = check_columns(columns, math.ceil(math.sqrt(len(pixels))))
    grid = in_rows(enlarged(pixels, columns), columns)
    return framed(mosaic(grid, gaps_before(len(grid), THIN), gaps_before(columns, THIN)), title)[0]


@house_style()
def reconstructions(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    *,
    columns: int | None = None,
    title: str | None = None,
) -> Figure:
    """Every image above what the model makes of it.

    Parameters
    ----------
    originals, reconstructions : ndarray of uint8 or float
        Shape (N, H, W) or (N, H, W, 3), the same for both; floats run from 0 to 1.
    columns : int, optional
        Pairs side by side; by default up to ten.
    title : str, optional
        Written above the grid.

    Raises
    ------
    ShapeError, DataError
        As for `images`, and for two shapes that differ.

    Examples
    --------
    >>> digits = np.random.default_rng(0).random((4, 8, 8))
    >>> figure = reconstructions(digits, digits.round())
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['input', 'reconstruction']
    """
    pairs = [
        as_pixels(originals, "originals", "N"),
        as_pixels(reconstructions, "reconstructions", "N"),
    ]
    if pairs[0].shape != pairs[1].shape:
        raise ShapeError(
            f"originals of shape {np.shape(originals)} and reconstructions of shape "
            f"{np.shape(reconstructions)} are not pairs: both want the same shape"
        )
    columns = check_columns(columns, min(10, len(pairs[0])))
    above, below = (in_rows(enlarged(pixels, columns), columns) for pixels in pairs)
    grid = np.stack([above, below], axis=1).reshape(-1, *above.shape[1:])  # rows take turns
    gaps = gaps_before(len(grid), THIN, WIDE)
    picture = mosaic(grid, gaps, gaps_before(columns, THIN))
    figure, axes = framed(picture, title, left=215)
    name_cells(axes, "y", ["input", "reconstruction"] * len(above), grid.shape[2], gaps)
    return figure


@house_style()
def manifold(
    images: np.ndarray,
    columns: int,
    *,
    x: np.ndarray | None = None,
    y: np.ndarray | None = None,
    title: str | None = None,
) -> Figure:
    """A walk over a 2-D latent space: what each place decodes to.

    Parameters
    ----------
    images : ndarray of uint8 or float
        Decoded images, shape (R * C, H, W) or (R * C, H, W, 3), the top row first.
    columns : int
        C, images in a row.
    x : ndarray, optional
        Shape (C,): the first latent coordinate of each column, from left to right.
    y : ndarray, optional
        Shape (R,): the second latent coordinate of each row, from top to bottom; hand it in
        falling, so that up is more, as in `latent`.
    title : str, optional
        Written above the picture.

    Raises
    ------
    ShapeError, DataError
        As for `images`, and where rows, columns and coordinates do not fit together.

    Examples
    --------
    >>> z = np.array([-1.0, 0.0, 1.0])
    >>> figure = manifold(np.zeros((9, 8, 8)), 3, x=z, y=z[::-1])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['1.00', '0.00', '−1.00']
    """
    pixels = as_pixels(images, "images", "N")
    rows, left_over = divmod(len(pixels), check_columns(columns, 1))
    if left_over:
        raise ShapeError(f"{len(pixels)} images do not fill rows of {columns}")
    grid = in_rows(enlarged(pixels, columns), columns)
    gap = THIN if is_small(pixels) else 0  # small images have no margin of their own
    down, across = gaps_before(rows, gap), gaps_before(columns, gap)
    picture = mosaic(grid, down, across)
    room = {"left": PAD if y is None else 130, "below": PAD if x is None else 110}
    figure, axes = framed(picture, title, **room)
    for way, values, size, gaps in (("x", x, grid.shape[3], across), ("y", y, grid.shape[2], down)):
        if values is not None:
            name_cells(axes, way, _numbers(way, values, len(gaps)), size, gaps)
            axes.set(**{f"{way}label": {"x": "$z_1$", "y": "$z_2$"}[way]})
    return figure


def _numbers(way: str, values: np.ndarray, count: int) -> list[str]:
    """The values, as many as can be read, with blanks between."""
    if np.shape(values) != (count,):
        raise ShapeError(f"{way} of shape {np.shape(values)}; wanted is ({count},), a value each")
    shown = np.linspace(0, count - 1, min(count, 7)).round()
    return [
        f"{value:.2f}".replace("-", "−") if k in shown else "" for k, value in enumerate(values)
    ]


@house_style()
def interpolation(
    frames: np.ndarray,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Walks from one image to another, a row each, from left to right.

    Parameters
    ----------
    frames : ndarray of uint8 or float
        Shape (P, S, H, W) or (P, S, H, W, 3): P walks of S steps, both ends among them.
    rows : sequence of str, optional
        P names, written to the left of the walks.
    columns : sequence of str, optional
        S names, written below; by default "from" and "to" at the ends.
    title : str, optional
        Written above the rows.

    Raises
    ------
    ShapeError, DataError
        As for `images`, and for names that are not as many as what they name.

    Examples
    --------
    >>> figure = interpolation(np.linspace(0, 1, 2 * 5 * 64).reshape(2, 5, 8, 8))
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['from', '', '', '', 'to']
    """
    pixels = as_pixels(frames, "frames", "P, S")
    count, steps = pixels.shape[:2]
    rows = _names("rows", [""] * count if rows is None else rows, count)
    ends = ["from", *[""] * (steps - 2), "to"][:steps]
    columns = _names("columns", ends if columns is None else columns, steps)
    grid = enlarged(pixels, steps)
    down, across = gaps_before(count, WIDE), gaps_before(steps, 0)
    left = PAD + text_width(rows, STYLE["ytick.labelsize"]) + PAD // 2 * any(rows)
    figure, axes = framed(mosaic(grid, down, across), title, left=left, below=50)
    name_cells(axes, "x", columns, grid.shape[3], across)
    if any(rows):
        name_cells(axes, "y", rows, grid.shape[2], down)
    return figure


def _names(what: str, names: Sequence[str], count: int) -> list[str]:
    if len(names) != count:
        raise ShapeError(f"{len(names)} names of {what}, of which there are {count}")
    return list(names)
