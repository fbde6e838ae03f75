"""Inputs of more elements than can be looked at one by one: directions, then the worst block."""

from __future__ import annotations

import numpy as np
import pytest
from functions import fan, plain, planted, verdicts
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyvae as tv
from tinyvae.autograd import OPS, Tensor, ops
from tinyvae.backend import get
from tinyvae.checker import gradcheck

N = 10_000
SHAPE = (50, 200)
X = fan(N).reshape(SHAPE)
seeds = st.integers(0, 2**32 - 1)


def check(off, x=X, **options):
    """The gradient of exp(x) sin(x), multiplied by ``off`` element by element."""
    return gradcheck(
        lambda v: np.exp(v) * np.sin(v),
        x,
        pullback=lambda g, v: g * np.exp(v) * (np.sin(v) + np.cos(v)) * off,
        **options,
    )


def test_a_right_gradient_of_many_elements_passes(backend):
    report = gradcheck(lambda x: (ops.tanh(x) * x).mean(), X)
    assert report
    assert report.arguments[0].error < 1e-12
    assert report.jacobian_errors == ()


def test_a_right_gradient_passes_by_differences_alone():
    assert gradcheck(
        plain(lambda v: np.sin(v).mean()), X, pullback=lambda g, v: g * np.cos(v) / v.size
    )


