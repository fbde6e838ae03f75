r"""The Gaussian of full covariance C = A A^T, by its Cholesky factor A.

A is lower triangular: exp(log_diagonal) on its diagonal, and below it the numbers of `lower`,
row by row: of K dimensions A has K in the diagonal and K (K - 1)/2 below.
"""

from __future__ import annotations

from tinyvae.autograd.derivations import LOG_2_PI, kl_standard_normal
from tinyvae.autograd.lift import ValueAndPullback, core_op
from tinyvae.autograd.ops import namespace
from tinyvae.backend import Array, same_shape
from tinyvae.errors import ShapeError


@core_op()
def cholesky_sample(
    mean: Array, log_diagonal: Array, lower: Array, noise: Array
) -> ValueAndPullback:
    r"""The reparameterised sample z = mean + A noise of a Gaussian of full covariance.

    Parameters
    ----------
    mean, log_diagonal, noise : (..., K)
        With noise from the standard normal, z is from N(mean, A A^T).
    lower : (..., K (K - 1)/2)
        A below its diagonal, row by row.

    Returns
    -------
    (..., K)

    Notes
    -----
    With the matrix A and the noise n,

        z_i = mean_i + A_i1 n_1 + ... + A_ii n_i,

        dz_i/dmean_i = 1,    dz_i/dA_ij = n_j,    dz_i/dn_j = A_ij,

    and the diagonal is A_ii = exp(log_diagonal_i), its own slope.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> zeros = Tensor([[0.0, 0.0]])
    >>> cholesky_sample(zeros, zeros, Tensor([[3.0]]), Tensor([[1.0, 2.0]]))
    Tensor([[1.0, 5.0]])
    """
    check_factor("cholesky_sample", lower, mean, log_diagonal, noise)
    factor, diagonal = factor_of(log_diagonal, lower)
    return mean + (factor @ noise[..., None])[..., 0], (
        lambda g: g,
        lambda g: g * diagonal * noise,
        lambda g: below_diagonal(g[..., :, None] * noise[..., None, :]),
        lambda g: (factor.swapaxes(-1, -2) @ g[..., None])[..., 0],
    )


@core_op()
def cholesky_log_likelihood(
    x: Array, mean: Array, log_diagonal: Array, lower: Array
) -> ValueAndPullback:
    r"""log N(x; mean, A A^T) of a Gaussian of full covariance, in nats.

    Parameters
    ----------
    x, mean, log_diagonal : (..., K)
    lower : (..., K (K - 1)/2)
        A below its diagonal, row by row.

    Returns
    -------
    (...,)

    Notes
    -----
    The noise n that makes x has the density of the standard normal, and A stretches volumes by
    its determinant, the product of its diagonal. With

        A n = x - mean,    A^T y = n,

    each solved by substitution, row after row,

        L = -(n^T n)/2 - sum(log_diagonal) - K/2 log(2 pi).

    Since dn = A^-1 (dx - dA n) and n^T A^-1 = y^T, the slopes are

        dL/dx = -y,    dL/dmean = y,    dL/dA = y n^T - (1 / A_ii in the diagonal),

    and for the diagonal, times its own slope, dL/dlog_diagonal_i = A_ii y_i n_i - 1.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> zeros = Tensor([[0.0, 0.0]])
    >>> round(cholesky_log_likelihood(zeros, zeros, zeros, Tensor([[3.0]])).item(), 6)
    -1.837877
    """
    check_factor("cholesky_log_likelihood", lower, x, mean, log_diagonal)
    xp = namespace(x)
    factor, diagonal = factor_of(log_diagonal, lower)
    noise = forward_substitution(factor, x - mean)
    y = backward_substitution(factor, noise)
    return xp.sum(-(noise * noise + LOG_2_PI) / 2 - log_diagonal, axis=-1), (
        lambda g: g[..., None] * -y,
        lambda g: g[..., None] * y,
        lambda g: g[..., None] * (diagonal * y * noise - 1),
        lambda g: below_diagonal(g[..., None, None] * (y[..., :, None] * noise[..., None, :])),
    )


