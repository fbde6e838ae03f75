"""Every kernel gives what its reference gives: NumPy's, Numba's, CuPy's on host and GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cuda_on_host
import numpy as np
import pytest
from conftest import CUPY, why_not
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tinyvae import optim
from tinyvae.autograd import OPS
from tinyvae.backend import Backend, cupy_kernels, get
from tinyvae.backend.base import compiled_kernels
from tinyvae.backend.numpy_kernels import BLOCK
from tinyvae.errors import ShapeError
from tinyvae.optim import adam_constants

LOSSES = ("bernoulli_cross_entropy", "kl_standard_normal")
DTYPES = ("float32", "float64")
Pullback = Callable[[Any], Any]
BETAS = {"beta1": 0.9, "beta2": 0.999}
HOST_THREADS = 8  # in a block, where the host runs a kernel: fewer than numbers in a row
shapes = st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)


@pytest.fixture(params=["numpy", "numba", "CUDA on the host", CUPY])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Each backend with kernels in turn."""
    if request.param == "CUDA on the host":
        if cuda_on_host.COMPILER is None:
            pytest.skip("needs Linux and a C++ compiler, such as g++")
        monkeypatch.setattr(cupy_kernels, "THREADS", HOST_THREADS)
        return cuda_on_host.backend()
    if request.param == "numba":
        pytest.importorskip("numba", reason="needs Numba: pip install 'tinyvae[numba]'")
        return replace(get("numpy"), kernels=compiled_kernels("numba"))
    if reason := why_not(request.param):
        pytest.skip(reason)
    return get(request.param)


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


def reference(name: str, arrays: list[np.ndarray]) -> tuple[np.ndarray, list[Pullback]]:
    value, pullbacks = OPS[name].bare(*arrays)
    return np.asarray(value), list(pullbacks)


def kernel(
    backend: Backend, name: str, arrays: list[np.ndarray]
) -> tuple[np.ndarray, list[Pullback]]:
    """The same of the kernel, from host arrays to host arrays; it leaves its inputs alone."""
    given = [backend.from_host(a.copy()) for a in arrays]
    value, pullbacks = backend.kernels[name](*given)

    def on_host(pullback: Pullback) -> Pullback:
        def pulled(g: np.ndarray) -> np.ndarray:
            gradient = backend.to_host(pullback(backend.from_host(g)))
            for a, b in zip(arrays, given, strict=True):
                np.testing.assert_array_equal(backend.to_host(b), a)
            return gradient

        return pulled

    return np.asarray(backend.to_host(value)), [on_host(p) for p in pullbacks]


def test_the_kernels_tested_here_are_all_there_are(backend: Backend) -> None:
    further = {"gaussian_sample", "matmul", "affine", "affine_relu", "getitem"}
    of_a_step = {"take_batch", "tally"}
    assert backend.kernels.keys() - {*LOSSES, "mixture_log_likelihood", "adam"} == (
        set() if backend.host else further | of_a_step
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
@example(shape=(7, 784), seed=0)
def test_a_loss_and_its_pullbacks_are_those_of_the_reference(
    backend: Backend, name: str, dtype: str, shape: tuple[int, ...], seed: int
) -> None:
    arrays = inputs(name, shape, dtype, seed)
    wanted, to_inputs = reference(name, arrays)
    got, pullbacks = kernel(backend, name, arrays)
    assert got.shape == wanted.shape
    assert got.dtype == dtype
    assert_within_ulps(got, wanted, ulps=8)  # 1e-6 in float32: these are sums
    g = np.random.default_rng(seed).standard_normal(wanted.shape).astype(dtype)
    for wanted_for, pullback in zip(to_inputs, pullbacks, strict=True):
        gradient = pullback(g)
        assert gradient.dtype == dtype
        scale = np.abs(g[..., None]) * np.finfo(dtype).eps  # for grey targets two terms cancel
        assert np.all(np.abs(gradient - wanted_for(g)) <= scale + 4 * np.spacing(np.abs(gradient)))


MIXTURES = ((1, 1, 1), (7, 3, 2), (40, 30, 20), (5, 1, 4))
"""Examples, components, dimensions."""


def a_mixture(shape: tuple[int, int, int], dtype: str, away: float = 0.0) -> list[np.ndarray]:
    """Components of widths from 1/5 to 2, that far from the origin, and draws near them."""
    (b, m, k), rng = shape, np.random.default_rng(shape)
    means, logs = away + rng.normal(size=(m, k)), rng.uniform(-3, 1, (m, k))
    z = means[rng.integers(0, m, b)] + 0.5 * rng.normal(size=(b, k))
    return [a.astype(dtype) for a in (z, 3 * rng.normal(size=m), means, logs)]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("shape", MIXTURES)
def test_the_mixture_in_blocks_is_that_of_the_reference(
    shape: tuple[int, int, int], dtype: str, tolerance: float
) -> None:
    arrays = a_mixture(shape, dtype)
    wanted, to_inputs = reference("mixture_log_likelihood", [a.astype("float64") for a in arrays])
    got, pullbacks = kernel(get("numpy"), "mixture_log_likelihood", arrays)
    g = np.random.default_rng(1).standard_normal(shape[0]).astype(dtype)
    pairs = [(got, wanted), *((p(g), w(g)) for p, w in zip(pullbacks, to_inputs, strict=True))]
    for ours, theirs in pairs:
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, 0, tolerance * max(1, np.abs(theirs).max()))


