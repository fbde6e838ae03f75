"""Checks of `tinyvae.backend.cuda_products` on the host, beside NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import cublas_on_host
import numpy as np
import standin
from cublas_on_host import Stream

from tinyvae.backend import base

DTYPES = "float32", "float64"
THIRD = float(np.float32(1 / 3))


@contextmanager
def computed_in(precision: str) -> Iterator[None]:
    token = base._precision.set(precision)
    try:
        yield
    finally:
        base._precision.reset(token)


# Matrices of small whole numbers, whose products are exact, as they may lie in memory

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rows": lambda x: x,
    "transposed": lambda x: x.T.copy().T,
    "part of longer rows": lambda x: np.hstack([x, x + 50])[:, : x.shape[1]],
    "part of longer columns": lambda x: np.hstack([x.T, x.T + 50])[:, : len(x)].T,
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "upside down": lambda x: x[::-1].copy()[::-1],
    "not where a vector register begins": lambda x: in_a_vector(x, at=1),
}


def in_a_vector(x: np.ndarray, at: int) -> np.ndarray:
    flat = np.zeros(x.size + at, x.dtype)
    flat[at:] = x.ravel()
    return flat[at:].reshape(x.shape)


def matrix(rows: int, columns: int, dtype: str, layout: str = "rows", seed: int = 0) -> Any:
    values = np.random.default_rng(seed).integers(-9, 10, (rows, columns)).astype(dtype)
    made = LAYOUTS[layout](values)
    assert (made == values).all()
    return standin.DeviceArray(made)


def assert_same(got: Any, expected: np.ndarray) -> None:
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    assert (got._host == expected).all()


def check_all(module: Any, routes: Iterable[str]) -> None:
    """Open each route as ``module.load`` does, and hold what it computes to NumPy."""
    for route in routes:
        products = module.opened(cublas_on_host.cupy(), route)
        for dtype in DTYPES:
            check_layouts(products, dtype)
        check_biases(products)
        check_roundings(products)
        with Stream():
            check_layouts(products, "float32")


def check_layouts(products: Any, dtype: str) -> None:
    for of_a in LAYOUTS:
        for of_b in LAYOUTS:
            a, b = matrix(3, 4, dtype, of_a), matrix(4, 5, dtype, of_b, seed=1)
            expected = a._host @ b._host
            assert_same(products(a, b), expected)
            out = standin.DeviceArray(LAYOUTS[of_b](np.full((3, 5), np.nan, dtype)))
            assert_same(products(a, b, out=out), expected)
    assert_same(products(matrix(3, 0, dtype), matrix(0, 5, dtype)), np.zeros((3, 5), dtype))


def check_biases(products: Any) -> None:
    x, weight = matrix(3, 4, "float32"), matrix(4, 5, "float32", seed=1)
    biases = cublas_on_host.empty((80,), "float32")._host
    biases[:] = np.arange(-40, 40)
    for bias in (biases[:5], biases[64:69], biases[1:6], biases[16:26:2]):
        for relu in (False, True):
            got = products.affine(x, weight, standin.DeviceArray(bias), relu)
            y = x._host @ weight._host + bias
            if got is not None:
                assert_same(got, np.maximum(y, 0) if relu else y)


def check_roundings(products: Any) -> None:
    third, one = (standin.xp.full((1, 1), x, dtype="float32") for x in (THIRD, 1))
    for precision, bits in (("float32", 24), ("tf32", 11), ("bfloat16", 8)):
        with computed_in(precision):
            got = products(third, one)._host[0, 0]
        assert got == round(THIRD * 2 ** (bits + 1)) / 2 ** (bits + 1)
