"""The beta-VAE and the capacity VAE weigh the KL as their formulas say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyvae as tv
from tinyvae.errors import OptionError
from tinyvae.models.beta_vae import BetaVAE
from tinyvae.models.capacity_vae import CapacityVAE
from tinyvae.objectives import Inferred

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(40, 2, 3), dtype=np.uint8)


def found(reconstruction: list[float], kl: list[float]) -> Inferred:
    z = tv.Tensor(np.zeros((len(kl), 2)))
    return Inferred((z, z), z, tv.Tensor(np.array(reconstruction)), tv.Tensor(np.array(kl)))


@given(st.floats(0, 100))
def test_the_kl_weighs_beta_times_as_for_every_vae(beta: float) -> None:
    for kind in (BetaVAE, tv.VAE):
        model = kind((2, 3), hidden=())
        loss = model.weigh(found([3.0, 5.0], [1.0, 2.0]), beta)
        assert loss.item() == pytest.approx(4 + 1.5 * beta)
        assert model.describe(beta) == f"-log p(x | z) + {beta:g} KL"


@given(
    st.lists(st.floats(0, 50), min_size=1, max_size=5),
    st.floats(0, 1),
    st.floats(0.1, 40),
    st.floats(0.1, 1000),
)
def test_each_image_is_held_to_the_capacity(
    kl: list[float], progress: float, capacity: float, gamma: float
) -> None:
    model = CapacityVAE((2, 3), hidden=(), capacity=capacity, gamma=gamma)
    wanted = 7 + gamma * np.mean([abs(each - progress * capacity) for each in kl])
    assert model.weigh(found([7.0] * len(kl), kl), progress).item() == pytest.approx(wanted)


def test_the_capacity_rises_over_the_warm_up_and_the_kl_with_it() -> None:
    model = CapacityVAE((2, 3), hidden=(16,), capacity=3.0, gamma=100.0)
    assert model.describe(0.5) == "-log p(x | z) + 100 |KL - 1.5 nats|"
    settings = {"batch": 10, "learning_rate": 0.01, "warm_up": 60}
    history = tv.fit(model, IMAGES, epochs=80, **settings)
    assert history[29]["train_kl"] == pytest.approx(1.5, abs=0.3)
    assert history[-1]["train_kl"] == pytest.approx(3.0, abs=0.3)


def test_a_model_of_the_same_shape_is_made_of_its_config() -> None:
    model = CapacityVAE((2, 3), 3, (5,), capacity=7.0, gamma=30.0, seed=4)
    again = CapacityVAE(**model.config)
    assert (again.capacity, again.gamma, again.latent) == (7.0, 30.0, 3)


@pytest.mark.parametrize("parts", [{"prior": "mixture:2"}, {"posterior": "iaf"}])
def test_a_capacity_for_an_estimate_of_the_kl_is_refused(parts: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="needs the KL in closed form"):
        CapacityVAE((2, 3), **parts)


def test_no_capacity_and_no_weight_are_refused() -> None:
    for sizes in ({"capacity": 0.0}, {"gamma": -1.0}, {"gamma": float("nan")}):
        with pytest.raises(OptionError, match="numbers above 0"):
            CapacityVAE((2, 3), **sizes)


@pytest.mark.parametrize("kind", [CapacityVAE, tv.BetaTCVAE, tv.FactorVAE])
def test_free_bits_do_not_take_the_place_of_what_a_model_weighs_in_its_own_way(kind: Any) -> None:
    with pytest.raises(OptionError, match=f"{kind.__name__} weighs .* use free_bits=0"):
        tv.fit(kind((2, 3), hidden=()), IMAGES, epochs=1, batch=8, free_bits=0.1)
