"""The systems: one file each."""

MODELS = {
    "vae": "tinyvae.models.vae.VAE",
    "beta-vae": "tinyvae.models.beta_vae.BetaVAE",
    "normalised-beta-vae": "tinyvae.models.beta_vae.NormalisedBetaVAE",
    "capacity-vae": "tinyvae.models.capacity_vae.CapacityVAE",
    "beta-tcvae": "tinyvae.models.beta_tcvae.BetaTCVAE",
    "factor-vae": "tinyvae.models.factor_vae.FactorVAE",
}
"""Each class by the name that ``--model`` takes."""
