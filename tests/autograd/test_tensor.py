"""What a Tensor is: how it is made, what its operators do, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyvae.autograd import Tensor, derivations, op, ops, trace_non_finite
from tinyvae.backend import get
from tinyvae.errors import BackendError, DtypeError, NonFiniteError, ShapeError


def host(x: Tensor) -> np.ndarray:
    return x.backend.to_host(x.grad)


# How it is made


@pytest.mark.parametrize("data", [2, 2.5, True, [1, 2], [[1.0], [2.0]], (1, 2)])
def test_python_numbers_become_float32_on_the_backend_in_use(backend, data):
    x = Tensor(data)
    assert (x.dtype, x.backend, x.shape) == ("float32", backend, np.shape(data))
    np.testing.assert_array_equal(x.numpy(), np.array(data, "float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float_arrays_keep_their_dtype(backend, dtype):
    from_host = Tensor(np.ones(3, dtype))
    assert (from_host.dtype, from_host.backend) == (dtype, backend)
    assert Tensor(backend.from_host(np.ones(3, dtype))).dtype == dtype


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float16", "complex128"])
def test_arrays_without_a_gradient_are_refused_with_the_way_out(backend, dtype):
    with pytest.raises(DtypeError, match=rf"array of {dtype} has no gradient.*dtype='float32'"):
        Tensor(np.ones(3, dtype))


def test_integers_are_taken_where_a_dtype_is_named(backend):
    x = Tensor(np.arange(3), dtype="float64")
    assert x.dtype == "float64"
    np.testing.assert_array_equal(x.numpy(), [0, 1, 2])


def test_a_dtype_other_than_float32_and_float64_is_refused(backend):
    with pytest.raises(DtypeError, match="float32 or float64, not 'int8'"):
        Tensor([1.0], dtype="int8")


def test_a_tensor_of_a_tensor_is_refused(backend):
    with pytest.raises(DtypeError, match="Tensor already"):
        Tensor(Tensor([1.0]))


def test_a_tensor_is_a_copy_of_its_data(backend):
    array = np.ones(3, "float32")
    device = backend.from_host(np.ones(3, "float32"))
    from_host, from_device = Tensor(array), Tensor(device)
    array[0] = device[0] = 9
    assert from_host.numpy()[0] == from_device.numpy()[0] == 1


def test_what_numpy_returns_is_a_copy_of_the_tensor(backend):
    x = Tensor([1.0, 2.0])
    x.numpy()[...] = 9
    np.testing.assert_array_equal(x.numpy(), [1, 2])


def test_detach_gives_the_values_without_history_and_shares_nothing(backend):
    x = Tensor([1.0, 2.0], requires_grad=True, name="x")
    y = (x * 2).detach()
    y.data[...] = 0
    assert not y.requires_grad
    np.testing.assert_array_equal(x.numpy(), [1, 2])


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (lambda: Tensor([1.0, 2.0]), "Tensor([1.0, 2.0])"),
        (lambda: Tensor(3.0), "Tensor(3.0)"),
        (lambda: Tensor(np.zeros((3, 4))), "Tensor(shape=(3, 4), dtype='float64')"),
        (
            lambda: Tensor([1.0], requires_grad=True, name="w"),
            "Tensor([1.0], requires_grad=True, name='w')",
        ),
    ],
)
def test_repr_shows_small_values_and_what_is_not_the_default(x, text):
    assert repr(x()) == text


def test_repr_names_a_backend_that_is_not_numpy():
    assert repr(Tensor([1.0]).to("standin")) == "Tensor([1.0], backend='standin')"


def test_a_tensor_of_one_value_is_a_number_and_others_are_not(backend):
    assert Tensor([[2.5]]).item() == float(Tensor(2.5)) == 2.5
    assert type(Tensor(2.5).item()) is float
    with pytest.raises(ShapeError, match=r"size 1.*\(2,\)"):
        Tensor([1.0, 2.0], name="w").item()


@pytest.mark.parametrize("target", ["numpy", "standin"])
def test_to_copies_to_another_backend_and_to_its_own(backend, target):
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True, name="x")
    y = x.to(target)
    assert (y.backend, y.dtype, y.name, y.requires_grad) == (get(target), "float64", "x", True)
    y.data[...] = 0
    np.testing.assert_array_equal(x.numpy(), [1, 2])


# Its operators

A, B = np.array([[1.0, -2.0], [0.5, 4.0]]), np.array([[2.0, 3.0], [-1.0, 0.25]])


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: a @ b,
        lambda a, b: -a + b,
        lambda a, b: (b * b) ** 0.5 + a,
        lambda a, b: a[0] * b[:, None, 1],
        lambda a, b: (a @ b).sum(axis=0) + a.mean(axis=1) + b.reshape(4)[:2] + a.T[1],
    ],
)
def test_operators_compute_what_numpy_computes_also_with_an_array_on_one_side(backend, function):
    expected = function(A, B)
    for to_a, to_b in ((Tensor, Tensor), (Tensor, backend.from_host), (backend.from_host, Tensor)):
        result = function(to_a(A), to_b(B))
        assert isinstance(result, Tensor)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (lambda x: 3 + x, 1),
        (lambda x: 3 - x, -1),
        (lambda x: 3 * x, 3),
        (lambda x: 3 / x, -0.75),
        (lambda x: x + 3, 1),
        (lambda x: x - 3, 1),
        (lambda x: x * np.float64(3), 3),
        (lambda x: np.float64(3) * x, 3),
        (lambda x: x / 4, 0.25),
        (lambda x: x**3, 12),
        (lambda x: -x, -1),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_number_on_either_side_keeps_the_dtype(backend, function, slope, dtype):
    x = Tensor(np.array([2.0], dtype), requires_grad=True)
    y = function(x)
    y.backward()
    np.testing.assert_allclose(y.numpy(), function(np.array([2.0])), rtol=1e-6)
    assert (y.dtype, str(x.grad.dtype), float(x.grad[0])) == (dtype, dtype, slope)


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "@"])
def test_a_numpy_array_on_the_left_leaves_the_operator_to_the_tensor(backend, operator):
    x = Tensor(B, requires_grad=True)
    y = eval(f"A {operator} x", {"A": A, "x": x})
    assert isinstance(y, Tensor)
    assert y.requires_grad
    np.testing.assert_allclose(y.numpy(), eval(f"A {operator} B", {"A": A, "B": B}))


def _summed_to(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Broadcasting's gradient by loops: every element adds to the one it was copied from."""
    result = np.zeros(shape)
    for index in np.ndindex(g.shape):
        kept = index[g.ndim - len(shape) :]
        result[tuple(0 if n == 1 else i for i, n in zip(kept, shape, strict=True))] += g[index]
    return result


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3), st.data())
def test_broadcasting_sums_the_gradient_over_what_it_repeated(backend, shapes, data):
    a, b = (
        data.draw(hnp.arrays("float64", s, elements=st.integers(-9, 9)))
        for s in shapes.input_shapes
    )
    g = data.draw(hnp.arrays("float64", shapes.result_shape, elements=st.integers(-9, 9)))
    for function, to_a, to_b in (
        (ops.add, g, g),
        (ops.subtract, g, -g),
        (ops.multiply, g * b, g * a),
    ):
        x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
        function(x, y).backward(g)
        np.testing.assert_array_equal(host(x), _summed_to(to_a, a.shape))
        np.testing.assert_array_equal(host(y), _summed_to(to_b, b.shape))


