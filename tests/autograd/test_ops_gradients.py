"""The gradient of every op and derivation, over the cases that `tinyvae check` runs."""

from __future__ import annotations

import numpy as np
import pytest

from tinyvae.autograd import OPS, Tensor
from tinyvae.checker import gradcheck
from tinyvae.evaluation.cases import CASES
from tinyvae.noise import Noise

NAMED = [(name, k) for name, cases in CASES.items() for k in range(len(cases))]
everywhere = pytest.mark.parametrize(("name", "k"), NAMED)


def inputs_of(name: str, k: int, seed: int = 0) -> list[np.ndarray]:
    return [
        draw(Noise(seed, name, str(i), backend="numpy"))
        for i, draw in enumerate(CASES[name][k][1:])
    ]


def test_every_op_has_a_case():
    assert CASES.keys() == OPS.keys()


@everywhere
def test_the_gradient_agrees_with_finite_differences(backend, name, k):
    report = gradcheck(CASES[name][k][0], *inputs_of(name, k))
    assert report, report
    assert all(worst.error < 1e-9 for worst in report.arguments), report


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_the_gradients_agree_whatever_the_seed(seed):
    for name, k in NAMED:
        report = gradcheck(CASES[name][k][0], *inputs_of(name, k, seed), seed=seed)
        assert report, (name, k, report)


@everywhere
def test_float32_stays_float32_in_the_value_and_in_every_gradient(backend, name, k):
    # The stand-in refuses every promotion on the way as well.
    xs = [Tensor(x.astype("float32"), requires_grad=True) for x in inputs_of(name, k)]
    y = CASES[name][k][0](*xs)
    y.backward(np.ones(y.shape, y.dtype))
    assert y.dtype == ("float64" if name == "astype" else "float32")
    assert {str(x.grad.dtype) for x in xs} == {"float32"}


@everywhere
def test_float32_gradients_are_those_of_float64_but_for_rounding(backend, name, k):
    function, inputs = CASES[name][k][0], [x.astype("float32") for x in inputs_of(name, k)]
    gradients = []
    for dtype in ("float32", "float64"):
        xs = [Tensor(x.astype(dtype), requires_grad=True) for x in inputs]
        y = function(*xs)
        upstream = np.random.default_rng(0).standard_normal(y.shape).astype("float32")
        y.backward(upstream.astype(y.dtype))
        gradients.append([backend.to_host(x.grad) for x in xs])
    for single, double in zip(*gradients, strict=True):
        scale = np.abs(double).max() or 1.0
        np.testing.assert_allclose(single / scale, double / scale, rtol=0, atol=2e-6)


@everywhere
def test_a_pullback_leaves_inputs_value_and_upstream_as_they_were(backend, name, k):
    arrays = inputs_of(name, k)
    xs = [Tensor(x, requires_grad=True) for x in arrays]
    y = CASES[name][k][0](*xs)
    before, ones = y.numpy(), np.ones(y.shape)
    upstream = Tensor(ones, dtype=y.dtype)
    y.backward(upstream)
    assert all(np.array_equal(x.numpy(), a) for x, a in zip(xs, arrays, strict=True))
    assert np.array_equal(y.numpy(), before)
    assert np.array_equal(upstream.numpy(), ones)


@everywhere
def test_the_gradient_is_linear_in_the_upstream(backend, name, k):
    def gradients(factor: float) -> list[np.ndarray]:
        xs = [Tensor(x, requires_grad=True) for x in inputs_of(name, k)]
        y = CASES[name][k][0](*xs)
        y.backward(factor * np.random.default_rng(0).standard_normal(y.shape))
        return [backend.to_host(x.grad) for x in xs]

    for once, twice, none in zip(gradients(1), gradients(-2), gradients(0), strict=True):
        np.testing.assert_allclose(twice, -2 * once, rtol=1e-13, atol=1e-300)
        assert not none.any()
