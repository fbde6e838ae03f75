"""Kinks, found by one-sided slopes: at them, near them, and where there only seem to be some."""

from __future__ import annotations

import numpy as np
import pytest
from functions import fan, plain, verdicts
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.autograd import Tensor, ops
from tinyvae.checker import gradcheck

REAL = (lambda f: f, plain)  # with the complex step, and without
KINK, ELSEWHERE = 1.0, 2.5


def bent(x):
    return np.abs(x - KINK)


def sided(x):
    return np.sign(x - KINK)


def check(function, slope, at, **options):
    return gradcheck(function, np.array([at, ELSEWHERE]), pullback=lambda g, x: g * slope(x))


both = pytest.mark.parametrize("form", REAL, ids=["complex", "plain"])


@both
@pytest.mark.parametrize("choice", [-1.0, -0.3, 0.0, 1.0])
def test_at_a_kink_every_slope_between_the_one_sided_ones_passes(form, choice):
    report = check(form(bent), lambda x: np.where(x == KINK, choice, sided(x)), KINK)
    assert report
    assert report.arguments[0].kinks == ((0,),)
    assert "kink at (0,): any slope between the one-sided ones passes" in str(report)


@both
@pytest.mark.parametrize("choice", [-1.1, 1.01, 40.0])
def test_at_a_kink_every_other_slope_is_wrong(form, choice):
    report = check(form(bent), lambda x: np.where(x == KINK, choice, sided(x)), KINK)
    assert verdicts(report) == ["WRONG"]
    assert report.arguments[0].index == (0,)


@pytest.mark.parametrize("away", [1e-3, 1e-4, 1e-5, 1e-6, -1e-3, -1e-5])
@both
def test_near_a_kink_the_right_slope_passes_and_the_other_sides_is_wrong(form, away):
    right = check(form(bent), sided, KINK + away)
    assert right
    assert right.arguments[0].kinks == ()
    wrong = check(form(bent), lambda x: np.where(x == ELSEWHERE, 1, -sided(x)), KINK + away)
    assert verdicts(wrong) == ["WRONG"]


@pytest.mark.parametrize("away", [1e-7, 1e-9, -1e-9])
def test_very_near_a_kink_the_complex_step_still_tells(away):
    assert check(bent, sided, KINK + away)
    assert not check(bent, lambda x: np.where(x == ELSEWHERE, 1, -sided(x)), KINK + away)


@pytest.mark.parametrize("away", [1e-7, 1e-9, -1e-9])
def test_very_near_a_kink_differences_alone_are_never_sure_of_what_is_wrong(away):
    assert "WRONG" not in verdicts(check(plain(bent), sided, KINK + away))
    assert not check(plain(bent), lambda x: np.where(x == ELSEWHERE, 1, -sided(x)), KINK + away)


@pytest.mark.parametrize("away", [1e-9, 1e-7, 1e-4, -1e-9, -1e-6])
def test_a_relu_next_to_zero_is_told_from_one_at_zero(backend, away):
    report = gradcheck(ops.relu, np.array([away, 0.5, -0.5]))
    assert report
    assert report.arguments[0].kinks == ()


# Jumps, and slopes that have no end


def jump(x):
    return np.where(x >= KINK, 2 * x, x - 1)


@both
@pytest.mark.parametrize("slope", [0.0, 1.0, 5.0, 1e5])
def test_at_a_jump_no_slope_but_that_of_the_branch_taken_passes(form, slope):
    report = check(form(jump), lambda x: np.where(x == KINK, slope, 2.0), KINK)
    assert not report
    assert report.arguments[0].kinks == ()


def test_at_the_step_of_a_floor_one_cannot_tell():
    report = check(np.floor, lambda x: x * 0 + 0.1 * (x == KINK), KINK)
    assert verdicts(report) == ["CANNOT TELL"]
    assert "check at another point" in str(report)


def test_beside_a_jump_all_is_well():
    assert check(np.floor, lambda x: x * 0, KINK + 1e-4)
    assert check(np.floor, lambda x: x * 0, KINK - 1e-4)


@pytest.mark.parametrize("slope", [0.0, 7.0])
def test_a_slope_without_an_end_is_no_kink(slope):
    report = gradcheck(
        lambda x: np.sqrt(np.abs(x)), np.array([0.0]), pullback=lambda g, x: g * slope
    )
    assert not report
    assert report.arguments[0].kinks == ()