@core_op()
def kl_cholesky_standard_normal(mean: Array, log_diagonal: Array, lower: Array) -> ValueAndPullback:
    r"""KL(N(mean, A A^T) || N(0, I)) of a Gaussian of full covariance, in nats.

    Parameters
    ----------
    mean, log_diagonal : (..., K)
    lower : (..., K (K - 1)/2)
        A below its diagonal, row by row.

    Returns
    -------
    (...,)
        Never negative, and 0 only for q = N(0, I).

    Notes
    -----
    The mean of ||z||^2 under q is ||mean||^2 and the sum of the squares of all numbers in A;
    the entropy is that of N(0, I) and the logarithm of A's determinant. So

        KL = sum(mean^2 + A_ii^2 - 1 - log A_ii^2)/2 + sum(lower^2)/2,

    that of independent dimensions with the variances A_ii^2, and the squares of the rest:

        dKL/dmean = mean,    dKL/dlog_diagonal = A_ii^2 - 1,    dKL/dlower = lower.

    Examples
    --------
    >>> from tinyvae.autograd.tensor import Tensor
    >>> zeros = Tensor([[0.0, 0.0]])
    >>> kl_cholesky_standard_normal(zeros, zeros, Tensor([[3.0]]))
    Tensor([4.5])
    """
    check_factor("kl_cholesky_standard_normal", lower, mean, log_diagonal)
    independent, slopes = kl_standard_normal.bare(mean, 2 * log_diagonal)  # type: ignore[attr-defined]
    return independent + namespace(mean).sum(lower * lower, axis=-1) / 2, (
        slopes[0],
        lambda g: 2 * slopes[1](g),
        lambda g: g[..., None] * lower,
    )


# The matrix A


def check_factor(name: str, lower: Array, *others: Array) -> None:
    """Refuse shapes that do not fit."""
    same_shape(name, *others)
    *batch, k = others[0].shape
    if lower.shape != (*batch, k * (k - 1) // 2):
        raise ShapeError(
            f"{name}: of {k} dimensions the factor has {k * (k - 1) // 2} numbers below its "
            f"diagonal, so lower is of shape {(*batch, k * (k - 1) // 2)}, not {lower.shape}"
        )


def factor_of(log_diagonal: Array, lower: Array) -> tuple[Array, Array]:
    """A, of shape (..., K, K), and its diagonal."""
    xp, k = namespace(log_diagonal), log_diagonal.shape[-1]
    diagonal = xp.exp(log_diagonal)
    # zeros_like, since what is made from nothing is not written down where a step is replayed
    factor = xp.zeros_like(xp.broadcast_to(diagonal[..., None], (*diagonal.shape, k)))
    for i in range(k):
        factor[..., i, :i] = lower[..., i * (i - 1) // 2 : i * (i + 1) // 2]
        factor[..., i, i] = diagonal[..., i]
    return factor, diagonal


def below_diagonal(matrix: Array) -> Array:
    """The numbers of a matrix below its diagonal, row by row: (..., K, K) to those of `lower`."""
    rows = (matrix[..., i, :i] for i in range(matrix.shape[-1]))
    return namespace(matrix).concatenate([*rows], axis=-1)


def forward_substitution(factor: Array, x: Array) -> Array:
    """The n with A n = x, from the first row to the last."""
    xp, n = namespace(x), x * 0
    for i in range(x.shape[-1]):
        known = xp.sum(factor[..., i, :i] * n[..., :i], axis=-1)
        n[..., i] = (x[..., i] - known) / factor[..., i, i]
    return n


def backward_substitution(factor: Array, n: Array) -> Array:
    """The y with A^T y = n, from the last row to the first."""
    xp, y = namespace(n), n * 0
    for i in reversed(range(n.shape[-1])):
        known = xp.sum(factor[..., i + 1 :, i] * y[..., i + 1 :], axis=-1)
        y[..., i] = (n[..., i] - known) / factor[..., i, i]
    return y
