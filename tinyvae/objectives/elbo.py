"""What a VAE is trained to make small: the negative ELBO."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from tinyvae.autograd import Tensor, ops
from tinyvae.backend import Array, perform
from tinyvae.distributions import Bernoulli, Gaussian, Likelihood, Posterior, Prior, StandardNormal
from tinyvae.distributions.divergences import divergence, is_analytic
from tinyvae.distributions.posteriors import Parameters
from tinyvae.errors import DataError, OptionError
from tinyvae.noise import Noise


class EncoderDecoder(Protocol):
    """What the objectives ask of a model.

    Where it has a ``posterior``, a ``prior``, a ``likelihood`` (see `tinyvae.distributions`)
    or a method ``weigh``, as `tinyvae.VAE` has, they are taken; else those of the plain VAE: a
    Gaussian posterior, a standard normal prior, Bernoulli pixels.
    """

    def encode(self, x: Tensor) -> Parameters:
        """Rows (B, D) to the parameters of q(z | x); mean and log variance, each (B, K)."""

    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, K) to the parameters of p(x | z); the logits of the pixels, (B, D)."""


class Terms(NamedTuple):
    """The parts of the negative ELBO, in nats.

    Attributes
    ----------
    loss : Tensor
        A number: what is minimised, averaged over the batch.
    reconstruction, kl : (B,) Tensor
        Per example, -log p(x | z) and KL(q(z | x) || p(z)); their sum is the negative ELBO,
        whatever weight the KL has in the loss.
    """

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor


class Inferred(NamedTuple):
    """What a model makes of a batch: one code for each image, and what it costs, in nats.

    Attributes
    ----------
    parameters : tuple of Tensor
        Of q(z | x); for the Gaussian its mean and log variance, each (B, K).
    z : (B, K) Tensor
        A sample of it; of S for each image, (B S, K), those of one in succession.
    reconstruction, kl : (B,) Tensor
        As in `Terms`.
    """

    parameters: Parameters
    z: Tensor
    reconstruction: Tensor
    kl: Tensor


class Parts(NamedTuple):
    """Which distributions a model is made of."""

    posterior: Posterior
    prior: Prior
    likelihood: Likelihood


_ANY = Noise(0, backend="numpy")
PLAIN = Parts(Gaussian(1, _ANY), StandardNormal(1, 1, _ANY), Bernoulli(1, _ANY))


def parts_of(model: EncoderDecoder) -> Parts:
    """The distributions of a model; those of the plain VAE where it names none."""
    own: dict[str, Any] = {
        name: getattr(model, name, part) for name, part in PLAIN._asdict().items()
    }
    return PLAIN._replace(**own)


