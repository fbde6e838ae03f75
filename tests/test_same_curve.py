"""With the same noise, a model trains on every backend to the curve that it has on NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import standin
from conftest import CUPY

import tinyvae as tv
from tinyvae.backend import Backend

STEPS, BATCH, SIZES = 100, 128, {"image_shape": (28, 28), "latent": 20, "hidden": (400,)}

elsewhere = pytest.mark.parametrize("backend", ["standin", CUPY], indirect=True)


def strokes(count: int) -> np.ndarray:
    """Images of 28x28 pixels, each of a thick line between two points: (count, 28, 28) bytes."""
    rng = np.random.default_rng(0)
    start, end = rng.uniform(4, 24, (2, count, 1, 2))
    along = start + (end - start) * np.linspace(0, 1, 9)[:, None]  # (count, 9, 2)
    pixels = np.stack(np.mgrid[:28, :28], axis=-1).reshape(-1, 2)
    images = np.zeros((count, 784), dtype=np.uint8)
    for k, points in enumerate(along):
        squares = ((pixels[:, None] - points) ** 2).sum(axis=2).min(axis=1)
        images[k] = 255 * np.exp(-squares / 4)
    return images.reshape(-1, 28, 28)


IMAGES = strokes(STEPS * BATCH // 10)


def on_numpy(function: Callable[..., Any], *arguments: Any) -> Any:
    with tv.use("numpy"):
        return function(*arguments)


def model_and_step(dtype: str) -> tuple[tv.VAE, tv.Adam, tv.Replay]:
    model = tv.VAE(**SIZES).to(dtype=dtype)
    loss = tv.Replay(
        lambda x, noise: tv.negative_elbo(model, tv.Tensor.wrap(x), noise).loss,
        model.parameters(),
    )
    return model, tv.Adam(model.parameters(), 1e-3), loss


def batches(dtype: str) -> Any:
    """Pixels and noise of each step, on the backend in use."""
    noise = tv.Noise(0, "the same everywhere", backend="numpy")
    from_host = tv.backend.get().from_host
    for _ in range(STEPS):
        rows = noise.integers(len(IMAGES), BATCH)
        pixels = IMAGES[rows].reshape(BATCH, 784).astype(dtype) / 255
        yield from_host(pixels), from_host(noise.normal((BATCH, 20)).astype(dtype))


def curve() -> list[float]:
    """The loss of each step, in nats."""
    _, optimiser, loss = model_and_step("float32")
    losses = []
    for x, noise in batches("float32"):
        optimiser.zero_grad()
        losses.append(loss(x, noise).item())
        optimiser.step()
    return losses


def one_step() -> list[np.ndarray]:
    """In float64: the loss, its gradients, and the parameters after a step of Adam."""
    model, optimiser, loss = model_and_step("float64")
    x, noise = next(batches("float64"))
    value = loss(x, noise).numpy()
    gradients = [model.backend.to_host(p.grad) for p in model.parameters()]
    optimiser.step()
    return [value, *gradients, *model.state_dict().values()]


@elsewhere
@pytest.mark.slow
def test_the_losses_of_the_first_hundred_steps_are_those_of_numpy(backend: Backend) -> None:
    here, there = curve(), on_numpy(curve)
    assert there[-1] < 0.6 * there[0]
    assert np.abs(np.subtract(here, there)).max() < 1e-3


@pytest.mark.slow
def test_products_of_shorter_factors_give_another_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    call = standin._call

    def in_tf32(name: str, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        return call(name, rounded_product if "matmul" in name else function, arguments, options)

    monkeypatch.setattr(standin, "_call", in_tf32)
    with tv.use("standin"):
        here = curve()
    assert np.abs(np.subtract(here, on_numpy(curve))).max() > 1e-2


def rounded_product(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """A product whose factors have 10 bits behind the point, as those of TF32 have."""
    lost = 2 ** (23 - 10)
    a, b = (
        ((np.ascontiguousarray(x).view("int32") + lost // 2) & -lost).view("float32")
        for x in (a, b)
    )
    return np.matmul(a, b, out=out)


@elsewhere
@pytest.mark.slow
def test_fit_logs_what_it_logs_on_numpy(backend: Backend) -> None:
    def rows() -> list[dict[str, Any]]:
        model = tv.VAE(**SIZES)
        return tv.fit(model, IMAGES, IMAGES[:200], epochs=10, batch=BATCH, binarise="dynamic")

    assert len(IMAGES) == STEPS * BATCH / 10
    for here, there in zip(rows(), on_numpy(rows), strict=True):
        for name in ("train_loss", "train_reconstruction", "train_kl", "valid_loss"):
            assert here[name] == pytest.approx(there[name], abs=1e-3)


@elsewhere
def test_a_step_in_float64_is_that_of_numpy(backend: Backend) -> None:
    for here, there in zip(one_step(), on_numpy(one_step), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-10, atol=1e-10)
