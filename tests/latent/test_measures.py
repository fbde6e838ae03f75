"""The measures of walks, on walks whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tinyvae as tv
from tinyvae.errors import ShapeError
from tinyvae.latent import fade, nearest, smoothness, unlikeness

RNG = np.random.default_rng(0)
FRAMES = arrays(np.float64, (2, 5, 3, 2), elements=st.floats(0, 1).map(lambda x: round(x, 3)))


def walk(*greys):
    """One walk of single pixels."""
    return np.array(greys, float).reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("greys", "length", "detour", "unevenness"),
    [
        ((0, 0.25, 0.5, 0.75, 1), 1, 1, 1),
        ((0, 0, 0, 1), 1, 1, 3),  # one jump of three steps
        ((0, 1, 0.5), 1.5, 3, 4 / 3),  # there and half-way back
        ((0, 1, 0), 2, np.inf, 1),  # there and back again
        ((0.3, 0.3, 0.3), 0, 1, 1),  # nothing moves
    ],
)
def test_the_measures_of_walks_of_one_pixel(greys, length, detour, unevenness):
    found = smoothness(walk(*greys))
    np.testing.assert_allclose(np.concatenate(found), [length, detour, unevenness])


def test_a_fade_is_as_straight_and_as_even_as_can_be():
    images = RNG.random((2, 4, 3, 5, 3))
    found = smoothness(fade(*images, 7))
    np.testing.assert_allclose(found.detour, 1)
    np.testing.assert_allclose(found.unevenness, 1)
    np.testing.assert_allclose(
        found.length, np.sqrt(((images[0] - images[1]) ** 2).mean((1, 2, 3)))
    )


def test_a_half_turn_on_a_circle_is_half_pi_as_long_as_its_diameter():
    angle = np.linspace(0, np.pi, 2001)
    frames = (np.stack([np.cos(angle), np.sin(angle)], axis=1) + 1) / 2
    found = smoothness(frames.reshape(1, -1, 1, 2))
    np.testing.assert_allclose(found.detour, np.pi / 2, rtol=1e-6)
    np.testing.assert_allclose(found.unevenness, 1, rtol=1e-6)


@given(FRAMES)
def test_no_walk_is_shorter_than_straight_or_more_even_than_even(frames):
    found = smoothness(frames)
    assert (found.detour >= 1 - 1e-9).all()
    assert ((found.unevenness >= 1 - 1e-9) & (found.unevenness <= 4 + 1e-9)).all()


def test_bytes_are_measured_as_the_floats_that_they_stand_for():
    frames = RNG.integers(256, size=(2, 4, 3, 3), dtype=np.uint8)
    for found, expected in zip(smoothness(frames), smoothness(frames / 255), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_nearest_image_is_the_nearest_of_all(monkeypatch):
    monkeypatch.setattr("tinyvae.latent.measures.ROWS", 7)
    frames, images = RNG.random((2, 3, 4, 2)), RNG.random((30, 4, 2))
    apart = frames[:, :, None] - images
    expected = np.sqrt((apart**2).mean(axis=(3, 4))).min(axis=2)
    np.testing.assert_allclose(nearest(frames, images), expected)
    np.testing.assert_allclose(nearest(images[None, :5], images), 0, atol=1e-7)
    with pytest.raises(ShapeError, match="differ in size"):
        nearest(frames, images[:, :3])


def test_unlikeness_is_the_distance_to_the_reconstruction():
    model, frames = (
        tv.VAE((3, 2), latent=2, hidden=(4,)),
        RNG.random((2, 3, 3, 2)).astype("float32"),
    )
    flat = frames.reshape(-1, 3, 2)
    expected = np.sqrt(((flat - model.reconstruct(flat)) ** 2).mean(axis=(1, 2)))
    np.testing.assert_allclose(unlikeness(model, frames), expected.reshape(2, 3), rtol=1e-5)


@pytest.mark.parametrize("shape", [(5, 3, 2), (2, 1, 3, 2), (2, 5, 6)])
def test_walks_of_another_shape_are_refused(shape):
    with pytest.raises(ShapeError):
        smoothness(np.zeros(shape))
