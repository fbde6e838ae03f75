"""The parts of a VAE that may be exchanged: likelihoods, posteriors, priors, and their KLs."""

from tinyvae.distributions.families import Laplace, Logistic, Uniform
from tinyvae.distributions.flows import InverseAutoregressive, Planar
from tinyvae.distributions.gaussian_mixture import GaussianMixture
from tinyvae.distributions.likelihoods import Bernoulli, Likelihood
from tinyvae.distributions.posteriors import Gaussian, Posterior
from tinyvae.distributions.priors import Fitted, Mixture, Prior, StandardNormal, Vamp

__all__ = [
    "Bernoulli",
    "Fitted",
    "Gaussian",
    "GaussianMixture",
    "InverseAutoregressive",
    "Laplace",
    "Likelihood",
    "Logistic",
    "Mixture",
    "Planar",
    "Posterior",
    "Prior",
    "StandardNormal",
    "Uniform",
    "Vamp",
]
