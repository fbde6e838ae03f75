"""The time of a step over the size of the batch, of the hidden layer and of the latent space.

Every contestant of `step.py`, on the same terms, around 784-400-20 at a batch of 128; written
as a picture too, beside the JSON. There the line is the median of the rounds, the band goes
from the smallest to the largest.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cases import Case
from harness import Row, parser, report, run
from step import CONTESTANTS, LOADS, check, race, rows

BASE = Case(784, (400,), 20, 128)
SIZES = {
    "batch": (32, 64, 128, 256, 512, 1024, 2048, 4096),
    "width": (100, 200, 400, 800, 1600),
    "latent": (2, 5, 20, 50, 200),
}
LABELS = {"batch": "images in a batch", "width": "hidden units", "latent": "latent dimensions"}
COLOURS = {
    "tinyvae": "tab:red",
    "torch": "tab:blue",
    "torch_fused": "tab:cyan",
    "torch_compiled": "tab:purple",
    "jax": "tab:green",
    "products": "0.4",
}


def sized(axis: str, size: int) -> Case:
    """The base with one size changed."""
    return replace(BASE, **({"hidden": (size,)} if axis == "width" else {axis: size}))


def draw(found: Sequence[Row], path: Path) -> None:
    """A panel for each axis, a line for each contestant."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    panels = figure.subplots(1, len(SIZES), sharey=True)
    for panel, axis in zip(panels, SIZES, strict=True):
        for name in COLOURS:
            of_name = [row for row in found if (row["axis"], row["contestant"]) == (axis, name)]
            _line(panel, name, of_name)
        ticks = sorted({row["size"] for row in found if row["axis"] == axis})
        panel.set(xscale="log", yscale="log", xlabel=LABELS[axis])
        panel.set_xticks(ticks, map(str, ticks))
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms per step")
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].legend(frameon=False)
    figure.suptitle("A training step of a 784-400-20 VAE, batch 128, one size changed")
    figure.savefig(path, dpi=120)


def _line(panel: Any, name: str, of_name: Sequence[Row]) -> None:
    if of_name:
        size, low, middle, high = (
            [row[key] for row in of_name] for key in ("size", "ms_low", "ms_median", "ms_high")
        )
        style = "--" if name == "products" else "-"
        panel.plot(size, middle, style, color=COLOURS[name], marker=".", label=name)
        panel.fill_between(size, low, high, color=COLOURS[name], alpha=0.12, linewidth=0)


def main() -> None:
    """Check the base, then race at every size; what two axes share is raced once."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--lasting", type=float, default=0.2, help="seconds that a block takes")
    options.add_argument("--largest", type=int, default=4096, help="leave out sizes beyond it")
    options.add_argument("--contestants", nargs="+", choices=LOADS, default=list(LOADS))
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    names = [name for name in LOADS if name in {"tinyvae", *chosen.contestants}]
    checks = check("784-400-20, batch 128", BASE, names, chosen.seed)
    raced: dict[Case, dict[str, list[float]]] = {}
    found = []
    for axis, size in ((a, n) for a, sizes in SIZES.items() for n in sizes if n <= chosen.largest):
        case = sized(axis, size)
        if case not in raced:
            print(f"{axis} {size}", file=sys.stderr)
            raced[case] = race(case, names, chosen.lasting, chosen.rounds, chosen.seed)
        found += rows({"axis": axis, "size": size}, raced[case])
    path = report("step_sizes", chosen, checks=checks, rows=found, floors=[])
    draw(found, path.with_suffix(".png"))


if __name__ == "__main__":
    run(main, CONTESTANTS)
