"""Where every op is checked: functions of Tensors, and how their inputs are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tinyvae.autograd import densities, derivations, ops
from tinyvae.noise import Noise

Draw: TypeAlias = Callable[[Noise], np.ndarray]
"""How one input is drawn."""
Case: TypeAlias = tuple[Any, ...]
"""A function of Tensors, and the draw of each of its inputs."""


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


def grey(*shape: int) -> Draw:
    """Pixels that are neither black nor white."""
    return between(0.1, 0.9, *shape)


def black_or_white(*shape: int) -> Draw:
    """Zeros and ones."""
    return lambda noise: 1.0 * (noise.uniform(shape, "float64") < 0.5)


def levels(count: int, *shape: int) -> Draw:
    """Whole numbers from 0, each less than that."""
    return lambda noise: np.floor(between(0, count, *shape)(noise))


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
    # Further densities
    "laplace_log_likelihood": [
        (densities.laplace_log_likelihood, apart(3, 4), between(-0.1, 0.1, 3, 4), normal(3, 4)),
        (densities.laplace_log_likelihood, apart(3, 4), between(-0.1, 0.1, 3, 4), normal(1)),
        (lambda x: densities.laplace_log_likelihood(x, x * 0 + 0.1, -1.5), apart(2, 2, 3)),
    ],
    "laplace_sample": [
        (densities.laplace_sample, normal(3, 4), normal(3, 4), between(0.1, 0.4, 3, 4)),
        (densities.laplace_sample, normal(5), normal(5), between(0.6, 0.9, 5)),
    ],
    "kl_laplace_standard_normal": [
        (densities.kl_laplace_standard_normal, normal(3, 4), normal(3, 4)),
        (densities.kl_laplace_standard_normal, normal(2, 2, 3), between(-4, 2, 2, 2, 3)),
    ],
    "logistic_log_likelihood": [
        (densities.logistic_log_likelihood, normal(3, 4), normal(3, 4), normal(3, 4)),
        (densities.logistic_log_likelihood, normal(3, 4), normal(3, 4), normal(1)),
        (lambda x, m: densities.logistic_log_likelihood(x, m, -1.5), normal(3, 4), normal(3, 4)),
    ],
    "logistic_sample": [
        (densities.logistic_sample, normal(3, 4), normal(3, 4), between(0.1, 0.4, 3, 4)),
        (densities.logistic_sample, normal(5), normal(5), between(0.6, 0.9, 5)),
    ],
    "kl_logistic_standard_normal": [
        (densities.kl_logistic_standard_normal, normal(3, 4), normal(3, 4)),
        (densities.kl_logistic_standard_normal, normal(2, 2, 3), between(-4, 2, 2, 2, 3)),
    ],
    "uniform_log_likelihood": [
        (densities.uniform_log_likelihood, *[between(-0.1, 0.1, 3, 4)] * 2, between(-1, 1, 3, 4)),
        (densities.uniform_log_likelihood, normal(5), normal(5), between(4, 5, 5)),
    ],
    "uniform_sample": [
        (densities.uniform_sample, normal(3, 4), normal(3, 4), between(0, 1, 3, 4)),
    ],
    "kl_uniform_standard_normal": [
        (densities.kl_uniform_standard_normal, normal(3, 4), normal(3, 4)),
        (densities.kl_uniform_standard_normal, normal(2, 2, 3), between(-4, 2, 2, 2, 3)),
    ],
    "continuous_bernoulli_cross_entropy": [
        (densities.continuous_bernoulli_cross_entropy, normal(3, 4), grey(3, 4)),
        (densities.continuous_bernoulli_cross_entropy, between(-9, 9, 2, 2, 3), grey(2, 2, 3)),
        (densities.continuous_bernoulli_cross_entropy, between(-30, 30, 5), between(0, 1, 5)),
    ],
    "discretised_logistic_cross_entropy": [
        (densities.discretised_logistic_cross_entropy, normal(3, 4), normal(3, 4), grey(3, 4)),
        (densities.discretised_logistic_cross_entropy, normal(5), normal(1), black_or_white(5)),
    ],
    "cholesky_sample": [
        (densities.cholesky_sample, normal(2, 3), normal(2, 3), normal(2, 3), normal(2, 3)),
        (densities.cholesky_sample, normal(2), normal(2), normal(1), normal(2)),
        (densities.cholesky_sample, *[normal(2, 2, 4)] * 2, normal(2, 2, 6), normal(2, 2, 4)),
    ],
    "cholesky_log_likelihood": [
        (densities.cholesky_log_likelihood, *[normal(2, 3)] * 4),
        (densities.cholesky_log_likelihood, normal(2), normal(2), normal(2), normal(1)),
        (densities.cholesky_log_likelihood, *[normal(2, 2, 4)] * 3, normal(2, 2, 6)),
    ],
    "kl_cholesky_standard_normal": [
        (densities.kl_cholesky_standard_normal, normal(2, 3), normal(2, 3), normal(2, 3)),
        (densities.kl_cholesky_standard_normal, *[normal(2, 2, 4)] * 2, normal(2, 2, 6)),
    ],
    "mixture_log_likelihood": [
        (densities.mixture_log_likelihood, normal(4, 2), normal(3), normal(3, 2), normal(3, 2)),
        (densities.mixture_log_likelihood, normal(2, 3), normal(1), normal(1, 3), normal(1, 3)),
    ],
    "categorical_cross_entropy": [
        (densities.categorical_cross_entropy, normal(2, 3, 4), levels(4, 2, 3)),
        (densities.categorical_cross_entropy, normal(3, 2), levels(2, 3)),
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
