"""How well single latent dimensions stand for single factors of the data: MIG, SAP, DCI, votes.

Codes (N, K) are compared with the true factors (N, F) of the same images. All four measures are 1
where every factor has a dimension of its own, and about 0 where the dimensions are mixed. They
differ in what they mean by "stands for", so they are read together. What to know of all of them:

- Codes are posterior means (Locatello et al., 2019) or draws from q(z | x) (Chen et al., 2018).
  The mean of a collapsed dimension hardly moves, and yet a measure that does not look at the
  scale finds information in it; a draw drowns it in noise. Say which codes were judged.
- A factor in a circle (the rotation of sprites, the background of faces) takes two dimensions,
  which MIG, SAP and completeness count as a fault. A square turned by a quarter is the same
  picture, an ellipse by a half: no code can tell the whole rotation of sprites.
- A factor of few values (glasses of faces, shape of sprites) is a category: list its column in
  ``categorical``, or a line will be laid through its numbers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvae.errors import DataError, OptionError, ShapeError
from tinyvae.noise import Noise

BINS = 20
VALUES = 64  # a column of no more different values keeps them: those are its classes
TREES, LEAF = 30, 5  # of the forests of `dci`: how many, and the fewest rows in a leaf


@dataclass(frozen=True)
class DCI:
    """What `dci` measures.

    Attributes
    ----------
    disentanglement, completeness, informativeness : float
        At most 1. Whether a dimension stands for one factor alone; whether a factor is told by
        one dimension alone; how well the factors are told by all dimensions together.
    importances : (K, F) ndarray
        Of each dimension for each factor; a column sums to 1, or to 0.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importances: np.ndarray


@dataclass(frozen=True)
class Disentanglement:
    """What `disentanglement_scores` measures: `mig`, `sap` and the three of `dci`."""

    mig: float
    sap: float
    disentanglement: float
    completeness: float
    informativeness: float


def disentanglement_scores(
    codes: np.ndarray, factors: np.ndarray, categorical: Collection[int] = (), seed: int = 0
) -> Disentanglement:
    """All measures that need codes and factors alone.

    Parameters
    ----------
    codes : (N, K) array
    factors : (N, F) array
    categorical : collection of int
        Columns of ``factors`` whose numbers are names.
    seed : int
        Of the forests of `dci`.

    Examples
    --------
    >>> factors = np.indices((9, 9)).reshape(2, -1).T  # every pair of 0, ..., 8
    >>> round(disentanglement_scores(factors, factors).mig, 6)
    1.0
    """
    parts = dci(codes, factors, categorical, seed)
    return Disentanglement(
        mig(codes, factors),
        sap(codes, factors, categorical),
        parts.disentanglement,
        parts.completeness,
        parts.informativeness,
    )


# The mutual information gap


def mig(codes: np.ndarray, factors: np.ndarray, bins: int = BINS) -> float:
    """The mutual information gap (Chen et al., 2018), from 0 to 1: the mean of `mig_per_factor`.

    Examples
    --------
    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> mig(factors, factors), mig(factors @ [[1, 1], [1, -1]], factors)
    (1.0, 0.0)
    """
    return float(mig_per_factor(codes, factors, bins).mean())