@settings(max_examples=8)
@given(seeds, st.integers(0, N - 1), st.sampled_from([0.0, -1.0, 1.01, 2.0]))
def test_one_wrong_element_of_10000_is_found_and_named(seed, place, factor):
    off = np.ones(SHAPE)
    index = tuple(int(i) for i in np.unravel_index(place, SHAPE))
    off[index] = factor
    report = check(off, seed=seed)
    assert verdicts(report) == ["WRONG"]
    assert report.arguments[0].index == index
    assert report.arguments[0].ratio == pytest.approx(factor, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("factor", [0.0, 0.99, 1.0001])
def test_a_wrong_block_is_found_and_an_element_of_it_named(seed, factor):
    off = np.ones(SHAPE)
    off[20:30, 50:100] = factor
    report = check(off, seed=seed)
    (argument,) = report.arguments
    assert argument.verdict == "WRONG"
    assert 20 <= argument.index[0] < 30
    assert 50 <= argument.index[1] < 100


def wrong_by(pattern):
    """A sum of squares whose gradient is off by a pattern, everywhere."""
    return planted(lambda x: (x * x).sum(), lambda x, g: g * (2 * x + pattern))


PATTERNS = {
    "signs that alternate": np.resize([1.0, -1.0], SHAPE),
    "signs that sum to zero in every row": np.tile(np.repeat([1.0, -1.0], 100), (50, 1)),
    "rows that cancel": np.repeat(np.resize([1.0, -1.0], 50), 200).reshape(SHAPE),
    "what sums to zero": fan(N).reshape(SHAPE) - fan(N).mean(),
    "at a right angle to the input": fan(N).reshape(SHAPE)[::-1] * np.sign(X),
}


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("seed", range(2))
def test_an_error_that_sums_to_zero_is_found(name, seed):
    assert verdicts(gradcheck(wrong_by(1e-3 * PATTERNS[name]), X, seed=seed)) == ["WRONG"]


@settings(max_examples=5)
@given(seeds)
def test_an_error_in_a_random_pattern_is_found(seed):
    pattern = np.random.default_rng(seed).normal(0, 1e-4, SHAPE)
    assert verdicts(gradcheck(wrong_by(pattern), X, seed=seed)) == ["WRONG"]


PERMUTED = {
    "transposed": lambda g: g.T.reshape(g.shape),
    "rows reversed": lambda g: g[::-1].copy(),
    "one row for all": lambda g: np.broadcast_to(g[0], g.shape),
}


@pytest.mark.parametrize("name", PERMUTED)
def test_a_gradient_in_another_order_is_wrong(name):
    x = X.reshape(100, 100)
    wrong = planted(lambda x: x * x, lambda x, g: PERMUTED[name](g * 2 * x))
    assert verdicts(gradcheck(wrong, x)) == ["WRONG"]


@pytest.mark.parametrize("seed", range(3))
def test_only_the_argument_that_is_wrong_is_called_so(backend, seed):
    product = planted(
        lambda a, b: a @ b,
        lambda a, b, g: g @ ops.namespace(b).transpose(b),
        lambda a, b, g: 1.001 * (ops.namespace(a).transpose(a) @ g),
    )
    report = gradcheck(product, X, fan(200 * 11).reshape(200, 11), seed=seed)
    assert verdicts(report) == ["right", "WRONG"]


@pytest.mark.parametrize("n", [100, 101])
def test_up_to_a_hundred_elements_each_is_looked_at(n):
    (argument,) = gradcheck(lambda x: (x * x).sum(), fan(n)).arguments
    assert (argument.elements == n) == (n <= 100)
    assert (argument.jacobian is not None) == (n <= 100)


@pytest.mark.parametrize("n", [10**3, 10**4, 10**5])
def test_the_number_of_evaluations_hardly_grows_with_the_input(n):
    calls = [0]

    def counted(x):
        calls[0] += 1
        return (x * x * x).mean()

    report = gradcheck(counted, fan(n), pullback=lambda g, x: g * 3 * x * x / x.size)
    assert report
    assert calls[0] < 1500
    assert report.arguments[0].elements < 100


def test_a_large_value_of_a_small_input_is_no_hurdle(backend):
    assert gradcheck(lambda x: ops.broadcast_to(ops.exp(x), shape=(200, 3)), fan(3))
    wrong = planted(
        lambda x: ops.namespace(x).broadcast_to(x, (200, 3)) * 1.0, lambda x, g: g[:100].sum(axis=0)
    )
    report = gradcheck(wrong, fan(3))
    assert verdicts(report) == ["WRONG"]
    assert report.jacobian_errors == ()


# A whole model


def elbo(hidden, pixels, latent, rows=2, seed=0):
    """The negative ELBO as a function of a VAE's parameters, and their values and names."""
    rng = np.random.default_rng(seed)
    model = tv.VAE((pixels,), latent=latent, hidden=(hidden,), seed=seed).to(dtype="float64")
    x = Tensor(rng.uniform(size=(rows, pixels)))
    noise = get().from_host(rng.normal(size=(rows, latent)))

    def loss(*parameters):
        with model.with_parameters(parameters):
            return tv.negative_elbo(model, x, noise).loss

    values = {name: p.numpy() for name, p in model.named_parameters()}
    biases = {name: rng.normal(0, 0.1, p.shape) for name, p in values.items() if p.ndim == 1}
    return loss, values | biases


def test_every_parameter_of_a_small_vae_passes(backend):
    loss, parameters = elbo(hidden=16, pixels=12, latent=3)
    report = gradcheck(loss, *parameters.values())
    assert report
    assert max(argument.error for argument in report.arguments) < 1e-6


@pytest.fixture
def affine_that_forgets():
    """Within the test the op `affine` leaves the last row out of the gradient of a bias of 784."""
    right = OPS["affine"]

    def forgetful(x, weight, bias):
        y, (to_x, to_weight, to_bias) = right.bare(x, weight, bias)

        def to_output_bias(g, out=None):
            return to_bias(g[:-1] if bias.shape == (784,) else g, out=out)

        return y, (to_x, to_weight, to_output_bias)

    OPS["affine"] = tv.op(forgetful)
    yield
    OPS["affine"] = right


@pytest.mark.slow
def test_the_negative_elbo_of_a_784_400_20_vae_is_right_in_every_parameter(backend):
    loss, parameters = elbo(hidden=400, pixels=784, latent=20, rows=8)
    report = gradcheck(loss, *parameters.values())
    assert report
    assert len(report.arguments) == 8
    assert max(argument.error for argument in report.arguments) < 1e-6
    assert report.taylor.slope == pytest.approx(2, abs=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("affine_that_forgets")
def test_an_error_in_one_bias_of_a_784_400_20_vae_is_found_there_and_nowhere_else():
    loss, parameters = elbo(hidden=400, pixels=784, latent=20, rows=8)
    report = gradcheck(loss, *parameters.values())
    wrong = [
        name
        for name, argument in zip(parameters, report.arguments, strict=True)
        if not argument.passed
    ]
    assert wrong == ["decoder.layers.2.bias"]
    assert report.arguments[-1].verdict == "WRONG"
