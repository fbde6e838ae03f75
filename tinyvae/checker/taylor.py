"""The order test: what a first-order Taylor step leaves over shrinks with the square of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tinyvae.checker.oracles import EPSILON, line
from tinyvae.checker.subject import Subject, stream

HALVINGS = 20
FIRST = 2.0**-4
ABOVE_NOISE = 1e3
JUMP = 1e9  # times the least round-off: a remainder that no round-off explains
LAST = 6  # of the smallest steps, whose remainders shrink unless they are noise


@dataclass(frozen=True)
class Taylor:
    """The remainder |f(x + h v) - f(x) - h g v| under halving of h, along a random v.

    Attributes
    ----------
    steps, remainders, noise : tuple of float
        h, the remainder, and the least that the round-off in it may be.
    """

    steps: tuple[float, ...]
    remainders: tuple[float, ...]
    noise: tuple[float, ...]

    @property
    def slopes(self) -> tuple[float, ...]:
        """The order between each step and the next: 2 for a right gradient, 1 for a wrong one."""
        a, b = self.remainders[:-1], self.remainders[1:]
        usable = self._usable()
        pairs = zip(a, b, usable[:-1], usable[1:], strict=True)
        return tuple(math.log2(x / y) if p and q else math.nan for x, y, p, q in pairs)

    @property
    def slope(self) -> float:
        """The order at the smallest steps above the round-off; NaN if nothing is left over."""
        known = [slope for slope in self.slopes if not math.isnan(slope)]
        return float(np.median(known[-3:])) if known else math.nan

    def _usable(self) -> list[bool]:
        last = self.remainders[-LAST:]
        measured = 0.0 if _shrinking(last) else max(last)
        pairs = zip(self.remainders, self.noise, strict=True)
        return [math.isfinite(r) and r > max(ABOVE_NOISE * n, 30 * measured) for r, n in pairs]

    @property
    def jumps(self) -> bool:
        """Whether the remainder stays, far above round-off, however small the step."""
        last = self.remainders[-LAST:]
        return min(last) > JUMP * self.noise[-1] and max(last) < 2 * min(last)

    @property
    def is_wrong(self) -> bool:
        """Whether the remainder shrinks no faster than the step."""
        clear = self.remainders[-1] > 100 * self.noise[-1] and _shrinking(self.remainders)
        return self.jumps or ((clear or self._usable()[-1]) and self.slope <= 1.5)

    @property
    def verdict(self) -> str:
        """In words, what the slope means."""
        if self.jumps:
            return "the remainder does not shrink: the value jumps here, or the gradient is wrong"
        if self.is_wrong:
            return f"slope {self.slope:.2f}: the gradient is wrong"
        if self.slope > 1.5:
            return f"slope {self.slope:.2f}: the gradient is right"
        if not math.isnan(self.slope):
            return "the remainder is lost in round-off, and tells nothing"
        return "nothing is left over: the function is linear here, and the gradient right"

    def __str__(self) -> str:
        rows = list(zip(self.steps, self.remainders, (math.nan, *self.slopes), strict=True))[::3]
        lines = [
            f"  {h:8.1e}  {r:12.4e}  {'' if math.isnan(s) else f'{s:.3f}'}" for h, r, s in rows
        ]
        head = "Taylor remainder under halving of the step"
        return "\n".join([f"{head}: {self.verdict}", "    step     remainder   slope", *lines])


def _shrinking(remainders: Sequence[float]) -> bool:
    """Whether each is smaller than the one before, as noise is not."""
    return all(a > b for a, b in pairwise(remainders))


def order_test(
    subject: Subject, gradients: list[np.ndarray], upstream: np.ndarray, seed: int
) -> Taylor:
    """The order test along a random direction through all inputs together."""
    rng = stream(seed, "order test")
    directions = [direction(rng, x) for x in subject.points]
    f = line(subject, directions)
    centre = f(0.0)
    slope = sum(float((g * v).sum()) for g, v in zip(gradients, directions, strict=True))
    steps = tuple(FIRST / 2**k for k in range(HALVINGS))
    with np.errstate(all="ignore"):
        changes = [float((upstream * (f(h) - centre)).sum()) for h in steps]
    size = float(np.abs(upstream * centre).sum()) + sum(
        float(np.abs(g * x).sum()) for g, x in zip(gradients, subject.points, strict=True)
    )
    return Taylor(
        steps,
        tuple(abs(change - h * slope) for change, h in zip(changes, steps, strict=True)),
        tuple(EPSILON * (size + abs(h * slope)) for h in steps),
    )


def direction(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Random, of length 1, or in proportion to inputs that are small or large."""
    v = rng.standard_normal(x.shape)
    size = float(np.abs(x).max()) or 1.0
    return np.asarray(v / np.linalg.norm(v) * np.clip(1.0, size / 100, size))
