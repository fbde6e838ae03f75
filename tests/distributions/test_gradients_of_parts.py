"""The gradient of the whole loss is right, whatever a VAE is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.distributions.posteriors import drawn
from tinyvae.distributions.priors import PRIORS

RNG = np.random.default_rng(0)
PARTS = {"prior": ["normal", "mixture:3", "vamp:2", "fitted:2"]}
CASES = [pytest.param({kind: name}, id=name) for kind, names in PARTS.items() for name in names]
KNOWN = {"prior": PRIORS}


def small(**parts: Any) -> tv.VAE:
    """A VAE in float64 with weights far from those it begins with."""
    made = tv.VAE((1, 3), 2, (2,), "tanh", **parts).to(dtype="float64")
    state = made.state_dict()
    made.load_state_dict({name: RNG.normal(size=p.shape) / 2 for name, p in state.items()})
    return made


@pytest.mark.parametrize("parts", CASES)
def test_the_gradient_of_the_loss_is_right_for_every_parameter(
    backend: Backend, parts: dict[str, str]
) -> None:
    made, x = small(**parts), tv.Tensor(RNG.random((2, 3)))
    noise = drawn(made.posterior, tv.Noise(1), (2,), "float64")

    def loss(*values: tv.Tensor) -> tv.Tensor:
        with made.with_parameters(values):
            return tv.negative_elbo(made, x, noise).loss

    report = tv.gradcheck(loss, *(p.numpy() for p in made.parameters()))
    assert report, report


def test_every_part_is_checked():
    for kind, names in PARTS.items():
        assert {name.partition(":")[0] for name in names} == set(KNOWN[kind])
