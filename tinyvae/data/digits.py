"""The small digits that scikit-learn ships: real data for which nothing is downloaded."""

from __future__ import annotations

import numpy as np

from tinyvae.data.dataset import Dataset, Split
from tinyvae.errors import MissingExtraError
from tinyvae.noise import Noise

LICENCE = "CC BY 4.0"
SOURCE = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"
TRAIN, VALID = 1297, 200  # and 300 to test


def load() -> Dataset:
    """Handwritten digits in ten classes, 1,797 in all, grey 8x8.

    The published values 0, ..., 16 are spread over 0, ..., 255 and rounded, and the images
    are put into an order that is always the same, then cut into parts.

    Returns
    -------
    Dataset
        1,297 images to train on, 200 to validate, 300 to test; images are uint8 of shape
        (N, 8, 8), labels uint8 0 to 9.

    Raises
    ------
    MissingExtraError
        scikit-learn is not installed.

    Examples
    --------
    >>> digits = load()
    >>> digits.train.images.shape, digits.valid.images.shape, digits.test.images.shape
    ((1297, 8, 8), (200, 8, 8), (300, 8, 8))
    """
    values, labels = _published()
    images = ((values * 255 + 8) // 16).astype(np.uint8)
    order = Noise(0, "digits", backend="numpy").permutation(len(images))
    parts = (order[:TRAIN], order[TRAIN : TRAIN + VALID], order[TRAIN + VALID :])
    train, valid, test = (Split(images[rows], labels[rows]) for rows in parts)
    return Dataset("digits", train, test, valid, licence=LICENCE, source=SOURCE)


def _published() -> tuple[np.ndarray, np.ndarray]:
    """The values 0, ..., 16 of shape (1797, 8, 8), and the labels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError(
            "the data set 'digits' comes with scikit-learn, which is not installed: "
            "pip install scikit-learn"
        ) from error
    published = load_digits()
    return published.images.astype(np.int64), published.target.astype(np.uint8)
