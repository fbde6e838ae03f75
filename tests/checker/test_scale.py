"""A verdict does not depend on scale: of the loss, of the inputs, of one element beside another."""

from __future__ import annotations

import numpy as np
import pytest
from functions import SMOOTH, X, drawn, fan, planted, verdicts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyvae.autograd import OPS, Tensor, derivations, ops
from tinyvae.checker import gradcheck

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([1e-12, 1e-8, 1.0, 1e8, 1e12])


@settings(max_examples=30)
@given(st.sampled_from(sorted(OPS)), seeds, scales)
def test_a_right_gradient_passes_whatever_the_loss_is_multiplied_by(name, seed, scale):
    for function, *inputs in drawn(name, seed)[:2]:
        report = gradcheck(lambda *xs, f=function: f(*xs) * scale, *inputs, seed=seed)
        assert report
        assert all(argument.error <= 1e-13 for argument in report.arguments)


WRONG = {
    "a factor": lambda right, g, x: 1.001 * right,
    "nothing": lambda right, g, x: 0 * right,
    "the sign of g": lambda right, g, x: right * np.sign(g),
    "one element": lambda right, g, x: right * np.where(np.arange(4) == 2, 1.01, 1.0),
    "the sign": lambda right, g, x: -right,
}


@settings(max_examples=30)
@given(st.sampled_from(sorted(WRONG)), seeds, scales, scales)
def test_a_wrong_gradient_is_wrong_whatever_the_loss_is_multiplied_by(error, seed, scale, other):
    x = np.random.default_rng(seed).uniform(0.1, 2, (3, 4))

    def check(by):
        return gradcheck(
            lambda v: by * v**3,
            x,
            pullback=lambda g, v: WRONG[error](g * by * 3 * v**2, g, v),
            seed=seed,
        )

    one, two = (check(by) for by in (scale, other))
    assert verdicts(one) == verdicts(two) == ["WRONG"]
    assert one.arguments[0].index == two.arguments[0].index
    assert one.arguments[0].error == pytest.approx(two.arguments[0].error, rel=1e-6)


@settings(max_examples=100)
@given(st.sampled_from(sorted(SMOOTH)), st.floats(0.01, 1), seeds, st.integers(-10, 10))
@example("exp", 1.0, 0, -9)
@example("exp", 1.0, 0, -6)
def test_a_verdict_does_not_depend_on_the_scale_of_the_input(name, share, seed, exponent):
    function, scale = SMOOTH[name], 10.0**exponent
    spread = np.random.default_rng(seed).uniform(0.9, 1, 3) * share
    x = (function.low + spread * (function.high - function.low)) * scale
    for error, verdict in ((1.0, "right"), (1.001, "WRONG")):
        report = gradcheck(
            lambda v: function.value(v / scale),
            x,
            pullback=lambda g, v, e=error: g * e * function.slope(v / scale) / scale,
            seed=seed,
        )
        assert verdicts(report) == [verdict]


@given(seeds, st.floats(-6, 0), st.floats(0.01, 10))
def test_a_small_element_beside_large_ones_is_checked_as_strictly(seed, exponent, error):
    x = np.random.default_rng(seed).uniform(0.5, 2, (3, 4))
    weights = np.ones((3, 4))
    weights[1, 2] = 10.0**exponent
    off = np.where(weights == 1, 1, 1 + error)
    report = gradcheck(
        lambda v: weights * np.exp(v),
        x,
        pullback=lambda g, v: g * weights * np.exp(v) * off,
        seed=seed,
    )
    if exponent < -0.01:
        assert verdicts(report) == ["WRONG"]
        assert report.arguments[0].index == (1, 2)
        assert report.arguments[0].ratio == pytest.approx(1 + error, rel=1e-5)


@settings(max_examples=20)
@given(seeds, st.integers(-6, 6), st.integers(-6, 6))
def test_inputs_of_several_scales_may_meet(seed, first, second):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.5, 2, 3) * 10.0**first, rng.uniform(0.5, 2, 3) * 10.0**second
    assert gradcheck(ops.divide, a, b, seed=seed)
    wrong = planted(np.multiply, lambda a, b, g: g * b, lambda a, b, g: 1.01 * g * a)
    assert verdicts(gradcheck(wrong, a, b, seed=seed)) == ["right", "WRONG"]


