"""Likelihoods: each is a probability or a density, with the mean and samples of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.distributions.likelihoods import LIKELIHOODS, likelihood
from tinyvae.errors import OptionError

RNG = np.random.default_rng(0)
NAMES = [
    "bernoulli", "gaussian:0.2", "sigma", "gaussian-pixel", "laplace", "continuous-bernoulli",
    "categorical:5", "discretised-logistic",
]  # fmt: skip
DENSITIES = ["gaussian:0.2", "sigma", "gaussian-pixel", "laplace", "continuous-bernoulli"]
LEVELS = {"bernoulli": 2, "categorical:5": 5, "discretised-logistic": 256}
IMAGES = RNG.integers(256, size=(40, 2, 2), dtype=np.uint8)
ROWS = {  # decoder outputs for one pixel
    1: [[0.3], [-2.0], [4.0], [0.0], [1e-6], [-9.0]],
    2: [[0.3, -1.0], [0.6, 0.5], [-0.2, -3.0], [0.999, -4.0], [1.4, -2.0]],
    5: [[0.3, -1.0, 2.0, 0.0, 1.0], [0.0, 0.0, 9.0, 0.0, 0.0]],
}


def made(name: str, pixels: int = 1) -> Any:
    return likelihood(name, pixels, tv.Noise(0)).to(dtype="float64")


def rows_of(part: Any) -> np.ndarray:
    return np.array(ROWS[part.outputs])


def log_p(part: Any, row: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log p of values of one pixel, (N,)."""
    output = np.tile(row, (len(x), 1))
    return -part.cross_entropy(tv.Tensor(output), tv.Tensor(x[:, None])).numpy()


def grid(name: str) -> np.ndarray:
    """All that a pixel may be, finely."""
    part = made(name)
    if part.kind != "density":
        count = LEVELS[name]
        return np.arange(count) / (count - 1)
    low, high = (0, 1) if name == "continuous-bernoulli" else (-30, 30)
    edges = np.linspace(low, high, 300_001)
    return (edges[1:] + edges[:-1]) / 2


