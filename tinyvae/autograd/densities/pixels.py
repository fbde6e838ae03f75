r"""Losses of pixels beside the Bernoulli's: continuous, of 256 grey levels, of any levels."""

from __future__ import annotations

from tinyvae.autograd.derivations import scale_for
from tinyvae.autograd.lift import ValueAndPullback, core_op
from tinyvae.autograd.ops import fit, logistic, namespace, smooth_hinge
from tinyvae.backend import Array, same_shape

HALF_BIN = 1 / 510
"""Half of the distance between two of 256 grey levels k/255."""


@core_op()
def continuous_bernoulli_cross_entropy(logits: Array, targets: Array) -> ValueAndPullback:
    r"""Cross-entropy of continuous Bernoulli pixels, from logits: -log p(targets), in nats.

    Parameters
    ----------
    logits : (..., D)
        l, any real number.
    targets : (..., D)
        t in [0, 1], grey pixels. Not checked here, since on a GPU that would wait for it.

    Returns
    -------
    (...,)
        Summed over the last axis. Minus the log of a density: it may be negative.

    Notes
    -----
    The Bernoulli's probabilities, taken as a density of t in [0, 1], do not integrate to 1; the
    continuous Bernoulli divides by their integral 1/C (Loaiza-Ganem and Cunningham, 2019):

        p = 1 / (1 + e^-l),    C = l (1 + e^l) / (e^l - 1),

        L = -log(C p^t (1 - p)^(1 - t))
          = log((e^l - 1) / l) - t l
          = (1/2 - t) l + log(sinch(l/2))                    where sinch(x) = (e^x - e^-x) / (2 x)
          = max(l, 0) - t l + log((1 - e^-|l|) / |l|).

    The third line is taken for |l| <= 4, with sinch by its series, in powers of x^2; the last
    further out, where nothing overflows. The gradient has the mean of the density:

        dL/dl = 1 / (1 - e^-l) - 1 / l - t,      dL/dt = -l.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> continuous_bernoulli_cross_entropy(Tensor([[0.0]]), Tensor([[0.3]]))  # the uniform one
    Tensor([0.0])
    """
    same_shape("continuous_bernoulli_cross_entropy", logits, targets)
    xp = namespace(logits)
    size = xp.abs(logits)
    is_near = size <= 4
    near, far = xp.minimum(size, 4), xp.maximum(size, 4)
    surplus, slope = _sinch_less_one(near / 2)
    hinge = xp.maximum(logits * (1 - targets), -logits * targets)
    tail = xp.exp(-far)
    loss = xp.where(
        is_near,
        (0.5 - targets) * logits + xp.log1p(surplus),
        hinge + xp.log1p(-tail) - xp.log(far),
    )

    def to_logits(g: Array) -> Array:
        sign = xp.sign(logits)
        within = 0.5 - targets + sign * (slope / 2 / (1 + surplus))
        beyond = (logits > 0) - targets + sign * (tail / (1 - tail) - 1 / far)
        return g[..., None] * xp.where(is_near, within, beyond)

    return xp.sum(loss, axis=-1), (to_logits, lambda g: -g[..., None] * logits)


def _sinch_less_one(x: Array) -> tuple[Array, Array]:
    """sinh(x)/x - 1 and its slope, by x^2/3! + x^4/5! + ..., for |x| <= 2."""
    square, surplus, slope = x * x, x * 0, x * 0
    for n in range(13, 0, -1):
        share = 1 / (2 * n * (2 * n + 1))
        slope = share * (2 * x * (1 + surplus) + square * slope)
        surplus = share * square * (1 + surplus)
    return surplus, slope


