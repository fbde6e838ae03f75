"""The ways to ask NVIDIA's libraries for a matrix product that a CUDA graph can hold.

CuPy's own products cannot be captured: it refuses to call cuBLAS meanwhile, since cuBLAS would
then take memory for its workspace. With a workspace of our own cuBLAS can be captured as it is.
So far neither way has run on a GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tinyvae.backend.base import precision
from tinyvae.errors import BackendError, MissingExtraError

WORKSPACE = 32 * 1024 * 1024
"""Bytes of memory to work in, for each stream: what NVIDIA advises for Hopper."""
NOT_SUPPORTED = 15  # CUBLAS_STATUS_NOT_SUPPORTED
DEFAULT_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT

# Of cudaDataType_t and cublasComputeType_t
REALS: dict[str, tuple[int, Any]] = {
    "float32": (0, ctypes.c_float),
    "float64": (1, ctypes.c_double),
}
COMPUTE_64F = 70
COMPUTE_32F = {"float32": 68, "tf32": 77, "bfloat16": 75}


@dataclass(frozen=True)
class Gemm:
    """C = op(A) op(B), as BLAS counts: a matrix lies in memory column after column.

    Attributes
    ----------
    dtype : {"float32", "float64"}
        Of all three matrices.
    m, n, k : int
        C has m rows and n columns; k is what is summed over.
    transposed : (bool, bool)
        Whether op is the transpose, of A and of B.
    leading : (int, int, int)
        Elements from one column to the next, of A, B and C.
    """

    dtype: str
    m: int
    n: int
    k: int
    transposed: tuple[bool, bool]
    leading: tuple[int, int, int]

    @property
    def compute_type(self) -> int:
        """In what is multiplied; `precision` has no say over float64."""
        return COMPUTE_64F if self.dtype == "float64" else COMPUTE_32F[precision()]


class Epilogue(NamedTuple):
    """What is done to C before it is stored: the bias (m,) added to each column, then ReLU."""

    bias: int
    relu: bool


class Workspaces:
    """The memory that products work in, one piece for each stream of each device.

    Two products may run at the same time, even in one graph, if they were captured on two
    streams. On one stream, or in graphs launched on one stream, they wait for each other.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._held: dict[tuple[int, int], Any] = {}

    def of(self, device: int, stream: Any) -> int:
        """The address of that of ``stream``."""
        key = device, stream.ptr
        if key not in self._held:
            if stream.is_capturing():
                raise BackendError(
                    "the first matrix product on a stream was asked for while the stream was "
                    "captured; let the step run once on the same stream before the capture"
                )
            # Not by the allocator in use, which may be that of a graph and end with it
            self._held[key] = self._cupy.get_default_memory_pool().malloc(WORKSPACE)
        return int(self._held[key].ptr)


class Cublas:
    """cuBLAS by its C interface, with a handle of its own for each device.

    Parameters
    ----------
    cupy : module
        Of which cuBLAS is the same library.
    """

    has_epilogues = False

    def __init__(self, cupy: Any) -> None:
        self._library = cublas_library(cupy)
        self._workspaces = Workspaces(cupy)
        self._handles: dict[int, ctypes.c_void_p] = {}

    def multiply(
        self, gemm: Gemm, pointers: tuple[int, int, int], device: int, stream: Any, _: None = None
    ) -> bool:
        """Write C; ``pointers`` are the addresses of A, B and C."""
        workspace = self._workspaces.of(device, stream)
        handle = self._handle(device)
        self._call("cublasSetStream_v2", handle, stream.ptr)
        self._call("cublasSetWorkspace_v2", handle, workspace, WORKSPACE)  # the stream resets it
        a, b, c = pointers
        lda, ldb, ldc = gemm.leading
        data_type, real = REALS[gemm.dtype]
        one, zero = ctypes.byref(real(1)), ctypes.byref(real(0))
        matrices = one, a, data_type, lda, b, data_type, ldb, zero, c, data_type, ldc
        sizes = *map(int, gemm.transposed), gemm.m, gemm.n, gemm.k
        how = gemm.compute_type, DEFAULT_ALGORITHM
        self._call("cublasGemmEx_64", handle, *sizes, *matrices, *how, about=gemm)
        return True

    def _handle(self, device: int) -> ctypes.c_void_p:
        if device not in self._handles:
            handle = ctypes.c_void_p()
            self._call("cublasCreate_v2", ctypes.byref(handle))
            self._handles[device] = handle
        return self._handles[device]

    def _call(self, function: str, *arguments: Any, about: Any = "") -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            reason = self._library.cublasGetStatusString(status).decode()
            raise BackendError(f"{function} failed with status {status}: {reason}. {about}")


