"""CuPy's kernels, as far as that can be seen without a GPU.

NVRTC compiles them for one; and their source runs on the host, with the threads of a block in
turn. What they compute is held to the references in ``test_kernels``; here are the threads, the
rounding, and planted errors, every one of which must be caught.
"""

from __future__ import annotations

import itertools
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
from tinyvae import optim, resident
from tinyvae.autograd import OPS
from tinyvae.backend import Backend, base, cupy_backend, cupy_kernels
from tinyvae.backend.cupy_kernels import REALS, SOURCE, options
from tinyvae.objectives import negative_elbo

KERNELS = sorted(re.findall(r"__global__ void (\w+)\(", SOURCE))
LOSSES = ("bernoulli_cross_entropy", "kl_standard_normal")
OPERATIONS = {*LOSSES, "gaussian_sample", "matmul", "affine", "affine_relu", "getitem"}
STEP = {"adam", "take_batch", "tally"}
SETTINGS = {"beta1": 0.9, "beta2": 0.99, "decay": 0.1}
CONSTANTS = (1e-2, 1e-3, 2e-3)
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
    _, *entries = re.split(r"\.entry (?=\w+\()", assembly)
    found = {text.partition("(")[0]: set(re.findall(r"[a-z.\d]+\.f64\b", text)) for text in entries}
    assert found.keys() == set(KERNELS)
    assert found.pop("tally") >= {"cvt.f64", "add.f64"}  # that of a whole epoch
    rounded = {"ld.param.f64", "cvt.rn.f32.f64"}  # Adam's numbers, as they come
    assert set().union(*found.values()) == rounded


