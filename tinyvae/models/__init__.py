"""The models: one file each, which shows what is its own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tinyvae.errors import OptionError

if TYPE_CHECKING:
    from tinyvae.models.vae import VAE

MODELS = {
    "vae": "tinyvae.models.vae.VAE",
    "beta-vae": "tinyvae.models.beta_vae.BetaVAE",
    "capacity-vae": "tinyvae.models.capacity_vae.CapacityVAE",
    "beta-tcvae": "tinyvae.models.beta_tcvae.BetaTCVAE",
    "factor-vae": "tinyvae.models.factor_vae.FactorVAE",
}
"""What ``tinyvae train --model`` takes, and where it is."""


def model_class(name: str) -> type[VAE]:
    """The class of the model of that name.

    >>> model_class("vae").__name__
    'VAE'
    """
    if name not in MODELS:
        raise OptionError(f"no model is called {name!r}; there are {', '.join(MODELS)}")
    module, _, attribute = MODELS[name].rpartition(".")
    found: type[VAE] = getattr(import_module(module), attribute)
    return found
