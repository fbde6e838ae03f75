"""Where NumPy and a GPU part without a word, the stand-in is strict; and it has CuPy's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from standin import DeviceArray, OutOfRangeError, protected, record_made, xp
from standin_tables import BORROWED, LINALG, OF_AN_ARRAY, OF_ANYTHING, QUERIES, UFUNCS

from tinyvae.backend import get

DEVICE = get("standin")
HOST = np.ones((2, 3), "float32")


def on_device(value: Any) -> DeviceArray:
    return DEVICE.from_host(np.asarray(value, "float32"))


@pytest.mark.parametrize(
    "reach",
    [
        lambda a: a[xp.asarray([2])],
        lambda a: a[[-3]],
        lambda a: a[0, xp.asarray([[0, 3]])],
        lambda a: a.__setitem__(xp.asarray([2]), 1.0),
        lambda a: a.__setitem__(xp.asarray([2]), xp.ones((1, 3), "float32")),
        lambda a: xp.add.at(a, xp.asarray([2]), 1.0),
        lambda a: xp.take(a, xp.asarray([2]), axis=0),
        lambda a: a.take(xp.asarray([3]), axis=1),
    ],
)
def test_an_array_of_indices_out_of_range_is_no_index_error_since_a_gpu_wraps(
    reach: Callable[[Any], Any],
) -> None:
    with pytest.raises(OutOfRangeError, match=r"out of bounds.*a GPU wraps it in silence"):
        reach(on_device(HOST))


@pytest.mark.parametrize("index", [2, -3, (0, 3), (0, 0, 0), (xp.asarray([0]),) * 3])
def test_other_indices_that_do_not_fit_are_index_errors_as_in_cupy(index: Any) -> None:
    with pytest.raises(IndexError):
        on_device(HOST)[index]


def test_a_matrix_product_in_place_makes_a_new_array_as_in_cupy() -> None:
    array = product = on_device(np.eye(3))
    product @= on_device(np.ones((3, 3)))
    assert DEVICE.to_host(product).all()
    np.testing.assert_array_equal(DEVICE.to_host(array), np.eye(3))


@pytest.mark.parametrize(
    "write",
    [
        lambda a: a.__setitem__(0, 1.0),
        lambda a: a.__iadd__(1),
        lambda a: a.T.__imul__(2),
        lambda a: a.reshape(-1).fill(0),
        lambda a: a[1:].__setitem__(..., a[:1]),
        lambda a: xp.exp(a, out=a),
        lambda a: xp.add.at(a, xp.asarray([0]), 1.0),
        lambda a: xp.copyto(a, 0.0),
    ],
)
def test_a_protected_array_is_not_written_to_nor_its_views_until_the_block_ends(
    write: Callable[[Any], Any],
) -> None:
    array = on_device(HOST)
    with protected(array):
        with pytest.raises(ValueError, match="read-only"):
            write(array)
        assert DEVICE.to_host(array).tolist() == HOST.tolist()
    array += 1
    assert DEVICE.to_host(array).tolist() == (HOST + 1).tolist()


def test_a_broadcast_view_is_never_written_to_though_cupy_would() -> None:
    with pytest.raises(ValueError, match="read-only"):
        xp.broadcast_to(on_device(HOST), (2, 2, 3)).fill(0)


def test_what_is_made_within_a_block_is_recorded_by_its_dtype() -> None:
    array = on_device(HOST)
    with record_made() as made:
        (array > 0).sum()
        array.astype("float64").astype("float32")
        array.astype("float32", copy=False)
    array + 1
    assert made == ["bool", "int64", "float64", "float32"]


def test_every_name_of_the_tables_is_in_cupy() -> None:
    cupy = pytest.importorskip("cupy", reason="needs CuPy: pip install 'tinyvae[cupy]'")
    names = [*UFUNCS, *OF_AN_ARRAY, *OF_ANYTHING, *BORROWED, *QUERIES]
    assert [name for name in names if not hasattr(cupy, name)] == []
    assert [name for name in LINALG if not hasattr(cupy.linalg, name)] == []
    ours = set(dir(DeviceArray)) - {"_host", "__module__", "__slots__"}
    assert ours - set(dir(cupy.ndarray)) == set()
