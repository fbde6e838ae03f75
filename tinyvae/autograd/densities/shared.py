"""What several of the densities rest on."""

from __future__ import annotations

import math

from tinyvae.autograd.derivations import excess
from tinyvae.autograd.lift import ValueAndPullback
from tinyvae.autograd.ops import namespace
from tinyvae.backend import Array


def folded(uniform: Array) -> tuple[Array, Array]:
    """The sign of u - 1/2, and t = min(u, 1 - u), how far u is from the nearer end of [0, 1].

    `Noise.uniform` gives multiples of half the dtype's epsilon from 0. There 0 stands for all
    that is less than the next one, and is taken for the middle of that, a quarter of epsilon:
    2^-25 in float32, 2^-54 in float64. So no logarithm of t is infinite.
    """
    xp = namespace(uniform)
    middle = float(xp.finfo(uniform.dtype).eps) / 4
    return xp.sign(uniform - 0.5), xp.maximum(xp.minimum(uniform, 1 - uniform), middle)


def kl_of_moments(
    mean: Array, log_scale: Array, unit_variance: float, negentropy: float
) -> ValueAndPullback:
    """KL(q || N(0, 1)) of a q with that variance at scale 1, and of that negentropy.

    The negentropy is how much less q's entropy is than that of the Gaussian of its variance v:
    a property of its form alone. Since log N(z; 0, 1) is a square, its mean under q is the one
    under that Gaussian g: KL(q || N(0, 1)) = KL(g || N(0, 1)) + negentropy.
    """
    xp = namespace(mean)
    log_v = 2 * log_scale + math.log(unit_variance)
    # v - 1, by a product, since the exponential of log v magnifies its rounding
    surplus = unit_variance * xp.exp(2 * log_scale) - 1
    spread = excess(log_v, surplus)
    return xp.sum((mean * mean + spread) / 2 + negentropy, axis=-1), (
        lambda g: g[..., None] * mean,
        lambda g: g[..., None] * surplus,
    )
