"""What the checker found: to print, to show in a notebook, and to draw."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field

import numpy as np

from tinyvae.checker.taylor import Taylor

RIGHT, WRONG, CANNOT_TELL = "right", "WRONG", "CANNOT TELL"


@dataclass(frozen=True)
class ArgumentReport:
    """The gradient of one input, at the element where it is furthest off for what is allowed.

    Attributes
    ----------
    argument : int
        Which input of the function.
    label : str
        What to call it: ``argument 0 (mean)``.
    verdict : str
        ``"right"``, ``"WRONG"``, or ``"CANNOT TELL"`` where the oracles cannot decide.
    index : tuple of int
        The worst element.
    pullback, oracle : float
        Its gradient by the pullback, and as it should be. For a function that returns an array
        they are gradients of the array's elements times a random upstream each, summed.
    error, allowed, doubt : float
        How far the pullback is from the oracle, how far it may be, and how uncertain the
        differences are, all relative to the largest element of the gradient.
    elements : int
        How many elements and directions were compared.
    kinks : tuple of tuple of int
        Elements at which the slopes to the left and to the right differ.
    diagnosis : str
        What usually looks like that; empty where nothing is wrong.
    note : str
        Why one cannot tell, or what else one should know.
    jacobian : (value.size, input.size) array or None
        By the oracles, where both are of no more than 100 elements.
    """

    argument: int
    label: str
    verdict: str
    index: tuple[int, ...]
    pullback: float
    oracle: float
    error: float
    allowed: float
    doubt: float
    elements: int
    kinks: tuple[tuple[int, ...], ...] = ()
    diagnosis: str = ""
    note: str = ""
    jacobian: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        """Whether the gradient is surely right."""
        return self.verdict == RIGHT

    @property
    def ratio(self) -> float:
        """The pullback's gradient over the oracle's."""
        return self.pullback / self.oracle if self.oracle else math.nan

    @property
    def remarks(self) -> list[str]:
        """The diagnosis, the kinks and the note, as far as there are any."""
        kinks = ", ".join(map(str, self.kinks[:5])) + ", ..." * (len(self.kinks) > 5)
        return [
            *([self.diagnosis] if self.diagnosis else []),
            *([f"kink at {kinks}: any slope between the one-sided ones passes"] if kinks else []),
            *([self.note] if self.note else []),
        ]

    def __str__(self) -> str:
        line = (
            f"{self.verdict}: {self.label}, worst element {self.index}: the pullback says "
            f"{self.pullback:.10g}, the oracle {self.oracle:.10g} (ratio {self.ratio:.6g}); off by "
            f"{self.error:.1e} of the gradient's largest element, {self.allowed:.1e} allowed"
        )
        return "\n  ".join([line, *self.remarks])


@dataclass(frozen=True)
class GradientReport:
    """Every argument's worst element, and what else is wrong; true if all is surely right.

    Attributes
    ----------
    arguments : tuple of ArgumentReport
        One for each input; none if the function is not deterministic.
    problems : tuple of str
        What is wrong with the function as a whole.
    taylor : Taylor or None
        The order test, through all inputs together; None at a kink, where it says nothing.
    jacobian_errors : tuple of (value.size, input.size) arrays
        What the pullbacks make of each element of the value, less what is right, for a value
        and inputs of no more than 100 elements; else empty.
    """

    arguments: tuple[ArgumentReport, ...]
    problems: tuple[str, ...] = ()
    taylor: Taylor | None = None
    jacobian_errors: tuple[np.ndarray, ...] = field(default=(), repr=False, compare=False)

    def __bool__(self) -> bool:
        return not self.problems and all(argument.passed for argument in self.arguments)

    def __str__(self) -> str:
        lines = [f"WRONG: {problem}" for problem in self.problems]
        lines += map(str, self.arguments)
        return "\n".join(lines + ([str(self.taylor)] if self.taylor else []))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table for a notebook."""
        head = ("argument", "verdict", "element", "pullback", "oracle", "ratio", "error", "allowed")
        rows = [
            (
                *(a.label, a.verdict, a.index, f"{a.pullback:.6g}", f"{a.oracle:.6g}"),
                *(f"{a.ratio:.4g}", f"{a.error:.1e}", f"{a.allowed:.1e}", "; ".join(a.remarks)),
            )
            for a in self.arguments
        ]
        problems = "".join(f"<p><b>WRONG</b>: {html.escape(p)}</p>" for p in self.problems)
        taylor = f"<pre>{html.escape(str(self.taylor))}</pre>" if self.taylor else ""
        table = _row("th", (*head, "what it looks like")) + "".join(_row("td", r) for r in rows)
        return f"{problems}<table>{table}</table>{taylor}"


def _row(cell: str, values: tuple[object, ...]) -> str:
    cells = "".join(f"<{cell}>{html.escape(str(value))}</{cell}>" for value in values)
    return f"<tr>{cells}</tr>"
