"""The configuration of a run: its ranges, and the size of its model."""

from __future__ import annotations

from typing import Any

import pytest

from tinyvae import config
from tinyvae.config import Config
from tinyvae.errors import OptionError


@pytest.mark.parametrize(
    "wrong",
    [{"latent": 0}, {"hidden": (3, -1)}, {"learning_rate": -1.0}, {"batch": 0}, {"beta": -0.5}]
    + [{"learning_rate": float("nan")}, {"epochs": 0}, {"seed": -1}, {"binarise": "often"}],
)
def test_a_configuration_that_cannot_be_is_refused_with_its_value(wrong: dict[str, Any]):
    with pytest.raises(OptionError) as refusal:
        Config(**wrong)
    assert str(next(iter(wrong.values()))) in str(refusal.value)


def test_the_number_of_parameters_is_known_before_the_model_is_made():
    for sizes in (Config(), Config(latent=3, hidden=()), Config(hidden=(5, 4))):
        model = sizes.new_model((3, 4))
        assert sizes.parameters((3, 4)) == sum(p.size for p in model.parameters())


def test_a_machine_that_does_not_tell_its_memory_refuses_no_model(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(config, "_memory", lambda: 1000.0)
    with pytest.raises(OptionError, match="choose smaller sizes"):
        Config(hidden=(3,)).new_model((2, 2))
    monkeypatch.undo()
    monkeypatch.delattr(config.os, "sysconf")
    assert config._memory() == float("inf")


@pytest.mark.parametrize(
    ("images", "batch", "epochs"),
    [(1297, 64, 286), (54_000, 64, 10), (16_000, 64, 24), (10, 5, 300), (1, 64, 300)],
)
def test_without_a_number_of_epochs_there_are_about_6000_steps(images, batch, epochs):
    assert Config(batch=batch).with_enough_epochs(images).epochs == epochs


@pytest.mark.parametrize("name", ["latent", "epochs", "batch"])
def test_an_absurd_number_is_refused_at_once(name):
    with pytest.raises(OptionError, match="from 1 up"):
        Config(**{name: 10**400})
