"""`elbo` measures the negative ELBO, its parts, and how the latent dimensions are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.data.dataset import Split
from tinyvae.errors import DataError
from tinyvae.evaluation.elbo import elbo

RNG = np.random.default_rng(0)


def linear_model(latent: int, image_shape: tuple[int, ...] = (1, 2), **values: Any) -> tv.VAE:
    """A model without hidden layers, with its weights and biases as told (0 where not)."""
    model = tv.VAE(image_shape, latent=latent, hidden=())
    state = {name: np.zeros_like(value) for name, value in model.state_dict().items()}
    for name, value in values.items():
        part, kind = name.split("_")
        state[f"{part}.layers.0.{kind}"][...] = value
    model.load_state_dict(state)
    return model


def some_images(count: int = 20, shape: tuple[int, ...] = (2, 3)) -> Split:
    return Split(RNG.integers(256, size=(count, *shape), dtype=np.uint8))


def kl_by_definition(model: tv.VAE, split: Split) -> np.ndarray:
    """The KL of every image and dimension, (N, K), in float64."""
    mean, log_variance = (part.astype("float64") for part in model.embed(split.images))
    return -(1 + log_variance - mean**2 - np.exp(log_variance)) / 2


def test_the_kl_is_that_of_the_posteriors_and_its_dimensions_sum_to_it(backend: Backend) -> None:
    model, split = tv.VAE((2, 3), latent=3, hidden=(5,), activation="tanh"), some_images()
    result, kl = elbo(model, split), kl_by_definition(model, split)
    assert result.kl == pytest.approx(kl.sum(axis=1).mean(), rel=1e-5)
    np.testing.assert_allclose(result.kl_per_dimension, kl.mean(axis=0), rtol=1e-5)
    assert sum(result.kl_per_dimension) == pytest.approx(result.kl, rel=1e-6)
    assert result.loss == result.reconstruction + result.kl


def cross_entropy(p: Any, x: Any) -> Any:
    return -(x * np.log(p) + (1 - x) * np.log(1 - p))


def test_a_decoder_that_ignores_the_code_has_the_cross_entropy_of_its_constant(
    backend: Backend,
) -> None:
    model = linear_model(latent=2, image_shape=(2, 3), decoder_bias=np.log(3))  # p = 3/4
    split = some_images()
    wanted = cross_entropy(0.75, split.images / 255).reshape(20, -1).sum(axis=1).mean()
    assert elbo(model, split).reconstruction == pytest.approx(wanted, rel=1e-5)


def test_the_codes_are_drawn_from_the_posterior(backend: Backend) -> None:
    # z ~ N(1/2, 1/4) and a pixel of logit 2 z; its expected cross-entropy by Gauss and Hermite.
    bias = [0.5, np.log(0.25)]
    model = linear_model(1, (1, 1), encoder_bias=bias, decoder_weight=2.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    values = cross_entropy(1 / (1 + np.exp(-2 * (0.5 + 0.5 * nodes))), 0.0)
    mean, square = (float(weights @ values**k / weights.sum()) for k in (1, 2))
    count = 20_000
    result = elbo(model, Split(np.zeros((count, 1, 1), dtype=np.uint8)))
    assert abs(result.reconstruction - mean) < 5 * np.sqrt((square - mean**2) / count)


@pytest.mark.parametrize("active", [0, 1, 3])
def test_a_unit_is_active_whose_mean_varies_by_more_than_a_hundredth(
    backend: Backend, active: int
) -> None:
    pixel = np.tile([0.25, 0.75], 50).astype("float32").reshape(-1, 1, 1)  # variance 1/16
    slopes = np.sqrt(np.where(np.arange(3) < active, 0.0101, 0.0099) * 16)
    weight = np.concatenate([slopes, [5.0, 5.0, 5.0]])[None]  # the log variances vary, too
    model = linear_model(3, (1, 1), encoder_weight=weight, encoder_bias=[9, 9, 9, 0, 0, 0])
    assert elbo(model, Split(pixel)).active_units == active


def test_dynamic_binarisation_keeps_the_expected_cross_entropy(backend: Backend) -> None:
    # The cross-entropy is linear in x, so that drawing x with mean g changes nothing on average.
    model = linear_model(1, (1, 1), decoder_bias=np.log(3))
    count = 20_000
    grey = Split(np.full((count, 1, 1), 51, dtype=np.uint8))  # 1/5
    low, high = cross_entropy(0.75, 1.0), cross_entropy(0.75, 0.0)
    standard_error = (high - low) * np.sqrt(0.2 * 0.8 / count)
    wanted = 0.2 * low + 0.8 * high
    assert elbo(model, grey).reconstruction == pytest.approx(wanted, rel=1e-5)
    drawn = elbo(model, grey, dynamic=True).reconstruction
    assert standard_error / 1000 < abs(drawn - wanted) < 5 * standard_error


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_same_seed_gives_the_same_figure_and_another_seed_another(
    backend: Backend, dynamic: bool
) -> None:
    model, split = tv.VAE((2, 3), hidden=(5,)), some_images()
    first, same, other = (elbo(model, split, seed, dynamic) for seed in (1, 1, 2))
    assert first == same
    assert first.reconstruction != other.reconstruction
    assert first.kl == other.kl or dynamic


def test_many_images_go_through_in_parts_without_a_difference(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, split = tv.VAE((2, 3), latent=3, hidden=(5,)), some_images()
    whole = elbo(model, split)
    monkeypatch.setattr("tinyvae.models.vae.ROWS", 7)  # the last part is smaller
    parts = elbo(model, split)
    assert parts.reconstruction == pytest.approx(whole.reconstruction, rel=1e-6)
    np.testing.assert_allclose(parts.kl_per_dimension, whole.kl_per_dimension, rtol=1e-5)
    assert parts.active_units == whole.active_units


def test_evaluation_leaves_the_model_as_it_was(backend: Backend) -> None:
    model = tv.VAE((2, 3), hidden=(5,))
    before = model.state_dict()
    elbo(model, some_images())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_pixels_outside_0_to_1_are_refused_with_their_range() -> None:
    with pytest.raises(DataError, match=r"\[0, 1\]; these go from 0 to 2"):
        elbo(linear_model(1), Split(np.array([[[0, 2]]], dtype="float32")))


def test_no_more_images_are_decoded_at_once_than_the_numbers_of_their_pixels_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, seen = tv.VAE((28, 28), hidden=(2,), likelihood="categorical"), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z: (seen.append(len(z)), decode(z))[1])
    elbo(model, np.zeros((7, 28, 28), np.uint8))
    model.generate(np.zeros((7, 2), np.float32))
    assert seen == [5, 2, 5, 2]  # 5 images have nearly 2^20 logits
