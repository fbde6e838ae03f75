"""cuBLAS, cuBLASLt and a part of CuPy on the host: products and graphs of the stand-in's arrays.

`tinyvae.backend.cuda_products` calls the C functions of ``cublas_on_host.cpp`` with the addresses
of NumPy's memory. A graph keeps the products that were started on the stream that is captured.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import inspect
import math
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cuda_on_host
import numpy as np
import standin

SOURCE = Path(__file__).with_suffix(".cpp")
MAJOR = 99  # of no CUDA that there is, so that the library's name is that of no other


@functools.cache
def library(name: str = f"libcublas.so.{MAJOR}", *options: str) -> ctypes.CDLL:
    """The functions of `SOURCE`; once loaded, the library is found again by its name alone."""
    flags = "-std=c++14", "-O1", "-shared", "-fPIC", f"-Wl,-soname,{name}", *options
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, name))
        command = [str(cuda_on_host.COMPILER), *flags, str(SOURCE), "-o", path]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode:
            raise SyntaxError(done.stderr)
        return ctypes.CDLL(path)


class Stream:
    """CuPy's class of that name; each has an address, and one is the current one."""

    stack: list[Stream]
    count = 0

    def __init__(self, non_blocking: bool = False) -> None:
        Stream.count += 1
        self.ptr, self.is_captured = 4096 * Stream.count, False

    def __enter__(self) -> Stream:
        Stream.stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert Stream.stack.pop() is self

    def begin_capture(self) -> None:
        self.is_captured = True
        library().host_begin_capture(ctypes.c_void_p(self.ptr))

    def end_capture(self) -> SimpleNamespace:
        self.is_captured = False
        number = library().host_end_capture()
        return SimpleNamespace(launch=lambda stream=None: library().host_launch(number))

    def is_capturing(self) -> bool:
        return self.is_captured

    def synchronize(self) -> None:
        standin.CALLS["synchronize"] += 1


Stream.stack = [Stream()]


class Memory:
    """CuPy's pointer to memory, which begins at a multiple of 256 and is given back in the end."""

    def __init__(self, size: int) -> None:
        self._bytes = np.empty(size + 256, np.uint8)
        self.ptr = -(-self._bytes.ctypes.data // 256) * 256
        weakref.finalize(self, library().host_free, ctypes.c_void_p(self.ptr))


def empty(shape: tuple[int, ...], dtype: Any) -> standin.DeviceArray:
    """NaNs at a multiple of 256 bytes, as CuPy's memory; room behind, for what writes too far."""
    size, itemsize = math.prod(shape), np.dtype(dtype).itemsize
    owner = np.full(size + 4096 // itemsize, np.nan, dtype)
    first = -owner.ctypes.data % 256 // itemsize
    return standin.DeviceArray(owner[first : first + size].reshape(shape))


def cupy() -> standin.Namespace:
    """The stand-in's functions, with the part of ``cupy.cuda`` that products need."""
    library()
    members = {name: value for name, value in vars(standin.xp).items() if name != "_path"}
    pool = lambda: SimpleNamespace(malloc=Memory)  # noqa: E731
    cuda = standin.Namespace(
        "cupy.cuda",
        Device=lambda: SimpleNamespace(id=0),
        Stream=Stream,
        cublas=None,
        get_current_stream=lambda: Stream.stack[-1],
        runtime=SimpleNamespace(runtimeGetVersion=lambda: MAJOR * 1000 + 20),
    )
    members |= {"cuda": cuda, "empty": empty, "get_default_memory_pool": pool}
    return standin.Namespace("cupy", **members)


# nvmath-python's bindings: the same names and arguments, by ctypes to the library above


class MatmulDescAttribute(enum.IntEnum):
    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8


class MatmulPreferenceAttribute(enum.IntEnum):
    MAX_WORKSPACE_BYTES = 1
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


class Epilogue(enum.IntEnum):
    BIAS = 4
    RELU_BIAS = 6


class MatmulHeuristicResult:
    def __init__(self, size: int = 1) -> None:
        self._memory = (ctypes.c_uint64 * (12 * size))()
        self.ptr = ctypes.addressof(self._memory)


class cuBLASLtError(Exception):  # noqa: N801 - nvmath's name
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"status {status}")


def create() -> int:
    return _made("cublasLtCreate")


def matmul_desc_create(compute_type: int, scale_type: int) -> int:
    return _made("cublasLtMatmulDescCreate", compute_type, scale_type)


def matmul_desc_set_attribute(matmul_desc: int, attr: int, buf: int, size_in_bytes: int) -> None:
    _call("cublasLtMatmulDescSetAttribute", matmul_desc, attr, buf, size_in_bytes)


def matrix_layout_create(type: int, rows: int, cols: int, ld: int) -> int:
    return _made("cublasLtMatrixLayoutCreate", type, rows, cols, ld)


def matmul_preference_create() -> int:
    return _made("cublasLtMatmulPreferenceCreate")


def matmul_preference_destroy(pref: int) -> None:
    _call("cublasLtMatmulPreferenceDestroy", pref)


def matmul_preference_set_attribute(pref: int, attr: int, buf: int, size_in_bytes: int) -> None:
    _call("cublasLtMatmulPreferenceSetAttribute", pref, attr, buf, size_in_bytes)


def matmul_algo_get_heuristic(
    light_handle: int,
    operation_desc: int,
    adesc: int,
    bdesc: int,
    cdesc: int,
    ddesc: int,
    preference: int,
    requested_algo_count: int,
    heuristic_results_array: int,
    return_algo_count: int,
) -> None:
    _call("cublasLtMatmulAlgoGetHeuristic", *_in_order(locals(), matmul_algo_get_heuristic))


def matmul(
    light_handle: int,
    compute_desc: int,
    alpha: int,
    a: int,
    adesc: int,
    b: int,
    bdesc: int,
    beta: int,
    c: int,
    cdesc: int,
    d: int,
    ddesc: int,
    algo: int,
    workspace: int,
    workspace_size_in_bytes: int,
    stream: int,
) -> None:
    _call("cublasLtMatmul", *_in_order(locals(), matmul))


BINDINGS: tuple[Any, ...] = (
    create,
    matmul_desc_create,
    matmul_desc_set_attribute,
    matrix_layout_create,
    matmul_preference_create,
    matmul_preference_destroy,
    matmul_preference_set_attribute,
    matmul_algo_get_heuristic,
    matmul,
    MatmulDescAttribute,
    MatmulPreferenceAttribute,
    Epilogue,
    MatmulHeuristicResult,
    cuBLASLtError,
)


def nvmath() -> dict[str, ModuleType]:
    """The modules of nvmath-python, as far as they are used, by the names they are imported by."""
    names = "nvmath", "nvmath.bindings", "nvmath.bindings.cublasLt"
    modules = {name: ModuleType(name) for name in names}
    vars(modules[names[2]]).update({part.__name__: part for part in BINDINGS})
    vars(modules[names[1]])["cublasLt"] = modules[names[2]]
    return modules


def _in_order(values: dict[str, Any], function: Callable[..., Any]) -> list[Any]:
    return [values[name] for name in inspect.signature(function).parameters]


def _made(function: str, *arguments: int) -> int:
    made = ctypes.c_void_p()
    _call(function, ctypes.addressof(made), *arguments)
    return made.value or 0


def _call(function: str, *arguments: int) -> None:
    status = getattr(library(), function)(*map(ctypes.c_int64, arguments))
    if status:
        raise cuBLASLtError(status)