# A real batch


BATCH, PIXELS = 64, 784
RNG = np.random.default_rng(0)
LOGITS, TARGETS = RNG.normal(0, 2, (BATCH, PIXELS)), RNG.uniform(0.1, 0.9, (BATCH, PIXELS))


def mean_loss(pull, scale=1.0):
    """Cross-entropy averaged over all the pixels of a batch, with a gradient for its logits."""
    value = derivations.bernoulli_cross_entropy.bare
    cross_entropy = planted(
        lambda x: value(x, ops.namespace(x).asarray(TARGETS))[0], lambda x, g: pull(x, g[:, None])
    )
    return lambda logits: cross_entropy(logits).mean() * (scale / PIXELS)


def right(x, g):
    return g * (ops.logistic(x) - TARGETS)


def one_pixel(x, g):
    off = right(x, g)
    off[40, 300] *= 1.01
    return off


ERRORS = {
    "zero": lambda x, g: 0 * x,
    "a factor": lambda x, g: 1.001 * right(x, g),
    "1/B once more": lambda x, g: right(x, g) / BATCH,
    "one row": lambda x, g: right(x, g) * np.where(np.arange(BATCH) == 5, 1.01, 1)[:, None],
    "one pixel": one_pixel,
}


@pytest.mark.parametrize("scale", [1e-8, 1.0])
def test_a_mean_over_a_real_batch_passes(scale):
    report = gradcheck(mean_loss(right, scale), LOGITS)
    assert report
    assert report.arguments[0].error < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
def test_an_error_under_a_mean_over_a_real_batch_is_found(error):
    report = gradcheck(mean_loss(ERRORS[error], 1e-8), LOGITS)
    assert verdicts(report) == ["WRONG"]
    if error == "one pixel":
        assert report.arguments[0].index == (40, 300)


# Gradients that are lost in round-off


@settings(max_examples=6)
@given(seeds)
def test_what_is_constant_but_for_round_off_is_not_called_wrong(seed):
    x = np.random.default_rng(seed).normal(size=(3, 4))

    def standardised(v):
        low = v - v.mean(axis=1, keepdims=True)
        return low / ops.sqrt((low * low).mean(axis=1, keepdims=True) + 1e-5)

    for function in (
        lambda v: ops.softmax(v).sum(),
        lambda v: (v - v.mean()).sum(),
        lambda v: ops.logsumexp(ops.log_softmax(v)).sum(),
        lambda v: standardised(v).sum(),
    ):
        report = gradcheck(function, x, seed=seed)
        assert "WRONG" not in verdicts(report)
        assert report.problems == ()


@pytest.mark.parametrize("z", [20.0, 36.0, 50.0, 300.0])
def test_what_is_saturated_is_not_called_wrong(backend, z):
    x = np.array([[0.0, z, -z]])
    for function in (ops.softmax, ops.log_softmax, ops.sigmoid, ops.tanh, ops.softplus, ops.gelu):
        report = gradcheck(function, x)
        assert "WRONG" not in verdicts(report)
        assert report.problems == ()


def test_a_loss_may_be_large_where_its_gradient_is_small():
    x = fan(6)
    assert gradcheck(lambda v: (v * v).sum() * 1e-3 + 1e6, x)
    report = gradcheck(lambda v: ((v * v).sum() * 1e-3 + 1e6, lambda g: g * 2.02e-3 * v), x)
    assert not report


def test_a_tensor_of_one_number_may_be_of_any_shape():
    for shape in ((), (1,), (1, 1)):
        x = np.full(shape, 0.7)
        assert gradcheck(lambda v: ops.exp(v) * Tensor(X[0, 0]), x)
        wrong = gradcheck(lambda v: (np.exp(v), lambda g: 1.01 * g * np.exp(v)), x)
        assert verdicts(wrong) == ["WRONG"]
