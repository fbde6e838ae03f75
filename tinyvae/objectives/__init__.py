"""What a VAE is trained to make small: one file an estimator."""

from tinyvae.objectives.elbo import (
    Inferred,
    Terms,
    check_pixels,
    elbo_analytic_terms,
    elbo_terms,
    free_kl,
    infer,
    kl_per_dimension,
    negative_elbo,
    weigh,
)
from tinyvae.objectives.importance import (
    dreg_terms,
    elbo_mc_terms,
    iwae_stl_terms,
    iwae_terms,
    stl_terms,
)
from tinyvae.objectives.samples import log_weights
from tinyvae.objectives.score import score_loo_terms, score_terms, vimco_terms

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

OBJECTIVES = {
    "elbo": elbo_terms,
    "elbo-analytic": elbo_analytic_terms,
    "elbo-mc": elbo_mc_terms,
    "stl": stl_terms,
    "iwae": iwae_terms,
    "iwae-stl": iwae_stl_terms,
    "dreg": dreg_terms,
    "score": score_terms,
    "score-loo": score_loo_terms,
    "vimco": vimco_terms,
}
"""Functions of a model, pixels, noise, beta and free bits: ``fit(objective=...)``."""