def negative_elbo(
    model: EncoderDecoder, x: Tensor, noise: Array, beta: float = 1.0, free_bits: float = 0.0
) -> Terms:
    """The negative evidence lower bound, with one reparameterised sample per example.

    -log p(x) <= E_q[-log p(x | z)] + KL(q(z | x) || p(z)), in nats per image.

    Parameters
    ----------
    model : EncoderDecoder
    x : (B, D) Tensor
        Pixels in [0, 1].
    noise : (B, K) array
        From the standard normal; or what else the posterior takes.
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
    """The negative ELBO, its KL in closed form where there is one; see `negative_elbo`.

    The pixels are known to lie in [0, 1].
    """
    found = infer(model, x, noise)
    if free_bits:
        _check_plain(model)
        loss = found.reconstruction.mean() + beta * free_kl(model, found.parameters, free_bits)
    else:
        loss = getattr(model, "weigh", weigh)(found, beta)
    return Terms(loss, found.reconstruction, found.kl)


def _check_plain(model: EncoderDecoder) -> None:
    """Refuse free bits where the model has a loss of its own, which they would replace."""
    if not getattr(model, "is_plain_sum", True):
        raise OptionError(
            f"free_bits changes how the KL is weighed, and {type(model).__name__} weighs it in a "
            "way of its own: use free_bits=0, or the model vae"
        )


def elbo_analytic_terms(
    model: EncoderDecoder,
    x: Tensor,
    noise: Array,
    beta: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """The negative ELBO with its KL in closed form, refused where there is none.

    Raises
    ------
    OptionError
        KL(q || p) has no closed form.
    """
    posterior, prior, _ = parts_of(model)
    if not is_analytic(posterior, prior):
        raise OptionError(
            f"KL({type(posterior).__name__} || {type(prior).__name__}) has no closed form, so "
            "objective='elbo-analytic' cannot be had: use 'elbo' or 'elbo-mc', which estimate it "
            "from samples, or another posterior or prior"
        )
    return elbo_terms(model, x, noise, beta, free_bits)


def infer(model: EncoderDecoder, x: Tensor, noise: Array) -> Inferred:
    """A code for each image, drawn from q(z | x) by ``noise``, and what it costs.

    With noise (B, S, K) there are S codes for each image, B S in all, over which the costs
    are averaged.
    """
    posterior, prior, likelihood = parts_of(model)
    parameters = model.encode(x)
    drawn, samples = parameters, 1
    if noise.ndim == 3:
        samples, noise = noise.shape[1], noise.reshape(-1, noise.shape[2])
        drawn, x = tuple(repeated(p, samples) for p in parameters), repeated(x, samples)
    log_q = None
    if is_analytic(posterior, prior):
        z = posterior.sample(drawn, noise)  # (B S, K)
    else:
        z, log_q = posterior.draw(drawn, noise)
    reconstruction = likelihood.cross_entropy(model.decode(z), x)  # (B S,)
    kl = divergence(posterior, prior, parameters, z, log_q, model.encode)
    if log_q is not None:
        kl = averaged(kl, samples)
    return Inferred(parameters, z, averaged(reconstruction, samples), kl)


def repeated(rows: Tensor, times: int) -> Tensor:
    """Each row so many times in succession: (B, ...) to (B times, ...)."""
    count, *rest = rows.shape
    stretched = ops.broadcast_to(rows.reshape(count, 1, *rest), shape=(count, times, *rest))
    return stretched.reshape(count * times, *rest)


def averaged(costs: Tensor, samples: int) -> Tensor:
    """The mean over so many in succession: (B samples,) to (B,)."""
    return costs if samples == 1 else costs.reshape(-1, samples).mean(axis=1)


def weigh(found: Inferred, beta: float | Tensor = 1.0) -> Tensor:
    """The reconstruction and ``beta`` times the KL, averaged over the batch."""
    kl = found.kl if beta == 1 else beta * found.kl
    return (found.reconstruction + kl).mean()


def kl_per_dimension(model: EncoderDecoder, parameters: Parameters) -> Tensor:
    """The KL of each latent dimension, averaged over the batch, (K,).

    Of shape (0,) where it does not come apart: the dimensions depend on each other, or the KL
    has no closed form.
    """
    posterior, prior, _ = parts_of(model)
    if not (posterior.is_factorised and is_analytic(posterior, prior)):
        return parameters[0].reshape(-1)[:0]
    assert posterior.kl is not None
    return posterior.kl(tuple(p[..., None] for p in parameters)).mean(axis=0)


def free_kl(model: EncoderDecoder, parameters: Parameters, free_bits: float) -> Tensor:
    """The sum over dimensions of the KL, or of ``free_bits`` where that is more.

    Raises
    ------
    OptionError
        The KL does not come apart into dimensions.
    """
    apart = kl_per_dimension(model, parameters)
    if apart.size == 0:
        raise OptionError(
            "free_bits needs the KL of each latent dimension in closed form: use free_bits=0, or a "
            "factorised posterior such as 'gaussian' with the prior 'normal'"
        )
    return ops.maximum(apart, free_bits).sum()


def check_pixels(x: Any) -> None:
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
