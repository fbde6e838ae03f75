"""The beta-TCVAE (Chen et al., 2018): the weight beta for the total correlation alone.

What changes against the plain VAE: over the data, the average KL is three things,

    E KL(q(z | x) || p(z)) = I(x; z) + KL(q(z) || prod_k q(z_k)) + sum_k KL(q(z_k) || p(z_k)),

with q(z) the average of q(z | x) over the data: what the code knows of the image, how much the
dimensions depend on each other (the total correlation, TC), and how far each is from its prior.
A beta-VAE presses on all three, and so on the pictures; here beta presses on the second alone:

    loss = -log p(x | z) + KL + (beta - 1) TC.

With ``warm_up`` it is beta that climbs from 0, so while beta is below 1 the TC counts for less
than in the ELBO; the KL counts whole from the first epoch.

    tinyvae train --model beta-tcvae --data sprites --latent 10 --beta 6
"""

from __future__ import annotations

import math
from typing import Any

from tinyvae.autograd import Tensor, ops
from tinyvae.backend import Array
from tinyvae.distributions import Posterior
from tinyvae.distributions.posteriors import Parameters
from tinyvae.errors import OptionError
from tinyvae.models.correlation import refuse_one_dimension
from tinyvae.models.vae import VAE
from tinyvae.objectives import Inferred


class BetaTCVAE(VAE):
    """A VAE with the loss -log p(x | z) + KL + (beta - 1) TC.

    Parameters
    ----------
    *parts, **named
        As for `VAE`.

    Raises
    ------
    OptionError
        A posterior whose latent dimensions depend on each other, or whose support moves with its
        parameters.

    Examples
    --------
    >>> print(BetaTCVAE((8, 8), latent=2).describe(6.0))
    -log p(x | z) + KL + 5 TC, the TC so 6 times in all
    """

    is_per_image = False
    is_plain_sum = False

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        refuse_one_dimension(self)
        if not self.posterior.is_factorised:
            raise OptionError(
                "the total correlation is estimated from the densities of single latent "
                f"dimensions, which {type(self.posterior).__name__} does not have: use a "
                "factorised posterior such as 'gaussian', or the model factor-vae"
            )
        if not self.posterior.has_score:
            raise OptionError(
                "the gradient of the total correlation goes through the densities, and that of "
                f"{type(self.posterior).__name__} jumps at edges that its parameters move, where "
                "there is none: use a posterior such as 'gaussian', or the model factor-vae"
            )
        self.images = 0

    def begin(self, images: Any) -> None:
        """Told once, before the first step of a training, what is trained on."""
        super().begin(images)
        self.images = len(images)

    def weigh(self, found: Inferred, beta: float | Tensor = 1.0) -> Tensor:
        """-log p(x | z) + KL + (beta - 1) TC, averaged over the batch."""
        plain = super().weigh(found)
        return plain + (beta - 1) * total_correlation(self.posterior, found, self.images).mean()

    def describe(self, beta: float) -> str:
        """What is minimised with this ``beta``."""
        return f"-log p(x | z) + KL + {beta - 1:g} TC, the TC so {beta:g} times in all"


def total_correlation(posterior: Posterior, found: Inferred, images: int) -> Tensor:
    """log q(z) - sum_k log q(z_k) at each code, (M,) in nats; its mean is the estimate of the TC.

    See `aggregate`.
    """
    joint, product = aggregate(posterior, found.parameters, found.z, images)
    return joint - product


def aggregate(
    posterior: Posterior, parameters: Parameters, z: Tensor, images: int
) -> tuple[Tensor, Tensor]:
    r"""The densities of the aggregate posterior, log q(z) and sum_k log q(z_k), in nats.

    Parameters
    ----------
    posterior : Posterior
        Whose dimensions are independent given the image.
    parameters : tuple of (B, K) Tensor
        Of q(z | x_j) for the images of the batch.
    z : (M, K) Tensor
        Codes, M / B in succession drawn for each of these images.
    images : int
        N, how many images there are in all; the batch is drawn from these without replacement.

    Returns
    -------
    tuple of (M,) Tensor

    Notes
    -----
    q(z) = 1/N sum_n q(z | x_n) is estimated from the batch (Chen et al., 2018, appendix C.2,
    stratified). The image that z was drawn for is one of the N. The others of the batch stand
    for all others:

        q(z) ~ 1/N q(z | x_own) + (N - 1)/N 1/(B - 1) sum_{others} q(z | x_j),

    whose expectation over batches is q(z), and which is q(z) where the batch is all images. (The
    paper puts a weight of its own on one of the others, to the same expectation.) The same
    weights give each q(z_k) from q(z_k | x_j). Of the logarithms no estimate from a batch is
    without bias: by Jensen's inequality both are too low.

    Examples
    --------
    >>> import tinyvae as tv
    >>> q, z = tv.distributions.Gaussian(1, tv.Noise(0)), tv.Tensor([[0.0], [0.5]])
    >>> joint, product = aggregate(q, (z, 0 * z), z, images=2)
    >>> bool((joint.numpy() == product.numpy()).all())  # of one dimension
    True
    """
    apart = pairwise(posterior, parameters, z)  # log q(z_k | x_j), (M, B, K)
    weights = log_weights(len(z), len(parameters[0]), images, z)
    joint = ops.logsumexp(apart.sum(axis=2) + Tensor.wrap(weights), axis=1)
    each = ops.logsumexp(apart + Tensor.wrap(weights[..., None]), axis=1)  # (M, K)
    return joint, each.sum(axis=1)


def pairwise(posterior: Posterior, parameters: Parameters, z: Tensor) -> Tensor:
    """log q(z_k | x_j) of each code under each image's posterior: M codes, B images, (M, B, K)."""
    (codes, latent), count = z.shape, len(parameters[0])
    shape = (codes, count, latent)
    of_codes = ops.broadcast_to(z.reshape(codes, 1, latent), shape=shape)
    of_images = (ops.broadcast_to(p.reshape(1, count, latent), shape=shape) for p in parameters)
    return posterior.log_prob(tuple(p[..., None] for p in of_images), of_codes[..., None])


def log_weights(codes: int, count: int, images: int, like: Tensor) -> Array:
    """What each image of a batch stands for at each code, (M, B), on the device of ``like``."""
    xp, total = like.backend.xp, max(images, count)
    own = xp.repeat(xp.eye(count, dtype=like.dtype), codes // count, axis=0)
    others = math.log(max(total - 1, 1) / (total * max(count - 1, 1)))
    return own * -math.log(total) + (1 - own) * others
