"""Mixtures of M diagonal Gaussians, one for all codes."""

from __future__ import annotations

from typing import Any

from tinyvae.autograd import Tensor, ops
from tinyvae.autograd.derivations import LOG_2_PI
from tinyvae.backend import Array
from tinyvae.noise import Noise


def mixture_log_likelihood(
    z: Tensor, logits: Tensor, means: Tensor, log_variances: Tensor
) -> Tensor:
    """Until the op is there."""
    precision = ops.exp(-log_variances)  # (M, K)
    squares = (z * z) @ precision.T - 2 * z @ (means * precision).T
    rest = (means * means * precision + log_variances + LOG_2_PI).sum(axis=1)
    return ops.logsumexp(ops.log_softmax(logits) - (squares + rest) / 2)


def sample_mixture(
    noise: Noise, count: int, logits: Array, means: Array, log_variances: Array
) -> Array:
    """So many codes of a mixture with these weights, as their logits, on the host.

    Parameters
    ----------
    logits : (M,) array
    means, log_variances : (M, K) array
    """
    xp, dtype = noise.backend.xp, str(means.dtype)
    ends = xp.cumsum(xp.exp(logits - logits.max()))
    u = noise.uniform((count,), dtype) * ends[-1]
    chosen = xp.sum(u[:, None] >= ends[:-1], axis=1)
    sigma = xp.exp(log_variances[chosen] / 2)
    drawn: Any = means[chosen] + sigma * noise.normal((count, means.shape[1]), dtype)
    return drawn
