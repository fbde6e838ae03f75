"""The VAE maps images to codes and back, in the shapes it says, alike on every backend."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.errors import DataError, OptionError, ShapeError
from tinyvae.models import vae

SHAPES = [(2, 3), (2, 3, 3)]
RNG = np.random.default_rng(0)


def some_images(shape: tuple[int, ...], count: int = 7) -> np.ndarray:
    return RNG.integers(256, size=(count, *shape), dtype=np.uint8)


def set_parameters(model: tv.VAE, **values: Any) -> tv.VAE:
    """A model without hidden layers, with its weights and biases as told (0 where not)."""
    state = {name: np.zeros_like(value) for name, value in model.state_dict().items()}
    for name, value in values.items():
        part, kind = name.split("_")
        state[f"{part}.layers.0.{kind}"][...] = value
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("shape", SHAPES)
def test_images_and_codes_have_the_shapes_of_the_docstrings(
    backend: Backend, shape: tuple[int, ...]
) -> None:
    model = tv.VAE(shape, latent=4, hidden=(5, 6))
    images = some_images(shape)
    mean, log_variance = model.embed(images)
    assert mean.shape == log_variance.shape == (7, 4)
    assert model.generate(mean).shape == model.reconstruct(images).shape == (7, *shape)
    assert model.sample(3).shape == (3, *shape)
    for result in (mean, log_variance, model.generate(mean), model.sample(3)):
        assert type(result) is np.ndarray
        assert result.dtype == np.float32


def test_the_layers_have_the_widths_asked_for_and_the_decoder_has_them_in_reverse() -> None:
    weights = tv.VAE((2, 3), latent=4, hidden=(5, 7)).state_dict()
    widths = [value.shape for name, value in weights.items() if name.endswith("weight")]
    assert widths == [(6, 5), (5, 7), (7, 8), (4, 7), (7, 5), (5, 6)]


def test_the_parts_on_arrays_are_those_on_tensors(backend: Backend) -> None:
    model, images = tv.VAE((2, 3), latent=4, hidden=(5,)), some_images((2, 3))
    x = tv.Tensor(images.reshape(7, 6) / np.float32(255))
    mean, log_variance = model.encode(x)
    np.testing.assert_allclose(model.embed(images)[0], mean.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.embed(images)[1], log_variance.numpy(), rtol=1e-5, atol=1e-6)
    logits = model.decode(mean).numpy().reshape(7, 2, 3).astype("float64")
    np.testing.assert_allclose(model.reconstruct(images), 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_the_encoder_gives_first_the_mean_then_the_log_variance(backend: Backend) -> None:
    model = tv.VAE((1, 2), latent=2, hidden=())
    set_parameters(model, encoder_weight=[[1, 0, 0, 2], [0, 1, 3, 0]], encoder_bias=[4, 5, 6, 7])
    mean, log_variance = model.embed(np.array([[[0.25, 0.5]]], dtype="float32"))
    np.testing.assert_allclose(mean, [[4.25, 5.5]])
    np.testing.assert_allclose(log_variance, [[7.5, 7.5]])


def test_samples_are_decoded_from_the_standard_normal(backend: Backend) -> None:
    # The decoder is the identity, so that the logits of the pixels are z itself.
    model = set_parameters(tv.VAE((1, 2), latent=2, hidden=()), decoder_weight=np.eye(2))
    p = model.sample(20_000, seed=1).reshape(-1, 2).astype("float64")
    z = np.log(p / (1 - p))
    standard_error = np.sqrt([1, 2, 15, 96]) / np.sqrt(len(z))  # of the first four moments
    for k, moment in enumerate((0, 1, 0, 3)):
        assert (abs((z ** (k + 1)).mean(axis=0) - moment) < 5 * standard_error[k]).all()
    assert abs((z[:, 0] * z[:, 1]).mean()) < 5 * standard_error[0]


def test_a_model_comes_back_from_its_config_and_weights(backend: Backend) -> None:
    model = tv.VAE((2, 3, 3), latent=4, hidden=(5, 6), activation="gelu", seed=1)
    again = tv.VAE(**json.loads(json.dumps(model.config)))
    assert again.config == model.config
    assert (again.sample(2) != model.sample(2)).any()
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.sample(2), model.sample(2))


def test_the_same_seed_gives_the_same_weights_and_samples_and_another_seed_others(
    backend: Backend,
) -> None:
    first, same, other = (
        tv.VAE((2, 3), latent=2, hidden=(5,), seed=s).state_dict() for s in (0, 0, 1)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], same[name])
        assert name.endswith("bias") or (first[name] != other[name]).any()
    model = tv.VAE((2, 3))
    np.testing.assert_array_equal(model.sample(4, seed=5), model.sample(4, seed=5))
    assert (model.sample(4, seed=5) != model.sample(4, seed=6)).all()


def test_every_backend_begins_with_the_same_weights_and_gives_the_same_images(
    backend: Backend,
) -> None:
    here = tv.VAE((2, 3), seed=3)
    with tv.use("numpy"):
        there = tv.VAE((2, 3), seed=3)
    for a, b in zip(here.state_dict().values(), there.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(here.sample(5), there.sample(5), rtol=1e-5)


def test_bytes_and_floats_and_flat_rows_are_the_same_images(backend: Backend) -> None:
    model, images = tv.VAE((2, 3), hidden=(5,)), some_images((2, 3))
    mean = model.embed(images)[0]
    for same in (images / np.float32(255), images / 255.0, images.reshape(7, 6)):
        np.testing.assert_allclose(model.embed(same)[0], mean, rtol=1e-5, atol=1e-6)


def test_many_images_go_through_in_parts_without_a_difference(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = tv.VAE((2, 3), hidden=(5,)), some_images((2, 3))
    whole = model.embed(images)[0], model.reconstruct(images)
    monkeypatch.setattr(vae, "ROWS", 3)
    np.testing.assert_allclose(model.embed(images)[0], whole[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.reconstruct(images), whole[1], rtol=1e-5)


def test_the_work_without_gradients_records_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, wrap = [], tv.Tensor.wrap
    monkeypatch.setattr(
        tv.Tensor, "wrap", staticmethod(lambda *a: made.append(wrap(*a)) or made[-1])
    )
    model = tv.VAE((2, 3), hidden=(5,))
    model.reconstruct(some_images((2, 3)))
    assert len(made) > 5
    assert not any(tensor.requires_grad for tensor in made)


@pytest.mark.parametrize("shape", [(7, 3, 2), (7, 1, 6), (7, 5), (7, 2, 3, 3), (0, 2, 3), (6,)])
def test_images_of_another_shape_are_refused_with_both_shapes(
    backend: Backend, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError) as caught:
        tv.VAE((2, 3)).embed(np.zeros(shape, dtype=np.uint8))
    assert "(N, 2, 3) or (N, 6)" in str(caught.value)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("shape", [(4, 3), (2,), (0, 2), (4, 2, 1)])
def test_codes_of_another_shape_are_refused_with_both_shapes(
    backend: Backend, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError) as caught:
        tv.VAE((2, 3), latent=2).generate(np.zeros(shape, dtype="float32"))
    assert "(N, 2)" in str(caught.value)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("images", [np.full((1, 2, 3), 7.0), np.full((1, 2, 3), 255)])
def test_pixels_outside_0_to_1_are_refused_before_they_are_used(
    backend: Backend, images: np.ndarray
) -> None:
    with pytest.raises(DataError, match=r"\[0, 1\].* uint8"):
        tv.VAE((2, 3)).embed(images)


@pytest.mark.parametrize(
    "sizes", [{"image_shape": (0, 3)}, {"latent": 0}, {"hidden": (5, 0)}, {"latent": -1}]
)
def test_sizes_below_1_are_refused(sizes: dict[str, Any]) -> None:
    ((name, value),) = sizes.items()
    with pytest.raises(OptionError, match="from 1 up") as caught:
        tv.VAE(**{"image_shape": (2, 3)} | sizes)
    assert f"{name}={value}" in str(caught.value)


def test_an_unknown_activation_and_a_count_below_1_are_refused() -> None:
    with pytest.raises(OptionError, match=r"'swish'; choose one of .*'relu'"):
        tv.VAE((2, 3), activation="swish")
    with pytest.raises(OptionError, match="from 1 up, not 0"):
        tv.VAE((2, 3)).sample(0)
