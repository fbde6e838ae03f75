"""Where the KL of the ELBO comes from: what the codes tell of the images, and a poor prior."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinyvae.autograd import Tensor, no_grad
from tinyvae.autograd.ops import namespace
from tinyvae.backend import Array
from tinyvae.distributions import Posterior
from tinyvae.distributions.divergences import divergence
from tinyvae.distributions.posteriors import Parameters
from tinyvae.errors import OptionError
from tinyvae.models.vae import VAE

NUMBERS = 1 << 18  # log-densities that are there at once, where one code does not need more


@dataclass(frozen=True)
class Surgery:
    """The parts of the average KL(q(z | x) || p(z)), in nats; see `surgery`.

    Attributes
    ----------
    mutual_information : float
        Between the codes and the images, I_q(x; z): at most log N.
    marginal_kl : float
        KL(q(z) || p(z)), the gap between the aggregate posterior and the prior.
    total_correlation : float or None
        KL(q(z) || q(z_1) ... q(z_K)), how far the dimensions depend on each other.
    dimension_kl : list of float
        KL(q(z_k) || p(z_k)) of each dimension. With the total correlation they sum to the
        marginal KL.
    standard_error : float
        Of the mutual information: over the images, the aggregate posterior taken as it is.
    images : int
        How many there are, N.

    `total_correlation` is None and `dimension_kl` empty where the dimensions of the posterior,
    or of the prior, are not independent.
    """

    mutual_information: float
    marginal_kl: float
    total_correlation: float | None
    dimension_kl: list[float]
    standard_error: float
    images: int

    @property
    def ceiling(self) -> float:
        """The most that the mutual information can be, log N."""
        return math.log(self.images)


def surgery(model: VAE, parameters: Parameters, z: Tensor, kl: np.ndarray) -> Surgery:
    r"""The surgery of the ELBO (Hoffman and Johnson, 2016).

    Parameters
    ----------
    model : VAE
    parameters : tuple of Tensor
        Of the posteriors of N images, the first axis of each.
    z : (N, K) Tensor
        A code of each image, drawn from its posterior.
    kl : (N,) array
        KL(q(z | x) || p(z)) of each image, in closed form or estimated at ``z``.

    Raises
    ------
    OptionError
        The posterior has no density at codes other than its own.

    Notes
    -----
    With the aggregate posterior q(z) = (q(z | x_1) + ... + q(z | x_N)) / N,

        (1/N) sum_n KL(q(z | x_n) || p(z)) = I + KL(q(z) || p(z)),
        I = (1/N) sum_n E_q(z | x_n)[log q(z | x_n) - log q(z)],

    and where p(z) and every q(z | x) are products over the dimensions,

        KL(q(z) || p(z)) = KL(q(z) || q(z_1) ... q(z_K)) + sum_k KL(q(z_k) || p(z_k))

    (Chen et al., 2018). I is estimated from the one code of each image; all N terms of q(z) are
    taken, so there is no bias from minibatches. The other parts are what is left of the KL, so
    that the sum is exact. These are figures of N images: I is at most log N, and where it comes
    near, more images would raise it and lower the marginal KL.

    The time grows with N^2 K: 10,000 images of 20 dimensions take about 10 seconds.
    """
    if not model.posterior.has_density:
        raise OptionError(
            "the surgery of the ELBO needs the density of each posterior at the codes of all "
            f"others, and {type(model.posterior).__name__} has it at its own codes alone: use "
            "another posterior to see the mutual information"
        )
    with no_grad():
        is_apart = comes_apart(model)
        told = _information(model.posterior, parameters, z, is_apart)
        if not is_apart:
            return _parts(told[:, 0], kl)
        apart = _kl_apart(model, parameters, z)  # (N, K)
    return _parts(told[:, 0], kl, (apart - told[:, 1:]).mean(axis=0))


def comes_apart(model: VAE) -> bool:
    """Whether the dimensions are independent under q(z | x) and under p(z)."""
    return model.posterior.is_factorised and model.prior.is_standard


def _parts(told: np.ndarray, kl: np.ndarray, dimension_kl: np.ndarray | None = None) -> Surgery:
    count = len(told)
    marginal = float(kl.mean(dtype=np.float64) - told.mean())
    error = float(told.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    total, dimensions = None, []
    if dimension_kl is not None:
        total, dimensions = marginal - float(dimension_kl.sum()), dimension_kl.tolist()
    return Surgery(float(told.mean()), marginal, total, dimensions, error, count)


def _kl_apart(model: VAE, parameters: Parameters, z: Tensor) -> np.ndarray:
    """The KL of each image and dimension, (N, K): the model's, with one dimension for K."""
    one = tuple(p.reshape(-1, 1) for p in parameters)
    found = divergence(model.posterior, model.prior, one, z.reshape(-1, 1), None, model.encode)
    apart: np.ndarray = found.numpy().reshape(z.shape).astype(np.float64)
    return apart


def _information(
    posterior: Posterior, parameters: Parameters, z: Tensor, apart: bool
) -> np.ndarray:
    """log q(z | x) - log q(z) of each code, (N, 1); with ``apart`` of each dimension, too.

    That is (N, 1 + K), with the whole code first.
    """
    numbers = len(z) * (z.shape[1] if posterior.is_factorised else 1)
    rows, xp = max(1, NUMBERS // numbers), z.backend.xp
    parts = []
    for first in range(0, len(z), rows):
        codes = z.array[first : first + rows]
        log_q = _log_densities(posterior, parameters, codes)  # (C, K or 1, N)
        whole = log_q.sum(axis=1, keepdims=True)
        log_q = xp.concatenate([whole, log_q], axis=1) if apart else whole
        own = log_q[xp.arange(len(codes)), :, xp.arange(first, first + len(codes))]
        parts.append(z.backend.to_host(own.astype("float64") - _log_mean_exp(log_q)))
    return np.concatenate(parts)


def _log_densities(posterior: Posterior, parameters: Parameters, z: Array) -> Array:
    """log q(z | x) of C codes under all N posteriors, (C, K, N): that of each dimension.

    (C, 1, N) where the dimensions are not independent.
    """
    xp, count, (codes, latent) = namespace(z), len(parameters[0]), z.shape
    if posterior.is_factorised:
        shape = (codes, latent, count)
        spread = [xp.broadcast_to(p.array.T, shape).reshape(-1, 1) for p in parameters]
        z = xp.broadcast_to(z[:, :, None], shape).reshape(-1, 1)
    else:
        shape = (codes, 1, count)
        stretched = [xp.broadcast_to(p.array, (codes, *p.shape)) for p in parameters]
        spread = [p.reshape(-1, *p.shape[2:]) for p in stretched]
        z = xp.broadcast_to(z[:, None], (codes, count, latent)).reshape(-1, latent)
    log_q = posterior.log_prob(tuple(map(Tensor.wrap, spread)), Tensor.wrap(z))
    return log_q.array.reshape(shape)


def _log_mean_exp(x: Array) -> Array:
    """The logarithm of the mean of e^x over the last axis, in float64."""
    xp = namespace(x)
    top = x.max(axis=-1, keepdims=True)
    mean = xp.exp(x - top).mean(axis=-1, dtype="float64")
    return xp.log(mean) + top[..., 0].astype("float64")
