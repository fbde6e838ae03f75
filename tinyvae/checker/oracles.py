"""The two oracles: what the slope of a function is along a direction, without its pullback.

Both look at the line t -> f(x + t v), and weigh the value's elements with the upstream gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from tinyvae.checker import twin
from tinyvae.checker.subject import Subject

EPSILON = float(np.finfo(np.float64).eps)
STEPS = tuple(1e-3 / math.pi ** (2 * k) for k in range(9))  # in no simple ratio to each other
SMALLEST = STEPS[-1] / 2  # below which only inputs that are small themselves are moved
SETTLED = 1e-9  # two steps whose slopes are so close have found it
CHANCE = 1e-4  # within which slopes that are noise seldom agree, relatively
BENT = 1e-7  # one-sided slopes that differ by less, relatively, are as good as one
NOT_ANALYTIC = 1e-3  # a derivative by the conjugate, relatively, that is no round-off

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
        How far steps are apart, and the round-off.
    steepness : float
        How much the value changes around here: not 0 where the slope is, at a minimum.
    low, high : float
        Between which the one-sided slopes lie, summed like ``value``.
    kink : bool
        Whether these two differ for good.
    parts : int
        In how many elements of the value.
    """

    column: np.ndarray
    value: float
    doubt: float
    steepness: float
    low: float
    high: float
    kink: bool
    parts: int


@dataclass(frozen=True)
class Step:
    """What steps of h to both sides show.

    Attributes
    ----------
    h : float
    size : float
        Of the inputs that are moved.
    upstream : array
    values : dict of arrays
        The function's, at -2h, -h, 0, h and 2h, by the multiple of h.
    """

    h: float
    size: float
    upstream: np.ndarray
    values: dict[int, np.ndarray]

    @cached_property
    def column(self) -> np.ndarray:
        """The slope of every element of the value, with an error of order h^4."""
        v = self.values
        return np.asarray((8 * (v[1] - v[-1]) - (v[2] - v[-2])) / (12 * self.h))

    @cached_property
    def value(self) -> float:
        """The slope."""
        return float((self.upstream * self.column).sum())

    @cached_property
    def change(self) -> dict[int, np.ndarray]:
        """From the centre to every place, weighted."""
        return {k: self.upstream * (v - self.values[0]) for k, v in self.values.items()}

    @cached_property
    def steepness(self) -> float:
        """How much the value changes over all of it."""
        sums = [float(change.sum()) for change in self.change.values()]
        return (max(sums) - min(sums)) / (4 * self.h)

    @cached_property
    def noise(self) -> float:
        """The round-off in the slope."""
        return self._height(1) + EPSILON * self.steepness * self.size / self.h

    @cached_property
    def floor(self) -> float:
        """That part of it which smaller steps do not lessen."""
        return self._height(0)

    def _height(self, place: int) -> float:
        return 4 * EPSILON * float(np.abs(self.upstream * self.values[place]).sum()) / self.h

    @cached_property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the higher of the one-sided slopes, of every element of the value."""
        c = self.change
        left, right = ((4 * c[k] - c[2 * k]) / (2 * k * self.h) for k in (-1, 1))
        return np.minimum(left, right), np.maximum(left, right)

    @cached_property
    def low(self) -> float:
        """Their sum, of the lower ones."""
        return float(self.sides[0].sum())

    @cached_property
    def high(self) -> float:
        """And of the higher ones."""
        return float(self.sides[1].sum())

    @property
    def bend(self) -> float:
        """By how much they differ: at a kink by the same for every small step."""
        return self.high - self.low

    @property
    def bent(self) -> bool:
        """Whether that is more than round-off."""
        return self.bend > BENT * self.steepness + 10 * self.noise

    @property
    def parts(self) -> int:
        """In how many elements of the value they differ."""
        low, high = self.sides
        return int((high - low > 1e-3 * self.bend).sum())

    @cached_property
    def claim(self) -> float:
        """How far off the slope may well be: what it is over h and over 2h differs too."""
        near, far = ((self.change[k] - self.change[-k]).sum() / (2 * k * self.h) for k in (1, 2))
        return self.bend + abs(float(near - far)) + self.noise


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
    two of them agree; else the one that is least in doubt is taken.
    """
    steps: list[Step] = []
    with np.errstate(all="ignore"):  # a step may leave the domain, as of log
        centre = f(0.0)
        for h in _sizes(size):
            values = {k: f(k * h) if k else centre for k in range(-2, 3)}
            steps.append(Step(h, size, upstream, values))
            if len(steps) > 1 and (_agree(*steps[-2:]) or _lost(*steps[-2:])):
                break
        steps = _that_move(steps)
        return _kink(steps) or _smooth(steps)