@core_op()
def discretised_logistic_cross_entropy(
    mean: Array, log_scale: Array, targets: Array
) -> ValueAndPullback:
    r"""Cross-entropy of pixels of 256 grey levels: -log P(targets | mean, log_scale), in nats.

    Parameters
    ----------
    mean : (..., D)
        m, in the units of the targets.
    log_scale : float, or an array that can be broadcast to (..., D)
        log s.
    targets : (..., D)
        t = k/255, k = 0, ..., 255. Not checked here, since on a GPU that would wait for it.

    Returns
    -------
    (...,)
        Summed over the last axis; never negative.

    Notes
    -----
    A grey level has the probability that the logistic distribution gives to its bin, half a
    level to either side (Salimans et al., 2017); the bins of black and white are open outwards.
    With

        h = 1/510,    s = exp(log_scale),    a = (t + h - mean) / s,    b = (t - h - mean) / s,
        w = a - b,    sigma(u) = 1 / (1 + e^-u),    f(u) = log(1 + e^u),

    an inner level has

        L = -log(sigma(a) - sigma(b))
          = -log(sigma(a) sigma(-b) (1 - e^-w))
          = f(-a) + f(b) - log(1 - e^-w),

    where no difference cancels; black has f(-a) alone, and white f(b). The slopes:

        dL/dmean = (sigma(-a) - sigma(b)) / s = -dL/dt,
        dL/dlog_scale = a sigma(-a) - b sigma(b) + w / (e^w - 1),

    of which black and white have the terms that belong to theirs.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> mean, log_scale = Tensor([[0.5], [0.5]]), Tensor([[-3.0], [-3.0]])
    >>> loss = discretised_logistic_cross_entropy(mean, log_scale, Tensor([[0.6], [1.0]]))
    >>> loss.numpy().round(4)
    array([ 4.8015, 10.0034], dtype=float32)
    """
    same_shape("discretised_logistic_cross_entropy", mean, targets)
    xp = namespace(mean)
    logs = scale_for(mean, log_scale)
    rate = xp.exp(-logs)
    r = targets - mean
    a, b, width = (r + HALF_BIN) * rate, (r - HALF_BIN) * rate, 2 * HALF_BIN * rate
    under = (targets < 1 - HALF_BIN).astype(mean.dtype)  # the bin has an upper edge
    over = (targets > HALF_BIN).astype(mean.dtype)  # and a lower one
    share = -xp.expm1(-width)
    loss = under * smooth_hinge(-a) + over * smooth_hinge(b) - under * over * xp.log(share)
    above, below = under * logistic(-a), over * logistic(b)

    def to_log_scale(g: Array) -> Array:
        of_width = under * over * (width * xp.exp(-width) / share)
        return fit(g[..., None] * (a * above - b * below + of_width), logs)

    return xp.sum(loss, axis=-1), (
        lambda g: g[..., None] * ((above - below) * rate),
        to_log_scale,
        lambda g: g[..., None] * ((below - above) * rate),
    )


@core_op()
def categorical_cross_entropy(logits: Array, levels: Array) -> ValueAndPullback:
    r"""Cross-entropy of pixels of V levels, from logits: -log p(levels | logits), in nats.

    Parameters
    ----------
    logits : (..., D, V)
    levels : (..., D)
        k = 0, ..., V - 1, as floats. Not checked here, since on a GPU that would wait for it.

    Returns
    -------
    (...,)
        Summed over the pixels; never negative.

    Notes
    -----
    With the softmax's probabilities p, of which p_k is that of the level k,

        L = -log p_k = log(sum over v of e^l_v) - l_k,

        dL/dl_v = p_v for v other than k, and p_k - 1 for the level itself.

    A level is rounded to a whole number, and so has the slope dL/dlevel = 0.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> round(categorical_cross_entropy(Tensor([[[0.0] * 4]]), Tensor([[3.0]])).item(), 6)  # log 4
    1.386294
    """
    same_shape("categorical_cross_entropy", logits[..., 0], levels)
    xp = namespace(logits)
    low = logits - xp.max(logits, axis=-1, keepdims=True)
    e = xp.exp(low)
    total = xp.sum(e, axis=-1, keepdims=True)
    of_level = xp.rint(levels)[..., None] == xp.arange(logits.shape[-1], dtype=logits.dtype)
    own = xp.sum(xp.where(of_level, low, low * 0), axis=-1)  # (..., D)
    return xp.sum(xp.log(total[..., 0]) - own, axis=-1), (
        lambda g: g[..., None, None] * (e / total - of_level),
        lambda _: xp.zeros_like(levels),
    )
