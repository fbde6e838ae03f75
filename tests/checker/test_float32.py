"""A gradient computed in float32, beside the one in float64."""

from __future__ import annotations

import numpy as np
import pytest
from functions import X, drawn

from tinyvae.autograd import OPS, op, ops
from tinyvae.checker import gradcheck
from tinyvae.errors import DtypeError, NonFiniteError


@pytest.mark.parametrize("name", sorted(OPS.keys() - {"astype"}))
def test_every_op_has_its_gradient_in_float32_too(backend, name):
    for function, *inputs in drawn(name, 0):
        assert gradcheck(function, *inputs, float32=True)


def cancelling(x):
    """log(1 + e^x) as it is written down: in float32 its gradient is 1 - 1/(1 + e^x), or 0."""
    xp = ops.namespace(x)
    return xp.log(1 + xp.exp(x)), lambda g: g * (1 - 1 / (1 + xp.exp(x)))


def test_a_formula_that_cancels_in_float32_is_found():
    x = np.array([-14.0, -15.0, -16.0])
    assert gradcheck(cancelling, x, tolerance=1e-6)
    report = gradcheck(cancelling, x, tolerance=1e-6, float32=True)
    assert not report
    (problem,) = (p for p in report.problems if "gradient" in p)  # the value cancels too
    assert problem.startswith("in float32 the gradient of argument 0 (x) is off by ")
    assert problem.endswith("of its largest element")
    assert report.arguments[0].verdict == "right"
    assert gradcheck(ops.softplus, x, float32=True)


def test_what_overflows_in_float32_alone_is_named():
    x = np.array([1.0, 200.0])
    assert gradcheck(ops.exp, x)
    with pytest.raises(
        NonFiniteError, match=r"gradient of argument 0 \(x\).* in float32: .*\(1,\)"
    ):
        gradcheck(ops.exp, x, float32=True)


def test_of_several_arguments_the_one_that_loses_digits_is_named():
    def product(a, b):
        return a * b, (lambda g: g * b, lambda g: g * ((a + 3000) - 3000))

    a, b = np.array([0.3, 0.7]), np.array([1.5, 2.5])
    assert gradcheck(product, a, b)
    (problem,) = gradcheck(product, a, b, float32=True).problems
    assert "the gradient of argument 1 (b)" in problem


def test_an_ill_conditioned_point_is_no_fault_of_the_op(backend):
    assert gradcheck(lambda x: ops.exp(x) - 1.0, np.array([1e-4, 50.0]), float32=True)
    assert gradcheck(lambda x: ops.exp(ops.exp(x)), np.array([3.0, 2.5]), float32=True)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_it_does_not_depend_on_the_scale_of_the_loss(scale):
    right = gradcheck(lambda x: ops.tanh(x) * scale, X, float32=True)
    assert right

    def lossy(x):
        return scale * np.sin(x).astype(x.dtype), lambda g: scale * g * ((np.cos(x) + 999) - 999)

    assert gradcheck(lossy, X)
    assert not gradcheck(lossy, X, float32=True)


# Slips of dtype


SLIPS = {
    "a value in float64": lambda x: (np.float64(2) * x, lambda g: 2 * g),
    "a gradient in float64": lambda x: (2 * x, lambda g: g * np.full(x.shape, 2.0)),
    "a constant array in float64": lambda x: (np.full(x.shape, 2.0) * x, lambda g: 2 * g),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_of_dtype_shows_in_float32_alone(name):
    assert gradcheck(SLIPS[name], X)
    with pytest.raises(DtypeError, match=r"float64.* of float32|float64 for inputs of float32"):
        gradcheck(SLIPS[name], X, float32=True)


def test_a_slip_of_dtype_in_an_op_of_tensors_is_named_with_the_op():
    @op
    def doubled(x):
        return x * np.full(x.shape, 2.0), lambda g: 2 * g

    assert gradcheck(lambda x: doubled(x), X)
    with pytest.raises(DtypeError, match="doubled made float64 of float32"):
        gradcheck(lambda x: doubled(x), X, float32=True)


def test_without_asking_nothing_is_run_in_float32():
    seen = set()

    def noting(x):
        seen.add(str(x.dtype))
        return 2 * x, lambda g: 2 * g

    gradcheck(noting, X)
    assert "float32" not in seen
    gradcheck(noting, X, float32=True)
    assert "float32" in seen


def test_a_value_that_is_another_one_in_float32_is_found():
    def value(x):
        return x * x * (3 if x.dtype == np.float32 else 1)

    report = gradcheck(value, X, pullback=lambda g, x: 2 * x * g, float32=True)
    assert len(report.problems) == 1
    assert report.problems[0].startswith("in float32 the value is off by 2.0e+00")
