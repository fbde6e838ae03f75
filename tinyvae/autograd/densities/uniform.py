r"""The uniform distribution of independent dimensions: density, sampler, divergence.

`log_width` is log w: a dimension is in [mean - w/2, mean + w/2].
"""

from __future__ import annotations

import math

from tinyvae.autograd.densities.shared import kl_of_moments
from tinyvae.autograd.lift import ValueAndPullback, core_op
from tinyvae.autograd.ops import namespace
from tinyvae.backend import Array, same_shape

NEGENTROPY = (math.log(math.pi / 6) + 1) / 2


@core_op()
def uniform_log_likelihood(x: Array, mean: Array, log_width: Array) -> ValueAndPullback:
    r"""log Uniform(x; mean, exp(log_width)), in nats: -infinity outside.

    Parameters
    ----------
    x, mean, log_width : (..., D)
        An x that the rounding of a sample has put beyond an edge counts as on it.

    Returns
    -------
    (...,)
        Summed over the last axis.

    Notes
    -----
    With the width

        w = exp(log_width),

    each dimension with |x - mean| at most w/2 adds

        L = log(1 / w) = -log w,

        dL/dx = 0 = dL/dmean,    dL/dlog_width = -1.

    Outside L is -infinity, and the slopes are given as within: none leads back there.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> x, zeros = Tensor([[0.4], [0.6]]), Tensor([[0.0], [0.0]])
    >>> uniform_log_likelihood(x, zeros, zeros).numpy() + 0.0
    array([  0., -inf], dtype=float32)
    """
    same_shape("uniform_log_likelihood", x, mean, log_width)
    xp = namespace(x)
    w = xp.exp(log_width)
    rounding = float(xp.finfo(x.dtype).eps) * xp.abs(x)
    inside = xp.abs(x - mean) <= w / 2 + rounding
    return xp.sum(xp.where(inside, -log_width, log_width - math.inf), axis=-1), (
        lambda _: xp.zeros_like(x),
        lambda _: xp.zeros_like(x),
        lambda g: xp.broadcast_to(-g[..., None], x.shape),
    )


@core_op()
def uniform_sample(mean: Array, log_width: Array, uniform: Array) -> ValueAndPullback:
    r"""The reparameterised sample of the uniform distribution, z = mean + w (uniform - 1/2).

    Parameters
    ----------
    mean, log_width, uniform : (..., K)
        With noise from [0, 1), z is from [mean - w/2, mean + w/2), where w = exp(log_width).

    Returns
    -------
    (..., K)

    Notes
    -----
    With the width

        w = exp(log_width),

    the sample is the quantile at the noise,

        z = mean + w (uniform - 1/2),

        dz/dmean = 1,    dz/dlog_width = w (uniform - 1/2),    dz/duniform = w.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> uniform_sample(Tensor([1.0, 1.0]), Tensor([0.0, 0.0]), Tensor([0.75, 0.0]))
    Tensor([1.25, 0.5])
    """
    same_shape("uniform_sample", mean, log_width, uniform)
    w = namespace(mean).exp(log_width)
    deviation = w * (uniform - 0.5)
    return mean + deviation, (
        lambda g: g,
        lambda g: g * deviation,
        lambda g: g * w,
    )


@core_op()
def kl_uniform_standard_normal(mean: Array, log_width: Array) -> ValueAndPullback:
    r"""KL(Uniform(mean, exp(log_width)) || N(0, 1)), in nats.

    Parameters
    ----------
    mean, log_width : (..., K)
        Of the posterior q.

    Returns
    -------
    (...,)
        Summed over the last axis; at least (log(pi / 6) + 1)/2 = 0.1765 for each dimension.

    Notes
    -----
    In one dimension, with

        m = mean,    w = exp(log_width),    v = w^2 / 12,

    where v is the variance, the divergence is

        KL = E_q[log q(z) - log p(z)]
           = E_q[-log w + z^2 / 2 + log(2 pi)/2]
           = -log w + (m^2 + v)/2 + log(2 pi)/2              since E_q[z^2] = m^2 + v
           = (m^2 + excess(log v))/2 + (log(pi / 6) + 1)/2,

        excess(x) = e^x - 1 - x >= 0,

    the divergence of the Gaussian of the same mean and variance, and its larger entropy; and

        dKL/dm = m,    dKL/dlog_width = v - 1.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> round(kl_uniform_standard_normal(Tensor([0.0]), Tensor([1.242453])).item(), 6)
    0.176485
    """
    same_shape("kl_uniform_standard_normal", mean, log_width)
    return kl_of_moments(mean, log_width, 1 / 12, NEGENTROPY)
