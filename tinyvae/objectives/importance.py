"""Estimators with reparameterised samples: K-sample ELBO, IWAE, and those that drop the score.

The total gradient of log w = log p(x, z) - log q(z | x), where z is made by the encoder from
noise, has two parts for the encoder's parameters: the path, through z, and the score, the
gradient of log q at a z that is held. The score's expectation is 0 and its variance is not, even
where q is the true posterior; so an estimator may do without it, if it puts right what its
weights had to do with it.
"""

from __future__ import annotations

from typing import Any

from tinyvae.autograd import Tensor, no_grad, op, ops
from tinyvae.autograd.derivations import importance_bound
from tinyvae.backend import Array
from tinyvae.objectives.elbo import EncoderDecoder, Inferred, Terms, parts_of
from tinyvae.objectives.samples import (
    Samples,
    refuse_beta,
    refuse_free_bits,
    refuse_own_path,
    refuse_own_weigh,
    take_samples,
    terms_of,
)


def elbo_mc_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """The negative ELBO with its KL, too, estimated from the samples: log q(z | x) - log p(z).

    It needs no closed form, and so serves any posterior and prior. See `elbo_terms` for the
    parameters, of which ``noise`` may be (B, S, K) for S samples.
    """
    refuse_own_weigh("elbo-mc", model)
    refuse_free_bits("elbo-mc", free_bits)
    return terms_of(model, take_samples(model, x, noise).elbo(), beta)


def stl_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """The negative ELBO from samples without the score: sticking the landing (Roeder et al., 2017).

    Its value is that of `elbo_mc_terms`; the parameters of q are held in log q(z | x), so that its
    gradient has the path alone. Where q is the true posterior, log w is log p(x) at every z:
    nothing is left along the path, and the estimate is exactly 0, where `elbo_mc_terms` has the
    noise of the score.
    """
    refuse_own_weigh("stl", model)
    refuse_free_bits("stl", free_bits)
    refuse_own_path("stl", parts_of(model).posterior)
    return terms_of(model, take_samples(model, x, noise, hold_q=True).elbo(), beta)


def iwae_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """The bound of the importance weighted autoencoder, negated (Burda et al., 2015).

    Minus the log of the mean of S weights; its gradient weighs that of each sample by its weight
    over the sum of all (see `importance_bound`). The parts that are told sum to it: the
    reconstruction is the weights' average of -log p(x | z), and the KL is the rest, which
    estimates the divergence from the prior of the posterior that the weighted samples stand for.
    """
    return _bound("iwae", model, x, noise, beta, free_bits)


def iwae_stl_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """The bound of `iwae` without the score (Roeder et al., 2017): less noise, and a bias.

    Among weights the score's expectation is not 0 (Tucker et al., 2018); `dreg_terms` has none.
    """
    return _bound("iwae-stl", model, x, noise, beta, free_bits, hold_q=True)


def dreg_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """The bound of `iwae` with its gradient reparameterised twice (Tucker et al., 2018).

    With v_s the weight of the sample s over the sum of all, the gradient of the bound is

        sum of v_s (path_s - score_s).

    The expectation of v_s score_s, by another reparameterisation, is that of the path of v_s,
    which is v_s (1 - v_s) path_s: together

        sum of v_s^2 path_s.

    So log q has its parameters held, and the gradient that comes back to each code is
    multiplied by the code's v_s once more. The decoder's is that of `iwae_terms`. With one sample
    it is `stl_terms`; with more, its noise shrinks faster than the gradient does, where that of
    `iwae_terms` shrinks more slowly (Rainforth et al., 2018).
    """
    again = Again()
    return _bound("dreg", model, x, noise, beta, free_bits, hold_q=True, again=again)


class Again:
    """The identity, whose pullback multiplies by weights that are known only after the value is.

    Attributes
    ----------
    weights : (B, S) array
        To be set before the backward pass.
    """

    weights: Array

    def __call__(self, z: Tensor) -> Tensor:
        """The codes (B S, K) as they are."""
        return op(self.times_weights)(z)

    def times_weights(self, z: Array) -> tuple[Array, Any]:
        """y = z; dL/dz = g v, by purpose not the derivative."""
        return z.copy(), lambda g: g * self.weights.reshape(-1, 1)


def _bound(
    name: str,
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor,
    free_bits: float,
    hold_q: bool = False,
    again: Again | None = None,
) -> Terms:
    refuse_own_weigh(name, model)
    refuse_beta(name, beta)
    refuse_free_bits(name, free_bits)
    if hold_q:
        refuse_own_path(name, parts_of(model).posterior)
    samples = take_samples(model, x, noise, hold_q, again)
    log_weights = samples.log_weights
    if again:
        again.weights = normalised(log_weights).array
    return terms_of(model, shared_out(samples, -importance_bound(log_weights)), beta)


def normalised(log_weights: Tensor) -> Tensor:
    """Weights (B, S) over their sums, held."""
    with no_grad():
        return ops.softmax(log_weights)


def shared_out(samples: Samples, loss: Tensor) -> Inferred:
    """A loss (B,) of several samples as a reconstruction, which is held, and the rest."""
    with no_grad():
        share = normalised(samples.log_weights)
        reconstruction = (share * samples.reconstruction).sum(axis=1)
    return Inferred(samples.parameters, samples.z, reconstruction, loss - reconstruction)
