"""One backend is in use at a time; arrays of two do not mix; what is missing says so."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cupy import FakeArray, fake_cupy

from tinyvae.backend import Backend, base, get, mixed, names, of, register, use
from tinyvae.errors import BackendError


@pytest.fixture(autouse=True)
def _loaded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers or loads, a fake CuPy say, is gone after it."""
    for registry in ("_loaders", "_loaded", "_by_type"):
        monkeypatch.setattr(base, registry, dict(getattr(base, registry)))
    base._loaded.pop("cupy", None)


@pytest.fixture(autouse=True)
def _back_to_the_default() -> Any:
    with use("numpy"):
        yield


def test_use_as_a_call_lasts() -> None:
    use("standin")
    assert get().name == "standin"


def test_numpy_is_in_use_when_nothing_was_chosen() -> None:
    token = base._current.set(None)
    assert get().name == "numpy"
    base._current.reset(token)


def test_use_in_a_with_block_nests_and_gives_back_each_level() -> None:
    with use("standin") as outer:
        assert get() is outer
        with use("numpy") as inner:
            assert get() is inner is get("numpy")
            use("standin")
        assert get() is outer is get("standin")
    assert get().name == "numpy"


def test_an_exception_in_the_block_restores_the_backend_and_passes_on() -> None:
    with pytest.raises(ZeroDivisionError), use("standin"):
        raise ZeroDivisionError
    assert get().name == "numpy"


def test_a_backend_that_cannot_be_had_leaves_the_one_in_use() -> None:
    with use("standin"):
        with pytest.raises(BackendError):
            use("jax")
        assert get().name == "standin"


def test_use_and_get_take_a_backend_itself() -> None:
    standin = get("standin")
    with use(standin) as chosen:
        assert chosen is get(standin) is standin


def test_an_unknown_backend_is_named_with_the_known_ones() -> None:
    with pytest.raises(BackendError) as caught:
        get("jax")
    assert str(caught.value) == (
        "unknown backend 'jax'; choose one of ['cupy', 'numpy', 'standin'] or 'auto'"
    )


def test_a_registered_backend_is_loaded_once_and_only_when_asked_for() -> None:
    loads = []

    class Mine:
        pass

    def load() -> Backend:
        loads.append("mine")
        return Backend("mine", None, Mine, lambda host: Mine(), np.asarray)

    register("mine", load)
    assert "mine" in names()
    assert loads == []
    assert get("mine") is get("mine") is of(Mine())
    assert loads == ["mine"]


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: np.zeros(3),
        lambda folder: np.float32(1),
        lambda folder: np.bool_(True),
        lambda folder: np.memmap(folder / "data", "float32", "w+", shape=(3,)),
        lambda folder: np.ma.masked_array([1.0]),
    ],
    ids=["array", "float32", "bool", "memmap", "subclass"],
)
def test_numpys_arrays_of_every_kind_belong_to_numpy(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    assert of(make(tmp_path)) is get("numpy")


def test_an_array_belongs_to_the_backend_that_made_it(backend: Backend) -> None:
    array = backend.asarray([1.0, 2.0], "float32")
    assert isinstance(array, backend.array_type)
    assert of(array) is of(array[:1]) is backend


@pytest.mark.parametrize("foreign", [[1.0], 1.0, None, "text", (np.zeros(3),)])
def test_what_is_no_array_belongs_nowhere(foreign: Any) -> None:
    kind = type(foreign).__name__
    with pytest.raises(BackendError, match=rf"^{kind} is not an array of any .*tv\.Tensor"):
        of(foreign)


def test_the_error_for_mixed_arrays_says_where_and_the_mend() -> None:
    assert str(mixed("numpy", "cupy")) == (
        "arrays of 'numpy' and 'cupy' do not mix; move one of them, for example with .to('numpy')"
    )
    assert str(mixed("cupy", "numpy", "matmul")).startswith("matmul: arrays of 'cupy' and 'numpy'")
    assert isinstance(mixed("numpy", "cupy"), BackendError)


def test_asarray_makes_an_array_of_numbers_lists_and_numpy_arrays(backend: Backend) -> None:
    for value in (1.5, [[1, 2], [3, 4]], np.arange(3), np.float64(2)):
        array = backend.asarray(value, "float32")
        assert isinstance(array, backend.array_type)
        assert array.dtype == "float32"
        np.testing.assert_array_equal(backend.to_host(array), np.asarray(value, "float32"))


def test_asarray_of_its_own_array_is_that_array(backend: Backend) -> None:
    array = backend.asarray([1.0, 2.0], "float32")
    assert backend.asarray(array) is array
    assert backend.asarray(array, "float32") is array
    assert backend.asarray(array, "float64").dtype == "float64"


def test_asarray_keeps_the_dtype_of_a_numpy_array(backend: Backend) -> None:
    for dtype in ("float32", "float64", "int64", "uint8", "bool"):
        assert backend.asarray(np.zeros(2, dtype)).dtype == dtype


@pytest.mark.parametrize("name", ["numpy", "cupy"])
def test_asarray_refuses_the_arrays_of_another_backend(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    foreign = get("standin").asarray([1.0])
    with pytest.raises(BackendError, match=f"arrays of '{name}' and 'standin' do not mix"):
        get(name).asarray(foreign)


def test_a_cupy_array_is_known_before_cupys_backend_is_loaded() -> None:
    foreign = type("ndarray", (), {"__module__": "cupy._core.core"})()
    with pytest.raises(BackendError, match="arrays of 'numpy' and 'cupy' do not mix"):
        get("numpy").asarray(foreign)


def test_numbers_survive_the_way_to_the_device_and_back(backend: Backend) -> None:
    host = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    array = backend.from_host(host)
    backend.synchronize()
    np.testing.assert_array_equal(backend.to_host(array), host)
    np.testing.assert_array_equal(backend.to_host(array.T[1:]), host.T[1:])


def test_auto_is_cupy_where_a_kernel_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    with use("auto") as chosen:
        assert chosen is get("cupy") is get()


def test_a_gpu_that_was_not_there_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with warnings.catch_warnings(action="ignore"):
        assert get("auto").name == "numpy"
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    assert get("auto").name == "cupy"


def test_cupys_backend_is_made_of_cupys_own_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    backend = get("cupy")
    array = backend.from_host(np.zeros(3))
    assert (backend.name, backend.xp, backend.array_type) == ("cupy", cupy, FakeArray)
    assert of(array) is backend
    assert type(backend.to_host(array)) is np.ndarray
    assert of(np.zeros(3)).name == "numpy"


def test_synchronize_waits_for_the_stream_in_use_at_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cupy = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    backend = get("cupy")
    other = types.SimpleNamespace(synchronize=lambda: cupy.waits.append("other"))
    cupy.cuda.get_current_stream = lambda: other
    cupy.waits.clear()
    backend.synchronize()
    assert cupy.waits == ["other"]
