"""Central differences: their step fits the input, and their doubt is honest."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from functions import SMOOTH, plain
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.autograd import derivations, ops
from tinyvae.checker import gradcheck
from tinyvae.checker.oracles import Slope, central_differences

ONE = np.array(1.0)
ROUNDING = 1e-14  # of the closed form of a derivative, and of x / scale
names = st.sampled_from(sorted(SMOOTH))
shares = st.floats(0, 1)


def differences(f, x) -> Slope:
    return central_differences(lambda t: np.asarray(f(np.asarray(x) + t)), ONE, abs(x))


def place(name, share) -> float:
    low, high = SMOOTH[name].low, SMOOTH[name].high
    return low + share * (high - low)


@given(names, shares, st.integers(-9, 9), st.sampled_from([0.0, 1.0, 1e3]))
def test_they_are_off_by_no_more_than_they_say(name, share, exponent, offset):
    function, u, scale = SMOOTH[name], place(name, share), 10.0**exponent
    if abs(u) < 1e-2:
        return
    slope = differences(lambda x: function.value(x / scale) + offset, u * scale)
    exact = function.slope(u) / scale
    assert abs(slope.value - exact) <= 3 * slope.doubt + ROUNDING * abs(exact)


@given(names, shares, st.integers(-10, 10))
def test_their_step_fits_the_input_at_every_scale(name, share, exponent):
    function, u, scale = SMOOTH[name], place(name, share), 10.0**exponent
    if abs(u) < 1e-2:
        return
    slope = differences(lambda x: function.value(x / scale), u * scale)
    size = max(abs(function.slope(u)), abs(function.value(u)) * 1e-3) / scale
    assert slope.doubt <= 1e-5 * size
    assert not slope.kink


@given(st.floats(0.1, 20))
def test_they_agree_with_mpmath(x):
    slope = differences(lambda v: np.exp(np.sin(v)) * np.sqrt(v), x)
    exact = float(mp.diff(lambda v: mp.exp(mp.sin(v)) * mp.sqrt(v), x))
    assert abs(slope.value - exact) <= 3 * slope.doubt + 1e-13 * abs(exact)


@pytest.mark.parametrize("at", [1e-12, 1e-9, 1e-6, 1e-3, 0.1])
@pytest.mark.parametrize("name", ["log", "sqrt", "reciprocal", "entropy"])
def test_near_the_edge_of_a_domain_they_stay_inside(name, at):
    slope = differences(SMOOTH[name].value, at)
    assert slope.value == pytest.approx(float(SMOOTH[name].slope(at)), rel=1e-7)


@pytest.mark.parametrize("power", [2, 4, 6])
def test_at_a_minimum_they_are_zero_and_sure_of_it(power):
    slope = differences(lambda x: (x - 0.5) ** power, 0.5)
    assert abs(slope.value) <= 1e-15 * slope.steepness
    assert slope.doubt <= 1e-4 * slope.steepness


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9, 1e12])
def test_the_doubt_grows_with_what_the_value_is_offset_by(offset):
    slope = differences(lambda x: np.tanh(x) + offset, 0.3)
    error = abs(slope.value - 1 / np.cosh(0.3) ** 2)
    assert error <= 3 * slope.doubt
    assert slope.doubt <= 1e-10 * offset


@given(st.floats(-3, 3), st.sampled_from([1e-12, 1e-9, 1e-7]))
def test_round_off_inside_the_function_is_noticed(x, quantum):
    def rounded(v):
        return np.round((v + 2 * v * v) / quantum) * quantum

    slope = differences(rounded, x)
    assert abs(slope.value - (1 + 4 * x)) <= 3 * slope.doubt + 1e-12


@given(st.floats(-3, 3))
def test_terms_that_cancel_are_noticed(x):
    slope = differences(lambda v: (v + 1e6) ** 2 - 1e12, x)
    assert abs(slope.value - 2 * (x + 1e6)) <= 3 * slope.doubt
    assert slope.doubt <= 1e-4 * 2e6


@pytest.mark.parametrize("at", [0.0, 1e-9, -3e-8, 1.0])
def test_what_is_steep_and_smooth_is_resolved(at):
    slope = differences(lambda x: np.logaddexp(0, 1e8 * x), at)
    assert not slope.kink
    assert slope.value == pytest.approx(1e8 / (1 + np.exp(-1e8 * at)), rel=1e-6)


def test_what_oscillates_quickly_is_resolved():
    slope = differences(lambda x: np.sin(1e6 * x), 1.0)
    assert slope.value == pytest.approx(1e6 * np.cos(1e6), rel=1e-6)


# In a whole check, without the complex step


@given(names, st.lists(st.floats(0.01, 1), min_size=2, max_size=4), st.integers(-8, 8))
def test_a_right_gradient_passes_by_differences_alone(name, places, exponent):
    function, scale = SMOOTH[name], 10.0**exponent
    x = np.array([place(name, share) for share in places]) * scale
    assert gradcheck(
        plain(lambda v: function.value(v / scale)),
        x,
        pullback=lambda g, v: g * function.slope(v / scale) / scale,
    )


@given(names, st.lists(st.floats(0.01, 1), min_size=2, max_size=4), st.floats(1e-3, 3))
def test_a_wrong_gradient_is_wrong_by_differences_alone(name, places, error):
    function = SMOOTH[name]
    x = np.array([place(name, share) for share in places])
    report = gradcheck(
        plain(function.value), x, pullback=lambda g, v: g * function.slope(v) * (1 + error)
    )
    assert report.arguments[0].verdict == "WRONG"


@pytest.mark.parametrize("point", [34.0, 1e3])
def test_a_term_that_does_not_matter_may_be_huge(point):
    assert gradcheck(lambda m: derivations.kl_standard_normal(m, m * 0 + point / 100), np.ones(3))
    assert gradcheck(lambda x: ops.sum(x * x) + point * 1e6, np.array([0.5, -2.0]))
