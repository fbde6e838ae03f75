"""The gradient of the whole loss is right, whatever a VAE is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.distributions.flows import Masked
from tinyvae.distributions.likelihoods import LIKELIHOODS
from tinyvae.distributions.posteriors import POSTERIORS, drawn
from tinyvae.distributions.priors import PRIORS

PARTS = {
    "likelihood": [
        "bernoulli", "gaussian:0.2", "sigma", "gaussian-pixel", "laplace", "continuous-bernoulli",
        "categorical:4", "discretised-logistic",
    ],
    "posterior": ["gaussian", "full", "laplace", "logistic", "uniform", "planar:2", "iaf:2"],
    "prior": ["normal", "mixture:3", "vamp:2", "fitted:2"],
}  # fmt: skip
CASES = [pytest.param({kind: name}, id=name) for kind, names in PARTS.items() for name in names]
KNOWN = {"likelihood": LIKELIHOODS, "posterior": POSTERIORS, "prior": PRIORS}
NO_FUNCTION_OF_ITS_NOISE = {"mixture"}  # see test_posteriors.py, by expectations


def small(**parts: Any) -> tv.VAE:
    """A VAE in float64 with weights far from those it begins with."""
    made = tv.VAE((1, 3), 2, (2,), "tanh", **parts).to(dtype="float64")
    rng, state = np.random.default_rng(1), made.state_dict()
    made.load_state_dict({name: rng.normal(size=p.shape) / 2 for name, p in state.items()})
    return made


@pytest.mark.parametrize("parts", CASES)
def test_the_gradient_of_the_loss_is_right_for_every_parameter(
    backend: Backend, parts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Masked, "WIDE", 2)
    made, x = small(**parts), tv.Tensor(np.random.default_rng(0).random((2, 3)))
    noise = drawn(made.posterior, tv.Noise(1), (2,), "float64")

    def loss(*values: tv.Tensor) -> tv.Tensor:
        with made.with_parameters(values):
            return tv.negative_elbo(made, x, noise).loss

    report = tv.gradcheck(loss, *(p.numpy() for p in made.parameters()))
    assert report, report


def test_every_part_is_checked():
    for kind, names in PARTS.items():
        tested = {name.partition(":")[0] for name in names} | NO_FUNCTION_OF_ITS_NOISE
        assert tested >= set(KNOWN[kind])
