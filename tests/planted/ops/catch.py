"""What catches a planted error: the gradient check, an oracle of the value, or an error raised."""

from __future__ import annotations

import numpy as np
from oracles import ORACLES, Oracle

from planted.ops.error import Call, Op, Planted, calls, outcome, scaled, wrong_parts
from tinyvae import gradcheck
from tinyvae.checker import GradientReport
from tinyvae.errors import TinyvaeError

CHECK, ORACLE, ERROR, MISSED = "gradient check", "oracle", "error", "missed"


def showing(error: Planted) -> tuple[Call, ...]:
    """The calls in which a part is wrong, those in which none raises if there are any.

    All calls if none shows it, as when only the conduct of a pullback is wrong.
    """
    shown = [call for call in calls(error.op) if wrong_parts(error.op, error.function, call)]
    quiet = [call for call in shown if not raises(error, call)]
    return tuple(quiet or shown) or calls(error.op)


def raises(error: Planted, call: Call) -> bool:
    """Whether the value or a pullback cannot be had."""
    with np.errstate(all="ignore"):
        return any(part is None for part in outcome(error.function, call))


def report_of(error: Planted, call: Call, scale: float = 1.0) -> GradientReport | None:
    """What the gradient check says; None if it refuses the function, or the function raises."""
    function = call.of(error.function)
    if raises(error, call):
        return None
    try:
        with np.errstate(all="ignore"):
            return gradcheck(function if scale == 1 else scaled(function, scale), *call.inputs)
    except TinyvaeError:
        return None


def says_wrong(report: GradientReport) -> bool:
    """Whether it says that something is wrong; not if it only says that it cannot tell."""
    return bool(report.problems) or any(a.verdict == "WRONG" for a in report.arguments)


def by_gradient_check(error: Planted, scale: float = 1.0) -> str:
    """How the gradient check catches it, if it does."""
    for call in showing(error):
        report = report_of(error, call, scale)
        if report is None:
            return ERROR
        if says_wrong(report):
            return CHECK
    return MISSED


def by_oracle(error: Planted) -> str:
    """How the oracles of the op catch its value, if they do."""
    found = {_by(oracle, error.function) for oracle in ORACLES[error.op]}
    return next((by for by in (ORACLE, ERROR) if by in found), MISSED)


def _by(oracle: Oracle, function: Op) -> str:
    try:
        oracle(lambda *inputs, **options: function(*inputs, **options)[0])
    except AssertionError:
        return ORACLE
    except Exception:  # the wrong op's own
        return ERROR
    return MISSED


def caught_by(error: Planted) -> str:
    """What catches it: a wrong value is for the oracles first, a wrong pullback for the check."""
    catchers = (by_gradient_check, by_oracle)
    for catcher in catchers if error.kind == "pullback" else reversed(catchers):
        if (by := catcher(error)) != MISSED:
            return by
    return MISSED
