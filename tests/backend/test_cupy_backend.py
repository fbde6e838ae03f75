"""How the GPU is chosen and tried out, and what is said where it cannot be had."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import warnings
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_cupy import (
    GB,
    CUDARuntimeError,
    DynamicLibNotFoundError,
    FakeArray,
    OutOfMemoryError,
    fake_cupy,
    not_found,
)

import tinyvae as tv
from tinyvae.backend import base, best, cupy_backend, get, precision, use
from tinyvae.errors import BackendError

Install = Callable[..., Any]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a fake CuPy, and the names of CuPy's packages, in the place of what is there."""
    for registry in ("_loaded", "_by_type"):
        monkeypatch.setattr(base, registry, dict(getattr(base, registry)))
    base._loaded.pop("cupy", None)
    monkeypatch.setattr(base, "_told", [])

    def install(cupy: Any, *packages: str) -> Any:
        def distribution(name: str) -> None:
            if name not in packages:
                raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setattr(importlib.metadata, "distribution", distribution)
        return cupy

    return install


def complaint() -> str:
    """What `tv.use("cupy")` says: one line, with what to do, and NumPy as the way out."""
    with pytest.raises(BackendError) as caught:
        use("cupy")
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is missing


def test_without_cupy_the_error_says_how_to_install_it(installed: Install) -> None:
    installed(None)
    assert complaint() == (
        "backend 'cupy' needs CuPy; it is not installed: pip install 'tinyvae[cupy]' (CUDA 12), or "
        "pip install 'cupy-cuda13x[ctk]' (CUDA 13)"
    )


def test_two_packages_of_cupy_are_refused_before_either_is_imported(installed: Install) -> None:
    installed(None, "cupy-cuda12x", "cupy-cuda13x")
    assert re.search(
        "packages cupy-cuda12x and cupy-cuda13x, which overwrite each other's files: pip uninstall "
        r"cupy-cuda12x cupy-cuda13x, then pip install 'tinyvae\[cupy\]' \(CUDA 12\), or",
        complaint(),
    )


def test_a_cupy_that_cannot_be_imported_is_said_with_the_first_cause(
    installed: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> None:
        raise ImportError("\n=====\nlong advice\n=====\n") from ImportError("no libcudart.so.12")

    class Broken(ModuleType):
        __getattr__ = load

    installed(None, "cupy-cuda12x")
    monkeypatch.delitem(sys.modules, "cupy")
    finder = type("Finder", (), {"find_spec": staticmethod(load)})
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert complaint() == (
        "backend 'cupy' cannot import CuPy (no libcudart.so.12): install it anew, pip install "
        "--force-reinstall cupy-cuda12x, or use backend 'numpy'"
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"driver": 0}, "found no NVIDIA driver: install it, until `nvidia-smi` shows the GPU"),
        (
            {"devices": 0},
            "found a driver, and no NVIDIA GPU that answers (cudaErrorNoDevice: no CUDA-capable "
            "device is detected): look with `nvidia-smi`, and whether CUDA_VISIBLE_DEVICES hides "
            "it",
        ),
        (
            {"driver": 12020, "runtime": 13000},
            "found a driver for CUDA 12.2, and this CuPy is for CUDA 13.0: update the driver, or "
            "take the CuPy that fits it: pip uninstall cupy-cuda13x, pip install "
            "'cupy-cuda12x[ctk]'",
        ),
        (
            {"driver": 11040},
            "found a driver for CUDA 11.4, and this CuPy is for CUDA 12.9: update the driver",
        ),
    ],
)
def test_without_a_driver_or_a_device_the_error_says_which(
    installed: Install, how: dict[str, int], message: str
) -> None:
    installed(fake_cupy(**how))
    assert complaint() == f"backend 'cupy' {message}, or use backend 'numpy'"


@pytest.mark.parametrize("versions", [(12020, 12090), (13000, 12090), (12090, 12090)])
def test_a_driver_of_the_same_cuda_or_a_newer_one_will_do(
    installed: Install, versions: tuple[int, int]
) -> None:
    driver, runtime = versions  # CUDA promises that minor versions work together
    installed(fake_cupy(driver=driver, runtime=runtime))
    assert get("cupy").name == "cupy"