def shares(name: str, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of a pixel and their probabilities."""
    part, x = made(name), grid(name)
    width = x[1] - x[0] if part.kind == "density" else 1
    return x, np.exp(log_p(part, row, x)) * width


def test_every_likelihood_is_tested():
    assert {name.partition(":")[0] for name in NAMES} == set(LIKELIHOODS)
    assert [name for name in NAMES if made(name).kind == "density"] == DENSITIES


@pytest.mark.parametrize("name", NAMES)
def test_the_probabilities_of_a_pixel_sum_to_1(name: str) -> None:
    for row in rows_of(made(name)):
        _, p = shares(name, row)
        assert p.sum() == pytest.approx(1, abs=1e-6), row


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_is_that_of_the_probabilities(backend: Backend, name: str) -> None:
    part = made(name)
    for row in rows_of(part):
        x, p = shares(name, row)
        within = 0.5 / 255 if name == "discretised-logistic" else 1e-6
        assert part.mean(tv.Tensor(row[None])).item() == pytest.approx(x @ p, abs=within), row


@pytest.mark.parametrize("name", DENSITIES)
def test_samples_have_the_distribution_of_the_density(name: str) -> None:
    part, count = made(name), 20_000
    for row in rows_of(part):
        x, p = shares(name, row)
        drawn = part.sample(tv.Tensor(np.tile(row, (count, 1))), tv.Noise(1))[:, 0]
        edges = x + (x[1] - x[0]) / 2
        found = stats.kstest(drawn, lambda at, e=edges, p=p: np.interp(at, e, np.cumsum(p)))
        assert found.pvalue > 1e-4, row


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_drawn_as_often_as_their_probabilities_say(name: str) -> None:
    part, count = made(name), 50_000
    for row in rows_of(part):
        x, p = shares(name, row)
        drawn = part.sample(tv.Tensor(np.tile(row, (count, 1))), tv.Noise(1))[:, 0]
        found = np.bincount(np.rint(drawn * (len(x) - 1)).astype(int), minlength=len(x))
        np.testing.assert_allclose(drawn, x[np.rint(drawn * (len(x) - 1)).astype(int)], rtol=1e-12)
        deviation = (found - count * p) / np.sqrt(count * p * (1 - p) + 1)
        assert abs(deviation).max() < 5, row


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_the_product_of_its_pixels_probabilities(backend: Backend, name: str) -> None:
    part = made(name, pixels=3)
    rows = np.array(ROWS[part.outputs])[[0, 1, 0]] + 0.1 * RNG.normal(size=(3, part.outputs))
    x = grid(name)[RNG.integers(len(grid(name)), size=3)]
    # The decoder's parts lie side by side, (B, outputs D); a categorical pixel's logits together.
    output = rows.reshape(-1) if name.startswith("categorical") else rows.T.reshape(-1)
    got = part.cross_entropy(tv.Tensor(output[None]), tv.Tensor(x[None])).numpy()
    each = [log_p(part, row, value[None])[0] for row, value in zip(rows, x, strict=True)]
    np.testing.assert_allclose(got, [-sum(each)], rtol=1e-12)
    assert part.mean(tv.Tensor(output[None])).shape == (1, 3)
    noise = tv.Noise(0)
    assert part.sample(tv.Tensor(output[None]), noise).shape == (1, 3)


# By their definitions


def test_a_gaussian_of_fixed_sigma_is_the_squared_error_over_2_sigma_squared() -> None:
    part, x, mean = made("gaussian:0.1"), RNG.random((4, 3)), RNG.random((4, 3))
    got = part.cross_entropy(tv.Tensor(mean), tv.Tensor(x)).numpy()
    constant = 3 * math.log(0.1 * math.sqrt(2 * math.pi))
    wanted = ((x - mean) ** 2).sum(axis=1) / (2 * 0.1**2) + constant
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize("asked", ["gaussian", "gaussian:0", "gaussian:-1", "gaussian:inf"])
def test_a_squared_error_without_its_sigma_is_refused(asked: str) -> None:
    with pytest.raises(OptionError, match=r"name a sigma above 0, as in 'gaussian:0.1'"):
        tv.VAE((2, 2), likelihood=asked)


def test_the_densities_are_scipys() -> None:
    x, row = RNG.random(7), np.array([0.4])
    scale = math.exp(made("sigma").log_variance.item() / 2)
    wanted = stats.norm(0.4, scale).logpdf(x)
    np.testing.assert_allclose(log_p(made("sigma"), row, x), wanted, rtol=1e-12)
    scale = math.exp(made("laplace").log_scale.item())
    wanted = stats.laplace(0.4, scale).logpdf(x)
    np.testing.assert_allclose(log_p(made("laplace"), row, x), wanted, rtol=1e-12)


def test_a_learnt_sigma_becomes_that_of_the_residuals() -> None:
    # A decoder that cannot learn: white noise of standard deviation 0.2 about 1/2.
    images = (0.5 + 0.2 * RNG.normal(size=(2000, 2, 2))).clip(0, 1).astype("float32")
    vae = tv.VAE((2, 2), 1, (2,), likelihood="sigma")
    tv.fit(vae, images, epochs=15, batch=50, learning_rate=0.01)
    sigma = math.exp(vae.likelihood.log_variance.item() / 2)
    residual = np.sqrt(((vae.reconstruct(images) - images) ** 2).mean())
    assert sigma == pytest.approx(residual, rel=0.1)


@pytest.mark.parametrize("name", ["sigma", "laplace", "gaussian-pixel"])
def test_no_learnt_scale_is_below_a_grey_level(name: str) -> None:
    part = made(name)
    if part.outputs == 2:
        _, log_variance = part._parts(tv.Tensor([[0.5, -1e6]], dtype="float64"))
        scale = math.exp(log_variance.item() / 2)
    else:
        part.free.data = np.array([-1e6])
        log_scale = part.log_scale if name == "laplace" else part.log_variance / 2
        scale = math.exp(log_scale.item())
    assert scale == pytest.approx(1 / 255)


def test_a_density_of_images_that_are_all_alike_stays_finite() -> None:
    images = np.full((40, 2, 2), 128, dtype=np.uint8)
    vae = tv.VAE((2, 2), 1, (4,), likelihood="gaussian-pixel")
    history = tv.fit(vae, images, epochs=200, batch=40, learning_rate=0.03)
    most = 4 * math.log(255 / math.sqrt(2 * math.pi))
    assert -most < history[-1]["train_loss"] < 0


def test_a_pixel_counts_for_the_nearest_level() -> None:
    part, row = made("categorical:5"), np.arange(5.0)
    x = np.array([0.0, 0.1, 0.13, 0.49, 0.88, 1.0])
    wanted = [0, 0, 1, 2, 4, 4] - np.log(np.exp(row).sum())
    np.testing.assert_allclose(log_p(part, row, x), wanted, rtol=1e-12)


# In a model


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_vae_with_it_trains_and_is_evaluated(backend: Backend, name: str, resident: bool) -> None:
    vae = tv.VAE((2, 2), 2, (8,), likelihood=name)
    options = {"epochs": 6, "batch": 8, "learning_rate": 0.01, "resident": resident}
    history = tv.fit(vae, IMAGES, **options)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    found = tv.evaluate(vae, IMAGES)
    assert tv.log_likelihood(vae, IMAGES, 50).mean > -found.loss - 0.1
    assert vae.reconstruct(IMAGES).shape == vae.generate(np.zeros((40, 2), "float32")).shape


@pytest.mark.parametrize("name", NAMES)
def test_log_p_is_alike_in_both_dtypes_and_on_every_backend(backend: Backend, name: str) -> None:
    output = RNG.normal(size=(4, 3 * made(name).outputs)) / 2
    x = RNG.integers(5, size=(4, 3)) / 4
    with tv.use("numpy"):
        wanted = made(name, 3).cross_entropy(tv.Tensor(output), tv.Tensor(x)).numpy()
    part = likelihood(name, 3, tv.Noise(0))
    got = part.cross_entropy(*(tv.Tensor(v, dtype="float32") for v in (output, x)))
    assert got.dtype == "float32"
    np.testing.assert_allclose(got.numpy(), wanted, rtol=2e-5)
