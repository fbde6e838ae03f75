"""The naive route: gradients that pass through no sample, by the score function.

An expectation has a gradient for the parameters of the distribution that it is taken under,
whether or not a sample has one. With q = q(z), f = f(z), and an integral for the expectation,

    d E[f] = d int q f = int (dq) f + int q df = int q (d log q) f + int q df
           = E[f d log q] + E[df],

since dq = q d log q (Williams, 1992; Ranganath et al., 2014). d log q is the score. Its own
expectation is d int q = d 1 = 0, so a baseline b that does not depend on z may be taken off:

    E[(f - b) d log q] = E[f d log q],

which changes the variance alone. In one parameter, with the score s, it is that of f s less
2 b E[f s^2] - b^2 E[s^2], and so least for b = E[f s^2] / E[s^2].
"""

from __future__ import annotations

from tinyvae.autograd import Tensor, no_grad
from tinyvae.autograd.derivations import importance_bound
from tinyvae.backend import Array
from tinyvae.objectives.elbo import EncoderDecoder, Inferred, Terms, parts_of
from tinyvae.objectives.importance import shared_out
from tinyvae.objectives.samples import (
    Samples,
    only_gradient,
    refuse_beta,
    refuse_few,
    refuse_free_bits,
    refuse_no_score,
    refuse_own_weigh,
    take_samples,
    terms_of,
)


def score_function(value: Tensor, signal: Tensor, log_q: Tensor) -> Tensor:
    """A value with its own gradient, and with that of the score besides: signal times d log q.

    Parameters
    ----------
    value : Tensor
        What is told, and what has df.
    signal : Tensor
        f(z) - b of each sample, in any shape; held. The baseline b must not depend on the
        sample's own z.
    log_q : Tensor
        log q(z) of each, of the same shape: a function of the parameters of q, at a z that is
        held.

    Returns
    -------
    Tensor
        The value is that of ``value``: the score comes with a zero.

    Examples
    --------
    For f(z) = z^2 and z from N(theta, 1) the score is z - theta. At theta = 2 and the sample
    z = 3, without a baseline the estimate of 2 theta is 9:

    >>> import tinyvae as tv
    >>> theta, z = Tensor([2.0], requires_grad=True), Tensor([3.0])
    >>> surrogate = score_function(z * z, z * z, tv.gaussian_log_likelihood(z, theta, 0.0))
    >>> surrogate.sum().backward()
    >>> surrogate.item(), theta.grad
    (9.0, array([9.], dtype=float32))
    """
    return value + signal.detach() * only_gradient(log_q)


def leave_one_out(costs: Tensor) -> Tensor:
    """For each sample the mean of the image's others, a baseline that costs nothing.

    It depends on the others' codes, and not on its own, so that there is no bias (Kool et al.,
    2019). With S samples the estimate is, as it were, the covariance of the cost and the score.

    >>> leave_one_out(Tensor([[1.0, 2.0, 6.0]]))
    Tensor([[4.0, 3.5, 1.5]])
    """
    others: int = costs.shape[1] - 1
    with no_grad():
        return (costs.sum(axis=1, keepdims=True) - costs) / others


def leave_one_out_bound(log_weights: Tensor) -> Tensor:
    """For each sample the bound that the others would give, (B, S) to (B, S).

    In the place of its own weight stands the geometric mean of the others' (Mnih and Rezende,
    2016).

    >>> leave_one_out_bound(Tensor([[0.0, 1.0]]))
    Tensor([[1.0, 0.0]])
    """
    xp, samples = log_weights.backend.xp, log_weights.shape[1]
    with no_grad():
        means = leave_one_out(log_weights).array[:, :, None]
        is_own = xp.eye(samples, dtype=bool)
        table = xp.where(is_own, means, log_weights.array[:, None, :])  # (B, S, S)
        bound: Tensor = importance_bound(Tensor.wrap(table))
    return bound


def score_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
    baseline: float = 0.0,
) -> Terms:
    """The negative ELBO with the score function for the encoder, as it stands: noisy.

    The codes are held, and the encoder learns from the score alone. The decoder's gradient is
    that of `elbo_mc_terms`. See `elbo_terms` for the parameters; ``baseline`` is a constant, in
    nats.
    """
    samples = _held_samples("score", model, x, noise, free_bits)
    return terms_of(model, _scored(samples, beta, baseline), beta)


def score_loo_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """The same as `score` with the mean of the other samples as baseline (Kool et al., 2019)."""
    samples = _held_samples("score-loo", model, x, noise, free_bits)
    refuse_few("score-loo", samples.log_q.shape[1])
    return terms_of(model, _scored(samples, beta, leave_one_out(_cost(samples, beta))), beta)


def vimco_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """The bound of `iwae` with the score function for the encoder (Mnih and Rezende, 2016).

    The bound L is a function of all S samples, and of the parameters of q besides: its gradient,
    with the codes held, has the weights over their sum, v_s, and to it comes for each sample its
    score, times what the bound owes to this sample:

        sum of (L - L_s) d log q(z_s) + sum of v_s d log w_s,

    with L_s the bound that the others give, `leave_one_out_bound`.
    """
    refuse_beta("vimco", beta)
    samples = _held_samples("vimco", model, x, noise, free_bits)
    log_weights = samples.log_weights
    refuse_few("vimco", log_weights.shape[1])
    bound = importance_bound(log_weights)  # (B,)
    signal = leave_one_out_bound(log_weights) - bound.detach()[:, None]  # (B, S)
    loss = (signal * only_gradient(samples.log_q)).sum(axis=1) - bound
    return terms_of(model, shared_out(samples, loss), beta)


def _held_samples(
    name: str, model: EncoderDecoder, x: Tensor, noise: Array, free_bits: float
) -> Samples:
    refuse_own_weigh(name, model)
    refuse_free_bits(name, free_bits)
    refuse_no_score(name, parts_of(model).posterior)
    return take_samples(model, x, noise, through=Tensor.detach)


def _cost(samples: Samples, beta: float | Tensor) -> Tensor:
    """What each sample costs, held, (B, S)."""
    with no_grad():
        return samples.reconstruction + beta * (samples.log_q - samples.log_p)


def _scored(samples: Samples, beta: float | Tensor, baseline: float | Tensor) -> Inferred:
    """The averages over the samples, the score with the reconstruction."""
    signal = _cost(samples, beta) - baseline
    scored = score_function(samples.reconstruction, signal, samples.log_q)
    kl = samples.log_q.detach() - samples.log_p
    return Inferred(samples.parameters, samples.z, scored.mean(axis=1), kl.mean(axis=1))
