"""Straight paths, great circles, fades and traversals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinyvae.errors import DataError, OptionError, ShapeError
from tinyvae.latent import fade, linear, spherical, traversals

RNG = np.random.default_rng(0)
CODES = arrays(np.float64, (3, 4), elements=st.floats(-5, 5).map(lambda x: round(x, 3)))


def lengths(path):
    return np.linalg.norm(path, axis=-1)


def angles(path):
    """From each step to the next, exactly: from the chord between unit vectors."""
    unit = path / lengths(path)[..., None]
    return 2 * np.arcsin(np.linalg.norm(np.diff(unit, axis=-2), axis=-1) / 2)


@given(CODES, CODES)
def test_a_straight_path_has_its_ends_and_equal_steps(a, b):
    path = linear(a, b, 7)
    assert path.shape == (3, 7, 4)
    np.testing.assert_array_equal(path[:, [0, -1]], np.stack([a, b], axis=1))
    np.testing.assert_allclose(
        np.diff(path, axis=1), ((b - a) / 6)[:, None] * np.ones((6, 1)), atol=1e-12
    )


@given(CODES, CODES)
def test_a_great_circle_turns_evenly_and_changes_its_length_evenly(a, b):
    assume(min(lengths(a).min(), lengths(b).min()) > 0.1)
    cosine = (a * b).sum(1) / lengths(a) / lengths(b)
    assume(cosine.min() > -0.99)
    path = spherical(a, b, 6)
    np.testing.assert_allclose(path[:, [0, -1]], np.stack([a, b], axis=1), atol=1e-12)
    np.testing.assert_allclose(
        lengths(path), linear(lengths(a)[:, None], lengths(b)[:, None], 6)[..., 0]
    )
    turned = angles(path)
    np.testing.assert_allclose(turned, turned[:, :1] * np.ones(5), atol=1e-7)


@given(CODES, CODES)
def test_a_great_circle_is_the_same_backwards_and_stays_in_the_plane_of_its_ends(a, b):
    assume(min(lengths(a).min(), lengths(b).min()) > 0.1)
    assume(((a * b).sum(1) / lengths(a) / lengths(b)).min() > -0.99)
    path = spherical(a, b, 5)
    np.testing.assert_allclose(path, spherical(b, a, 5)[:, ::-1], atol=1e-9)
    for walk in path:
        assert np.linalg.svd(walk)[1][2] < 1e-9


def test_it_is_the_rotation_of_the_plane():
    t = np.linspace(0, 1, 9) * 2.0  # radians
    a, b = np.array([3.0, 0, 0]), 3 * np.array([np.cos(2), np.sin(2), 0])
    expected = 3 * np.stack([np.cos(t), np.sin(t), 0 * t], axis=1)
    np.testing.assert_allclose(spherical(a, b, 9), expected, atol=1e-12)


def test_half_way_between_codes_of_many_dimensions_it_is_longer_than_the_straight_path():
    a, b = RNG.normal(size=(2, 50, 400))
    middle, straight = spherical(a, b, 3)[:, 1], linear(a, b, 3)[:, 1]
    np.testing.assert_allclose(lengths(middle).mean(), 20, rtol=0.02)
    np.testing.assert_allclose(lengths(straight).mean(), 20 / np.sqrt(2), rtol=0.02)


@pytest.mark.parametrize("angle", [0.0, 1e-300, 1e-12, 1e-8, 1e-4])
def test_codes_that_point_the_same_way_or_nearly_so_have_a_straight_path(angle):
    a, b = np.array([1.0, 0.0]), 2 * np.array([np.cos(angle), np.sin(angle)])
    path = spherical(a, b, 5)
    np.testing.assert_allclose(path[:, 0], linear(a, b, 5)[:, 0], rtol=1e-8)
    np.testing.assert_allclose(np.arctan2(path[:, 1], path[:, 0]), angle * np.linspace(0, 1, 5))


@pytest.mark.parametrize("from_zero", [True, False])
def test_a_code_of_length_zero_has_a_straight_path(from_zero):
    ends = [np.zeros(3), np.array([1.0, -2.0, 0.5])][:: 1 if from_zero else -1]
    np.testing.assert_allclose(spherical(*ends, 4), linear(*ends, 4))
    np.testing.assert_array_equal(spherical(ends[0] * 0, ends[1] * 0, 4), np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("a", "b"), [([1.0, 2.0], [-2.0, -4.0]), ([1.0], [-3.0]), ([0.0, 1.0], [1e-9, -1.0])]
)
def test_codes_that_point_opposite_ways_have_no_shortest_arc(a, b):
    with pytest.raises(DataError, match="opposite ways"):
        spherical(np.array(a), np.array(b), 3)


def test_nearly_opposite_codes_still_turn_evenly():
    angle = np.pi - 2e-6  # whose cosine has lost half of its digits
    path = spherical(np.array([1.0, 0.0]), np.array([np.cos(angle), np.sin(angle)]), 11)
    np.testing.assert_allclose(lengths(path), 1, rtol=1e-8)
    np.testing.assert_allclose(angles(path), angle / 10, rtol=1e-8)


@pytest.mark.parametrize("path", [linear, spherical])
def test_paths_keep_the_dtype_and_the_axes_of_their_ends(path):
    a, b = RNG.normal(size=(2, 2, 3, 5)).astype(np.float32)
    found = path(a, b, 4)
    assert (found.shape, found.dtype) == ((2, 3, 4, 5), np.float32)
    assert path(a[0, 0], b[0, 0], 2).shape == (2, 5)
    with pytest.raises(OptionError, match="from 2 up, not 1"):
        path(a, b, 1)
    with pytest.raises(ShapeError, match=r"not from \(2, 3, 5\) to \(3, 5\)"):
        path(a, b[0], 3)


def test_a_fade_mixes_pixels_and_half_way_shows_both_images():
    images = RNG.integers(256, size=(2, 2, 3, 4, 3), dtype=np.uint8)
    frames = fade(*images, 5)
    assert frames.shape == (2, 5, 3, 4, 3)
    np.testing.assert_allclose(frames[:, 2], images.mean(axis=0) / 255, atol=1e-6)
    np.testing.assert_allclose(frames[:, 0], images[0] / 255, atol=1e-6)
    np.testing.assert_allclose(frames[:, -1], images[1] / 255, atol=1e-6)


def test_a_traversal_moves_one_dimension_and_no_other():
    code, values = RNG.normal(size=4), np.linspace(-2, 2, 5)
    walks = traversals(code, values)
    assert walks.shape == (4, 5, 4)
    for k, walk in enumerate(walks):
        np.testing.assert_array_equal(walk[:, k], values)
        rest = np.delete(walk, k, axis=1)
        np.testing.assert_array_equal(rest, np.tile(np.delete(code, k), (5, 1)))
    with pytest.raises(ShapeError, match=r"not \(1, 4\) and \(5,\)"):
        traversals(code[None], values)
