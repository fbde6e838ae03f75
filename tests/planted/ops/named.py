"""Whether a report on a planted error names what is wrong: the argument, the element, the slip."""

from __future__ import annotations

from typing import Any

import numpy as np

from planted.ops.catch import report_of, showing
from planted.ops.error import Call, Planted, outcome, right_outcome, same
from tinyvae.checker import GradientReport

CONDUCT = ("changed", "deterministic")
"""Slips of which the whole is told, and no argument."""
Pairs = list[tuple[np.ndarray, np.ndarray]]


def gradient_pairs(error: Planted, call: Call, seed: int = 0) -> Pairs:
    """The wrong and the right gradient of each argument."""
    wrong, right = outcome(error.function, call, seed), right_outcome(error.op, call, seed)
    return list(zip(wrong[1:], right[1:], strict=True))


def wrong_elements(error: Planted, call: Call) -> dict[int, np.ndarray]:
    """For each argument whose gradient is wrong for some upstream, which elements of it are."""
    found: dict[int, Any] = {}
    for seed in range(10):
        for k, (a, b) in enumerate(gradient_pairs(error, call, seed)):
            if not same(a, b):
                found[k] = found.get(k, False) | ~np.isclose(a, b, 1e-9, 1e-12)
    return found


def usual_slip(error: Planted, call: Call) -> str:
    """What it is called; where nobody said, by the constant factor between the gradients."""
    return error.diagnosis or _by_factor(
        gradient_pairs(error, call) + gradient_pairs(error, call, 1)
    )


def _by_factor(pairs: Pairs) -> str:
    wrong = [(a, b) for a, b in pairs if not same(a, b)]
    if not all(b.any() for _, b in wrong):
        return ""  # what should be 0 and is not, is no multiple of it
    factors = {float(np.sum(a * b) / np.sum(b * b)) for a, b in wrong}
    factor = factors.pop() if wrong else 1.0
    if not all(same(a, factor * b) for a, b in wrong):
        return ""
    return {1.0: "", 0.0: "zero", -1.0: "sign"}.get(round(factor, 9), "factor")


def named(error: Planted) -> dict[str, bool]:
    """Of a wrong pullback, whether the report names the argument, the elements and the slip."""
    call = showing(error)[0]
    if (report := report_of(error, call)) is None:
        return {}
    truth, slip = wrong_elements(error, call), usual_slip(error, call)
    why = {"usual slip": _names_slip(report, slip)} if slip else {}
    return why if slip in CONDUCT else _where(report, truth) | why


def _where(report: GradientReport, truth: dict[int, np.ndarray]) -> dict[str, bool]:
    """Whether it calls these arguments wrong and no others, by elements that are wrong indeed."""
    wrong = [a for a in report.arguments if a.verdict == "WRONG"]
    argument = {a.argument for a in wrong} == truth.keys()
    return {
        "argument": argument,
        "element": argument and all(truth[a.argument][a.index] for a in wrong),
    }


def _names_slip(report: GradientReport, slip: str) -> bool:
    """Whether a diagnosis begins with the slip, or a problem of the whole tells of it."""
    diagnoses = (a.diagnosis for a in report.arguments if a.verdict == "WRONG")
    told = any(slip in problem for problem in report.problems)
    return told or any(diagnosis.startswith(slip) for diagnosis in diagnoses)
