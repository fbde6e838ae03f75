"""The beta-VAE (Higgins et al., 2017): the KL weighs beta times as much as the ELBO has it.

What changes against the plain VAE: the loss is -log p(x | z) + beta KL, which `VAE` has already
(``--model vae --beta 4`` is the same model). What it takes to compare two beta-VAEs stands here:
the normalised beta.

    tinyvae train --model beta-vae --data sprites --latent 10 --beta 4
    tinyvae train --model normalised-beta-vae --data sprites --latent 10 --beta 0.01
"""

from __future__ import annotations

import math

from tinyvae.autograd import Tensor
from tinyvae.models.vae import VAE
from tinyvae.objectives import Inferred, weigh


class BetaVAE(VAE):
    """A VAE whose KL has the weight ``beta``, by its own name: every `VAE` can be trained so.

    Examples
    --------
    >>> print(BetaVAE((8, 8), latent=2).describe(4.0))
    -log p(x | z) + 4 KL: beta = 4, normalised beta = 0.125
    """


class NormalisedBetaVAE(VAE):
    """A beta-VAE whose ``beta`` is the normalised one, beta K / D.

    The reconstruction is a sum over D pixels and the KL over K dimensions, so that the same
    beta presses less on larger images. A loss that averages over the pixels, as much code has
    it, has this beta.

    Examples
    --------
    >>> print(NormalisedBetaVAE((8, 8), latent=2).describe(0.125))
    -log p(x | z) + 4 KL: beta = 4, normalised beta = 0.125
    """

    @property
    def pixels_per_dimension(self) -> float:
        """D / K: a normalised beta times this is the weight of the KL."""
        return math.prod(self.image_shape) / self.latent

    def weigh(self, found: Inferred, beta: float | Tensor = 1.0) -> Tensor:
        """-log p(x | z) + beta D / K KL, averaged over the batch."""
        return weigh(found, beta * self.pixels_per_dimension)

    def describe(self, beta: float) -> str:
        """What is minimised with this ``beta``."""
        return super().describe(beta * self.pixels_per_dimension)
