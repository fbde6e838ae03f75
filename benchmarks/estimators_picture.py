"""The picture of `estimators.py`: the variances of the toy, and those of a VAE's encoder."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from harness import Row

from tinyvae.plots.style import CLASSES, INK, QUIET, house_style, roomy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@house_style()
def picture(toy: list[Row], rows: list[Row]) -> Figure:
    """The toy's on the left, and on the right a line for every estimator, a dot for every block."""
    figure = roomy(11.5, 4.6, None)
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    _toy(left, toy)
    _layers(right, rows)
    return figure


def _toy(axes: Axes, toy: list[Row]) -> None:
    places = range(len(toy))
    axes.barh(places, [row["variance"] for row in toy], height=0.5, color=CLASSES[0])
    axes.plot([row["exact"] for row in toy], places, "|", color=INK, markersize=14)
    for place, row in zip(places, toy, strict=True):
        _beside(axes, row["variance"], place)
    _named(axes, [row["estimator"].replace(", ", ",\n") for row in toy])
    axes.set_xlim(0, 100)
    axes.set_xlabel("variance of an estimate; | is exact")
    axes.set_title("d E[z²] / dθ, z from N(θ, 1), θ = 2")


def _layers(axes: Axes, rows: list[Row]) -> None:
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    for k, block in enumerate(dict.fromkeys(row["block"] for row in rows)):
        mine = [row for row in rows if row["block"] == block]
        places = [names.index(row["estimator"]) + 0.16 * (k - 1.5) for row in mine]
        label = block.replace(".layers", "").replace("encoder.", "layer ")
        values = [row["against"] for row in mine]
        axes.plot(values, places, "o", color=CLASSES[k], markersize=4, label=label)
    for place, name in enumerate(names):
        value = median(row["against"] for row in rows if row["estimator"] == name)
        _beside(axes, value, place)
    firsts = [names.index(n) for n in {r["of"]: r["estimator"] for r in rows[::-1]}.values()]
    axes.axhline(max(firsts) - 0.5, color=QUIET, linewidth=0.8)
    axes.set_xscale("log")
    _named(axes, names)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.set_xlim(right=max(row["against"] for row in rows) * 6)
    axes.legend(frameon=False, loc="lower right")
    axes.set_xlabel("variance of the gradient: times that of elbo (above), of iwae (below)")
    axes.set_title("The encoder of a VAE, block by block")


def _beside(axes: Axes, value: float, place: float) -> None:
    """The value in digits, to the right of where it is drawn."""
    text = f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
    offset: Any = {"xytext": (9, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(text, (value, place), color=QUIET, **offset)


def _named(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
