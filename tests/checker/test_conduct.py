"""What a function and its pullback do besides computing, and what a check leaves undone."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
from functions import X, Y, planted, verdicts
from test_bad_input import check, of_arrays, of_every_form

from tinyvae import backend as backends
from tinyvae import gradcheck
from tinyvae.autograd import Tensor, op, ops

# Not deterministic


def drawn_from_numpy(x):
    return x * x * np.random.normal(size=x.shape)  # noqa: NPY002 - the one that people forget


def drawn_from_python(x):
    return x * x + random.random()


def drawn_from_a_generator(size):
    rng = np.random.default_rng(0)
    return lambda x: x * x * (1 + size * rng.normal())


def counted():
    calls = iter(range(10**6))
    return lambda x: x * x + next(calls)


RANDOM = {
    "np.random": drawn_from_numpy,
    "random": drawn_from_python,
    "a generator": drawn_from_a_generator(1.0),
    "a little noise": drawn_from_a_generator(1e-10),
    "a counter": counted(),
}


@of_every_form
@pytest.mark.parametrize("kind", RANDOM)
def test_a_function_that_is_not_deterministic_is_named_and_compared_with_nothing(form, kind):
    report = check(form, value=RANDOM[kind])
    assert not report
    assert report.arguments == ()
    (problem,) = report.problems
    assert problem.startswith("not deterministic: two calls at one point gave ")
    assert problem.endswith("draw the noise once, outside, and hand it in")


@of_every_form
def test_a_pullback_that_alone_is_not_deterministic_is_named_with_its_argument(form):
    rng = np.random.default_rng(0)
    report = check(form, pullback=lambda g, x: 2 * g * x * (1 + 1e-6 * rng.normal()))
    assert not report
    assert (
        "not deterministic: two pullbacks gave argument 0 (x) different gradients"
        in report.problems
    )


@of_every_form
def test_a_pullback_that_adds_to_what_it_gave_before_is_named(form):
    total = np.zeros_like(X)

    def adding(g, x):
        np.add(total, 2 * g * x, out=total)
        return total.copy()

    assert any("not deterministic" in problem for problem in check(form, pullback=adding).problems)


# Changes


@of_every_form
def test_a_function_that_changes_its_input_is_named(form):
    def value(x):
        x *= 2
        return x * x / 4

    problem = "the function changed argument 0 (x) in place: compute a new array instead"
    assert problem in check(form, value=value).problems


@of_every_form
def test_a_pullback_that_changes_the_input_is_named(form):
    def pullback(g, x):
        x += 1
        return 2 * g * (x - 1)

    report = check(form, pullback=pullback, x=np.array([1.0, 2.0, -4.0]))
    assert verdicts(report) == ["right"]
    assert report.problems == (
        "the pullback changed argument 0 (x) in place: compute a new array instead",
    )
    assert not report


def test_the_input_that_was_changed_is_named_and_not_the_other():
    def value(a, b):
        b.sort()
        return a * b

    report = gradcheck(value, X, Y, pullback=lambda g, a, b: (g * b, g * a))
    assert "the function changed argument 1 (b) in place: compute a new array instead" in (
        report.problems
    )
    assert not any("argument 0" in problem and "changed" in problem for problem in report.problems)


@of_arrays
def test_a_pullback_that_changes_the_upstream_gradient_is_named(form):
    report = check(form, pullback=lambda g, x: np.multiply(g, 2 * x, out=g))
    assert verdicts(report) == ["right"]
    assert report.problems == ("the pullback changed the upstream gradient g that it was handed",)


def test_a_pullback_that_changes_the_value_is_named():
    def value_and_pullback(x):
        y = np.exp(x)
        return y, lambda g: np.multiply(y, g, out=y)

    (problem,) = gradcheck(value_and_pullback, X).problems
    assert problem == "the pullback changed the value that the function had returned"


# Linear in g

NOT_LINEAR = {
    "ignores g": lambda g, x: 2 * x,
    "g twice": lambda g, x: 2 * g * g * x,
    "sign lost": lambda g, x: 2 * abs(g) * x,
    "clipped": lambda g, x: 2 * np.clip(g, -0.1, 0.1) * x,
    "a term without g": lambda g, x: 2 * g * x + 1e-6,
}


@of_every_form
@pytest.mark.parametrize("kind", NOT_LINEAR)
def test_a_pullback_that_is_not_linear_in_g_is_named_with_its_argument(form, kind):
    problem = "the gradient of argument 0 (x) is not linear in the upstream gradient g"
    assert problem in check(form, pullback=NOT_LINEAR[kind]).problems


@of_every_form
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_a_gradient_that_is_not_zero_for_zero_g_is_named_whatever_its_scale(form, scale):
    report = check(
        form,
        lambda x: scale * x * x,
        lambda g, x: scale * (2 * g * x if g.any() else np.ones_like(x)),
    )
    assert verdicts(report) == ["right"]
    assert report.problems == (
        "an upstream gradient of zero gave argument 0 (x) a gradient that is not zero",
    )


def test_of_several_arguments_the_one_that_is_not_linear_is_named():
    report = gradcheck(
        lambda a, b: a * b, X, Y, pullback=lambda g, a, b: (g * b, g * a * (1 + 1e-3 * g))
    )
    assert report.problems == (
        "the gradient of argument 1 (b) is not linear in the upstream gradient g",
    )
    assert verdicts(report) == ["right", "WRONG"]


# In turn and together


def test_an_argument_that_alone_gets_another_gradient_than_together_is_named():
    @op
    def product(a, b):
        done = []

        def to_a(g):
            done.append(g)
            return g * b

        return a * b, (to_a, lambda g: g * a * (1 if done else 2))

    for function in (product, product.bare):
        report = gradcheck(function, X, Y)
        assert verdicts(report) == ["right", "right"]
        assert report.problems == (
            "argument 1 (b) alone gets another gradient than together with the others",
        )


def test_one_input_handed_in_twice_is_two_arguments(backend):
    for x in (X, Tensor(X, requires_grad=True)):
        report = gradcheck(lambda a, b: a * a * b, x, x)
        assert report
        first, second = report.arguments  # 2 a b and a a: where a = b the one is twice the other
        assert first.index == second.index
        assert first.oracle == pytest.approx(2 * second.oracle, rel=1e-12)
    assert gradcheck(lambda a, b: a * b, X, X, pullback=lambda g, a, b: (g * b, g * a))


def test_of_one_input_handed_in_twice_the_wrong_gradient_alone_is_wrong(backend):
    wrong = planted(lambda a, b: a * b, lambda a, b, g: g * b, lambda a, b, g: 2 * g * a)
    assert verdicts(gradcheck(lambda a, b: wrong(a, b), X, X)) == ["right", "WRONG"]


def test_a_tensor_used_more_than_once_has_the_sum_of_its_gradients(backend):
    assert gradcheck(lambda x: x * ops.exp(x) + x @ ops.transpose(x) @ x - x, X)
    half = planted(lambda a, b: a * b, lambda a, b, g: g * b, lambda a, b, g: 0 * g)
    assert verdicts(gradcheck(lambda x: half(x, x), X)) == ["WRONG"]


# What a check leaves as it was


def failing(x):
    np.random.normal()  # noqa: NPY002
    random.random()
    raise KeyError("x")


@pytest.mark.parametrize("function", [drawn_from_numpy, drawn_from_python, failing, ops.exp])
def test_the_global_random_states_are_as_before(function):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = random.random(), np.random.normal()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    try:
        gradcheck(function, X)
    except KeyError:
        assert function is failing
    assert (random.random(), np.random.normal()) == expected  # noqa: NPY002


@of_every_form
def test_a_function_that_changes_its_input_does_not_change_the_callers(form):
    x = X.copy()

    def value(x):
        x *= 2
        return x * x / 4

    check(form, value=value, x=x)
    np.testing.assert_array_equal(x, X)


@of_every_form
def test_an_input_may_be_a_view_that_cannot_be_written(form):
    x = np.broadcast_to(X[0], (3, 4))
    assert not x.flags.writeable
    assert check(form, x=x)
    assert check(form, x=np.asfortranarray(X)[::2, ::-1])


def broken(a, b, g):
    raise KeyError("g")


@pytest.mark.parametrize("to_b", [lambda a, b, g: g * a, lambda a, b, g: g, broken])
def test_the_tensors_of_the_caller_are_as_before_also_after_an_error(backend, to_b):
    wrong = planted(lambda a, b: a * b, lambda a, b, g: g * b, to_b)
    x, weight = (Tensor(v, requires_grad=True, name=n) for v, n in ((X, "x"), (Y, "weight")))
    (x * weight).sum().backward()
    before = [np.array(t.backend.to_host(t.grad)) for t in (x, weight)]
    try:
        gradcheck(lambda a, b: wrong(a, b) * weight, x, Y)
    except KeyError:
        assert to_b is broken
    for t, grad, value, name in zip((x, weight), before, (X, Y), ("x", "weight"), strict=True):
        np.testing.assert_array_equal(t.backend.to_host(t.grad), grad)
        np.testing.assert_array_equal(t.numpy(), value)
        assert (t.requires_grad, t.name, str(t.dtype)) == (True, name, "float64")


@pytest.mark.parametrize("function", [ops.exp, failing])
def test_the_backend_the_warnings_and_the_handling_of_overflow_are_as_before(backend, function):
    filters = list(warnings.filters)
    with np.errstate(over="raise", under="ignore"):
        handling = np.geterr()
        try:
            gradcheck(function, X)
        except KeyError:
            assert function is failing
        assert np.geterr() == handling
    assert warnings.filters == filters
    assert backends.get() is backend
