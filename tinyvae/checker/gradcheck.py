"""The check of a gradient: by its conduct, by two oracles for its values, by the order test."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from tinyvae import backend as backends
from tinyvae.checker.compare import NEARBY, check_argument
from tinyvae.checker.oracles import EPSILON, STEPS, line
from tinyvae.checker.probe import Argument
from tinyvae.checker.report import CANNOT_TELL, ArgumentReport, GradientReport
from tinyvae.checker.subject import Subject, make_subject, stream
from tinyvae.checker.taylor import direction, order_test
from tinyvae.errors import NonFiniteError, ShapeError

EPSILON32 = float(np.finfo(np.float32).eps)
ROUNDING = 1e-9  # by how much two ways to the same gradient may differ, relative to it
JITTER = 1e-12  # by how much a repeated sum may differ, as where threads add in another order


def gradcheck(
    function: Callable[..., Any],
    *inputs: Any,
    pullback: Callable[..., Any] | None = None,
    seed: int = 0,
    tolerance: float = 1e-7,
    float32: bool = False,
) -> GradientReport:
    """Whether a gradient is right: against two oracles, with what is wrong, where and why.

    Parameters
    ----------
    function : callable
        A function of Tensors that returns a Tensor of any shape; or a bare op, a function
        of arrays that returns its value and its pullback; or, with ``pullback``, a function
        of arrays that returns its value alone. Its randomness must be frozen: hand the noise in.
    *inputs : array_like of float64
        Where to check. Keep away from points where the gradient is zero, give no two inputs the
        same values, and let no two axes have the same length, nor any the length 1, where a
        wrong shape could pass by broadcasting.
    pullback : callable, optional
        ``pullback(g, *inputs)`` returns the gradient, or one for each of several inputs.
    seed : int
        Of the random upstream gradient and of the random directions.
    tolerance : float
        Relative to the gradient, so that a loss that is scaled by 1e-8 is checked as strictly
        as the loss itself.
    float32 : bool
        Whether to run it in float32 too, and to compare that gradient with the one in float64.

    Returns
    -------
    GradientReport
        True if every argument is right; it prints what was found.

    Raises
    ------
    DtypeError
        An input is not float64: float32 is too coarse to tell right from wrong.
    ShapeError, NonFiniteError
        An input is empty; it, the value or a gradient is not finite there.
    GraphError
        The function returns no value, or its pullback no gradient of the input's shape.

    Notes
    -----
    The oracles are central differences, whose step is fitted to the input, and the complex
    step, if the function can take complex numbers; if they disagree with each other the
    verdict is that one cannot tell. All gradients are those of the sum of the value times a
    random upstream: with one of ones, errors that sum to zero hide, as softmax does with a
    gradient of zero. Inputs of more than 100 elements are checked along random directions,
    in blocks, and in the elements of the worst block; on kinks also a little off them. At a
    kink (or within 1e-9 of one) any slope between those to the left and to the right passes,
    element by element, and the report names it: check away from it too. For an element that
    is less than 1e-9 of the largest one of its gradient, the check cannot vouch.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.5, 2.0, 3.0])
    >>> bool(gradcheck(lambda t: t * t, x))  # a function of Tensors
    True
    >>> bool(gradcheck(np.exp, x, pullback=lambda g, x: g * np.exp(x)))  # NumPy alone
    True
    >>> gradcheck(lambda a: (a**3, lambda g: g * 2 * a**2), x)  # a bare op: 3, not 2
    WRONG: argument 0 (a), worst element (...,): the pullback says ...
    """
    with _caller_undisturbed():
        subject = make_subject(function, inputs, pullback)
        with backends.use(subject.backend):
            report = _checked(subject, seed, tolerance)
            if float32 and report.arguments:
                with np.errstate(all="ignore"):
                    problems = _float32_problems(subject, seed)
                report = replace(report, problems=(*report.problems, *problems))
            return report


@contextmanager
def _caller_undisturbed() -> Iterator[None]:
    """Put the global random states back, whatever the function draws."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - it is restored
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _checked(subject: Subject, seed: int, tolerance: float) -> GradientReport:
    value = _finite_value(subject)
    upstream = stream(seed, "upstream").standard_normal(value.shape)
    again, gradients = subject.gradients(upstream)
    if problem := _not_deterministic(value, again):
        return GradientReport((), (problem,))
    round_off = _round_off(subject, value, upstream, seed)
    _check_conduct(subject, gradients, upstream)
    arguments = [
        check_argument(Argument(subject, k, gradients, upstream, tolerance, noise), seed)
        for k, noise in enumerate(round_off)
    ]
    _check_linearity(subject, gradients, upstream, arguments, round_off, seed)
    kinks = any(argument.kinks or NEARBY in argument.note for argument in arguments)
    taylor = None if kinks else order_test(subject, gradients, upstream, seed)
    if taylor and all(argument.passed for argument in arguments):
        if taylor.jumps:
            subject.note(f"each input by itself passes, but not all together: {taylor.verdict}")
        elif taylor.is_wrong:  # a kink lies within its smallest step
            taylor = None
    errors = _jacobian_errors(subject, upstream.shape, arguments)
    return GradientReport(tuple(arguments), tuple(subject.problems), taylor, errors)


def _jacobian_errors(
    subject: Subject, shape: tuple[int, ...], arguments: list[ArgumentReport]
) -> tuple[np.ndarray, ...]:
    jacobians = [argument.jacobian for argument in arguments]
    if any(jacobian is None for jacobian in jacobians):
        return ()
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    rows = [[g.reshape(-1) for g in subject.gradients(unit)[1]] for unit in units]
    got = [np.stack(columns) for columns in zip(*rows, strict=True)]
    return tuple(p - jacobian for p, jacobian in zip(got, jacobians, strict=True))


