"""Matrix products of CuPy's arrays, such as a CUDA graph can hold.

``cupy.matmul`` raises an error while a stream is captured. The ways round it are in `cuda_gemm`;
`load` tries them on the device, in a graph, and takes the first that gives the right numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, TypeAlias

from tinyvae.backend.cuda_gemm import REALS, Cublas, CublasLt, Epilogue, Gemm
from tinyvae.errors import BackendError, DtypeError, ShapeError

Array: TypeAlias = Any

ROUTES: dict[str, Callable[[Any], Any]] = {"nvmath": CublasLt, "cublas": Cublas}
"""The ways that there are, in the order in which they are tried."""


class Products:
    """Matrix products by one of the `ROUTES`.

    A product is called with two matrices (2-d, both float32 or both float64) and returns the third:
    ``products(a, b)`` is a @ b. What is no matrix of whole rows, or the transpose of one, is copied
    first. Where a stream is to be captured, the same products must have run on it once before.

    Attributes
    ----------
    name : str
        Which way it is: ``"nvmath"``, ``"cublas"``, or ``"cupy"``, which cannot be captured.
    outcomes : dict of str to str
        What became of each way that was tried: ``"works"``, or why it was not taken.
    """

    def __init__(self, cupy: Any, name: str) -> None:
        self.name = name
        self.outcomes: dict[str, str] = {}
        self._cupy = cupy
        self._route = ROUTES[name](cupy)
        self._lock = Lock()  # one handle has one stream at a time

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """a @ b, into ``out`` if given, which must share no memory with them.

        Raises
        ------
        ShapeError, DtypeError
            The matrices do not fit together.
        BackendError
            The library refused.
        """
        _check_factors(a, b)
        shape = len(a), b.shape[1]
        if out is None:
            out = self._cupy.empty(shape, dtype=a.dtype)
        _check_result(out, shape, a.dtype)
        if not out.size:
            return out
        if not a.size:
            out.fill(0)
        elif row_length(out) is None:
            out[...] = self(a, b)
        else:
            self._multiply(a, b, out)
        return out

    def affine(self, x: Array, weight: Array, bias: Array, relu: bool) -> Array | None:
        """x @ weight + bias, or the ReLU of it, in one pass over the result.

        Returns
        -------
        array or None
            None where the library cannot, and product, bias and ReLU are to be had one by one.
        """
        _check_factors(x, weight)
        shape = len(x), weight.shape[1]
        _check_bias(bias, shape, x.dtype)
        if not self._route.has_epilogues or not x.size or not weight.size:
            return None
        y = self._cupy.empty(shape, dtype=x.dtype)
        bias = self._cupy.ascontiguousarray(bias)
        return y if self._multiply(x, weight, y, Epilogue(bias.data.ptr, relu)) else None

    def _multiply(self, a: Array, b: Array, c: Array, epilogue: Epilogue | None = None) -> bool:
        """For BLAS, which counts columns first, c is its transpose, the product of b's and a's."""
        right, right_transposed, right_length = self._whole(b)
        left, left_transposed, left_length = self._whole(a)
        gemm = Gemm(
            str(c.dtype),
            *(c.shape[1], c.shape[0], a.shape[1]),
            transposed=(right_transposed, left_transposed),
            leading=(right_length, left_length, row_length(c) or 0),
        )
        pointers = right.data.ptr, left.data.ptr, c.data.ptr
        where = self._cupy.cuda.Device().id, self._cupy.cuda.get_current_stream()
        with self._lock:
            return bool(self._route.multiply(gemm, pointers, *where, epilogue))

    def _whole(self, matrix: Array) -> tuple[Array, bool, int]:
        """A matrix of whole rows, or the transpose of one: whether it is, and its row's length."""
        for transposed, rows in ((False, matrix), (True, matrix.T)):
            length = row_length(rows)
            if length is not None:
                return matrix, transposed, length
        return self._cupy.ascontiguousarray(matrix), False, matrix.shape[1]


class CupyProducts:
    """`Products` by ``cupy.matmul``, where no way works that could be captured."""

    name = "cupy"

    def __init__(self, cupy: Any, outcomes: dict[str, str]) -> None:
        self.outcomes = outcomes
        self._matmul = cupy.matmul

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """a @ b, into ``out`` if given."""
        return self._matmul(a, b, out=out)

    def affine(self, *_: Any) -> None:
        """None: CuPy has no product with a bias."""


