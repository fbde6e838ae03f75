"""The divergence of a posterior from a prior: in closed form where there is one."""

from __future__ import annotations

from tinyvae.autograd import Tensor
from tinyvae.distributions.posteriors import POSTERIORS, Parameters, Posterior, posterior
from tinyvae.distributions.priors import PRIORS, Encode, Prior, prior
from tinyvae.errors import OptionError
from tinyvae.noise import Noise


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


def table() -> dict[tuple[str, str], str]:
    """How the KL of each posterior from each prior is found: a word for each pair of names.

    It is "analytic", in closed form; or "Monte Carlo", from the samples; or "refused". A fitted
    prior is the standard normal until it is fitted.

    >>> found = table()
    >>> [found["gaussian", p] for p in ("normal", "mixture")], found["planar", "vamp"]
    (['analytic', 'Monte Carlo'], 'refused')
    """
    noise = Noise(0)
    qs = {name: posterior(name, 1, noise) for name in POSTERIORS}
    ps = {name: prior(name, 1, 1, noise) for name in PRIORS}
    return {(q, p): _way(qs[q], ps[p]) for q in qs for p in ps}


def _way(q: Posterior, p: Prior) -> str:
    try:
        p.check(q)
    except OptionError:
        return "refused"
    return "analytic" if is_analytic(q, p) else "Monte Carlo"
