"""Every NumPy kernel gives what its reference gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tinyvae import optim
from tinyvae.autograd import OPS, Tensor
from tinyvae.backend.numpy_kernels import BLOCK, KERNELS
from tinyvae.errors import ShapeError

LOSSES = ("bernoulli_cross_entropy", "kl_standard_normal")
DTYPES = ("float32", "float64")
OPTIONS = {"rate": 1e-2, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
shapes = st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)


def assert_within_ulps(got: np.ndarray, wanted: np.ndarray, ulps: float) -> None:
    np.testing.assert_allclose(
        got, wanted, rtol=ulps * float(np.finfo(wanted.dtype).eps), atol=np.finfo(wanted.dtype).tiny
    )


def inputs(name: str, shape: tuple[int, ...], dtype: str, seed: int) -> list[np.ndarray]:
    """Ordinary numbers, tiny ones, extremes and both zeros, side by side."""
    rng = np.random.default_rng(seed)
    top = 1e4 if name == "bernoulli_cross_entropy" else 80.0
    sizes = rng.choice([0.0, 1e-10, 1e-3, 1.0, 4.0, top], shape)
    signed = (rng.uniform(-1, 1, shape) * sizes).astype(dtype)
    if name == "bernoulli_cross_entropy":
        return [signed, (rng.random(shape) * rng.choice([0, 1, 0.5], shape)).round(2).astype(dtype)]
    return [rng.standard_normal(shape).astype(dtype), signed]


def both(name: str, arrays: list[np.ndarray]) -> list[tuple[np.ndarray, list[Callable[..., Any]]]]:
    found = [function(*arrays) for function in (OPS[name].bare, KERNELS[name])]
    return [(np.asarray(value), list(pullbacks)) for value, pullbacks in found]


def test_the_kernels_tested_here_are_all_there_are() -> None:
    assert set(KERNELS) == {*LOSSES, "adam"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
@example(shape=(7, 784), seed=0)
def test_a_loss_and_its_pullbacks_are_those_of_the_reference(
    name: str, dtype: str, shape: tuple[int, ...], seed: int
) -> None:
    arrays = inputs(name, shape, dtype, seed)
    before = [a.copy() for a in arrays]
    (wanted, references), (got, pullbacks) = both(name, arrays)
    assert got.shape == wanted.shape
    assert got.dtype == dtype
    assert_within_ulps(got, wanted, ulps=8)  # 1e-6 in float32: these are sums
    g = np.random.default_rng(seed).standard_normal(wanted.shape).astype(dtype)
    for reference, pullback in zip(references, pullbacks, strict=True):
        gradient = pullback(g)
        assert gradient.dtype == dtype
        scale = np.abs(g[..., None]) * np.finfo(dtype).eps  # for grey targets two terms cancel
        assert np.all(np.abs(gradient - reference(g)) <= scale + 4 * np.spacing(np.abs(gradient)))
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@given(target=st.sampled_from([0.0, 1.0]), logit=st.floats(-80, 80, width=32))
@example(target=1.0, logit=60.0)
@example(target=1.0, logit=-0.0)
def test_the_cross_entropys_gradient_of_a_black_or_white_pixel_is_exact_far_out(
    dtype: str, target: float, logit: float
) -> None:
    arrays = [np.array([[logit]], dtype), np.array([[target]], dtype)]
    (_, (wanted, _)), (_, (got, _)) = both("bernoulli_cross_entropy", arrays)
    g = np.ones(1, dtype)
    assert_within_ulps(got(g), wanted(g), ulps=4)


@pytest.mark.parametrize("dtype", DTYPES)
@given(log_variance=st.floats(-80, 80, width=32))
@example(log_variance=1e-6)
@example(log_variance=-1.0)
@example(log_variance=1.9234045)
def test_the_divergence_of_one_dimension_has_its_full_precision(
    dtype: str, log_variance: float
) -> None:
    x = np.array([[log_variance]], dtype)
    assume(x[0, 0] ** 2 / 4 >= np.finfo(dtype).tiny or x[0, 0] == 0)
    (wanted, _), (got, _) = both("kl_standard_normal", [np.zeros_like(x), x])
    assert_within_ulps(got, wanted, ulps=8)


@pytest.mark.parametrize("name", LOSSES)
def test_a_pullback_may_be_asked_twice(name: str) -> None:
    arrays = inputs(name, (5, 4), "float32", seed=1)
    g = np.ones(5, "float32")
    for pullback in both(name, arrays)[1][1]:
        np.testing.assert_array_equal(pullback(g), pullback(2 * g) / 2)


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_would_broadcast_are_refused_as_by_the_reference(name: str) -> None:
    with pytest.raises(ShapeError, match=r"takes arrays of one shape, not \(2, 3\), \(3,\)"):
        OPS[name](Tensor(np.zeros((2, 3), "float32")), Tensor(np.zeros(3, "float32")))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 1000, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_five_steps_of_adam_are_those_of_the_reference(dtype: str, size: int, decay: float) -> None:
    rng = np.random.default_rng(size)
    start = [rng.standard_normal(size), np.zeros(size), np.zeros(size)]
    ours, theirs = ([a.astype(dtype) for a in start] for _ in range(2))
    for t in range(1, 6):
        g = (rng.standard_normal(size) * rng.choice([0, 1e-12, 1, 1e12], size)).astype(dtype)
        kept = g.copy()
        for rule, (p, first, second) in ((KERNELS["adam"], ours), (optim.adam, theirs)):
            rule(p, g, first, second, t=t, decay=decay, **OPTIONS)
        np.testing.assert_array_equal(g, kept)
    for got, wanted in zip(ours, theirs, strict=True):
        assert got.dtype == dtype
        assert_within_ulps(got, wanted, ulps=4)


def test_adam_changes_nothing_but_what_it_was_given() -> None:
    whole = np.ones(3000, "float32")
    g, first, second = (np.ones(1000, "float32") for _ in range(3))
    KERNELS["adam"](whole[1000:2000], g, first, second, t=1, decay=0.0, **OPTIONS)
    assert (whole[:1000] == 1).all()
    assert (whole[2000:] == 1).all()
    assert (whole[1000:2000] < 1).all()
