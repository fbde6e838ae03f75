"""The order test: the remainder shrinks with the square of the step, if the gradient is right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from functions import LINEAR, SMOOTH, X, Y, drawn, plain, verdicts
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.autograd import OPS, ops
from tinyvae.checker import Taylor, gradcheck

CURVED = sorted(OPS.keys() - set(LINEAR))
LINEAR_CASES = (("power", 1), ("power", 2), ("laplace_log_likelihood", 2))  # a scale that is given
NOTHING = "nothing is left over: the function is linear here, and the gradient right"


def is_linear(name, case):
    return name in LINEAR or (name, case) in LINEAR_CASES


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", CURVED)
def test_the_slope_is_2_on_every_smooth_op_that_is_not_linear(name, seed):
    for case, (function, *inputs) in enumerate(drawn(name, seed)):
        if not is_linear(name, case):
            taylor = gradcheck(function, *inputs, seed=seed).taylor
            assert taylor.slope == pytest.approx(2, abs=0.1)
            assert taylor.verdict == f"slope {taylor.slope:.2f}: the gradient is right"


@pytest.mark.parametrize("name", LINEAR)
def test_nothing_is_left_over_where_an_op_is_linear(name):
    for function, *inputs in drawn(name, 0):
        taylor = gradcheck(function, *inputs).taylor
        assert math.isnan(taylor.slope)
        assert taylor.verdict == NOTHING


@given(st.sampled_from(sorted(SMOOTH)), st.floats(0.05, 1), st.floats(1e-3, 3), st.booleans())
def test_the_slope_is_1_where_the_gradient_is_wrong(name, share, error, too_small):
    function = SMOOTH[name]
    x = np.array([function.low + share * (function.high - function.low)])
    factor = 1 - min(error, 1) if too_small else 1 + error
    report = gradcheck(function.value, x, pullback=lambda g, v: g * factor * function.slope(v))
    assert report.taylor.slope == pytest.approx(1, abs=0.1)
    assert report.taylor.verdict.endswith("the gradient is wrong")


@pytest.mark.parametrize("error", [1e-3, 0.5, -1.0])
@pytest.mark.parametrize("seed", range(3))
def test_one_wrong_element_of_one_argument_makes_the_slope_1(error, seed):
    off = np.ones_like(X)
    off[1, 2] += error
    report = gradcheck(
        lambda a, b: np.sin(a) * b,
        X,
        Y,
        pullback=lambda g, a, b: (g * np.cos(a) * b * off, g * np.sin(a)),
        seed=seed,
    )
    assert verdicts(report) == ["WRONG", "right"]
    assert report.taylor.slope == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1.0, 1e5, 1e9])
def test_the_steps_suit_the_size_of_the_inputs(scale):
    x = np.array([0.5, 1.5, 2.0])
    for error, slope in ((1, 2), (1.01, 1)):
        report = gradcheck(
            lambda v: np.exp(v / scale),
            x * scale,
            pullback=lambda g, v, e=error: e * g * np.exp(v / scale) / scale,
        )
        assert report.taylor.slope == pytest.approx(slope, abs=0.1)


def test_an_op_that_ignores_its_curvature_is_told_by_its_remainder():
    taylor = gradcheck(lambda x: x * x * x, X).taylor
    exact = [abs(r) / h**2 for h, r in zip(taylor.steps, taylor.remainders, strict=True)][3:12]
    assert max(exact) == pytest.approx(min(exact), rel=0.05)


def test_every_step_is_half_of_the_one_before_it():
    taylor = gradcheck(ops.exp, X).taylor
    assert [a / b for a, b in zip(taylor.steps, taylor.steps[1:], strict=False)] == [2.0] * 19
    assert len(taylor.steps) == len(taylor.remainders) == len(taylor.noise) == 20
    assert len(taylor.slopes) == 19


# Round-off


def test_remainders_below_the_round_off_have_no_slope():
    taylor = gradcheck(ops.exp, X).taylor
    assert math.isnan(taylor.slopes[-1])
    assert taylor.slopes[2] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_round_off_inside_a_function_makes_no_right_gradient_wrong(seed):
    x = np.random.default_rng(seed).normal(size=4)
    report = gradcheck(
        plain(lambda v: ((v + 1e5) ** 2 - 1e10).sum()),
        x,
        pullback=lambda g, v: g * 2 * (v + 1e5),
        seed=seed,
    )
    assert report
    assert "gradient is wrong" not in str(report)


@pytest.mark.parametrize("seed", range(8))
def test_kinks_that_the_steps_cross_make_no_right_gradient_wrong(seed):
    rng = np.random.default_rng(seed)
    report = gradcheck(
        lambda x, w: ops.relu(ops.relu(x @ w) @ ops.transpose(w)),
        rng.normal(size=(5, 4)),
        rng.normal(size=(4, 6)),
        seed=seed,
    )
    assert report
    assert "gradient is wrong" not in str(report)


# As a table


def quadratic(error=0.0):
    steps = tuple(2.0**-k for k in range(4, 24))
    return Taylor(steps, tuple(h * h + error * h for h in steps), (1e-30,) * 20)


def test_it_is_printed_as_a_small_table():
    lines = str(quadratic()).splitlines()
    assert lines[0] == (
        "Taylor remainder under halving of the step: slope 2.00: the gradient is right"
    )
    assert lines[1].split() == ["step", "remainder", "slope"]
    assert lines[2].split() == ["6.2e-02", "3.9062e-03"]
    assert [line.split()[2] for line in lines[3:]] == ["2.000"] * (len(lines) - 3)
    assert len(lines) <= 12


def test_of_a_wrong_gradient_the_slope_falls_from_2_to_1():
    taylor = quadratic(error=1e-3)
    assert taylor.slopes[0] > 1.9
    assert taylor.slope == pytest.approx(1, abs=0.02)
    assert "slope 1.00: the gradient is wrong" in str(taylor)


def test_the_report_prints_it_last_and_its_page_shows_it():
    report = gradcheck(ops.exp, X)
    assert str(report).endswith(str(report.taylor))
    assert str(report.taylor) in report._repr_html_()


def test_there_is_none_where_it_would_say_nothing():
    assert gradcheck(ops.relu, np.array([0.0, 1.0])).taylor is None
    rng = np.random.default_rng(0)
    assert gradcheck(lambda x: x * rng.normal(), np.array([1.0])).taylor is None
