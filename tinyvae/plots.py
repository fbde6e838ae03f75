"""Pictures of what a model sees, makes and has learnt: arrays in, a matplotlib figure out.

Nothing here needs a display or changes the caller's matplotlib settings: figures are built
without pyplot, and the style below holds only while one is drawn.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

from tinyvae.errors import DataError, RunError, ShapeError

Epoch: TypeAlias = Mapping[str, Any]

DPI = 200
PAPER, INK, QUIET, LINE = "#ffffff", "#333333", "#767676", "#d4d4d4"
# Ten colours that stay apart (CIELAB distance 29 or more) for the colour-blind as well.
CLASSES = (
    *("#0b5fbb", "#cd590b", "#089b65", "#fbb20f", "#17c4ff"),
    *("#aa6398", "#b1cf73", "#3f1761", "#6a1034", "#ddbbc5"),
)
TRAIN, VALID = CLASSES[0], CLASSES[1]
SCALE = "viridis"

WIDEST, LARGEST = 1300, 150  # pixels: of a whole grid, and of one image in it
THIN, WIDE = 4, 22  # pixels between images
PAD = 24  # pixels of white around a picture

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
def _style() -> Iterator[None]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


@_style()
def images(images: np.ndarray, *, columns: int | None = None, title: str | None = None) -> Figure:
    """Images in a tight grid, row by row; places left over at the end stay blank.

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
    pixels = _pixels(images, "images", "N")
    columns = _columns(columns, math.ceil(math.sqrt(len(pixels))))
    grid = _rows(_enlarged(pixels, columns), columns)
    return _framed(_mosaic(grid, _gaps(len(grid), THIN), _gaps(columns, THIN)), title)[0]


@_style()
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
    pairs = [_pixels(originals, "originals", "N"), _pixels(reconstructions, "reconstructions", "N")]
    if pairs[0].shape != pairs[1].shape:
        raise ShapeError(
            f"originals of shape {np.shape(originals)} and reconstructions of shape "
            f"{np.shape(reconstructions)} are not pairs: both want the same shape"
        )
    columns = _columns(columns, min(10, len(pairs[0])))
    above, below = (_rows(_enlarged(pixels, columns), columns) for pixels in pairs)
    grid = np.stack([above, below], axis=1).reshape(-1, *above.shape[1:])  # rows take turns
    gaps = _gaps(len(grid), THIN, WIDE)
    picture = _mosaic(grid, gaps, _gaps(columns, THIN))
    figure, axes = _framed(picture, title, left=215)
    _name(axes, "y", ["input", "reconstruction"] * len(above), grid.shape[2], gaps)
    return figure


