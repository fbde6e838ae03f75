"""Every op at its edges: far from 0, at kinks and ties, at repeated and wrong indices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinyvae.autograd import OPS, Tensor, ops
from tinyvae.errors import OptionError, ShapeError

# Far from 0

FAR = [-1e4, -100.0, 0.0, 100.0, 1e4]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("sigmoid", [0, None, 0.5, 1, 1], [0, None, 0.25, None, 0]),
        ("softplus", [0, None, math.log(2), 100, 1e4], [0, None, 0.5, 1, 1]),
        ("tanh", [-1, -1, 0, 1, 1], [0, 0, 1, 0, 0]),
        ("elu", [-1, -1, 0, 100, 1e4], [0, None, 1, 1, 1]),
        ("gelu", [0, 0, 0, 100, 1e4], [0, 0, 0.5, 1, 1]),
        ("logsumexp", [1e4], [0, 0, 0, 0, 1]),
        ("softmax", [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]),
        ("log_softmax", [-2e4, -10100, -1e4, -9900, 0], [1, 1, 1, 1, -4]),
    ],
)
def test_far_from_zero_values_and_gradients_are_finite_and_right(
    backend, name, value, slope, dtype
):
    x = Tensor(np.array(FAR, dtype), requires_grad=True)
    y = OPS[name](x)
    y.backward(np.ones(y.shape, dtype))
    for got, expected in ((y.numpy().reshape(-1), value), (backend.to_host(x.grad), slope)):
        assert np.isfinite(got).all()
        for g, e in zip(got, expected, strict=True):
            assert e is None or g == pytest.approx(e, rel=1e-6), got


def test_the_tail_of_the_sigmoid_and_of_softplus_keeps_its_digits(backend):
    x = np.array([-700.0, -300.0, -40.0])
    for function in (ops.sigmoid, ops.softplus):
        leaf = Tensor(x, requires_grad=True)
        y = function(leaf)
        y.backward(np.ones(3))
        np.testing.assert_allclose(y.numpy(), np.exp(x), rtol=1e-14)
        np.testing.assert_allclose(backend.to_host(leaf.grad), np.exp(x), rtol=1e-14)


def test_a_row_with_an_impossible_outcome_has_a_finite_log_sum(backend):
    x = Tensor(np.array([[-np.inf, 0.0, 0.0]]), requires_grad=True)
    y = ops.logsumexp(x)
    y.backward()
    assert y.item() == pytest.approx(math.log(2))
    np.testing.assert_allclose(backend.to_host(x.grad), [[0, 0.5, 0.5]])


# Kinks and ties: the subgradient that the docstring states


def gradient(y: Tensor, *leaves: Tensor) -> list[list[float]]:
    y.sum().backward()
    return [x.backend.to_host(x.grad).tolist() for x in leaves]


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def test_relu_and_its_kin_at_zero(backend):
    for function, slope in (
        (ops.relu, 0),
        (ops.leaky_relu, 0.01),
        (ops.elu, 1),
        (ops.abs, 0),
        (ops.gelu, 0.5),
    ):
        x = leaf(0.0, -0.0)
        y = function(x)
        assert y.numpy().tolist() == [0, 0]
        assert gradient(y, x) == [[slope, slope]]


def test_two_equal_numbers_share_the_gradient_of_their_maximum(backend):
    a, b = leaf(1.0, 5.0, 2.0), leaf(1.0, 2.0, 5.0)
    assert gradient(ops.maximum(a, b), a, b) == [[0.5, 1, 0], [0.5, 0, 1]]


def test_the_maximum_with_a_number_is_taken(backend):
    x = leaf(-1.0, 3.0)
    assert gradient(ops.maximum(x, 0.0), x) == [[0, 1]]
    x = leaf(-1.0, 3.0)
    assert gradient(ops.maximum(0.0, x), x) == [[0, 1]]


def test_those_that_tie_for_the_largest_share_its_gradient(backend):
    x = Tensor(np.array([[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]]), requires_grad=True)
    assert gradient(ops.max(x, axis=1) * 6, x) == [[[3, 0, 3], [2, 2, 2]]]


@pytest.mark.parametrize(
    ("exponent", "value", "slope"), [(0, 1, 0), (1, 0, 1), (2, 0, 0), (3.5, 0, 0)]
)
def test_powers_at_zero(backend, exponent, value, slope):
    x = leaf(0.0)
    y = ops.power(x, exponent=exponent)
    assert y.item() == value
    assert gradient(y, x) == [[slope]]


def test_whole_powers_of_negative_numbers_have_gradients(backend):
    x = leaf(-2.0)
    assert gradient(x**3, x) == [[12]]
    x = leaf(-2.0)
    assert gradient(x**-1, x) == [[-0.25]]


# Picking and cutting


def test_an_element_that_is_picked_twice_gets_both_gradients(backend):
    x = leaf(1.0, 2.0, 3.0)
    assert gradient(x[[0, 2, 0, 0]] * Tensor(np.array([1.0, 2.0, 3.0, 4.0])), x) == [[8, 0, 2]]


def test_a_mask_picks_and_gives_back(backend):
    x = leaf(1.0, 2.0, 3.0)
    assert gradient(x[np.array([True, False, True])] * 5, x) == [[5, 0, 5]]


def test_an_index_may_be_an_array_of_the_device(backend):
    x = leaf(1.0, 2.0, 3.0)
    assert gradient(x[backend.from_host(np.array([2, 2]))] * 5, x) == [[0, 0, 10]]


@pytest.mark.parametrize("index", [5, -4, [0, 5], [[-4]], (0, 0)])
def test_an_index_out_of_range_is_refused(backend, index):
    with pytest.raises(IndexError):
        Tensor([1.0, 2.0, 3.0])[index]


def test_split_cuts_into_equal_parts_and_gives_back(backend):
    x = Tensor(np.arange(8.0).reshape(2, 4), requires_grad=True)
    mean, log_variance = ops.split(x, 2)
    assert mean.numpy().tolist() == [[0, 1], [4, 5]]
    assert log_variance.numpy().tolist() == [[2, 3], [6, 7]]
    assert gradient(mean * 1 + log_variance * 10, x) == [[[1, 1, 10, 10], [1, 1, 10, 10]]]
    top, bottom = ops.split(Tensor(np.arange(8.0).reshape(2, 4)), 2, axis=0)
    assert (top.numpy().tolist(), bottom.numpy().tolist()) == ([[0, 1, 2, 3]], [[4, 5, 6, 7]])


def test_split_refuses_a_length_that_does_not_divide(backend):
    with pytest.raises(ShapeError, match=r"axis 1 of shape \(2, 5\) is no multiple of 2"):
        ops.split(Tensor(np.zeros((2, 5))), 2)


def test_astype_is_the_way_between_the_dtypes_and_the_gradient_comes_back(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = ops.astype(x, dtype="float64") * Tensor(np.array([3.0, 4.0]))
    y.sum().backward()
    assert (y.dtype, str(x.grad.dtype)) == ("float64", "float32")
    assert backend.to_host(x.grad).tolist() == [3, 4]


def test_astype_refuses_another_dtype(backend):
    with pytest.raises(OptionError, match="float32 or float64, not 'int32'"):
        ops.astype(Tensor([1.0]), dtype="int32")


def test_a_tensor_as_exponent_is_refused_rather_than_taken_as_a_constant(backend):
    x, n = leaf(2.0), leaf(3.0)
    with pytest.raises((TypeError, ValueError)):
        x**n


def test_a_log_sum_of_nothing_possible_is_minus_infinity(backend):
    with np.errstate(divide="ignore"):  # the logarithm of 0 is meant
        assert ops.logsumexp(Tensor([-np.inf, -np.inf])).item() == -np.inf


@pytest.mark.parametrize("shapes", [((2,), (2, 3), (3,)), ((4, 2), (2, 3), (1,))])
def test_a_dense_layer_refuses_shapes_that_its_pullbacks_cannot_serve(backend, shapes):
    with pytest.raises(ShapeError, match="affine"):
        ops.affine(*(Tensor(np.ones(shape)) for shape in shapes))
