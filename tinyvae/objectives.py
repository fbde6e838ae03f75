"""What a VAE is trained to make small."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from tinyvae.autograd import Tensor, ops
from tinyvae.autograd.derivations import (
    bernoulli_cross_entropy,
    gaussian_log_likelihood,
    gaussian_sample,
    kl_standard_normal,
)
from tinyvae.backend import Array, perform
from tinyvae.errors import DataError, ShapeError


class EncoderDecoder(Protocol):
    """What the objectives ask of a model."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B, D) to the mean and log variance of q(z | x), each (B, K)."""

    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, K) to the logits of the pixels, (B, D)."""


class Terms(NamedTuple):
    """The parts of the negative ELBO, in nats.

    Attributes
    ----------
    loss : Tensor
        A number: what is minimised, averaged over the batch.
    cross_entropy, kl : (B,) Tensor
        Per example; their sum is the negative ELBO, whatever weight the KL has in the loss.
    mean, log_variance : (B, K) Tensor
        Of q(z | x).
    """

    loss: Tensor
    cross_entropy: Tensor
    kl: Tensor
    mean: Tensor
    log_variance: Tensor


def negative_elbo(
    model: EncoderDecoder, x: Tensor, noise: Array, beta: float = 1.0, free_bits: float = 0.0
) -> Terms:
    """The negative evidence lower bound, with one reparameterised sample per example.

    -log p(x) <= E_q[-log p(x | z)] + KL(q(z | x) || p(z)), in nats per image.

    Parameters
    ----------
    model : EncoderDecoder
        With a Gaussian posterior and Bernoulli pixels.
    x : (B, D) Tensor
        Pixels in [0, 1].
    noise : (B, K) array
        From the standard normal.
    beta : float
        The weight of the KL in the loss: 1 for the ELBO, others for a beta-VAE
        (Higgins et al., 2017).
    free_bits : float
        Nats that each latent dimension may use for free: its KL, averaged over the batch,
        counts for no less (Kingma et al., 2016).

    Examples
    --------
    >>> import tinyvae as tv
    >>> model, noise = tv.VAE((2, 2), latent=2, hidden=(8,)), tv.Noise(0)
    >>> terms = negative_elbo(model, tv.Tensor([[0.0, 1.0, 1.0, 0.0]]), noise.normal((1, 2)))
    >>> terms.loss.shape, terms.kl.shape
    ((), (1,))
    """
    if x.backend.host:
        perform(check_pixels, x.array)
    return elbo_terms(model, x, noise, beta, free_bits)


def elbo_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """`negative_elbo` of pixels that are known to lie in [0, 1]."""
    mean, log_variance = model.encode(x)  # (B, K)
    z = gaussian_sample(mean, log_variance, Tensor.wrap(noise))  # (B, K)
    cross_entropy = bernoulli_cross_entropy(model.decode(z), x)  # (B,)
    kl = kl_standard_normal(mean, log_variance)  # (B,)
    if free_bits:
        loss = cross_entropy.mean() + beta * free_kl(mean, log_variance, free_bits)
    else:
        loss = (cross_entropy + (kl if beta == 1 else beta * kl)).mean()
    return Terms(loss, cross_entropy, kl, mean, log_variance)


def kl_per_dimension(mean: Tensor, log_variance: Tensor) -> Tensor:
    """The KL to the standard normal of each latent dimension, averaged over the batch, (K,)."""
    return kl_standard_normal(mean[..., None], log_variance[..., None]).mean(axis=0)


def free_kl(mean: Tensor, log_variance: Tensor, free_bits: float) -> Tensor:
    """The sum over dimensions of the KL, or of ``free_bits`` where that is more."""
    return ops.maximum(kl_per_dimension(mean, log_variance), free_bits).sum()


def log_weights(model: EncoderDecoder, x: Tensor, noise: Array) -> Tensor:
    """The logarithms of importance weights, log p(x | z) + log p(z) - log q(z | x), in nats.

    With z from q(z | x), the expectation of a weight is p(x), and that of its logarithm is
    the ELBO. That of the logarithm of the mean of S weights lies between, and is the bound of
    the importance weighted autoencoder (Burda et al., 2015): ``logsumexp(log_weights(...)) -
    log(S)``.

    Parameters
    ----------
    model : EncoderDecoder
        With a Gaussian posterior, a standard normal prior and Bernoulli pixels.
    x : (B, D) Tensor
        Pixels in [0, 1].
    noise : (B, S, K) array
        From the standard normal: for each image, of S samples.

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
    samples = noise.shape[1]
    x, mean, log_variance = (_repeated(rows, samples) for rows in (x, *model.encode(x)))
    z = gaussian_sample(mean, log_variance, Tensor.wrap(noise.reshape(-1, noise.shape[2])))
    log_likelihood = -bernoulli_cross_entropy(model.decode(z), x)  # (B S,)
    return (log_likelihood + log_ratio(z, mean, log_variance)).reshape(*noise.shape[:2])


def log_ratio(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log p(z) - log q(z | x) of a standard normal prior and a Gaussian posterior, (B,).

    Its expectation under q is -KL(q(z | x) || p(z)).
    """
    log_prior = gaussian_log_likelihood(z, Tensor.wrap(z.backend.xp.zeros_like(z.array)), 0.0)
    return log_prior - gaussian_log_likelihood(z, mean, log_variance)


def _repeated(rows: Tensor, times: int) -> Tensor:
    """Each row so many times in succession: (B, D) to (B times, D)."""
    count, width = rows.shape
    stretched = ops.broadcast_to(rows.reshape(count, 1, width), shape=(count, times, width))
    return stretched.reshape(count * times, width)


def check_pixels(x: Array) -> None:
    """Refuse what a Bernoulli cross-entropy is not defined for; bytes stand for k / 255.

    Raises
    ------
    DataError
        A value outside [0, 1], or NaN: the loss would be unbounded below, without a word.
    """
    if str(x.dtype) == "uint8":
        return
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise DataError(
            f"pixels for a cross-entropy lie in [0, 1]; these go from {low:g} to {high:g}: divide "
            "by the largest possible value, or store them as uint8"
        )
