"""One argument's gradient against both oracles, element by element or along directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyvae.checker import twin
from tinyvae.checker.diagnosis import Wrong, diagnose, diagnose_part
from tinyvae.checker.oracles import Slope, central_differences, complex_step, is_analytic, line
from tinyvae.checker.report import CANNOT_TELL, RIGHT, WRONG, ArgumentReport
from tinyvae.checker.subject import Subject, stream
from tinyvae.errors import NonFiniteError

SMALL = 100  # elements of an argument up to which each one is looked at
BLOCKS = 8
ROUGH = 1e-4  # doubt about the differences, relative to the gradient, that makes them useless
NEAR = 1e-3  # how far off a large input is moved, relatively, where it lies on kinks
NEARBY = "there are kinks here, so that it was checked a little off them"
LOST = 100  # times its round-off, below which nothing of a gradient may be left
FAINT = 1e-4  # of what is allowed: an error in a block that is worth a closer look
SHAKE = 1e-14  # which alters the last bits of a number
NEGLIGIBLE = 1e-6  # round-off, relative to the largest gradient, below which an element may be
TINY = 1e-30  # beside how steep the value is: no more than the complex step's own error
FLOOR = 1e-11  # round-off of a gradient, relative to its largest element


@dataclass(frozen=True)
class Probe:
    """One direction: the gradient along it, by the pullback and by the oracles."""

    index: tuple[int, ...]
    direction: np.ndarray
    got: float
    slope: Slope
    complex_value: np.ndarray | None


@dataclass
class Argument:
    """What is needed to check one argument."""

    subject: Subject
    k: int
    gradients: Sequence[np.ndarray]
    upstream: np.ndarray
    tolerance: float
    round_off: float
    analytic: bool = True

    @property
    def point(self) -> np.ndarray:
        """Where it is checked."""
        return self.subject.points[self.k]

    def probe(self, direction: np.ndarray, index: tuple[int, ...] = ()) -> Probe:
        """Both oracles along a direction of this argument."""
        directions = self._only(direction)
        moved = np.abs(self.point[direction != 0])
        f = line(self.subject, directions)
        slope = central_differences(f, self.upstream, float(moved.max()))
        got = float((self.gradients[self.k] * direction).sum())
        return Probe(index, direction, got, slope, self.complex_value(direction))

    def complex_value(self, direction: np.ndarray) -> np.ndarray | None:
        """The value a complex step away; None where the function has none of the right shape."""
        value = complex_step(self.subject, self._only(direction)) if self.analytic else None
        if value is None or value.shape != self.upstream.shape:
            return None
        # a value with an imaginary part of its own has none to spare
        return value if np.nan_to_num(np.abs(value.imag)).max() < math.sqrt(twin.STEP) else None

    def _only(self, direction: np.ndarray) -> list[np.ndarray | None]:
        return [direction if k == self.k else None for k in range(len(self.subject.points))]

    def element(self, index: tuple[int, ...]) -> Probe:
        """Both oracles along one element."""
        return self.probe(self.unit(index), index)

    def unit(self, index: tuple[int, ...]) -> np.ndarray:
        """The direction of one element."""
        direction = np.zeros_like(self.point)
        direction[index] = 1.0
        return direction

    def complex_slope(self, value: np.ndarray | None) -> float:
        """The gradient that it shows; NaN if there is none, or it cannot be trusted."""
        if value is None or not self.analytic:
            return math.nan
        return float((self.upstream * value.imag).sum()) / twin.STEP

    def drop_complex_step_if_not_analytic(self, probe: Probe) -> None:
        """Trust differences alone where the function has no derivative in complex numbers."""
        size = float(np.abs(self.point[probe.index]).max())
        self.analytic = is_analytic(self.subject, self._only(self.unit(probe.index)), size)


class Judgement:
    """Probes of one argument, judged together: errors count relative to the largest gradient."""

    def __init__(self, probes: Sequence[Probe], argument: Argument, noise: float = 0.0) -> None:
        self.probes = probes
        upstream = argument.upstream
        self.got = np.array([p.got for p in probes])
        self.fd = np.array([p.slope.value for p in probes])
        self.cs = np.array([argument.complex_slope(p.complex_value) for p in probes])
        self.doubt = np.array([p.slope.doubt for p in probes])
        size = max(map(_largest, (argument.gradients[argument.k], self.fd, self.cs)))
        self.scale = max(size, *(p.slope.steepness for p in probes)) or 1.0
        self.kinks = np.array([p.slope.kink for p in probes])
        self.known = np.isfinite(self.cs) & ~self.kinks
        by_differences = np.where(self.kinks, self._allowed_slope(), self.fd)
        self.oracle = np.where(self.known, self.cs, by_differences)
        self.error = np.abs(self.got - self.oracle)
        surely = np.nan_to_num(np.abs(self.fd) - 3 * self.doubt, nan=0.0, neginf=0.0)
        self.largest = np.maximum.reduce([np.abs(self.got), np.abs(self.oracle), surely])
        self.slack = argument.tolerance * self.largest + FLOOR * size + TINY * self.scale
        # what is lost in round-off is as good as right only beside gradients far above it: else a
        # large constant in the value would let every wrong gradient pass
        lost = LOST * argument.round_off
        self.negligible = lost <= NEGLIGIBLE * size
        self.slack += noise + (argument.round_off if self.negligible else 0.0)
        self.allowed = self.slack + np.where(self.known, 0.0, 3 * self.doubt)
        sure = self.known | (self.doubt <= max(lost, ROUGH * self.scale))
        self.lost = (self.largest <= lost) & sure & ~self.kinks
        alone = np.array([p.slope.parts == 1 for p in probes])
        self.blurred = self.kinks & ~(alone & (upstream.shape == argument.point.shape))

    def verdicts(self) -> np.ndarray:
        """One for each probe."""
        near = np.abs(self.got - self.fd) <= self.slack + 3 * self.doubt
        told = self.error <= self.allowed
        sure = self.known | self.kinks | (self.doubt <= ROUGH * self.scale)
        right = (told & sure & (near | self.kinks)) | (self.lost & self.negligible)
        wrong = ~told & np.where(self.kinks, ~self.blurred, ~near) & ~self.lost
        return np.where(right, RIGHT, np.where(wrong, WRONG, CANNOT_TELL))

    def in_conflict(self) -> np.ndarray:
        """Where the oracles disagree with each other, more than the differences are in doubt."""
        apart = np.abs(self.cs - self.fd) > self.slack + 3 * self.doubt
        return np.asarray(self.known & apart)

    def _allowed_slope(self) -> np.ndarray:
        """The nearest of the slopes that a kink allows: those between the one-sided ones."""
        low, high = np.array([(p.slope.low, p.slope.high) for p in self.probes]).T
        slack = 1e-3 * (high - low)
        return np.asarray(np.clip(self.got, low - slack, high + slack))

    def worst(self) -> int:
        """The probe that is furthest off for what is allowed, wrong ones first."""
        rank = np.array([(RIGHT, CANNOT_TELL, WRONG).index(v) for v in self.verdicts()])
        blame = np.maximum(self.error / self.allowed, self.doubt / (ROUGH * self.scale))
        blame = np.where(rank.max() == 2, self.error / self.allowed, blame)
        return int(np.where(rank == rank.max(), blame, -1.0).argmax())


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def check_argument(argument: Argument, seed: int) -> ArgumentReport:
    """The report on one argument: every element of a small one, directions through a large one."""
    if argument.point.size <= SMALL:
        probes = [argument.element(index) for index in np.ndindex(argument.point.shape)]
        judged = _judge(probes, argument)
        return _report(judged, argument, len(probes))
    return _check_large(argument, stream(seed, f"directions {argument.k}"))


def _judge(probes: list[Probe], argument: Argument) -> Judgement:
    judged = Judgement(probes, argument)
    for p in judged.probes:
        if not math.isfinite(p.slope.value) and p.complex_value is None:
            raise NonFiniteError(
                f"the value is not finite around {argument.subject.labels[argument.k]}, "
                f"element {p.index}: check at a point further from the edge"
            )
    if judged.in_conflict().any() and argument.analytic:
        argument.drop_complex_step_if_not_analytic(probes[int(judged.in_conflict().argmax())])
        judged = Judgement(probes, argument)
    if (judged.lost & judged.known & (judged.verdicts() != RIGHT)).any():
        judged = Judgement(probes, argument, _noise_of_complex_step(judged, argument))
    return judged


def _noise_of_complex_step(judged: Judgement, argument: Argument) -> float:
    """How far it moves with the last bits of the inputs: all the way where terms cancel to 0."""
    rng = stream(0, "last bits of the inputs")
    noise = 0.0
    for _ in range(3):
        shaken = [x * (1 + SHAKE * rng.uniform(-1, 1, x.shape)) for x in argument.subject.points]
        there = replace(argument, subject=argument.subject.at(shaken))
        moved = [there.complex_slope(there.complex_value(p.direction)) for p in judged.probes]
        noise = max(noise, 10 * _largest((np.array(moved) - judged.cs)[judged.lost]))
    return noise if noise >= _largest(judged.cs[judged.lost]) else 0.0


def _check_large(argument: Argument, rng: np.random.Generator) -> ArgumentReport:
    """Directions through all of it and through blocks of it; then the worst block's elements."""
    block = np.arange(argument.point.size)
    directions = [_through(argument, block, rng) for _ in range(2)]
    judged, note = _judge([argument.probe(d) for d in directions], argument), ""
    if judged.kinks.any():
        zeros = _elements(argument, np.flatnonzero(argument.point == 0)[: 2 * BLOCKS])
        at_zero = _judge(zeros, argument) if zeros else None
        if at_zero and WRONG in at_zero.verdicts():
            return _report(at_zero, argument, len(zeros))
        argument, note = _nearby(argument, rng), NEARBY
        judged = _judge([argument.probe(d) for d in directions], argument)
    verdicts, count = list(judged.verdicts()), len(directions)
    while len(block) > 2 * BLOCKS:
        blocks = np.array_split(block, BLOCKS)
        probes = [argument.probe(_through(argument, b, rng)) for b in blocks]
        judged = _judge(probes, argument)
        worst, count = judged.worst(), count + len(probes)
        verdicts.append(judged.verdicts()[worst])
        block = blocks[worst]
        if judged.error[worst] <= FAINT * judged.allowed[worst]:
            block = _largest_of(argument, block)
    judged = _judge(_elements(argument, block), argument)
    return _report(judged, argument, count + len(block), verdicts, note)


