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


CACHED = 1 << 17  # numbers of an array that stay in the cache


def mixture_log_likelihood(
    z: Array, logits: Array, means: Array, log_variances: Array
) -> tuple[Array, Any]:
    """Some rows of z at a time, so that what is made of them, (b, M, K), stays in the cache.

    The squares are of differences: as z^2/v - 2 z m/v + m^2/v they would be matrix products, and
    much quicker, but the three cancel, and narrow components lose all digits of float32.
    """
    mixture_shapes(z, logits, means, log_variances)
    scale = np.exp(-log_variances / 2)
    log_weights = logits - np.max(logits)
    log_weights -= np.log(np.add.reduce(np.exp(log_weights)))
    heights = log_weights - (np.add.reduce(log_variances, -1) + LOG_2_PI * z.shape[1]) / 2
    size = max(1, CACHED // means.size)
    blocks = [slice(k, k + size) for k in range(0, len(z), size)]
    parts = [np.add.reduce(np.square((z[rows, None] - means) * scale), -1) for rows in blocks]
    share = np.concatenate(parts) * -0.5 + heights  # (B, M)
    top = np.maximum.reduce(share, axis=-1, keepdims=True)
    share -= top
    np.exp(share, out=share)
    total = np.add.reduce(share, axis=-1, keepdims=True)
    share /= total

    def pull(g: Array) -> tuple[Array, Array, Array, Array]:
        weighed = share * g[:, None]  # (B, M)
        counts = np.add.reduce(weighed)  # (M,)
        to_z, to_means, squares = [], means * 0, means * 0
        for rows in blocks:
            away = (z[rows, None] - means) * scale
            pulled = away * weighed[rows, :, None]
            squares += np.add.reduce(pulled * away)
            pulled *= scale
            to_z.append(-np.add.reduce(pulled, axis=1))
            to_means += np.add.reduce(pulled)
        to_logits = counts - np.exp(log_weights) * np.add.reduce(counts)
        return np.concatenate(to_z), to_logits, to_means, (squares - counts[:, None]) / 2

    pulled = once(pull)
    value = (np.log(total) + top)[:, 0]
    return value, tuple(lambda g, k=k: pulled(g)[k] for k in range(4))


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
