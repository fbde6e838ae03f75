"""The two oracles: what the slope of a function is along a direction, without its pullback.

Both look at the line t -> f(x + t v), and weigh the value's elements with the upstream gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyvae.checker import twin
from tinyvae.checker.subject import Subject

EPSILON = float(np.finfo(np.float64).eps)
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
SETTLED = 1e-9  # two steps whose slopes are so close have found it
BENT = 1e-3  # one-sided slopes that differ by more, relatively, are a kink's

Line = Callable[[float], np.ndarray]
"""The value at a distance along the direction."""


@dataclass(frozen=True)
class Slope:
    """The slope by central differences, and how sure it is.

    Attributes
    ----------
    column : array of the value's shape
        The slope of every element of the value: a column of the Jacobian, for a unit vector.
    value : float
        Their sum, weighted with the upstream gradient.
    doubt : float
        How far two steps are apart, and the round-off.
    steepness : float
        How much the value changes around here: not 0 where the slope is, at a minimum.
    left, right : float
        The one-sided slopes.
    kink : bool
        Whether these two differ for good.
    """

    column: np.ndarray
    value: float
    doubt: float
    steepness: float
    left: float
    right: float
    kink: bool


def line(subject: Subject, directions: Sequence[np.ndarray | None]) -> Line:
    """The function along directions, None for the inputs that stay."""

    def at(t: float) -> np.ndarray:
        moved = (
            x if d is None else x + t * d for x, d in zip(subject.points, directions, strict=True)
        )
        return subject.value(list(moved))

    return at


def central_differences(f: Line, upstream: np.ndarray, size: float) -> Slope:
    """The slope by five points, at steps in proportion to the ``size`` of what is moved.

    (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12 h has an error of order h^4. Steps shrink until
    two of them agree; else the two that agree best are taken, and how far apart they are is
    the doubt.
    """
    rows: list[Slope] = []
    with np.errstate(all="ignore"):  # a step may leave the domain, as of log
        centre = f(0.0)
        for h in _steps(size):
            rows.append(_five_points(f, centre, upstream, h))
            if len(rows) > 1 and _settled(*rows[-2:]):
                break
    return _best(rows)


def _steps(size: float) -> list[float]:
    """In proportion to large inputs; to small ones too, after steps that suit a size of 1."""
    unit = max(1.0, size / 100)
    return [h * unit for h in STEPS] + [h * size for h in STEPS[:3] if 0 < size < 1e-2]


def _settled(a: Slope, b: Slope) -> bool:
    return not b.kink and abs(a.value - b.value) <= SETTLED * max(abs(b.value), b.steepness)


def _five_points(f: Line, centre: np.ndarray, upstream: np.ndarray, h: float) -> Slope:
    values = {s: f(s * h) for s in (-2, -1, 1, 2)}
    column = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * h)
    change = {s: float((upstream * (v - centre)).sum()) for s, v in values.items()}
    right = (4 * change[1] - change[2]) / (2 * h)
    left = (change[-2] - 4 * change[-1]) / (2 * h)
    spread = [*change.values(), 0.0]
    steepness = (max(spread) - min(spread)) / (4 * h)
    noise = 4 * EPSILON * float(np.abs(upstream * values[1]).sum()) / h
    kink = abs(right - left) > BENT * steepness + 10 * noise
    value = float((upstream * column).sum())
    return Slope(column, value, noise, steepness, left, right, kink)


def _best(rows: list[Slope]) -> Slope:
    """The step that agrees best with the one before it; the smallest has the one-sided slopes."""
    gaps = np.abs(np.diff([row.value for row in rows]))
    doubts = np.nan_to_num(gaps + [row.doubt for row in rows[1:]], nan=np.inf)
    best, last = rows[1 + int(doubts.argmin())], rows[-1]
    kink = all(row.kink for row in rows[-2:])
    return replace(best, doubt=float(doubts.min()), left=last.left, right=last.right, kink=kink)


def complex_step(
    subject: Subject, directions: Sequence[np.ndarray | None], t: complex = 1j * twin.STEP
) -> np.ndarray | None:
    """The value at a complex distance along the directions; None if the function has no such twin.

    For t = ih its imaginary part over h is the slope, to the last digits.
    """
    moved = [
        twin.as_twin(x if d is None else x + t * d)
        for x, d in zip(subject.points, directions, strict=True)
    ]
    try:
        with twin.in_use():
            value = np.asarray(subject.form.value(moved), dtype=np.complex128)
    except Exception:  # whatever a function may raise that was not written for complex numbers
        return None
    return value


def is_analytic(subject: Subject, directions: Sequence[np.ndarray | None], size: float) -> bool:
    """Whether the derivative by the conjugate of t vanishes, as Cauchy and Riemann ask."""
    step = 1e-5 * max(1.0, size / 100)
    by_t = by_conjugate = np.zeros((), dtype=np.complex128)
    for turn in (1, 1j, -1, -1j):
        value = complex_step(subject, directions, step * turn)
        if value is None:
            return False
        by_t, by_conjugate = by_t + value / turn, by_conjugate + value * turn
    with np.errstate(all="ignore"):
        return bool(np.abs(by_conjugate).sum() <= BENT * np.abs(by_t).sum())
