"""The complex step: exact where a function is analytic, silent where it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from functions import SMOOTH, X, drawn, fan, verdicts
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from tinyvae.autograd import OPS
from tinyvae.checker import gradcheck, twin
from tinyvae.checker.oracles import complex_step, is_analytic
from tinyvae.checker.subject import make_subject

V = fan(5)


def pair(function, slope):
    """A bare op of which gradcheck knows no Tensor form."""
    return lambda x: (function(x), lambda g: g * slope(x))


@pytest.mark.parametrize("name", OPS)
def test_it_has_every_gradient_of_every_op_to_13_digits(name):
    for function, *inputs in drawn(name, 1):
        report = gradcheck(function, *inputs, seed=1)
        assert report
        assert all(argument.error <= 1e-13 for argument in report.arguments)


@given(st.sampled_from(sorted(SMOOTH)), st.floats(0.01, 1), st.integers(-8, 8))
def test_it_has_the_derivative_to_the_last_digits(name, share, exponent):
    function, scale = SMOOTH[name], 10.0**exponent
    u = function.low + share * (function.high - function.low)
    subject = make_subject(pair(lambda x: function.value(x / scale), abs), [u * scale], None)
    value = complex_step(subject, [np.array(1.0)])
    exact = function.slope(u) / scale
    assert float(value.imag) / twin.STEP == pytest.approx(exact, rel=1e-11)


def test_it_sees_what_differences_cannot():
    def far(x):
        return x + 1e13, lambda g: g * 1.0001

    report = gradcheck(far, X)
    assert verdicts(report) != ["right"]
    assert report.arguments[0].oracle != pytest.approx(report.arguments[0].pullback, rel=1e-5)


# Functions that are not analytic: differences decide

NOT_ANALYTIC = {
    "the real part": (lambda x: x.real**2, lambda x: 2 * x),
    "np.real": (lambda x: np.real(x) ** 3, lambda x: 3 * x**2),
    "the conjugate": (lambda x: np.conj(x) * np.exp(x), lambda x: (1 + x) * np.exp(x)),
    "a norm of NumPy's": (np.linalg.norm, lambda x: x / np.linalg.norm(x)),
    "np.vdot": (lambda x: np.vdot(x, x), lambda x: 2 * x),
    "the absolute value of plain numbers": (
        lambda x: np.array([abs(v.item()) for v in x]) ** 2,
        lambda x: 2 * x,
    ),
    "a plain array": (lambda x: np.tanh(np.asarray(x, float)), lambda x: 1 - np.tanh(x) ** 2),
    "a plain array that is filled": (
        lambda x: [y := np.zeros(5), y.__setitem__(slice(None), x * x)][0],
        lambda x: 2 * x,
    ),
    "Python's floats": (
        lambda x: np.array([math.exp(float(v)) for v in x]),
        np.exp,
    ),
    "a function that refuses complex numbers": (
        special.gammaln,
        special.digamma,
    ),
    "another shape for complex numbers": (lambda x: x.view(float) ** 2, lambda x: 2 * x),
}


@pytest.mark.parametrize("name", NOT_ANALYTIC)
def test_a_right_gradient_of_what_is_not_analytic_passes(name):
    function, slope = NOT_ANALYTIC[name]
    at = np.abs(V) + 0.5 if "refuses" in name else V
    report = gradcheck(pair(function, slope), at)
    assert report
    assert "doubt" not in str(report)


@pytest.mark.parametrize("name", NOT_ANALYTIC)
def test_a_wrong_gradient_of_what_is_not_analytic_is_wrong(name):
    function, slope = NOT_ANALYTIC[name]
    at = np.abs(V) + 0.5 if "refuses" in name else V
    assert verdicts(gradcheck(pair(function, lambda x: 1.001 * slope(x)), at)) == ["WRONG"]


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0, 1e4, 1e8])
def test_cauchy_and_riemann_tell_an_analytic_function_at_every_scale(scale):
    for function, expected in ((np.exp, True), (np.real, False), (np.conj, False)):
        subject = make_subject(pair(lambda x, f=function: f(x / scale), abs), [V * scale], None)
        unit = np.array([1.0, 0, 0, 0, 0])
        assert is_analytic(subject, [unit], abs(V[0]) * scale) == expected


def test_a_pole_beside_the_real_axis_does_not_mislead():
    steep = pair(lambda x: np.tanh(1e6 * x), lambda x: 1e6 / np.cosh(1e6 * x) ** 2)
    assert gradcheck(steep, np.array([1e-7, 0.0, -2e-6]))


# Oracles that disagree


def other_for_complex(x):
    """A kernel whose complex twin computes something else."""
    factor = 2.0 if np.iscomplexobj(x) else 3.0
    return factor * np.sin(x), lambda g: g * 3 * np.cos(x)


def by_imaginary_part(x):
    return x * (1 + (np.imag(x) != 0)), lambda g: g


def test_two_oracles_that_disagree_put_the_oracle_in_doubt():
    report = gradcheck(other_for_complex, V)
    assert verdicts(report) == ["CANNOT TELL"]
    assert not report
    assert "the oracle is in doubt: the complex step says" in str(report)
    assert "WRONG" not in str(report)


def test_both_values_of_the_oracles_are_printed():
    report = gradcheck(other_for_complex, np.array([0.5]), seed=3)
    (argument,) = report.arguments
    assert f"the complex step says {argument.oracle:.10g}" in argument.note
    assert f"the differences {argument.oracle * 1.5:.8g}"[:-1] in argument.note


def test_a_gradient_that_agrees_with_neither_is_wrong():
    def neither(x):
        return other_for_complex(x)[0], lambda g: g * 7 * np.cos(x)

    assert verdicts(gradcheck(neither, V)) == ["WRONG"]


def test_a_branch_on_the_imaginary_part_is_not_analytic_and_differences_decide():
    assert gradcheck(by_imaginary_part, V)
    assert verdicts(gradcheck(lambda x: (by_imaginary_part(x)[0], lambda g: 2 * g), V)) == ["WRONG"]
