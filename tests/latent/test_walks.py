"""Walks as frames."""

from __future__ import annotations

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.data import Dataset, Split
from tinyvae.errors import DataError, OptionError
from tinyvae.latent import attribute_walk, between, decoded, fade
from tinyvae.latent.walks import smooth

RNG = np.random.default_rng(0)
IMAGES = RNG.random((40, 3, 2)).astype(np.float32)


@pytest.fixture
def model():
    return tv.VAE((3, 2), latent=3, hidden=(5,))


@pytest.mark.parametrize("kind", ["linear", "spherical", "fade"])
def test_every_kind_of_walk_begins_and_ends_at_the_reconstructions(model, kind):
    frames = between(model, IMAGES[:4], IMAGES[4:8], kind, steps=5)
    assert frames.shape == (4, 5, 3, 2)
    np.testing.assert_allclose(frames[:, 0], model.reconstruct(IMAGES[:4]), atol=1e-6)
    np.testing.assert_allclose(frames[:, -1], model.reconstruct(IMAGES[4:8]), atol=1e-6)


def test_the_walks_are_of_the_kind_that_was_asked_for(model):
    a, b = (model.embed(images)[0] for images in (IMAGES[:2], IMAGES[2:4]))
    middle = model.generate((a + b) / 2)
    np.testing.assert_allclose(
        between(model, IMAGES[:2], IMAGES[2:4], steps=3)[:, 1], middle, atol=1e-6
    )
    faded = between(model, IMAGES[:2], IMAGES[2:4], "fade", steps=3)
    ends = (model.reconstruct(images) for images in (IMAGES[:2], IMAGES[2:4]))
    np.testing.assert_allclose(faded, fade(*ends, 3), atol=1e-6)
    with pytest.raises(OptionError, match="linear, spherical, fade, not 'round'"):
        between(model, IMAGES[:2], IMAGES[2:4], "round")


def test_codes_are_decoded_each_in_its_place(model):
    codes = RNG.normal(size=(2, 4, 3)).astype(np.float32)
    frames = decoded(model, codes)
    np.testing.assert_allclose(frames[1, 2], model.generate(codes[1, 2:3])[0], atol=1e-6)


def test_walks_are_measured_between_their_ends_alone(model):
    frames = np.concatenate([IMAGES[:2, None], np.zeros((2, 3, 3, 2)), IMAGES[2:4, None]], axis=1)
    found = smooth(model, frames, np.zeros((1, 3, 2)))
    assert found.nearest == 0
    assert found.unevenness == pytest.approx(2, abs=0.3)  # two of four steps
    with pytest.raises(OptionError, match="3 steps or more"):
        smooth(model, frames[:, :2], IMAGES)


# Attributes


def with_factors(names=("size", "shade")):
    labels = RNG.random((40, len(names)))
    part = Split(IMAGES, labels)
    return Dataset("shapes", part, part, factor_names=names)


def test_an_attribute_goes_from_its_5_to_its_95_percent_quantile(model):
    data = with_factors()
    frames, values = attribute_walk(model, data, "shade", data.test[:3], steps=4)
    assert frames.shape == (3, 4, 3, 2)
    ends = np.quantile(data.train.labels[:, 1], [0.05, 0.95])
    np.testing.assert_allclose(values, np.linspace(*ends, 4))


def test_a_face_that_has_the_value_already_stays_as_it_is(model):
    data = with_factors()
    factors = np.array([[np.quantile(data.train.labels[:, 0], 0.05), 0.3]])
    frames, _ = attribute_walk(model, data, "size", Split(IMAGES[:1], factors), steps=3)
    np.testing.assert_allclose(frames[0, 0], model.reconstruct(IMAGES[:1])[0], atol=1e-6)
    assert np.abs(frames[0, 2] - frames[0, 0]).max() > 1e-4


def test_a_class_is_an_attribute_that_goes_from_without_to_with(model):
    labels = np.arange(40) % 4
    part = Split(IMAGES, labels)
    data = Dataset("digits", part, part)
    frames, values = attribute_walk(model, data, "2", data.test[:3], steps=3)
    np.testing.assert_array_equal(values, [0, 0.5, 1])
    codes = model.embed(IMAGES)[0]
    vector = codes[labels == 2].mean(axis=0) - codes[labels != 2].mean(axis=0)
    rebuilt = model.reconstruct(IMAGES)
    np.testing.assert_allclose(frames[:2, 0], rebuilt[:2], atol=1e-5)  # they are without
    np.testing.assert_allclose(frames[2, -1], rebuilt[2], atol=1e-5)  # it is with it
    expected = model.generate((codes[:2] + vector).astype(np.float32))
    np.testing.assert_allclose(frames[:2, -1], expected, atol=1e-5)


def test_attributes_that_are_not_there_are_refused_with_those_that_are(model):
    data, split = with_factors(), Split(IMAGES)
    with pytest.raises(OptionError, match="no attribute 'hat': size, shade"):
        attribute_walk(model, data, "hat", data.test)
    classes = Dataset("digits", *[Split(IMAGES, np.arange(40) % 2)] * 2)
    with pytest.raises(OptionError, match="no attribute '7': 0, 1"):
        attribute_walk(model, classes, "7", classes.test)
    with pytest.raises(DataError, match="plain has no labels"):
        attribute_walk(model, Dataset("plain", split, split), "hat", split)
    with pytest.raises(OptionError, match="from 2 up, not 1"):
        attribute_walk(model, data, "size", data.test, steps=1)
