"""Attribute vectors and curves, against codes whose dependence on the factors is known."""

from __future__ import annotations

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.errors import DataError, OptionError, ShapeError
from tinyvae.latent import Attributes, attribute_vector

RNG = np.random.default_rng(0)


class Embedding:
    """A model whose images are its codes."""

    def embed(self, images):
        return images, images


def related(count=4000, share=0.9):
    """Two binary labels that mostly agree, and codes in which each has a direction of its own."""
    first = RNG.random(count) < 0.5
    second = np.where(RNG.random(count) < share, first, ~first)
    labels = np.column_stack([first, second]).astype(float)
    ways = np.array([[1.0, 0.0, 2.0], [0.0, -1.0, 0.5]])
    return labels, ways, 3 + labels @ ways + 0.01 * RNG.normal(size=(count, 3))


def test_of_one_binary_label_it_is_the_difference_of_the_means():
    labels, _, codes = related()
    first = labels[:, 0]
    expected = codes[first == 1].mean(axis=0) - codes[first == 0].mean(axis=0)
    for label in (first, first == 1, first.astype(int)):
        np.testing.assert_allclose(attribute_vector(Embedding(), codes, label), expected)


def test_of_one_label_it_takes_along_what_goes_with_it_and_of_all_it_does_not():
    labels, ways, codes = related()
    alone = attribute_vector(Embedding(), codes, labels[:, 0])
    np.testing.assert_allclose(alone, ways[0] + 0.8 * ways[1], atol=0.05)  # 0.9 - 0.1 agree
    np.testing.assert_allclose(attribute_vector(Embedding(), codes, labels), ways, atol=0.01)


def test_of_all_labels_it_is_what_balanced_data_give():
    labels, _, codes = related()
    cells = [codes[(labels == pair).all(axis=1)].mean(axis=0) for pair in np.ndindex(2, 2)]
    balanced = (cells[2] + cells[3] - cells[0] - cells[1]) / 2  # White (2016)
    np.testing.assert_allclose(attribute_vector(Embedding(), codes, labels)[0], balanced, atol=0.01)


def test_of_a_graded_label_it_is_the_slope_for_one_unit():
    label = RNG.uniform(-5, 30, size=50)
    codes = np.outer(label, [0.1, -2.0]) + 7
    np.testing.assert_allclose(attribute_vector(Embedding(), codes, label), [0.1, -2.0])


def test_it_takes_a_model_and_its_images():
    model, images = tv.VAE((3, 2), latent=4, hidden=(5,)), RNG.random((20, 3, 2)).astype("float32")
    label = images[:, 0, 0]
    codes = model.embed(images)[0]
    centred = label - label.mean()
    np.testing.assert_allclose(
        attribute_vector(model, images, label), centred @ codes / (centred @ centred), atol=1e-5
    )


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (np.ones(9), DataError, "label 0 is 1 for every image"),
        (np.column_stack([np.arange(9), np.full(9, 4)]), DataError, "label 1 is 4 for every"),
        (np.outer(np.arange(9), [1, -2]), DataError, "linear function of the others"),
        (np.where(np.arange(9) == 3, np.nan, 1), DataError, "NaN"),
        (np.arange(8), ShapeError, r"\(9,\) or \(9, F\), not \(8,\)"),
        (np.zeros((9, 0)), ShapeError, r"not \(9, 0\)"),
    ],
)
def test_labels_that_give_no_direction_are_refused(labels, error, words):
    with pytest.raises(error, match=words):
        attribute_vector(Embedding(), RNG.normal(size=(9, 2)), labels)


# Curves


def bent(factors):
    """Codes that bend with the first factor, more so where the second is large."""
    a, b = factors[:, 0], factors[:, 1]
    angle = 2 * np.pi * factors[:, 2]
    return np.column_stack([a, a**2 * (1 + b), b, np.cos(angle), np.sin(angle) * a])


def test_a_curve_of_degree_one_is_the_attribute_vector():
    labels, _, codes = related()
    fitted = Attributes.fit(codes, labels)
    vector = attribute_vector(Embedding(), codes, labels)[1]
    walk = fitted.walk(codes[:5], labels[:5], 1, np.array([0.0, 0.5, 3.0]))
    for k, value in enumerate((0.0, 0.5, 3.0)):
        expected = codes[:5] + (value - labels[:5, [1]]) * vector
        np.testing.assert_allclose(walk[:, k], expected)


def test_a_curve_moves_one_factor_and_holds_the_others_and_what_is_no_factor():
    factors = RNG.random((500, 3))
    own = RNG.normal(size=(500, 5))  # what else there is in each code
    codes = bent(factors) + own
    fitted = Attributes.fit(bent(factors), factors, degree=3, circular=[2])
    for column in range(3):
        walk = fitted.walk(codes, factors, column, np.array([0.1, 0.9]))
        for k, value in enumerate((0.1, 0.9)):
            changed = factors.copy()
            changed[:, column] = value
            np.testing.assert_allclose(walk[:, k], bent(changed) + own, atol=1e-8)


def test_a_walk_to_where_the_factor_is_already_leaves_the_code_where_it_is():
    factors = RNG.random((40, 3))
    codes = RNG.normal(size=(40, 5)).astype(np.float32)
    fitted = Attributes.fit(codes, factors, degree=2)
    walk = fitted.walk(codes[:1], factors[:1], 1, factors[0, 1:2])
    assert walk.dtype == np.float32
    np.testing.assert_array_equal(walk[:, 0], codes[:1])


def test_round_a_circle_zero_is_one():
    factors = RNG.random((300, 1))
    angle = 2 * np.pi * factors
    fitted = Attributes.fit(np.hstack([np.cos(angle), np.sin(angle)]), factors, circular=[0])
    np.testing.assert_allclose(fitted.mean(np.array([[0.0], [1.0]])), [[1, 0], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(fitted.mean(np.array([[0.25]])), [[0, 1]], atol=1e-12)


def test_there_are_as_many_monomials_as_combinations():
    factors = RNG.random((100, 4))
    for degree, count in ((1, 5), (2, 15), (3, 35)):  # binomial(4 + degree, degree)
        terms = Attributes.fit(factors, factors, degree).terms(factors)
        assert terms.shape == (100, count)
        assert np.linalg.matrix_rank(terms) == count


def test_too_few_codes_and_a_degree_of_zero_are_refused():
    factors = RNG.random((10, 4))
    with pytest.raises(DataError, match="10 codes are too few to fit 15 monomials"):
        Attributes.fit(factors, factors, degree=2)
    with pytest.raises(OptionError, match="degree 1 or more here, not 0"):
        Attributes.fit(factors, factors, degree=0)
