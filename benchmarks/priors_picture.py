"""The picture of `priors.py`: the codes of test images in the plane, and the priors' contours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinyvae import Tensor, no_grad
from tinyvae.plots.style import CLASSES, INK, house_style, roomy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MASSES = (0.9, 0.7, 0.5, 0.3, 0.1)
"""Each contour holds so much of its prior."""


@house_style()
def picture(models: dict[str, Any], test: Any) -> Figure:
    """One panel for each prior, all on their own scale; a colour for each class."""
    figure = roomy(4.2 * len(models), 4.4, None)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axes, (name, model) in zip(panels, models.items(), strict=True):
        _codes(axes, model, test)
        _contours(axes, model)
        axes.set_title(name)
        axes.set_xlabel("$z_1$")
    panels[0].set_ylabel("$z_2$")
    return figure


def _codes(axes: Axes, model: Any, test: Any) -> None:
    z = model.embed(test.images)[0]
    colours = [CLASSES[label % len(CLASSES)] for label in test.labels]
    axes.scatter(*z.T, c=colours, s=9, lw=0, alpha=0.9)
    for label in np.unique(test.labels):
        x, y = np.median(z[test.labels == label], axis=0)
        axes.text(x, y, str(label), ha="center", va="center", fontweight="bold", color=INK)
    axes.set_aspect("equal", adjustable="datalim")


def _contours(axes: Axes, model: Any) -> None:
    low, high = zip(axes.get_xlim(), axes.get_ylim(), strict=True)
    ways = [np.linspace(a - 1, b + 1, 200) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*ways), axis=-1).astype("float32")  # (200, 200, 2)
    with no_grad():
        log_p = model.prior.log_prob(Tensor(grid.reshape(-1, 2)), model.encode).numpy()
    density = np.exp(log_p.astype(float)).reshape(grid.shape[:2])
    heights = np.sort(density, axis=None)[::-1]
    share = np.cumsum(heights) / heights.sum()
    levels = [heights[np.searchsorted(share, mass)] for mass in MASSES]
    axes.contour(*ways, density, levels=levels, colors=INK, linewidths=0.7, alpha=0.7)
