"""The checker checked: right gradients pass, and every planted error is found and named."""

from __future__ import annotations

import numpy as np
import pytest

from tinyvae.autograd import OPS, Tensor, derivations, op, ops
from tinyvae.checker import gradcheck
from tinyvae.errors import DtypeError, GraphError, NonFiniteError, ShapeError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
TARGETS = RNG.uniform(0.1, 0.9, (3, 4))


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


# Wrong ones


def planted(value, *pullbacks):
    """An op of arrays with those pullbacks, each of the inputs and g."""

    @op
    def wrong(*xs):
        return value(*xs), tuple(lambda g, p=p: p(*xs, g) for p in pullbacks)

    return wrong


def softmax(x):
    xp = ops.namespace(x)
    e = xp.exp(x)
    return e / xp.sum(e, axis=-1, keepdims=True)


def one_element_off(x, g):
    right = g * 2 * x
    right[1, 2] *= 1.001
    return right


CE = derivations.bernoulli_cross_entropy.bare


def loss(logits, targets):
    return CE(logits, targets)[0]


def to_targets(x, t, g):
    return -g[:, None] * x


def exp(x):
    return ops.namespace(x).exp(x)


def squared(pullback):
    return planted(lambda x: x * x, pullback)


def added(to_b):
    return planted(lambda a, b: a + b, lambda a, b, g: g, lambda a, b, g: to_b(g))


# What is wrong: the function, its inputs, and which of its arguments it is wrong for
PLANTED = {
    "sign": (
        planted(loss, lambda x, t, g: g[:, None] * (t - ops.logistic(x)), to_targets),
        (X, TARGETS),
        0,
    ),
    "factor 1/B": (
        planted(loss, lambda x, t, g: g[:, None] * (ops.logistic(x) - t) / len(x), to_targets),
        (X, TARGETS),
        0,
    ),
    "factor 2": (squared(lambda x, g: g * x), (X,), 0),
    "zero, of a tiny loss": (lambda x: squared(lambda x, g: g * 0)(x).sum() * 1e-8, (X,), 0),
    "0.1%, of a tiny loss": (
        lambda x: squared(lambda x, g: g * 2.002 * x)(x).sum() * 1e-8,
        (X,),
        0,
    ),
    "softmax of zero": (planted(softmax, lambda x, g: g * 0), (X,), 0),
    "softmax without its sum": (
        planted(softmax, lambda x, g: g * softmax(x) * (1 - softmax(x))),
        (X,),
        0,
    ),
    "upstream ignored": (squared(lambda x, g: 2 * x), (X,), 0),
    "upstream of a number ignored": (planted(lambda x: (x * x).sum(), lambda x, g: 2 * x), (X,), 0),
    "one element": (squared(one_element_off), (X,), 0),
    "transposed": (
        planted(lambda a, b: a @ b, lambda a, b, g: b @ g.T, lambda a, b, g: a.T @ g),
        (X[:, :3], Y[:, :3]),
        0,
    ),
    "second argument": (
        planted(lambda a, b: a * b, lambda a, b, g: g * b, lambda a, b, g: g * b),
        (X, Y),
        1,
    ),
    "broadcast picked, not summed": (added(lambda g: g[0]), (X, Y[0]), 1),
    "broadcast averaged": (added(lambda g: g.mean(axis=0)), (X, Y[0]), 1),
    "rows in another order": (planted(lambda x: x * 2, lambda x, g: 2 * g[::-1]), (X,), 0),
    "sigma squared for sigma": (
        planted(
            lambda v, n: exp(v / 2) * n,
            lambda v, n, g: g * exp(v) * n / 2,
            lambda v, n, g: g * exp(v / 2),
        ),
        (X, Y),
        0,
    ),
    "kl without its - 1": (
        planted(lambda v: (exp(v) - 1 - v) / 2, lambda v, g: g * exp(v) / 2),
        (X,),
        0,
    ),
}


@pytest.mark.parametrize("error", PLANTED)
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_error_is_found_in_its_argument_alone(backend, error, seed):
    function, inputs, argument = PLANTED[error]
    report = gradcheck(function, *inputs, seed=seed)
    assert not report
    assert [worst.passed for worst in report.arguments] == [
        k != argument for k in range(len(inputs))
    ]


def test_the_worst_element_is_named_with_both_values(backend):
    report = gradcheck(PLANTED["one element"][0], X)
    (worst,) = report.arguments
    assert (worst.argument, worst.index) == (0, (1, 2))
    assert worst.pullback == pytest.approx(1.001 * worst.oracle, rel=1e-9)
    text = str(report)
    assert text.startswith("WRONG: argument 0, worst element (1, 2): the pullback says ")
    assert f"{worst.pullback:.10g}" in text
    assert f"{worst.oracle:.10g}" in text
    assert repr(report) == text


def test_the_report_has_a_line_for_every_argument(backend):
    lines = map(str, gradcheck(PLANTED["second argument"][0], X, Y).arguments)
    assert [line.split(",")[0] for line in lines] == ["right: argument 0", "WRONG: argument 1"]


def test_a_missing_sum_over_broadcast_is_an_error_of_shape(backend):
    wrong = added(lambda g: g)
    with pytest.raises(GraphError, match=r"shape \(3, 4\).* for argument 1 \(4,\)"):
        gradcheck(wrong, X, Y[0])


def test_the_tolerance_can_be_widened(backend):
    wrong = squared(one_element_off)
    assert not gradcheck(wrong, X, tolerance=1e-5)
    assert gradcheck(wrong, X, tolerance=1e-2)


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
