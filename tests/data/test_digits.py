from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tinyvae.data import load
from tinyvae.errors import MissingExtraError


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def parts(digits):
    return digits.train, digits.valid, digits.test


def test_the_parts_have_1297_and_200_and_300_images(digits):
    assert [len(part) for part in parts(digits)] == [1297, 200, 300]
    assert digits.image_shape == (8, 8)


def test_every_published_image_is_in_one_part_with_its_label(digits):
    published = load_digits()
    ours = [
        (*np.rint(image.ravel() / 255 * 16).astype(int), int(label))
        for part in parts(digits)
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    theirs = [
        (*image.astype(int), int(label))
        for image, label in zip(published.data, published.target, strict=True)
    ]
    assert sorted(ours) == sorted(theirs)


def test_the_values_0_to_16_become_the_nearest_bytes(digits):
    values = np.unique(np.concatenate([part.images.ravel() for part in parts(digits)]))
    assert values.dtype == np.uint8
    assert len(values) == 17
    np.testing.assert_allclose(values, np.arange(17) * 255 / 16, atol=0.5)


def test_every_part_has_every_class(digits):
    for part in parts(digits):
        assert set(part.labels) == set(range(10))


def test_the_parts_are_the_same_on_every_machine(digits):
    recorded = "c283d5ff2a866196"
    assert hashlib.sha256(digits.test.images.tobytes()).hexdigest()[:16] == recorded


def test_a_missing_scikit_learn_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match="pip install scikit-learn"):
        load("digits")
