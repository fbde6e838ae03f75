"""What the derivations must mean as distributions: no gradient check can see a wrong model."""

from __future__ import annotations

import math

import mpmath as mp
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


def density(z: mp.mpf, mean: float, log_variance: float) -> mp.mpf:
    return mp.npdf(z, mean, mp.exp(mp.mpf(log_variance) / 2))


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


@pytest.mark.parametrize(
    ("m", "v", "p", "w"), [(0.3, -0.7, 0.0, 0.0), (1.5, 1.0, -0.5, -1.2), (0.0, -2.0, 2.0, 0.5)]
)
def test_kl_agrees_with_the_integral_of_its_definition(backend, m, v, p, w):
    def integrand(z: mp.mpf) -> mp.mpf:
        q = density(z, m, v)
        return q * (mp.log(q) - mp.log(density(z, p, w)))

    width = math.exp(v / 2)
    true = float(mp.quad(integrand, [m + k * width for k in range(-12, 13, 2)]))
    assert derivations.kl_gaussian(*map(number, (m, v, p, w))).item() == pytest.approx(true, 1e-12)
    if (p, w) == (0.0, 0.0):
        kl = derivations.kl_standard_normal(number(m), number(v))
        assert kl.item() == pytest.approx(true, rel=1e-12)


@pytest.mark.parametrize(("m", "v"), [(0.0, 0.0), (1.3, 2.0), (-2.0, -3.0)])
def test_the_gaussian_density_integrates_to_one(backend, m, v):
    width = math.exp(v / 2)
    x = np.linspace(m - 12 * width, m + 12 * width, 4001)[:, None]
    mean = Tensor(np.full_like(x, m))
    density = np.exp(derivations.gaussian_log_likelihood(Tensor(x), mean, v).numpy())
    assert np.trapezoid(density, x[:, 0]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("m", "v", "x"), [(0.0, 0.0, 0.0), (1.3, 2.0, -0.4), (-2.0, -3.0, -1.9)])
def test_the_gaussian_density_is_the_one_of_mpmath(backend, m, v, x):
    got = derivations.gaussian_log_likelihood(number(x), number(m), number(v)).item()
    assert got == pytest.approx(float(mp.log(density(x, m, v))), rel=1e-14)


@pytest.mark.parametrize(("mean", "log_variance"), [(0.0, math.log(0.25)), (-1.5, 2.0), (3, -3.0)])
def test_the_sample_has_the_mean_and_the_variance_asked_for(backend, mean, log_variance):
    n = 200_000
    noise = np.random.default_rng(0).standard_normal(n)
    noise = (noise - noise.mean()) / noise.std()  # so that the moments are exact
    m, v = Tensor(np.full(n, float(mean))), Tensor(np.full(n, log_variance))
    z = derivations.gaussian_sample(m, v, Tensor(noise)).numpy()
    assert z.mean() == pytest.approx(mean, abs=1e-12)
    assert z.var() == pytest.approx(math.exp(log_variance), rel=1e-12)


def test_sampler_and_log_likelihood_agree_on_the_entropy(backend):
    n, log_variance = 200_000, -1.0
    noise = np.random.default_rng(0).standard_normal((n, 1))
    noise = (noise - noise.mean()) / noise.std()
    m, v = Tensor(np.full((n, 1), 0.7)), Tensor(np.full((n, 1), log_variance))
    z = derivations.gaussian_sample(m, v, Tensor(noise))
    entropy = -derivations.gaussian_log_likelihood(z, m, v).mean().item()
    assert entropy == pytest.approx((1 + math.log(2 * math.pi) + log_variance) / 2, rel=1e-12)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(-20, 20))
def test_the_cross_entropy_of_grey_is_least_at_its_logit_where_it_is_the_entropy(backend, t, away):
    best = math.log(t) - math.log1p(-t)
    entropy = -t * math.log(t) - (1 - t) * math.log1p(-t)
    target = number(t)
    least = derivations.bernoulli_cross_entropy(number(best), target).item()
    assert least == pytest.approx(entropy, rel=1e-12)
    assert derivations.bernoulli_cross_entropy(number(away), target).item() >= least * (1 - 1e-12)


@pytest.mark.parametrize("logit", [-3.0, 0.0, 0.4, 8.0])
def test_black_and_white_have_probabilities_that_add_up_to_one(backend, logit):
    losses = derivations.bernoulli_cross_entropy(
        Tensor(np.full((2, 1), logit)), Tensor(np.array([[0.0], [1.0]]))
    )
    white, black = np.exp(-losses.numpy())[::-1]
    assert white + black == pytest.approx(1, rel=1e-14)
    assert white == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-14)


def test_every_loss_is_summed_over_the_last_axis_and_over_no_other(backend):
    rng = np.random.default_rng(0)
    a, b, c, d = rng.uniform(0.1, 0.9, (4, 2, 3, 5))
    for name, arrays in {
        "bernoulli_cross_entropy": (a, b),
        "kl_standard_normal": (a, b),
        "kl_gaussian": (a, b, c, d),
        "gaussian_log_likelihood": (a, b, c),
    }.items():
        whole = OPS[name](*map(Tensor, arrays)).numpy()
        parts = [
            [OPS[name](*(Tensor(x[i, j]) for x in arrays)).item() for j in range(3)]
            for i in range(2)
        ]
        assert whole.shape == (2, 3)
        np.testing.assert_allclose(whole, parts, rtol=1e-14)


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