# What it refuses


def test_mixed_dtypes_are_refused_naming_both(backend):
    with pytest.raises(DtypeError, match=r"add: float32 of shape \(2,\) meets float64.*\(3,\)"):
        Tensor([1.0, 2.0]) + Tensor(np.ones(3))


def test_an_array_of_another_dtype_is_refused_as_well(backend):
    with pytest.raises(DtypeError, match=r"multiply: .*float32.*float64"):
        Tensor([1.0, 2.0]) * np.ones(2)


def test_mixed_backends_are_refused_naming_both():
    with pytest.raises(BackendError, match=r"add: arrays of 'numpy' and 'standin' do not mix"):
        Tensor([1.0]) + Tensor([1.0]).to("standin")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a, b: a + b, r"add: shapes \(2, 3\), \(4,\)"),
        (lambda a, b: a @ b, r"matmul: shapes \(2, 3\), \(4,\)"),
        (lambda a, b: ops.concatenate(a, b), r"concatenate: shapes \(2, 3\), \(4,\)"),
        (lambda a, b: ops.stack(a, b), r"stack: shapes \(2, 3\), \(4,\)"),
        (lambda a, b: a.reshape(4), r"reshape: shapes \(2, 3\)"),
        (lambda a, b: a.sum(axis=2), r"sum: shapes \(2, 3\)"),
        (lambda a, b: ops.broadcast_to(a, shape=(4,)), r"broadcast_to: shapes \(2, 3\)"),
        (lambda a, b: derivations.kl_standard_normal(a, b), r"kl_.*\(2, 3\), \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named_with_the_op(backend, function, message):
    with pytest.raises(ShapeError, match=message):
        function(Tensor(np.zeros((2, 3))), Tensor(np.zeros(4)))


def test_an_op_of_numbers_alone_is_refused(backend):
    with pytest.raises(DtypeError, match="exp: at least one input must be a Tensor"):
        ops.exp(2.0)


def test_data_of_another_shape_or_dtype_is_refused(backend):
    x = Tensor([1.0, 2.0], name="w")
    with pytest.raises(ShapeError, match=r"w \(2,\) of float32 cannot take.*\(3,\)"):
        x.data = backend.from_host(np.ones(3, "float32"))
    with pytest.raises(ShapeError, match="float64"):
        x.data = backend.from_host(np.ones(2))


# Tracing what is not finite


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tracing_names_the_op_the_element_and_the_tensor_of_the_first_nan(backend):
    x = Tensor([[1.0, 2.0], [3.0, -4.0]], name="pixels")
    message = r"log made nan.*element \(1, 1\).*pixels \(2, 2\)"
    with trace_non_finite(), pytest.raises(NonFiniteError, match=message):
        ops.log(x).sum()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tracing_finds_an_infinity_that_a_pullback_made(backend):
    x = Tensor([1.0, 0.0], requires_grad=True, name="w")
    message = r"pullback of sqrt made inf.*element \(1,\).*gradient for w \(2,\)"
    loss = ops.sqrt(x).sum()
    with trace_non_finite(), pytest.raises(NonFiniteError, match=message):
        loss.backward()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tracing_names_the_op_in_the_middle_of_a_graph_by_what_made_it(backend):
    x = Tensor([2.0, 0.0], requires_grad=True)
    message = r"log made -inf.*result of multiply \(2,\)"
    with trace_non_finite(), pytest.raises(NonFiniteError, match=message):
        ops.exp(ops.log(x * 3))


def test_tracing_lets_finite_values_pass_and_ends_with_its_block(backend):
    @op
    def broken(x):
        return x * float("nan"), lambda g: g

    with trace_non_finite():
        (Tensor([1.0]) * 2).sum()
    assert np.isnan(broken(Tensor([1.0])).numpy()).all()
