"""Arrays that are changed between forward and backward: found, and named."""

from __future__ import annotations

import numpy as np
import pytest

from tinyvae.autograd import Tensor, no_grad, ops
from tinyvae.errors import GraphError


def leaf(*values: float, name: str = "") -> Tensor:
    return Tensor(np.array(values), requires_grad=True, name=name)


def grad(x: Tensor) -> list[float]:
    return x.backend.to_host(x.grad).tolist()


def _write(x: Tensor) -> None:
    x.data[0] = 9


def _subtract(x: Tensor) -> None:
    x.data -= 1


def _replace(x: Tensor) -> None:
    x.data = x.backend.from_host(np.array([9.0, 9.0]))


CHANGES = [_write, _subtract, _replace]


@pytest.mark.parametrize("change", CHANGES)
def test_an_input_that_was_changed_is_named(backend, change):
    x = leaf(1.0, 2.0, name="weights")
    loss = (x * x).sum()
    change(x)
    with pytest.raises(GraphError, match=r"input 0, weights \(2,\), was changed after multiply"):
        loss.backward()
    assert x.grad is None


def test_a_change_through_an_alias_taken_before_the_forward_pass_is_found(backend):
    x = leaf(1.0, 2.0, name="weights")
    alias = x.data
    loss = (x * x).sum()
    alias[...] = 7
    with pytest.raises(GraphError, match="weights"):
        loss.backward()


def test_a_second_change_through_the_same_alias_is_found_too(backend):
    x = leaf(1.0, 2.0, name="weights")
    alias = x.data
    alias[...] = 7
    loss = (x * x).sum()
    alias[...] = 8
    with pytest.raises(GraphError, match="weights"):
        loss.backward()


def test_a_constant_that_was_changed_is_found(backend):
    x, constant = leaf(1.0, 2.0), Tensor(np.array([3.0, 4.0]), name="pixels")
    loss = (x * constant).sum()
    constant.data[...] = 0
    with pytest.raises(GraphError, match=r"input 1, pixels"):
        loss.backward()


@pytest.mark.parametrize("change", CHANGES)
def test_a_result_that_was_changed_is_found_since_pullbacks_keep_it(backend, change):
    y = ops.exp(leaf(0.0, 1.0))
    loss = (y * 2).sum()
    change(y)
    with pytest.raises(GraphError, match=r"result of exp \(2,\), was changed"):
        loss.backward()


def test_a_result_that_was_changed_before_its_next_use_is_found(backend):
    y = ops.exp(leaf(0.0, 1.0))
    y.data[...] = 5
    with pytest.raises(GraphError, match="its result, result of exp"):
        (y * 2).sum().backward()


def test_the_root_itself_is_watched(backend):
    y = ops.exp(leaf(0.0))
    y.data[...] = 5
    with pytest.raises(GraphError, match="its result, result of exp"):
        y.backward()


@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_a_look_at_the_data_is_no_change(backend, value):
    x = leaf(value)
    x.data  # noqa: B018
    y = x + 1
    y.data  # noqa: B018
    loss = y + 1
    loss.data  # noqa: B018
    loss.backward()
    assert grad(x) == [1]


def test_a_change_before_the_forward_pass_is_welcome(backend):
    x = leaf(1.0, 2.0)
    x.data[0] = 5
    x.data *= 2
    (x * x).sum().backward()
    assert grad(x) == [20, 8]


def test_a_change_after_backward_is_welcome_as_in_a_step_of_descent(backend):
    x = leaf(1.0, 2.0)
    for _ in range(3):
        x.zero_grad()
        (x * x).sum().backward()
        x.data -= 0.25 * x.grad
    np.testing.assert_array_equal(x.numpy(), [0.125, 0.25])


def test_a_change_under_no_grad_is_found_all_the_same(backend):
    x = leaf(1.0, 2.0)
    loss = (x * x).sum()
    with no_grad():
        _subtract(x)
    with pytest.raises(GraphError, match="changed"):
        loss.backward()


def test_after_the_error_a_new_loss_gets_the_gradient_of_the_new_values(backend):
    x = leaf(1.0, 2.0)
    loss = (x * x).sum()
    _write(x)
    with pytest.raises(GraphError, match="compute the loss again"):
        loss.backward()
    (x * x).sum().backward()
    assert grad(x) == [18, 4]


@pytest.mark.parametrize("view", [lambda x: x.reshape(2, 1), lambda x: x[:1], lambda x: x.T])
def test_a_change_through_a_view_does_not_make_a_wrong_gradient(backend, view):
    x = leaf(1.0, 2.0)
    y = view(x)
    loss = (x * x).sum()
    y.data[...] = 9
    try:
        loss.backward()
    except GraphError:
        return
    assert grad(x) == [2, 4]


def test_a_change_of_what_a_constant_is_a_view_of_does_not_make_a_wrong_gradient(backend):
    x, images = leaf(1.0, 2.0), Tensor(np.arange(6.0).reshape(3, 2))
    loss = (x * images[1]).sum()
    images.data[...] = 9
    try:
        loss.backward()
    except GraphError:
        return
    assert grad(x) == [2, 3]