@_style()
def manifold(
    images: np.ndarray,
    columns: int,
    *,
    x: np.ndarray | None = None,
    y: np.ndarray | None = None,
    title: str | None = None,
) -> Figure:
    """A walk over a 2-D latent space: what each place decodes to, in one seamless picture.

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
    pixels = _pixels(images, "images", "N")
    rows, left_over = divmod(len(pixels), _columns(columns, 1))
    if left_over:
        raise ShapeError(f"{len(pixels)} images do not fill rows of {columns}")
    grid = _rows(_enlarged(pixels, columns), columns)
    picture = _mosaic(grid, _gaps(rows, 0), _gaps(columns, 0))
    room = {"left": PAD if y is None else 130, "below": PAD if x is None else 110}
    figure, axes = _framed(picture, title, **room)
    for way, values, count, size in (("x", x, *grid.shape[1::2]), ("y", y, *grid.shape[0:3:2])):
        if values is not None:
            _name(axes, way, _numbers(way, values, count), size, _gaps(count, 0))
            axes.set(**{f"{way}label": {"x": "$z_1$", "y": "$z_2$"}[way]})
    return figure


@_style()
def interpolation(frames: np.ndarray, *, title: str | None = None) -> Figure:
    """Walks from one image to another, a row each, from left to right.

    Parameters
    ----------
    frames : ndarray of uint8 or float
        Shape (P, S, H, W) or (P, S, H, W, 3): P walks of S steps, both ends among them.
    title : str, optional
        Written above the rows.

    Raises
    ------
    ShapeError, DataError
        As for `images`.

    Examples
    --------
    >>> figure = interpolation(np.linspace(0, 1, 2 * 5 * 64).reshape(2, 5, 8, 8))
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['from', '', '', '', 'to']
    """
    pixels = _pixels(frames, "frames", "P, S")
    steps = pixels.shape[1]
    grid = _enlarged(pixels, steps)
    gaps = _gaps(steps, 0)
    figure, axes = _framed(_mosaic(grid, _gaps(len(grid), WIDE), gaps), title, below=50)
    _name(axes, "x", ["from", *[""] * (steps - 2), "to"][:steps], grid.shape[3], gaps)
    return figure


@_style()
def curves(history: Sequence[Epoch], *, title: str | None = None) -> Figure:
    """How training went: -ELBO, its two terms, and the KL of every latent dimension.

    Parameters
    ----------
    history : sequence of mappings, one an epoch
        ``epoch``, ``train_loss``, ``train_bce``, ``train_kl`` and the same with ``valid_``, in
        nats per image; ``kl_per_dimension``, K numbers in nats; ``active_units``. All but
        ``epoch`` may be missing: what was not measured is not drawn.
    title : str, optional
        Written above the panels.

    Raises
    ------
    DataError
        For a history without an epoch, or an epoch without its number.
    ShapeError
        Where the number of latent dimensions changes on the way.

    Examples
    --------
    >>> figure = curves([{"epoch": 1, "train_loss": 170.2, "train_bce": 150.1, "train_kl": 20.1}])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['train 170.2']
    """
    if not history or not all("epoch" in epoch for epoch in history):
        raise DataError(f"the {len(history)} epochs of a history want a number each, in 'epoch'")
    figure = _roomy(8.4, 5.6, title)
    panels = figure.subplots(2, 2, sharex=True)
    names = {"loss": "−ELBO", "bce": "Cross-entropy", "kl": "KL"}
    for axes, (key, name) in zip(panels.flat, names.items(), strict=False):
        _lines(axes, history, key, f"{name}, nats per image")
    _kl_map(panels[1, 1], history)
    for axes in panels[1]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(
            MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
        )
    return figure


@_style()
def latent(
    means: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    factor_name: str = "",
    title: str | None = None,
) -> Figure:
    """Where images lie in the latent space, one point an image.

    Two dimensions are drawn as they are; more are drawn along their first two principal
    components; one is drawn as a histogram, a row for each class, or against a factor.

    Parameters
    ----------
    means : ndarray
        Shape (N, K): the mean of q(z|x) for each image.
    labels : ndarray, optional
        Classes as integers, shape (N,), each with its colour and its number at its median; or a
        factor as floats, shape (N,), or as the first column of (N, F), shown as a scale.
    factor_name : str
        What the scale measures.
    title : str, optional
        Written above the picture.

    Raises
    ------
    ShapeError
        For means that are not (N, K), with N and K at least 1, and for labels not as many.
    DataError
        For values that are not finite.

    Examples
    --------
    >>> figure = latent(np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([3, 7]))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['3', '7']
    """
    means = _points(means)
    factor, classes = _meaning(labels, len(means))
    figure = _roomy(6.4, 5.8, title)
    axes = figure.subplots()
    if means.shape[1] == 1 and factor is None:
        _strips(axes, means[:, 0], classes)
    else:
        _scatter(axes, means, factor, classes, factor_name)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises
    ------
    RunError
        Where the file cannot be written; what stood there before stays.

    Examples
    --------
    >>> save(images(np.zeros((1, 8, 8))), "no/such/folder/samples.png")
    Traceback (most recent call last):
    tinyvae.errors.RunError: cannot write the picture no/such/folder/samples.png: ...
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write(figure, partial, path)
    except OSError as error:
        raise RunError(f"cannot write the picture {path}: {error.strerror or error}") from error


@_style()
def _write(figure: Figure, partial: Path, path: Path) -> None:
    try:
        figure.savefig(partial, format="png")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _pixels(images: np.ndarray, name: str, leading: str) -> np.ndarray:
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
    return (_finite(images, name).clip(0, 1) * 255).round().astype(np.uint8)


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    if wrong := np.count_nonzero(~np.isfinite(array)):
        raise DataError(f"{wrong} of {array.size} values in {name} are NaN or infinite")
    return array


def _columns(columns: int | None, default: int) -> int:
    columns = default if columns is None else columns
    if columns < 1:
        raise ShapeError(f"a grid has one column or more, not {columns}")
    return columns


def _enlarged(pixels: np.ndarray, columns: int) -> np.ndarray:
    """Every pixel as a square of whole pixels, so that nothing is resampled."""
    room = min(LARGEST, WIDEST // columns)
    factor = max(1, room // max(pixels.shape[-3:-1]))
    return pixels.repeat(factor, axis=-3).repeat(factor, axis=-2)


def _rows(pixels: np.ndarray, columns: int) -> np.ndarray:
    """(N, H, W, 3) in rows, (R, C, H, W, 3), white where the images run out."""
    blank = np.full((-len(pixels) % columns, *pixels.shape[1:]), 255, np.uint8)
    return np.concatenate([pixels, blank]).reshape(-1, columns, *pixels.shape[1:])


def _gaps(count: int, gap: int, between_pairs: int | None = None) -> np.ndarray:
    """Pixels left free before each of the rows, or columns: none before the first."""
    gaps = np.full(count, gap)
    gaps[::2] = gap if between_pairs is None else between_pairs
    gaps[0] = 0
    return gaps


def _starts(gaps: np.ndarray, size: int) -> np.ndarray:
    return gaps.cumsum() + size * np.arange(len(gaps))


def _mosaic(grid: np.ndarray, above: np.ndarray, before: np.ndarray) -> np.ndarray:
    """A grid of images (R, C, H, W, 3) as one picture, with white gaps."""
    height, width = grid.shape[2:4]
    tops, lefts = _starts(above, height), _starts(before, width)
    canvas = np.full((tops[-1] + height, lefts[-1] + width, 3), 255, np.uint8)
    for row, top in zip(grid, tops, strict=True):
        for image, left in zip(row, lefts, strict=True):
            canvas[top : top + height, left : left + width] = image
    return canvas


def _framed(
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
    widths = [TextPath((0, 0), line, size=points).get_extents().width for line in lines if line]
    return round(max(widths, default=0) * DPI / 72), round(len(lines) * 1.3 * points * DPI / 72)


def _name(axes: Axes, way: str, names: Sequence[str], size: int, gaps: np.ndarray) -> None:
    """Name the rows ("y") or the columns ("x") of a mosaic, at the middle of each."""
    axes.set(**{f"{way}ticks": _starts(gaps, size) + size / 2 - 0.5, f"{way}ticklabels": names})


def _numbers(way: str, values: np.ndarray, count: int) -> list[str]:
    """The values, as many as can be read, with blanks between."""
    if np.shape(values) != (count,):
        raise ShapeError(f"{way} of shape {np.shape(values)}; wanted is ({count},), a value each")
    shown = np.linspace(0, count - 1, min(count, 7)).round()
    return [
        f"{value:.2f}".replace("-", "−") if k in shown else "" for k, value in enumerate(values)
    ]


def _roomy(width: float, height: float, title: str | None) -> Figure:
    """A figure, in inches, that keeps its axes and their labels clear of its border."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(width, height), layout=layout)
    if title:
        figure.suptitle(title, x=0.12 / width, ha="left", fontsize=STYLE["axes.titlesize"] + 1.5)
    return figure