# What only looks like a kink


@pytest.mark.parametrize("steepness", [1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("at", [0.0, 3e-9, 0.3])
def test_what_is_steep_but_smooth_is_no_kink(backend, steepness, at):
    x = np.array([at / steepness, -2 / steepness])
    for function in (ops.softplus, ops.tanh):
        report = gradcheck(lambda v, f=function: f(steepness * v), x)
        assert report
        assert report.arguments[0].kinks == ()


@given(st.floats(-3, 3))
def test_round_off_is_no_kink(x):
    report = gradcheck(
        plain(lambda v: np.round(np.exp(v) * 1e10) / 1e10),
        np.array([x]),
        pullback=lambda g, v: g * np.exp(v),
    )
    assert report.arguments[0].kinks == ()
    assert report


@pytest.mark.parametrize("power", [2, 3])
def test_a_bend_of_the_slope_is_no_kink_of_the_value(power):
    report = gradcheck(lambda x: ops.relu(x) ** power, np.array([0.0, 1.0, -1.0]))
    assert report
    assert report.arguments[0].kinks == ()


# Several at once


def test_every_kink_is_named_by_its_index(backend):
    x = np.array([[0.0, 1.0, -0.0], [2.0, 0.0, -1.0]])
    report = gradcheck(ops.relu, x)
    assert report
    assert report.arguments[0].kinks == ((0, 0), (0, 2), (1, 1))


@pytest.mark.parametrize("seed", range(4))
def test_ties_of_a_maximum_are_kinks_and_pass(backend, seed):
    x = np.random.default_rng(seed).integers(0, 3, (3, 4)).astype(float)
    assert gradcheck(lambda a: ops.max(a, axis=1), x, seed=seed)
    assert gradcheck(ops.max, np.ones((2, 3)), seed=seed)
    assert gradcheck(ops.maximum, x, x[::-1].copy(), seed=seed)


@pytest.mark.parametrize("seed", range(4))
def test_where_several_kinks_meet_in_one_number_a_wrong_call_is_not_made(seed):
    rng = np.random.default_rng(seed)
    target = Tensor(rng.normal(size=(5, 3)))

    def loss(weight, bias):
        hidden = ops.relu(ops.affine(Tensor(rows), weight, bias))
        return ((hidden - target) ** 2).sum()

    rows = rng.normal(size=(5, 4))
    report = gradcheck(loss, np.zeros((4, 3)), np.zeros(3), seed=seed)
    assert "WRONG" not in verdicts(report)


@pytest.mark.parametrize("seed", range(4))
def test_a_network_with_kinks_in_it_passes(backend, seed):
    rng = np.random.default_rng(seed)
    shapes = ((5, 4), (4, 8), (8,), (8, 3), (3,))
    inputs = [rng.normal(size=shape) for shape in shapes]

    def network(x, w1, b1, w2, b2):
        return ops.affine(ops.relu(ops.affine(x, w1, b1)), w2, b2)

    assert gradcheck(network, *inputs, seed=seed)


# In large inputs, which are looked at along directions


@both
@pytest.mark.parametrize("zeros", [1, 2, 500])
@pytest.mark.parametrize("seed", range(2))
def test_a_large_input_with_kinks_is_checked_beside_them(form, zeros, seed):
    n = 2000
    x = fan(n)
    x[:zeros] = 0
    weights = fan(n)[::-1].copy()
    relu = form(lambda v: (weights * np.maximum(v, 0)).sum())
    report = gradcheck(relu, x, pullback=lambda g, v: g * weights * (v > 0), seed=seed)
    assert report
    assert "there are kinks here, so that it was checked a little off them" in str(report)
    assert report.taylor is None


@pytest.mark.parametrize("seed", range(4))
def test_an_error_in_a_large_input_is_found_for_all_its_kinks(seed):
    n = 2000
    x, weights = fan(n), fan(n)[::-1].copy()
    x[::2] = 0
    x[777] = 0.5
    error = np.where(np.arange(n) == 777, 1.01, 1)
    report = gradcheck(
        lambda v: (weights * np.maximum(v, 0)).sum(),
        x,
        pullback=lambda g, v: g * weights * (v > 0) * error,
        seed=seed,
    )
    assert verdicts(report) == ["WRONG"]
    assert report.arguments[0].index == (777,)
