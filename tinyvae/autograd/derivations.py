"""The derivations that the project is about: losses, the sample and the divergences of a VAE.

Each sums over the last axis, so that rows (B, D) give one value per example, (B,), in nats;
``g`` is the upstream gradient, ``g_`` the same with the last axis back. `log_variance` is
log sigma^2, sigma the standard deviation: sigma = exp(log_variance / 2).
"""

from __future__ import annotations

import math

from tinyvae.autograd.lift import ValueAndPullback, core_op
from tinyvae.autograd.ops import fit, logistic, namespace
from tinyvae.backend import Array, same_shape
from tinyvae.errors import ShapeError

LOG_2_PI = math.log(2 * math.pi)


@core_op()
def bernoulli_cross_entropy(logits: Array, targets: Array) -> ValueAndPullback:
    r"""Cross-entropy of Bernoulli pixels, from logits: -log p(targets | logits), in nats.

    Parameters
    ----------
    logits : (..., D)
        l = log(p / (1 - p)), any real number.
    targets : (..., D)
        t in [0, 1]: black or white pixels, or grey ones as probabilities. Not checked here,
        since on a GPU that would wait for the device; `negative_elbo` and `fit` do.

    Returns
    -------
    (...,)
        Summed over the last axis.

    Notes
    -----
    White has the probability p, and black the rest:

        p = sigma(l) = 1 / (1 + e^-l),    1 - p = sigma(-l).

    So

        L = -t log p - (1 - t) log(1 - p)
          = -t log sigma(l) - (1 - t) log sigma(-l)
          = -t (l - s(l)) + (1 - t) s(l)                     where s(l) = log(1 + e^l)
          = s(l) - t l
          = max(l, 0) - t l + log(1 + e^-|l|).

    The first two terms are (1 - t) l for l > 0 and -t l for l < 0: the larger of the two.
    So no term is negative and nothing cancels or overflows. The gradient:

        dL/dl = sigma(l) - t = (1 - t) sigma(l) - t sigma(-l),      dL/dt = -l.

    For grey targets L is not zero at its minimum l = log(t / (1 - t)): it is the entropy of t.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> logits = Tensor([[0.0, 2.0]], requires_grad=True)
    >>> loss = bernoulli_cross_entropy(logits, Tensor([[1.0, 1.0]]))
    >>> round(loss.item(), 6)  # log 2 + log(1 + e^-2)
    0.820075
    """
    same_shape("bernoulli_cross_entropy", logits, targets)
    xp = namespace(logits)
    hinge = xp.maximum(logits * (1 - targets), -logits * targets)
    loss = xp.sum(hinge + xp.log1p(xp.exp(-xp.abs(logits))), axis=-1)

    def to_logits(g: Array) -> Array:
        return g[..., None] * ((1 - targets) * logistic(logits) - targets * logistic(-logits))

    return loss, (to_logits, lambda g: -g[..., None] * logits)


@core_op()
def gaussian_sample(mean: Array, log_variance: Array, noise: Array) -> ValueAndPullback:
    r"""The reparameterised sample z = mean + exp(log_variance / 2) noise.

    Parameters
    ----------
    mean, log_variance, noise : (..., K)
        With noise from the standard normal, z is from N(mean, exp(log_variance)).

    Returns
    -------
    (..., K)

    Notes
    -----
    The draw is in the noise, which depends on no parameter, so that z is a differentiable
    function of the parameters (Kingma and Welling, 2014; Rezende et al., 2014):

        z = mean + exp(log_variance / 2) noise,

        dz/dmean = 1,    dz/dlog_variance = exp(log_variance / 2) noise / 2,
        dz/dnoise = exp(log_variance / 2).

    It is sigma that scales the noise; with the variance in its place the sampler is wrong,
    and no gradient check can see it: only a test of the moments of z does.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> gaussian_sample(Tensor([1.0]), Tensor([0.0]), Tensor([-0.5]))
    Tensor([0.5])
    """
    same_shape("gaussian_sample", mean, log_variance, noise)
    sigma = namespace(mean).exp(log_variance / 2)
    deviation = sigma * noise
    return mean + deviation, (
        lambda g: g,
        lambda g: g * deviation / 2,
        lambda g: g * sigma,
    )


