"""Matrix products in a CUDA graph, as far as that can be seen without a GPU.

The code that calls cuBLAS and cuBLASLt calls a library of the same functions on the host, whose
declarations NVIDIA's headers accept. What it computes is held to NumPy; planted errors must show.
"""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cublas_on_host
import cuda_on_host
import numpy as np
import pytest
import standin
from cublas_on_host import Stream
from hypothesis import given, settings
from hypothesis import strategies as st
from products_checks import (
    DTYPES,
    LAYOUTS,
    THIRD,
    assert_same,
    check_all,
    computed_in,
    in_a_vector,
    matrix,
)
from sources import TESTS

from tinyvae.backend import cuda_gemm, cuda_products
from tinyvae.backend.cuda_products import ROUTES, Products, load
from tinyvae.errors import BackendError, DtypeError, ShapeError

pytestmark = pytest.mark.skipif(
    cuda_on_host.COMPILER is None, reason="needs Linux and a C++ compiler, such as g++"
)


def _nvidia_wheels() -> Iterator[Path]:
    found = importlib.util.find_spec("nvidia")
    for folder in (found and found.submodule_search_locations) or ():
        yield from Path(folder).iterdir()


every_route = pytest.mark.parametrize("route", ROUTES)


@pytest.fixture(autouse=True)
def _nvmath(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in cublas_on_host.nvmath().items():
        monkeypatch.setitem(sys.modules, name, module)


sizes, layouts = st.integers(0, 6), st.sampled_from([*LAYOUTS])


@every_route
@settings(deadline=None, max_examples=150)
@given(sizes, sizes, sizes, st.sampled_from(DTYPES), layouts, layouts, st.none() | layouts)
def test_a_product_is_that_of_numpy_however_the_matrices_lie_in_memory(
    route: str, n: int, k: int, m: int, dtype: str, of_a: str, of_b: str, of_out: str | None
) -> None:
    products = Products(cublas_on_host.cupy(), route)
    a, b = matrix(n, k, dtype, of_a), matrix(k, m, dtype, of_b, seed=1)
    if of_out is None:
        assert_same(products(a, b), a._host @ b._host)
    else:
        out = standin.DeviceArray(LAYOUTS[of_out](np.full((n, m), np.nan, dtype)))
        assert products(a, b, out=out) is out
        assert_same(out, a._host @ b._host)


@every_route
def test_a_product_leaves_what_lies_beside_its_result_as_it_is(route: str) -> None:
    flat = standin.DeviceArray(np.arange(20.0))
    a, b = matrix(2, 4, "float64"), matrix(4, 3, "float64")
    Products(cublas_on_host.cupy(), route)(a, b, out=flat[7:13].reshape(2, 3))
    assert (flat._host[:7] == np.arange(7)).all()
    assert (flat._host[7:13].reshape(2, 3) == a._host @ b._host).all()
    assert (flat._host[13:] == np.arange(13, 20)).all()


@every_route
@pytest.mark.parametrize(("n", "k", "m"), [(0, 3, 2), (2, 3, 0), (2, 0, 3), (0, 0, 0)])
def test_a_product_of_no_numbers_is_empty_or_zero(route: str, n: int, k: int, m: int) -> None:
    products = Products(cublas_on_host.cupy(), route)
    x, weight = matrix(n, k, "float32"), matrix(k, m, "float32")
    assert_same(products(x, weight), np.zeros((n, m), "float32"))
    assert products.affine(x, weight, standin.xp.zeros(m, dtype="float32"), True) is None


# What does not fit is refused


@every_route
@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((3,), (3, 2)), ((2, 2, 3), (3, 2))])
def test_factors_whose_shapes_do_not_fit_are_refused(route: str, shapes: Any) -> None:
    a, b = (standin.xp.zeros(shape, dtype="float32") for shape in shapes)
    with pytest.raises(ShapeError, match=r"a product takes matrices \(N, K\) and \(K, M\), not"):
        Products(cublas_on_host.cupy(), route)(a, b)


