"""The divergence of a posterior from a prior: in closed form where there is one."""

from __future__ import annotations

from tinyvae.autograd import Tensor
from tinyvae.distributions.posteriors import Parameters, Posterior
from tinyvae.distributions.priors import Encode, Prior


def is_analytic(q: Posterior, p: Prior) -> bool:
    """Whether KL(q || p) has a closed form; else it is estimated from samples.

    >>> from tinyvae import Noise
    >>> from tinyvae.distributions import Gaussian, StandardNormal
    >>> is_analytic(Gaussian(2, Noise(0)), StandardNormal(2, 4, Noise(0)))
    True
    """
    return p.is_standard and q.kl is not None


def divergence(
    q: Posterior, p: Prior, parameters: Parameters, z: Tensor, log_q: Tensor | None, encode: Encode
) -> Tensor:
    """KL(q(z | x) || p(z)) in nats, (B,): exact, or else estimated.

    The estimate, from one sample ``z`` of each, is log q(z | x) - log p(z), whose expectation
    the divergence is.
    """
    if p.is_standard and q.kl is not None:
        return q.kl(parameters)
    if log_q is None:
        log_q = q.log_prob(parameters, z)
    return log_q - p.log_prob(z, encode)
