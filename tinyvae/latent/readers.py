"""What a walk moves besides what it should: factors read off its frames, and their changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinyvae.errors import DataError, ShapeError
from tinyvae.latent.attributes import checked_labels
from tinyvae.latent.paths import as_rows

COMPONENTS, HIDDEN, EPOCHS, BATCH = 200, (256, 128), 30, 128
NORMAL_95 = 1.96  # standard errors, to either side


class Readers:
    """Regressors that read the factors off images: a dense network on principal components.

    They know images and true factors alone, and nothing of a model, so that they can judge what a
    model draws. How well each factor can be read is to be told with what is read: `r2`, on images
    that they were not fitted to.

    Parameters
    ----------
    images : ndarray of float or uint8
        Shape (N, H, W) or (N, H, W, 3).
    factors : ndarray, shape (N, F)
    circular : sequence of int
        Columns that go round in a circle, with 0 and 1 the same.
    seed : int
        Of the first weights and the order of the images.
    epochs : int
        Passes over the images.

    Examples
    --------
    >>> x = np.random.default_rng(0).random((500, 2, 2))
    >>> readers = Readers(x[:400], x[:400, 0])  # the factors are the first row of pixels
    >>> bool((readers.r2(x[400:], x[400:, 0]) > 0.9).all())
    True
    """

    def __init__(
        self,
        images: Any,
        factors: np.ndarray,
        circular: Sequence[int] = (),
        seed: int = 0,
        epochs: int = EPOCHS,
    ) -> None:
        from sklearn.decomposition import PCA
        from sklearn.neural_network import MLPRegressor
        from sklearn.preprocessing import StandardScaler

        rows, factors = as_rows(images), checked_labels(factors, len(images))
        self.circular = list(circular)
        self._components = PCA(
            min(COMPONENTS, *rows.shape), svd_solver="randomized", random_state=seed
        ).fit(rows)
        # One scale for all: each to its own would make noise of the smallest as loud as the rest.
        self._scale = np.sqrt(self._components.explained_variance_.mean())
        self._targets = StandardScaler()
        self._network = MLPRegressor(
            hidden_layer_sizes=HIDDEN, batch_size=min(BATCH, len(rows)), random_state=seed
        )
        inputs = self._inputs(rows)
        targets = self._targets.fit_transform(self._unrolled(factors))
        for _ in range(epochs):
            self._network.partial_fit(inputs, targets if targets.shape[1] > 1 else targets[:, 0])

    def _inputs(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self._components.transform(rows) / self._scale)

    def __call__(self, images: Any) -> np.ndarray:
        """The factors of images (N, H, W) or (N, H, W, 3), as they are read, (N, F)."""
        read = self._network.predict(self._inputs(as_rows(images)))
        return self._rolled(self._targets.inverse_transform(read.reshape(len(images), -1)))

    def _unrolled(self, factors: np.ndarray) -> np.ndarray:
        """The factors, cosines in the place of the circular ones, and their sines at the end."""
        angles, targets = 2 * np.pi * factors[:, self.circular], factors.copy()
        targets[:, self.circular] = np.cos(angles)
        return np.hstack([targets, np.sin(angles)])

    def _rolled(self, targets: np.ndarray) -> np.ndarray:
        """Back from `_unrolled`."""
        count = targets.shape[1] - len(self.circular)
        factors, sines = targets[:, :count].copy(), targets[:, count:]
        turns = np.arctan2(sines, factors[:, self.circular]) / (2 * np.pi)
        factors[:, self.circular] = turns % 1
        return factors

    def r2(self, images: Any, factors: np.ndarray) -> np.ndarray:
        """The share of each factor's variance that is read rightly, (F,); 1 at best."""
        factors = checked_labels(factors, len(images))
        wrong = difference(self(images), factors, self.circular)
        share: np.ndarray = 1 - (wrong**2).mean(axis=0) / factors.var(axis=0)
        return share


