"""Errors that hide well: at the points not looked at, or behind an oracle that fails."""

from __future__ import annotations

import numpy as np
import pytest

from tinyvae.autograd import ops
from tinyvae.checker import gradcheck

V = np.random.default_rng(5).standard_normal(7)
POSITIVE = np.linspace(0.2, 2, 5)
AFTER_RELU = np.maximum(np.random.default_rng(0).standard_normal(500), 0)
LARGE = np.random.default_rng(1).standard_normal((20, 100))


@pytest.mark.parametrize(
    ("value", "pullback"),
    [
        (lambda x: (x + 1) ** 2, lambda g, x: g * np.where(x == 0, 0, 2 * (x + 1))),
        (lambda x: np.abs(x) + 10 * x, lambda g, x: g * np.where(x == 0, 0, 11)),
    ],
)
def test_a_large_input_is_not_acquitted_at_another_point(value, pullback):
    assert gradcheck(value, AFTER_RELU, pullback=pullback).arguments[0].verdict == "WRONG"


def test_a_relu_after_a_relu_passes():
    assert gradcheck(lambda x: np.maximum(x, 0), AFTER_RELU, pullback=lambda g, x: g * (x > 0))


@pytest.mark.parametrize("value", [lambda x: np.real(x) ** 2, lambda x: x * np.conj(x)])
def test_a_complex_step_that_is_lost_on_the_way_acquits_no_gradient_of_zero(value):
    report = gradcheck(value, V, pullback=lambda g, x: 0 * x * g)
    assert report.arguments[0].verdict == "WRONG"
    assert gradcheck(value, V, pullback=lambda g, x: 2 * x * g)


def test_a_jump_at_the_point_is_no_pass():
    x = np.array([0.0, 1.0, -1.0])
    report = gradcheck(lambda x: x + (x > 0) * 1.0, x, pullback=lambda g, x: g)
    assert not report
    assert "jumps here" in str(report)


@pytest.mark.parametrize(
    "pullback",
    [
        lambda g, x: 2 * x * np.clip(g, -5, 5),
        lambda g, x: 2 * x * g if np.abs(g).max() > 1e-3 else 0 * g,
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_pullback_that_is_right_for_gradients_of_usual_size_alone_is_found(pullback, seed):
    report = gradcheck(lambda x: x * x, POSITIVE, pullback=pullback, seed=seed)
    assert report.problems == (
        "the gradient of argument 0 (x) is not linear in the upstream gradient g",
    )


def test_one_of_thousands_that_is_a_little_off_is_found_and_named():
    def slightly_off(g, x):
        gradient = g * np.cos(x)
        gradient.reshape(-1)[777] *= 1 + 1e-5
        return gradient

    worst = gradcheck(np.sin, LARGE, pullback=slightly_off).arguments[0]
    assert (worst.verdict, worst.index) == ("WRONG", (7, 77))


@pytest.mark.parametrize(
    "function",
    [
        lambda t: ops.softmax(t).sum(axis=-1),
        lambda t: ops.exp(ops.log_softmax(t)).sum(),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_gradient_that_cancels_to_round_off_passes(function, seed):
    assert gradcheck(function, np.random.default_rng(seed).standard_normal((3, 5)), seed=seed)


def test_a_value_with_an_imaginary_part_of_its_own_is_checked_by_differences():
    assert gradcheck(lambda a: (np.abs(a + 1j) ** 2, lambda g: 2 * g * a), V)
    assert not gradcheck(lambda a: (np.abs(a + 1j) ** 2, lambda g: 2.1 * g * a), V)
