"""A VAE whose KL is held to a capacity that grows (Burgess et al., 2018).

What changes against the plain VAE: the loss is -log p(x | z) + gamma |KL - C|. With C at 0 nothing
passes; while C rises, the dimensions that help the pictures most open first, one after the other.

C rises in equal stairs over the epochs of ``warm_up``, from capacity / warm_up to the whole:

    tinyvae train --model capacity-vae:25 --data sprites --latent 10 --epochs 25 --warm-up 20
"""

from __future__ import annotations

from typing import Any

from tinyvae.autograd import Tensor, ops
from tinyvae.distributions.divergences import is_analytic
from tinyvae.errors import OptionError
from tinyvae.models.vae import VAE
from tinyvae.objectives import Inferred


class CapacityVAE(VAE):
    """A VAE with the loss -log p(x | z) + gamma |KL - beta C|, each image's KL held to C nats.

    The training's ``beta`` is how far C has come: leave it at 1, and ``warm_up`` lets it climb.

    Parameters
    ----------
    *parts, **named
        As for `VAE`.
    capacity : float
        C at the end, in nats (25 in the paper, on sprites of 64x64 pixels).
    gamma : float
        Of how much weight a nat too much or too little is (1,000 in the paper).

    Raises
    ------
    OptionError
        A capacity or a gamma that is not above 0; or a KL without a closed form, since the
        distance of an estimate from C is on average larger than that of the KL.

    Examples
    --------
    >>> model = CapacityVAE((8, 8), latent=2, capacity=20.0)
    >>> print(model.describe(0.5))
    -log p(x | z) + 100 |KL - 10 nats|
    """

    is_plain_sum = False

    number = "capacity"

    def __init__(
        self, *parts: Any, capacity: float = 25.0, gamma: float = 100.0, **named: Any
    ) -> None:
        if not (capacity > 0 and gamma > 0):
            raise OptionError(f"capacity and gamma are numbers above 0, not {capacity} and {gamma}")
        super().__init__(*parts, **named)
        if not is_analytic(self.posterior, self.prior):
            raise OptionError(
                f"|KL - C| needs the KL in closed form, and KL({type(self.posterior).__name__} || "
                f"{type(self.prior).__name__}) has none: use a posterior such as 'gaussian' with "
                "the prior 'normal'"
            )
        self.capacity, self.gamma = capacity, gamma

    @property
    def config(self) -> dict[str, Any]:
        """What makes a model of the same shape."""
        return super().config | {"capacity": self.capacity, "gamma": self.gamma}

    def weigh(self, found: Inferred, beta: float | Tensor = 1.0) -> Tensor:
        """-log p(x | z) + gamma |KL - beta C|, averaged over the batch."""
        away = ops.abs(found.kl - beta * self.capacity)
        return (found.reconstruction + self.gamma * away).mean()

    def describe(self, beta: float) -> str:
        """What is minimised with this ``beta``."""
        return f"-log p(x | z) + {self.gamma:g} |KL - {beta * self.capacity:g} nats|"
