"""The models: one file each, which shows what is its own."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

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
        close = difflib.get_close_matches(name, MODELS, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        raise OptionError(f"no model is called {name!r}; {guess}there are {', '.join(MODELS)}")
    module, _, attribute = MODELS[name].rpartition(".")
    found: type[VAE] = getattr(import_module(module), attribute)
    return found


def new_model(asked: str, *sizes: Any) -> VAE:
    """A model by its name, with a number behind a colon where it takes one.

    >>> new_model("capacity-vae:12", (8, 8)).capacity
    12.0
    """
    name, colon, number = asked.partition(":")
    kind = model_class(name)
    if not colon:
        return kind(*sizes)
    if kind.number is None:
        raise OptionError(f"the model {name!r} takes no number: leave out {colon + number!r}")
    try:
        given: dict[str, Any] = {kind.number: float(number)}
    except ValueError:
        raise OptionError(
            f"the model {asked!r}: a number stands behind the colon, as in 'capacity-vae:25', not "
            f"{number!r}"
        ) from None
    return kind(*sizes, **given)
