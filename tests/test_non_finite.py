"""A NaN or an infinity stops a run at once, is traced to its first cause, and is never kept."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae import objectives
from tinyvae.autograd import OPS
from tinyvae.backend import Backend
from tinyvae.errors import NonFiniteError
from tinyvae.training import Progress, fit

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(22, 3, 4), dtype=np.uint8)
SETTINGS: dict[str, Any] = {"epochs": 4, "batch": 8}


def small_model() -> tv.VAE:
    return tv.VAE((3, 4), latent=3, hidden=(6,), seed=0)


def parameter(model: tv.VAE, name: str) -> tv.Tensor:
    return dict(model.named_parameters())[name]


def assert_same_weights(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


class PlantedIn:
    """A callback that spoils one number of a parameter between epochs 2 and 3."""

    def __init__(self, model: tv.VAE, name: str, value: float, backend: Backend) -> None:
        self.model, self.name, self.value, self.backend = model, name, value, backend
        self.after_two_epochs: dict[str, np.ndarray] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.row and progress.epoch == 2:
            self.after_two_epochs = self.model.state_dict()
            spoilt = parameter(self.model, self.name)
            values = spoilt.numpy()
            values.reshape(-1)[1] = self.value
            spoilt.array[...] = self.backend.from_host(values)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["encoder.layers.2.bias", "decoder.layers.0.weight"])
def test_a_planted_infinity_is_named_with_the_op_and_the_parameter(
    backend: Backend, tmp_path: Path, name: str, value: float
) -> None:
    model, file = small_model(), tmp_path / "checkpoint"
    spoil = PlantedIn(model, name, value, backend)
    with pytest.raises(NonFiniteError) as caught:
        fit(model, IMAGES, checkpoint=file, callbacks=[spoil], **SETTINGS)
    message = str(caught.value)
    assert message.startswith("epoch 3, step 1: affine made ")
    assert f"{name} {parameter(model, name).shape}" in message
    assert "smaller learning rate" in message
    assert_resumes_to(spoil.after_two_epochs, file)


def assert_resumes_to(weights: dict[str, np.ndarray], file: Path, epochs: int = 2) -> None:
    """The checkpoint is that of the last good epoch, and it loads."""
    again = small_model()
    history = fit(again, IMAGES, checkpoint=file, resume=True, **SETTINGS | {"epochs": epochs})
    assert len(history) == epochs
    assert_same_weights(again.state_dict(), weights)


def test_an_absurd_learning_rate_is_traced_and_the_model_put_back(
    backend: Backend, tmp_path: Path
) -> None:
    model, file = small_model(), tmp_path / "checkpoint"
    before = model.state_dict()
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 2: affine made .*\.weight \("):
        fit(model, IMAGES, checkpoint=file, learning_rate=1e30, **SETTINGS)
    assert_same_weights(model.state_dict(), before)
    assert not file.exists()


def test_parameters_that_overflow_in_the_last_step_are_the_optimisers_doing(
    backend: Backend, tmp_path: Path
) -> None:
    model, file = small_model(), tmp_path / "checkpoint"
    before = model.state_dict()
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 1: the optimiser made .*\.weight \("):
        fit(model, IMAGES, checkpoint=file, learning_rate=1e39, epochs=2, batch=22)
    assert_same_weights(model.state_dict(), before)
    assert not file.exists()


@pytest.fixture
def nan_in_a_pullback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relu whose value is right and whose pullback makes a NaN, from epoch 2 on."""

    def relu(x: Any) -> Any:
        positive = (x > 0).astype(x.dtype)

        def pullback(g: Any) -> Any:
            return g * positive * (float("nan") if EPOCH[0] > 1 else 1.0)

        return x * positive, pullback

    monkeypatch.setitem(OPS, "relu", tv.op(relu))
    monkeypatch.setattr(tv.Replay, "__call__", tv.Replay.tape)  # it depends on the epoch