def _sizes(size: float) -> list[float]:
    """In proportion to large inputs; to small ones too, after steps that suit a size of 1."""
    unit = max(1.0, size / 100)
    return [h * unit for h in STEPS] + [h * size for h in STEPS[:3] if 0 < h * size < SMALLEST]


def _agree(a: Step, b: Step) -> bool:
    """Whether a step has confirmed the one before it, to more digits than chance would give."""
    size = abs(b.value)
    near = max(SETTLED * size, b.noise if b.noise < CHANCE * size else 0.0)
    return abs(a.value - b.value) <= near < math.inf and not _bends_on(a, b)


def _lost(a: Step, b: Step) -> bool:
    """Whether round-off is all that two steps differ by, so that a smaller one tells no more."""
    return abs(a.value - b.value) <= b.floor and not _bends_on(a, b)


def _bends_on(a: Step, b: Step) -> bool:
    """Whether the one-sided slopes differ, and no less for a smaller step."""
    return b.bent and b.bend > a.bend / 2


def _smooth(steps: list[Step]) -> Slope:
    """The last step if it agrees with the one before it; else the one least in doubt."""
    gaps = np.abs(np.diff([step.value for step in steps]))
    claims = np.array([step.claim for step in steps])
    doubts = np.append(gaps[:1], gaps) + claims + _hidden_noise(steps)
    doubts = np.nan_to_num(doubts, nan=math.inf)
    best, doubt = int(doubts.argmin()), float(doubts.min())
    if _agree(*steps[-2:]):
        best, doubt = len(steps) - 1, 2 * (float(gaps[-1]) + steps[-1].noise)
    return _slope(steps, steps[best], doubt, kink=False)


def _kink(steps: list[Step]) -> Slope | None:
    """The slopes to both sides, if they differ by about the same at the last clear steps."""
    bend = next((step.bend for step in reversed(steps) if step.bent), 0.0)
    noises = zip(steps, _hidden_noise(steps), strict=True)
    clear = [step for step, noise in noises if 100 * (step.noise + noise) < bend][-3:]
    if len(clear) < 3 or not all(bend / 2 < step.bend < 2 * bend for step in clear):
        return None
    s, last = clear[1:]
    doubt = s.noise + abs(s.low - last.low) + abs(s.high - last.high)
    return _slope(steps, s, doubt, kink=True)


def _slope(steps: list[Step], s: Step, doubt: float, kink: bool) -> Slope:
    around = (step for step in steps if step.h <= STEPS[0] * step.size or not step.size)
    steepness = max(next(around, s).steepness, s.steepness)
    return Slope(s.column, s.value, doubt, steepness, s.low, s.high, kink, s.parts)


def _hidden_noise(steps: list[Step]) -> np.ndarray:
    """Of each step's slope, by round-off inside the function.

    It shows where smaller steps differ by more than both of them would explain.
    """
    sizes = np.array([step.h for step in steps])
    noise = [(abs(a.value - b.value) - a.claim - b.noise) * b.h for a, b in pairwise(steps)]
    told = np.nan_to_num([*noise, 0.0], nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(np.maximum.accumulate(told[::-1])[::-1].clip(0) / sizes)


def _that_move(steps: list[Step]) -> list[Step]:
    """Without the small steps at which a value that is rounded stands still.

    A value that stands still behind a kink nearby is another matter: it shows at larger steps.
    """
    moving = [step for step in steps if step.steepness != 0]
    rounded = any(step.claim < step.steepness / 10 for step in moving)
    return moving if rounded and len(moving) > 1 else steps


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
    """Whether the derivative by the conjugate of t vanishes, as Cauchy and Riemann ask.

    That is tried on several circles, since a wide one may go around a pole.
    """
    return any(_by_conjugate(subject, directions, h) < NOT_ANALYTIC for h in _sizes(size)[2::2])


def _by_conjugate(subject: Subject, directions: Sequence[np.ndarray | None], step: float) -> float:
    """The derivative by the conjugate of t, relative to that by t."""
    by_t = by_conjugate = np.zeros((), dtype=np.complex128)
    for turn in (1, 1j, -1, -1j):
        value = complex_step(subject, directions, step * turn)
        if value is None:
            return math.inf
        by_t, by_conjugate = by_t + value / turn, by_conjugate + value * turn
    with np.errstate(all="ignore"):
        return float(np.abs(by_conjugate).sum() / np.abs(by_t).sum())
