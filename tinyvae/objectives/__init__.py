"""What a VAE is trained to make small: one file an estimator."""

from tinyvae.objectives.elbo import (
    Inferred,
    Terms,
    check_pixels,
    elbo_terms,
    free_kl,
    infer,
    kl_per_dimension,
    negative_elbo,
    weigh,
)
from tinyvae.objectives.weights import log_weights

__all__ = [
    "OBJECTIVES",
    "Inferred",
    "Terms",
    "check_pixels",
    "elbo_terms",
    "free_kl",
    "infer",
    "kl_per_dimension",
    "log_weights",
    "negative_elbo",
    "weigh",
]

OBJECTIVES = {"elbo": elbo_terms}
"""Functions of a model, pixels, noise, beta and free bits: ``fit(objective=...)``."""
