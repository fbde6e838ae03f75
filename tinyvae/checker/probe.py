"""What is looked at along one direction of one argument."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinyvae.checker import twin
from tinyvae.checker.oracles import Slope, central_differences, complex_step, is_analytic, line
from tinyvae.checker.subject import Subject


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
