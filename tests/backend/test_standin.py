"""The stand-in refuses what a GPU would, and says the same as NumPy otherwise."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin import CALLS, SYNCS, DeviceArray, PromotionError, count_syncs, xp
from standin_tables import BINARY, COMPARISONS

from tinyvae.backend import get

DEVICE = get("standin")


def on_device(value: Any, dtype: str = "float32") -> DeviceArray:
    return DEVICE.from_host(np.asarray(value, dtype))


def on_host(array: DeviceArray) -> np.ndarray:
    return DEVICE.to_host(array)


HOST = np.ones((2, 3), "float32")
OPERATORS = [
    *(f"__{name}__" for name in BINARY),
    *(f"__r{name}__" for name in BINARY),
    *(f"__i{name}__" for name in BINARY if name != "matmul"),
    *(f"__{name}__" for name in COMPARISONS),
]


@pytest.mark.parametrize("operand", [HOST, np.float32(1), np.float64(1), np.int64(1)])
@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_refuses_numpy_operands(name: str, operand: Any) -> None:
    with pytest.raises(TypeError, match=r"a NumPy .* does not mix with device arrays"):
        getattr(on_device(HOST), name)(operand)


@pytest.mark.parametrize(
    "mix",
    [
        lambda a: HOST + a,
        lambda a: np.float32(1) * a,
        lambda a: operator.eq(HOST, a),
        lambda a: HOST @ a.T,
        lambda a: xp.add(a, HOST),
        lambda a: xp.maximum(a, np.float32(0)),
        lambda a: xp.where(HOST > 0, a, a),
        lambda a: xp.sum(HOST),
        lambda a: xp.concatenate([a, HOST]),
        lambda a: xp.asarray(HOST),
        lambda a: xp.array([np.float32(1), 2.0]),
        lambda a: xp.exp(a, out=HOST.copy()),
        lambda a: xp.full((2,), np.float32(1)),
        lambda a: xp.linalg.norm(HOST),
        lambda a: xp.add.at(a, np.array([0, 1]), 1.0),
        lambda a: a.dot(HOST.T),
        lambda a: a.__setitem__(0, HOST[0]),
        lambda a: a.__setitem__(0, np.float32(1)),
        lambda a: a.__setitem__(np.array([0, 1]), 1.0),
        lambda a: a[np.array([0, 1])],
        lambda a: a[HOST[:, 0] > 0],
        lambda a: a[np.int64(0)],
    ],
)
def test_no_function_method_or_index_takes_numpy_operands(mix: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"does not mix with device arrays|CuPy takes an array of"):
        mix(on_device(HOST))


def write_into_host(array: DeviceArray) -> None:
    HOST.copy()[...] = array


def add_to_host(array: DeviceArray) -> None:
    host = HOST.copy()
    host += array


@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        np.array,
        np.float32,
        np.exp,
        np.sum,  # a function that would hand over to the method of that name
        np.mean,
        np.reshape,
        np.argmax,
        lambda a: np.asarray([a, a]),
        lambda a: np.concatenate([a, a]),
        lambda a: np.add(HOST, HOST, out=a),
        lambda a: HOST[a.astype("int64")],
        DEVICE.from_host,
        write_into_host,
        add_to_host,
    ],
)
def test_numpy_cannot_reach_a_device_array(convert: Callable[[Any], Any]) -> None:
    with count_syncs() as syncs, pytest.raises((TypeError, IndexError)):
        convert(on_device(HOST))
    assert syncs == []


@pytest.mark.parametrize(
    "promote",
    [
        lambda a, b: a + b,
        lambda a, b: b[0, 0] * a,
        lambda a, b: a.__iadd__(b),
        lambda a, b: a < b,
        lambda a, b: a @ b.T,
        lambda a, b: xp.where(a > 0, a, b),
        lambda a, b: xp.stack([a, b]),
        lambda a, b: xp.exp(a, out=b),
        lambda a, b: xp.exp(b, out=a),
        lambda a, b: xp.copyto(a, b),
        lambda a, b: xp.add.at(a, (slice(None),), b),
        lambda a, b: a.__setitem__(..., b),
        lambda a, b: a * xp.arange(3),
        lambda a, b: xp.concatenate([a, xp.zeros((2, 3), "int64")]),
        lambda a, b: xp.einsum("ij,ij->i", a, xp.ones((2, 3), "int64")),
        lambda a, b: a + xp.ones((3,), "int64") / 2,
        lambda a, b: a + xp.ones((3,)),
        lambda a, b: a * xp.linspace(0, 1, 3),
        lambda a, b: a * ((a > 0) * 1.0),
        lambda a, b: a.astype("float16") + a,
    ],
)
def test_a_promotion_between_float_dtypes_is_an_error(promote: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(PromotionError, match=r"^\S+: .*float.*astype"):
        promote(on_device(HOST), on_device(HOST, "float64"))


def test_the_promotion_error_names_the_function_and_the_dtypes() -> None:
    with pytest.raises(PromotionError, match=r"^maximum: float32, float64; cast with \.astype"):
        xp.maximum(on_device(1.0), on_device(1.0, "float64"))
    with pytest.raises(PromotionError, match=r"^multiply: float32, int64 became float64; cast"):
        xp.multiply(on_device(1.0), on_device(1, "int64"))


@pytest.mark.parametrize(
    ("dtype", "keep"),
    [
        ("float32", lambda a: a * 2 + 0.5 - True),
        ("float32", lambda a: a * (a > 0)),
        ("float32", lambda a: 1 / a),
        ("float32", lambda a: a**2),
        ("float32", lambda a: a.mean()),
        ("float32", lambda a: xp.where(a > 0, a, 0.0)),
        ("float32", lambda a: a * a.dtype.itemsize),
        ("float64", lambda a: a.astype("float64")),
        ("float64", lambda a: a.sum(dtype="float64")),
        ("float64", lambda a: xp.zeros_like(a, dtype="float64")),
        ("float64", lambda a: xp.asarray(a, "float64")),
        ("float64", lambda a: xp.arange(3) / 2),
        ("int64", lambda a: a.argmax()),
        ("bool", lambda a: a > 0.5),
    ],
)
def test_weak_scalars_bools_and_casts_that_are_meant_are_no_promotion(
    dtype: str, keep: Callable[[Any], Any]
) -> None:
    assert keep(on_device(HOST)).dtype == dtype


@pytest.mark.parametrize(
    "call",
    [
        lambda a: xp.exp(a, where=a > 0),
        lambda a: xp.sum(a, where=a > 0),
        lambda a: a.max(initial=0.0),
        lambda a: xp.einsum("ij->i", a, out=xp.empty((2,), "float32")),
        lambda a: xp.clip(a, min=0.0, max=1.0),
        lambda a: xp.exp([1.0, 2.0]),
        lambda a: a + [1.0, 2.0, 3.0],
        lambda a: xp.sum([1.0, 2.0]),
        lambda a: xp.add(a, object()),
        lambda a: xp.multiply(a, 1j),
        lambda a: a + object(),
        lambda a: range(a.astype("int64")[0, 0]),
        lambda a: hash(a),
        lambda a: pickle.dumps(a),
        lambda a: len(a.sum()),
        lambda a: list(a.sum()),
        lambda a: DEVICE.to_host(HOST),
        lambda a: DEVICE.from_host(np.array(["text"])),
    ],
)
def test_what_cupy_refuses_is_a_type_error(call: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        call(on_device(HOST))


@pytest.mark.parametrize("name", ["errstate", "vectorize", "float128", "nansum", "random"])
def test_a_name_that_is_not_in_the_tables_is_not_there(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"the stand-in has no xp\.{name}"):
        getattr(xp, name)


def test_only_add_has_ufunc_methods() -> None:
    assert not hasattr(xp.multiply, "at")
    assert not hasattr(xp.add, "outer")


@pytest.mark.parametrize(
    "index", [[0, 0], [[0, 1], [2, 0]], [0, -3]], ids=["plain", "matrix", "negative"]
)
def test_assigning_an_array_to_repeated_indices_is_refused(index: list[Any]) -> None:
    target, where = on_device(np.zeros(3)), on_device(index, "int64")
    with pytest.raises(ValueError, match="an index occurs twice"):
        target[where] = on_device(np.ones(where.shape))
    target[where] = 1.0
    xp.add.at(target, where, 1.0)
    assert float(target[0]) == 3.0


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[1:],
        lambda a: a[:, 1],
        lambda a: a[1, 1],
        lambda a: a[..., 1, 1],
        lambda a: a[None],
        lambda a: a.T,
        lambda a: a.reshape(-1),
        lambda a: a.reshape((3, 2)),
        lambda a: a.ravel(),
        lambda a: a.swapaxes(0, 1),
        lambda a: xp.transpose(a),
        lambda a: xp.expand_dims(a, 0),
        lambda a: xp.split(a, 2)[1],
        lambda a: list(a)[1],
        lambda a: xp.asarray(a),
    ],
)
@pytest.mark.parametrize("write", ["setitem", "in place", "fill", "out"])
def test_writing_into_a_view_writes_into_its_base(
    view: Callable[[Any], DeviceArray], write: str
) -> None:
    base = on_device(np.zeros((2, 3)))
    part = view(base)
    assert type(part) is DeviceArray
    if write == "setitem":
        part[...] = 7.0
    elif write == "in place":
        part += 7
    elif write == "fill":
        part.fill(7)
    else:
        xp.add(part, 7.0, out=part)
    expected = np.zeros((2, 3), "float32")
    np.add.at(expected, np.nonzero(on_host(base)), 7)
    assert float(base[1, 1]) == 7.0
    np.testing.assert_array_equal(on_host(base), expected)
    assert bool(xp.shares_memory(part, base))


@pytest.mark.parametrize(
    "copied",
    [
        lambda a: a.copy(),
        lambda a: a + 0,
        lambda a: a[xp.asarray([0, 1])],
        lambda a: a[a >= 0],
        lambda a: a.astype("float32"),
        lambda a: xp.array(a),
        copy.copy,
        copy.deepcopy,
        lambda a: DEVICE.from_host(on_host(a)),
    ],
)
def test_writing_into_a_copy_leaves_the_original(copied: Callable[[Any], DeviceArray]) -> None:
    base = on_device(np.zeros((2, 3)))
    part = copied(base)
    part[...] = 7.0
    assert not on_host(base).any()


def test_neither_way_between_host_and_device_shares_memory() -> None:
    host = np.zeros(3, "float32")
    array = DEVICE.from_host(host)
    host[:] = 1
    on_host(array)[:] = 2
    assert on_host(array).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "reduce",
    [
        lambda a: a.sum(),
        lambda a: xp.max(a),
        lambda a: a[0, 0],
        lambda a: a.argmax(),
        lambda a: xp.array_equal(a, a),
        lambda a: xp.linalg.norm(a),
        lambda a: xp.vdot(a, a),
        lambda a: a[0] @ a[0],
        lambda a: xp.add(1.0, 2.0),
        lambda a: xp.asarray(1.0),
        lambda a: (a > 0).all(),
    ],
)
def test_what_numpy_gives_as_a_scalar_is_an_array_without_axes(
    reduce: Callable[[Any], Any],
) -> None:
    with count_syncs() as syncs:
        result = reduce(on_device(HOST))
    assert type(result) is DeviceArray
    assert result.shape == ()
    assert syncs == []


@pytest.mark.parametrize(
    "call", [lambda a, o: xp.exp(a, out=o), lambda a, o: xp.sum(a, axis=0, out=o[0])]
)
def test_out_is_filled_and_given_back(call: Callable[[Any, Any], Any]) -> None:
    array, out = on_device(HOST), on_device(np.zeros((2, 3)))
    result = call(array, out)
    assert bool(xp.shares_memory(result, out))
    assert on_host(out)[0].all()


def test_copyto_takes_a_mask_as_cupys_does() -> None:
    array = on_device([1.0, -1.0])
    xp.copyto(array, 0.0, where=array < 0)
    assert on_host(array).tolist() == [1.0, 0.0]


def test_out_and_in_place_operators_give_the_same_object() -> None:
    array = on_device(HOST)
    same = array
    same += 1
    assert same is array
    assert xp.exp(array, out=array) is array
    assert xp.asarray(array) is array
    assert array.astype("float32", copy=False) is array


@pytest.mark.parametrize(
    ("waits", "recorded"),
    [
        (lambda a: float(a[0, 0]), ["float"]),
        (lambda a: math.sqrt(a[0, 0]), ["float"]),
        (lambda a: HOST.copy().__setitem__((0, 0), a[0, 0]), ["float"]),
        (lambda a: int(a[0, 0]), ["int"]),
        (lambda a: 1 if a[0, 0] > 0 else 0, ["bool"]),
        (lambda a: a[0, 0] in a[0, :1], ["bool"]),
        (lambda a: a[0, 0].item(), ["item"]),
        (lambda a: a.item(1), ["item"]),
        (lambda a: a.tolist(), ["tolist"]),
        (repr, ["repr"]),
        (str, ["repr"]),
        (lambda a: f"{a[0, 0]:.3f}", ["format"]),
        (lambda a: max(a[0]), ["bool", "bool"]),
        (on_host, ["to_host"]),
        (lambda a: xp.flatnonzero(a), ["flatnonzero"]),
        (lambda a: a.nonzero(), ["nonzero"]),
        (lambda a: xp.where(a > 0), ["where"]),
        (lambda a: a[a > 0], ["boolean index"]),
        (lambda a: a.__setitem__(a > 0, a.ravel()), ["boolean index"]),
        (lambda a: a.__setitem__(a > 0, 1.0), []),
        (lambda a: xp.where(a > 0, a, 0.0), []),
        (lambda a: [len(a), a.shape, a.dtype, list(a), a.sum(), a == a], []),
        (lambda a: DEVICE.from_host(HOST), []),
        (lambda a: DEVICE.synchronize(), []),
    ],
)
def test_each_wait_for_the_host_is_recorded_by_name(
    waits: Callable[[Any], Any], recorded: list[str]
) -> None:
    array = on_device(HOST)
    with count_syncs() as syncs:
        waits(array)
    assert syncs == recorded


def test_counts_of_syncs_nest_and_outlive_a_reset_and_an_exception() -> None:
    array = on_device(1.0)
    with count_syncs() as outer:
        float(array)
        with count_syncs() as inner:
            float(array)
            SYNCS.clear()
            float(array)
        with pytest.raises(ZeroDivisionError), count_syncs() as failing:
            1 / int(array - 1)
        float(array)
    float(array)
    assert (len(outer), len(inner), failing) == (5, 2, ["int"])
    assert SYNCS == ["float", "int", "float", "float"]


def test_transfers_and_synchronisations_are_counted_apart() -> None:
    before = CALLS.copy()
    DEVICE.from_host(HOST)
    DEVICE.synchronize()
    DEVICE.synchronize()
    on_device(HOST)[[0, 1]]
    assert CALLS - before == {"from_host": 2, "synchronize": 2, "list index": 1}


def test_overflow_is_silent_as_on_a_gpu() -> None:
    assert float(xp.exp(on_device(1000.0))) == math.inf
    assert float(xp.log(on_device(0.0))) == -math.inf
    assert math.isnan(float(on_device(0.0) / on_device(0.0)))


def test_an_operator_leaves_the_word_to_an_unknown_type() -> None:
    class Other:
        def __radd__(self, left: Any) -> str:
            return "mine"

    assert on_device(1.0) + Other() == "mine"


UNARY_CALLS = [
    *(lambda n, a, f=f: getattr(n, f)(a) for f in ("exp", "log1p", "tanh", "sqrt", "sign")),
    *(lambda n, a, f=f: getattr(n, f)(a, axis=-1, keepdims=True) for f in ("sum", "mean", "max")),
    *(lambda n, a, f=f: getattr(a, f)(axis=0) for f in ("sum", "mean", "min", "argmax", "any")),
    lambda n, a: a.T @ a,
    lambda n, a: a[..., None, :1],
    lambda n, a: a[:, ::-1],
    lambda n, a: n.cumsum(a, axis=1),
    lambda n, a: n.reshape(a, (-1,)),
    lambda n, a: n.einsum("ij,kj->ik", a, a),
    lambda n, a: n.tensordot(a, a, axes=([1], [1])),
    lambda n, a: n.take(a, n.asarray([0, 0]), axis=0),
    lambda n, a: n.stack([a, a * 2], axis=1),
    lambda n, a: n.stack(n.split(n.concatenate([a, -a]), 2)),
    lambda n, a: n.broadcast_to(n.expand_dims(a, 0), (2, *a.shape)),
    lambda n, a: n.isfinite(n.moveaxis(a, 0, 1)),
    lambda n, a: n.add.reduce(a, axis=0),
    lambda n, a: a.clip(1, 2),
    lambda n, a: ~(a > 1),
    lambda n, a: abs(-a) + 0 * a,
    lambda n, a: n.where(n.logical_and(a > 1, a < 3), a, -1.0),
    lambda n, a: n.linalg.norm(a),
    lambda n, a: a.astype("int64") // 2 % 3,
]
BINARY_CALLS = [
    *(lambda n, a, b, o=o: getattr(a, f"__{o}__")(b) for o in ("add", "sub", "mul", "truediv")),
    *(lambda n, a, b, o=o: getattr(a, f"__{o}__")(b) for o in ("lt", "le", "gt", "ge", "eq", "ne")),
    *(lambda n, a, b, f=f: getattr(n, f)(a, b) for f in ("maximum", "minimum", "arctan2")),
    lambda n, a, b: 2 - a / (b + 1),
    lambda n, a, b: 2**a,
    lambda n, a, b: a @ b.T,
    lambda n, a, b: n.where(a > b, a, b),
    lambda n, a, b: n.array_equal(a, b),
]


@st.composite
def matrices(draw: st.DrawFn, count: int) -> list[np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    numbers = st.lists(
        st.floats(0, 4, width=16), min_size=math.prod(shape), max_size=math.prod(shape)
    )
    return [np.array(draw(numbers), dtype).reshape(shape) for _ in range(count)]


def agree(call: Callable[..., Any], hosts: list[np.ndarray]) -> None:
    with np.errstate(all="ignore"):
        expected = np.asarray(call(np, *hosts))
    result = call(xp, *map(DEVICE.from_host, hosts))
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(on_host(result), expected)


@given(matrices(1), st.sampled_from(UNARY_CALLS))
def test_a_call_of_one_array_says_what_numpy_says(
    hosts: list[np.ndarray], call: Callable[..., Any]
) -> None:
    agree(call, hosts)


@given(matrices(2), st.sampled_from(BINARY_CALLS))
def test_a_call_of_two_arrays_says_what_numpy_says(
    hosts: list[np.ndarray], call: Callable[..., Any]
) -> None:
    agree(call, hosts)


@pytest.mark.parametrize("call", UNARY_CALLS + BINARY_CALLS)
def test_every_call_on_the_list_agrees_once(call: Callable[..., Any]) -> None:
    host = np.linspace(0, 4, 12, dtype="float32").reshape(3, 4)
    agree(call, [host] if call in UNARY_CALLS else [host, host[::-1]])
