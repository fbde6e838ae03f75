"""Whether the contestants compute the same: nothing is timed that does not."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from cases import Case, Maker
from harness import Row

TOLERANCE = 1e-6
Load = Callable[[], Maker]


def first_step(make: Maker, case: Case, seed: int) -> dict[str, list[Any]]:
    """Loss, gradients, and how the weights moved, in float64."""
    weights, x, noise = case.draw(seed)
    step = make(case, weights, x, "float64")
    before, loss = step.parameters(), float(step(noise))
    moves = [p - q for p, q in zip(step.parameters(), before, strict=True)]
    return {"loss": [abs(loss)], "gradients": step.gradients(), "moves": moves}


def apart(wanted: list[Any], found: list[Any]) -> float:
    """The largest difference in any array, relative to the largest number of that array."""
    import numpy as np

    pairs = zip(wanted, found, strict=True)
    return max(float(np.max(np.abs(a - b)) / np.max(np.abs(a))) for a, b in pairs)


def compare(loads: Mapping[str, Load], case: Case, seed: int) -> list[Row]:
    """How far each contestant's first step is from the first one's."""
    os.environ["JAX_ENABLE_X64"] = "1"
    steps = {name: first_step(load(), case, seed) for name, load in loads.items()}
    first, *others = steps
    return [
        {"contestant": name, "against": first}
        | {what: apart(array, steps[name][what]) for what, array in steps[first].items()}
        for name in others
    ]


def refuse(rows: list[Row]) -> None:
    """Stop, unless every difference is small; NaN is not."""
    for row in rows:
        worst = {what: row[what] for what in ("loss", "gradients", "moves")}
        if not all(value <= TOLERANCE for value in worst.values()):
            raise SystemExit(
                f"{row['contestant']} and {row['against']} do not compute the same from the same "
                f"weights and noise: {worst}, relatively; at most {TOLERANCE} is round-off"
            )
