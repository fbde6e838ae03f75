"""The parts of a VAE that may be exchanged: likelihoods, posteriors, priors, and their KLs."""

from tinyvae.distributions.likelihoods import Bernoulli, Likelihood
from tinyvae.distributions.posteriors import Gaussian, Posterior
from tinyvae.distributions.priors import Fitted, Mixture, Prior, StandardNormal, Vamp

__all__ = [
    "Bernoulli",
    "Fitted",
    "Gaussian",
    "Likelihood",
    "Mixture",
    "Posterior",
    "Prior",
    "StandardNormal",
    "Vamp",
]