@every_route
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float16",) * 2, ("int32",) * 2])
def test_factors_of_other_dtypes_are_refused(route: str, dtypes: Any) -> None:
    a, b = (standin.xp.zeros((2, 2), dtype=dtype) for dtype in dtypes)
    with pytest.raises(DtypeError, match="two matrices of float32, or two of float64, not"):
        Products(cublas_on_host.cupy(), route)(a, b)


@every_route
@pytest.mark.parametrize(("shape", "dtype"), [((2, 3), "float32"), ((3, 2), "float64")])
def test_a_result_of_another_shape_or_dtype_is_refused(route: str, shape: Any, dtype: str) -> None:
    products = Products(cublas_on_host.cupy(), route)
    a, b = matrix(3, 4, "float32"), matrix(4, 2, "float32")
    with pytest.raises(ShapeError, match=r"must be float32 of shape \(3, 2\), not"):
        products(a, b, out=standin.xp.zeros(shape, dtype=dtype))


@every_route
@pytest.mark.parametrize(
    ("shape", "dtype"), [((3,), "float32"), ((2,), "float64"), ((1, 2), "float32")]
)
def test_a_bias_of_another_shape_or_dtype_is_refused(route: str, shape: Any, dtype: str) -> None:
    products = Products(cublas_on_host.cupy(), route)
    x, weight = matrix(3, 4, "float32"), matrix(4, 2, "float32")
    with pytest.raises(ShapeError, match=r"must be float32 of shape \(2,\), not"):
        products.affine(x, weight, standin.xp.zeros(shape, dtype=dtype), False)


def test_what_cublas_refuses_is_an_error_that_says_what_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    products = Products(cublas_on_host.cupy(), "cublas")
    monkeypatch.setitem(cuda_gemm.COMPUTE_32F, "float32", cuda_gemm.COMPUTE_64F)
    refused = r"cublasGemmEx_64 failed with status 7: an invalid value\. Gemm\(dtype='float32', m=5"
    with pytest.raises(BackendError, match=refused):
        products(matrix(3, 4, "float32"), matrix(4, 5, "float32"))


# The bias and the ReLU in the same pass


@settings(deadline=None, max_examples=100)
@given(*[st.integers(1, 6)] * 3, layouts, layouts, st.booleans(), st.integers(0, 4))
def test_cublaslt_adds_the_bias_and_takes_the_relu(
    n: int, k: int, m: int, of_x: str, of_weight: str, relu: bool, at: int
) -> None:
    products = Products(cublas_on_host.cupy(), "nvmath")
    x, weight = matrix(n, k, "float32", of_x), matrix(k, m, "float32", of_weight, seed=1)
    bias = standin.DeviceArray(in_a_vector(matrix(1, m, "float32", seed=2)._host, at)[0])
    y = x._host @ weight._host + bias._host
    assert_same(products.affine(x, weight, bias, relu), np.maximum(y, 0) if relu else y)


def test_a_bias_need_not_lie_in_one_piece() -> None:
    products = Products(cublas_on_host.cupy(), "nvmath")
    x, weight, bias = matrix(3, 4, "float32"), matrix(4, 5, "float32"), np.arange(10, dtype="f4")
    got = products.affine(x, weight, standin.DeviceArray(bias[::2]), False)
    assert_same(got, x._host @ weight._host + bias[::2])


def test_where_there_is_no_algorithm_with_a_bias_there_is_none() -> None:
    products = Products(cublas_on_host.cupy(), "nvmath")
    arguments = matrix(3, 4, "float64"), matrix(4, 5, "float64"), standin.xp.zeros(5)
    assert products.affine(*arguments, False) is None
    assert products.affine(*arguments, False) is None  # remembered


def test_cublas_itself_adds_no_bias() -> None:
    products = Products(cublas_on_host.cupy(), "cublas")
    bias = standin.xp.zeros(5, dtype="float32")
    assert products.affine(matrix(3, 4, "float32"), matrix(4, 5, "float32"), bias, True) is None


