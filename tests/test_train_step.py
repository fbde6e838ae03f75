"""A training step stays in float32 and on the device, and the host never waits for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import standin

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.data.dataset import Split
from tinyvae.training import Settings, Trainer

IMAGES = np.random.default_rng(0).integers(256, size=(22, 3, 4), dtype=np.uint8)


def a_step(backend: Backend, **settings: Any) -> tuple[Trainer, tv.Tensor, Any]:
    trainer = Trainer(
        tv.VAE((3, 4), latent=3, hidden=(6,)), Split(IMAGES), None, Settings(batch=8, **settings)
    )
    x, noise = next(trainer._batches())
    for _ in range(5):  # what is set up at first use, and compared
        trainer.train_step(x, noise)
    return trainer, x, noise


@pytest.mark.parametrize("settings", [{}, {"clip": 0.1, "free_bits": 0.2, "beta": 2.0}])
def test_a_step_never_waits_for_the_device(settings: dict[str, float]) -> None:
    with tv.use("standin") as backend:
        trainer, x, noise = a_step(backend, **settings)
        with standin.count_syncs() as waits:
            trainer.train_step(x, noise)
        assert waits == []
        with standin.count_syncs() as waits:
            float(trainer.train_step(x, noise).loss)
        assert len(waits) == 1


def test_a_float32_step_makes_no_float64_array(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    init = standin.DeviceArray.__init__

    def note(self: Any, host: np.ndarray, *memory: Any) -> None:
        made.append(str(host.dtype))
        init(self, host, *memory)

    with tv.use("standin") as backend:
        trainer, x, noise = a_step(backend, clip=0.1, free_bits=0.2)
        trainer._terms = trainer._terms.tape
        monkeypatch.setattr(standin.DeviceArray, "__init__", note)
        trainer.train_step(x, noise)
    assert len(made) > 100
    assert made.count("float32") == len([dtype for dtype in made if dtype.startswith("float")])


def test_a_float32_step_leaves_everything_in_float32(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, wrap = [], tv.Tensor.wrap
    monkeypatch.setattr(
        tv.Tensor, "wrap", staticmethod(lambda *a: made.append(wrap(*a)) or made[-1])
    )
    trainer, x, noise = a_step(backend, clip=0.1, free_bits=0.2)
    optimiser = trainer.state.optimiser
    vectors = [optimiser.flat.values, optimiser.flat.gradients, *optimiser.state.values()]
    assert {str(v.dtype) for v in [*vectors, x.array, noise]} == {"float32"}
    assert len(made) > 10
    assert {tensor.dtype for tensor in made} == {"float32"}
