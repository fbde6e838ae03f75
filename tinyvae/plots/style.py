"""What all pictures share: the palette, the settings, room around the axes, and saving."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from tinyvae.checkpoint import write_atomically
from tinyvae.errors import DataError

DPI = 200
PAPER, INK, QUIET, LINE = "#ffffff", "#333333", "#767676", "#d4d4d4"
# Ten colours that stay apart (CIELAB distance 29 or more) for the colour-blind as well.
CLASSES = (
    *("#0b5fbb", "#cd590b", "#089b65", "#fbb20f", "#17c4ff"),
    *("#aa6398", "#b1cf73", "#3f1761", "#6a1034", "#ddbbc5"),
)
TRAIN, VALID = CLASSES[0], CLASSES[1]
SCALE = "viridis"

STYLE: Any = {
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 10.5,
    "figure.dpi": DPI,
    "figure.facecolor": PAPER,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same picture everywhere
    "font.size": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
    "savefig.dpi": DPI,
    "text.color": INK,
    "xtick.color": LINE,
    "xtick.labelcolor": QUIET,
    "xtick.labelsize": 8,
    "ytick.color": LINE,
    "ytick.labelcolor": QUIET,
    "ytick.labelsize": 8,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Within the block matplotlib has these settings and no others, whatever the caller's are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


@house_style()
def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises
    ------
    RunError
        Where the file cannot be written; what stood there before stays.

    Examples
    --------
    >>> import tempfile
    >>> from tinyvae.plots import images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(images(np.zeros((1, 8, 8))), Path(folder, "samples.png"))
    ...     print(*[path.name for path in Path(folder).iterdir()])
    samples.png
    """
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(Path(path), content.getvalue())


def roomy(width: float, height: float, title: str | None) -> Figure:
    """A figure, in inches, that keeps its axes and their labels clear of its border."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(width, height), layout=layout)
    if title:
        figure.suptitle(title, x=0.12 / width, ha="left", fontsize=STYLE["axes.titlesize"] + 1.5)
    return figure


def colour_bar(axes: Axes, of: ScalarMappable, label: str) -> None:
    """A scale beside the axes."""
    beside = axes.inset_axes((1.03, 0, 0.03, 1))
    bar = axes.figure.colorbar(of, cax=beside, label=label, ticks=MaxNLocator(5))
    bar.outline.set_visible(False)
    beside.tick_params(length=0)


def finite(array: np.ndarray, name: str) -> np.ndarray:
    """The array, which has neither NaN nor infinity in it."""
    if wrong := np.count_nonzero(~np.isfinite(array)):
        raise DataError(f"{wrong} of {array.size} values in {name} are NaN or infinite")
    return array


def apart(points: np.ndarray, least: float) -> np.ndarray:
    """Points (n, d) pushed away from each other until they are about `least` apart."""
    order = np.arange(len(points))
    ties = 1e-6 * least * np.subtract.outer(order, order)[..., None]  # else no way leads apart
    for _ in range(100):
        steps = points[:, None] - points + ties  # (n, n, d)
        distance = np.linalg.norm(steps, axis=-1, keepdims=True) + np.eye(len(points))[..., None]
        lack = np.clip(least - distance, 0, None) * (order[:, None] != order)[..., None]
        points = points + (steps / distance * lack / 2).sum(axis=1)
    return points
