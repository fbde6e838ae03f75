r"""A mixture of Gaussians as a posterior: how a gradient reaches its weights.

A code is drawn from a mixture by drawing a component first. Which one, is no differentiable
function of the weights; but there is another way to the same code that is. With F_k the
distribution function of z_k given the dimensions before it,

    u_k = F_k(z_k | z_1, ..., z_(k-1)),    k = 1, ..., K,

are independent and uniform whatever the parameters, and z is a differentiable function of u and
the parameters p. At a fixed u, 0 = dF = (dF/dz) dz + (dF/dp) dp, and so

    dz/dp = -(dF/dz)^-1 dF/dp,

which needs neither u nor the inverse of F: it is the gradient of z as a function of u, wherever z
came from (Graves, 2016; Figurnov et al., 2018). dF/dz is triangular.
"""

from __future__ import annotations

from tinyvae.autograd import Tensor, op, ops
from tinyvae.autograd.derivations import LOG_2_PI, gaussian_log_likelihood
from tinyvae.autograd.lift import ValueAndPullback
from tinyvae.autograd.ops import namespace
from tinyvae.backend import Array, once
from tinyvae.distributions.part import whole
from tinyvae.distributions.posteriors import POSTERIORS, Parameters, Posterior, cut
from tinyvae.noise import Noise


def normal_cdf(x: Array) -> Array:
    """The distribution function of N(0, 1), with n its density.

    Up to |x| = 3 it is 1/2 + n(x) (x + x^3/3 + x^5/(3 5) + ...), whose terms have one sign;
    further out the tail is n(x) / (x + 1 / (x + 2 / (x + 3 / ...))), which keeps its digits.
    """
    xp = namespace(x)
    size = xp.minimum(xp.abs(x), 40)
    near, far = xp.minimum(size, 3), xp.maximum(size, 3)
    series, fraction = near * 0 + 1, far
    for n in range(50, 0, -1):
        series = 1 + series * near * near / (2 * n + 1)
        fraction = far + n / fraction
    density = xp.exp(-(size * size + LOG_2_PI) / 2)
    tail = xp.where(size < 3, 0.5 - near * series * density, density / fraction)
    return xp.where(x > 0, 1 - tail, tail)


def running_sum(x: Array) -> Array:
    """The sums of the first, the first two, ... along the last axis; a replay knows no cumsum."""
    place = namespace(x).arange(x.shape[-1])
    total: Array = x @ (place[:, None] <= place).astype(x.dtype)
    return total


def drawn_code(logits: Array, means: Array, log_variances: Array, noise: Array) -> Array:
    """A component by the last number of the noise, and a code of it by the others, (B, K)."""
    xp = namespace(logits)
    weights = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    ends = running_sum(weights)  # (B, C)
    u = normal_cdf(noise[:, -1:]) * ends[:, -1:]
    place = xp.sum((u >= ends[:, :-1]).astype(logits.dtype), axis=1)[:, None]
    chosen = (xp.arange(ends.shape[1]).astype(logits.dtype) == place)[..., None]
    mean, log_variance = (xp.sum(xp.where(chosen, p, p * 0), 1) for p in (means, log_variances))
    return mean + xp.exp(log_variance / 2) * noise[:, :-1]


