"""FactorVAE's discriminator finds the total correlation; each of both learns from its own part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.models.factor_vae import FactorVAE, shuffled
from tinyvae.objectives import Inferred, infer, negative_elbo
from tinyvae.optim import Adam

RNG = np.random.default_rng(0)
X = RNG.random((6, 4)).astype("float32")
NOISE = RNG.standard_normal((6, 3)).astype("float32")


def small(seed: int = 0) -> FactorVAE:
    return FactorVAE((2, 2), 3, (5,), seed=seed, discriminator=(7,))


def gradients(model: FactorVAE, beta: float) -> dict[str, Any]:
    for parameter in model.parameters():
        parameter.zero_grad()
    noise = model.backend.from_host(NOISE)
    negative_elbo(model, tv.Tensor(X), noise, beta).loss.backward()
    to_host = model.backend.to_host
    return {name: to_host(p.grad).copy() for name, p in model.named_parameters()}


# Shuffled codes


@pytest.mark.parametrize(("count", "latent"), [(6, 3), (2, 5), (1, 2)])
def test_each_dimension_has_the_same_values_and_another_image(count: int, latent: int) -> None:
    z = np.arange(count * latent, dtype="float32").reshape(count, latent)
    mixed = shuffled(tv.Tensor(z)).numpy()
    np.testing.assert_array_equal(np.sort(mixed, axis=0), z)
    if count >= latent:
        images = (mixed - np.arange(latent)) // latent
        assert all(len(set(row)) == latent for row in images)


def test_of_several_codes_of_an_image_no_two_dimensions_come_from_one_image() -> None:
    images = np.repeat(np.arange(6.0), 5)  # 5 codes of each, in succession
    mixed = shuffled(tv.Tensor(np.stack([images] * 3, axis=1)), samples=5).numpy()
    assert all(len(set(row)) == 3 for row in mixed)


# Who learns from what


def test_the_discriminator_does_not_learn_from_the_total_correlation(backend: Backend) -> None:
    model = small()
    one, other = gradients(model, 1.0), gradients(model, 50.0)
    for name, gradient in one.items():
        if name.startswith("discriminator"):
            np.testing.assert_allclose(gradient, other[name], rtol=1e-5, atol=1e-7)
            assert abs(gradient).max() > 0
    assert not np.allclose(one["encoder.layers.0.weight"], other["encoder.layers.0.weight"])


def test_the_vae_does_not_learn_from_what_the_discriminator_learns_from(backend: Backend) -> None:
    """At beta = 1 it is the plain VAE."""
    model, plain = small(), tv.VAE((2, 2), 3, (5,))
    wanted = gradients(plain, 1.0)
    found = gradients(model, 1.0)
    for name, gradient in wanted.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_gradients_of_the_vae_are_right() -> None:
    model = small().to(dtype="float64")
    x, noise = X.astype("float64"), NOISE.astype("float64")
    fixed = [p for n, p in model.named_parameters() if n.startswith("discriminator")]

    def loss(*parameters: tv.Tensor) -> tv.Tensor:
        with model.with_parameters([*parameters, *fixed]):
            found = infer(model, tv.Tensor(x), noise)
            return model.weigh(found, 8.0) - model.mistakes(found.z.detach())

    own = [p for n, p in model.named_parameters() if not n.startswith("discriminator")]
    assert tv.gradcheck(loss, *(tv.Tensor(p.numpy()) for p in own))


def test_the_parameters_keep_their_names_and_places(backend: Backend) -> None:
    model = small()
    before = {p.name: p.array for p in model.parameters()}
    gradients(model, 3.0)
    assert [*before] == [name for name, _ in model.named_parameters()]
    assert all(p.array is before[p.name] for _, p in model.named_parameters())


# The loss


def test_the_loss_is_its_formula() -> None:
    model = small()
    found = infer(model, tv.Tensor(X), NOISE)
    logit, mixed = model.discriminator(found.z), model.discriminator(shuffled(found.z))
    p, q = (1 / (1 + np.exp(-t.numpy().astype("float64"))) for t in (logit, mixed))
    plain = (found.reconstruction + found.kl).mean().item()
    wanted = plain + 9 * logit.numpy().mean() - (np.log(p) + np.log(1 - q)).mean() / 2
    assert model.weigh(found, 10.0).item() == pytest.approx(wanted, rel=1e-5)


def test_the_loss_of_several_codes_an_image_shuffles_the_images() -> None:
    model = small()
    found = infer(model, tv.Tensor(X), RNG.standard_normal((6, 4, 3)).astype("float32"))
    logit, mixed = model.discriminator(found.z), model.discriminator(shuffled(found.z, 4))
    plain = (found.reconstruction + found.kl).mean().item()
    mistakes = np.logaddexp(0, -logit.numpy()) + np.logaddexp(0, mixed.numpy())
    wanted = plain + 9 * logit.numpy().mean() + mistakes.mean() / 2
    assert model.weigh(found, 10.0).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_the_discriminator_finds_the_total_correlation_of_a_gaussian(rho: float) -> None:
    """-log(1 - rho^2) / 2 nats for two dimensions with the correlation rho."""
    model = FactorVAE((2, 2), 2, discriminator=(64, 64))
    optimiser = Adam(model.discriminator.parameters(), 2e-3)

    def codes(count: int) -> tv.Tensor:
        u, v = RNG.standard_normal((2, count))
        z = np.stack([u, rho * u + math.sqrt(1 - rho**2) * v], axis=1)
        return tv.Tensor(z.astype("float32"))

    for _ in range(400):
        optimiser.zero_grad()
        model.mistakes(codes(256)).backward()
        optimiser.step()
    estimate = model.log_density_ratio(codes(4000)).mean().item()
    assert estimate == pytest.approx(-math.log(1 - rho**2) / 2, abs=0.08)


def test_it_trains_in_repeated_steps_as_it_does_taped(monkeypatch: pytest.MonkeyPatch) -> None:
    images = RNG.integers(256, size=(40, 2, 2), dtype=np.uint8)
    replayed, taped = small(), small()
    tv.fit(replayed, images, epochs=3, batch=8, beta=5)
    monkeypatch.setattr(tv.Replay, "__call__", tv.Replay.tape)
    tv.fit(taped, images, epochs=3, batch=8, beta=5)
    for name, value in taped.state_dict().items():
        np.testing.assert_array_equal(replayed.state_dict()[name], value)


def test_images_on_the_device_make_no_difference(backend: Backend) -> None:
    images = RNG.integers(256, size=(40, 2, 2), dtype=np.uint8)
    one, other = small(), small()
    for model, resident in ((one, True), (other, False)):
        tv.fit(model, images, epochs=3, batch=8, beta=5, warm_up=2, resident=resident)
    for name, value in other.state_dict().items():
        np.testing.assert_allclose(one.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_a_model_of_the_same_shape_is_made_of_its_config() -> None:
    again = FactorVAE(**small().config)
    assert {n: p.shape for n, p in again.named_parameters()} == {
        n: p.shape for n, p in small().named_parameters()
    }


def test_codes_of_any_posterior_can_be_judged() -> None:
    z = tv.Tensor(NOISE)
    zero = tv.Tensor(np.zeros(6, dtype="float32"))
    assert np.isfinite(small().weigh(Inferred((), z, zero, zero), 4.0).item())
