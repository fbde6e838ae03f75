"""Whether the contestants compute the same: nothing is timed that does not."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

from cases import Case, Maker
from harness import Row

TOLERANCE = {"float64": 1e-6, "float32": 1e-3}
STEPS = 6  # tinyvae replays from the fifth on
WHAT = ("loss", "gradients", "last_gradients", "moves")
Load = Callable[[], Maker]


def first_steps(
    make: Maker, case: Case, seed: int, dtype: str, noises: Sequence[Any] = ()
) -> dict[str, list[Any]]:
    """Losses, the first gradients, and how the weights have moved, with the same noise.

    That of the case in every step, or one of ``noises`` in each.
    """
    weights, x, noise = case.draw(seed)
    given = iter(noises or repeat(noise.astype(dtype)))
    step = make(case, weights, x, dtype)
    before, losses = step.parameters(), [float(step(next(given)))]
    found = {"loss": losses, "gradients": step.gradients()}
    losses += [float(step(next(given))) for _ in range(STEPS - 1)]
    if dtype == "float64":  # float32 does not know the sign of every gradient, which Adam follows
        found["moves"] = [p - q for p, q in zip(step.parameters(), before, strict=True)]
    if step.keeps_gradients:  # from the first weights, as float32's paths part
        step.set_parameters(weights)
        step(next(given))
        found["last_gradients"] = step.gradients()
    return found


def apart(wanted: list[Any], found: list[Any]) -> float:
    """The largest difference in any array, relative to the largest number of that array."""
    import numpy as np

    pairs = zip(wanted, found, strict=True)
    return max(float(np.max(np.abs(a - b)) / np.max(np.abs(a))) for a, b in pairs)


def compare(loads: Mapping[str, Load], case: Case, seed: int, dtype: str) -> list[Row]:
    """How far each contestant is from the first one."""
    os.environ["JAX_ENABLE_X64"] = str(int(dtype == "float64"))
    steps = {name: first_steps(load(), case, seed, dtype) for name, load in loads.items()}
    return differences(steps, dtype)


def differences(steps: Mapping[str, dict[str, list[Any]]], dtype: str) -> list[Row]:
    """How far the `first_steps` of each contestant are from those of the first one."""
    first, *others = steps
    wanted = steps[first]
    return [
        {"contestant": name, "against": first, "dtype": dtype}
        | dict.fromkeys(WHAT, 0.0)  # what one of the two does not tell
        | {what: apart(a, steps[name][what]) for what, a in wanted.items() if what in steps[name]}
        for name in others
    ]


def refuse(rows: list[Row]) -> None:
    """Stop, unless every difference is small; NaN is not."""
    for row in rows:
        worst = {what: row[what] for what in WHAT}
        if not all(value <= TOLERANCE[row["dtype"]] for value in worst.values()):
            raise SystemExit(
                f"{row['contestant']} and {row['against']} do not compute the same from the same "
                f"weights and noise: {worst}, relatively; in {row['dtype']} at most "
                f"{TOLERANCE[row['dtype']]} is round-off"
            )