def row_length(matrix: Array) -> int | None:
    """Elements from one row to the next, where each row lies in one piece; None elsewhere.

    >>> import numpy as np
    >>> row_length(np.zeros((2, 5))[:, :3]), row_length(np.zeros((2, 5))[:, ::2])
    (5, None)
    """
    rows, columns = matrix.shape
    step, within = matrix.strides
    if columns > 1 and within != matrix.itemsize:
        return None
    if rows == 1:
        return int(columns)
    length, rest = divmod(step, matrix.itemsize)
    return None if rest or length < columns else int(length)


def load(cupy: Any) -> Products | CupyProducts:
    """The products by the first of the `ROUTES` that gives the right numbers in a CUDA graph."""
    outcomes: dict[str, str] = {}
    for name in ROUTES:
        try:
            products = opened(cupy, name)
        except Exception as error:  # those of CUDA and nvmath share no base class
            outcomes[name] = f"{type(error).__name__}: {error}"
        else:
            products.outcomes = {**outcomes, name: "works"}
            return products
    return CupyProducts(cupy, outcomes)


def opened(cupy: Any, name: str) -> Products:
    """The products by that route, tried in a CUDA graph.

    Raises
    ------
    Exception
        Why the route cannot be taken, of whatever type its library raises.
    """
    products = Products(cupy, name)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        for dtype in REALS:
            _try_in_graph(cupy, products, stream, dtype)
    return products


def _try_in_graph(cupy: Any, products: Products, stream: Any, dtype: str) -> None:
    # Small whole numbers, whose products are exact in every precision
    a = cupy.arange(-6, 6, dtype=dtype).reshape(3, 4)
    b = cupy.arange(-9, 11, dtype=dtype).reshape(4, 5)
    bias = cupy.arange(-40, 10, 10, dtype=dtype)
    flat = cupy.empty((16,), dtype=dtype)  # a layer's gradient may lie anywhere in such a vector
    y = cupy.matmul(a, b)
    wanted = [y, y.T, y, y + bias, cupy.maximum(y + bias, 0)]

    def compute() -> list[Array]:
        into = products(a, b, out=flat[1:].reshape(3, 5))
        plain = [products(a, b), products(b.T, a.T), into]
        return plain + [products.affine(a, b, bias, relu) for relu in (False, True)]

    for got, expected in zip(_from_graph(stream, compute), wanted, strict=True):
        if got is not None and not bool((got == expected).all()):
            raise BackendError(f"a product of {dtype} in a CUDA graph gives wrong numbers")


def _from_graph(stream: Any, compute: Callable[[], Sequence[Array]]) -> Sequence[Array]:
    """What ``compute`` returns, from a graph of what it has started on ``stream``."""
    compute()  # handles, memory to work in and plans are not to be had during a capture
    stream.begin_capture()
    try:
        results = compute()
    except BaseException:
        with suppress(Exception):  # the stream is to be usable again, the first error to be seen
            stream.end_capture()
        raise
    graph = stream.end_capture()
    for result in results:
        if result is not None:
            result.fill(float("nan"))  # the memory may still hold what ran before the capture
    graph.launch(stream)
    stream.synchronize()
    return results


def _check_factors(a: Array, b: Array) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ShapeError(f"a product takes matrices (N, K) and (K, M), not {a.shape}, {b.shape}")
    if a.dtype != b.dtype or str(a.dtype) not in REALS:
        raise DtypeError(
            f"a product takes two matrices of float32, or two of float64, not {a.dtype} and "
            f"{b.dtype}; convert one with .astype"
        )


def _check_result(out: Array, shape: tuple[int, int], dtype: Any) -> None:
    if out.shape != shape or out.dtype != dtype:
        raise ShapeError(
            f"out= of a product must be {dtype} of shape {shape}, not {out.dtype} of {out.shape}"
        )


def _check_bias(bias: Array, shape: tuple[int, int], dtype: Any) -> None:
    if bias.shape != shape[1:] or bias.dtype != dtype:
        raise ShapeError(
            f"the bias of a product must be {dtype} of shape {shape[1:]}, not {bias.dtype} of "
            f"{bias.shape}"
        )
