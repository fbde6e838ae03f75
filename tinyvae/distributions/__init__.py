"""The parts of a VAE that may be exchanged: likelihoods, posteriors, priors, and their KLs."""

from tinyvae.distributions.densities import (
    ContinuousBernoulli,
    GaussianPixels,
    LaplacePixels,
    SigmaPixels,
    VariancePixels,
)
from tinyvae.distributions.families import FullGaussian, Laplace, Logistic, Uniform
from tinyvae.distributions.flows import InverseAutoregressive, Planar
from tinyvae.distributions.gaussian_mixture import GaussianMixture
from tinyvae.distributions.levels import CategoricalPixels, LogisticPixels
from tinyvae.distributions.likelihoods import Bernoulli, Likelihood
from tinyvae.distributions.posteriors import Gaussian, Posterior
from tinyvae.distributions.priors import Fitted, Mixture, Prior, StandardNormal, Vamp

__all__ = [
    "Bernoulli",
    "CategoricalPixels",
    "ContinuousBernoulli",
    "Fitted",
    "FullGaussian",
    "Gaussian",
    "GaussianMixture",
    "GaussianPixels",
    "InverseAutoregressive",
    "Laplace",
    "LaplacePixels",
    "Likelihood",
    "Logistic",
    "LogisticPixels",
    "Mixture",
    "Planar",
    "Posterior",
    "Prior",
    "SigmaPixels",
    "StandardNormal",
    "Uniform",
    "Vamp",
    "VariancePixels",
]
