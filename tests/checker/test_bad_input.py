"""Bad input is refused with the error's type and words that name the argument and the mend."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from functions import X, Y

from tinyvae import gradcheck
from tinyvae.autograd import Tensor, op, ops
from tinyvae.errors import DtypeError, GraphError, NonFiniteError, ShapeError


def square(x):
    return x * x


def to_square(g, x):
    return 2 * g * x


def as_function_of_tensors(value, pullback):
    @op
    def made(x):
        return value(x), lambda g: pullback(g, x)

    return lambda x: made(x), {}


def as_bare_op(value, pullback):
    return lambda x: (value(x), lambda g: pullback(g, x)), {}


def as_pair(value, pullback):
    return lambda x: value(x), {"pullback": pullback}


FORMS: dict[str, Callable[..., Any]] = {
    "function of Tensors": as_function_of_tensors,
    "bare op": as_bare_op,
    "pair": as_pair,
}
"""The three ways to hand in one value and one pullback."""

of_every_form = pytest.mark.parametrize("form", FORMS)
of_arrays = pytest.mark.parametrize("form", ["bare op", "pair"])


def check(form, value=square, pullback=to_square, x=X, **options):
    function, more = FORMS[form](value, pullback)
    return gradcheck(function, x, **options, **more)


@of_every_form
def test_a_right_gradient_passes_in_every_form(form):
    assert check(form)


# Inputs

INPUTS = {
    "float32": (np.ones(3, "float32"), DtypeError, "is of float32; .* as .astype('float64')"),
    "integers": (np.ones(3, "int64"), DtypeError, "is of int64; .* as .astype('float64')"),
    "truths": (np.array([True]), DtypeError, "is of bool"),
    "complex": (np.ones(2) * 1j, DtypeError, "is of complex128"),
    "objects": (np.array([None]), DtypeError, "is of object"),
    "None": (None, DtypeError, "is None, and no array of numbers"),
    "text": ("many", DtypeError, "is str, and no array of numbers"),
    "a dict": ({}, DtypeError, "is dict, and no array of numbers"),
    "ragged": ([[1.0, 2.0], [3.0]], DtypeError, "is list, and no array of numbers"),
    "empty": (np.ones((2, 0)), ShapeError, "of shape (2, 0) is empty: nothing to check"),
    "an empty list": ([], ShapeError, "of shape (0,) is empty"),
    "NaN": (np.array([[1.0, np.nan]]), NonFiniteError, "is nan in element (0, 1): check at finite"),
    "infinite": (np.array([1.0, -np.inf]), NonFiniteError, "is -inf in element (1,)"),
}


def words(text):
    return re.escape(text).replace(r"\.\*", ".*")


@of_every_form
@pytest.mark.parametrize("bad", INPUTS)
def test_an_input_that_is_no_array_of_finite_float64_is_refused_by_name(form, bad):
    x, error, message = INPUTS[bad]
    with pytest.raises(error, match=words(f"argument 0 (x) {message}")):
        check(form, x=x)


def test_the_input_that_is_named_is_the_bad_one_by_the_name_of_its_tensor(backend):
    logits = Tensor(np.ones(2, "float32"), name="logits")
    with pytest.raises(DtypeError, match=r"argument 1 \(logits\) is of float32"):
        gradcheck(lambda a, b: a * b, X[0, :2], logits)


def test_an_input_of_a_function_of_any_number_is_named_by_its_place():
    with pytest.raises(NonFiniteError, match="argument 1 is nan"):
        gradcheck(lambda *xs: xs[0] + xs[1], np.ones(2), np.array([1.0, np.nan]))


@of_every_form
@pytest.mark.parametrize("x", [2, 0.5, [1, 2], [[1.0], [2.0]], np.float64(3.0)])
def test_numbers_and_lists_of_them_are_inputs(form, x):
    assert check(form, x=x)


# The function and the pullback themselves


def test_what_is_no_function_is_refused():
    with pytest.raises(GraphError, match=r"takes a function first, .* not ndarray of float64"):
        gradcheck(X, X)
    with pytest.raises(GraphError, match=r"the pullback is given .* but is int and no function"):
        gradcheck(np.exp, X, pullback=3)


@of_every_form
def test_a_check_without_inputs_asks_for_them(form):
    function, options = FORMS[form](square, to_square)
    with pytest.raises(GraphError, match=r"takes the inputs after the function: where"):
        gradcheck(function, **options)


@of_every_form
def test_inputs_that_the_function_does_not_take_are_counted(form):
    function, options = FORMS[form](square, to_square)
    given = r"is given argument 0 \(x\), argument 1, but takes \(x\): too many"
    with pytest.raises(GraphError, match=given):
        gradcheck(function, X, Y, **options)
    with pytest.raises(GraphError, match=r"but takes \(a, b\): missing a required argument: 'b'"):
        gradcheck(lambda a, b: a * b, X)


def test_a_pullback_that_does_not_take_g_and_the_inputs_is_told_what_it_is_given():
    with pytest.raises(GraphError, match=r"is given g, argument 0 \(x\), but takes \(g\)"):
        gradcheck(lambda x: x * x, X, pullback=lambda g: g)


@pytest.mark.parametrize("n", [1, 3])
def test_a_wrong_number_of_gradients_is_counted(n):
    with pytest.raises(GraphError, match=f"2 inputs but {n} pullbacks: .* one pullback for each"):
        gradcheck(lambda a, b: (a + b, (lambda g: g,) * n), X, Y)
    with pytest.raises(GraphError, match=rf"returned {n} gradients for 2 inputs, .*\(a\), .*\(b\)"):
        gradcheck(lambda a, b: a + b, X, Y, pullback=lambda g, a, b: (g,) * n)
    wrong = op(lambda a, b: (a + b, (lambda g: g,) * n))
    with pytest.raises(GraphError, match=f"2 inputs but {n} pullbacks"):
        gradcheck(wrong, X, Y)


@pytest.mark.parametrize("bad", [None, X, 3.0])
def test_what_is_no_pullback_is_told_what_one_is(bad):
    with pytest.raises(GraphError, match=r"where the pullback of argument 0 \(x\) is wanted: .*g"):
        gradcheck(lambda x: (x * x, bad), X)


@pytest.mark.parametrize("function", [np.sin, lambda x: np.sin(x)])
def test_a_function_of_arrays_alone_is_told_to_hand_in_its_pullback(function):
    with pytest.raises(GraphError, match="hand the pullback in with pullback="):
        gradcheck(function, X)


# Values


@pytest.mark.parametrize("bad", [None, "loss", {}, (1, 2, 3)])
def test_a_function_that_returns_no_array_is_told_what_it_returned(bad):
    kind = "a tuple of 3" if isinstance(bad, tuple) else type(bad).__name__
    said = f"returned {kind.replace('NoneType', 'None')}"
    with pytest.raises(GraphError, match=said):
        gradcheck(lambda x: bad, X)
    if not isinstance(bad, tuple):
        with pytest.raises(GraphError, match=said):
            gradcheck(lambda x: (bad, to_square), X)
        with pytest.raises(GraphError, match=said):
            gradcheck(lambda x: bad, X, pullback=to_square)


@of_every_form
@pytest.mark.parametrize("dtype", ["float32", "int64", "complex128", "bool"])
def test_a_value_of_another_dtype_is_refused(form, dtype):
    with pytest.raises(DtypeError, match=dtype):
        check(form, value=lambda x: np.ones(x.shape, dtype))


@of_every_form
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_element(form, bad):
    def value(x):
        return np.where(np.arange(4) == 2, bad, x * x)

    said = rf"the value is {bad} in element \(0, 2\): is the function defined at argument 0 \(x\)"
    with pytest.raises(NonFiniteError, match=said):
        check(form, value=value)


@of_every_form
def test_an_empty_value_is_refused(form):
    with pytest.raises(ShapeError, match=r"value of shape \(0, 4\) is empty: nothing to check"):
        check(form, value=lambda x: x[:0], pullback=lambda g, x: np.zeros_like(x))


# Gradients


@of_every_form
@pytest.mark.parametrize("bad", [None, "a", {}, 3.0, 3, True])
def test_a_gradient_that_is_no_array_is_refused_by_the_name_of_its_argument(form, bad):
    with pytest.raises(GraphError, match=r"returned .* for argument 0 \(x\).*and no array"):
        check(form, pullback=lambda g, x: bad)


@of_every_form
@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (4, 3), (12,), (1, 3, 4)])
def test_a_gradient_of_another_shape_is_refused_with_both_shapes(form, shape):
    said = rf"gradient of shape {re.escape(str(shape))}.* for argument 0 \(x\) \(3, 4\)"
    with pytest.raises(GraphError, match=said):
        check(form, pullback=lambda g, x: np.ones(shape))


@of_arrays
@pytest.mark.parametrize(
    ("shape", "value", "gradient", "hint"),
    [
        ((3, 4), square, (4, 3), "is it transposed?"),
        ((4,), lambda x: x + X, (3, 4), "sum it over the axes along which the input was broadcast"),
        ((3, 1), lambda x: x + X, (3, 4), "sum it over the axes"),
    ],
)
def test_the_shape_of_a_gradient_hints_at_the_slip(form, shape, value, gradient, hint):
    with pytest.raises(GraphError, match=re.escape(hint)):
        check(form, value, lambda g, x: np.ones(gradient), np.ones(shape))


@of_every_form
@pytest.mark.parametrize("dtype", ["float32", "int64", "complex128"])
def test_a_gradient_of_another_dtype_is_refused(form, dtype):
    error = GraphError if form == "function of Tensors" else DtypeError
    with pytest.raises(error, match=rf"{dtype} for argument 0 \(x\).* of float64"):
        check(form, pullback=lambda g, x: np.ones(x.shape, dtype))


@of_every_form
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_named_with_its_element(form, bad):
    said = rf"gradient of argument 0 \(x\) is not finite .* element \(0, 1\) is {bad}"
    with pytest.raises(NonFiniteError, match=said):
        check(form, pullback=lambda g, x: np.where(np.arange(4) == 1, bad, x * g))


def test_the_gradient_that_is_refused_is_that_of_the_second_argument():
    pullbacks = (lambda g: g, lambda g: g.astype("float32"))
    with pytest.raises(DtypeError, match=r"float32 for argument 1 \(b\)"):
        gradcheck(lambda a, b: (a + b, pullbacks), X, Y)


# Errors of the functions themselves


class MyError(Exception):
    pass


def fails(*_):
    raise MyError("my own words")


@of_every_form
def test_an_error_of_the_function_keeps_its_type_and_its_words(form):
    with pytest.raises(MyError, match="my own words"):
        check(form, value=fails)
    with pytest.raises(MyError, match="my own words"):
        check(form, pullback=fails)


def test_an_error_of_a_function_of_unknown_form_comes_with_the_shapes_it_was_given():
    with pytest.raises(MyError) as raised:
        gradcheck(fails, X, Y[0])
    (note,) = raised.value.__notes__
    assert "for Tensors of shapes (3, 4), (4,)" in note
    assert "for arrays it raised MyError: my own words" in note


def test_an_op_that_its_inputs_do_not_fit_says_so_with_their_shapes(backend):
    with pytest.raises(ShapeError, match=r"matmul.*\(3, 4\).*\(3, 4\)"):
        gradcheck(ops.matmul, X, Y)