EPOCH = [1]


@pytest.mark.usefixtures("nan_in_a_pullback")
def test_a_nan_made_by_a_pullback_is_traced_to_it(backend: Backend, tmp_path: Path) -> None:
    model, file, good = small_model(), tmp_path / "checkpoint", {}
    EPOCH[0] = 1

    def count(progress: Progress) -> None:
        if progress.row:
            EPOCH[0] += 1
            good.update(model.state_dict())

    with pytest.raises(NonFiniteError) as caught:
        fit(model, IMAGES, checkpoint=file, callbacks=[count], **SETTINGS)
    assert "epoch 2, step 1: the pullback of relu made nan first" in str(caught.value)
    assert "gradient for result of affine (8, 6)" in str(caught.value)
    assert_same_weights(model.state_dict(), good)
    assert_resumes_to(good, file, epochs=1)


def test_the_first_op_to_overflow_is_named_even_if_another_hides_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    # e^log_variance overflows in the sample; the cross-entropy only hands it on.
    model = small_model()
    bias = parameter(model, "encoder.layers.2.bias")
    bias.data = backend.from_host(np.array([0, 0, 0, 0, 200, 0], dtype="float32"))
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 1: gaussian_sample made -?inf first"):
        fit(model, IMAGES, **SETTINGS)


def test_a_loss_that_is_not_finite_on_the_validation_images_stops_the_run(
    backend: Backend, tmp_path: Path
) -> None:
    # The first pixel is black in training, and takes the log variance beyond bounds elsewhere.
    model, black = small_model(), IMAGES.copy()
    black[:, 0, 0] = 0
    hidden, out = parameter(model, "encoder.layers.0.weight"), "encoder.layers.2.weight"
    values = hidden.numpy()
    values[0] = 1e4
    hidden.data = backend.from_host(values)
    parameter(model, out).data = backend.from_host(np.full((6, 6), 0.1, dtype="float32"))
    with pytest.raises(NonFiniteError, match="epoch 1, step 3: gaussian_sample made"):
        fit(model, black, np.full_like(black, 255), checkpoint=tmp_path / "file", **SETTINGS)
    assert not (tmp_path / "file").exists()


def test_an_interrupted_run_does_not_save_what_is_not_finite(
    backend: Backend, tmp_path: Path
) -> None:
    # The loss of the first step is finite; it is the step that takes the parameters to infinity.
    model, file = small_model(), tmp_path / "checkpoint"
    before = model.state_dict()

    def interrupt(_: Progress) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(NonFiniteError, match=r"epoch 1, step 1: the optimiser made .*\.weight \("):
        fit(model, IMAGES, checkpoint=file, callbacks=[interrupt], learning_rate=1e39, **SETTINGS)
    assert_same_weights(model.state_dict(), before)
    assert not file.exists()


def test_an_optimiser_that_overflows_is_named_before_it_is_saved(
    backend: Backend, tmp_path: Path
) -> None:
    # The square of the gradient overflows, and then Adam stands still, with all else finite.
    with pytest.raises(NonFiniteError, match=r"the optimiser made inf first, .* 'second'"):
        fit(small_model(), IMAGES, checkpoint=tmp_path / "file", beta=1e25, **SETTINGS)
    assert not (tmp_path / "file").exists()


def test_a_fault_that_does_not_come_again_still_stops_the_run(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, calls = small_model(), []
    before = model.state_dict()

    def once(*args: Any) -> Any:
        terms = objectives.elbo_terms(*args)
        calls.append(1)
        return terms._replace(kl=terms.kl * float("nan")) if len(calls) == 1 else terms

    monkeypatch.setitem(objectives.OBJECTIVES, "elbo", once)
    with pytest.raises(NonFiniteError, match=r"epoch 1, .*the loss is not finite"):
        fit(model, IMAGES, **SETTINGS)
    assert_same_weights(model.state_dict(), before)
