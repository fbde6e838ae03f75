"""One-pass versions of ops and optimiser rules for NumPy, each under its reference's name.

What they mean is said beside the references, in `tinyvae.autograd.derivations` and
`tinyvae.optim`; here stands what makes each quicker. Common to all: a result is written over
a temporary that is no longer needed, since fresh memory costs more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tinyvae.backend.base import mixture_shapes, once, same_shape

Array: TypeAlias = np.ndarray
LOG_2_PI = math.log(2 * math.pi)
BLOCK = 1 << 16
"""How many numbers of each vector a rule takes at a time, for a cache of a megabyte or two."""


def bernoulli_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Any]:
    """One exponential, e = e^-|l|, serves both ways; and no branch, which NumPy is slow at.

    max(l, 0) - t l is l times its own slope, 1 - t or -t by the sign of l. The gradient
    averages the two slopes with the weights 1 / (1 + e) and e / (1 + e).
    """
    same_shape("bernoulli_cross_entropy", logits, targets)
    e = np.abs(logits)
    np.exp(np.negative(e, out=e), out=e)
    slope = (logits >= 0) - targets
    loss = np.vecdot(slope, logits) + np.add.reduce(np.log1p(e), axis=-1)

    def to_logits(g: Array) -> Array:
        gradient: Array = (logits < 0) - targets
        gradient *= e
        gradient += slope
        gradient /= e + 1
        gradient *= g[..., None]
        return gradient

    return loss, (to_logits, lambda g: -g[..., None] * logits)


def kl_standard_normal(mean: Array, log_variance: Array) -> tuple[Array, Any]:
    """Half as many terms and no branch: the series of e^x - 1 - x runs over [-1, 1] only.

    Further out x = near + far, and e^x - 1 - x = (e^near - 1 - near) + (e^far - 1) e^near - far.
    """
    same_shape("kl_standard_normal", mean, log_variance)
    near = np.minimum(np.maximum(log_variance, -1), 1)
    far = log_variance - near
    double = np.full_like(near, 0)  # (e^near - 1 - near) / near^2, then the doubled divergence
    for n in range(18 if near.dtype == "float64" else 11, 1, -1):
        double *= near
        double += 1 / math.factorial(n)
    double *= near * near
    double += np.expm1(far) * np.exp(near) - far
    double += mean * mean
    return np.add.reduce(double, axis=-1) / 2, (
        lambda g: g[..., None] * mean,
        lambda g: g[..., None] * (np.expm1(log_variance) / 2),
    )


def mixture_log_likelihood(
    z: Array, logits: Array, means: Array, log_variances: Array
) -> tuple[Array, Any]:
    """The squares by matrix products, (z - m)^2/v = z^2/v - 2 z m/v + m^2/v: no (B, M, K).

    The three cancel, and have the round-off of the largest, which is large where components are
    narrow and apart. So all is taken from the centre of the means, and summed in float64.
    """
    mixture_shapes(z, logits, means, log_variances)
    centre = np.add.reduce(means) / len(means)
    near, at, logs = (x.astype(np.float64) for x in (z - centre, means - centre, log_variances))
    precision, log_weights = np.exp(-logs), (logits - np.max(logits)).astype(np.float64)
    pulled, squares = at * precision, near * near
    log_weights -= np.log(np.add.reduce(np.exp(log_weights)))
    whole = np.add.reduce(at * pulled + logs, axis=-1) + LOG_2_PI * z.shape[1]
    share = near @ pulled.T  # (B, M)
    share -= squares @ (precision.T / 2)
    share += log_weights - whole / 2
    top = np.maximum.reduce(share, axis=-1, keepdims=True)
    share -= top
    np.exp(share, out=share)
    total = np.add.reduce(share, axis=-1, keepdims=True)
    share /= total
    weighed = once(lambda g: share * g[:, None])  # (B, M)
    counts = once(lambda g: g @ share)  # (M,)
    sums = once(lambda g: weighed(g).T @ near)  # (M, K)

    def as_z(x: Array) -> Array:
        found: Array = x.astype(z.dtype)
        return found

    def to_z(g: Array) -> Array:
        return as_z(weighed(g) @ pulled - near * (weighed(g) @ precision))

    def to_logits(g: Array) -> Array:
        return as_z(counts(g) - np.exp(log_weights) * np.add.reduce(g))

    def to_means(g: Array) -> Array:
        return as_z((sums(g) - at * counts(g)[:, None]) * precision)

    def to_log_variances(g: Array) -> Array:
        count = counts(g)[:, None]
        square = weighed(g).T @ squares - 2 * at * sums(g) + at * at * count
        return as_z((square * precision - count) / 2)

    return as_z((np.log(total) + top)[:, 0]), (to_z, to_logits, to_means, to_log_variances)


def adam(
    p: Array,
    g: Array,
    first: Array,
    second: Array,
    constants: Any,
    *,
    beta1: float,
    beta2: float,
    decay: float,
) -> None:
    """Block by block, so that what one line has read the next one finds in the cache."""
    size, floor, shrink = constants[0], constants[1], constants[2]
    for start in range(0, len(p), BLOCK):
        block = slice(start, start + BLOCK)
        p_, g_, m, v = p[block], g[block], first[block], second[block]
        m *= beta1
        m += g_
        v *= beta2
        scratch = g_ * g_
        v += scratch
        if decay:
            p_ -= np.multiply(p_, shrink, out=scratch)
        np.sqrt(v, out=scratch)
        scratch += floor
        np.divide(m, scratch, out=scratch)
        scratch *= size
        p_ -= scratch


def keep_freed_memory() -> None:
    """Let the arrays of one step be used again in the next, at up to twice the speed.

    glibc gives a large block that is freed back to the system, which then hands it out anew
    page by page. Its threshold for that rises to the largest block freed so far, up to 32 MB:
    so one such block, never touched, is taken and freed. Elsewhere this does nothing.
    """
    np.empty((1 << 25) - (1 << 16), np.uint8)


KERNELS: dict[str, Callable[..., Any]] = {
    kernel.__name__: kernel
    for kernel in (bernoulli_cross_entropy, kl_standard_normal, mixture_log_likelihood, adam)
}
