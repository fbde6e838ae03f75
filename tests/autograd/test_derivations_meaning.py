"""What holds of the derivations at every point: signs, zeros, minima, and extremes.

Their values are held to definitions in `oracles.distributions`.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.autograd import OPS, Tensor, derivations
from tinyvae.errors import ShapeError

means = st.floats(-1e3, 1e3)
log_variances = st.floats(-80, 80)


def number(value: float) -> Tensor:
    return Tensor(np.array([value]))


@given(means, log_variances)
def test_kl_from_the_standard_normal_is_never_negative(backend, m, v):
    assert derivations.kl_standard_normal(number(m), number(v)).item() >= 0


@given(means, log_variances, means, log_variances)
def test_kl_of_two_gaussians_is_never_negative(backend, m, v, p, w):
    assert derivations.kl_gaussian(*map(number, (m, v, p, w))).item() >= 0


@given(means, log_variances)
def test_kl_of_a_gaussian_from_itself_is_exactly_zero_with_zero_gradients(backend, m, v):
    xs = [Tensor(np.array([x]), requires_grad=True) for x in (m, v, m, v)]
    kl = derivations.kl_gaussian(*xs)
    kl.backward()
    assert kl.item() == 0
    assert [float(x.grad[0]) for x in xs] == [0, 0, 0, 0]


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_kl_of_two_gaussians_from_n_0_1_is_kl_from_the_standard_normal(backend, m, v):
    general = derivations.kl_gaussian(*map(number, (m, v, 0.0, 0.0))).item()
    special = derivations.kl_standard_normal(number(m), number(v)).item()
    assert general == pytest.approx(special, rel=1e-14, abs=1e-300)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(-20, 20))
def test_the_cross_entropy_of_grey_is_least_at_its_logit_where_it_is_the_entropy(backend, t, away):
    best = math.log(t) - math.log1p(-t)
    entropy = -t * math.log(t) - (1 - t) * math.log1p(-t)
    target = number(t)
    least = derivations.bernoulli_cross_entropy(number(best), target).item()
    assert least == pytest.approx(entropy, rel=1e-12)
    assert derivations.bernoulli_cross_entropy(number(away), target).item() >= least * (1 - 1e-12)


def test_a_variance_that_pixels_share_gets_the_sum_of_their_gradients(backend):
    rng = np.random.default_rng(0)
    x, m, v = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), 0.4
    each = (((x - m) ** 2) * math.exp(-v) - 1) / 2
    for shared, expected in (
        (np.full((), v), each.sum()),
        (np.full(1, v), each.sum(keepdims=True)[0]),
        (np.full(4, v), each.sum(axis=0)),
        (np.full((3, 1), v), each.sum(axis=1, keepdims=True)),
    ):
        log_variance = Tensor(shared, requires_grad=True)
        derivations.gaussian_log_likelihood(Tensor(x), Tensor(m), log_variance).sum().backward()
        np.testing.assert_allclose(backend.to_host(log_variance.grad), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_and_log_variances_give_finite_losses_and_gradients(backend, dtype):
    ends, signs = [-1e4, 0.0, 1e4], [-80.0, 0.0, 80.0]
    for name, columns in {
        "bernoulli_cross_entropy": (ends, [1.0, 0.5, 0.0]),
        "gaussian_sample": ([1.0, 0.0, -1.0], signs, [3.0, 0.0, -3.0]),
        "kl_standard_normal": ([1e3, 0.0, -1e3], signs),
        "kl_gaussian": ([1.0, 0.0, -1.0], signs, [0.0, 0.0, 1.0], signs),
        "gaussian_log_likelihood": ([1.0, 0.0, -1.0], [0.0, 0.0, 1.0], signs),
    }.items():
        xs = [Tensor(np.array(c, dtype)[:, None], requires_grad=True) for c in columns]
        y = OPS[name](*xs)
        y.backward(np.ones(y.shape, dtype))
        for values in (y.numpy(), *(backend.to_host(x.grad) for x in xs)):
            assert np.isfinite(values).all(), name


@pytest.mark.parametrize("name", ["bernoulli_cross_entropy", "kl_standard_normal"])
def test_arrays_of_different_shapes_are_refused_rather_than_broadcast(backend, name):
    with pytest.raises(ShapeError, match=rf"{name}.*\(2, 3\).*\(3,\)"):
        OPS[name](Tensor(np.zeros((2, 3))), Tensor(np.zeros(3)))


def test_the_gaussians_refuse_to_broadcast_too(backend):
    a, b = Tensor(np.zeros((2, 3))), Tensor(np.zeros(3))
    for name, operands in (("gaussian_sample", (a, a, b)), ("kl_gaussian", (a, a, b, b))):
        with pytest.raises(ShapeError, match=name):
            OPS[name](*operands)
    with pytest.raises(ShapeError, match="gaussian_log_likelihood"):
        derivations.gaussian_log_likelihood(a, b, a)


def test_a_wide_gaussian_takes_a_far_point_though_its_distance_squared_overflows(backend):
    x, mean = Tensor([1e25]), Tensor([0.0])
    got = derivations.gaussian_log_likelihood(x, mean, 80.0).item()
    assert got == pytest.approx(
        -(1e25**2 / math.exp(80) + 80 + math.log(2 * math.pi)) / 2, rel=1e-6
    )