def _finite_value(subject: Subject) -> np.ndarray:
    value = subject.value(subject.points)
    if not value.size:
        raise ShapeError(f"the value of shape {value.shape} is empty: nothing to check")
    if not np.isfinite(value).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise NonFiniteError(
            f"the value is {value[where]} in element {where}: is the function defined at "
            f"{', '.join(subject.labels)}?"
        )
    return value


def _not_deterministic(first: np.ndarray, second: np.ndarray) -> str:
    if first.shape != second.shape:
        return f"not deterministic: two calls gave shapes {first.shape} and {second.shape}"
    apart = ~(np.abs(first - second) <= JITTER * np.abs(first).max())
    if not apart.any():
        return ""
    where = tuple(int(i) for i in np.argwhere(apart)[0])
    return (
        f"not deterministic: two calls at one point gave {first[where]:.6g} and "
        f"{second[where]:.6g} in element {where}; draw the noise once, outside, and hand it in"
    )


def _round_off(subject: Subject, value: np.ndarray, upstream: np.ndarray, seed: int) -> list[float]:
    """The round-off in each gradient that is of the order of the value's own.

    The value's shows in how far it is from a straight line, on either side of the point.
    """
    rng = stream(seed, "last bits")
    f = line(subject, [direction(rng, x) for x in subject.points])
    noise = EPSILON * float(np.abs(upstream * value).sum())
    for side in (-STEPS[-1], STEPS[-1]):
        values = [f(side * k) for k in range(1, 6)]
        bends = np.abs(upstream * np.diff(values, n=2, axis=0)).reshape(3, -1).sum(axis=1)
        noise = max(noise, float(bends[np.isfinite(bends)].max(initial=0.0)))
    return [noise / max(1.0, float(np.abs(x).max()) / 100) for x in subject.points]


def _check_conduct(subject: Subject, gradients: list[np.ndarray], upstream: np.ndarray) -> None:
    """What every pullback does, whatever it computes; breaches are noted with the subject."""
    again, zero = (subject.gradients(g)[1] for g in (upstream, np.zeros_like(upstream)))
    for label, first, second, nothing in zip(subject.labels, gradients, again, zero, strict=True):
        if not _same(second, first):
            subject.note(f"not deterministic: two pullbacks gave {label} different gradients")
        if nothing.any():
            subject.note(f"an upstream gradient of zero gave {label} a gradient that is not zero")
    if len(gradients) > 1:
        _check_each_in_turn(subject, gradients, upstream)


def _check_linearity(
    subject: Subject,
    gradients: list[np.ndarray],
    upstream: np.ndarray,
    arguments: list[ArgumentReport],
    round_off: list[float],
    seed: int,
) -> None:
    """Of every gradient in the upstream, but for those that are not known to be more than noise."""
    other = stream(seed, "other upstream").standard_normal(upstream.shape)
    others = subject.gradients(other)[1]
    for p, q in ((2.0, -3.0), (1e-8, 0.0), (100.0, 0.0)):
        sums = subject.gradients(p * upstream + q * other)[1]
        for argument, noise, a, b, got in zip(
            arguments, round_off, gradients, others, sums, strict=True
        ):
            scale = float(np.abs(p * a).max() + np.abs(q * b).max()) + 100 * p * noise / ROUNDING
            if argument.verdict != CANNOT_TELL and not _same(got, p * a + q * b, scale):
                subject.note(
                    f"the gradient of {argument.label} is not linear in the upstream gradient g"
                )


def _check_each_in_turn(
    subject: Subject, gradients: list[np.ndarray], upstream: np.ndarray
) -> None:
    for k, (label, together) in enumerate(zip(subject.labels, gradients, strict=True)):
        wanted = [j == k for j in range(len(gradients))]
        if not _same(subject.gradients(upstream, wanted)[1][k], together):
            subject.note(f"{label} alone gets another gradient than together with the others")


def _same(a: np.ndarray, b: np.ndarray, scale: float = 0.0) -> bool:
    scale = scale or float(np.abs(b).max())
    return bool(np.abs(a - b).max() <= ROUNDING * scale)


def _float32_problems(subject: Subject, seed: int) -> list[str]:
    """What in float32, value or gradient, is further from float64 than round-off explains.

    That is measured: by how far the gradient in float64 moves with the last bits of float32.
    """
    rng = stream(seed, "float32")
    rounded = [x.astype("float32").astype("float64") for x in subject.points]
    here = subject.at(rounded)
    upstream = rng.standard_normal(here.value(rounded).shape).astype("float32").astype("float64")
    shaken = [x * (1 + EPSILON32 * rng.choice((-1.0, 1.0), x.shape)) for x in rounded]
    there = subject.at(shaken)
    names = ["the value", *(f"the gradient of {label}" for label in subject.labels)]
    exact, moved, single = (
        [value, *gradients]
        for value, gradients in (
            here.gradients(upstream),
            there.gradients(upstream),
            here.gradients(upstream, dtype="float32"),
        )
    )
    problems = list(here.problems)
    for name, x, y, z in zip(names, single, exact, moved, strict=True):
        error = float(np.abs(x - y).max())
        if error > 100 * EPSILON32 * float(np.abs(y).max()) + 10 * float(np.abs(z - y).max()):
            problems.append(
                f"in float32 {name} is off by {error / np.abs(y).max():.1e} of its largest element"
            )
    return problems
