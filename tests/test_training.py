"""`fit` uses every image once an epoch, logs what it says, and does what its settings say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae import training
from tinyvae.backend import Backend
from tinyvae.data.dataset import Split
from tinyvae.errors import DataError, DtypeError, OptionError, ShapeError
from tinyvae.noise import Noise
from tinyvae.objectives import OBJECTIVES
from tinyvae.training import Progress, Settings, fit

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(22, 3, 4), dtype=np.uint8)
OTHERS = RNG.integers(256, size=(9, 3, 4), dtype=np.uint8)


def small_model(seed: int = 0) -> tv.VAE:
    return tv.VAE((3, 4), latent=3, hidden=(6,), seed=seed)


def assert_same_weights(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


class Spy:
    """What the steps of a run get: the images (in bytes), the noise and the weight of the KL.

    It sees the steps that take their batches from the host: ``resident=False``.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[np.ndarray] = []
        self.noise: list[np.ndarray] = []
        self.beta: list[float] = []
        real = training.Trainer.train_step

        def train_step(trainer: training.Trainer, x: tv.Tensor, noise: Any) -> Any:
            self.rows.append(np.rint(x.numpy() * 255).astype(int))
            self.noise.append(x.backend.to_host(noise.copy()))
            self.beta.append(trainer.beta)
            return real(trainer, x, noise)

        monkeypatch.setattr(training.Trainer, "train_step", train_step)

    def epochs(self, steps: int) -> list[np.ndarray]:
        return [np.concatenate(self.rows[k : k + steps]) for k in range(0, len(self.rows), steps)]


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def test_the_digits_are_learned_beyond_their_mean_image(backend: Backend) -> None:
    digits = tv.data.load("digits")
    p = digits.train.images.mean(axis=0) / 255
    x = digits.valid.images / 255
    with np.errstate(divide="ignore", invalid="ignore"):  # some pixels are always black
        terms = np.where(x > 0, -x * np.log(p), 0) - (1 - x) * np.log1p(-p)
    baseline = terms.sum(axis=(1, 2)).mean()
    model = tv.VAE((8, 8), latent=4, hidden=(64,))
    history = fit(model, digits.train, digits.valid, epochs=8, batch=64, learning_rate=3e-3)
    losses = [row["valid_loss"] for row in history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < baseline - 2


# Which images, in which order


def test_each_image_is_used_once_an_epoch_in_an_order_of_its_own(
    backend: Backend, spy: Spy
) -> None:
    images = np.arange(22, dtype=np.uint8)[:, None, None] * np.ones((3, 4), dtype=np.uint8)
    fit(small_model(), images, epochs=3, batch=8, resident=False)
    assert [len(rows) for rows in spy.rows] == [8, 8, 6] * 3
    assert all((rows == rows[:, :1]).all() for rows in spy.rows)
    orders = [tuple(rows[:, 0].tolist()) for rows in spy.epochs(3)]
    assert [sorted(order) for order in orders] == [list(range(22))] * 3
    assert len({*orders, tuple(range(22))}) == 4


def test_every_step_has_noise_of_its_own(backend: Backend, spy: Spy) -> None:
    fit(small_model(), IMAGES, epochs=2, batch=8, resident=False)
    noise = np.concatenate(spy.noise)
    assert noise.shape == (44, 3)
    assert len(np.unique(noise)) == noise.size


def test_grey_pixels_are_used_as_they_are(backend: Backend, spy: Spy) -> None:
    fit(small_model(), IMAGES, epochs=1, batch=8, resident=False)
    assert sorted(spy.epochs(3)[0].tolist()) == sorted(IMAGES.reshape(22, 12).tolist())


def test_static_pixels_are_drawn_once_and_dynamic_ones_anew_each_epoch(
    backend: Backend, spy: Spy
) -> None:
    drawn = {}
    for binarise in ("static", "dynamic"):
        spy.rows.clear()
        fit(small_model(), IMAGES, epochs=2, batch=8, binarise=binarise, resident=False)
        assert {0, 255} == set(np.unique(np.concatenate(spy.rows)).tolist())
        drawn[binarise] = [sorted(rows.tolist()) for rows in spy.epochs(3)]
    assert drawn["static"][0] == drawn["static"][1]
    assert drawn["dynamic"][0] != drawn["dynamic"][1]


def test_dynamic_pixels_do_not_repeat_even_for_equal_images(backend: Backend, spy: Spy) -> None:
    fit(
        small_model(),
        np.stack([IMAGES[0]] * 22),
        epochs=2,
        batch=8,
        binarise="dynamic",
        resident=False,
    )
    first, second = (rows.tolist() for rows in spy.epochs(3))
    assert first != second


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_dynamic_pixels_have_their_grey_values_on_average(spy: Spy, kind: str) -> None:
    image = IMAGES[0] if kind == "uint8" else (IMAGES[0] / 255).astype("float32")
    fit(
        small_model(),
        np.stack([image] * 500),
        epochs=8,
        batch=100,
        binarise="dynamic",
        resident=False,
    )
    mean, p = np.concatenate(spy.rows).mean(axis=0) / 255, IMAGES[0].reshape(-1) / 255
    assert (abs(mean - p) <= 5 * np.sqrt(p * (1 - p) / 4000)).all()


# What is logged


def test_the_log_of_an_epoch_is_what_evaluate_says(backend: Backend) -> None:
    for binarise in ("none", "dynamic"):
        model = small_model()
        settings = {"epochs": 2, "batch": 8, "seed": 5, "binarise": binarise}
        history = fit(model, IMAGES, OTHERS, **settings)
        row, result = history[-1], tv.evaluate(model, Split(OTHERS), 5, binarise == "dynamic")
        assert [r["epoch"] for r in history] == [1, 2]
        assert row["valid_loss"] == result.loss == row["valid_reconstruction"] + row["valid_kl"]
        assert (row["valid_reconstruction"], row["valid_kl"]) == (result.reconstruction, result.kl)
        assert row["kl_per_dimension"] == result.kl_per_dimension
        assert row["active_units"] == result.active_units
        assert sum(row["kl_per_dimension"]) == pytest.approx(row["valid_kl"], rel=1e-6)
        assert row["train_loss"] == row["train_reconstruction"] + row["train_kl"]


def test_static_validation_images_are_drawn_once(backend: Backend) -> None:
    model = small_model()
    row = fit(model, IMAGES, OTHERS, epochs=1, batch=8, seed=5, binarise="static")[-1]
    drawn = Split(OTHERS).binarised(Noise(5, "binarise", "valid", backend="numpy"))
    assert row["valid_loss"] == tv.evaluate(model, drawn, 5).loss


def test_the_training_loss_is_the_average_over_images_with_weight_1_on_the_kl(
    backend: Backend,
) -> None:
    # So small a learning rate that the model stays as it is, and batches of 8, 8 and 6.
    model = small_model()
    rows = fit(model, IMAGES, epochs=2, batch=8, learning_rate=1e-30, beta=3.0)
    mean, log_variance = (part.astype("float64") for part in model.embed(IMAGES))
    kl = -(1 + log_variance - mean**2 - np.exp(log_variance)) / 2
    for row in rows:
        assert row["train_kl"] == pytest.approx(kl.sum(axis=1).mean(), rel=1e-5)
        assert row["beta"] == 3.0
        np.testing.assert_allclose(row["kl_per_dimension"], kl.mean(axis=0), rtol=1e-4)
        assert not any(name.startswith("valid") for name in row)


# What the settings do


def test_the_weight_of_the_kl_rises_in_equal_stairs(backend: Backend, spy: Spy) -> None:
    history = fit(small_model(), IMAGES, epochs=5, batch=11, beta=2.0, warm_up=4, resident=False)
    assert [row["beta"] for row in history] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert spy.beta == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 2.0, 2.0]