# The precision of products of float32


def product_of_thirds(route: str, dtype: str, precision: str) -> float:
    third = standin.xp.full((1, 1), THIRD, dtype=dtype)
    one = standin.xp.ones((1, 1), dtype=dtype)
    with computed_in(precision):
        return float(Products(cublas_on_host.cupy(), route)(third, one)._host[0, 0])


@every_route
@pytest.mark.parametrize(("precision", "bits"), [("float32", 24), ("tf32", 11), ("bfloat16", 8)])
def test_factors_of_float32_are_rounded_to_what_the_precision_says(
    route: str, precision: str, bits: int
) -> None:
    got = product_of_thirds(route, "float32", precision)
    assert got == round(THIRD * 2 ** (bits + 1)) / 2 ** (bits + 1)  # 1/3 begins at the second bit


@every_route
@pytest.mark.parametrize("precision", cuda_gemm.COMPUTE_32F)
def test_factors_of_float64_are_never_rounded(route: str, precision: str) -> None:
    assert product_of_thirds(route, "float64", precision) == THIRD


@every_route
def test_one_products_object_follows_a_change_of_precision(route: str) -> None:
    products = Products(cublas_on_host.cupy(), route)
    third, one = (standin.xp.full((1, 1), x, dtype="float32") for x in (THIRD, 1))
    exact = products(third, one)._host.copy()
    with computed_in("tf32"):
        assert products(third, one)._host != exact
    assert products(third, one)._host == exact


# Streams and graphs


@every_route
def test_a_graph_computes_anew_from_what_the_matrices_hold_then(route: str) -> None:
    products = Products(cublas_on_host.cupy(), route)
    a, b = matrix(3, 4, "float32"), matrix(4, 5, "float32", "transposed")
    with Stream() as stream:
        y = products(a, b)
        stream.begin_capture()
        products(a, b, out=y)
        graph = stream.end_capture()
        a._host[:] += 1
        y.fill(0)
        graph.launch(stream)
    assert_same(y, a._host @ b._host)


@every_route
def test_the_first_product_on_a_stream_cannot_be_within_a_capture(route: str) -> None:
    products = Products(cublas_on_host.cupy(), route)
    a, b = matrix(3, 4, "float32"), matrix(4, 5, "float32")
    products(a, b)  # on another stream
    with Stream() as stream:
        stream.begin_capture()
        with pytest.raises(BackendError, match="let the step run once on the same stream before"):
            products(a, b)
        stream.end_capture()
        assert_same(products(a, b), a._host @ b._host)


@every_route
def test_products_on_two_streams_do_not_work_in_the_same_memory(route: str) -> None:
    products = Products(cublas_on_host.cupy(), route)
    a, b = matrix(3, 4, "float32"), matrix(4, 5, "float32")
    products(a, b)
    with Stream():
        products(a, b)
    products(a, b)
    held = products._route._workspaces._held.values()
    assert len({memory.ptr for memory in held}) == len(held) == 2


# The choice of a route


def test_the_first_route_that_works_in_a_graph_is_taken() -> None:
    products = load(cublas_on_host.cupy())
    assert (products.name, products.outcomes) == ("nvmath", {"nvmath": "works"})


def test_without_nvmath_cublas_is_taken_and_the_reason_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    products = load(cublas_on_host.cupy())
    assert products.name == "cublas"
    assert products.outcomes["cublas"] == "works"
    assert "pip install 'tinyvae[cuda]'" in products.outcomes["nvmath"]


def test_a_route_whose_numbers_are_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(cuda_gemm.Cublas):
        def multiply(self, *arguments: Any) -> bool:
            return True  # and nothing is written

    monkeypatch.setitem(ROUTES, "nvmath", Wrong)
    products = load(cublas_on_host.cupy())
    assert products.name == "cublas"
    assert "a product of float32 in a CUDA graph gives wrong numbers" in products.outcomes["nvmath"]


