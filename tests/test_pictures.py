"""Each picture of a run shows what it says: the right images, codes and dimensions."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from matplotlib.figure import Figure

import tinyvae as tv
from tinyvae import pictures
from tinyvae.data import Dataset, Split
from tinyvae.errors import DataError, OptionError

RNG = np.random.default_rng(0)


def noise(count: int, *shape: int) -> Split:
    images = RNG.integers(256, size=(count, *shape), dtype=np.uint8)
    return Split(images, np.arange(count, dtype=np.uint8) % 3)


def a_set(*shape: int, test: int = 30) -> Dataset:
    return Dataset("noise", noise(40, *shape), noise(test, *shape))


def picture(figure: Figure) -> np.ndarray:
    return np.asarray(figure.axes[0].get_images()[0].get_array())


def spy(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple]:
    """What is given to a plot."""
    calls = []
    plot = getattr(pictures.plots, name)
    monkeypatch.setattr(
        pictures.plots, name, lambda *given, **more: calls.append(given) or plot(*given, **more)
    )
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("latent", [1, 2, 3])
@pytest.mark.parametrize("shape", [(4, 5), (4, 4, 3)])
def test_every_picture_is_drawn_for_grey_and_colour_and_any_latent_size(shape, latent):
    data = a_set(*shape)
    model = tv.VAE(shape, latent=latent, hidden=(6,))
    history = tv.fit(model, data.train, data.test, epochs=1, batch=8)
    figures = dict(pictures.every(model, data, history))
    assert list(figures) == ["curves", "samples", "reconstructions", "latent", "manifold"]
    for name in ("samples", "reconstructions", "manifold"):
        assert picture(figures[name]).std() > 1


def test_reconstructions_are_of_the_first_test_images_in_full_rows(monkeypatch):
    data, model = a_set(4, 4), tv.VAE((4, 4), hidden=(6,))
    calls = spy(monkeypatch, "reconstructions")
    figure = pictures.reconstructions(model, data)
    ((originals, rebuilt),) = calls
    np.testing.assert_array_equal(originals, data.test.images[:20])
    np.testing.assert_array_equal(rebuilt, model.reconstruct(originals))
    assert len(figure.axes[0].get_yticks()) == 4  # two rows of ten pairs
    pictures.reconstructions(model, data, count=3)
    assert len(calls[1][0]) == 3
    with pytest.raises(OptionError, match="from 1 up, not 0"):
        pictures.reconstructions(model, data, count=0)


def test_a_walk_begins_and_ends_at_reconstructions_of_test_images(monkeypatch):
    data, model = a_set(4, 4), tv.VAE((4, 4), hidden=(6,))
    calls = spy(monkeypatch, "interpolation")
    pictures.interpolation(model, data, rows=3, steps=5)
    ((frames,),) = calls
    assert frames.shape == (3, 5, 4, 4)
    ends = model.reconstruct(data.test.images[:6])
    np.testing.assert_allclose(frames[:, 0], ends[::2], atol=1e-6)
    np.testing.assert_allclose(frames[:, -1], ends[1::2], atol=1e-6)


def test_walks_are_as_many_as_the_test_images_allow():
    model = tv.VAE((4, 4), hidden=(6,))
    figure = pictures.interpolation(model, a_set(4, 4, test=5), rows=6, steps=4)
    assert picture(figure).shape[0] < picture(figure).shape[1]
    with pytest.raises(DataError, match="from one test image to another; noise has only 1"):
        pictures.interpolation(model, a_set(4, 4, test=1))


def ignoring(model: tv.VAE, *unused: int) -> tv.VAE:
    """The model with posterior N(0, 1) in some dimensions, whose KL is thus 0."""
    last = model.encoder.layers[-1]
    for k in unused:
        for half in (k, model.latent + k):
            weight, bias = last.weight.numpy(), last.bias.numpy()
            weight[:, half], bias[half] = 0, 0
            last.weight.data, last.bias.data = weight, bias
    return model


def test_the_manifold_is_of_the_two_dimensions_most_used_and_says_which(monkeypatch):
    model = ignoring(tv.VAE((4, 4), latent=5, hidden=(6,)), 0, 2, 3)
    codes = []
    monkeypatch.setattr(model, "generate", lambda z: codes.append(z) or np.zeros((len(z), 4, 4)))
    figure = pictures.manifold(model, a_set(4, 4), side=3)
    q = NormalDist().inv_cdf(5 / 6)
    expected = np.zeros((3, 3, 5))
    expected[:, :, 1] = [-q, 0, q]  # to the right
    expected[:, :, 4] = [[q], [0], [-q]]  # upwards
    np.testing.assert_allclose(codes[0].reshape(3, 3, 5), expected, atol=1e-6)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_{2}$", "$z_{5}$")
    assert axes.get_title(loc="left").endswith("the others at their medians")


def test_the_manifold_of_two_dimensions_has_the_first_to_the_right_whichever_is_used_more():
    for unused in (0, 1):
        model = ignoring(tv.VAE((4, 4), latent=2, hidden=(6,)), unused)
        axes = pictures.manifold(model, a_set(4, 4), side=3).axes[0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_{1}$", "$z_{2}$")
        assert axes.get_title(loc="left") == "Manifold: decoded quantiles of the prior"


def test_the_latent_picture_has_test_images_first_and_training_images_after(monkeypatch):
    data, model = a_set(4, 4), tv.VAE((4, 4), hidden=(6,))
    monkeypatch.setattr(pictures, "SHOWN", 50)
    calls = spy(monkeypatch, "latent")
    pictures.latent(model, data)
    ((means, labels),) = calls
    images = np.concatenate([data.test.images, data.train.images[:20]])
    np.testing.assert_allclose(means, model.embed(images)[0], atol=1e-6)
    np.testing.assert_array_equal(labels, [*data.test.labels, *data.train.labels[:20]])


def test_the_colour_of_the_latent_picture_is_the_factor_that_the_means_tell_best():
    split, model = noise(30, 4, 4), tv.VAE((4, 4), hidden=(6,))
    means = model.embed(split.images)[0]
    factors = np.column_stack([RNG.random(30), np.ones(30), means @ [2, -3] + 1, RNG.random(30)])
    part = Split(split.images, factors)
    names = ("shape", "constant", "hair_length", "size")
    figure = pictures.latent(model, Dataset("factors", part, part, factor_names=names))
    assert "hair length" in [axes.get_ylabel() for axes in figure.axes[0].child_axes]


def test_images_without_labels_have_a_latent_picture_too():
    part = Split(noise(30, 4, 4).images)
    figure = pictures.latent(tv.VAE((4, 4), hidden=(6,)), Dataset("plain", part, part))
    assert figure.axes[0].texts[:] == []


def test_large_images_are_fewer_in_a_picture():
    model = tv.VAE((300, 200), latent=2, hidden=(2,))
    dataset = Dataset("", *[Split(np.zeros((4, 300, 200), np.uint8))] * 3)
    pictures_of = dict(
        pictures.every(model, dataset, tv.fit(model, dataset.train, epochs=1, batch=4))
    )
    for name in ("samples", "manifold"):
        height, width, _ = pictures_of[name].axes[0].get_images()[0].get_array().shape
        assert max(height, width) < 2100


# Walks


def test_each_kind_of_walk_stands_under_the_other_by_name():
    data, model = a_set(4, 4), tv.VAE((4, 4), hidden=(6,))
    frames = pictures.walks(model, data, rows=2, steps=5, kind="each")
    kinds = ("linear", "spherical", "fade")
    for k, kind in enumerate(kinds):
        alone = pictures.walks(model, data, rows=2, steps=5, kind=kind)
        np.testing.assert_array_equal(frames[k::3], alone)
    axes = pictures.interpolation(model, data, rows=2, steps=5, kind="each").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [*kinds, *kinds]


def test_walks_are_measured_kind_by_kind_and_the_fade_is_straight():
    data, model = a_set(4, 4), tv.VAE((4, 4), hidden=(6,))
    found = pictures.smoothness_of_walks(model, data, rows=3, steps=6)
    assert list(found) == ["linear", "spherical", "fade"]
    assert found["fade"].detour == pytest.approx(1)
    assert min(found["linear"].detour, found["spherical"].detour) > 1
    middle = pictures.walks(model, data, rows=3, steps=6, kind="fade")[:, 1:-1]
    apart = middle[:, :, None] - data.train.images / 255
    nearest = np.sqrt((apart**2).mean(axis=(3, 4))).min(axis=2)
    assert found["fade"].nearest == pytest.approx(nearest.mean())


def test_traversals_go_from_the_first_test_image_the_largest_kl_first(monkeypatch):
    model, data = ignoring(tv.VAE((4, 4), latent=4, hidden=(6,)), 1), a_set(4, 4)
    codes = []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda z: codes.append(z) or generate(z))
    axes = pictures.traversals(model, data, rows=3, steps=5).axes[0]
    walks = codes[0].reshape(3, 5, 4)
    spread = np.array(tv.evaluate(model, data.test).kl_per_dimension)
    order = np.argsort(-spread)[:3]
    assert 1 not in order
    first = model.embed(data.test.images[:1])[0][0]
    for walk, k in zip(walks, order, strict=True):
        np.testing.assert_allclose(
            walk[:, k], [NormalDist().inv_cdf(q / 10) for q in (1, 3, 5, 7, 9)]
        )
        np.testing.assert_allclose(np.delete(walk, k, 1), np.tile(np.delete(first, k), (5, 1)))
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert named == [f"$z_{{{k + 1}}}$, {spread[k]:.2f} nats" for k in order]


def test_an_attribute_is_walked_in_the_first_test_images():
    data, model = a_set(4, 4), tv.VAE((4, 4), hidden=(6,))
    figure, frames = pictures.attribute(model, data, "2", rows=4, steps=3)
    assert frames.shape == (4, 3, 4, 4)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["0.00", "0.50", "1.00"]
    with pytest.raises(OptionError, match="no attribute '3': 0, 1, 2"):
        pictures.attribute(model, data, "3")