@pytest.mark.parametrize("narrow", [-9.0, -11.0])
def test_a_mixture_of_narrow_components_keeps_its_digits(narrow: float) -> None:
    z, logits, means, _ = a_mixture((40, 30, 20), "float32")
    z = means[np.arange(40) % 30] + np.exp(narrow / 2) * z
    arrays = [z.astype("float32"), logits, 3 * means, np.full_like(means, narrow)]
    arrays[0] = arrays[0] + 2 * means[np.arange(40) % 30]
    wanted, to_inputs = reference("mixture_log_likelihood", [a.astype("float64") for a in arrays])
    got, pullbacks = kernel(get("numpy"), "mixture_log_likelihood", arrays)
    np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=1e-3)
    g = np.linspace(-1, 1, 40, dtype="float32")
    for pullback, right in zip(pullbacks, to_inputs, strict=True):
        known = right(g.astype("float64"))
        np.testing.assert_allclose(pullback(g), known, rtol=0, atol=1e-3 * np.abs(known).max())


def test_a_mixture_far_from_the_origin_keeps_its_digits() -> None:
    near, far = (a_mixture((40, 30, 20), "float32", away) for away in (0.0, 1024.0))
    near[0], near[2] = far[0] - np.float32(1024), far[2] - np.float32(1024)
    wanted, _ = reference("mixture_log_likelihood", near)
    got, _ = kernel(get("numpy"), "mixture_log_likelihood", far)
    np.testing.assert_allclose(got, wanted, 0, 1e-3)


def test_the_kernel_of_the_mixture_refuses_what_the_reference_refuses() -> None:
    arrays = [np.zeros(shape, "float32") for shape in ((2, 3), (4,), (4, 2), (4, 2))]
    for function in (
        OPS["mixture_log_likelihood"].bare,
        get("numpy").kernels["mixture_log_likelihood"],
    ):
        with pytest.raises(ShapeError, match=r"takes z \(B, K\), logits"):
            function(*arrays)


@pytest.mark.parametrize("dtype", DTYPES)
@given(target=st.sampled_from([0.0, 1.0]), logit=st.floats(-80, 80, width=32))
@example(target=1.0, logit=60.0)
@example(target=1.0, logit=-0.0)
def test_the_cross_entropys_gradient_of_a_black_or_white_pixel_is_exact_far_out(
    backend: Backend, dtype: str, target: float, logit: float
) -> None:
    arrays = [np.array([[logit]], dtype), np.array([[target]], dtype)]
    _, (wanted, _) = reference("bernoulli_cross_entropy", arrays)
    _, (got, _) = kernel(backend, "bernoulli_cross_entropy", arrays)
    g = np.ones(1, dtype)
    assert_within_ulps(got(g), wanted(g), ulps=4)


@pytest.mark.parametrize("dtype", DTYPES)
@given(log_variance=st.floats(-80, 80, width=32))
@example(log_variance=1e-6)
@example(log_variance=-1.0)
@example(log_variance=1.9234045)
def test_the_divergence_of_one_dimension_has_its_full_precision(
    backend: Backend, dtype: str, log_variance: float
) -> None:
    x = np.array([[log_variance]], dtype)
    assume(x[0, 0] ** 2 / 4 >= np.finfo(dtype).tiny or x[0, 0] == 0)
    arrays = [np.zeros_like(x), x]
    wanted, _ = reference("kl_standard_normal", arrays)
    got, _ = kernel(backend, "kl_standard_normal", arrays)
    assert_within_ulps(got, wanted, ulps=8)


