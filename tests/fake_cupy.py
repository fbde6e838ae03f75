"""A module that behaves as CuPy 14 does, with and without what it needs.

What it raises, and with which words, was taken from CuPy 14.2: without a driver, without NVRTC and
without cuBLAS by making it do so; what takes a GPU, from its source and CUDA's own texts.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

TEXTS = {
    "cudaErrorMemoryAllocation": "out of memory",
    "cudaErrorInsufficientDriver": "CUDA driver version is insufficient for CUDA runtime version",
    "cudaErrorDevicesUnavailable": "CUDA-capable device(s) is/are busy or unavailable",
    "cudaErrorNoDevice": "no CUDA-capable device is detected",
    "cudaErrorUnsupportedPtxVersion": (
        "the provided PTX was compiled with an unsupported toolchain."
    ),
}
GB = 2**30


class CUDARuntimeError(RuntimeError):
    """CuPy's takes the number of the error; this one, its name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: {TEXTS[name]}")


class OutOfMemoryError(MemoryError):
    """What CuPy's pool raises."""

    def __init__(self, size: int, total: int) -> None:
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes)."
        )


class DynamicLibNotFoundError(RuntimeError):
    """What `cuda.pathfinder` raises, by which CuPy 14 looks for CUDA's libraries."""


def not_found(library: str) -> str:
    names = f"{library}.so.13 or {library}.so.12"
    return f'Failure finding "{names}": No such file: {names}, No such file: {names}\n'


class FakeArray(np.ndarray):
    """An array that knows its device, whose kernels and products can fail."""

    cupy: Any = None
    device_id = 0
    data = property(lambda self: SimpleNamespace(device_id=self.device_id, ptr=self.ctypes.data))

    def __array_finalize__(self, made_of: Any) -> None:
        self.cupy = getattr(made_of, "cupy", None)
        self.device_id = getattr(made_of, "device_id", 0)

    def fill(self, value: float) -> None:
        self.cupy.attempt("kernel")
        super().fill(value)

    def __matmul__(self, other: Any) -> Any:
        if self.cupy:
            self.cupy.attempt("product")
        return super().__matmul__(other)


def fake_cupy(
    driver: int = 13000,
    runtime: int = 12090,
    devices: int = 1,
    free: int = 100 * GB,
    total: int = 140 * GB,
    **failing: BaseException,
) -> Any:
    """CuPy for CUDA ``runtime`` on a driver for CUDA ``driver``.

    ``failing`` names what raises: ``empty``, ``kernel``, ``product`` or ``memory``.
    """
    cupy: Any = ModuleType("cupy")
    cupy.ndarray, cupy.waits = FakeArray, []

    def attempt(what: str) -> None:
        if what in failing:
            raise failing[what]

    def device_count() -> int:
        if driver // 1000 < runtime // 1000:
            raise CUDARuntimeError("cudaErrorInsufficientDriver")
        if not devices:
            raise CUDARuntimeError("cudaErrorNoDevice")
        return devices

    def on_device(host: np.ndarray) -> FakeArray:
        device_count()
        attempt("empty")
        array = host.view(FakeArray)
        array.cupy, array.device_id = cupy, cupy.cuda.get_device_id()
        return array

    def memory() -> tuple[int, int]:
        attempt("memory")
        return free, total

    cupy.attempt = attempt
    cupy.empty = lambda shape, dtype: on_device(np.empty(shape, dtype))
    cupy.asarray = lambda value: on_device(np.array(value))
    cupy.asnumpy = lambda array: np.array(array)
    cupy.matmul = np.matmul
    stream = SimpleNamespace(synchronize=lambda: cupy.waits.append("stream"))
    cupy.pool = SimpleNamespace(free_bytes=lambda: 0, used_bytes=lambda: 0, get_limit=lambda: 0)
    cupy.get_default_memory_pool = lambda: cupy.pool
    cupy.cuda = SimpleNamespace(
        get_current_stream=lambda: stream,
        get_device_id=lambda: 0,
        Stream=lambda non_blocking: stream,
        runtime=SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: runtime,
            getDeviceCount=device_count,
            getDeviceProperties=lambda number: {"name": b"NVIDIA H200"},
            memGetInfo=memory,
        ),
    )
    return cupy