def difference(after: np.ndarray, before: np.ndarray, circular: Sequence[int] = ()) -> np.ndarray:
    """``after - before`` of factors (..., F); round a circle, the shorter way, within half a turn.

    >>> difference(np.array([0.1, 0.1]), np.array([0.9, 0.9]), circular=[1]).round(3)
    array([-0.8,  0.2])
    """
    change = np.asarray(after - before, np.float64)
    change[..., list(circular)] = (change[..., list(circular)] + 0.5) % 1 - 0.5
    return change


class Leakage(NamedTuple):
    """How much every factor moves in walks of one, as a share of how much that one moves.

    Changes are in standard deviations of each factor in the data. All are of shape (F,); the one
    that is walked has 1 in each.

    Attributes
    ----------
    each : ndarray
        Of the absolute change from a walk's first frame to its last, averaged over the walks: what
        happens to a face, up or down, with what the readers get wrong in it.
    each_interval : ndarray
        Half the width of its 95 % interval.
    mean : ndarray
        Of the change averaged over the walks, and then its absolute value: what the walk does to
        the average face. Errors of the readers average out, but so does what goes up in one
        face and down in another.
    mean_interval : ndarray
        Half the width of its 95 % interval.
    farthest : ndarray
        As ``each``, of the largest change from the first frame to any.
    moved : float
        By how many standard deviations the walked factor moves, on average.
    """

    each: np.ndarray
    each_interval: np.ndarray
    mean: np.ndarray
    mean_interval: np.ndarray
    farthest: np.ndarray
    moved: float


def leakage(
    read: np.ndarray, moved: int, scale: np.ndarray, circular: Sequence[int] = ()
) -> Leakage:
    """How much walks of one factor change the others.

    Parameters
    ----------
    read : ndarray, shape (P, S, F)
        The factors in each of S frames of P walks.
    moved : int
        The column of the factor that is walked.
    scale : ndarray, shape (F,)
        The standard deviation of each factor in the data.
    circular : sequence of int
        Columns that go round in a circle.

    Raises
    ------
    ShapeError
        No such column, fewer than 2 walks or frames, or another number of scales.
    DataError
        Nothing of the walked factor has moved.

    Examples
    --------
    >>> read = np.array([[[0.0, 0.0], [1.0, 0.1]], [[0.0, 0.0], [1.0, -0.1]]])
    >>> found = leakage(read, moved=0, scale=np.ones(2))
    >>> found.each.round(2), found.mean.round(2)
    (array([1. , 0.1]), array([1., 0.]))
    """
    _check(read, moved, scale)
    change = difference(read, read[:, :1], circular) / np.where(scale > 0, scale, 1)  # (P, S, F)
    last = change[:, -1]
    if not last[:, moved].any():
        raise DataError(
            f"the walks do not move factor {moved} at all, so there is nothing to compare the "
            "others with: the model does not draw it; train it for longer"
        )
    each, each_interval = _share(np.abs(last), moved)
    mean, mean_interval = _share(last, moved)
    farthest = _share(np.abs(change).max(axis=1), moved)[0]
    size = float(np.abs(last[:, moved]).mean())
    return Leakage(each, each_interval, np.abs(mean), mean_interval, farthest, size)


def _check(read: np.ndarray, moved: int, scale: np.ndarray) -> None:
    if read.ndim != 3 or min(read.shape[:2]) < 2 or scale.shape != read.shape[2:]:
        raise ShapeError(
            "what is read of walks is of shape (P, S, F), with P and S from 2 up, and its scale "
            f"(F,); not {read.shape} and {scale.shape}"
        )
    if not 0 <= moved < len(scale):
        raise ShapeError(f"there is no factor {moved} among {len(scale)}")


def _share(changes: np.ndarray, moved: int) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of means of changes (P, F) to that of one of them, and their 95 % intervals.

    The standard error of a ratio of means is that of the mean of  a - ratio b,  over the mean of b.
    """
    means = changes.mean(axis=0)
    ratio = means / means[moved]
    apart = (changes - ratio * changes[:, [moved]]).std(axis=0, ddof=1)
    return ratio, NORMAL_95 * apart / abs(means[moved]) / np.sqrt(len(changes))
