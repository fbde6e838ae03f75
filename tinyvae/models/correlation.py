"""What the models that look at the total correlation have in common."""

from __future__ import annotations

from tinyvae.errors import OptionError
from tinyvae.models.vae import VAE


def refuse_one_dimension(model: VAE) -> None:
    """Refuse, with OptionError, a latent space in which nothing can be correlated."""
    if model.latent < 2:
        raise OptionError(
            f"{type(model).__name__} lowers the total correlation of latent dimensions, and of "
            f"latent={model.latent} there is none: use latent=2 or more, or the model 'vae'"
        )