def test_a_larger_beta_and_free_bits_move_the_kl_as_they_should(backend: Backend) -> None:
    options = {"plain": {}, "beta": {"beta": 20.0}, "free": {"beta": 20.0, "free_bits": 0.4}}
    kl = {}
    for name, chosen in options.items():
        settings = {"epochs": 30, "batch": 11, "learning_rate": 0.03} | chosen
        kl[name] = fit(small_model(), IMAGES, OTHERS, **settings)[-1]["train_kl"]
    assert kl["beta"] < kl["plain"] / 2
    assert kl["free"] > 2 * kl["beta"]


def test_patience_stops_the_run_and_brings_back_the_best_parameters(backend: Backend) -> None:
    # The more it learns of black images, the less it knows of white ones.
    black, white = np.zeros((8, 3, 4), dtype=np.uint8), np.full((8, 3, 4), 255, dtype=np.uint8)
    model, weights = small_model(), []

    def keep(progress: Progress) -> None:
        if progress.row:
            weights.append(model.state_dict())

    settings = {"batch": 4, "epochs": 9, "learning_rate": 0.01}
    history = fit(model, black, white, patience=3, callbacks=[keep], **settings)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert np.argmin([row["valid_loss"] for row in history]) == 0
    assert_same_weights(model.state_dict(), weights[0])
    assert len(fit(small_model(), black, white, **settings)) == 9
    improving = fit(small_model(), black, black, patience=1, **settings)
    assert len(improving) == 9


def test_clipping_bounds_the_norm_of_every_gradient(backend: Backend) -> None:
    norms: dict[float, list[float]] = {0.0: [], 0.5: []}
    for clip, found in norms.items():
        model = small_model()

        def note(progress: Progress, model: Any = model, found: Any = found) -> None:
            gradients = [backend.to_host(p.grad).astype("float64") for p in model.parameters()]
            found.append(math.sqrt(sum(float((g**2).sum()) for g in gradients)))

        fit(model, IMAGES, epochs=1, batch=8, clip=clip, callbacks=[note])
    assert min(norms[0.0]) > 0.6
    np.testing.assert_allclose(norms[0.5], 0.5, rtol=1e-5)


