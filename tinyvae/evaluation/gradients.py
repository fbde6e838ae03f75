"""Every gradient against the oracles, where it is smooth: what `tinyvae check` prints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np

from tinyvae import backend as backends
from tinyvae.autograd import derivations, ops
from tinyvae.checker import GradientReport, gradcheck
from tinyvae.noise import Noise

Draw: TypeAlias = Callable[[Noise], np.ndarray]
"""How one input is drawn."""
Case: TypeAlias = tuple[Any, ...]
"""A function of Tensors, and the draw of each of its inputs."""


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


def normal(*shape: int) -> Draw:
    """Draws from the standard normal."""
    return lambda noise: np.array(noise.normal(shape, "float64"))


def between(low: float, high: float, *shape: int) -> Draw:
    """Draws from [low, high)."""
    return lambda noise: low + (high - low) * noise.uniform(shape, "float64")


def apart(*shape: int, offset: float = 0.25) -> Draw:
    """Values 1/2 apart from each other in random order, none near 0: away from kinks and ties."""
    n = math.prod(shape)
    return lambda noise: ((noise.permutation(n) - n // 2 + offset) / 2).reshape(shape)


def signed_columns(rows: int, columns: int) -> Draw:
    """A column above 1/2, one below -1/2, and so on: positive rows times it are not near 0."""
    draw = between(0.5, 1, rows, columns)
    return lambda noise: draw(noise) * (-1.0) ** np.arange(columns)


def near_identity(n: int) -> Draw:
    """The identity matrix and a little more: rows times it stay away from 0 if they were."""
    draw = between(-0.01, 0.01, n, n)
    return lambda noise: np.eye(n) + draw(noise)


CASES: dict[str, list[Case]] = {
    # The derivations
    "bernoulli_cross_entropy": [
        (derivations.bernoulli_cross_entropy, normal(3, 4), between(0.1, 0.9, 3, 4)),
        (derivations.bernoulli_cross_entropy, between(-30, 30, 2, 2, 3), between(0, 1, 2, 2, 3)),
    ],
    "gaussian_sample": [
        (derivations.gaussian_sample, normal(3, 4), normal(3, 4), normal(3, 4)),
    ],
    "kl_standard_normal": [
        (derivations.kl_standard_normal, normal(3, 4), normal(3, 4)),
        (derivations.kl_standard_normal, normal(2, 2, 3), between(-8, 4, 2, 2, 3)),
    ],
    "kl_gaussian": [
        (derivations.kl_gaussian, normal(3, 4), normal(3, 4), normal(3, 4), normal(3, 4)),
        (derivations.kl_gaussian, normal(5), between(-3, 3, 5), normal(5), between(-3, 3, 5)),
    ],
    "gaussian_log_likelihood": [
        (derivations.gaussian_log_likelihood, normal(3, 4), normal(3, 4), normal(3, 4)),
        (derivations.gaussian_log_likelihood, normal(3, 4), normal(3, 4), normal(1)),
        (derivations.gaussian_log_likelihood, normal(3, 4), normal(3, 4), normal()),
        (lambda x, m: derivations.gaussian_log_likelihood(x, m, -1.5), normal(3, 4), normal(3, 4)),
    ],
    "importance_bound": [
        (derivations.importance_bound, normal(3, 4)),
        (derivations.importance_bound, between(-30, 30, 2, 2, 3)),
        (derivations.importance_bound, normal(5)),
    ],
    # Arithmetic
    "add": [
        (ops.add, normal(2, 3), normal(2, 3)),
        (ops.add, normal(2, 1, 3), normal(4, 1)),
        (ops.add, normal(), normal(3)),
    ],
    "subtract": [
        (ops.subtract, normal(2, 3), normal(2, 3)),
        (ops.subtract, normal(3), normal(2, 1)),
        (lambda x: 1 - x, normal(3)),
    ],
    "multiply": [
        (ops.multiply, normal(2, 3), normal(2, 3)),
        (ops.multiply, normal(2, 1, 3), normal(4, 1)),
        (lambda x: x * x, normal(3)),
    ],
    "divide": [
        (ops.divide, normal(2, 3), between(0.5, 2, 2, 3)),
        (ops.divide, normal(3), between(-2, -0.5, 2, 1)),
        (lambda x: 1 / x, between(0.5, 2, 3)),
    ],
    "negative": [(ops.negative, normal(2, 3))],
    "power": [
        (lambda x: ops.power(x, exponent=3), normal(2, 3)),
        (lambda x: ops.power(x, exponent=1), normal(3)),
        (lambda x: ops.power(x, exponent=0), normal(3)),
        (lambda x: ops.power(x, exponent=0.5), between(0.5, 2, 3)),
        (lambda x: ops.power(x, exponent=-2), between(0.5, 2, 3)),
    ],
    "maximum": [
        (ops.maximum, apart(2, 3), apart(2, 3, offset=0.75)),
        (ops.maximum, apart(3), apart(4, 1, offset=0.75)),
    ],
    "matmul": [
        (ops.matmul, normal(2, 3), normal(3, 4)),
        (ops.matmul, normal(3), normal(3)),
        (ops.matmul, normal(3), normal(3, 4)),
        (ops.matmul, normal(2, 3), normal(3)),
        (ops.matmul, normal(5, 2, 3), normal(5, 3, 4)),
        (ops.matmul, normal(2, 1, 2, 3), normal(3, 3, 2)),
        (ops.matmul, normal(4, 2, 3), normal(3)),
        (ops.matmul, normal(3), normal(4, 3, 2)),
    ],
    "affine": [(ops.affine, normal(4, 3), normal(3, 2), normal(2))],
    "affine_relu": [
        (ops.affine_relu, between(0.1, 1, 4, 3), signed_columns(3, 2), between(-0.1, 0.1, 2)),
        (ops.affine_relu, apart(4, 3), near_identity(3), between(-0.05, 0.05, 3)),
    ],
    # Functions of one number
    "exp": [(ops.exp, normal(2, 3))],
    "log": [(ops.log, between(0.5, 2, 2, 3))],
    "sqrt": [(ops.sqrt, between(0.5, 2, 2, 3))],
    "abs": [(ops.abs, apart(2, 3))],
    "tanh": [(ops.tanh, normal(2, 3))],
    "sigmoid": [(ops.sigmoid, normal(2, 3)), (ops.sigmoid, between(-20, 20, 5))],
    "softplus": [(ops.softplus, normal(2, 3)), (ops.softplus, between(-20, 20, 5))],
    # Activations
    "relu": [(ops.relu, apart(2, 3))],
    "leaky_relu": [
        (ops.leaky_relu, apart(2, 3)),
        (lambda x: ops.leaky_relu(x, slope=0.3), apart(2, 3)),
    ],
    "elu": [(ops.elu, apart(2, 3)), (lambda x: ops.elu(x, alpha=0.5), apart(2, 3))],
    "gelu": [(ops.gelu, between(-4, 4, 2, 3))],
    # Reductions
    "sum": [
        (ops.sum, normal(2, 3)),
        (lambda x: ops.sum(x, axis=0), normal(2, 3)),
        (lambda x: ops.sum(x, axis=-1, keepdims=True), normal(2, 3)),
        (lambda x: ops.sum(x, axis=(0, -1)), normal(2, 3, 4)),
    ],
    "mean": [
        (ops.mean, normal(2, 3)),
        (lambda x: ops.mean(x, axis=0), normal(2, 3)),
        (lambda x: ops.mean(x, axis=(-1, 0), keepdims=True), normal(2, 3, 4)),
    ],
    "max": [
        (ops.max, apart(2, 3)),
        (lambda x: ops.max(x, axis=1), apart(2, 3)),
        (lambda x: ops.max(x, axis=(0, 2), keepdims=True), apart(2, 3, 2)),
    ],
    "logsumexp": [
        (ops.logsumexp, normal(2, 3)),
        (lambda x: ops.logsumexp(x, axis=0, keepdims=True), normal(2, 3)),
        (lambda x: ops.logsumexp(x, axis=None), normal(2, 3)),
        (lambda x: ops.logsumexp(x, axis=(0, 2)), normal(2, 3, 2)),
    ],
    "softmax": [(ops.softmax, normal(2, 3)), (lambda x: ops.softmax(x, axis=0), normal(2, 3))],
    "log_softmax": [
        (ops.log_softmax, normal(2, 3)),
        (lambda x: ops.log_softmax(x, axis=0), normal(2, 3)),
    ],
    # Shapes
    "reshape": [
        (lambda x: ops.reshape(x, shape=(3, 2)), normal(2, 3)),
        (lambda x: x.reshape(-1), normal(2, 3)),
    ],
    "transpose": [
        (ops.transpose, normal(2, 3)),
        (lambda x: ops.transpose(x, axes=(2, 0, 1)), normal(2, 3, 4)),
        (lambda x: ops.transpose(x, axes=(-1, 0, -2)), normal(2, 3, 4)),
    ],
    "broadcast_to": [
        (lambda x: ops.broadcast_to(x, shape=(4, 2, 3)), normal(2, 1)),
        (lambda x: ops.broadcast_to(x, shape=(3,)), normal()),
    ],
    "astype": [(lambda x: ops.astype(x, dtype="float64"), normal(2, 3))],
    "getitem": [
        (lambda x: x[1], normal(2, 3)),
        (lambda x: x[..., None, -1], normal(2, 3)),
        (lambda x: x[:, ::-2], normal(2, 4)),
        (lambda x: x[[2, 0, 2, 2]], normal(3, 2)),
        (lambda x: x[[0, 0, 1], [1, 1, 2]], normal(2, 3)),
        (lambda x: x[:, np.array([[1, 1], [0, -1]])], normal(2, 3)),
        (lambda x: x[np.array([True, False, True])], normal(3, 2)),
    ],
    "concatenate": [
        (ops.concatenate, normal(2, 3), normal(1, 3)),
        (lambda *xs: ops.concatenate(*xs, axis=-1), normal(2, 1), normal(2, 3), normal(2, 2)),
        (lambda x: ops.concatenate(x, x * 2), normal(3)),
    ],
    "stack": [
        (ops.stack, normal(2, 3), normal(2, 3)),
        (lambda *xs: ops.stack(*xs, axis=-1), normal(2), normal(2), normal(2)),
    ],
}
"""For every op, functions of Tensors and how to draw their inputs."""


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
        "derivation" if hasattr(derivations, name) else "op",
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