def test_a_route_that_runs_at_once_instead_of_in_the_graph_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Elsewhere(cuda_gemm.Cublas):
        def multiply(
            self, gemm: Any, pointers: Any, device: int, stream: Any, epilogue: Any = None
        ) -> bool:
            return super().multiply(gemm, pointers, device, Stream.stack[0])

    monkeypatch.setitem(ROUTES, "nvmath", Elsewhere)
    assert "gives wrong numbers" in load(cublas_on_host.cupy()).outcomes["nvmath"]


def test_where_no_route_works_the_products_are_cupys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ROUTES:
        monkeypatch.setitem(ROUTES, name, _no_library)
    products = load(cublas_on_host.cupy())
    assert products.name == "cupy"
    assert products.outcomes == dict.fromkeys(ROUTES, "OSError: no such library")
    a, b, out = matrix(3, 4, "float32"), matrix(4, 5, "float32"), matrix(3, 5, "float32")
    assert (products(a, b)._host == a._host @ b._host).all()
    assert (products(a, b, out=out)._host == a._host @ b._host).all()
    assert products.affine(a, b, standin.xp.zeros(5), True) is None


def _no_library(_: Any) -> Any:
    raise OSError("no such library")


def test_a_failed_capture_is_ended_and_its_first_error_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NotInGraphs(cuda_gemm.Cublas):
        def multiply(self, *arguments: Any) -> bool:
            if Stream.stack[-1].is_capturing():
                raise NotImplementedError("not while capturing")
            return super().multiply(*arguments)

    monkeypatch.setitem(ROUTES, "nvmath", NotInGraphs)
    products = load(cublas_on_host.cupy())
    assert products.outcomes == {
        "nvmath": "NotImplementedError: not while capturing",
        "cublas": "works",
    }


# Planted errors, of which each must keep the route from being taken, or show beside NumPy

IN_GEMM = {
    "the leading dimensions of A and B swapped": ("lda, ldb, ldc =", "ldb, lda, ldc ="),
    "no transpose asked of cuBLAS": ("*map(int, gemm.transposed)", "0, 0"),
    "rows and columns swapped": (
        "gemm.transposed), gemm.m, gemm.n",
        "gemm.transposed), gemm.n, gemm.m",
    ),
    "C added to the product": ("ctypes.byref(real(0))", "ctypes.byref(real(1))"),
    "C added to the product of cuBLASLt": ("real(1), real(0)\n", "real(1), real(1)\n"),
    "float64 computed as float32": ("COMPUTE_64F = 70", "COMPUTE_64F = 68"),
    "TF32 unasked": ('"float32": 68', '"float32": 77'),
    "bfloat16 for TF32": ('"tf32": 77', '"tf32": 75'),
    "one workspace for all streams": ("key = device, stream.ptr", "key = device, 0"),
    "a workspace that is not told": ("handle, workspace, WORKSPACE)", "handle, workspace, 0)"),
    "no transpose asked of cuBLASLt": ("ctypes.c_int32(transposed)", "ctypes.c_int32(0)"),
    "a layout that is transposed beforehand": ("if transposed else shape", "if False else shape"),
    "no ReLU": ("RELU_BIAS if epilogue.relu", "BIAS if epilogue.relu"),
    "no bias": ("kinds.EPILOGUE, value)", "kinds.TRANSB, ctypes.c_int32(0))"),
    "the first bias for ever": ("self._set_bias(plan.operation, epilogue.bias)", "pass"),
    "one plan for every alignment of the matrices": ("aligned, after", "after"),
    "one plan for every alignment of the bias": ("relu, _alignment(epilogue.bias))", "relu, 0)"),
    "one plan with and without ReLU": ("(epilogue.relu, _align", "(True, _align"),
    "one plan for every precision": ("gemm, gemm.compute_type, aligned", "gemm, aligned"),
    "a result taken for better aligned than it is": ("(*aligned, aligned[2])", "(*aligned, 256)"),
    "all of the workspace promised": ("WORKSPACE - 16", "WORKSPACE"),
}  # fmt: skip
IN_PRODUCTS = {
    "rows and columns of C swapped": ("(c.shape[1], c.shape[0],", "(c.shape[0], c.shape[1],"),
    "the factors not swapped": ("right.data.ptr, left.data.ptr", "left.data.ptr, right.data.ptr"),
    "the transposes swapped": (
        "transposed=(right_transposed, left_transposed)",
        "transposed=(left_transposed, right_transposed)",
    ),
    "rows taken for as long as they look": ("else int(length)", "else int(columns)"),
    "the rows of C taken for as long as they look": ("row_length(c) or 0", "c.shape[1]"),
    "columns that lie apart taken for a row": ("within != matrix.itemsize", "False"),
    "a step back taken for a row's length": ("rest or length < columns", "rest"),
    "a sum of nothing left as it was": ("out.fill(0)", "pass"),
    "what was copied not passed on": (
        "return self._cupy.ascontiguousarray(matrix)",
        "return matrix",
    ),
    "a bias that lies apart taken as it is": (
        "bias = self._cupy.ascontiguousarray(bias)",
        "pass",
    ),
}