def mig_per_factor(codes: np.ndarray, factors: np.ndarray, bins: int = BINS) -> np.ndarray:
    """By how much the best dimension for each factor is ahead of the second best.

    Parameters
    ----------
    codes : (N, K) array
    factors : (N, F) array
    bins : int
        Of equal width from the smallest to the largest value of a column, for columns of more
        than 64 different values; the others keep theirs.

    Returns
    -------
    (F,) ndarray
        (I(z_i; v) - I(z_j; v)) / H(v), i and j the dimensions that know most of the factor v.

    Raises
    ------
    ShapeError
        Codes and factors that are not (N, K) and (N, F).
    DataError
        Values that are not finite, or a factor that is always the same.

    Notes
    -----
    Information and entropy are those of the counts, as in Locatello et al. (2019). Chen et al.
    integrate over q(z | x), for which binned draws from it stand here. From N rows the counts
    give too much information, by about (bins - 1) (values of v - 1) / (2 N) nats (Miller, 1955);
    in the gap the two excesses nearly cancel. Have thousands of rows.
    """
    codes, factors = _checked(codes, factors)
    if bins < 2:
        raise OptionError(f"values are told apart by bins, from 2 up, not {bins}")
    names = [_classes(column, bins) for column in factors.T]
    known = np.array(
        [[mutual_information(z, v) for v in names] for z in (_classes(c, bins) for c in codes.T)]
    )
    return _gaps(known) / [_entropy(np.bincount(v)) for v in names]


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """I(a; b) = H(a) + H(b) - H(a, b) of the counts of classes 0, 1, ..., each (N,), in nats.

    >>> round(mutual_information(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])), 6)  # log 2
    0.693147
    """
    both = a * (b.max() + 1) + b
    return _entropy(np.bincount(a)) + _entropy(np.bincount(b)) - _entropy(np.bincount(both))


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _classes(column: np.ndarray, bins: int) -> np.ndarray:
    """What class each value is of: itself, where there are few, or the bin that it lies in."""
    values, classes = np.unique(column, return_inverse=True)
    if len(values) > VALUES:
        share = (column - values[0]) / (values[-1] - values[0])
        classes = np.minimum((share * bins).astype(int), bins - 1)
    return classes


def _gaps(scores: np.ndarray) -> np.ndarray:
    """The largest score of each column less the second largest, where (K, F) has one, else 0."""
    second, first = np.sort(np.vstack([0 * scores[:1], scores]), axis=0)[-2:]
    gaps: np.ndarray = first - second
    return gaps


# Separated attribute predictability


def sap(codes: np.ndarray, factors: np.ndarray, categorical: Collection[int] = ()) -> float:
    """The separated attribute predictability (Kumar et al., 2018), from 0 to 1.

    How well each dimension alone predicts each factor: the best score less the second best,
    averaged over the factors. The score is the squared correlation, or, for a categorical
    factor, the balanced accuracy of the thresholds that a tree with a leaf for each category
    finds on these rows (greedily; the paper has the best ones). A dimension that is constant
    scores 0.

    Parameters
    ----------
    codes : (N, K) array
    factors : (N, F) array
    categorical : collection of int
        Columns of ``factors`` whose numbers are names.

    Raises
    ------
    ShapeError, DataError
        As for `mig_per_factor`.
    OptionError
        A categorical column that there is not, or one of more than 64 values.

    Examples
    --------
    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> sap(factors, factors)
    1.0
    """
    codes, factors = _checked(codes, factors, categorical)
    scores = _squared_correlations(codes, factors)
    for j in categorical:
        scores[:, j] = [_balanced_accuracy(code[:, None], factors[:, j]) for code in codes.T]
    return float(_gaps(scores).mean())


