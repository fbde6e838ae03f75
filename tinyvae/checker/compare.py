"""One argument's gradient against both oracles, element by element or along directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tinyvae.checker import twin
from tinyvae.checker.diagnosis import Wrong, diagnose, diagnose_part
from tinyvae.checker.judgement import FLOOR, Judgement, judge, largest
from tinyvae.checker.probe import Argument, Probe
from tinyvae.checker.report import CANNOT_TELL, RIGHT, WRONG, ArgumentReport
from tinyvae.checker.subject import stream

SMALL = 100  # elements of an argument up to which each one is looked at
BLOCKS = 8
NEAR = 1e-3  # how far off a large input is moved, relatively, where it lies on kinks
NEARBY = "there are kinks here, so that it was checked a little off them"
FAINT = 1e-4  # of what is allowed: an error in a block that is worth a closer look


def check_argument(argument: Argument, seed: int) -> ArgumentReport:
    """The report on one argument: every element of a small one, directions through a large one."""
    if argument.point.size <= SMALL:
        probes = [argument.element(index) for index in np.ndindex(argument.point.shape)]
        judged = judge(probes, argument)
        return _report(judged, argument, len(probes))
    return _check_large(argument, stream(seed, f"directions {argument.k}"))


def _check_large(argument: Argument, rng: np.random.Generator) -> ArgumentReport:
    """Directions through all of it and through blocks of it; then the worst block's elements."""
    block = np.arange(argument.point.size)
    directions = [_through(argument, block, rng) for _ in range(2)]
    judged, note = judge([argument.probe(d) for d in directions], argument), ""
    if judged.kinks.any():
        zeros = _elements(argument, np.flatnonzero(argument.point == 0)[: 2 * BLOCKS])
        at_zero = judge(zeros, argument) if zeros else None
        if at_zero and WRONG in at_zero.verdicts():
            return _report(at_zero, argument, len(zeros))
        argument, note = _nearby(argument, rng), NEARBY
        judged = judge([argument.probe(d) for d in directions], argument)
    verdicts, count = list(judged.verdicts()), len(directions)
    while len(block) > 2 * BLOCKS:
        blocks = np.array_split(block, BLOCKS)
        probes = [argument.probe(_through(argument, b, rng)) for b in blocks]
        judged = judge(probes, argument)
        worst, count = judged.worst(), count + len(probes)
        verdicts.append(judged.verdicts()[worst])
        block = blocks[worst]
        if judged.error[worst] <= FAINT * judged.allowed[worst]:
            block = _largest_of(argument, block)
    judged = judge(_elements(argument, block), argument)
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
    if largest(judged.largest) <= FLOOR * judged.scale:
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
