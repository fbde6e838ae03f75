"""The weights of importance sampling, w = p(x | z) p(z) / q(z | x)."""

from __future__ import annotations

from tinyvae.autograd import Tensor
from tinyvae.backend import Array, perform
from tinyvae.errors import ShapeError
from tinyvae.objectives.elbo import EncoderDecoder, check_pixels
from tinyvae.objectives.samples import take_samples


def log_weights(model: EncoderDecoder, x: Tensor, noise: Array) -> Tensor:
    """The logarithms of importance weights, log p(x | z) + log p(z) - log q(z | x), in nats.

    With z from q(z | x), the expectation of a weight is p(x), and that of its logarithm is
    the ELBO. That of the logarithm of the mean of S weights lies between, and is the bound of
    the importance weighted autoencoder (Burda et al., 2015): ``logsumexp(log_weights(...)) -
    log(S)``.

    Parameters
    ----------
    model : EncoderDecoder
    x : (B, D) Tensor
        Pixels in [0, 1].
    noise : (B, S, K) array
        For each image, of S samples: from the standard normal, or what the posterior takes.

    Returns
    -------
    (B, S) Tensor

    Raises
    ------
    ShapeError
        The noise is not of three axes, the first as long as the batch.

    Examples
    --------
    >>> import tinyvae as tv
    >>> model, noise = tv.VAE((2, 2), latent=2, hidden=(8,)), tv.Noise(0)
    >>> log_weights(model, tv.Tensor([[0.0, 1.0, 1.0, 0.0]]), noise.normal((1, 5, 2))).shape
    (1, 5)
    """
    if noise.ndim != 3 or len(noise) != len(x):
        raise ShapeError(
            f"for {len(x)} images the noise is of shape ({len(x)}, S, K), S samples for each, "
            f"not {noise.shape}"
        )
    if x.backend.host:
        perform(check_pixels, x.array)
    return take_samples(model, x, noise).log_weights
