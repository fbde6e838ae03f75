"""Functions that are hard to check: the right gradient passes, and one that is 1% off does not."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from functions import X, Y, fan, planted, verdicts
from scipy import special

from tinyvae.autograd import Tensor, derivations, ops
from tinyvae.checker import gradcheck

SQUARE = fan(9).reshape(3, 3) + 2 * np.eye(3)
V, W = fan(7), fan(7)[::-1].copy()


class Hard(NamedTuple):
    """A function of arrays, its pullback, and where to look at it."""

    value: Any
    pullback: Any
    at: tuple[Any, ...]


def inverse_pullback(g, x):
    turned = np.linalg.inv(x).T
    return -turned @ g @ turned


def sort_pullback(g, x):
    return g[np.argsort(np.argsort(x))]


def running_squares(x):
    y = np.zeros_like(x)
    for i in range(len(x)):
        y[i] = x[: i + 1].sum() ** 2
    return y


def running_squares_pullback(g, x):
    slope = 2 * g * np.cumsum(x)
    return np.cumsum(slope[::-1])[::-1]


def standardise(x):
    return (x - x.mean()) / x.std()


def standardise_pullback(g, x):
    y = standardise(x)
    return (g - g.mean() - y * (g * y).mean()) / x.std()


HARD = {
    "an exponential that nearly overflows": Hard(np.exp, lambda g, x: g * np.exp(x), (V + 700,)),
    "one that nearly vanishes": Hard(np.exp, lambda g, x: g * np.exp(x), (V - 400,)),
    "a division by nearly nothing": Hard(
        lambda x: 1 / x, lambda g, x: -g / x**2, (np.array([1e-12, 1e-6, -1e-3, 1, 1e3]),)
    ),
    "a quotient of two scales": Hard(
        np.divide,
        lambda g, a, b: ((g / b), -(g * a / b**2).sum(axis=0)),
        (X, np.array([1e-9, 1, 1e9, -3.0])),
    ),
    "a logarithm near its edge": Hard(np.log, lambda g, x: g / x, (np.array([1e-9, 1e-3, 2.0]),)),
    "a sine far out": Hard(np.sin, lambda g, x: g * np.cos(x), (np.array([1e3, 1e5, 1e7]),)),
    "a fast sine": Hard(
        lambda x: np.sin(1e6 * x), lambda g, x: 1e6 * g * np.cos(1e6 * x), (np.array([0.0, 1, 2]),)
    ),
    "terms that cancel": Hard(lambda x: (x + 1e8) - 1e8, lambda g, x: g * 1.0, (X,)),
    "squares that cancel": Hard(
        lambda x: ((x + 1e5) ** 2 - 1e10).sum(), lambda g, x: g * 2 * (x + 1e5), (X,)
    ),
    "a variance of what lies far out": Hard(
        lambda x: (x * x).mean() - x.mean() ** 2,
        lambda g, x: g * 2 * (x - x.mean()) / x.size,
        (V + 100,),
    ),
    "a long sum": Hard(
        lambda x: np.exp(3 * x).sum(), lambda g, x: 3 * g * np.exp(3 * x), (fan(5000),)
    ),
    "a matrix's inverse": Hard(np.linalg.inv, inverse_pullback, (SQUARE,)),
    "its determinant": Hard(
        np.linalg.det, lambda g, x: g * np.linalg.det(x) * np.linalg.inv(x).T, (SQUARE,)
    ),
    "a norm": Hard(np.linalg.norm, lambda g, x: g * x / np.linalg.norm(x), (X,)),
    "a sort": Hard(np.sort, sort_pullback, (V,)),
    "a median": Hard(np.median, lambda g, x: g * (x == np.median(x)), (V,)),
    "a running sum": Hard(np.cumsum, lambda g, x: np.cumsum(g[::-1])[::-1], (V,)),
    "a loop that fills an array": Hard(running_squares, running_squares_pullback, (V,)),
    "a standardisation": Hard(standardise, standardise_pullback, (V,)),
    "a product of all": Hard(np.prod, lambda g, x: g * np.prod(x) / x, (V,)),
    "a convolution": Hard(
        lambda x: np.convolve(x, [1.0, -2.0, 0.5], "valid"),
        lambda g, x: np.convolve(g, [0.5, -2.0, 1.0]),
        (V,),
    ),
    "a fraction": Hard(lambda x: x % 0.3, lambda g, x: g * 1.0, (V,)),
    "interpolation": Hard(
        lambda x: np.interp(x, [-5, 0.05, 5], [0, 1, 3]),
        lambda g, x: g * np.where(x < 0.05, 1 / 5.05, 2 / 4.95),
        (V,),
    ),
    "scipy's erf": Hard(special.erf, lambda g, x: g * 2 / np.sqrt(np.pi) * np.exp(-x * x), (V,)),
    "scipy's gammaln": Hard(special.gammaln, lambda g, x: g * special.digamma(x), (V + 3,)),
    "scipy's logsumexp": Hard(special.logsumexp, lambda g, x: g * special.softmax(x), (V,)),
    "three inputs": Hard(
        lambda a, b, c: a[:, None, None] * b[None, :, None] * c,
        lambda g, a, b, c: (
            np.einsum("ijk,j,k->i", g, b, c),
            np.einsum("ijk,i,k->j", g, a, c),
            np.einsum("ijk,i,j->k", g, a, b),
        ),
        (fan(3), fan(2), fan(4)),
    ),
    "axes of length 1": Hard(
        np.multiply,
        lambda g, a, b: ((g * b).sum(0, keepdims=True), (g * a).sum((1, 2), keepdims=True)),
        (fan(3).reshape(1, 3, 1), fan(2).reshape(2, 1, 1)),
    ),
    "numbers without axes": Hard(
        lambda a, b: a * np.sin(b), lambda g, a, b: (g * np.sin(b), g * a * np.cos(b)), (2.0, 3.0)
    ),
}


def off_by(factor, pullback):
    """The pullback with its last gradient multiplied."""

    def made(g, *xs):
        gradients = pullback(g, *xs)
        many = isinstance(gradients, tuple)
        *first, last = gradients if many else (gradients,)
        return (*first, factor * last) if many else factor * last

    return made


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("seed", range(2))
def test_the_right_gradient_passes_and_one_that_is_1_percent_off_is_wrong(name, seed):
    value, pullback, at = HARD[name]
    assert gradcheck(value, *at, pullback=pullback, seed=seed)
    report = gradcheck(value, *at, pullback=off_by(1.01, pullback), seed=seed)
    assert verdicts(report) == ["right"] * (len(at) - 1) + ["WRONG"]


# Functions of Tensors


def deep(x, w):
    for _ in range(40):
        x = ops.tanh(x @ w)
    return x


def attention(q, k, v):
    return ops.softmax(q @ ops.transpose(k) / 2.0) @ v


def whitened(x):
    low = x - x.mean(axis=0, keepdims=True)
    return low / ops.sqrt((low * low).mean(axis=0, keepdims=True) + 1e-5)


def mixture(x, means, log_variance):
    parts = [
        derivations.gaussian_log_likelihood(x, x * 0 + means[k], log_variance) for k in range(3)
    ]
    return ops.logsumexp(ops.stack(*parts, axis=-1))


TENSORS = {
    "a deep network": (deep, X, fan(16).reshape(4, 4)),
    "attention": (attention, X, Y, fan(15).reshape(3, 5)),
    "batch normalisation": (whitened, X),
    "a mixture": (mixture, X, fan(3), np.array([-0.3])),
    "a tower of exponentials": (lambda x: ops.exp(ops.tanh(ops.exp(ops.tanh(ops.exp(x))))), X),
    "whole powers at 0": (lambda x: x**2 + x**3 + x**1 + x**0, np.array([0.0, -1.0, 2.0])),
    "a high power at 0": (lambda x: (x**10).sum(), np.zeros(3)),
    "x |x| at 0": (lambda x: x * ops.abs(x), np.array([0.0, 1.0, -1.0])),
    "logsumexp of what is nearly nothing": (
        ops.logsumexp,
        np.array([[-1e3, 0.0, 1.0], [-800.0, -801.0, -802.0], [0.0, 0.0, 0.0]]),
    ),
    "logsumexp of what is huge": (ops.logsumexp, np.array([[1e5, 1e5 + 1, 1e5 - 2]])),
    "an input that is not used": (lambda x, y: x * 2, X, Y),
    "an identity": (lambda x: x, X),
    "an input without axes": (lambda a, b: a * ops.exp(b), np.array(2.0), X),
    "an input used many times": (lambda x: x * x + x / (x * x + 1.0) - x[0] * x, X),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("seed", range(2))
def test_a_right_gradient_of_a_hard_function_of_tensors_passes(backend, name, seed):
    function, *inputs = TENSORS[name]
    assert gradcheck(function, *inputs, seed=seed)


def test_one_wrong_op_deep_inside_a_network_is_found(backend):
    wrong = planted(
        lambda x: ops.namespace(x).tanh(x),
        lambda x, g: g * (1 - ops.namespace(x).tanh(x) ** 2) * 1.0001,
    )

    def network(x, w):
        for layer in range(10):
            x = wrong(x @ w) if layer == 5 else ops.tanh(x @ w)
        return x

    assert verdicts(gradcheck(network, X, fan(16).reshape(4, 4))) == ["WRONG", "WRONG"]


def test_a_tensor_that_is_detached_has_no_gradient_and_is_found(backend):
    report = gradcheck(lambda x: x.detach() * x, X)
    assert verdicts(report) == ["WRONG"]
    assert report.arguments[0].ratio == pytest.approx(0.5)


# What a function captures


def test_a_captured_parameter_keeps_its_gradient(backend):
    weight = Tensor(Y, requires_grad=True)
    ops.sum(weight * weight).backward()
    before = weight.backend.to_host(weight.grad).copy()
    assert gradcheck(lambda x: ops.tanh(x) * weight, X)
    np.testing.assert_array_equal(weight.backend.to_host(weight.grad), before)
    assert weight.requires_grad


def test_a_captured_result_keeps_its_graph(backend):
    weight = Tensor(Y, requires_grad=True)
    result = ops.exp(weight)
    assert gradcheck(lambda x: x * result, X)
    result.sum().backward()
    np.testing.assert_allclose(weight.backend.to_host(weight.grad), np.exp(Y))
