r"""The logistic distribution of independent dimensions: density, sampler, divergence.

`log_scale` is log s, where the standard deviation is pi s / sqrt(3).
"""

from __future__ import annotations

import math

from tinyvae.autograd.densities.shared import folded, kl_of_moments
from tinyvae.autograd.derivations import scale_for
from tinyvae.autograd.lift import ValueAndPullback, core_op
from tinyvae.autograd.ops import fit, namespace
from tinyvae.backend import Array, same_shape

UNIT_VARIANCE = math.pi**2 / 3
NEGENTROPY = 0.01436227472001807  # (log(2 pi^3 / 3) - 3) / 2, whose terms cancel


@core_op()
def logistic_log_likelihood(x: Array, mean: Array, log_scale: Array) -> ValueAndPullback:
    r"""log Logistic(x; mean, exp(log_scale)), in nats.

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
    With the scale s and the distance u from the mean in its units,

        s = exp(log_scale),    u = (x - mean) / s,

    each dimension adds, by the slope of the distribution function 1 / (1 + e^-u),

        L = log(e^-u / (1 + e^-u)^2 / s)
          = -|u| - 2 log(1 + e^-|u|) - log s,

        dL/dx = -tanh(u/2) / s = -dL/dmean,    dL/dlog_scale = u tanh(u/2) - 1.

    It is even in u, so that no exponential needs to overflow.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> round(logistic_log_likelihood(Tensor([0.0]), Tensor([0.0]), 0.0).item(), 6)  # -log 4
    -1.386294
    """
    same_shape("logistic_log_likelihood", x, mean)
    xp = namespace(x)
    logs = scale_for(x, log_scale)
    rate = xp.exp(-logs)
    u = (x - mean) * rate
    slope, distance = xp.tanh(u / 2), xp.abs(u)
    return xp.sum(-(distance + 2 * xp.log1p(xp.exp(-distance)) + logs), axis=-1), (
        lambda g: g[..., None] * (slope * -rate),
        lambda g: g[..., None] * (slope * rate),
        lambda g: fit(g[..., None] * (u * slope - 1), logs),
    )


@core_op()
def logistic_sample(mean: Array, log_scale: Array, uniform: Array) -> ValueAndPullback:
    r"""The reparameterised sample of the logistic distribution, from uniform noise.

    Parameters
    ----------
    mean, log_scale, uniform : (..., K)
        With noise from [0, 1), z is from Logistic(mean, exp(log_scale)). A noise of 0 is taken
        for a quarter of the dtype's epsilon, so that z is finite.

    Returns
    -------
    (..., K)

    Notes
    -----
    The sample is the quantile at u, where the distribution function is u. With

        s = exp(log_scale),    u = uniform,    t = min(u, 1 - u),

    it is

        z = mean + s log(u / (1 - u))
          = mean + s sign(u - 1/2) log(1 + (1 - 2 t) / t),

        dz/dmean = 1,    dz/dlog_scale = z - mean,    dz/duniform = s / (t (1 - t)).

    The second line loses no digits near u = 1/2; the last slope is 1 over the density at z.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> logistic_sample(Tensor([1.0, 1.0]), Tensor([0.0, 0.0]), Tensor([0.5, 0.0])).numpy().round(3)
    array([  1.   , -16.329], dtype=float32)
    """
    same_shape("logistic_sample", mean, log_scale, uniform)
    xp = namespace(mean)
    s = xp.exp(log_scale)
    sign, t = folded(uniform)
    deviation = s * sign * xp.log1p((1 - 2 * t) / t)
    return mean + deviation, (
        lambda g: g,
        lambda g: g * deviation,
        lambda g: g * s / (t * (1 - t)),
    )


@core_op()
def kl_logistic_standard_normal(mean: Array, log_scale: Array) -> ValueAndPullback:
    r"""KL(Logistic(mean, exp(log_scale)) || N(0, 1)), in nats.

    Parameters
    ----------
    mean, log_scale : (..., K)
        Of the posterior q.

    Returns
    -------
    (...,)
        Summed over the last axis; at least (log(2 pi^3 / 3) - 3)/2 = 0.0144 for each dimension.

    Notes
    -----
    In one dimension, with

        m = mean,    s = exp(log_scale),    v = pi^2 s^2 / 3,

    where v is the variance, the divergence is

        KL = E_q[log q(z) - log p(z)]
           = -log s - 2 + (m^2 + v)/2 + log(2 pi)/2          since E_q[-log q(z)] = log s + 2
           = (m^2 + excess(log v))/2 + (log(2 pi^3 / 3) - 3)/2,

        excess(x) = e^x - 1 - x >= 0,

    the divergence of the Gaussian of the same mean and variance, and its larger entropy; and

        dKL/dm = m,    dKL/dlog_scale = v - 1.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> round(kl_logistic_standard_normal(Tensor([0.0]), Tensor([-0.595409])).item(), 6)
    0.014362
    """
    same_shape("kl_logistic_standard_normal", mean, log_scale)
    return kl_of_moments(mean, log_scale, UNIT_VARIANCE, NEGENTROPY)
