"""Right gradients pass, what cannot be checked is refused, and what was wrong once is right."""

from __future__ import annotations

import numpy as np
import pytest
from functions import TARGETS, X, Y, planted

from tinyvae.autograd import OPS, Tensor, derivations, ops
from tinyvae.checker import gradcheck
from tinyvae.errors import DtypeError, GraphError, NonFiniteError, ShapeError

RNG = np.random.default_rng(1)


# Right ones


@pytest.mark.parametrize("seed", range(5))
def test_a_right_gradient_passes_whatever_the_upstream(backend, seed):
    report = gradcheck(derivations.bernoulli_cross_entropy, X, TARGETS, seed=seed)
    assert report
    assert all(worst.passed and worst.error < 1e-9 for worst in report.arguments)


def test_a_whole_model_passes_with_its_noise_handed_in(backend):
    def loss(x, weight, bias, noise):
        mean, log_variance = ops.split(ops.tanh(ops.affine(x, weight, bias)), 2)
        z = derivations.gaussian_sample(mean, log_variance, noise)
        kl = derivations.kl_standard_normal(mean, log_variance)
        return (kl - derivations.gaussian_log_likelihood(x[:, :2], z, 0.5)).mean()

    assert gradcheck(loss, X, RNG.normal(size=(4, 4)), RNG.normal(size=4), RNG.normal(size=(3, 2)))


def test_a_value_of_any_shape_can_be_checked(backend):
    for shape in ((), (1,), (2, 1, 2, 1)):
        assert gradcheck(ops.exp, np.full(shape, 0.3))


@pytest.mark.parametrize("scale", [1e-8, 1e8, 1e12])
def test_a_right_gradient_passes_at_every_scale(backend, scale):
    assert gradcheck(lambda x: (x * x).mean() * scale, X)
    assert gradcheck(lambda x: ops.sum(x * x), X * scale)


def test_an_input_that_is_not_used_has_a_gradient_of_zero(backend):
    report = gradcheck(lambda a, b: a * a, X, Y)
    assert report
    assert report.arguments[1].pullback == 0


def test_a_bare_pair_of_value_and_pullback_needs_no_tensor():
    assert gradcheck(lambda a: (a**3, lambda g: g * 3 * a**2), X)
    assert gradcheck(lambda a, b: (a * b, (lambda g: g * b, lambda g: g * a)), X, Y)
    assert gradcheck(lambda a: (np.exp(a), lambda g: g * np.exp(a)), X)
    assert not gradcheck(lambda a: (np.exp(a), lambda g: g), X)


def test_tensors_and_lists_serve_as_inputs_too(backend):
    assert gradcheck(ops.tanh, Tensor(X))
    assert gradcheck(ops.tanh, [0.5, 1.0])


def test_checking_leaves_the_inputs_as_they_were(backend):
    array, tensor = X.copy(), Tensor(X, requires_grad=True)
    gradcheck(ops.multiply, array, tensor)
    np.testing.assert_array_equal(array, X)
    np.testing.assert_array_equal(tensor.numpy(), X)
    assert tensor.grad is None


@pytest.mark.parametrize("at", [-1.0, 0.0, 1.0])
def test_at_a_kink_a_slope_between_the_one_sided_ones_passes_and_the_kink_is_named(backend, at):
    x = np.array([at, 0.3, 1.5])
    for function in (ops.relu, ops.abs, lambda t: ops.leaky_relu(t, slope=0.3)):
        report = gradcheck(function, x)
        assert report
        assert report.arguments[0].kinks == (((0,),) if at == 0 else ())
        assert ("kink at (0,)" in str(report)) == (at == 0)


def test_at_a_kink_a_slope_outside_the_one_sided_ones_is_wrong(backend):
    wrong = planted(
        abs, lambda x, g: ops.namespace(x).where(x == 0, 1.2 * g, g * ops.namespace(x).sign(x))
    )
    report = gradcheck(wrong, np.array([0.7, 0.0, -0.2]))
    assert report.arguments[0].verdict == "WRONG"
    assert report.arguments[0].index == (1,)


def test_a_tie_of_two_inputs_is_a_kink_of_both(backend):
    report = gradcheck(ops.maximum, np.array([1.0, 2.0]), np.array([1.0, 0.5]))
    assert report
    assert [a.kinks for a in report.arguments] == [((0,),), ((0,),)]


def test_a_function_may_return_a_buffer_that_it_uses_again():
    buffer = np.zeros_like(X)
    assert gradcheck(lambda x: (np.multiply(x, x, out=buffer), lambda g: 2 * g * x), X)