@core_op()
def kl_standard_normal(mean: Array, log_variance: Array) -> ValueAndPullback:
    r"""KL(N(mean, exp(log_variance)) || N(0, 1)) of diagonal Gaussians, in nats.

    Parameters
    ----------
    mean, log_variance : (..., K)
        Of the posterior q.

    Returns
    -------
    (...,)
        Summed over the last axis; never negative, and 0 only for q = N(0, 1).

    Notes
    -----
    In one dimension, with

        m = mean,    v = exp(log_variance),

    the divergence is

        KL = E_q[log q(z) - log p(z)]
           = E_q[-log(v)/2 - (z - m)^2 / (2 v) + z^2 / 2]
           = -log(v)/2 - 1/2 + (m^2 + v)/2                   since E_q[z^2] = m^2 + v
           = (m^2 + excess(log v)) / 2,                      excess(x) = e^x - 1 - x >= 0,

    (Kingma and Welling, 2014, appendix B) and

        dKL/dm = m,    dKL/dlog_variance = (v - 1) / 2.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> kl_standard_normal(Tensor([[0.0], [1.0]]), Tensor([[0.0], [0.0]]))
    Tensor([0.0, 0.5])
    """
    same_shape("kl_standard_normal", mean, log_variance)
    xp = namespace(mean)
    surplus = xp.expm1(log_variance)  # v - 1
    spread = excess(log_variance, surplus)
    return xp.sum((mean * mean + spread) / 2, axis=-1), (
        lambda g: g[..., None] * mean,
        lambda g: g[..., None] * (surplus / 2),
    )


@core_op()
def kl_gaussian(
    mean: Array, log_variance: Array, other_mean: Array, other_log_variance: Array
) -> ValueAndPullback:
    r"""KL(N(mean, exp(log_variance)) || N(other_mean, exp(other_log_variance))), in nats.

    Parameters
    ----------
    mean, log_variance : (..., K)
        Of the first Gaussian, q, diagonal.
    other_mean, other_log_variance : (..., K)
        Of the second, p, diagonal.

    Returns
    -------
    (...,)
        Summed over the last axis; never negative.

    Notes
    -----
    In one dimension, with

        m = mean,    v = exp(log_variance),    m_p = other_mean,    w = exp(other_log_variance),
        r = m - m_p,

    the divergence is

        KL = E_q[log q(z) - log p(z)]
           = E_q[(log w - log v)/2 - (z - m)^2 / (2 v) + (z - m_p)^2 / (2 w)]
           = (log w - log v)/2 - 1/2 + (r^2 + v) / (2 w)     since E_q[(z - m_p)^2] = r^2 + v
           = (r^2 / w + excess(log v - log w)) / 2,          excess(x) = e^x - 1 - x >= 0,

    and

        dKL/dm = r / w = -dKL/dm_p,    dKL/dlog v = (v/w - 1) / 2,
        dKL/dlog w = (1 - v/w - r^2/w) / 2.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> zero = Tensor([0.0])
    >>> kl_gaussian(Tensor([3.0]), zero, Tensor([1.0]), zero)
    Tensor(2.0)
    """
    same_shape("kl_gaussian", mean, log_variance, other_mean, other_log_variance)
    xp = namespace(mean)
    r, difference = mean - other_mean, log_variance - other_log_variance
    precision = xp.exp(-other_log_variance)
    # v/w - 1: for large v/w by a product, since e^x magnifies the rounding of the difference
    ratio = xp.exp(log_variance) * precision
    surplus = xp.where(difference < 2, xp.expm1(difference), ratio - 1)
    pull = r * precision
    square = pull * r  # in this order, since r * r can underflow where r^2/w does not
    spread = excess(difference, surplus)
    return xp.sum((square + spread) / 2, axis=-1), (
        lambda g: g[..., None] * pull,
        lambda g: g[..., None] * (surplus / 2),
        lambda g: g[..., None] * -pull,
        lambda g: g[..., None] * (-(surplus + square) / 2),
    )


