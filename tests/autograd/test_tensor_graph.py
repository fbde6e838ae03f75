"""The backward pass: what it leaves, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from tinyvae.autograd import Tensor, no_grad, op, ops
from tinyvae.errors import BackendError, DtypeError, GraphError, ShapeError


def leaf(*values: float, name: str = "") -> Tensor:
    return Tensor(np.array(values), requires_grad=True, name=name)


def grad(x: Tensor) -> list[float]:
    return x.backend.to_host(x.grad).tolist()


# What it leaves


def test_a_tensor_that_is_used_several_times_gets_the_sum_of_the_gradients(backend):
    x = leaf(2.0, 3.0)
    (x * x + x * 5 + x).sum().backward()  # 2 x + 6
    assert grad(x) == [10, 12]


def test_a_tensor_on_both_sides_of_one_op_gets_both_gradients(backend):
    x = leaf(2.0, 3.0)
    ops.concatenate(x, x, x).backward(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    assert grad(x) == [9, 12]


def test_gradients_add_up_over_passes_until_zero_grad(backend):
    x = leaf(2.0)
    (x * 3).backward()
    (x * 4).backward()
    assert grad(x) == [7]
    x.zero_grad()
    assert x.grad is None
    (x * 5).backward()
    assert grad(x) == [5]


def test_a_weight_of_a_dense_layer_used_twice_gets_both_gradients(backend):
    x = Tensor(np.array([[1.0, 2.0]]))
    weight, bias = Tensor(np.eye(2), requires_grad=True), leaf(0.0, 0.0)
    once = ops.affine(x, weight, bias)
    (once + ops.affine(x * 10, weight, bias)).sum().backward()
    assert grad(weight) == [[11, 11], [22, 22]]
    assert grad(bias) == [2, 2]


def test_the_gradient_of_an_op_used_through_a_shared_result_flows_once_per_use(backend):
    x = leaf(3.0)
    y = x * x
    (y * y + y).sum().backward()  # x^4 + x^2
    assert grad(x) == [4 * 27 + 6]


def test_only_leaves_that_require_a_gradient_get_one(backend):
    x, constant = leaf(2.0), Tensor(np.array([3.0]))
    y = x * constant
    (y * 2).backward()
    assert grad(x) == [6]
    assert constant.grad is None
    assert y.grad is None


def test_a_leaf_is_its_own_root(backend):
    x = leaf(2.0)
    x.backward()
    assert grad(x) == [1]


def test_an_upstream_gradient_weighs_every_value(backend):
    for upstream in (np.array([10.0, 100.0]), [10.0, 100.0], leaf(10.0, 100.0)):
        x = leaf(2.0, 3.0)
        (x * x).backward(upstream)
        assert grad(x) == [40, 600]


def test_the_gradient_does_not_share_memory_with_the_upstream(backend):
    x, upstream = leaf(2.0), Tensor(np.array([3.0]))
    (x + 0).backward(upstream)
    upstream.data[...] = 9
    assert grad(x) == [3]


def test_within_no_grad_nothing_is_recorded(backend):
    x = leaf(2.0)
    with no_grad():
        y = x * x
        with no_grad():
            pass
        assert not (x * x).requires_grad
    assert not y.requires_grad
    assert y.node is None
    assert (x * x).requires_grad


def test_no_grad_ends_with_its_block_even_by_an_error(backend):
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (leaf(2.0) * 2).requires_grad


# What it refuses


def test_a_second_backward_is_refused_and_adds_nothing(backend):
    x = leaf(2.0)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(GraphError, match="compute the loss again before a second backward"):
        loss.backward()
    assert grad(x) == [4]


def test_a_backward_through_a_part_that_was_used_up_is_refused_and_adds_nothing(backend):
    x, other = leaf(2.0), leaf(5.0)
    shared = x * x
    first, second = shared * 3, shared * other + x
    first.backward()
    with pytest.raises(GraphError, match=r"already gone through a tensor \(1,\)"):
        second.backward()
    assert grad(x) == [12]
    assert other.grad is None


def test_several_values_without_an_upstream_are_refused(backend):
    y = leaf(1.0, 2.0) * 2
    y.name = "loss"
    with pytest.raises(GraphError, match=r"loss \(2,\) has 2 values: sum or average it"):
        y.backward()


def test_a_refused_backward_can_be_repeated_rightly(backend):
    x = leaf(1.0, 2.0)
    y = x * 2
    with pytest.raises(GraphError):
        y.backward()
    y.backward([1.0, 1.0])
    assert grad(x) == [2, 2]


@pytest.mark.parametrize("upstream", [np.ones(3), np.ones((2, 1)), 1.0])
def test_an_upstream_of_another_shape_is_refused(backend, upstream):
    x = leaf(1.0, 2.0)
    with pytest.raises(ShapeError, match=r"upstream gradient of shape .*\(2,\)"):
        (x * 2).backward(upstream)
    assert x.grad is None


def test_an_upstream_on_another_backend_is_refused():
    with pytest.raises(BackendError, match=r"'numpy' and 'standin' do not mix"):
        (leaf(1.0, 2.0) * 2).backward(Tensor(np.ones(2)).to("standin"))


def test_a_constant_has_no_backward(backend):
    with pytest.raises(GraphError, match="does not depend on a tensor that requires a gradient"):
        (Tensor([1.0]) * 2).backward()
    with no_grad():
        y = leaf(1.0) * 2
    with pytest.raises(GraphError, match="no_grad"):
        y.backward()


def _with_pullback(pullback):
    @op
    def homemade(x):
        return x * 2, pullback

    return homemade


@pytest.mark.parametrize(
    ("pullback", "message"),
    [
        (lambda g: g.sum(), r"homemade made a gradient of shape \(\)"),
        (lambda g: g[:1], r"homemade made a gradient of shape \(1,\)"),
        (lambda g: g.astype("float32"), r"homemade made .* float32 for w \(2,\) of float64"),
        (lambda g: g > 0, r"homemade made a gradient of shape \(2,\) and bool"),
    ],
)
@pytest.mark.parametrize("depth", ["leaf", "middle"])
def test_a_pullback_of_the_wrong_shape_or_dtype_is_refused(backend, pullback, message, depth):
    x = leaf(1.0, 2.0, name="w")
    if depth == "middle":
        x = x * 1
        x.name = "w"
    with pytest.raises(GraphError, match=message):
        _with_pullback(pullback)(x).sum().backward()


def test_an_op_with_fewer_pullbacks_than_inputs_is_refused(backend):
    @op
    def product(a, b):
        return a * b, (lambda g: g * b,)

    x = leaf(2.0)
    with pytest.raises((GraphError, ValueError)):
        product(x, x).backward()


def test_an_upstream_tensor_of_another_dtype_is_refused(backend):
    with pytest.raises(DtypeError, match=r"float32.*float64"):
        (leaf(1.0, 2.0) * 2).backward(Tensor([1.0, 1.0]))
