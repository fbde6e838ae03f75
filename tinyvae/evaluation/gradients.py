"""Every gradient against the oracles, where it is smooth: what `tinyvae check` prints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from tinyvae import backend as backends
from tinyvae.autograd import DERIVATIONS
from tinyvae.checker import GradientReport, gradcheck
from tinyvae.evaluation.cases import CASES
from tinyvae.noise import Noise


@dataclass(frozen=True)
class Row:
    """What the check of one op found.

    Attributes
    ----------
    name, kind : str
        Of the op, and whether it is a ``"derivation"`` or another ``"op"``.
    elements : int
        How many partial derivatives were compared with the oracles.
    error, allowed : float
        Of the worst element, relative to the largest one of its gradient.
    passed : bool
        Whether every case passed every check.
    seconds : float
        How long it took.
    """

    name: str
    kind: str
    elements: int
    error: float
    allowed: float
    passed: bool
    seconds: float


def check_all(seed: int = 0) -> list[Row]:
    """One row for every op, the derivations first; and one for each formula that has a kernel.

    >>> rows = check_all()
    >>> all(row.passed for row in rows)
    True
    """
    kernels = backends.get("numpy").kernels
    rows = [check(name, seed) for name in CASES]
    for name in sorted(kernels.keys() & CASES.keys()):
        with without_kernel(name):
            rows.append(replace(check(name, seed), name=f"{name} (reference)"))
    return rows


@contextmanager
def without_kernel(name: str) -> Iterator[None]:
    """Let the readable formula run, where NumPy would take its one-pass kernel."""
    kernels = cast(dict[str, Any], backends.get("numpy").kernels)
    kernel = kernels.pop(name)
    try:
        yield
    finally:
        kernels[name] = kernel


def check(name: str, seed: int = 0) -> Row:
    """The row of the op of that name, with its inputs drawn from that seed."""
    start = time.perf_counter()
    found = reports(name, seed)
    arguments = [argument for report in found for argument in report.arguments]
    worst = max(arguments, key=lambda argument: argument.error / argument.allowed)
    return Row(
        name,
        "derivation" if name in DERIVATIONS else "op",
        sum(argument.elements for argument in arguments),
        worst.error,
        worst.allowed,
        all(found),
        time.perf_counter() - start,
    )


def reports(name: str, seed: int = 0) -> list[GradientReport]:
    """The check of every case of the op of that name."""
    noise = Noise(seed, name, backend="numpy")
    return [
        gradcheck(function, *(draw(noise) for draw in draws), seed=seed)
        for function, *draws in CASES[name]
    ]