def _lines(axes: Axes, history: Sequence[Epoch], key: str, title: str) -> None:
    """One measure over the epochs, its lines named and its last values given at their ends."""
    axes.set_title(title)
    ends = []
    for part, name, colour in (("train", "train", TRAIN), ("valid", "validation", VALID)):
        epochs, values = _measured(history, f"{part}_{key}")
        if len(epochs):
            axes.plot(epochs, values, color=colour, marker="o", markevery=[-1])
            ends.append((epochs[-1], values[-1], f"{name} {_number(values[-1])}", colour))
    _name_ends(axes, ends)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _number(value: float) -> str:
    return (f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}").replace("-", "−")


def _measured(history: Sequence[Epoch], key: str) -> tuple[np.ndarray, np.ndarray]:
    """The epochs at which something was measured as a finite number, and the numbers."""
    pairs = [(epoch["epoch"], epoch[key]) for epoch in history if epoch.get(key) is not None]
    series = np.array(pairs, dtype=float).reshape(-1, 2)
    series = series[np.isfinite(series[:, 1])]
    return series[:, 0], series[:, 1]


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    if not ends:
        _say_missing(axes)
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    heights = _apart(np.array([[height] for _, height, _, _ in ends]), 0.1 * (high - low))
    right: Any = {"xytext": (8, 0), "textcoords": "offset points", "annotation_clip": False}
    for (epoch, _, name, colour), height in zip(ends, heights[:, 0], strict=True):
        axes.annotate(name, (epoch, height), va="center", color=colour, **right)