def test_callbacks_are_told_of_every_step_and_every_epoch_in_order(backend: Backend) -> None:
    told: list[tuple[str, Progress]] = []
    callbacks = [lambda p: told.append(("first", p)), lambda p: told.append(("second", p))]
    history = fit(small_model(), IMAGES, callbacks=callbacks, epochs=2, batch=11)
    assert [who for who, _ in told] == ["first", "second"] * 6
    progress = [p for who, p in told if who == "first"]
    assert [p for who, p in told if who == "second"] == progress
    assert [(p.epoch, p.step, p.row) for p in progress] == [
        *[(1, 1, None), (1, 2, None), (1, 2, history[0])],
        *[(2, 1, None), (2, 2, None), (2, 2, history[1])],
    ]
    assert {p.steps for p in progress} == {2}
    assert progress[0].settings == Settings(epochs=2, batch=11)


# The same numbers


def test_the_same_seed_gives_the_same_run_bit_for_bit(backend: Backend) -> None:
    runs = []
    for seed in (1, 1, 2):
        model = small_model()
        history = fit(model, IMAGES, OTHERS, epochs=2, batch=8, seed=seed, binarise="dynamic")
        runs.append((history, model.state_dict()))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    assert_same_weights(runs[0][1], runs[1][1])


def test_every_backend_gives_the_same_run(backend: Backend) -> None:
    runs = []
    for name in (backend, "numpy"):
        with tv.use(name):
            runs.append(fit(small_model(), IMAGES, OTHERS, epochs=5, batch=8, clip=1.0))
    for here, there in zip(*runs, strict=True):
        np.testing.assert_allclose(
            [*here.pop("kl_per_dimension"), *here.values()],
            [*there.pop("kl_per_dimension"), *there.values()],
            rtol=1e-4,
        )


# What is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch", 0), ("beta", -1.0), ("beta", math.nan), ("clip", math.inf)]
    + [("warm_up", -1), ("free_bits", -0.1), ("patience", -1), ("seed", -1), ("binarise", "often")]
    + [("learning_rate", 0.0), ("learning_rate", math.nan), ("batch", 23), ("patience", 1)],
)
def test_settings_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        fit(small_model(), IMAGES, **{"batch": 8, "epochs": 1} | {name: value})
    assert name == "patience" or str(value) in str(caught.value)


@pytest.mark.parametrize("which", ["train", "valid"])
def test_images_that_do_not_fit_are_refused_before_the_first_step(
    backend: Backend, which: str
) -> None:
    def refuse(error: type[Exception], images: np.ndarray, words: str) -> None:
        parts = {"train": IMAGES, "valid": OTHERS} | {which: images}
        with pytest.raises(error, match=words):
            fit(small_model(), **parts, batch=8, callbacks=[pytest.fail])

    refuse(ShapeError, np.zeros((9, 4, 3), dtype=np.uint8), r"image_shape=\(4, 3\)")
    refuse(DataError, np.full((9, 3, 4), 255, dtype="float32"), r"\[0, 1\]; .* from 255 to 255")
    refuse(DataError, np.full((9, 3, 4), np.nan, dtype="float32"), r"\[0, 1\]; .* nan")
    refuse(DataError, np.zeros((0, 3, 4), dtype=np.uint8), "at least one")
    refuse((DataError, DtypeError), np.zeros((9, 3, 4)), "float64")


# Replayed or taped


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings", [{}, {"warm_up": 2, "clip": 1.0}, {"free_bits": 0.1, "binarise": "dynamic"}]
)
def test_replayed_steps_train_to_the_same_bits_as_taped_ones(
    monkeypatch: pytest.MonkeyPatch, activation: str, dtype: str, settings: dict[str, Any]
) -> None:
    images = tv.Noise(1, backend="numpy").uniform((70, 3, 4))
    runs = []
    for taped in (False, True):
        if taped:
            monkeypatch.setattr(tv.Replay, "__call__", tv.Replay.tape)
        model = tv.VAE((3, 4), latent=2, hidden=(6, 5), activation=activation).to(dtype=dtype)
        history = fit(model, images, epochs=4, batch=16, **settings)
        runs.append((history, {k: v.tobytes() for k, v in model.state_dict().items()}))
    assert runs[0] == runs[1]


def test_most_steps_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    taped = []
    loss = OBJECTIVES["elbo"]
    monkeypatch.setitem(OBJECTIVES, "elbo", lambda *a: taped.append(1) or loss(*a))
    images = tv.Noise(1, backend="numpy").uniform((64, 3, 4))
    fit(small_model(), images, epochs=8, batch=8)
    # of 64 steps 1, 2, 3, 4, 8, 16, 32, 64, and the last of each epoch: 24, 40, 48, 56
    assert len(taped) == 12