def cublas_library(cupy: Any) -> ctypes.CDLL:
    """The cuBLAS that CuPy has found and loaded, with the types of what is called."""
    cupy.cuda.cublas  # noqa: B018 - loads it
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    library = ctypes.CDLL(f"libcublas.so.{major}")
    whole, address, size = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64
    matrix = address, whole, size
    gemm = address, whole, whole, size, size, size
    signatures: dict[str, tuple[Any, ...]] = {
        "cublasCreate_v2": (address,),
        "cublasSetStream_v2": (address, address),
        "cublasSetWorkspace_v2": (address, address, ctypes.c_size_t),
        "cublasGemmEx_64": (*gemm, address, *matrix, *matrix, address, *matrix, whole, whole),
        "cublasGetStatusString": (whole,),
    }
    for name, types in signatures.items():
        getattr(library, name).argtypes = types
    library.cublasGetStatusString.restype = ctypes.c_char_p
    return library


class Plan(NamedTuple):
    """What cuBLASLt wants to know of a product, and the algorithm that it has chosen."""

    operation: int
    layouts: tuple[int, int, int]
    algorithm: Any


class CublasLt:
    """cuBLASLt by the bindings of nvmath-python, which adds the bias and takes the ReLU.

    nvmath's own ``Matmul`` is left out: it plans for a result that lies on a multiple of 256
    bytes, which a layer's part of the flat gradient need not; see ``benchmarks/README.md``.
    """

    has_epilogues = True

    def __init__(self, cupy: Any) -> None:
        try:
            from nvmath.bindings import cublasLt
        except ImportError as error:
            raise MissingExtraError(
                f"nvmath-python cannot be imported ({error}): pip install 'tinyvae[cuda]'"
            ) from error
        self._lt: Any = cublasLt
        self._workspaces = Workspaces(cupy)
        self._handles: dict[int, int] = {}
        self._plans: dict[Any, Plan | None] = {}

    def multiply(
        self,
        gemm: Gemm,
        pointers: tuple[int, int, int],
        device: int,
        stream: Any,
        epilogue: Epilogue | None = None,
    ) -> bool:
        """Write C, or return False where cuBLASLt has no algorithm with that epilogue."""
        workspace = self._workspaces.of(device, stream)
        handle = self._handle(device)
        plan = self._planned(device, gemm, pointers, epilogue)
        if plan is None:
            return False
        if epilogue:
            self._set_bias(plan.operation, epilogue.bias)
        a, b, c = pointers
        of_a, of_b, of_c = plan.layouts
        _, real = REALS[gemm.dtype]
        one, zero = real(1), real(0)
        factors = ctypes.addressof(one), a, of_a, b, of_b
        results = ctypes.addressof(zero), c, of_c, c, of_c
        room = workspace, WORKSPACE, stream.ptr
        algorithm = plan.algorithm.ptr  # the first member of what the heuristic returns
        self._lt.matmul(handle, plan.operation, *factors, *results, algorithm, *room)
        return True

    def _handle(self, device: int) -> int:
        if device not in self._handles:
            self._handles[device] = self._lt.create()
        return self._handles[device]

    def _planned(self, device: int, gemm: Gemm, pointers: Any, epilogue: Any) -> Plan | None:
        """The plan for such a product; the algorithms depend on how well the memory is aligned."""
        aligned = tuple(map(_alignment, pointers))
        after = epilogue and (epilogue.relu, _alignment(epilogue.bias))
        key = device, gemm, gemm.compute_type, aligned, after
        if key not in self._plans:
            self._plans[key] = self._plan(device, gemm, aligned, epilogue)
        return self._plans[key]

    def _plan(self, device: int, gemm: Gemm, aligned: Any, epilogue: Any) -> Plan | None:
        operation = self._operation(gemm, epilogue)
        layouts = self._layouts(gemm)
        wishes = self._preferences(aligned)
        best, found = self._lt.MatmulHeuristicResult(1), ctypes.c_int()
        result = 1, best.ptr, ctypes.addressof(found)
        asked = self._handles[device], operation, *layouts, layouts[2], wishes, *result
        try:
            self._lt.matmul_algo_get_heuristic(*asked)
        except self._lt.cuBLASLtError as error:
            if error.status != NOT_SUPPORTED:
                raise
        finally:
            self._lt.matmul_preference_destroy(wishes)
        if found.value:
            return Plan(operation, layouts, best)
        if epilogue is None:
            raise BackendError(f"cuBLASLt has no algorithm for {gemm}")
        return None

    def _operation(self, gemm: Gemm, epilogue: Epilogue | None) -> int:
        lt = self._lt
        data_type, _ = REALS[gemm.dtype]
        operation = lt.matmul_desc_create(gemm.compute_type, data_type)
        kinds = lt.MatmulDescAttribute
        for kind, transposed in zip((kinds.TRANSA, kinds.TRANSB), gemm.transposed, strict=True):
            _set(lt.matmul_desc_set_attribute, operation, kind, ctypes.c_int32(transposed))
        if epilogue:
            after = lt.Epilogue.RELU_BIAS if epilogue.relu else lt.Epilogue.BIAS
            value = ctypes.c_uint32(after)
            _set(lt.matmul_desc_set_attribute, operation, kinds.EPILOGUE, value)
            self._set_bias(operation, epilogue.bias)  # planning looks at its alignment
        return int(operation)

    def _set_bias(self, operation: int, bias: int) -> None:
        kind = self._lt.MatmulDescAttribute.BIAS_POINTER
        _set(self._lt.matmul_desc_set_attribute, operation, kind, ctypes.c_void_p(bias))

    def _layouts(self, gemm: Gemm) -> tuple[int, int, int]:
        """The matrices as they lie in memory, before any is transposed."""
        of_a, of_b = (gemm.m, gemm.k), (gemm.k, gemm.n)
        shapes = [
            shape[::-1] if transposed else shape
            for shape, transposed in zip((of_a, of_b), gemm.transposed, strict=True)
        ]
        data_type, _ = REALS[gemm.dtype]
        a, b, c = (
            self._lt.matrix_layout_create(data_type, *shape, leading)
            for shape, leading in zip((*shapes, (gemm.m, gemm.n)), gemm.leading, strict=True)
        )
        return a, b, c

    def _preferences(self, aligned: tuple[int, int, int]) -> int:
        lt = self._lt
        wishes = lt.matmul_preference_create()
        kinds = lt.MatmulPreferenceAttribute
        # 16 bytes less than there are: nvmath gives algorithms with an epilogue as many more
        # than they ask for, because of an error in the library
        room = ctypes.c_uint64(WORKSPACE - 16)
        _set(lt.matmul_preference_set_attribute, wishes, kinds.MAX_WORKSPACE_BYTES, room)
        for matrix, alignment in zip("ABCD", (*aligned, aligned[2]), strict=True):
            kind = getattr(kinds, f"MIN_ALIGNMENT_{matrix}_BYTES")
            value = ctypes.c_uint32(alignment)
            _set(lt.matmul_preference_set_attribute, wishes, kind, value)
        return int(wishes)


def _alignment(address: int) -> int:
    """The largest power of two up to 256 that divides it."""
    return min(address & -address, 256)


def _set(setter: Callable[..., None], what: int, kind: int, value: Any) -> None:
    setter(what, int(kind), ctypes.addressof(value), ctypes.sizeof(value))
