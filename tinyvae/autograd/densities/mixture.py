r"""A mixture of diagonal Gaussians, as of a prior: one for all z."""

from __future__ import annotations

from tinyvae.autograd.derivations import LOG_2_PI
from tinyvae.autograd.lift import ValueAndPullback, core_op
from tinyvae.autograd.ops import log_softmax, namespace
from tinyvae.backend import Array, mixture_shapes


@core_op()
def mixture_log_likelihood(
    z: Array, logits: Array, means: Array, log_variances: Array
) -> ValueAndPullback:
    r"""log p(z) under a mixture of M diagonal Gaussians, in nats.

    Parameters
    ----------
    z : (B, K)
    logits : (M,)
        Of the weights: pi = softmax(logits).
    means, log_variances : (M, K)
        Of the components.

    Returns
    -------
    (B,)

    Notes
    -----
    A component has the weight pi and in dimension k the variance v = exp(log_variance). With

        a = log(pi) + sum over k of -((z - mean)^2 / v + log v + log(2 pi))/2,

    the logarithm of its share of the density,

        L = log(sum over the components of e^a),    r = e^(a - L),

    where r, its responsibility for z, is at most 1, and they sum to 1. So

        dL/da = r,    dL/dlogit = r - pi,
        dL/dmean = r (z - mean) / v,    dL/dlog_variance = r ((z - mean)^2 / v - 1) / 2,
        dL/dz = -sum over the components of r (z - mean) / v.

    A batch's gradients for the mixture are summed over its z. The largest a is taken out of the
    sum first, so that nothing overflows. NumPy has a kernel that forms the squares by matrix
    products, without an array of (B, M, K).

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> two = Tensor([[-1.0], [1.0]])
    >>> round(mixture_log_likelihood(Tensor([[0.0]]), Tensor([0.0, 0.0]), two, two * 0).item(), 6)
    -1.418939
    """
    mixture_shapes(z, logits, means, log_variances)
    xp = namespace(z)
    precision = xp.exp(-log_variances)  # (M, K)
    r = z[:, None, :] - means  # (B, M, K)
    pull = r * precision
    square = pull * r
    weights, _ = log_softmax.bare(logits)  # type: ignore[attr-defined]
    a = weights - xp.sum(square + log_variances + LOG_2_PI, axis=-1) / 2  # (B, M)
    top = xp.max(a, axis=-1, keepdims=True)
    total = xp.log(xp.sum(xp.exp(a - top), axis=-1, keepdims=True)) + top  # (B, 1)
    share = xp.exp(a - total)  # (B, M)

    def to_z(g: Array) -> Array:
        return -g[:, None] * xp.sum(share[..., None] * pull, axis=1)

    def to_logits(g: Array) -> Array:
        return xp.sum(g[:, None] * (share - xp.exp(weights)), axis=0)

    def to_means(g: Array) -> Array:
        return xp.sum((g[:, None] * share)[..., None] * pull, axis=0)

    def to_log_variances(g: Array) -> Array:
        return xp.sum((g[:, None] * share)[..., None] * ((square - 1) / 2), axis=0)

    return total[:, 0], (to_z, to_logits, to_means, to_log_variances)
