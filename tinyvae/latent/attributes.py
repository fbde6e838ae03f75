"""Attributes: where a code has to go for one factor of its image to change and no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from tinyvae.errors import DataError, OptionError, ShapeError


def attribute_vector(model: Any, images: Any, labels: np.ndarray) -> np.ndarray:
    """The change of the posterior mean that one unit of a label brings.

    The slopes of the least-squares fit  z = b + labels A  of the codes on all labels at once.

    With one binary label the slope is the mean of the codes with it less the mean of those
    without: the attribute vector of Larsen et al. (2016). Whatever goes with the label in the data
    goes into it as well: where most who wear a hat are bearded, it puts on a hat and a beard. White
    (2016) balances the data for that. With several labels, each slope is that of a label while
    the others are held, which balances them without leaving any image out: give all that
    are known, and take the row of the one that shall move.

    Parameters
    ----------
    model : VAE
    images : ndarray or OnDisk
        N images of the model's shape.
    labels : ndarray, shape (N,) or (N, F)
        Binary or graded, one or several for each image. A class k is binary: ``labels == k``.

    Returns
    -------
    ndarray, shape (K,) or (F, K)
        Add it to a code, as often as the label shall rise by one.

    Raises
    ------
    DataError
        A label that is the same for all images, or that the others determine: no slope is its own.
    ShapeError
        Labels that are not one row an image.

    Examples
    --------
    >>> import tinyvae as tv
    >>> images, hat = np.eye(4, dtype=np.float32).reshape(4, 2, 2), np.array([0, 0, 1, 1])
    >>> model = tv.VAE((2, 2), latent=3, hidden=(4,))
    >>> vector = attribute_vector(model, images, hat)
    >>> codes = model.embed(images)[0]
    >>> np.allclose(vector, codes[2:].mean(axis=0) - codes[:2].mean(axis=0), atol=1e-6)
    True
    """
    codes = model.embed(images)[0]
    factors = checked_labels(labels, len(codes))
    _check_independent(factors)
    slopes = Attributes.fit(codes, factors).slopes
    return slopes[0] if np.ndim(labels) == 1 else slopes


def checked_labels(labels: np.ndarray, count: int) -> np.ndarray:
    """The labels as (N, F), in float64."""
    labels = np.asarray(labels, np.float64)
    if labels.ndim not in (1, 2) or len(labels) != count or not labels.size:
        raise ShapeError(
            f"labels of {count} images are of shape ({count},) or ({count}, F), not {labels.shape}"
        )
    if not np.isfinite(labels).all():
        raise DataError("a label is NaN or infinite: leave that image out")
    return labels.reshape(count, -1)


def _check_independent(factors: np.ndarray) -> None:
    """Refuse labels of which one is the same for all, or told by the others."""
    still = np.flatnonzero(np.ptp(factors, axis=0) == 0)
    if still.size:
        raise DataError(f"label {still[0]} is {factors[0, still[0]]:g} for every image")
    centred = (factors - factors.mean(axis=0)) / factors.std(axis=0)
    if np.linalg.matrix_rank(centred, tol=1e-6 * np.sqrt(len(factors))) < factors.shape[1]:
        raise DataError(
            "a label is a linear function of the others, so that none can move while the others "
            "are held: leave it out"
        )


@dataclass(frozen=True)
class Attributes:
    """The mean code of the images with given factors, E[z | f], as a polynomial e(f).

    A walk that takes one factor from f to f' adds e(f') - e(f) to the code, whatever else there
    is in it. Of degree 1 these are the attribute vectors, the same everywhere. From degree 2 on
    the way depends on the other factors (long hair takes another change of code to become fair
    than short hair) and may bend.

    Attributes
    ----------
    degree : int
        Of the polynomial, in all factors together.
    circular : tuple of int
        Columns of the factors that go round in a circle, with 0 and 1 the same; they enter by
        their cosine and sine.
    centre, scale : ndarray, shape (F,)
        By which the factors are standardised.
    weights : ndarray, shape (M, K)
        Of the M monomials.
    """

    degree: int
    circular: tuple[int, ...]
    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(
        cls, codes: np.ndarray, factors: np.ndarray, degree: int = 1, circular: Sequence[int] = ()
    ) -> Attributes:
        """The least-squares polynomial of codes (N, K) on factors (N, F).

        Raises
        ------
        OptionError
            A degree below 1.
        DataError
            More monomials than codes.

        Examples
        --------
        >>> f = np.linspace(0, 1, 9)[:, None]
        >>> curve = Attributes.fit(np.hstack([2 * f, f**2]), f, degree=2)
        >>> curve.mean(np.array([[0.5]])).round(3)
        array([[1.  , 0.25]])
        """
        if degree < 1:
            raise OptionError(f"a polynomial is of degree 1 or more here, not {degree}")
        factors = checked_labels(factors, len(codes))
        centre, scale = factors.mean(axis=0), factors.std(axis=0)
        scale = np.where(scale > 0, scale, 1)
        empty = cls(degree, tuple(circular), centre, scale, np.empty((0, codes.shape[1])))
        terms = empty.terms(factors)
        if terms.shape[1] > len(terms):
            raise DataError(f"{len(terms)} codes are too few to fit {terms.shape[1]} monomials")
        weights = np.linalg.lstsq(terms, codes.astype(np.float64), rcond=1e-9)[0]
        return cls(degree, tuple(circular), centre, scale, weights)

    def terms(self, factors: np.ndarray) -> np.ndarray:
        """The monomials of factors (N, F), up to the degree, (N, M); the first is 1."""
        columns = self._coordinates(factors)
        terms = [np.ones(len(factors))]
        for degree in range(1, self.degree + 1):
            chosen = combinations_with_replacement(range(len(columns)), degree)
            terms += [np.prod([columns[k] for k in some], axis=0) for some in chosen]
        return np.column_stack(terms)

    def _coordinates(self, factors: np.ndarray) -> list[np.ndarray]:
        standard = (factors - self.centre) / self.scale
        angles = 2 * np.pi * factors[:, list(self.circular)]
        straight = np.delete(standard, self.circular, axis=1)
        return [*straight.T, *np.cos(angles).T, *np.sin(angles).T]

    def mean(self, factors: np.ndarray) -> np.ndarray:
        """E[z | f] of factors (N, F), (N, K)."""
        return np.asarray(self.terms(factors) @ self.weights)

    @property
    def slopes(self) -> np.ndarray:
        """What one unit of each factor adds, (F, K); of degree 1, without circular factors."""
        return np.asarray(self.weights[1 : 1 + len(self.scale)] / self.scale[:, None])

    def walk(
        self, codes: np.ndarray, factors: np.ndarray, column: int, values: np.ndarray
    ) -> np.ndarray:
        """Codes that take one factor of each image to given values, and hold the others.

        Parameters
        ----------
        codes : ndarray, shape (N, K)
            Where the images are.
        factors : ndarray, shape (N, F)
            Theirs; as `Readers` tell them, where nobody else does.
        column : int
            The factor that moves.
        values : ndarray, shape (S,)
            Where to.

        Returns
        -------
        ndarray, shape (N, S, K)
            In the dtype of the codes.
        """
        factors = checked_labels(factors, len(codes))
        start, steps = self.mean(factors), []
        for value in values:
            changed = factors.copy()
            changed[:, column] = value
            steps.append(codes + (self.mean(changed) - start))
        return np.stack(steps, axis=1).astype(codes.dtype)
