"""One-pass versions of ops and optimiser rules for CuPy, each under its reference's name.

What they mean is said beside the references, in `tinyvae.autograd.derivations` and
`tinyvae.optim`. They are CUDA C++ in a string, which NVRTC compiles at first use, once for
float32 and once for float64. So far NVRTC has compiled them for sm_90, and the same source has
run on the host, against the references; on a GPU they have not run yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tinyvae.backend.base import same_shape

Array: TypeAlias = Any

THREADS = 128
"""In a block; a power of two, since a sum over a block halves them."""
REALS = {"float32": "float", "float64": "double"}

SOURCE = r"""
// REAL is float or double, THREADS the number of threads in a block.
// A loss takes one block for each row of d numbers, adam one thread for each parameter.

// The sum of one part from each thread, in a fixed order; thread 0 has it.
__device__ REAL sum_over_block(REAL part) {
    __shared__ REAL parts[THREADS];
    parts[threadIdx.x] = part;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    return parts[threadIdx.x];
}

extern "C" __global__ void bernoulli_cross_entropy(
    const REAL* logits, const REAL* targets, REAL* loss, long long d) {
    const long long row = blockIdx.x * d;
    REAL part = 0;
    for (long long k = row + threadIdx.x; k < row + d; k += THREADS) {
        const REAL l = logits[k], t = targets[k];
        part += ((l >= 0) - t) * l + log1p(exp(-fabs(l)));
    }
    const REAL sum = sum_over_block(part);
    if (threadIdx.x == 0) loss[blockIdx.x] = sum;
}

// The slopes of max(l, 0) - t l on both sides of 0, weighted by 1 and e = e^-|l|.
extern "C" __global__ void bernoulli_cross_entropy_to_logits(
    const REAL* logits, const REAL* targets, const REAL* g, REAL* gradient, long long d) {
    const long long row = blockIdx.x * d;
    for (long long k = row + threadIdx.x; k < row + d; k += THREADS) {
        const REAL l = logits[k], t = targets[k], e = exp(-fabs(l));
        gradient[k] = g[blockIdx.x] * ((((l >= 0) - t) + e * ((l < 0) - t)) / (1 + e));
    }
}

// e^x - 1 - x; near 0 by its series, x^2/2 (1 + x/3 (1 + x/4 (...))).
__device__ REAL excess(REAL x) {
    if (x < -1 || x > 2) return expm1(x) - x;
    REAL series = 1;
    for (int n = sizeof(REAL) == 8 ? 26 : 16; n > 2; --n) series = 1 + series * (x / n);
    return x * x / 2 * series;
}

extern "C" __global__ void kl_standard_normal(
    const REAL* mean, const REAL* log_variance, REAL* kl, long long d) {
    const long long row = blockIdx.x * d;
    REAL part = 0;
    for (long long k = row + threadIdx.x; k < row + d; k += THREADS)
        part += (mean[k] * mean[k] + excess(log_variance[k])) / 2;
    const REAL sum = sum_over_block(part);
    if (threadIdx.x == 0) kl[blockIdx.x] = sum;
}

extern "C" __global__ void kl_standard_normal_to_log_variance(
    const REAL* log_variance, const REAL* g, REAL* gradient, long long d) {
    const long long row = blockIdx.x * d;
    for (long long k = row + threadIdx.x; k < row + d; k += THREADS)
        gradient[k] = g[blockIdx.x] * (expm1(log_variance[k]) / 2);
}

extern "C" __global__ void adam(
    REAL* p, const REAL* g, REAL* first, REAL* second,
    double beta1, double beta2, double rate, double epsilon, double decay, long long size) {
    const long long k = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (k >= size) return;
    const REAL m = REAL(beta1) * first[k] + g[k];
    const REAL v = REAL(beta2) * second[k] + g[k] * g[k];
    first[k] = m;
    second[k] = v;
    p[k] = p[k] - REAL(decay) * p[k] - REAL(rate) * (m / (sqrt(v) + REAL(epsilon)));
}
"""


def options(dtype: str) -> tuple[str, ...]:
    """What NVRTC is told about `SOURCE`, to compile it for arrays of ``dtype``."""
    return f"-DREAL={REALS[dtype]}", f"-DTHREADS={THREADS}"


def load(cupy: Any) -> Mapping[str, Callable[..., Any]]:
    """The kernels by their references' names; ``cupy`` compiles each when it is first called."""
    kernels = Kernels(cupy)
    rules = (kernels.bernoulli_cross_entropy, kernels.kl_standard_normal, kernels.adam)
    return {rule.__name__: rule for rule in rules}


class Kernels:
    """The kernels of `SOURCE` as functions of CuPy's arrays, and what is compiled of them."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._compiled: dict[tuple[str, str], Any] = {}

    def bernoulli_cross_entropy(self, logits: Array, targets: Array) -> tuple[Array, Any]:
        """Each way in one pass, and nothing kept in between: a logarithm is cheaper than memory."""
        same_shape("bernoulli_cross_entropy", logits, targets)
        loss = self._over_rows("bernoulli_cross_entropy", logits.shape[:-1], logits, targets)

        def to_logits(g: Array) -> Array:
            name = "bernoulli_cross_entropy_to_logits"
            return self._over_rows(name, logits.shape, logits, targets, g)

        return loss, (to_logits, lambda g: -g[..., None] * logits)

    def kl_standard_normal(self, mean: Array, log_variance: Array) -> tuple[Array, Any]:
        """As the reference, but with the series only where it is wanted."""
        same_shape("kl_standard_normal", mean, log_variance)
        kl = self._over_rows("kl_standard_normal", mean.shape[:-1], mean, log_variance)

        def to_log_variance(g: Array) -> Array:
            name = "kl_standard_normal_to_log_variance"
            return self._over_rows(name, mean.shape, log_variance, g)

        return kl, (lambda g: g[..., None] * mean, to_log_variance)

    def adam(
        self,
        p: Array,
        g: Array,
        first: Array,
        second: Array,
        *,
        rate: float,
        beta1: float,
        beta2: float,
        epsilon: float,
        decay: float,
        t: int,
    ) -> None:
        """Each parameter and its two sums are read once and written once."""
        to_m = (1 - beta1) / (1 - beta1**t)
        to_sigma = math.sqrt((1 - beta2) / (1 - beta2**t))
        constants = (beta1, beta2, rate * to_m / to_sigma, epsilon / to_sigma, rate * decay)
        blocks = math.ceil(p.size / THREADS)
        self._launch("adam", blocks, p, g, first, second, *map(float, constants), p.size)

    def _over_rows(self, name: str, shape: tuple[int, ...], *arrays: Array) -> Array:
        """What a kernel makes, of that shape, with a block for each row of the first array."""
        *batch, d = arrays[0].shape
        made = self._cupy.empty(shape, dtype=arrays[0].dtype)
        inputs = [self._cupy.ascontiguousarray(array) for array in arrays]
        self._launch(name, math.prod(batch), *inputs, made, d)
        return made

    def _launch(self, name: str, blocks: int, *arguments: Any) -> None:
        """Start a kernel; its first argument, an array, says of which dtype all others are."""
        key = name, str(arguments[0].dtype)
        if key not in self._compiled:
            self._compiled[key] = self._cupy.RawKernel(SOURCE, name, options(key[1]))
        if blocks:  # CUDA refuses a grid of none
            self._compiled[key]((blocks,), (THREADS,), arguments)
