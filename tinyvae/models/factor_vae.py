"""FactorVAE (Kim and Mnih, 2018): the total correlation, as a discriminator sees it.

What changes against the plain VAE: beside it a discriminator learns to tell codes from codes whose
dimensions were shuffled over the images, each for itself. Its logit is then

    log q(z) - sum_k log q(z_k),

whose mean is the total correlation, which the VAE makes small:

    loss = -log p(x | z) + KL + (beta - 1) TC + the discriminator's cross-entropy.

The paper's gamma is beta - 1, so that beta means the same here as for the beta-TCVAE. Leave out
``warm_up``: while beta climbs and is below 1, gamma is negative, and an estimate of the TC that is
too high is then rewarded.

    tinyvae train --model factor-vae --data sprites --latent 10 --beta 10
"""

from __future__ import annotations

from typing import Any

from tinyvae.autograd import Tensor, ops
from tinyvae.models.correlation import refuse_one_dimension
from tinyvae.models.vae import VAE
from tinyvae.nn import MLP
from tinyvae.noise import Noise
from tinyvae.objectives import Inferred


class FactorVAE(VAE):
    """A VAE with a discriminator that estimates the total correlation.

    Both learn in one backward pass, each from its own part of the loss: the VAE's part sees a
    discriminator whose parameters are held, and the discriminator's part sees codes that are.
    (In the paper they take turns, on batches of their own.)

    Parameters
    ----------
    image_shape, latent, hidden, activation, seed, *parts, **named
        As for `VAE`.
    discriminator : tuple of int
        Widths of its hidden layers, between which are leaky ReLUs.

    Examples
    --------
    >>> print(FactorVAE((8, 8), latent=2).describe(10.0))
    -log p(x | z) + KL + 9 TC, found by a discriminator
    """

    is_per_image = False
    is_plain_sum = False

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent: int = 2,
        hidden: tuple[int, ...] = (400,),
        activation: str = "relu",
        seed: int = 0,
        *parts: Any,
        discriminator: tuple[int, ...] = (256, 256),
        **named: Any,
    ) -> None:
        super().__init__(image_shape, latent, hidden, activation, seed, *parts, **named)
        refuse_one_dimension(self)
        noise = Noise(seed, "initialise", "discriminator")
        self.discriminator = MLP((latent, *discriminator, 1), noise, "leaky_relu")
        self._widths = tuple(discriminator)

    @property
    def config(self) -> dict[str, Any]:
        """What makes a model of the same shape."""
        return super().config | {"discriminator": list(self._widths)}

    def weigh(self, found: Inferred, beta: float | Tensor = 1.0) -> Tensor:
        """-log p(x | z) + KL + (beta - 1) TC, and what the discriminator learns from."""
        tc = self.log_density_ratio(found.z).mean()
        samples = len(found.z) // len(found.reconstruction)
        return super().weigh(found) + (beta - 1) * tc + self.mistakes(found.z.detach(), samples)

    def log_density_ratio(self, z: Tensor) -> Tensor:
        """log q(z) - sum_k log q(z_k) as the discriminator has it, parameters held, (B, 1)."""
        held = [parameter.detach() for _, parameter in self.discriminator.named_parameters()]
        with self.discriminator.with_parameters(held):
            return self.discriminator(z)

    def mistakes(self, z: Tensor, samples: int = 1) -> Tensor:
        """The cross-entropy of the discriminator, on codes and shuffled ones alike often."""
        together, apart = self.discriminator(z), self.discriminator(shuffled(z, samples))
        return (ops.softplus(-together) + ops.softplus(apart)).mean() / 2

    def describe(self, beta: float) -> str:
        """What is minimised with this ``beta``."""
        return f"-log p(x | z) + KL + {beta - 1:g} TC, found by a discriminator"


def shuffled(z: Tensor, samples: int = 1) -> Tensor:
    """Codes (B, K) whose dimensions come from different images: dimension k from k rows below.

    The batch is in random order, so this is as good as a draw, and needs none. Of several
    ``samples`` for each image, in succession, it is k times as many rows.

    >>> shuffled(Tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]))
    Tensor([[1.0, 20.0], [2.0, 30.0], [3.0, 10.0]])
    """
    count, latent = z.shape
    xp = z.backend.xp
    rows = (xp.arange(count)[:, None] + samples * xp.arange(latent)) % count
    return z[rows, xp.arange(latent)]
