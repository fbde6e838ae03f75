"""What a planted error is, where it shows, and what is truly wrong there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeAlias
from unittest import mock

import numpy as np

from tinyvae import backend as backends
from tinyvae.autograd import OPS, Tensor, derivations, ops
from tinyvae.evaluation.cases import CASES, Case, apart, between, near_identity, normal
from tinyvae.noise import Noise

Op: TypeAlias = Callable[..., tuple[Any, Any]]
"""A function of arrays, with options by keyword, that returns its value and its pullbacks."""


@dataclass(frozen=True, eq=False)
class Call:
    """One set of inputs of an op, with its options."""

    inputs: tuple[np.ndarray, ...]
    options: dict[str, Any]

    def of(self, function: Op) -> Op:
        """The op with these options set."""
        return partial(function, **self.options)

    def copies(self) -> list[np.ndarray]:
        """The inputs, to be changed at will."""
        return [x.copy() for x in self.inputs]


@dataclass(frozen=True)
class Planted:
    """An op with an error.

    Attributes
    ----------
    name : str
        The op and the error, unique.
    op : str
        Which op it should be.
    kind : str
        ``"pullback"`` where the value is right, else ``"forward"``.
    function : Op
        The wrong op, of arrays.
    diagnosis : str
        The usual slip that it is; empty where it is none.
    """

    name: str
    op: str
    kind: str
    function: Op
    diagnosis: str = ""


def square(function: Any, arity: int = 1) -> Case:
    """A case in which a transposed gradient has the right shape."""
    return (function, *[normal(3, 3)] * arity)


FURTHER: dict[str, list[Case]] = {
    "bernoulli_cross_entropy": [square(derivations.bernoulli_cross_entropy, 2)],
    "gaussian_sample": [square(derivations.gaussian_sample, 3)],
    "kl_standard_normal": [square(derivations.kl_standard_normal, 2)],
    "kl_gaussian": [
        (derivations.kl_gaussian, normal(9), between(-4, 4, 9), normal(9), between(-4, 4, 9)),
        square(derivations.kl_gaussian, 4),
    ],
    "gaussian_log_likelihood": [
        (derivations.gaussian_log_likelihood, normal(2, 2, 3), normal(2, 2, 3), normal(2, 2, 3)),
        square(derivations.gaussian_log_likelihood, 3),
    ],
    "importance_bound": [square(derivations.importance_bound)],
    "add": [
        (ops.add, normal(1), normal(1, 2)),
        (ops.add, normal(1, 1), normal(2, 1, 3)),
        (ops.add, normal(1, 1), normal(2, 3, 1)),
    ],
    "multiply": [square(ops.multiply, 2)],
    "maximum": [(ops.maximum, lambda _: np.array([1.0, -2.0, 3.0]), lambda _: np.ones(3))],
    "matmul": [square(ops.matmul, 2)],
    "affine": [(ops.affine, normal(3, 3), normal(3, 3), normal(3))],
    "affine_relu": [(ops.affine_relu, apart(3, 3), near_identity(3), between(-0.05, 0.05, 3))],
    "abs": [(ops.abs, lambda _: np.array([0.0, 1.0]))],
    "exp": [square(ops.exp)],
    "tanh": [square(ops.tanh)],
    "max": [(ops.max, lambda _: np.array([2.0, -1.0, 2.0]))],
    "mean": [(lambda x: ops.mean(x, axis=1), normal(2, 3))],
    "logsumexp": [(ops.logsumexp, normal(1, 3)), square(ops.logsumexp)],
    "softmax": [square(ops.softmax)],
    "log_softmax": [square(ops.log_softmax)],
    "reshape": [(lambda x: x.reshape((3, 2)), normal(2, 3))],
    "transpose": [square(ops.transpose)],
    "stack": [(lambda *xs: ops.stack(*xs, axis=-1), normal(2, 3), normal(2, 3))],
}
"""Cases beside those of the gradient check, for what those do not reach."""


@cache
def calls(op: str, seed: int = 0) -> tuple[Call, ...]:
    """What the cases of the gradient check call the op with, numbers as arrays of no axes."""
    found = []

    def spy(*inputs: Any, **options: Any) -> Any:
        found.append(Call(tuple(np.array(x, "float64") for x in inputs), options))
        return OPS[op].bare(*inputs, **options)

    noise = Noise(seed, op, backend="numpy")
    with mock.patch.dict(backends.get("numpy").kernels, {op: spy}):
        for function, *draws in CASES[op] + FURTHER.get(op, []):
            function(*(Tensor(draw(noise)) for draw in draws))
    return tuple(found)


def many(pullbacks: Any) -> tuple[Callable[..., Any], ...]:
    """The pullbacks of an op, of which a single one may stand by itself."""
    return pullbacks if isinstance(pullbacks, tuple) else (pullbacks,)


def same(a: Any, b: Any) -> bool:
    """Whether two arrays are of one shape and dtype, and equal but for rounding."""
    a, b = np.asarray(a), np.asarray(b)
    alike = a.shape == b.shape and a.dtype == b.dtype
    return alike and np.allclose(a, b, 1e-9, 1e-12, equal_nan=True)


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns; None if it raises, as a wrong op may do anything."""
    try:
        return function(*arguments)
    except Exception:
        return None


def outcome(function: Op, call: Call, seed: int = 0) -> list[Any]:
    """The value, and what each pullback makes of a random upstream gradient."""
    value, pullbacks = attempt(call.of(function), *call.copies()) or (None, ())
    upstream = np.random.default_rng(seed).standard_normal(np.shape(value))
    return [value, *(attempt(pullback, upstream.copy()) for pullback in many(pullbacks))]


@cache
def right_outcome(op: str, call: Call, seed: int = 0) -> list[Any]:
    """That of the op as it is."""
    return outcome(OPS[op].bare, call, seed)


def wrong_parts(op: str, function: Op, call: Call) -> list[int]:
    """The arguments whose gradient is not the op's, after -1 if its value is not."""
    with np.errstate(all="ignore"):
        pairs = zip(outcome(function, call), right_outcome(op, call), strict=False)
    return [k - 1 for k, (a, b) in enumerate(pairs) if not same(a, b)]


def scaled(function: Op, scale: float) -> Op:
    """The op with its value multiplied by a number, as the mean of a loss is its sum."""

    def of_scale(*inputs: Any) -> tuple[Any, Any]:
        value, pullbacks = function(*inputs)
        return value * scale, tuple(lambda g, p=p: p(g * scale) for p in many(pullbacks))

    return of_scale


def added_up(function: Op, scale: float) -> Op:
    """The op with all of its value added up and multiplied by a number: a loss over a batch."""

    def of_sum(*inputs: Any) -> tuple[Any, Any]:
        value, pullbacks = function(*inputs)
        spread = np.full_like(value, scale)
        return value.sum() * scale, tuple(lambda g, p=p: p(g * spread) for p in many(pullbacks))

    return of_sum