def _apart(points: np.ndarray, least: float) -> np.ndarray:
    """Points (n, d) pushed away from each other until they are about `least` apart."""
    order = np.arange(len(points))
    ties = 1e-6 * least * np.subtract.outer(order, order)[..., None]  # else no way leads apart
    for _ in range(100):
        steps = points[:, None] - points + ties  # (n, n, d)
        distance = np.linalg.norm(steps, axis=-1, keepdims=True) + np.eye(len(points))[..., None]
        lack = np.clip(least - distance, 0, None) * (order[:, None] != order)[..., None]
        points = points + (steps / distance * lack / 2).sum(axis=1)
    return points


def _say_missing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=QUIET)
    axes.set_yticks([])


def _kl_map(axes: Axes, history: Sequence[Epoch]) -> None:
    """KL of each latent dimension over the epochs, the most used on top."""
    measured = [epoch for epoch in history if epoch.get("kl_per_dimension") is not None]
    axes.set_title("KL of each dimension")
    if not measured:
        _say_missing(axes)
        return
    nats = _kl_rows(measured)  # (E, K)
    order = np.argsort(-nats[-1], kind="stable")
    count = nats.shape[1]
    edges = _edges(np.array([epoch["epoch"] for epoch in measured], dtype=float))
    mesh = axes.pcolormesh(edges, np.arange(count + 1) + 0.5, nats[:, order].T, cmap=SCALE, vmin=0)
    axes.set(ylim=(count + 0.5, 0.5), yticks=[1, count], ylabel="dimensions, sorted")
    axes.spines[:].set_visible(False)
    if (active := measured[-1].get("active_units")) is not None:
        axes.set_title(f"KL of each dimension, {active} of {count} active")
    _colour_bar(axes, mesh, "nats")


def _kl_rows(measured: Sequence[Epoch]) -> np.ndarray:
    rows = [np.asarray(epoch["kl_per_dimension"], dtype=float) for epoch in measured]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1 or rows[0].ndim != 1 or not rows[0].size:
        raise ShapeError(
            f"kl_per_dimension of shapes {sorted(shapes)}; wanted is one (K,), K at least 1"
        )
    return np.stack(rows)


def _edges(epochs: np.ndarray) -> list[float]:
    """Borders half-way between the epochs, and as far outside at both ends."""
    steps = np.diff(epochs) if len(epochs) > 1 else np.ones(1)
    return [
        epochs[0] - steps[0] / 2,
        *(epochs[1:] - steps[: len(epochs) - 1] / 2),
        epochs[-1] + steps[-1] / 2,
    ]


def _colour_bar(axes: Axes, of: ScalarMappable, label: str) -> None:
    beside = axes.inset_axes((1.03, 0, 0.03, 1))
    bar = axes.figure.colorbar(of, cax=beside, label=label, ticks=MaxNLocator(5))
    bar.outline.set_visible(False)
    beside.tick_params(length=0)


