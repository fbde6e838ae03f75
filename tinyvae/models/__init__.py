"""The models: one file each, which shows what is its own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinyvae.distributions.part import called, no_number

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
    module, _, attribute = MODELS[name].rpartition(".")
    found: type[VAE] = getattr(import_module(module), attribute)
    return found


def new_model(asked: str, *sizes: Any) -> VAE:
    """A model by its name, with a number behind a colon where it takes one.

    Raises
    ------
    OptionError
        No such name, or a number that it does not take.

    Examples
    --------
    >>> new_model("capacity-vae:12", (8, 8)).capacity
    12.0
    """
    name, numbers = called("model", asked, MODELS)
    kind = model_class(name)
    if not numbers:
        return kind(*sizes)
    if kind.number is None:
        raise no_number("model", asked)
    given: dict[str, Any] = {kind.number: numbers[0]}
    return kind(*sizes, **given)