NO_NVRTC = DynamicLibNotFoundError(not_found("libnvrtc"))
NO_NVRTC_13 = RuntimeError("CuPy failed to load libnvrtc.so.12: OSError: libnvrtc.so.12: cannot")
NO_CUBLAS = ImportError(not_found("libcublasLt"))


@pytest.mark.parametrize(
    ("failing", "library"),
    [
        ({"kernel": NO_NVRTC}, "NVRTC"),
        ({"kernel": NO_NVRTC_13}, "NVRTC"),
        ({"product": NO_CUBLAS}, "cuBLAS"),
    ],
)
@pytest.mark.parametrize("runtime", [12090, 13000])
def test_a_part_of_cuda_that_is_missing_is_named_with_the_line_that_installs_it(
    installed: Install, failing: dict[str, Exception], library: str, runtime: int
) -> None:
    installed(fake_cupy(runtime=runtime, **failing))
    (error,) = failing.values()
    assert complaint() == (
        f"backend 'cupy' found a GPU that cannot run without {library} ({str(error).strip()}): "
        f"install CUDA's libraries beside CuPy, pip install 'cupy-cuda{runtime // 1000}x[ctk]', or "
        "use backend 'numpy'"
    )


@pytest.mark.parametrize("what", ["empty", "kernel", "product"])
@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError(512, 0),
        CUDARuntimeError("cudaErrorMemoryAllocation"),
        RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    ],
)
def test_a_gpu_that_another_program_fills_is_said_with_what_is_free(
    installed: Install, error: Exception, what: str
) -> None:
    installed(fake_cupy(free=GB // 4, **{what: error}))
    assert re.fullmatch(
        r"backend 'cupy' found a GPU that has no memory left for a first (kernel|matrix product) "
        r"\(0\.2 of 140\.0 GB are free\); `nvidia-smi` shows which programs hold it: end one, or "
        "wait, or use backend 'numpy'",
        complaint(),
    )


def test_a_gpu_too_full_to_say_how_full_it_is(installed: Install) -> None:
    full = CUDARuntimeError("cudaErrorMemoryAllocation")
    installed(fake_cupy(empty=full, memory=full))
    assert "for a first kernel (cudaErrorMemoryAllocation: out of memory); " in complaint()


def test_a_gpu_that_serves_another_program_alone_is_said(installed: Install) -> None:
    installed(fake_cupy(empty=CUDARuntimeError("cudaErrorDevicesUnavailable")))
    assert "found a GPU that serves another program alone (cudaErrorDevices" in complaint()


def test_any_other_failure_is_given_in_its_own_words(installed: Install) -> None:
    installed(fake_cupy(kernel=CUDARuntimeError("cudaErrorUnsupportedPtxVersion")))
    assert "failed at a first kernel (cudaErrorUnsupportedPtxVersion: the prov" in complaint()


def test_the_cause_stays_with_the_error(installed: Install) -> None:
    installed(fake_cupy(kernel=NO_NVRTC))
    with pytest.raises(BackendError) as caught:
        get("cupy")
    assert caught.value.__cause__ is NO_NVRTC


# auto


def test_auto_says_once_why_it_is_numpy(installed: Install) -> None:
    installed(fake_cupy(driver=0))
    with pytest.warns(UserWarning, match="^no GPU is used, but NumPy: .* found no NVIDIA driver"):
        assert get("auto") is get("numpy")
    with warnings.catch_warnings(), use("auto") as chosen:
        warnings.simplefilter("error")
        assert chosen is get("numpy")


def test_auto_says_nothing_where_it_is_the_gpu(installed: Install) -> None:
    installed(fake_cupy())
    with use("auto") as chosen:
        assert chosen is get("cupy")
    assert best() == (get("cupy"), "")


# The device


def test_a_tensor_of_an_array_of_another_device_is_refused_with_the_mend(
    installed: Install,
) -> None:
    cupy = installed(fake_cupy(devices=2))
    with use("cupy") as backend:
        here = backend.from_host(np.zeros((2, 3), "float32"))
        cupy.cuda.get_device_id = lambda: 1
        there = backend.from_host(np.zeros((2, 3), "float32"))
        cupy.cuda.get_device_id = lambda: 0
        assert tv.Tensor(here).shape == (2, 3)
        with pytest.raises(BackendError) as caught:
            tv.Tensor(there)
    assert str(caught.value) == (
        "an array of shape (2, 3) is on GPU 1, and 0 is in use: make it on that one, or compute "
        "within `with cupy.cuda.Device(1):`"
    )


def test_a_model_on_another_device_is_not_trained(installed: Install) -> None:
    cupy = installed(fake_cupy(devices=2))
    model = tv.VAE((2, 2), hidden=(3,))
    for parameter in model.parameters():
        array = parameter.array.view(FakeArray)
        array.device_id = 1
        parameter.place(array, array)
    cupy.cuda.get_device_id = lambda: 0
    get("cupy")
    with pytest.raises(BackendError, match="is on GPU 1, and 0 is in use"):
        tv.fit(model, np.zeros((4, 2, 2), np.uint8), batch=2)


def test_what_cupys_pool_holds_unused_is_free_up_to_its_limit(installed: Install) -> None:
    cupy = installed(fake_cupy(free=3 * GB, total=8 * GB))
    backend = get("cupy")
    assert backend.free_memory() == 3 * GB
    cupy.pool.free_bytes, cupy.pool.used_bytes = lambda: 2 * GB, lambda: GB
    assert backend.free_memory() == 5 * GB
    cupy.pool.get_limit = lambda: 4 * GB
    assert backend.free_memory() == 3 * GB


def test_the_device_is_described_by_its_name_memory_and_versions(installed: Install) -> None:
    installed(fake_cupy(driver=13000, runtime=12090))
    assert get("cupy").about()[:3] == [
        "NVIDIA H200, 100.0 of 140.0 GB are free",
        "CUDA 12.9, driver for CUDA 13.0",
        "precision of matrix products: float32, tf32, bfloat16",
    ]
    assert get("numpy").about() == []


def test_the_way_of_matrix_products_is_shown_with_those_that_were_not_taken() -> None:
    products = SimpleNamespace(
        name="cublas", outcomes={"nvmath": "no lib\nat all", "cublas": "works"}
    )
    assert cupy_backend._about(fake_cupy(), products)[-3:] == [
        "matrix products by cublas",
        "    nvmath: no lib",
        "    cublas: works",
    ]


def test_the_fake_has_no_name_that_cupy_lacks() -> None:
    cupy = pytest.importorskip("cupy", reason="needs CuPy: pip install 'tinyvae[cupy]'")
    fake = fake_cupy()
    ours = {name for name in vars(fake) if not name.startswith("_")} - {"attempt", "pool", "waits"}
    assert ours <= set(dir(cupy))
    assert set(vars(fake.cuda)) <= set(dir(cupy.cuda))
    assert set(vars(fake.cuda.runtime)) <= set(dir(cupy.cuda.runtime))
    assert set(vars(fake.pool)) <= set(dir(cupy.cuda.MemoryPool))
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    full = cupy.cuda.runtime.CUDARuntimeError(2)
    assert str(full) == str(CUDARuntimeError("cudaErrorMemoryAllocation"))
    assert cupy_backend.is_full(full)


# Precision


def test_the_precision_is_that_of_the_innermost_block_that_names_one(installed: Install) -> None:
    installed(fake_cupy())
    assert precision() == "float32"
    with use("cupy", precision="tf32"):
        with use("cupy", precision="bfloat16"):
            assert precision() == "bfloat16"
        with use("cupy"), use("numpy"):
            assert precision() == "tf32"
        with use("numpy", precision="float32"):
            assert precision() == "float32"
    assert precision() == "float32"


@pytest.mark.parametrize("backend", ["numpy", "cupy"])
def test_an_unknown_precision_is_named_with_the_known_ones(
    installed: Install, backend: str
) -> None:
    installed(fake_cupy())
    with pytest.raises(BackendError) as caught:
        use(backend, precision="float16")
    assert str(caught.value) == (
        "unknown precision 'float16'; choose one of ['float32', 'tf32', 'bfloat16']"
    )
    assert precision() == "float32"


@pytest.mark.parametrize("name", ["tf32", "bfloat16"])
def test_numpy_refuses_a_precision_that_only_a_gpu_has(name: str) -> None:
    with pytest.raises(BackendError) as caught:
        use("numpy", precision=name)
    assert str(caught.value) == (
        f"backend 'numpy' has no precision {name!r}, only ['float32']: leave it out, or use a GPU "
        "with backend 'cupy'"
    )
    assert get().name == "numpy"