def _points(means: np.ndarray) -> np.ndarray:
    means = np.asarray(means, dtype=float)
    if means.ndim != 2 or not means.size:
        raise ShapeError(f"means of shape {means.shape}; wanted is (N, K), none of them 0")
    return _finite(means, "means")


def _meaning(labels: np.ndarray | None, count: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What the labels are: a factor, or classes."""
    if labels is None:
        return None, None
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or len(labels) != count or not labels.size:
        raise ShapeError(
            f"labels of shape {labels.shape}; wanted is ({count},) or ({count}, F), one a mean"
        )
    if labels.ndim == 1 and labels.dtype.kind != "f":
        return None, labels
    return _finite(labels.reshape(count, -1)[:, 0].astype(float), "labels"), None


def _principal(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, K) along their first two principal components, (N, 2), and their shares."""
    if len(means) < 2:
        raise ShapeError(f"means of shape {means.shape}; principal components want N at least 2")
    centred = means - means.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    # A direction has no sign of its own: its largest entry shall be positive.
    largest = np.abs(directions).argmax(axis=1)
    directions *= np.where(np.take_along_axis(directions, largest[:, None], 1) < 0, -1, 1)
    variances = lengths**2
    return centred @ directions[:2].T, variances[:2] / max(variances.sum(), np.finfo(float).tiny)


def _plane(means: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Means (N, K) in two dimensions, and what the axes are called."""
    if means.shape[1] == 2:
        return means, ["$z_1$", "$z_2$"]
    points, shares = _principal(means)
    percents = [f"principal component, {100 * share:.0f} % of the variance" for share in shares]
    return points, [f"first {percents[0]}", f"second {percents[1]}"]


def _scatter(
    axes: Axes,
    means: np.ndarray,
    factor: np.ndarray | None,
    classes: np.ndarray | None,
    factor_name: str,
) -> None:
    if means.shape[1] == 1 and factor is not None:
        points, ways = np.column_stack([means[:, 0], factor]), ["$z_1$", factor_name]
    else:
        points, ways = _plane(means)
        axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel=ways[0], ylabel=ways[1])
    size = np.clip(16000 / len(points), 3, 24)
    dots = axes.scatter(points[:, 0], points[:, 1], s=size, alpha=0.8, lw=0, c=TRAIN)
    if factor is not None:
        dots.set(array=factor, cmap=SCALE)
        _colour_bar(axes, dots, factor_name)
    if classes is not None:
        names, members = np.unique(classes, return_inverse=True)
        dots.set_facecolor([_class_colour(k) for k in members])
        _badges(axes, names, [np.median(points[members == k], 0) for k in range(len(names))])


def _class_colour(k: int) -> str:
    return CLASSES[k % len(CLASSES)]


def _badges(axes: Axes, names: np.ndarray, medians: Sequence[np.ndarray]) -> None:
    """The name of each class in a circle, moved aside where two would overlap."""
    span = max(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim()))
    for k, (x, y) in enumerate(_apart(np.array(medians), 0.05 * span)):
        circle = {"boxstyle": "circle,pad=0.25", "fc": PAPER, "ec": _class_colour(k), "lw": 1.6}
        axes.text(x, y, str(names[k]), ha="center", va="center", fontweight="bold", bbox=circle)


def _strips(axes: Axes, values: np.ndarray, classes: np.ndarray | None) -> None:
    """A histogram for each class, one above the other, all on one scale."""
    every = np.zeros(len(values), int) if classes is None else classes
    names, members = np.unique(every, return_inverse=True)
    edges = np.histogram_bin_edges(values, bins=80)
    counts = np.array([np.histogram(values[members == k], edges)[0] for k in range(len(names))])
    for k, heights in enumerate(counts / counts.max() * 0.9):
        floor = len(names) - 1 - k
        axes.axhline(floor, color=LINE, lw=0.8, zorder=0)
        axes.stairs(floor + heights, edges, baseline=floor, fill=True, color=_class_colour(k))
    rows = names[:0] if classes is None else names
    axes.set(xlabel="$z_1$", yticks=np.arange(len(rows))[::-1], yticklabels=rows)
    axes.set_ylim(-0.05, len(names))
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0)
