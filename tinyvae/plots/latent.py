"""Where a model puts its images: the latent space in a plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tinyvae.errors import ShapeError
from tinyvae.plots.style import (
    CLASSES,
    LINE,
    PAPER,
    SCALE,
    TRAIN,
    apart,
    colour_bar,
    finite,
    house_style,
    roomy,
)


@house_style()
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
    figure = roomy(6.4, 5.8, title)
    axes = figure.subplots()
    if means.shape[1] == 1 and factor is None:
        _strips(axes, means[:, 0], classes)
    else:
        _scatter(axes, means, factor, classes, factor_name)
    return figure


def _points(means: np.ndarray) -> np.ndarray:
    means = np.asarray(means, dtype=float)
    if means.ndim != 2 or not means.size:
        raise ShapeError(f"means of shape {means.shape}; wanted is (N, K), none of them 0")
    return finite(means, "means")


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
    return finite(labels.reshape(count, -1)[:, 0].astype(float), "labels"), None


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
    # Shuffled, so that in sorted data the last class does not lie over all the others.
    order = np.random.default_rng(0).permutation(len(points))
    x, y = points[order].T
    dots = axes.scatter(x, y, s=size, alpha=0.8, lw=0, c=TRAIN)
    if factor is not None:
        dots.set(array=factor[order], cmap=SCALE)
        colour_bar(axes, dots, factor_name)
    if classes is not None:
        names, members = np.unique(classes, return_inverse=True)
        dots.set_facecolor([_class_colour(k) for k in members[order]])
        _badges(axes, names, [np.median(points[members == k], 0) for k in range(len(names))])


def _plane(means: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Means (N, K) in two dimensions, and what the axes are called."""
    if means.shape[1] == 2:
        return means, ["$z_1$", "$z_2$"]
    points, shares = _principal(means)
    percents = [f"principal component, {100 * share:.0f} % of the variance" for share in shares]
    return points, [f"first {percents[0]}", f"second {percents[1]}"]


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


def _badges(axes: Axes, names: np.ndarray, medians: Sequence[np.ndarray]) -> None:
    """The name of each class in a circle, moved aside where two would overlap."""
    span = max(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim()))
    for k, (x, y) in enumerate(apart(np.array(medians), 0.05 * span)):
        circle = {"boxstyle": "circle,pad=0.25", "fc": PAPER, "ec": _class_colour(k), "lw": 1.6}
        axes.text(x, y, str(names[k]), ha="center", va="center", fontweight="bold", bbox=circle)


def _class_colour(k: int) -> str:
    return CLASSES[k % len(CLASSES)]


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