def _squared_correlations(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    z, v = _standardised(codes), _standardised(factors)
    squared: np.ndarray = (z.T @ v / len(z)) ** 2  # (K, F)
    return squared


def _standardised(columns: np.ndarray) -> np.ndarray:
    """With mean 0 and variance 1; a constant column with 0."""
    away = columns - columns.mean(axis=0)
    scale = away.std(axis=0)
    constant = np.ptp(columns, axis=0) == 0
    standardised: np.ndarray = np.where(constant, 0, away / np.where(constant, 1, scale))
    return standardised


def _balanced_accuracy(code: np.ndarray, names: np.ndarray) -> float:
    """Of thresholds on one dimension (N, 1), averaged over the categories."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    if np.ptp(code) == 0:
        return 0.0
    leaves = len(np.unique(names))
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=0)
    return float(balanced_accuracy_score(names, tree.fit(code, names).predict(code)))


# Disentanglement, completeness, informativeness


def dci(
    codes: np.ndarray, factors: np.ndarray, categorical: Collection[int] = (), seed: int = 0
) -> DCI:
    r"""Disentanglement, completeness and informativeness (Eastwood and Williams, 2018).

    Parameters
    ----------
    codes : (N, K) array
    factors : (N, F) array
    categorical : collection of int
        Columns of ``factors`` whose numbers are names.
    seed : int
        Of the forests and of which half of the rows they learn from.

    Raises
    ------
    ShapeError, DataError, OptionError
        As for `sap`.

    Notes
    -----
    A random forest predicts each factor from all dimensions. With R_ij the importance of
    dimension i for factor j (the share of the impurity that its splits take away),

        disentanglement = sum_i rho_i (1 - H_F(R_i. / sum_j R_ij)),    rho_i = sum_j R_ij / sum R,
        completeness = mean_j (1 - H_K(R_.j / sum_i R_ij)),

    the entropies to the base F and K, so that they lie in [0, 1]. Informativeness is
    1 - error / error of the best constant, averaged over the factors, on the half of the rows
    that the forests did not learn from: R^2 for numbers, with the share of wrong names in place
    of the squared error for categories. (The paper states the error itself.)

    Examples
    --------
    >>> factors = Noise(0).uniform((500, 2))
    >>> result = dci(3 * factors[:, ::-1], factors)
    >>> result.disentanglement > 0.9, result.importances.argmax(axis=0)
    (True, array([1, 0]))
    """
    codes, factors = _checked(codes, factors, categorical)
    order = Noise(seed, "dci", backend="numpy").permutation(len(codes))
    halves = np.array_split(order, 2)
    forests = [
        _forest(codes, factor, j in categorical, halves, seed) for j, factor in enumerate(factors.T)
    ]
    importances = np.stack([importance for importance, _ in forests], axis=1)  # (K, F)
    share = importances.sum(axis=1) / max(importances.sum(), 1e-12)
    return DCI(
        float(share @ _concentration(importances)),
        float(_concentration(importances.T).mean()),
        float(np.mean([skill for _, skill in forests])),
        importances,
    )


def _forest(
    codes: np.ndarray, factor: np.ndarray, is_name: bool, halves: list[np.ndarray], seed: int
) -> tuple[np.ndarray, float]:
    """How important each dimension is to predict the factor, (K,), and how well that goes."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    learn, judge = halves
    made: Any = RandomForestClassifier if is_name else RandomForestRegressor
    # Every split may choose among all dimensions: a choice among a few would spread importance.
    forest = made(TREES, min_samples_leaf=LEAF, max_features=None, random_state=seed)
    told = forest.fit(codes[learn], factor[learn]).predict(codes[judge])
    return forest.feature_importances_, _skill(told, factor[judge], is_name)


def _skill(told: np.ndarray, factor: np.ndarray, is_name: bool) -> float:
    """1 - error / error of the best constant."""
    if is_name:
        counts = np.unique(factor, return_counts=True)[1]
        error, constant = (told != factor).mean(), 1 - counts.max() / len(factor)
    else:
        error, constant = ((told - factor) ** 2).mean(), factor.var()
    return float(1 - error / constant) if constant else float(error == 0)


def _concentration(weights: np.ndarray) -> np.ndarray:
    """1 less the entropy of each row of (R, C) to the base C: 1 for all weight on one place."""
    total = weights.sum(axis=1, keepdims=True)
    p = np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / weights.shape[1])
    terms = p * np.log(np.where(p > 0, p, 1))
    concentration: np.ndarray = 1 + terms.sum(axis=1) / np.log(max(2, weights.shape[1]))
    return concentration


def _checked(
    codes: np.ndarray, factors: np.ndarray, categorical: Collection[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64, if they can be compared."""
    codes, factors = np.asarray(codes, float), np.asarray(factors, float)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or len(codes) < 4:
        raise ShapeError(
            "codes of shape (N, K) are compared with factors (N, F) of the same images, N from 4 "
            f"up, not {codes.shape} with {factors.shape}"
        )
    if not (np.isfinite(codes).all() and np.isfinite(factors).all()):
        raise DataError("there are codes or factors that are NaN or infinite")
    if len(still := np.flatnonzero(np.ptp(factors, axis=0) == 0)):
        raise DataError(f"factor {still[0]} is always the same, so there is nothing to know of it")
    for j in categorical:
        if j not in range(factors.shape[1]) or len(np.unique(factors[:, j])) > VALUES:
            raise OptionError(
                f"categorical lists columns of at most {VALUES} different values, from 0 to "
                f"{factors.shape[1] - 1}; {j} is none"
            )
    return codes, factors