NOT_CUDA = {
    "a semicolon left out": ("REAL part = 0;", "REAL part = 0"),
    "a name that is not there": ("targets[k]", "target[k]"),
    "a pointer for a number": ("= targets[k]", "= targets"),
    "an array that is only read written to": ("loss[blockIdx.x] =", "logits[blockIdx.x] ="),
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
    assert set(cupy_backend.load().kernels) == OPERATIONS | STEP


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
    for constants in (CONSTANTS, backend.from_host(np.array(CONSTANTS, dtype))):
        function(backend, "adam")(*(v[10:310] for v in vectors), constants, **SETTINGS)
    yield from map(backend.to_host, vectors)
    for found in (of_the_sample, of_layers, of_slices, of_a_step):
        yield from map(backend.to_host, found(backend, dtype))


def of_the_sample(backend: Backend, dtype: str) -> Iterator[Any]:
    """Of rows that lie apart in memory, as the halves of a head do."""
    rng = np.random.default_rng(1)
    head, noise, g = (
        backend.from_host(rng.random(s).astype(dtype)) for s in ((3, 14), (3, 7), (3, 7))
    )
    value, pullbacks = function(backend, "gaussian_sample")(head[:, :7], head[:, 7:], noise)
    yield from (value, *(pullback(g) for pullback in pullbacks))


def of_layers(backend: Backend, dtype: str) -> Iterator[Any]:
    """Of whole numbers, so that sums are exact; with zeros among the values of the ReLU."""
    rng = np.random.default_rng(2)
    for shape in ((1, 1, 1), (3, 2, 9), (23, 3, 130)):
        b, i, o = shape
        x, weight, bias, g = (
            backend.from_host(rng.integers(-3, 4, s).astype(dtype))
            for s in ((b, i), (i, o), (o,), (b, o))
        )
        for name, inputs in (("affine", (bias,)), ("affine_relu", (bias,)), ("matmul", ())):
            value, pullbacks = function(backend, name)(x, weight, *inputs)
            yield from (value, *(pullback(g) for pullback in pullbacks))


def of_slices(backend: Backend, dtype: str) -> Iterator[Any]:
    """Of a matrix's columns and rows, and of an axis between others."""
    x = backend.from_host(np.arange(24.0, dtype=dtype))
    for shape, index in (
        ((4, 6), np.s_[:, 2:5]),
        ((4, 6), np.s_[1:3]),
        ((2, 3, 4), np.s_[:, :2]),
        ((2, 3, 4), np.s_[:, :, 4:]),
    ):
        value, pullback = function(backend, "getitem")(x.reshape(shape), index=index)
        yield from (value, pullback(value + 1))


def of_a_step(backend: Backend, dtype: str) -> Iterator[Any]:
    """Two batches of each kind of images, of which the second is short, and their tally.

    There is more than the two take, so that a wrong place is no place outside.
    """
    rng = np.random.default_rng(3)
    grey = [backend.from_host(rng.integers(0, 4, (n, 5), dtype=np.uint8)) for n in (9, 20)]
    order, noise, constants = (
        backend.from_host(a)
        for a in (
            rng.integers(0, 9, 20),
            rng.standard_normal((20, 2)).astype(dtype),
            rng.random((5, 3)).astype(dtype),
        )
    )
    for kind, drawn in itertools.product(("uint8", "float32"), (False, True)):
        images, draws = (a.astype(kind) for a in grey)
        draws = draws if drawn else None
        turn = backend.from_host(np.zeros(1, np.int64))
        sums = backend.from_host(np.zeros(2))
        for rows in (4, 3):
            given = (images, order, draws, noise, constants, turn, rows, 4)
            x, sample_noise, step = function(backend, "take_batch")(*given)
            yield from (x, sample_noise, step)
            losses = (part.sum(axis=1) for part in (x, sample_noise * sample_noise))
            function(backend, "tally")(*losses, sums, turn)
        yield from (sums, turn)


REFERENCES = {
    "adam": optim.adam,
    "take_batch": resident.take_batch,
    "tally": resident.tally,
}


def function(backend: Backend, name: str) -> Any:
    return backend.kernels.get(name, REFERENCES.get(name) or OPS[name].bare)


def complaint(dtype: str, **how: Any) -> str:
    """What is wrong with the kernels, as `cuda_on_host` runs them; nothing if all is well."""
    wanted = list(results(cuda_on_host.get("standin"), dtype))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cupy_kernels, "TALL", 20)
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
ONE = "(k >= size) return;\n    const REAL m"
PART = "REAL part = 0;\n    for"
PLANTED = {
    "a barrier left out": ("__syncthreads();", ""),
    "half of the threads left out": ("half = THREADS / 2", "half = THREADS / 4"),
    "the last two parts not added": ("half >= width", "half > width"),
    "the sum of another thread": ("if (threadIdx.x == 0) loss", "if (threadIdx.x == 1) loss"),
    "every block on the first row": ("blockIdx.x * l_row", "0"),
    "one number past the row": ("k < d", "k <= d"),
    "a number left out": ("k += THREADS", "k += THREADS + 1"),
    "threads that do the same": ("k = threadIdx.x", "k = 0"),
    "threads that do not wait": (PART, PART.replace("\n", " if (threadIdx.x >= d) return;\n")),
    "an upstream for all rows": ("blockIdx.x * g_row", "0"),
    "an exponential that overflows": ("log1p(exp(-fabs(l)))", "log1p(exp(-l)) + l - fmax(l, 0.0)"),
    "a small number lost beside 1": ("log1p(exp(-fabs(l)))", "log(1 + exp(-fabs(l)))"),
    "the other slope": ("((l >= 0) - t) * l", "((l < 0) - t) * l"),
    "the slopes with one weight": ("e * ((l < 0) - t)", "((l < 0) - t)"),
    "variance for sigma": ("+ k] / 2)", "+ k])"),
    "the noise of the first row": ("blockIdx.x * n_row", "0"),
    "the mean of the first row": ("mean[blockIdx.x * m_row", "mean[0"),
    "a half forgotten": ("* deviation / 2", "* deviation"),
    "the series cut short": (RUN, RUN.replace("26", "12")),
    "the series too far out": ("x < -1 || x > 2", "x < -30 || x > 30"),
    "no series": ("x < -1 || x > 2", "true"),
    "a mean that is not squared": ("mean[k] * mean[k]", "mean[k]"),
    "the divergence doubled": ("excess(log_variance[k])) / 2", "excess(log_variance[k]))"),
    "variance for its surplus": ("expm1(log_variance[b", "exp(log_variance[b"),
    "the bias of the first column": ("+= bias[k]", "+= bias[0]"),
    "no bias before the ReLU": ("+ bias[k];", ";"),
    "a ReLU of the negative": ("sum <= 0 ? 0 : sum", "sum > 0 ? 0 : sum"),
    "a gradient where the ReLU is 0": ("(y[k] > 0)", "(y[k] >= 0)"),
    "a column too many": ("COLUMNS && column < columns", "COLUMNS"),
    "every tile the first": ("blockIdx.x % tiles * COLUMNS", "0"),
    "rows left out": ("row += THREADS / COLUMNS", "row += THREADS"),
    "the rows of the first chunk": ("first = mine * chunk", "first = 0"),
    "rows past the last": ("first + chunk < rows ? first + chunk : rows", "first + chunk"),
    "neighbours added up": ("sum_over_block(part, COLUMNS)", "sum_over_block(part)"),
    "a slice from the start on": ("k % length - start", "k % length"),
    "an element more than the slice": ("inner < count", "inner <= count"),
    "the first slice for all": ("outer * count + inner", "inner"),
    "the two decays swapped": ("beta1 * first[k]", "beta2 * first[k]"),
    "the first sum not kept": ("first[k] = m;", ""),
    "epsilon under the root": ("sqrt(v) + floor", "sqrt(v + floor)"),
    "decay of the step, not of the parameter": ("shrink * p[k]", "shrink * m"),
    "no decay": ("p[k] - shrink * p[k]", "p[k]"),
    "constants swapped": ("constants[1], constants[2]", "constants[2], constants[1]"),
    "numbers swapped": ("REAL(floor), REAL(shrink)", "REAL(shrink), REAL(floor)"),
    "one parameter too many": (ONE, ONE.replace(">=", ">")),
    "blocks that overlap": ("blockIdx.x * THREADS", "blockIdx.x"),
    "an integer division": ("(x / n)", "((long long)x / n)"),
    "the first batch again": ("*turn * batch + blockIdx.x", "blockIdx.x"),
    "images in their own order": ("order[place]", "place"),
    "a draw that is equal counts": ("k] < image[k]", "k] <= image[k]"),
    "the draws of the image": ("draws[place", "draws[order[place]"),
    "256 greys": ("1.0 / 255", "1.0 / 256"),
    "noise of the first batch": ("noise[place", "noise[blockIdx.x"),
    "constants of the first step": ("constants[*turn * count + k]", "constants[k]"),
    "one divergence for both": ("blockIdx.x == 0 ? cross_entropy : kl", "kl"),
    "the last batch alone": ("sums[blockIdx.x] += sum", "sums[blockIdx.x] = sum"),
    "a step counted by each block": ("if (blockIdx.x == 0 && threadIdx.x == 0) ++",
                                     "if (threadIdx.x == 0) ++"),
}  # fmt: skip


OTHER_COMPLAINTS = {
    "one number past the row": "past the end",
    "a column too many": "past the end",
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
