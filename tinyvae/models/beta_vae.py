"""The beta-VAE (Higgins et al., 2017): the KL weighs beta times what it weighs in the ELBO.

What changes against the plain VAE: the loss is -log p(x | z) + beta KL. That is so for every VAE
here, whose ``beta`` is 1 by default, so the two differ in name alone. The reconstruction is a sum
over D pixels and the KL over K dimensions, so that one beta presses less on larger images: the
normalised beta, beta K / D, is what can be compared, and is printed beside the effective one.

    tinyvae train --model beta-vae --data sprites --latent 10 --beta 4
    tinyvae train --model beta-vae --data sprites --latent 10 --normalised-beta 0.01
"""

from __future__ import annotations

from tinyvae.models.vae import VAE


class BetaVAE(VAE):
    """A VAE whose KL has the weight ``beta``; as every VAE here, by its own name.

    Examples
    --------
    >>> print(BetaVAE((8, 8), latent=2).describe(4.0))
    -log p(x | z) + 4 KL
    """
