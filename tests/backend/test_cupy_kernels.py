"""CuPy's kernels, as far as that can be seen without a GPU.

NVRTC compiles them for one; and their source runs on the host, with the threads of a block in
turn. What they compute is held to the references in ``test_kernels``; here are the threads, the
rounding, and planted errors, every one of which must be caught.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import cuda_on_host
import numpy as np
import nvrtc
import pytest
import standin
from cuda_on_host import FUSED, SEPARATE
from fake_cupy import fake_cupy

import tinyvae as tv
from tinyvae import optim
from tinyvae.autograd import OPS
from tinyvae.backend import Backend, base, cupy_backend, cupy_kernels
from tinyvae.backend.cupy_kernels import REALS, SOURCE, options
from tinyvae.objectives import negative_elbo

KERNELS = sorted(re.findall(r"__global__ void (\w+)\(", SOURCE))
LOSSES = ("bernoulli_cross_entropy", "kl_standard_normal")
SETTINGS = {"rate": 1e-2, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-3, "decay": 0.1}
needs_nvrtc = pytest.mark.skipif(
    nvrtc.library() is None, reason="needs NVRTC: pip install nvidia-cuda-nvrtc-cu12"
)
needs_compiler = pytest.mark.skipif(
    cuda_on_host.COMPILER is None, reason="needs Linux and a C++ compiler, such as g++"
)


# For a GPU: compiled, not run


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])  # Turing, Ampere, Hopper
@pytest.mark.parametrize("dtype", REALS)
def test_every_kernel_compiles_for_a_gpu(dtype: str, architecture: str) -> None:
    cupys = ("-ftz=true", "--device-as-default-execution-space")  # what CuPy adds
    how = (*options(dtype), *cupys, f"--gpu-architecture={architecture}")
    code = nvrtc.compiled(SOURCE, how)
    assert code.startswith(b"\x7fELF")
    assert all(f".text.{name}\0".encode() in code for name in KERNELS)


@needs_nvrtc
def test_a_float32_kernel_computes_nothing_in_float64() -> None:
    for_assembly = (*options("float32"), "--gpu-architecture=compute_90")
    assembly = nvrtc.compiled(SOURCE, for_assembly, "PTX").decode()
    found = set(re.findall(r"[a-z.\d]+\.f64\b", assembly))
    assert found == {"ld.param.f64", "cvt.rn.f32.f64"}  # Adam's constants, rounded as they come


NOT_CUDA = {
    "a semicolon left out": ("REAL part = 0;", "REAL part = 0"),
    "a name that is not there": ("targets[k]", "target[k]"),
    "a pointer for a number": ("= targets[k]", "= targets"),
    "an array that is only read written to": ("gradient[k] =", "g[k] ="),
    "a function of the host": ("log1p(exp(-fabs(l)))", "log1p(std::exp(-fabs(l)))"),
    "an argument too many": ("excess(log_variance[k])", "excess(log_variance[k], d)"),
    "a type that is not there": ("REAL series", "real series"),
}


@needs_nvrtc
@pytest.mark.parametrize("name", NOT_CUDA)
def test_nvrtc_refuses_what_is_no_cuda(name: str) -> None:
    before, after = NOT_CUDA[name]
    assert before in SOURCE
    with pytest.raises(SyntaxError, match=r"kernels\.cu\(\d+\): error"):
        nvrtc.compiled(
            SOURCE.replace(before, after), (*options("float64"), "--gpu-architecture=sm_90")
        )


def test_cupys_backend_has_the_kernels_and_compiles_none_before_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())  # one without RawKernel
    assert set(cupy_backend.load().kernels) == {*LOSSES, "adam"}


# On the host: run


def rows(dtype: str) -> Iterator[tuple[np.ndarray, ...]]:
    """Logits, targets, means and log variances: extremes in rows of 1, then longer rows."""
    extremes = (
        [800.0, -800.0, 30.0, -0.0, 1e-3, 2.0],
        [1.0, 0.0, 1.0, 0.5, 1.0, 0.0],
        [0.0, 1.0, 0.0, -2.0, 0.0, 0.0],
        [1e-5, -1e-3, -0.9, 40.0, 1.9, -40.0],
    )
    yield tuple(np.array(numbers, dtype)[:, None] for numbers in extremes)
    rng = np.random.default_rng(0)
    for shape in ((2, 3, 5), (2, 300)):
        logits, mean, log_variance = 3 * rng.standard_normal((3, *shape))
        black_or_white = rng.integers(2, size=shape)  # between them the two slopes cancel
        yield tuple(a.astype(dtype) for a in (logits, black_or_white, mean, log_variance))


def results(backend: Backend, dtype: str) -> Iterator[np.ndarray]:
    """What all kernels make of `rows`, and Adam of 300 parameters within longer vectors."""
    rng = np.random.default_rng(0)
    for arrays in rows(dtype):
        given = [backend.from_host(a) for a in arrays]
        g = backend.from_host(rng.standard_normal(arrays[0].shape[:-1]).astype(dtype))
        for name, pair in zip(LOSSES, (given[:2], given[2:]), strict=True):
            value, pullbacks = function(backend, name)(*pair)
            yield from map(backend.to_host, (value, *(pullback(g) for pullback in pullbacks)))
    vectors = [backend.from_host(rng.random(320).astype(dtype)) for _ in range(4)]
    for t in (1, 2):
        function(backend, "adam")(*(v[10:310] for v in vectors), t=t, **SETTINGS)
    yield from map(backend.to_host, vectors)


def function(backend: Backend, name: str) -> Any:
    reference = optim.adam if name == "adam" else OPS[name].bare
    return backend.kernels.get(name, reference)


def complaint(dtype: str, **how: Any) -> str:
    """What is wrong with the kernels, as `cuda_on_host` runs them; nothing if all is well."""
    wanted = list(results(cuda_on_host.get("standin"), dtype))
    try:
        got = list(results(cuda_on_host.backend(**how), dtype))
    except RuntimeError as error:
        return str(error)
    ulps = 8 * np.finfo(dtype).eps
    close = (np.allclose(a, b, rtol=ulps, atol=0) for a, b in zip(got, wanted, strict=True))
    return "" if all(close) else "the references give other numbers"


@needs_compiler
@pytest.mark.parametrize("contract", [SEPARATE, FUSED], ids=["separate", "fused"])
@pytest.mark.parametrize("dtype", REALS)
def test_whole_blocks_give_what_the_references_give(dtype: str, contract: Any) -> None:
    assert complaint(dtype, contract=contract) == ""


@needs_compiler
@pytest.mark.parametrize("dtype", REALS)
def test_the_order_of_threads_and_blocks_does_not_change_a_bit(dtype: str) -> None:
    up, down = (results(cuda_on_host.backend(down=down), dtype) for down in (False, True))
    for one, other in zip(up, down, strict=True):
        np.testing.assert_array_equal(one, other)


@needs_compiler
def test_a_kernel_is_compiled_once_for_each_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    compilations = []
    namespace = cuda_on_host.namespace()
    raw = namespace.RawKernel
    namespace.RawKernel = lambda *how: compilations.append(how[1:]) or raw(*how)
    kernels = cupy_kernels.load(namespace)
    arrays = [cuda_on_host.get("standin").from_host(np.ones(3, dtype)) for dtype in REALS]
    for array in (*arrays, *arrays):
        kernels["kl_standard_normal"](array, array)
    assert compilations == [("kl_standard_normal", options(dtype)) for dtype in REALS]


RUN = "for (int n = sizeof(REAL) == 8 ? 26 : 16; n > 2; --n)"
PLANTED = {
    "a barrier left out": ("__syncthreads();", ""),
    "half of the threads left out": ("half = THREADS / 2", "half = THREADS / 4"),
    "the last two parts not added": ("half > 0", "half > 1"),
    "the sum of another thread": ("if (threadIdx.x == 0) loss", "if (threadIdx.x == 1) loss"),
    "every block on the first row": ("row = blockIdx.x * d", "row = 0"),
    "one number past the row": ("k < row + d", "k <= row + d"),
    "a number left out": ("k += THREADS", "k += THREADS + 1"),
    "threads that do the same": ("k = row + threadIdx.x", "k = row"),
    "threads that do not wait": ("REAL part = 0;", "REAL part = 0; if (threadIdx.x >= d) return;"),
    "an upstream for all rows": ("g[blockIdx.x]", "g[0]"),
    "an exponential that overflows": ("log1p(exp(-fabs(l)))", "log1p(exp(-l)) + l - fmax(l, 0.0)"),
    "a small number lost beside 1": ("log1p(exp(-fabs(l)))", "log(1 + exp(-fabs(l)))"),
    "the other slope": ("((l >= 0) - t) * l", "((l < 0) - t) * l"),
    "the slopes with one weight": ("e * ((l < 0) - t)", "((l < 0) - t)"),
    "the series cut short": (RUN, RUN.replace("26", "12")),
    "the series too far out": ("x < -1 || x > 2", "x < -30 || x > 30"),
    "no series": ("x < -1 || x > 2", "true"),
    "a mean that is not squared": ("mean[k] * mean[k]", "mean[k]"),
    "the divergence doubled": ("excess(log_variance[k])) / 2", "excess(log_variance[k]))"),
    "variance for its surplus": ("expm1(log_variance[k]) / 2", "exp(log_variance[k]) / 2"),
    "the two decays swapped": ("REAL(beta1) * first[k]", "REAL(beta2) * first[k]"),
    "the first sum not kept": ("first[k] = m;", ""),
    "epsilon under the root": ("sqrt(v) + REAL(epsilon)", "sqrt(v + REAL(epsilon))"),
    "decay of the step, not of the parameter": ("REAL(decay) * p[k]", "REAL(decay) * m"),
    "one parameter too many": ("k >= size", "k > size"),
    "blocks that overlap": ("blockIdx.x * THREADS", "blockIdx.x"),
    "an integer division": ("(x / n)", "((long long)x / n)"),
}  # fmt: skip


OTHER_COMPLAINTS = {
    "one number past the row": "past the end",
    "threads that do not wait": "on a GPU this hangs",
}


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_an_error_planted_in_a_kernel_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = PLANTED[name]
    assert before in SOURCE
    monkeypatch.setattr(cupy_kernels, "SOURCE", SOURCE.replace(before, after))
    seen = complaint("float64")
    assert re.search(OTHER_COMPLAINTS.get(name, "references"), seen)


# In a training step


@needs_compiler
def test_a_training_step_with_the_kernels_moves_the_model_as_one_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = a_step()
    with_kernels = cuda_on_host.backend()
    monkeypatch.setitem(base._loaded, "standin", with_kernels)
    monkeypatch.setitem(base._by_type, standin.DeviceArray, with_kernels)
    for one, other in zip(a_step(), without, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def a_step() -> list[np.ndarray]:
    """Two steps of a small VAE on the stand-in, of which the second waits for nothing."""
    with tv.use("standin"):
        noise, model = tv.Noise(0), tv.VAE((4, 5), latent=3, hidden=(7,))
        optimiser = tv.Adam(model.parameters(), 0.01)
        for _ in range(2):
            x, draws = tv.Tensor.wrap(noise.uniform((6, 20))), noise.normal((6, 3))
            with standin.count_syncs() as waits:
                negative_elbo(model, x, draws).loss.backward()
                optimiser.step()
            optimiser.zero_grad()
    assert waits == []
    return [p.numpy() for p in model.parameters()]
