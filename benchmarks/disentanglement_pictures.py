"""The pictures of `disentanglement.py`: what is gained for what, and what each dimension does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import Row

from tinyvae import plots
from tinyvae.latent import paths
from tinyvae.latent.walks import decoded
from tinyvae.plots.style import CLASSES, INK, house_style, roomy

REACH, STEPS = 2.0, 9  # a walk goes from -2 to 2 standard deviations of the prior
USED = 0.01  # nats of KL
PANELS = (("mig", "MIG, of codes drawn (more is better)"), ("tc", "total correlation, nats"))


def draw_all(path: Path, rows: Sequence[Row], models: Mapping[Any, Any], images: Any) -> None:
    """Both pictures, beside the JSON file."""
    plots.save(trade_off(rows), path.with_suffix(".png"))
    for (name, beta), model in models.items():
        if name in ("vae", "beta-tcvae"):
            picture = path.with_name(f"{path.stem}-{name}-{beta:g}.png")
            plots.save(traversals(model, images, f"{name}, beta = {beta:g}"), picture)


@house_style()
def trade_off(rows: Sequence[Row]) -> Any:
    """Every run by its reconstruction and its MIG, and by its TC; a line through the medians."""
    figure = roomy(11, 4.8, "What is paid for disentanglement")
    names = list(dict.fromkeys(row["model"] for row in rows))
    for axes, (key, label) in zip(figure.subplots(1, 2), PANELS, strict=True):
        for name, colour in zip(names, CLASSES, strict=False):
            _one_model(axes, [row for row in rows if row["model"] == name], key, colour)
        axes.set(xlabel="reconstruction, nats per image (less is better)", ylabel=label)
    axes.legend(handles=axes.get_lines()[: len(names)], frameon=False)
    return figure


def _one_model(axes: Any, rows: Sequence[Row], key: str, colour: str) -> None:
    betas = sorted({row["beta"] for row in rows})
    groups = [[(r["reconstruction"], r[key]) for r in rows if r["beta"] == beta] for beta in betas]
    middle = np.array([np.median(group, axis=0) for group in groups])
    axes.plot(*middle.T, color=colour, lw=1.6, marker="o", ms=7, label=rows[0]["model"])
    axes.scatter(*np.concatenate(groups).T, s=14, color=colour, alpha=0.5, lw=0)
    for beta, point in zip(betas, middle, strict=True):
        axes.annotate(f"{beta:g}", point, (5, 5), textcoords="offset points", color=INK, size=8)


def traversals(model: Any, images: Any, title: str) -> Any:
    """A strip for each dimension in use, by falling KL: it walks, the others stay at one code.

    That is the code of the image which lies nearest to the middle of the prior.
    """
    means, log_variances = model.embed(images.images)
    kl = (means**2 + np.exp(log_variances) - log_variances - 1).mean(axis=0) / 2
    order = kl.argsort()[::-1][: max(1, (kl > USED).sum())]
    ways = np.linspace(-REACH, REACH, STEPS)
    start = means[np.linalg.norm(means, axis=1).argmin()]
    frames = decoded(model, paths.traversals(start, ways)[order])
    names = {
        "rows": [f"$z_{{{k + 1}}}$: {kl[k]:.1f} nats" for k in order],
        "columns": [f"{way:g}".replace("-", "−") for way in ways],
    }
    return plots.interpolation(frames, **names, title=f"{title}: {len(order)} of {len(kl)} in use")
