"""What is promised of `gpu.py`, and its picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from gpu_parts import Bench
from harness import Row, floor, ratios

COLOURS = {
    "tinyvae": "tab:orange",
    "tinyvae_replayed": "tab:red",
    "torch": "tab:blue",
    "torch_compiled": "tab:purple",
    "jax": "tab:green",
}
AXES = {"steps": "images in a batch", "widths": "hidden units"}


def floors(bench: Bench) -> list[Row]:
    """Of the parts that were run."""
    return [*_of_a_step(bench), *_of_products(bench), *_of_mnist(bench), *_of_precision(bench)]


def _of_a_step(bench: Bench) -> list[Row]:
    times = bench.times.get((bench.sizes.base, "float32"), {})
    return [
        floor(f"step, batch 128, tinyvae_replayed / {name}", ratios(ours, times[name]), 1)
        for ours in (times.get("tinyvae_replayed"),)
        for name in ("torch_compiled", "jax")
        if ours and name in times
    ]


def _of_products(bench: Bench) -> list[Row]:
    """A share of one rate is to another as the times are, upside down."""
    large, found = replace(bench.sizes.base, batch=bench.sizes.large), []
    for precision in bench.sizes.precisions:
        times = bench.times.get((large, precision), {})
        ours = times.get("tinyvae_replayed")
        theirs = [times[name] for name in ("torch", "torch_compiled") if name in times]
        if ours and theirs:
            best = [min(each) for each in zip(*theirs, strict=True)]
            what = f"batch {large.batch}, {precision}, share of the rate, tinyvae / torch"
            found.append(floor(what, ratios(best, ours), math.inf, 1))
    return found


def _of_mnist(bench: Bench) -> list[Row]:
    ours = _ours(bench, "float32")
    promised = [
        floor(f"ten epochs of MNIST, {which}, s", [row["train_s"] for row in rows], 1)
        for which, rows in {"a process's first": ours[:1], "later ones": ours[1:]}.items()
        if rows
    ]
    promised += [floor(f"-ELBO of seed {row['seed']}", [row["elbo"]], 106.2, 104.8) for row in ours]
    waits = [row["syncs_steps"] for row in bench.tables.get("syncs", [])]
    return promised + [floor("waits of the host in the steps of an epoch", [n], 1) for n in waits]


def _of_precision(bench: Bench) -> list[Row]:
    """The mean over the seeds: paths part, and each ends somewhere else."""
    exact = [row["elbo"] for row in _ours(bench, "float32")]
    return [
        floor(f"-ELBO, {precision} from float32", [abs(mean(losses) - mean(exact))], 0.1)
        for precision in bench.sizes.precisions[1:]
        for losses in ([row["elbo"] for row in _ours(bench, precision)],)
        if losses and exact
    ]


def _ours(bench: Bench, precision: str) -> list[Row]:
    wanted = ("tinyvae_replayed", precision)
    rows = bench.tables.get("mnist", [])
    return [row for row in rows if (row["contestant"], row["precision"]) == wanted]


def draw(rows: Sequence[Row], device: str, path: Path) -> None:
    """A panel for each axis that was measured, a line for each contestant."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    parts = [part for part in AXES if any(row["part"] == part for row in rows)]
    if not parts:
        return
    figure = Figure(figsize=(1 + 5 * len(parts), 4.2), layout="constrained")
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for panel, part in zip(panels, parts, strict=True):
        of_part = [row for row in rows if row["part"] == part]
        for name, colour in COLOURS.items():
            _line(panel, colour, name, [row for row in of_part if row["contestant"] == name])
        ticks = sorted({row["size"] for row in of_part})
        panel.set(xscale="log", yscale="log", xlabel=AXES[part])
        panel.set_xticks(ticks, map(str, ticks))
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms per step")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].legend(frameon=False)
    figure.suptitle(f"A training step of a VAE in float32 on: {device}")
    figure.savefig(path, dpi=120)


def _line(panel: Any, colour: str, name: str, rows: Sequence[Row]) -> None:
    if rows:
        size, low, middle, high = (
            [row[key] for row in rows] for key in ("size", "ms_low", "ms_median", "ms_high")
        )
        panel.plot(size, middle, color=colour, marker=".", label=name)
        panel.fill_between(size, low, high, color=colour, alpha=0.12, linewidth=0)
