"""CuPy: arrays on an NVIDIA GPU."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinyvae.backend import cuda_products, cupy_kernels
from tinyvae.backend.base import PRECISIONS, Array, Backend
from tinyvae.backend.cupy_capture import streams_of
from tinyvae.errors import BackendError

PACKAGES = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")
INSTALL = "pip install 'tinyvae[cupy]' (CUDA 12), or pip install 'cupy-cuda13x[ctk]' (CUDA 13)"
ELSE = "or use backend 'numpy'"
FULL = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")
BUSY = "cudaErrorDevicesUnavailable"  # set to serve one process at a time, which another has


def load() -> Backend:
    """The backend of the GPU, after a kernel and a matrix product have run on it.

    Raises
    ------
    BackendError
        CuPy is not installed, or for another CUDA; no GPU answers, or it has no memory left; or
        a part of CUDA is missing.
    """
    cupy = _imported()
    _find_device(cupy)
    _try_out(cupy)
    streams, products = streams_of(cupy), cuda_products.load(cupy)
    return Backend(
        "cupy",
        cupy,
        cupy.ndarray,
        lambda array: streams().from_host(array),
        cupy.asnumpy,
        lambda: cupy.cuda.get_current_stream().synchronize(),
        kernels=cupy_kernels.load(cupy, products),
        recording=lambda: streams().recording(),
        generator=lambda seed: cupy.random.Generator(cupy.random.Philox4x3210(seed)),
        free_memory=lambda: _free_memory(cupy),
        aside=lambda: streams().aside(),
        join=lambda: streams().join(),
        precisions=PRECISIONS,
        check=lambda array: _check_device(cupy, array),
        is_full=is_full,
        about=lambda: _about(cupy, products),
    )


# What can be missing


def _imported() -> Any:
    installed = [name for name in PACKAGES if _is_installed(name)]
    if len(installed) > 1:
        raise BackendError(
            f"backend 'cupy' found the packages {' and '.join(installed)}, which overwrite each "
            f"other's files: pip uninstall {' '.join(installed)}, then {INSTALL}"
        )
    try:
        import cupy
    except ImportError as error:
        if not installed:
            raise BackendError(
                f"backend 'cupy' needs CuPy; it is not installed: {INSTALL}"
            ) from error
        raise BackendError(
            f"backend 'cupy' cannot import CuPy ({_first_line(error.__cause__ or error)}): "
            f"install it anew, pip install --force-reinstall {installed[0]}, {ELSE}"
        ) from error
    return cupy


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _find_device(cupy: Any) -> None:
    runtime = cupy.cuda.runtime
    try:
        runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        driver, wanted = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        if driver == 0:
            why = "no NVIDIA driver: install it, until `nvidia-smi` shows the GPU"
        elif driver < wanted:
            why = (
                f"a driver for CUDA {_version(driver)}, and this CuPy is for CUDA "
                f"{_version(wanted)}: update the driver{_fitting(driver, wanted)}"
            )
        else:
            why = (
                f"a driver, and no NVIDIA GPU that answers ({error}): look with `nvidia-smi`, and "
                "whether CUDA_VISIBLE_DEVICES hides it"
            )
        raise BackendError(f"backend 'cupy' found {why}, {ELSE}") from error


def _fitting(driver: int, wanted: int) -> str:
    """The CuPy for an older driver, where there is one."""
    if not 12 <= driver // 1000 < wanted // 1000:
        return ""
    old, fitting = (f"cupy-cuda{version // 1000}x" for version in (wanted, driver))
    return f", or take the CuPy that fits it: pip uninstall {old}, pip install '{fitting}[ctk]'"


def _try_out(cupy: Any) -> None:
    """Do what every step does, since a device can be there without memory, NVRTC or cuBLAS."""
    with _explained(cupy, "kernel", "NVRTC"):
        ones = cupy.empty((2, 2), dtype="float32")
        ones.fill(1)
        cupy.cuda.get_current_stream().synchronize()
    with _explained(cupy, "matrix product", "cuBLAS"):
        float((ones @ ones).sum())


@contextmanager
def _explained(cupy: Any, what: str, library: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # CUDA's errors share no base class
        text = _first_line(error)
        if is_full(error):
            why = (
                f"has no memory left for a first {what} ({_room(cupy) or text}); `nvidia-smi` "
                "shows which programs hold it: end one, or wait"
            )
        elif BUSY in text:
            why = (
                f"serves another program alone ({text}): `nvidia-smi` shows which; end it, or wait"
            )
        elif isinstance(error, (ImportError, OSError)) or f"lib{library.lower()}" in text:
            major = cupy.cuda.runtime.runtimeGetVersion() // 1000
            why = (
                f"cannot run without {library} ({text}): install CUDA's libraries beside CuPy, "
                f"pip install 'cupy-cuda{major}x[ctk]'"
            )
        else:
            why = f"failed at a first {what} ({text}): look with `nvidia-smi` whether it is well"
        raise BackendError(f"backend 'cupy' found a GPU that {why}, {ELSE}") from error


def is_full(error: BaseException) -> bool:
    """Whether an exception says that the GPU has no memory left; CUDA has several for it."""
    return isinstance(error, MemoryError) or any(name in str(error) for name in FULL)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


# The device


def _check_device(cupy: Any, array: Array) -> None:
    """CuPy itself copies from one device to another, or its kernels read what is not there."""
    current, own = cupy.cuda.get_device_id(), array.data.device_id
    if own != current:
        raise BackendError(
            f"an array of shape {array.shape} is on GPU {own}, and {current} is in use: make it "
            f"on that one, or compute within `with cupy.cuda.Device({own}):`"
        )


def _free_memory(cupy: Any) -> float:
    """What no program has taken, and what CuPy has taken and nobody uses; up to CuPy's limit."""
    pool = cupy.get_default_memory_pool()
    free = cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
    limit = pool.get_limit()
    return float(min(free, limit - pool.used_bytes()) if limit else free)


def _room(cupy: Any) -> str:
    """How much memory is free, where the GPU has enough left to say so."""
    try:
        free, total = cupy.cuda.runtime.memGetInfo()
    except cupy.cuda.runtime.CUDARuntimeError:
        return ""
    return f"{free / 2**30:.1f} of {total / 2**30:.1f} GB are free"


def _about(cupy: Any, products: Any) -> list[str]:
    """The GPU, the versions, and by which way matrix products go."""
    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(cupy.cuda.get_device_id())["name"].decode()
    versions = _version(runtime.runtimeGetVersion()), _version(runtime.driverGetVersion())
    return [
        f"{name}, {_room(cupy) or 'full'}",
        "CUDA {}, driver for CUDA {}".format(*versions),
        f"precision of matrix products: {', '.join(PRECISIONS)}",
        f"matrix products by {products.name}",
        *(f"    {way}: {outcome.splitlines()[0]}" for way, outcome in products.outcomes.items()),
    ]


def _version(number: int) -> str:
    """CUDA's numbers as people write them.

    >>> _version(12090)
    '12.9'
    """
    return f"{number // 1000}.{number % 1000 // 10}"