@pytest.mark.parametrize("offset", [1e15, 1e17, 1e20])
@pytest.mark.parametrize("factor", [0, 2])
def test_no_constant_is_so_large_that_a_wrong_gradient_passes_beside_it(offset, factor):
    assert not gradcheck(lambda x: (x + offset, lambda g: g * factor), X)
    assert not gradcheck(lambda x: (x.sum() + offset, lambda g: g * factor * (x == x)), X)


@pytest.mark.parametrize("seed", range(3))
def test_inputs_of_numpys_own_stream_hide_nothing(seed):
    a = np.random.default_rng(seed).normal(size=(3, 4))
    b = np.random.default_rng(seed + 1).normal(size=(4, 4))
    wrong = planted(lambda a, b: a @ b, lambda a, b, g: g @ b.T, lambda a, b, g: g.T @ a)
    assert gradcheck(wrong, a, b, seed=seed).arguments[1].verdict == "WRONG"


# What it refuses


def test_float32_is_refused_as_too_coarse(backend):
    for x in (X.astype("float32"), Tensor([1.0])):
        with pytest.raises(
            DtypeError, match=r"argument 1 \(b\) is of float32.*astype\('float64'\)"
        ):
            gradcheck(ops.add, X, x)


def test_a_function_that_returns_no_tensor_is_refused(backend):
    with pytest.raises(GraphError, match="returned float, not a Tensor"):
        gradcheck(lambda x: 3.0, X)
    with pytest.raises(GraphError, match="returned ndarray"):
        gradcheck(lambda x: x.numpy(), X)


def test_a_function_that_depends_on_no_input_is_refused(backend):
    with pytest.raises(GraphError, match="does not depend on a tensor that requires"):
        gradcheck(lambda x: Tensor(np.array(3.0)), X)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_nan_is_refused_rather_than_passed(backend):
    with pytest.raises(NonFiniteError, match=r"nan in element \(1,\).*argument 0 \(x\)"):
        gradcheck(ops.log, np.array([1.0, -1.0]))
    nan = planted(lambda x: x * 2, lambda x, g: g * float("nan"))
    with pytest.raises(NonFiniteError, match="gradient of argument 0 is not finite"):
        gradcheck(nan, X)


# What was wrong once


def test_an_error_of_the_function_itself_is_passed_on(backend):
    with pytest.raises(DtypeError, match="an array of int64 has no gradient"):
        gradcheck(lambda x: x * np.array([1, 2]), np.array([0.5, 2.0]))


@pytest.mark.parametrize("name", ["kl_standard_normal", "bernoulli_cross_entropy", "maximum"])
def test_the_bare_function_of_an_op_can_be_checked(backend, name):
    assert gradcheck(OPS[name].bare, X, TARGETS)


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3)])
def test_an_input_without_elements_is_refused(backend, shape):
    with pytest.raises(ShapeError, match="is empty: nothing to check"):
        gradcheck(ops.exp, np.zeros(shape))


@pytest.mark.parametrize(
    ("function", "at"),
    [
        (lambda v: derivations.kl_standard_normal(v * 0, v), X * 0),
        (lambda v: derivations.kl_gaussian(v * 0, v, v * 0, v * 0 + 0.3), X * 0 + 0.3),
        (lambda x: ((x - 1) ** 2).sum(), X * 0 + 1),
        (lambda x: (x * x).sum(), X * 1e-12),
    ],
)
def test_a_gradient_of_zero_at_a_minimum_passes(backend, function, at):
    assert gradcheck(function, at)


@pytest.mark.parametrize("factor", [0, 1, 2])
def test_a_gradient_that_round_off_drowns_is_no_pass(factor):
    def far(a):  # not for complex numbers, so that there are differences alone
        return np.array([[float(x) + 1e13 for x in row] for row in a]), lambda g: g * factor

    report = gradcheck(far, X)
    assert not report
    assert "CANNOT TELL" in str(report)


@pytest.mark.parametrize("factor", [0, 1, 2])
def test_the_complex_step_sees_what_round_off_hides_from_differences(factor):
    report = gradcheck(lambda a: (a + 1e13, lambda g: g * factor), X)
    assert report if factor == 1 else not report
    assert gradcheck(lambda m: derivations.kl_standard_normal(m, m * 0 + 34.0), X)


@pytest.mark.parametrize("at", [1e-3, 0.01, 0.1, 1.0, 50.0])
@pytest.mark.parametrize("function", [ops.log, ops.sqrt, lambda x: 1 / x])
def test_a_right_gradient_near_the_edge_of_its_domain_passes(function, at):
    assert gradcheck(function, np.array([at, 1.0]))


def test_a_bare_function_may_use_the_methods_of_arrays():
    assert gradcheck(lambda x: (x.copy() * 2, lambda g: g * 2), X)
