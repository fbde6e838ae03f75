r"""The Laplace distribution of independent dimensions: density, sampler, divergence.

`log_scale` is log b, where the standard deviation is sqrt(2) b.
"""

from __future__ import annotations

import math

from tinyvae.autograd.densities.shared import folded, kl_of_moments
from tinyvae.autograd.derivations import scale_for
from tinyvae.autograd.lift import ValueAndPullback, core_op
from tinyvae.autograd.ops import fit, namespace
from tinyvae.backend import Array, same_shape

LOG_2 = math.log(2)
NEGENTROPY = (math.log(math.pi) - 1) / 2


@core_op()
def laplace_log_likelihood(x: Array, mean: Array, log_scale: Array) -> ValueAndPullback:
    r"""log Laplace(x; mean, exp(log_scale)), in nats.

    Parameters
    ----------
    x, mean : (..., D)
    log_scale : float, or an array that can be broadcast to (..., D)
        A number for a fixed scale; a tensor for a learned one, shared or not.

    Returns
    -------
    (...,)
        Summed over the last axis.

    Notes
    -----
    With the scale b and the distance r from the mean,

        b = exp(log_scale),    r = x - mean,

    each dimension adds

        L = log(e^-(|r| / b) / (2 b))
          = -|r| / b - log b - log(2),

        dL/dx = -sign(r) / b = -dL/dmean,    dL/dlog_scale = |r| / b - 1.

    So it is the absolute error with its scale named. At r = 0, a kink, dL/dx is given as 0.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> round(laplace_log_likelihood(Tensor([1.0]), Tensor([0.0]), 0.0).item(), 6)
    -1.693147
    """
    same_shape("laplace_log_likelihood", x, mean)
    xp = namespace(x)
    logs = scale_for(x, log_scale)
    r, rate = x - mean, xp.exp(-logs)
    pull, distance = xp.sign(r) * rate, xp.abs(r) * rate
    return xp.sum(-(distance + logs + LOG_2), axis=-1), (
        lambda g: g[..., None] * -pull,
        lambda g: g[..., None] * pull,
        lambda g: fit(g[..., None] * (distance - 1), logs),
    )


@core_op()
def laplace_sample(mean: Array, log_scale: Array, uniform: Array) -> ValueAndPullback:
    r"""The reparameterised sample of the Laplace distribution, from uniform noise.

    Parameters
    ----------
    mean, log_scale, uniform : (..., K)
        With noise from [0, 1), z is from Laplace(mean, exp(log_scale)). A noise of 0 is taken
        for a quarter of the dtype's epsilon, so that z is finite.

    Returns
    -------
    (..., K)

    Notes
    -----
    The sample is the quantile at u, where the distribution function is u. With

        b = exp(log_scale),    u = uniform,    t = min(u, 1 - u),

    the tail beyond z has the probability t = e^(-|z - mean| / b) / 2, so

        z = mean - b sign(u - 1/2) log(2 t),

        dz/dmean = 1,    dz/dlog_scale = z - mean,    dz/duniform = b / t.

    The last is 1 over the density at z.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> laplace_sample(Tensor([1.0, 1.0]), Tensor([0.0, 0.0]), Tensor([0.5, 0.0])).numpy().round(3)
    array([  1.   , -15.636], dtype=float32)
    """
    same_shape("laplace_sample", mean, log_scale, uniform)
    xp = namespace(mean)
    b = xp.exp(log_scale)
    sign, t = folded(uniform)
    deviation = -b * sign * xp.log(2 * t)
    return mean + deviation, (
        lambda g: g,
        lambda g: g * deviation,
        lambda g: g * b / t,
    )


@core_op()
def kl_laplace_standard_normal(mean: Array, log_scale: Array) -> ValueAndPullback:
    r"""KL(Laplace(mean, exp(log_scale)) || N(0, 1)), in nats.

    Parameters
    ----------
    mean, log_scale : (..., K)
        Of the posterior q.

    Returns
    -------
    (...,)
        Summed over the last axis; at least (log pi - 1)/2 = 0.0724 for each dimension.

    Notes
    -----
    In one dimension, with

        m = mean,    b = exp(log_scale),    v = 2 b^2,

    where v is the variance, the divergence is

        KL = E_q[log q(z) - log p(z)]
           = E_q[-|z - m| / b - log(2 b) + z^2 / 2 + log(2 pi)/2]
           = -1 - log(2 b) + (m^2 + v)/2 + log(2 pi)/2       since E_q[|z - m|] = b
           = (m^2 + excess(log v))/2 + (log pi - 1)/2,       excess(x) = e^x - 1 - x >= 0,

    the divergence of the Gaussian of the same mean and variance, and its larger entropy; and

        dKL/dm = m,    dKL/dlog_scale = v - 1.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> round(kl_laplace_standard_normal(Tensor([0.0]), Tensor([-0.346574])).item(), 6)
    0.072365
    """
    same_shape("kl_laplace_standard_normal", mean, log_scale)
    return kl_of_moments(mean, log_scale, 2.0, NEGENTROPY)
