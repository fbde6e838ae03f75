"""The complex twin of NumPy: real parts as they are, imaginary parts the derivative, never lost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from functions import SMOOTH, X, Y
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.exceptions import ComplexWarning

from tinyvae import backend as backends
from tinyvae import gradcheck
from tinyvae.autograd import Tensor, op, ops
from tinyvae.backend import use
from tinyvae.checker import twin

H = twin.STEP
numbers = st.floats(-4, 4).filter(lambda x: abs(x) > 1e-3)
vectors = arrays(float, 5, elements=numbers, unique=True)


def moved(x, v):
    return twin.as_twin(np.asarray(x, float) + 1j * H * np.asarray(v, float))


def on_twin(function, *places):
    """The value of a function, and its derivative along directions, by its complex twin."""
    with twin.in_use():
        y = np.asarray(function(*[moved(x, v) for x, v in places]))
    return y.real, y.imag / H


def assert_twin(function, derivative, *places):
    value, slope = on_twin(function, *places)
    np.testing.assert_allclose(value, function(*[x for x, _ in places]), rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(slope, derivative, rtol=1e-12, atol=1e-14)


# Functions of one number

OF_ONE = {
    **{name: (s.value, s.slope, s.low, s.high) for name, s in SMOOTH.items()},
    "abs": (np.abs, np.sign, -4, 4),
    "Python's abs": (abs, np.sign, -4, 4),
    "fabs": (np.fabs, np.sign, -4, 4),
    "sign times x": (lambda x: np.sign(x) * x, np.sign, -4, 4),
    "clip": (lambda x: np.clip(x, -1, 1), lambda x: 1.0 * (np.abs(x) < 1), -4, 4),
    "method clip": (lambda x: x.clip(-1, 1), lambda x: 1.0 * (np.abs(x) < 1), -4, 4),
    "where": (lambda x: np.where(x > 0, x, 3 * x), lambda x: np.where(x > 0, 1, 3), -4, 4),
    "maximum": (lambda x: np.maximum(x, 0.5), lambda x: 1.0 * (x > 0.5), -4, 4),
    "minimum": (lambda x: np.minimum(0.5, x), lambda x: 1.0 * (x < 0.5), -4, 4),
    "log1p of little": (lambda x: np.log1p(1e-12 * x), lambda x: 1e-12 / (1 + 1e-12 * x), -4, 4),
    "logaddexp": (lambda x: np.logaddexp(x, 1), lambda x: 1 / (1 + np.exp(1 - x)), -700, 700),
    "hypot": (lambda x: np.hypot(x, 3), lambda x: x / np.hypot(x, 3), -4, 4),
    "power": (lambda x: x**2.5, lambda x: 2.5 * x**1.5, 0.1, 4),
    "a number to the power": (lambda x: 2.0**x, lambda x: math.log(2) * 2.0**x, -4, 4),
}


@given(st.sampled_from(sorted(OF_ONE)), st.floats(0, 1), st.floats(0.1, 3))
def test_a_function_of_one_number_keeps_its_value_and_carries_its_derivative(name, share, v):
    function, slope, low, high = OF_ONE[name]
    x = np.array([low + share * (high - low)])
    assert_twin(function, v * slope(x), (x, [v]))


# Functions of arrays: linear in the direction on each side of a branch

PIECEWISE_LINEAR = {
    "maximum": lambda x: np.maximum(x, x[::-1] * 0.5),
    "minimum": lambda x: np.minimum(x, 1 - x),
    "where": lambda x: np.where(x > x[0], x * 2, x[::-1]),
    "max": np.max,
    "method min": lambda x: x.min(),
    "reduce": np.maximum.reduce,
    "accumulate": np.maximum.accumulate,
    "sort": np.sort,
    "sorted in place": lambda x: [y := x.copy(), y.sort()][0],
    "by argsort": lambda x: x[np.argsort(x)[::-1]],
    "largest by index": lambda x: x[np.argmax(x)],
    "median": np.median,
    "sum of the positive": lambda x: x[x > 0].sum(),
    "mean": np.mean,
    "cumsum": np.cumsum,
    "indexing": lambda x: x[[0, 0, 3]] + x[1],
    "written in place": lambda x: [y := x.copy(), y.__setitem__(slice(0, 2), 3 * x[2:4])][0],
    "added in place": lambda x: [y := x.copy(), y.__iadd__(x[::-1])][0],
    "out": lambda x: np.multiply(x, 2, out=np.empty_like(x)),
    "maximum with out": lambda x: np.maximum(x, 0, out=np.empty_like(x)),
    "concatenated with a plain array": lambda x: np.concatenate([np.ones(2), x]),
    "stacked": lambda x: np.stack([x, -x], axis=1),
    "broadcast": lambda x: np.broadcast_to(x, (2, 5)),
    "to a float dtype": lambda x: x.astype(float) + x.astype("float64", copy=True),
    "an array of itself": lambda x: np.array(x),
    "Python's max": lambda x: max(x),
    "Python's sorted": lambda x: np.array(sorted(x)),
    "a branch of Python": lambda x: x * 2 if x[0] > 0 else x * 3,
    "einsum": lambda x: np.einsum("i,ij->j", x, X[:, :4].repeat(2, 0)[:5]),
    "matmul": lambda x: x @ np.arange(10.0).reshape(5, 2),
    "pad": lambda x: np.pad(x, 1),
}


@given(st.sampled_from(sorted(PIECEWISE_LINEAR)), vectors, vectors)
def test_a_function_with_branches_goes_by_the_real_part(name, x, v):
    function = PIECEWISE_LINEAR[name]
    h = 1e-9  # small enough to stay on the side, and linear there
    exact = (np.asarray(function(x + h * v)) - np.asarray(function(x))) / h
    value, slope = on_twin(function, (x, v))
    np.testing.assert_allclose(value, function(x), rtol=1e-14)
    np.testing.assert_allclose(slope, exact, atol=1e-4)


@given(vectors, vectors)
def test_comparisons_are_those_of_real_numbers(x, v):
    for compare in (np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal):
        with twin.in_use():
            told = compare(moved(x, v), moved(x[::-1], -v))
        assert told.dtype == bool
        np.testing.assert_array_equal(told, compare(x, x[::-1]))


@given(vectors, vectors)
def test_what_is_no_number_of_the_function_is_left_real(x, v):
    y = moved(x, v)
    for found in (np.argmax(y), np.argsort(y), y > 0, np.signbit(y), y.astype(int), x.shape):
        assert np.asarray(found).dtype.kind in "bi"
    assert not np.sign(y).imag.any()


@given(vectors, vectors)
def test_a_product_of_functions_obeys_the_product_rule(x, v):
    value = np.tanh(x) * np.abs(x)
    slope = v * ((1 - np.tanh(x) ** 2) * np.abs(x) + np.tanh(x) * np.sign(x))
    got = on_twin(lambda y: np.tanh(y) * np.abs(y), (x, v))
    np.testing.assert_allclose(got, (value, slope), rtol=1e-12, atol=1e-14)


# The imaginary part is never lost without a word

LOSSES = {
    "float": lambda x: float(x[0]),
    "math": lambda x: math.exp(x[0]),
    "int": lambda x: int(x[0]),
    "a plain array of it": lambda x: np.asarray(x, dtype=float),
    "a plain copy": lambda x: np.array(x, dtype="float64"),
    "written into a plain array": lambda x: np.zeros(5).__setitem__(slice(None), x),
    "one element written": lambda x: np.zeros(5).__setitem__(0, x[0]),
    "added to a plain array": lambda x: np.zeros(5).__iadd__(x),
    "out in a plain array": lambda x: np.add(x, x, out=np.zeros(5)),
    "copyto": lambda x: np.copyto(np.zeros(5), x),
    "add.at": lambda x: np.add.at(np.zeros(5), [0], x[:1]),
    "full": lambda x: np.full(3, x[0], dtype=float),
    "fill": lambda x: np.zeros(3).fill(x[0]),
    "floor": np.floor,
    "remainder": lambda x: x % 1,
}


@pytest.mark.parametrize("name", LOSSES)
def test_to_lose_the_imaginary_part_is_an_error(name):
    with twin.in_use(), pytest.raises((TypeError, ComplexWarning)):
        LOSSES[name](moved(np.arange(1.0, 6.0), np.ones(5)))


def test_outside_of_the_block_all_is_as_before():
    before = np.geterr(), backends.get()
    with twin.in_use():
        assert backends.get().name == "twin"
    assert (np.geterr(), backends.get()) == before


# Tensors


def test_functions_of_the_package_compute_with_twins(backend):
    with twin.in_use():
        y = ops.tanh(Tensor.wrap(moved(X, Y)) * 2.0).array
    np.testing.assert_allclose(y.real, np.tanh(2 * X), rtol=1e-14)
    np.testing.assert_allclose(y.imag / H, 2 * Y / np.cosh(2 * X) ** 2, rtol=1e-12)


CAPTURED = {
    "a tensor": Tensor,
    "a parameter": lambda a: Tensor(a, requires_grad=True),
    "what a tensor makes": lambda a: Tensor(a) * 2.0 - Tensor(a),
}


@pytest.mark.parametrize("kind", CAPTURED)
def test_a_captured_tensor_is_adopted(backend, kind):
    captured = CAPTURED[kind](Y)
    for function in (
        lambda x: ops.tanh(x) * captured,
        lambda x: captured / ops.exp(x),
        lambda x: ops.affine(x, ops.transpose(captured), Tensor(np.ones(3))),
        lambda x: ops.concatenate(captured, x, axis=0) ** 2,
    ):
        report = gradcheck(function, X)
        assert report
        if backend.host:
            assert report.arguments[0].error < 1e-14


def test_a_captured_array_is_adopted():
    assert gradcheck(lambda x: ops.exp(x) * Y + Y[0], X).arguments[0].error < 1e-14
    assert gradcheck(lambda x: (x * Y, lambda g: g * Y), X).arguments[0].error < 1e-14


def test_an_op_of_the_users_is_checked_by_it(backend):
    @op
    def swish(x):
        xp = ops.namespace(x)
        s = 1 / (1 + xp.exp(-x))
        return x * s, lambda g: g * (s + x * s * (1 - s))

    report = gradcheck(lambda x: ops.sum(swish(x) * x), X)
    assert report
    assert report.arguments[0].error < 1e-14


def test_a_kernel_gives_way_to_its_formula():
    with use("numpy") as numpy:
        assert "bernoulli_cross_entropy" in numpy.kernels
    with twin.in_use():
        assert not backends.get().kernels
