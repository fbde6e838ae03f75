"""The objectives are what their definitions say, in value and in gradient, and bound log p(x)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.errors import DataError
from tinyvae.objectives import check_pixels, free_kl, kl_per_dimension, negative_elbo

RNG = np.random.default_rng(0)
X = RNG.random((5, 4))  # grey pixels
NOISE = RNG.standard_normal((5, 2))


def small_model(dtype: str = "float64", scale: float = 1.0, **sizes: Any) -> tv.VAE:
    model = tv.VAE((2, 2), **{"latent": 2, "hidden": (3,), "activation": "tanh"} | sizes)
    rng = np.random.default_rng(1)
    for parameter in model.to(dtype=dtype).parameters():
        values = (rng.standard_normal(parameter.shape) * scale).astype(dtype)
        parameter.data = parameter.backend.from_host(values)
    return model


def mlp(weights: dict[str, np.ndarray], part: str, x: np.ndarray) -> np.ndarray:
    hidden = np.tanh(x @ weights[f"{part}.layers.0.weight"] + weights[f"{part}.layers.0.bias"])
    return hidden @ weights[f"{part}.layers.2.weight"] + weights[f"{part}.layers.2.bias"]


def by_definition(model: tv.VAE, x: np.ndarray, noise: np.ndarray) -> tuple[Any, Any]:
    """-log p(x | z) (B,) and the KL of every dimension (B, K), from the textbook formulas."""
    weights = {name: value.astype("float64") for name, value in model.state_dict().items()}
    mean, log_variance = np.split(mlp(weights, "encoder", x), 2, axis=1)
    variance = np.exp(log_variance)
    p = 1 / (1 + np.exp(-mlp(weights, "decoder", mean + np.sqrt(variance) * noise)))
    cross_entropy = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)
    return cross_entropy, -(1 + np.log(variance) - mean**2 - variance) / 2


def tensors(backend: Backend, dtype: str = "float64") -> tuple[tv.Tensor, Any]:
    return tv.Tensor(X.astype(dtype)), backend.from_host(NOISE.astype(dtype))


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 2e-6)])
def test_the_loss_is_cross_entropy_plus_beta_times_kl(
    backend: Backend, dtype: str, rtol: float
) -> None:
    model = small_model(dtype)
    x, noise = tensors(backend, dtype)
    cross_entropy, kl = by_definition(model, X, NOISE)
    for beta in (1.0, 0.0, 4.0):
        terms = negative_elbo(model, x, noise, beta)
        np.testing.assert_allclose(terms.reconstruction.numpy(), cross_entropy, rtol=rtol)
        np.testing.assert_allclose(terms.kl.numpy(), kl.sum(axis=1), rtol=rtol)
        wanted = cross_entropy.mean() + beta * kl.sum(axis=1).mean()
        np.testing.assert_allclose(float(terms.loss), wanted, rtol=rtol)


def test_kl_per_dimension_is_the_average_of_each_column(backend: Backend) -> None:
    model = small_model()
    per_dimension = kl_per_dimension(model, model.encode(tensors(backend)[0])).numpy()
    np.testing.assert_allclose(per_dimension, by_definition(model, X, NOISE)[1].mean(axis=0))


def test_free_bits_charge_for_each_dimension_no_less_than_they_give(backend: Backend) -> None:
    model = small_model(scale=0.5)
    cross_entropy, kl = by_definition(model, X, NOISE)
    low, high = sorted(kl.mean(axis=0))
    free = float(low + high) / 2  # above one dimension, below the other
    terms = negative_elbo(model, *tensors(backend), beta=2.0, free_bits=free)
    assert float(terms.loss) == pytest.approx(cross_entropy.mean() + 2 * (free + high), rel=1e-12)
    np.testing.assert_allclose(terms.kl.numpy(), kl.sum(axis=1), rtol=1e-12)


def test_free_bits_leave_no_gradient_to_the_dimensions_below_them(backend: Backend) -> None:
    mean = tv.Tensor([[1.0, 0.1], [2.0, 0.2]], requires_grad=True)  # KL 1.25 and 0.0125
    log_variance = tv.Tensor(np.zeros((2, 2), dtype="float32"), requires_grad=True)
    free_kl(small_model(), (mean, log_variance), free_bits=0.5).backward()
    np.testing.assert_allclose(backend.to_host(mean.grad), [[0.5, 0], [1, 0]])  # dKL/dm = m / B
    assert not backend.to_host(log_variance.grad).any()


def gradients(model: tv.VAE, loss: tv.Tensor) -> list[np.ndarray]:
    for parameter in model.parameters():
        parameter.zero_grad()
    loss.backward()
    return [p.backend.to_host(p.grad.copy()) for p in model.parameters()]


def test_a_kl_that_is_all_free_has_no_gradient(backend: Backend) -> None:
    model = small_model(scale=0.1)
    free = negative_elbo(model, *tensors(backend), beta=100.0, free_bits=9.0).loss
    without = negative_elbo(model, *tensors(backend), beta=0.0).loss
    for a, b in zip(gradients(model, free), gradients(model, without), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"beta": 3.0}, {"beta": 0.5, "free_bits": 0.3}])
def test_the_gradient_of_the_whole_loss_is_right_for_every_parameter(
    backend: Backend, options: dict[str, float]
) -> None:
    model = small_model(scale=0.5)
    free = by_definition(model, X, NOISE)[1].mean(axis=0)
    assert (free < 0.3).sum() == 1  # free bits hold one dimension and not the other
    x, noise = tensors(backend)

    def loss(*parameters: tv.Tensor) -> tv.Tensor:
        with model.with_parameters(parameters):
            return negative_elbo(model, x, noise, **options).loss

    report = tv.gradcheck(loss, *model.parameters())
    assert len(report.arguments) == 8
    assert report, report
    assert all(worst.pullback for worst in report.arguments)


# Pixels


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [
        ([0.0, 255.0], "from 0 to 255"),
        ([-0.25, 1.0], "from -0.25 to 1"),
        ([0.5, 1.0000001], "from 0.5 to 1"),
        ([0.5, float("nan")], "nan"),
        ([float("-inf"), 0.5], "-inf"),
    ],
)
def test_pixels_outside_0_to_1_are_refused_with_their_range(
    backend: Backend, pixels: list[float], shown: str
) -> None:
    with pytest.raises(DataError, match=r"in \[0, 1\]") as caught:
        check_pixels(backend.from_host(np.array(pixels, dtype="float32")))
    assert shown in str(caught.value)


def test_bytes_and_floats_from_0_to_1_are_pixels(backend: Backend) -> None:
    check_pixels(backend.from_host(np.array([0, 255], dtype="uint8")))
    check_pixels(backend.from_host(np.array([0.0, 0.5, 1.0], dtype="float32")))
