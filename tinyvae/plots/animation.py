"""Walks as an animated GIF, there and back again."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from tinyvae.checkpoint import write_atomically
from tinyvae.errors import MissingExtraError
from tinyvae.plots.mosaic import THIN, as_pixels, enlarged, gaps_before, in_rows, mosaic

FRAME, REST = 90, 600  # milliseconds that a frame is shown; and the first and the last


def animate(frames: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Write walks as a GIF that goes there and back again, for ever; whole or not at all.

    Several walks go side by side. All frames share one palette of 256 colours, so that what
    does not change does not flicker.

    Parameters
    ----------
    frames : ndarray of uint8 or float
        Shape (P, S, H, W) or (P, S, H, W, 3): P walks of S steps; floats run from 0 to 1.
    path : path
        The file, which ends in ``.gif``.

    Raises
    ------
    ShapeError, DataError
        As for `images`.
    MissingExtraError
        Pillow is not installed.
    RunError
        The file cannot be written; what stood there before stays.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     animate(np.linspace(0, 1, 5 * 64).reshape(1, 5, 8, 8), Path(folder, "walk.gif"))
    ...     print(*[path.name for path in Path(folder).iterdir()])
    walk.gif
    """
    image, pixels = _pillow(), as_pixels(frames, "frames", "P, S")
    pictures = _pictures(pixels)  # (S, h, w, 3)
    palette = image.fromarray(pictures.reshape(-1, *pictures.shape[2:])).quantize(256)
    steps = [image.fromarray(picture).quantize(palette=palette, dither=0) for picture in pictures]
    loop = steps + steps[-2:0:-1]
    shown = [REST if k in (0, len(steps) - 1) else FRAME for k in range(len(loop))]
    content = io.BytesIO()
    loop[0].save(
        content, "GIF", save_all=True, append_images=loop[1:], duration=shown, loop=0, disposal=1
    )
    write_atomically(Path(path), content.getvalue())


def _pictures(pixels: np.ndarray) -> np.ndarray:
    """For each step the walks in a grid, (P, S, H, W, 3) to (S, h, w, 3)."""
    columns = math.ceil(math.sqrt(len(pixels)))
    grids = [in_rows(enlarged(step, columns), columns) for step in pixels.swapaxes(0, 1)]
    down, across = (gaps_before(n, THIN) for n in grids[0].shape[:2])
    return np.stack([mosaic(grid, down, across) for grid in grids])


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            "an animation needs Pillow, which is not installed: pip install 'tinyvae[images]'"
        ) from error
    return Image
