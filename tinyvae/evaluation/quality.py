"""How near a model's samples are to images of the data: distances between sets of features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinyvae.data.dataset import Dataset
from tinyvae.errors import DataError, ShapeError
from tinyvae.evaluation.features import Labeller, train_labeller
from tinyvae.models.vae import VAE

NEIGHBOURS = 5  # the ball about a point reaches to this one of its neighbours
ROWS = 1000  # points whose distances to all others are there at once


@dataclass(frozen=True)
class Scores:
    """How near a set of points is to a set of real ones.

    Attributes
    ----------
    frechet : float
        The squared Frechet distance between the Gaussians with their means and covariances
        (Heusel et al., 2017); 0 for the same, and no unit that another network shares.
    precision, recall : float
        The share of points in the balls about real ones, and of real ones in the balls about
        points (Kynkaanniemi et al., 2019).
    density, coverage : float
        How many balls about real ones a point lies in, over the number of neighbours, and the
        share of these balls with a point in them (Naeem et al., 2020).
    """

    frechet: float
    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class Quality:
    """What `sample_quality` measures.

    Attributes
    ----------
    samples, floor : Scores
        Of the model's samples; and of other real images in their place, which is as well as
        a sample can do.
    count : int
        How many there are of the samples, and of either kind of real images.
    accuracy : float
        Of the network whose features are used, on the test images: the share of classes told,
        or R^2 of factors. Where it is low the features say little.
    """

    samples: Scores
    floor: Scores
    count: int
    accuracy: float


def sample_quality(
    model: VAE, dataset: Dataset, seed: int = 0, labeller: Labeller | None = None
) -> Quality:
    """How near samples of a model are to the test images.

    They are compared in the features of a small network that is trained here on the labels of
    the training images. The test images are dealt into two halves: the samples are held to one
    of them, and for the floor the other half is, so that both are of one number.

    Parameters
    ----------
    model : VAE
        Of images of the data set's shape; what is measured are its mean images.
    dataset : Dataset
        With labels.
    seed : int
        Of the samples and of the network.
    labeller : Labeller, optional
        One that `train_labeller` has made, to compare several models by the same features.

    Raises
    ------
    DataError
        No labels, or fewer than 12 test images.

    Notes
    -----
    Frechet distances depend on the features and, through the noise of the covariances, on the
    number of points: compare only what was measured by one network with one number. They are
    no published FID, whose features are those of an Inception network.
    """
    if len(dataset.test) < 2 * (NEIGHBOURS + 1):
        raise DataError(
            f"{len(dataset.test)} test images are too few to measure samples by: of either half "
            f"{NEIGHBOURS + 1} at least are wanted"
        )
    labeller = labeller or train_labeller(dataset, seed)
    features = labeller.features(dataset.test)
    real, others = features[::2], features[1::2]
    drawn = labeller.features(model.sample(len(others), seed))
    accuracy = labeller.accuracy(dataset.test)
    return Quality(scores(real, drawn), scores(real, others), len(others), accuracy)


def scores(real: np.ndarray, points: np.ndarray) -> Scores:
    """All `Scores` of points (M, F) beside real ones (N, F).

    >>> points = np.random.default_rng(0).standard_normal((20, 2))
    >>> scores(points, points + 100).coverage
    0.0
    """
    return Scores(frechet_distance(real, points), *neighbour_scores(real, points))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    r"""The squared Frechet distance between two sets of points, (N, F) and (M, F), as Gaussians.

    Raises
    ------
    ShapeError
        Not two tables of one width, with 2 rows or more.

    Notes
    -----
    Of the Gaussians with the sets' means m and covariances C (Dowson and Landau, 1982) it is

        |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

    With factors C_a = A A', C_b = B B' the trace of the root is the sum of the singular values
    of A'B: for (A'B)(A'B)' = A' C_b A has the eigenvalues of A A' C_b = C_a C_b. No root of a
    product of covariances is taken, which need not be symmetric, and is not where they are
    singular.

    Examples
    --------
    >>> a = np.array([[0.0], [2.0]])
    >>> round(frechet_distance(a, 3 * a + 1), 6)  # means 1 and 4, sigmas sqrt(2) and 3 sqrt(2)
    17.0
    """
    _check_tables(a, b)
    (mean, factor), (other_mean, other_factor) = map(_gaussian, (a, b))
    root = np.linalg.svd(factor.T @ other_factor, compute_uv=False).sum()
    spread = (factor**2).sum() + (other_factor**2).sum() - 2 * root
    return float(((mean - other_mean) ** 2).sum() + max(spread, 0.0))


def _gaussian(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean (F,) and a factor A (F, F) of the covariance, C = A A'."""
    variances, axes = np.linalg.eigh(np.cov(points, rowvar=False).reshape(points.shape[1], -1))
    return points.mean(axis=0), axes * np.sqrt(np.maximum(variances, 0))


def neighbour_scores(
    real: np.ndarray, points: np.ndarray, neighbours: int = NEIGHBOURS
) -> tuple[float, float, float, float]:
    """Precision, recall, density and coverage of points (M, F) beside real ones (N, F).

    About each point of a set there is a ball that reaches to its k-th nearest neighbour in the
    same set. The balls of the real points stand for where the data are.

    Raises
    ------
    ShapeError
        Not two tables of one width with more rows than neighbours.

    Examples
    --------
    >>> points = np.arange(8.0)[:, None]
    >>> neighbour_scores(points, points[:4], neighbours=1)
    (1.0, 0.625, 2.75, 0.625)
    """
    _check_tables(real, points, neighbours + 1)
    rounding = 1e-12 * real.var(axis=0).sum()  # a point on the sphere is in the ball
    radii, other_radii = (_radii(own, neighbours) + rounding for own in (real, points))
    precise, recalled, inside = 0, np.zeros(len(real), bool), np.zeros(len(real), int)
    for rows, distances in _distances(points, real):  # (rows, N)
        near = distances <= radii
        precise += int(near.any(axis=1).sum())
        inside += near.sum(axis=0)
        recalled |= (distances <= other_radii[rows, None]).any(axis=0)
    density = inside.sum() / (neighbours * len(points))
    return precise / len(points), recalled.mean().item(), density.item(), (inside > 0).mean().item()


def _radii(points: np.ndarray, neighbours: int) -> np.ndarray:
    """The squared distance of each point to its k-th nearest neighbour, (N,)."""
    parts = [np.partition(d, neighbours)[:, neighbours] for _, d in _distances(points, points)]
    return np.concatenate(parts) * (1 + 1e-9)


def _distances(points: np.ndarray, others: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Some points at a time, and their squared distances to all others, (rows, N)."""
    center = others.mean(axis=0)  # so that less cancels
    points, others = points - center, others - center
    squares, other_squares = ((table**2).sum(axis=1) for table in (points, others))
    for start in range(0, len(points), ROWS):
        rows = slice(start, start + ROWS)
        found = squares[rows, None] + other_squares - 2 * (points[rows] @ others.T)
        yield rows, np.maximum(found, 0)


def _check_tables(a: np.ndarray, b: np.ndarray, rows: int = 2) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < rows:
        raise ShapeError(
            f"two sets of points are tables of one width with {rows} rows or more, not of shapes "
            f"{a.shape} and {b.shape}"
        )
