"""Kernels that Numba compiles, for ``tv.use("numpy", kernels="numba")``; see their references.

NumPy goes over memory once for every operation; a compiled loop does all of them to a number
while it is in a register. The references, of the same names, are in
`tinyvae.autograd.derivations` and `tinyvae.optim`. These are for float32, to train with: float64
goes to NumPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from tinyvae.backend import numpy_kernels
from tinyvae.backend.base import same_shape
from tinyvae.backend.recording import perform

Array: TypeAlias = np.ndarray

# error_model="numpy": dividing by 0 is no error, whose check would keep the compiler from taking
# sixteen numbers at a time. "contract": a b + c is rounded once. "reassoc": a sum in any order.
exact = njit(error_model="numpy", nogil=True, cache=True)
fused = njit(error_model="numpy", nogil=True, cache=True, fastmath={"contract"})
summing = njit(error_model="numpy", nogil=True, cache=True, fastmath={"contract", "reassoc"})

f32 = np.float32
ZERO, HALF, ONE, TWO = f32(0), f32(0.5), f32(1), f32(2)
LOG2_E = f32(1 / math.log(2))
LN2_HIGH = f32(0.693359375)  # of ten bits, so that n times it is exact
LOWEST = f32(-104)  # below it e^x is 0 in float32
LN2_LOW = f32(math.log(2) - 0.693359375)
FACTORIALS = tuple(f32(1 / math.factorial(n)) for n in range(13))
ODDS = tuple(f32(2 / n) for n in range(1, 14, 2))


@exact
def _power_of_two(n: Any) -> Any:
    return np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)


@fused
def exp_below_0(x: Any) -> Any:
    """e^x for x from -104 to 0: 2^n e^r, with r from -log(2)/2 to log(2)/2."""
    n = np.floor(x * LOG2_E + HALF)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    _, _, c2, c3, c4, c5, c6, c7 = FACTORIALS[:8]
    series = ((((((c7 * r + c6) * r + c5) * r + c4) * r + c3) * r + c2) * r + ONE) * r + ONE
    half = np.int32(n) >> np.int32(1)  # 2^n in two steps: by itself it may be below float32
    return series * _power_of_two(half) * _power_of_two(np.int32(n) - half)


@fused
def log1p_below_1(e: Any) -> Any:
    """log(1 + e) for e from 0 to 1: 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + ...), s = e / (2 + e)."""
    s = e / (TWO + e)
    q = s * s
    d0, d1, d2, d3, d4, d5, d6 = ODDS
    return s * ((((((d6 * q + d5) * q + d4) * q + d3) * q + d2) * q + d1) * q + d0)


@summing
def _cross_entropy(logits: Array, targets: Array, loss: Array, slope: Array) -> None:
    for row in range(logits.shape[0]):
        total = ZERO
        for k in range(logits.shape[1]):
            x, t = logits[row, k], targets[row, k]
            e = exp_below_0(LOWEST if -abs(x) < LOWEST else -abs(x))  # NaN stays NaN
            mine = (ONE if x >= ZERO else ZERO) - t
            other = (ZERO if x >= ZERO else ONE) - t
            total += mine * x + log1p_below_1(e)
            slope[row, k] = (mine + e * other) / (ONE + e)
        loss[row] = total


def bernoulli_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Any]:
    """The value and the slope in one pass, from one exponential."""
    if logits.dtype != f32:
        return numpy_kernels.bernoulli_cross_entropy(logits, targets)
    same_shape("bernoulli_cross_entropy", logits, targets)
    loss, slope = _empty_like(logits, logits.shape[:-1]), _empty_like(logits, logits.shape)
    perform(_cross_entropy, *map(_rows, (logits, targets)), loss.reshape(-1), _rows(slope))
    return loss, (lambda g: g[..., None] * slope, lambda g: -g[..., None] * logits)


def _empty_like(x: Array, shape: tuple[int, ...]) -> Array:
    """In row-major order, whatever that of ``x``, so that `_rows` is a view of it."""
    return np.empty_like(x, order="C", shape=shape)


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


@fused
def excess(x: Any) -> Any:
    """e^x - 1 - x; between -1 and 2 by its series."""
    if x < -ONE or x > TWO:
        return np.expm1(x) - x
    series = ZERO
    for n in range(12, 1, -1):
        series = series * x + FACTORIALS[n]
    return series * x * x


@summing
def _kl(mean: Array, log_variance: Array, kl: Array, slope: Array) -> None:
    for row in range(mean.shape[0]):
        total = ZERO
        for k in range(mean.shape[1]):
            m, x = mean[row, k], log_variance[row, k]
            total += (m * m + excess(x)) * HALF
            slope[row, k] = np.expm1(x) * HALF
        kl[row] = total


def kl_standard_normal(mean: Array, log_variance: Array) -> tuple[Array, Any]:
    """As the reference, with the series only where it is wanted."""
    if mean.dtype != f32:
        return numpy_kernels.kl_standard_normal(mean, log_variance)
    same_shape("kl_standard_normal", mean, log_variance)
    kl, slope = _empty_like(mean, mean.shape[:-1]), _empty_like(mean, mean.shape)
    perform(_kl, *map(_rows, (mean, log_variance)), kl.reshape(-1), _rows(slope))
    return kl, (lambda g: g[..., None] * mean, lambda g: g[..., None] * slope)


@exact
def _adam(
    p: Array, g: Array, first: Array, second: Array, constants: Array, beta1: Any, beta2: Any
) -> None:
    size, floor, shrink = constants[0], constants[1], constants[2]
    for k in range(p.shape[0]):
        m = beta1 * first[k] + g[k]
        v = beta2 * second[k] + g[k] * g[k]
        first[k], second[k] = m, v
        p[k] = p[k] - shrink * p[k] - size * (m / (np.sqrt(v) + floor))


def adam(
    p: Array,
    g: Array,
    first: Array,
    second: Array,
    constants: Any,
    *,
    beta1: float,
    beta2: float,
    decay: float,  # noqa: ARG001 - without it, the last of the constants is 0
) -> None:
    """Each parameter and its two sums are read once and written once."""
    if isinstance(constants, tuple):
        constants = np.array(constants, p.dtype)
    perform(_adam, p, g, first, second, constants, *map(p.dtype.type, (beta1, beta2)))


KERNELS: dict[str, Callable[..., Any]] = {
    kernel.__name__: kernel for kernel in (bernoulli_cross_entropy, kl_standard_normal, adam)
}