def _elements(argument: Argument, places: np.ndarray) -> list[Probe]:
    """The probes of elements, by their places in row-major order."""
    indices = (np.unravel_index(int(i), argument.point.shape) for i in places)
    return [argument.element(tuple(map(int, index))) for index in indices]


def _nearby(argument: Argument, rng: np.random.Generator) -> Argument:
    """A point a little nearer to 0, off the kinks where elements are 0, 1 or equal."""
    points, x = list(argument.subject.points), argument.point
    shrunk = x * (1 - NEAR * rng.uniform(size=x.shape))
    points[argument.k] = np.where(
        x == 0, np.abs(x).max() * NEAR * rng.uniform(size=x.shape), shrunk
    )
    subject = argument.subject.at(points)
    return replace(argument, subject=subject, gradients=subject.gradients(argument.upstream)[1])


def _through(argument: Argument, block: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random direction of length 1 through a block, that leaves no element of it out."""
    direction = np.zeros(argument.point.size)
    signs = rng.choice((-1.0, 1.0), len(block))
    direction[block] = signs * rng.uniform(0.5, 1.5, len(block)) / math.sqrt(len(block))
    return direction.reshape(argument.point.shape)


def _largest_of(argument: Argument, block: np.ndarray) -> np.ndarray:
    """The elements of a block with the largest gradient."""
    sizes = np.abs(argument.gradients[argument.k].reshape(-1)[block])
    return np.asarray(block[np.argsort(-sizes)[: 2 * BLOCKS]])


def _report(
    judged: Judgement,
    argument: Argument,
    count: int,
    directions: Sequence[str] = (),
    note: str = "",
) -> ArgumentReport:
    i = judged.worst()
    probe, verdicts = judged.probes[i], judged.verdicts()
    verdict = str(verdicts[i])
    notes = [note] * bool(note) + list(_notes(judged, i, verdict))
    if verdict == RIGHT and any(v != RIGHT for v in directions):
        verdict = WRONG if WRONG in directions else CANNOT_TELL
        notes += ["along a random direction through it, though not in the elements looked at"]
    # of a number, the learner knows the gradient itself, not that times a random upstream
    unit = float(argument.upstream.reshape(-1)[0]) if argument.upstream.ndim == 0 else 1.0
    small = len(judged.probes) == argument.point.size
    return ArgumentReport(
        argument.k,
        argument.subject.labels[argument.k],
        verdict,
        probe.index,
        probe.got / unit,
        float(judged.oracle[i]) / unit,
        float(judged.error[i] / judged.scale),
        float(judged.allowed[i] / judged.scale),
        float(judged.doubt[i] / judged.scale),
        count,
        tuple(p.index for p in judged.probes if p.slope.kink),
        _diagnosis(judged, argument, small) if verdict == WRONG else "",
        "; ".join(notes),
        jacobian(judged) if small and probe.slope.column.size <= SMALL else None,
    )


def _notes(judged: Judgement, i: int, verdict: str) -> Iterator[str]:
    if verdict == CANNOT_TELL and judged.blurred[i]:
        yield "kinks of several terms may meet here: check at another point"
    elif verdict == CANNOT_TELL and judged.lost[i]:
        yield "the gradient is lost in the round-off of the value: check at another point"
    elif verdict == CANNOT_TELL and judged.known[i]:
        yield (
            f"the oracle is in doubt: the complex step says {judged.cs[i]:.10g}, the differences "
            f"{judged.fd[i]:.10g} +- {judged.doubt[i]:.1e}"
        )
    elif verdict == CANNOT_TELL:
        yield "the value is too large or too rough here: check at another point"
    if _largest(judged.largest) <= FLOOR * judged.scale:
        yield "but for round-off both are 0, which a wrong factor leaves 0: check at another point"


def _diagnosis(judged: Judgement, argument: Argument, small: bool) -> str:
    """Of all elements of a small argument; of those of the worst block of a large one."""
    shape = argument.point.shape if small else judged.got.shape
    wrong = Wrong(
        argument.k,
        judged.got.reshape(shape),
        judged.oracle.reshape(shape),
        jacobian(judged) if small else np.empty((0, 0)),
        argument.upstream,
        argument.subject.points,
        argument.subject.labels,
        lambda points, k: _by_complex_step(argument, points, k),
    )
    return diagnose(wrong) if small else diagnose_part(wrong)


def _by_complex_step(argument: Argument, points: Sequence[np.ndarray], k: int) -> np.ndarray:
    """The right gradient of input k at other points; NaN where there is none."""
    there = replace(argument, subject=argument.subject.at(points), k=k)
    slopes = [
        there.complex_slope(there.complex_value(there.unit(index)))
        for index in np.ndindex(there.point.shape)
    ]
    return np.reshape(slopes, there.point.shape)


def jacobian(judged: Judgement) -> np.ndarray:
    """By the oracles, (value.size, input.size)."""
    columns = [
        p.complex_value.imag / twin.STEP
        if p.complex_value is not None and known
        else p.slope.column
        for p, known in zip(judged.probes, judged.known, strict=True)
    ]
    return np.stack([np.reshape(c, -1) for c in columns], axis=1)