@op
def mixture_sample(
    logits: Array, means: Array, log_variances: Array, *, noise: Array
) -> ValueAndPullback:
    r"""A code of each mixture, with the gradient of the code as a function of its quantiles.

    Parameters
    ----------
    logits : (B, C)
        Of the weights: w = softmax(logits).
    means, log_variances : (B, C, K)
    noise : (B, K + 1)
        From the standard normal.

    Returns
    -------
    (B, K)

    Notes
    -----
    In dimension k, with

        e_c = (z_k - mean_c) / sigma_c,    n_c = N(z_k; mean_c, sigma_c^2),
        r_c = w_c (n_c of the dimensions before) / (the same, summed over c),

        F = sum_c r_c Phi(e_c),    f = dF/dz_k = sum_c r_c n_c,    D_c = r_c (Phi(e_c) - F),

    D_c is the slope of F for log r_c. The gradient of a loss whose slope for z is g is
    -t dF/dp, where t (dF/dz) = g: from the last dimension to the first,

        t_k = (g_k + sum_c S_c e_c / sigma_c) / f,    S_c = sum of t D_c over dimensions after k,

        dL/dlogit_c = -(sum of t D_c over all dimensions),
        dL/dmean_c = t r_c n_c - S_c e_c / sigma_c,
        dL/dlog_variance_c = (t r_c n_c sigma_c e_c - S_c (e_c^2 - 1)) / 2.

    The estimate has no bias. It divides by the density f, so that a code between components that
    are far apart, where f is all but 0, makes it very large now and then.
    """
    xp = namespace(logits)
    z = drawn_code(logits, means, log_variances, noise)

    def pull(g: Array) -> tuple[Array, Array, Array]:
        sigma = xp.exp(log_variances / 2)
        e = (z[:, None] - means) / sigma  # (B, C, K)
        log_n = -(e * e + log_variances + LOG_2_PI) / 2
        log_r = logits[..., None] + running_sum(log_n) - log_n
        r = xp.exp(log_r - xp.max(log_r, axis=1, keepdims=True))
        r = r / xp.sum(r, axis=1, keepdims=True)
        below, rn, slope = normal_cdf(e), r * xp.exp(log_n), e / sigma
        D = r * (below - xp.sum(r * below, axis=1, keepdims=True))
        t, S = xp.zeros_like(z), xp.zeros_like(D)
        after = xp.zeros_like(logits)  # S of the dimension under way
        for k in range(z.shape[1] - 1, -1, -1):
            S[:, :, k] = after
            pulled = g[:, k] + xp.sum(after * slope[:, :, k], axis=1)
            t[:, k] = pulled / xp.sum(rn[:, :, k], axis=1)
            after = after + t[:, k][:, None] * D[:, :, k]
        trn = t[:, None] * rn
        return -after, trn - S * slope, (trn * sigma * e - S * (e * e - 1)) / 2

    pulled = once(pull)
    return z, tuple(lambda g, k=k: pulled(g)[k] for k in range(3))


class GaussianMixture(Posterior):
    """A mixture of C diagonal Gaussians for each image: ``"mixture:3"``.

    The parameters are means and log variances, each (B, C, K), and the logits of the weights.
    """

    is_factorised = False

    def __init__(self, latent: int, noise: Noise, components: float = 3) -> None:
        super().__init__(latent, noise)
        self.shape = (whole(components), latent)

    @property
    def outputs(self) -> int:
        return self.shape[0] * (2 * self.latent + 1)

    @property
    def noise_width(self) -> int:
        return self.latent + 1

    def split(self, output: Tensor) -> Parameters:
        size = self.shape[0] * self.latent
        means, log_variances, logits = cut(output, [size, size, self.shape[0]])
        return means.reshape(-1, *self.shape), log_variances.reshape(-1, *self.shape), logits

    def sample(self, parameters: Parameters, noise: Array) -> Tensor:
        means, log_variances, logits = parameters
        return mixture_sample(logits, means, log_variances, noise=noise)

    def log_prob(self, parameters: Parameters, z: Tensor) -> Tensor:
        means, log_variances, logits = parameters
        stretched = ops.broadcast_to(z[:, None], shape=means.shape)
        each = gaussian_log_likelihood(stretched, means, log_variances)  # (B, C)
        return ops.logsumexp(ops.log_softmax(logits) + each)

    def mean(self, parameters: Parameters) -> Tensor:
        means, _, logits = parameters
        return (ops.softmax(logits)[..., None] * means).sum(axis=1)


POSTERIORS |= {"mixture": GaussianMixture}
