"""The verdicts on the probes of one argument, judged together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyvae.checker.probe import Argument, Probe
from tinyvae.checker.report import CANNOT_TELL, RIGHT, WRONG
from tinyvae.checker.subject import stream
from tinyvae.errors import NonFiniteError

ROUGH = 1e-4  # doubt about the differences, relative to the gradient, that makes them useless
LOST = 100  # times its round-off, below which nothing of a gradient may be left
SHAKE = 1e-14  # which alters the last bits of a number
NEGLIGIBLE = 1e-6  # round-off, relative to the largest gradient, below which an element may be
TINY = 1e-30  # beside how steep the value is: no more than the complex step's own error
FLOOR = 1e-11  # round-off of a gradient, relative to its largest element


class Judgement:
    """Probes of one argument, judged together: errors count relative to the largest gradient."""

    def __init__(self, probes: Sequence[Probe], argument: Argument, noise: float = 0.0) -> None:
        self.probes = probes
        upstream = argument.upstream
        self.got = np.array([p.got for p in probes])
        self.fd = np.array([p.slope.value for p in probes])
        self.cs = np.array([argument.complex_slope(p.complex_value) for p in probes])
        self.doubt = np.array([p.slope.doubt for p in probes])
        size = max(map(largest, (argument.gradients[argument.k], self.fd, self.cs)))
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


def largest(values: np.ndarray) -> float:
    """The largest size among those that are finite; 0 if none is."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def judge(probes: list[Probe], argument: Argument) -> Judgement:
    """The probes judged, after a look at what may mislead the complex step."""
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
        noise = max(noise, 10 * largest((np.array(moved) - judged.cs)[judged.lost]))
    return noise if noise >= largest(judged.cs[judged.lost]) else 0.0
