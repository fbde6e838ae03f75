"""Several codes for each image, and what each of them costs: what the estimators are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

from tinyvae.autograd import Tensor
from tinyvae.backend import Array, perform
from tinyvae.distributions import Posterior
from tinyvae.distributions.posteriors import Parameters
from tinyvae.errors import OptionError, ShapeError
from tinyvae.objectives.elbo import (
    EncoderDecoder,
    Inferred,
    Terms,
    check_pixels,
    parts_of,
    repeated,
    weigh,
)


class Samples(NamedTuple):
    """S codes from q(z | x) for each of B images, and what each of them costs, in nats.

    Attributes
    ----------
    parameters : tuple of Tensor
        Of q(z | x), each (B, K).
    z : (B S, K) Tensor
        Each image's in succession.
    reconstruction : (B, S) Tensor
        -log p(x | z).
    log_q, log_p : (B, S) Tensor
        log q(z | x) and log p(z).
    """

    parameters: Parameters
    z: Tensor
    reconstruction: Tensor
    log_q: Tensor
    log_p: Tensor

    @property
    def log_weights(self) -> Tensor:
        """log p(x | z) + log p(z) - log q(z | x), (B, S)."""
        return self.log_p - self.log_q - self.reconstruction

    def elbo(self) -> Inferred:
        """The averages over the samples, whose expectations are the parts of the ELBO."""
        kl = (self.log_q - self.log_p).mean(axis=1)
        return Inferred(self.parameters, self.z, self.reconstruction.mean(axis=1), kl)


def take_samples(
    model: EncoderDecoder, x: Tensor, noise: Array, hold_q: bool = False, through: Any = None
) -> Samples:
    """As many codes for each image as there is noise for, differentiable in all parameters.

    Parameters
    ----------
    model : EncoderDecoder
    x : (B, D) Tensor
    noise : (B, S, K) or (B, K) array
        What the posterior makes its codes from; (B, K) for one code for each image.
    hold_q : bool
        Whether log q(z | x) is a function of z alone, its parameters held at their values. The
        values are the same; the gradient lacks the score, whose expectation is 0.
    through : callable, optional
        What the codes go through on their way from the encoder: a function of a Tensor that
        leaves the values alone, and the gradient not.
    """
    posterior, prior, likelihood = parts_of(model)
    noise = noise.reshape(len(noise), -1, noise.shape[-1])
    samples, shape = noise.shape[1], noise.shape[:2]
    parameters = model.encode(x)
    x, *stretched = (repeated(rows, samples) for rows in (x, *parameters))
    q, flat = tuple(stretched), noise.reshape(-1, noise.shape[2])
    if hold_q or through:
        z = posterior.sample(q, flat)
        z = through(z) if through else z
        log_q = posterior.log_prob(_held(q) if hold_q else q, z)
    else:
        z, log_q = posterior.draw(q, flat)
    reconstruction = likelihood.cross_entropy(model.decode(z), x)
    costs = (reconstruction, log_q, prior.log_prob(z, model.encode))
    return Samples(parameters, z, *(cost.reshape(*shape) for cost in costs))


def _held(parameters: Parameters) -> Parameters:
    return tuple(parameter.detach() for parameter in parameters)


def terms_of(model: EncoderDecoder, found: Inferred, beta: float | Tensor) -> Terms:
    """What is minimised, as the model weighs it, and its parts."""
    return Terms(getattr(model, "weigh", weigh)(found, beta), found.reconstruction, found.kl)


def only_gradient(x: Tensor) -> Tensor:
    """x - x: a zero that has the gradient of x.

    Times a number that is held, and added to a value, it leaves the value as it is and adds
    so many times its gradient to the value's.

    >>> x = Tensor([3.0], requires_grad=True)
    >>> y = x.detach() + 5 * only_gradient(x)
    >>> y.sum().backward()
    >>> y, x.grad
    (Tensor([3.0], requires_grad=True), array([5.], dtype=float32))
    """
    return x - x.detach()


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


# What an estimator cannot be taken for


def refuse_free_bits(objective: str, free_bits: float) -> None:
    """The KL that an estimate by samples has does not come apart into dimensions."""
    if free_bits:
        raise OptionError(
            f"free_bits needs the KL of each latent dimension in closed form, which "
            f"objective={objective!r} does not take: use free_bits=0 or objective='elbo'"
        )


def refuse_beta(objective: str, beta: Any) -> None:
    """The bound of several samples is the logarithm of a mean, which has no KL to weigh."""
    if isinstance(beta, Tensor) or beta != 1:
        raise OptionError(
            f"objective={objective!r} is one logarithm of a mean of weights, in which there is no "
            "KL to weigh: use beta=1 and warm_up=0, or an objective that is a sum, such as 'elbo'"
        )


def refuse_few(objective: str, samples: int) -> None:
    """What is compared with the other samples needs others."""
    if samples < 2:
        raise OptionError(
            f"objective={objective!r} compares each sample with the image's others, of which there "
            "are none: use samples=2 or more"
        )


def refuse_own_path(objective: str, posterior: Posterior) -> None:
    """Where the path alone is wanted, the parameters in log q are held, and are the encoder's.

    What is left out is the score: its expectation has to be 0.
    """
    if not (posterior.has_density and posterior.has_score) or posterior.parameters():
        raise OptionError(
            f"objective={objective!r} holds the parameters of q(z | x) in its density, and of "
            f"{type(posterior).__name__} that cannot be done: it has parameters of its own, no "
            "density but along its own samples, or a support that moves with its parameters, as a "
            "uniform's does; use 'elbo', 'elbo-mc' or 'iwae'"
        )


def refuse_no_score(objective: str, posterior: Posterior) -> None:
    """The score function takes the density at codes that are held."""
    if not posterior.has_density or not posterior.has_score:
        raise OptionError(
            f"objective={objective!r} needs the score of q(z | x), and {type(posterior).__name__} "
            "has none: no density but along its own samples, or one whose support moves with its "
            "parameters, as a uniform's does; use 'elbo', 'elbo-mc' or 'iwae'"
        )


def refuse_own_weigh(objective: str, model: EncoderDecoder) -> None:
    """A model that weighs the parts of the ELBO in its own way has them from codes with a path.

    And what it makes of the KL, such as its distance from a capacity, is not what it would make of
    an estimate on average.
    """
    if not getattr(model, "is_plain_sum", True):
        raise OptionError(
            f"objective={objective!r} is for models that minimise the reconstruction and the KL; "
            f"{type(model).__name__} weighs them in a way of its own: use objective='elbo'"
        )