@pytest.mark.parametrize("name", LOSSES)
def test_a_pullback_may_be_asked_twice(backend: Backend, name: str) -> None:
    arrays = inputs(name, (5, 4), "float32", seed=1)
    g = np.ones(5, "float32")
    for pullback in kernel(backend, name, arrays)[1]:
        np.testing.assert_array_equal(pullback(g), pullback(2 * g) / 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_an_infinity_or_a_nan_makes_what_it_makes_in_the_reference(
    backend: Backend, name: str, dtype: str
) -> None:
    pairs = np.meshgrid([np.inf, -np.inf, np.nan], [0.0, 0.5, 1.0])
    arrays = [a.astype(dtype).reshape(-1, 1) for a in pairs]
    if name == "kl_standard_normal":
        arrays = [np.concatenate([a, b]) for a, b in (arrays, arrays[::-1])]
    with np.errstate(all="ignore"):
        (wanted, to_inputs), (got, pullbacks) = (
            reference(name, arrays),
            kernel(backend, name, arrays),
        )
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
        for wanted_for, pullback in zip(to_inputs, pullbacks, strict=True):
            g = np.ones(len(wanted), dtype)
            np.testing.assert_allclose(pullback(g), wanted_for(g), rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_arrays_may_lie_in_memory_in_any_way(backend: Backend, name: str) -> None:
    arrays, xp = inputs(name, (4, 5), "float64", seed=2), backend.xp
    turned = [backend.from_host(a.T.copy()).T for a in arrays]
    value, pullbacks = backend.kernels[name](*turned)
    wanted, to_inputs = reference(name, arrays)
    assert_within_ulps(backend.to_host(value), wanted, ulps=8)
    for wanted_for, pullback in zip(to_inputs, pullbacks, strict=True):
        gradient = pullback(xp.broadcast_to(xp.asarray(0.5), (4,)))
        np.testing.assert_allclose(
            backend.to_host(gradient), wanted_for(np.full(4, 0.5)), rtol=1e-14, atol=1e-15
        )


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_the_axes_in_memory_changes_nothing(backend: Backend, name: str) -> None:
    arrays = [a.transpose(2, 0, 1) for a in inputs(name, (4, 3, 5), "float32", 1)]
    wanted, to_inputs = reference(name, arrays)
    given = [backend.from_host(a.base.copy()).transpose(2, 0, 1) for a in arrays]
    value, pullbacks = backend.kernels[name](*given)
    assert_within_ulps(backend.to_host(value), wanted, ulps=8)
    g = np.linspace(0.5, 1.5, wanted.size).reshape(wanted.shape).astype("float32")
    for wanted_for, pullback in zip(to_inputs, pullbacks, strict=True):
        gradient = backend.to_host(pullback(backend.from_host(g)))
        np.testing.assert_allclose(gradient, wanted_for(g), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_would_broadcast_are_refused_as_by_the_reference(
    backend: Backend, name: str
) -> None:
    arrays = [backend.from_host(np.zeros(shape, "float32")) for shape in ((2, 3), (3,))]
    for function in (OPS[name].bare, backend.kernels[name]):
        with pytest.raises(ShapeError, match=r"takes arrays of one shape, not \(2, 3\), \(3,\)"):
            function(*arrays)


def of_step(t: int, decay: float, dtype: str) -> np.ndarray:
    """Adam's constants of step ``t``."""
    return np.array(adam_constants(t, 1e-2, epsilon=1e-8, decay=decay, **BETAS), dtype)


def five_steps_agree(backend: Backend, dtype: str, size: int, decay: float) -> None:
    rng = np.random.default_rng(size)
    theirs = [a.astype(dtype) for a in (rng.standard_normal(size), np.zeros(size), np.zeros(size))]
    ours = [backend.from_host(a.copy()) for a in theirs]
    for t in range(1, 6):
        g = (rng.standard_normal(size) * rng.choice([0, 1e-12, 1, 1e12], size)).astype(dtype)
        given = backend.from_host(g.copy())
        constants = of_step(t, decay, dtype)
        backend.kernels["adam"](
            ours[0], given, *ours[1:], backend.from_host(constants), decay=decay, **BETAS
        )
        optim.adam(theirs[0], g, *theirs[1:], constants, decay=decay, **BETAS)
        np.testing.assert_array_equal(backend.to_host(given), g)
    for got, wanted in zip(map(backend.to_host, ours), theirs, strict=True):
        assert got.dtype == dtype
        assert_within_ulps(got, wanted, ulps=4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 8, 127, 128, 1001])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_five_steps_of_adam_are_those_of_the_reference(
    backend: Backend, dtype: str, size: int, decay: float
) -> None:
    five_steps_agree(backend, dtype, size, decay)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, 2 * BLOCK + 3])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("backend", ["numpy", CUPY], indirect=True)
def test_five_steps_of_adam_are_those_of_the_reference_where_its_blocks_meet(
    backend: Backend, dtype: str, size: int, decay: float
) -> None:
    five_steps_agree(backend, dtype, size, decay)


def test_adam_changes_nothing_but_what_it_was_given(backend: Backend) -> None:
    whole = backend.from_host(np.ones(3000, "float32"))
    g, first, second = (backend.from_host(np.ones(1000, "float32")) for _ in range(3))
    constants = backend.from_host(of_step(1, 0.0, "float32"))
    backend.kernels["adam"](whole[1000:2000], g, first, second, constants, decay=0.0, **BETAS)
    host = backend.to_host(whole)
    assert (host[:1000] == 1).all()
    assert (host[2000:] == 1).all()
    assert (host[1000:2000] < 1).all()
