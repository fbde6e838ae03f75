"""`fit` trains by every estimator, and a step that is repeated is the step that was taped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.autograd import Replay
from tinyvae.backend import Backend
from tinyvae.data.dataset import Split
from tinyvae.errors import OptionError
from tinyvae.objectives import OBJECTIVES
from tinyvae.settings import Settings
from tinyvae.trainer import Trainer

IMAGES = Split(np.random.default_rng(0).integers(0, 256, (60, 2, 3), dtype=np.uint8))


def trainer(objective: str, resident: bool = False, **settings: Any) -> Trainer:
    model = tv.VAE((2, 3), latent=2, hidden=(8,), activation="tanh").to(dtype="float64")
    asked = {"epochs": 3, "batch": 6, "samples": 3} | settings
    return Trainer(model, IMAGES, None, Settings(objective=objective, **asked), resident=resident)


def learnt(by: Trainer) -> np.ndarray:
    by.run()
    return by.state.optimiser.flat.values.copy()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_that_is_repeated_is_the_one_that_was_taped(backend: Backend, name: str) -> None:
    taped, replayed, resident = trainer(name), trainer(name), trainer(name, resident=True)
    taped._tape_always()
    wanted = backend.to_host(learnt(taped))
    for other in (replayed, resident):
        np.testing.assert_allclose(backend.to_host(learnt(other)), wanted, rtol=1e-9, atol=1e-12)
    assert isinstance(replayed._terms, Replay)
    assert replayed._terms._replayed > 10
    assert resident._resident
    assert resident._resident.is_recorded


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_logged_is_what_was_minimised_and_it_falls(name: str) -> None:
    history = trainer(name, epochs=12, learning_rate=0.02).run()
    first, last = (row["train_loss"] for row in (history[0], history[-1]))
    assert last < first
    assert all(
        row["train_loss"] == pytest.approx(row["train_reconstruction"] + row["train_kl"])
        for row in history
    )


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("iwae", {"beta": 2.0}, "beta=1 and warm_up=0"),
        ("dreg", {"warm_up": 3}, "beta=1 and warm_up=0"),
        ("stl", {"free_bits": 0.1}, "free_bits=0"),
        ("vimco", {"samples": 1}, "samples=2"),
        ("score-loo", {"samples": 1}, "samples=2"),
    ],
)
def test_what_an_estimator_cannot_do_is_refused(
    name: str, settings: Any, message: str, resident: bool
) -> None:
    with pytest.raises(OptionError, match=message):
        trainer(name, resident, **settings).run()
