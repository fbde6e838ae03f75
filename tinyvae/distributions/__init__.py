"""The parts of a VAE that may be exchanged: likelihoods, posteriors, priors, and their KLs."""

from tinyvae.distributions.likelihoods import Bernoulli, Likelihood
from tinyvae.distributions.posteriors import Gaussian, Posterior
from tinyvae.distributions.priors import Prior, StandardNormal

__all__ = ["Bernoulli", "Gaussian", "Likelihood", "Posterior", "Prior", "StandardNormal"]
