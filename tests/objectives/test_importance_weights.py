"""`log_weights` is log p(x | z) + log p(z) - log q(z | x), of every sample of every image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exact_models import log_normal, network, small_vae
from networks import log_ratio
from scipy.special import log_softmax

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.errors import DataError, ShapeError
from tinyvae.objectives import log_weights

RNG = np.random.default_rng(0)
X = RNG.random((3, 4))  # grey pixels
NOISE = RNG.standard_normal((3, 5, 2))


def model() -> tv.VAE:
    return small_vae((2, 2), latent=2)


def of(vae: tv.VAE, dtype: str = "float64") -> tv.Tensor:
    noise = tv.Tensor(NOISE.astype(dtype)).array
    return log_weights(vae, tv.Tensor(X.astype(dtype)), noise)


def by_definition(weights: dict[str, np.ndarray]) -> np.ndarray:
    """(B, S), one image and one sample at a time."""
    found = np.empty(NOISE.shape[:2])
    for b, s in np.ndindex(found.shape):
        mean, log_variance = np.split(network(weights, "encoder", X[b : b + 1])[0], 2)
        z = mean + np.exp(log_variance / 2) * NOISE[b, s]
        logits = network(weights, "decoder", z[None])[0]
        log_p = np.stack([log_softmax([0, logit]) for logit in logits])  # black, white
        pixels = (log_p[:, 1] * X[b] + log_p[:, 0] * (1 - X[b])).sum()
        found[b, s] = pixels + log_normal(z) - log_normal(z, mean, np.exp(log_variance))
    return found


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 1e-5)])
def test_the_weights_are_those_of_the_definition(backend: Backend, dtype: str, rtol: float) -> None:
    vae = model()
    wanted = by_definition(vae.state_dict())
    got = of(vae.to(dtype=dtype), dtype)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.numpy(), wanted, rtol=rtol)


def test_the_gradient_of_the_weights_is_right_for_every_parameter(backend: Backend) -> None:
    vae = model()
    parameters = vae.parameters()

    def weights(*values: tv.Tensor) -> tv.Tensor:
        place(vae, values)
        return of(vae)

    report = tv.gradcheck(weights, *(parameter.numpy() for parameter in parameters))
    assert len(report.arguments) == 8
    assert report, report


def place(vae: tv.VAE, values: tuple[tv.Tensor, ...]) -> None:
    layers = [part.layers[k] for part in (vae.encoder, vae.decoder) for k in (0, 2)]
    for layer, weight, bias in zip(layers, values[::2], values[1::2], strict=True):
        layer.weight, layer.bias = weight, bias


def test_the_expected_ratio_is_the_negative_kl(backend: Backend) -> None:
    mean, log_variance = (tv.Tensor(RNG.normal(size=(6, 2))) for _ in range(2))
    corners = [tv.Tensor(np.tile(e, (6, 1))) for e in ([1.0, 1.0], [-1.0, -1.0])]
    ratios = [  # quadratic in each axis of the noise, so that two corners average it exactly
        log_ratio(tv.gaussian_sample(mean, log_variance, e), mean, log_variance).numpy()
        for e in corners
    ]
    kl = tv.kl_standard_normal(mean, log_variance).numpy()
    np.testing.assert_allclose(sum(ratios) / 2, -kl, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 2), (2, 5, 2), (3, 5, 2, 1), (5, 3, 2)])
def test_noise_of_another_shape_is_refused_with_both_shapes(
    backend: Backend, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError) as caught:
        log_weights(model(), tv.Tensor(X), tv.Tensor(np.zeros(shape)).array)
    assert "(3, S, K)" in str(caught.value)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("scale", [-1.0, 2.0])
def test_pixels_outside_0_to_1_are_refused(scale: Any) -> None:
    with pytest.raises(DataError, match=r"in \[0, 1\]"):
        log_weights(model(), tv.Tensor(scale * X), NOISE)
