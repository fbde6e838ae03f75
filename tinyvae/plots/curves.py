"""How training went: the ELBO and its terms, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tinyvae.errors import DataError, ShapeError
from tinyvae.plots.style import QUIET, SCALE, TRAIN, VALID, apart, colour_bar, house_style, roomy

Epoch: TypeAlias = Mapping[str, Any]


@house_style()
def curves(history: Sequence[Epoch], *, title: str | None = None) -> Figure:
    """How training went: -ELBO, its two terms, and the KL of every latent dimension.

    Parameters
    ----------
    history : sequence of mappings, one an epoch
        ``epoch``, ``train_loss``, ``train_reconstruction``, ``train_kl`` and the same with
        ``valid_``, in nats per image; ``kl_per_dimension``, K numbers in nats,
        or none where the KL does not come apart;
        ``active_units``. All but ``epoch`` may be missing: what was not measured is not drawn.
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
    >>> figure = curves([{"epoch": 1, "train_loss": 170.2, "train_kl": 20.1}])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['train 170.2']
    """
    if not history or not all("epoch" in epoch for epoch in history):
        raise DataError(f"the {len(history)} epochs of a history want a number each, in 'epoch'")
    figure = roomy(8.4, 5.6, title)
    panels = figure.subplots(2, 2, sharex=True)
    names = {"loss": "−ELBO", "reconstruction": "Reconstruction", "kl": "KL"}
    for axes, (key, name) in zip(panels.flat, names.items(), strict=False):
        _lines(axes, history, key, f"{name}, nats per image")
    _kl_map(panels[1, 1], history)
    for axes in panels[1]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(
            MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
        )
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
    heights = apart(np.array([[height] for _, height, _, _ in ends]), 0.1 * (high - low))
    right: Any = {"xytext": (8, 0), "textcoords": "offset points", "annotation_clip": False}
    for (epoch, _, name, colour), height in zip(ends, heights[:, 0], strict=True):
        axes.annotate(name, (epoch, height), va="center", color=colour, **right)


def _say_missing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=QUIET)
    axes.set_yticks([])


def _kl_map(axes: Axes, history: Sequence[Epoch]) -> None:
    """KL of each latent dimension over the epochs, the most used on top."""
    measured = [epoch for epoch in history if np.size(epoch.get("kl_per_dimension", ()))]
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
    colour_bar(axes, mesh, "nats")


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
