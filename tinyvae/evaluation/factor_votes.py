"""FactorVAE's score: which dimension stands still when one factor is held, put to the vote."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyvae.errors import OptionError, ShapeError
from tinyvae.noise import Noise

STILL = 0.05  # of the largest spread over the data; a dimension of less is collapsed


class Groups(NamedTuple):
    """Factors of images to draw, in groups that share the value of one factor.

    Attributes
    ----------
    factors : (V, L, F) ndarray
    kept : (V,) ndarray
        The factor that each group shares.
    """

    factors: np.ndarray
    kept: np.ndarray


def groups_sharing(factors: np.ndarray, votes: int = 800, size: int = 64, seed: int = 0) -> Groups:
    """Factors for `factor_vae_score`: groups that share one factor, all others independent.

    Each column is drawn from the rows of ``factors`` for itself, which is how images are made
    whose factors are independent, as those of `faces` and `sprites` are.

    Parameters
    ----------
    factors : (N, F) array
        Such as the labels of a data set.
    votes, size : int
        V groups, and L images in each.
    seed : int

    Examples
    --------
    >>> factors = np.array([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]])
    >>> groups = groups_sharing(factors, votes=4, size=3)
    >>> groups.factors.shape, groups.kept.shape
    ((4, 3, 2), (4,))
    """
    if factors.ndim != 2 or min(factors.shape) < 1:
        raise ShapeError(f"factors are of shape (N, F), none of them 0, not {factors.shape}")
    if votes < 2 or size < 2:
        raise OptionError(f"groups and images in each are from 2 up, not {votes} and {size}")
    noise = Noise(seed, "groups", backend="numpy")
    count, width = factors.shape
    kept, shape = noise.integers(width, (votes,)), (votes, size)
    columns = [column[noise.integers(count, shape)] for column in factors.T]
    drawn, every = np.stack(columns, axis=-1), np.arange(votes)  # (V, L, F)
    drawn[every, :, kept] = drawn[every, :1, kept]
    return Groups(drawn, kept)


def factor_vae_score(codes: np.ndarray, kept: np.ndarray, spread: np.ndarray) -> float:
    """FactorVAE's score (Kim and Mnih, 2018): the accuracy of a majority vote.

    The dimension that varies least within a group, against its spread over the data, votes for
    the factor that the group shares. The first half of the groups decides which factor each
    dimension stands for, and the score is the share of the second half that it is right for
    (the paper judges by the groups that decided; Locatello et al., 2019, by others, as here).

    Parameters
    ----------
    codes : (V, L, K) array
        Posterior means of V groups of L images.
    kept : (V,) array of int
        The factor that each group shares; see `groups_sharing`.
    spread : (K,) array
        The standard deviation of each dimension over the data. One with less than 5 % of the
        largest has no vote: it is collapsed, and its small steps are of no factor.

    Returns
    -------
    float
        From 1 / F, by chance, to 1. Two dimensions for one factor cost nothing here, unlike in
        the MIG.

    Raises
    ------
    ShapeError
        Shapes that do not fit together.
    OptionError
        Every dimension is constant.

    Examples
    --------
    >>> factors = Noise(0).uniform((100, 3))
    >>> groups = groups_sharing(factors, votes=60, size=8)
    >>> factor_vae_score(groups.factors, groups.kept, factors.std(axis=0))
    1.0
    """
    if codes.ndim != 3 or kept.shape != codes.shape[:1] or spread.shape != codes.shape[2:]:
        raise ShapeError(
            "codes (V, L, K) go with kept (V,) and spread (K,), not "
            f"{codes.shape} with {kept.shape} and {spread.shape}"
        )
    moving = np.flatnonzero(spread > STILL * spread.max())
    if not len(moving):
        raise OptionError("every dimension is constant over the data: there is nobody to vote")
    within = codes[:, :, moving].var(axis=1) / spread[moving] ** 2  # (V, K')
    votes, half = within.argmin(axis=1), len(codes) // 2
    table = np.zeros((len(moving), kept.max() + 1), int)
    np.add.at(table, (votes[:half], kept[:half]), 1)
    return float((table.argmax(axis=1)[votes[half:]] == kept[half:]).mean())
