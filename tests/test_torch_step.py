"""A training step of a small VAE has PyTorch's numbers, where PyTorch is not installed too.

They are in ``torch_step.json``, which `make_torch_step` writes.
"""

from __future__ import annotations

import json
from typing import Any

import make_torch_step
import numpy as np
import pytest

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.objectives import Terms, negative_elbo
from tinyvae.optim import Adam

STORED: dict[str, Any] = json.loads(make_torch_step.FILE.read_text())
X, NOISE = (np.array(STORED[name]) for name in ("x", "noise"))
WEIGHTS, GRADIENTS, STEPPED = (
    {name: np.array(values) for name, values in STORED[key].items()}
    for key in ("weights", "gradients", "stepped")
)


def a_model() -> tv.VAE:
    model = tv.VAE((3, 4), latent=3, hidden=(7,)).to(dtype="float64")
    model.load_state_dict(WEIGHTS)
    return model


def loss_of(model: tv.VAE, backend: Backend) -> Terms:
    return negative_elbo(model, tv.Tensor(X), backend.from_host(NOISE))


def assert_close(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Every array to 1e-12 of its largest number."""
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        scale = np.abs(array).max()
        assert scale > 0
        np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-12 * scale, err_msg=name)


def test_what_is_stored_is_a_step_that_has_something_to_compare() -> None:
    assert make_torch_step.FILE.stat().st_size < 60_000
    assert {"torch", "seed"} <= STORED.keys()
    assert ((X > 0) & (X < 1)).mean() > 0.9
    share = np.mean([np.count_nonzero(g) / g.size for g in GRADIENTS.values()])
    assert share > 0.8  # of the gradients are not 0
    assert all((STEPPED[name] != WEIGHTS[name]).any() for name in WEIGHTS)


def test_the_loss_is_pytorchs(backend: Backend) -> None:
    terms = loss_of(a_model(), backend)
    assert terms.loss.item() == pytest.approx(STORED["loss"], rel=1e-12)
    for name in ("reconstruction", "kl"):
        np.testing.assert_allclose(getattr(terms, name).numpy(), STORED[name], rtol=1e-12)


def test_every_gradient_is_pytorchs(backend: Backend) -> None:
    model = a_model()
    loss_of(model, backend).loss.backward()
    got = {name: backend.to_host(p.grad) for name, p in model.named_parameters()}
    assert_close(got, GRADIENTS)


def test_the_weights_after_a_step_of_adam_are_pytorchs(backend: Backend) -> None:
    model = a_model()
    optimiser = Adam(model.parameters(), STORED["rate"])
    loss_of(model, backend).loss.backward()
    optimiser.step()
    moved = {name: array - WEIGHTS[name] for name, array in model.state_dict().items()}
    assert_close(moved, {name: array - WEIGHTS[name] for name, array in STEPPED.items()})


def test_the_numbers_stored_are_those_that_pytorch_gives_today() -> None:
    pytest.importorskip("torch", reason="compares with PyTorch: pip install 'tinyvae[compare]'")
    today = make_torch_step.step(STORED["weights"], STORED["x"], STORED["noise"])
    assert today["loss"] == pytest.approx(STORED["loss"], rel=1e-12)
    for key, wanted in (("gradients", GRADIENTS), ("stepped", STEPPED)):
        assert_close({name: np.array(array) for name, array in today[key].items()}, wanted)