@core_op()
def gaussian_log_likelihood(x: Array, mean: Array, log_variance: Array) -> ValueAndPullback:
    r"""log N(x; mean, exp(log_variance)) of a diagonal Gaussian, in nats.

    Parameters
    ----------
    x, mean : (..., D)
    log_variance : float, or an array that can be broadcast to (..., D)
        A number for a fixed variance; a tensor for a learned one, for example of shape
        (..., D), one for each pixel, or (1,), one for all.

    Returns
    -------
    (...,)
        Summed over the last axis.

    Notes
    -----
    With the variance v and the distance r from the mean,

        v = exp(log_variance),    r = x - mean,

    each dimension adds

        L = log(e^(-r^2 / (2 v)) / sqrt(2 pi v))
          = -(r^2 / v + log v + log(2 pi)) / 2,

        dL/dx = -r / v = -dL/dmean,    dL/dlog_variance = (r^2 / v - 1) / 2.

    With v fixed at 1 this is -||r||^2 / 2 up to a constant: the squared error comes with
    its factor 1/2, and with 1 / (2 v) for another variance.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> round(gaussian_log_likelihood(Tensor([1.0]), Tensor([0.0]), 0.0).item(), 6)
    -1.418939
    """
    same_shape("gaussian_log_likelihood", x, mean)
    xp = namespace(x)
    logs = scale_for(x, log_variance)
    r, precision = x - mean, xp.exp(-logs)
    pull = r * precision
    square = pull * r  # in this order, since r * r can overflow where r^2 / v does not
    return xp.sum(-(square + logs + LOG_2_PI) / 2, axis=-1), (
        lambda g: g[..., None] * -pull,
        lambda g: g[..., None] * pull,
        lambda g: fit(g[..., None] * ((square - 1) / 2), logs),
    )


@core_op()
def importance_bound(log_weights: Array) -> ValueAndPullback:
    r"""The bound of many samples on log p(x): the log of the mean importance weight, in nats.

    Parameters
    ----------
    log_weights : (..., S)
        log p(x, z) - log q(z | x) of S samples z from q(z | x).

    Returns
    -------
    (...,)
        Over the last axis.

    Notes
    -----
    The mean weight has the expectation p(x), whatever S is, and a logarithm is concave: so the
    expectation of its logarithm is at most log p(x), and comes closer with more samples (Burda
    et al., 2015). With S = 1 it is the ELBO. For the log weights x of N samples

        y = log(sum(e^x) / N),    dL/dx = g e^x / sum(e^x).

    The slope is the weight over the sum of all: where one outweighs the others, it alone has a
    gradient. As for `logsumexp`, the largest is taken out first, so that nothing overflows.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> log_weights = Tensor([[0.0, math.log(3)]], requires_grad=True)
    >>> bound = importance_bound(log_weights)
    >>> round(bound.item(), 6)  # log 2
    0.693147
    >>> bound.sum().backward()
    >>> log_weights.grad
    array([[0.25, 0.75]], dtype=float32)
    """
    xp = namespace(log_weights)
    top = xp.max(log_weights, axis=-1, keepdims=True)
    weights = xp.exp(log_weights - top)
    total = xp.sum(weights, axis=-1, keepdims=True)
    bound = xp.log(total / log_weights.shape[-1]) + top
    return bound[..., 0], lambda g: g[..., None] * (weights / total)


def scale_for(x: Array, log_scale: Array) -> Array:
    """The log of a scale or of a variance as an array: one for each element of x, or shared."""
    is_array = hasattr(log_scale, "dtype")
    logs = log_scale if is_array else namespace(x).full((), log_scale, x.dtype)
    if (x + logs).shape != x.shape:
        raise ShapeError(f"a log scale of shape {logs.shape} does not fit into x of {x.shape}")
    return logs


def excess(x: Array, surplus: Array) -> Array:
    """e^x - 1 - x from e^x - 1; near 0 by its series, x^2/2 (1 + x/3 (1 + x/4 (...)))."""
    xp = namespace(x)
    near = xp.clip(x, -1, 2)
    series = near * 0 + 1
    for n in range(16 if x.dtype == "float32" else 26, 2, -1):
        series *= near / n
        series += 1
    return xp.where(near == x, near * near / 2 * series, surplus - x)