def changed(module: ModuleType, before: str, after: str) -> ModuleType:
    """The module with an error in its source."""
    source = inspect.getsource(module)
    assert source.count(before) == 1, before
    name = f"{module.__name__}_with_an_error"
    made = ModuleType(name)
    sys.modules[name] = made  # dataclasses look themselves up
    exec(compile(source.replace(before, after), name, "exec"), vars(made))
    return made


def test_without_an_error_all_checks_pass() -> None:
    check_all(cuda_products, ROUTES)


@pytest.mark.parametrize("error", IN_GEMM)
def test_an_error_in_what_is_asked_of_the_library_shows(
    error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemm = changed(cuda_gemm, *IN_GEMM[error])
    monkeypatch.setitem(ROUTES, "nvmath", gemm.CublasLt)
    monkeypatch.setitem(ROUTES, "cublas", gemm.Cublas)
    monkeypatch.setattr(cuda_products, "Gemm", gemm.Gemm)
    with pytest.raises((AssertionError, BackendError, cublas_on_host.cuBLASLtError)):
        check_all(cuda_products, ROUTES)


@pytest.mark.parametrize("error", IN_PRODUCTS)
def test_an_error_in_what_is_told_of_the_matrices_shows(error: str) -> None:
    products = changed(cuda_products, *IN_PRODUCTS[error])
    with pytest.raises((AssertionError, BackendError, cublas_on_host.cuBLASLtError)):
        check_all(products, ROUTES)


# The host's library and bindings, beside the real ones where they are


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(
    importlib.util.find_spec("nvmath") is None or _has_driver(),
    reason="needs nvmath-python (tinyvae[cuda]), and no driver that it would ask instead",
)
def test_nvmaths_own_bindings_compute_with_the_hosts_library() -> None:
    command = [sys.executable, str(TESTS / "nvmath_on_host.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


HEADERS = [
    str(path)
    for place in (*_nvidia_wheels(), Path("/usr/local/cuda"))
    for path in (*place.glob("include"), *place.glob("include/cccl"))
]


@pytest.mark.skipif(
    not any(Path(folder, "cublasLt.h").exists() for folder in HEADERS),
    reason="needs the headers of cuBLAS: pip install nvidia-cublas-cu12",
)
def test_the_hosts_library_has_the_declarations_of_nvidias_headers() -> None:
    folders = [f"-I{folder}" for folder in HEADERS]
    try:
        cublas_on_host.library("libcublas.so.98", "-DREAL_HEADERS", *folders)
    except SyntaxError as error:
        if "No such file" in str(error):  # cuBLAS is there, and what it includes is not
            pytest.skip(str(error))
        raise
