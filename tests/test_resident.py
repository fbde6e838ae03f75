"""Steps on images in the memory of the device train as those with batches from the host do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import standin

import tinyvae as tv
from tinyvae import resident
from tinyvae.backend import Backend, base, get
from tinyvae.data.dataset import Split
from tinyvae.data.pixels import as_floats
from tinyvae.errors import GraphError, NonFiniteError, OptionError, RunError
from tinyvae.objectives import Terms
from tinyvae.resident import Resident, take_batch
from tinyvae.settings import Progress, Settings
from tinyvae.state import _check_same
from tinyvae.trainer import Trainer

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(22, 3, 4), dtype=np.uint8)
FLOATS = RNG.random((22, 3, 4)).astype(np.float32)
OF_FLOATS = pytest.param(FLOATS, marks=pytest.mark.slow)
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dynamic": {"binarise": "dynamic"},
    "static": {"binarise": "static"},
    "clipped": {"clip": 0.1},
    "warm-up": {"warm_up": 3, "beta": 2.0},
    "free bits": {"free_bits": 0.3},
    "early stop": {"patience": 1},
    "one batch": {"batch": 22},
    "all at once": {"clip": 0.1, "warm_up": 2, "free_bits": 0.1, "binarise": "dynamic"},
}


class OfLooks(tv.VAE):
    """A model that looks at a value, and so cannot be recorded."""

    def decode(self, z: tv.Tensor) -> tv.Tensor:
        return super().decode(z * (1 if z.numpy().max() > -100 else 2))


class OfCounts(tv.VAE):
    """A model that is another one in every step, and no attribute of it shows that."""

    calls: ClassVar[list[int]] = []

    def decode(self, z: tv.Tensor) -> tv.Tensor:
        self.calls.append(1)
        return super().decode(z * len(self.calls))


def model(kind: type[tv.VAE] = tv.VAE) -> tv.VAE:
    return kind((3, 4), latent=3, hidden=(6,))


def trained(images: Any, resident: bool, dtype: str = "float32", **settings: Any) -> list[Any]:
    """The weights after a run, and its log."""
    made = model().to(dtype=dtype)
    given = {"epochs": 4, "batch": 8} | settings
    history = tv.fit(made, images, IMAGES[:9], resident=resident, **given)
    return [*weights_of(made), *(list(row.values())[:5] for row in history)]


def trainer(kind: type[tv.VAE] = tv.VAE, **settings: Any) -> Trainer:
    """One that is asked to keep its images on the device."""
    given = Settings(**{"epochs": 4, "batch": 8} | settings)
    return Trainer(model(kind), Split(IMAGES), None, given, resident=True)


def weights_of(made: tv.VAE) -> list[np.ndarray]:
    return list(made.state_dict().values())


def assert_same(here: list[Any], there: list[Any]) -> None:
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("images", [IMAGES, OF_FLOATS], ids=["bytes", "floats"])
@pytest.mark.parametrize("changes", CHANGES)
def test_a_run_ends_with_the_same_bits(backend: Backend, changes: str, images: np.ndarray) -> None:
    assert_same(*(trained(images, where, **CHANGES[changes]) for where in (True, False)))


def test_in_float64_too(backend: Backend) -> None:
    assert_same(*(trained(IMAGES, where, "float64") for where in (True, False)))


def test_an_epoch_may_be_of_many_blocks(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "STEPS", 2)
    dynamic = {"batch": 3, "binarise": "dynamic"}
    assert_same(*(trained(IMAGES, where, **dynamic) for where in (True, False)))


def test_images_on_disk_are_taken_to_the_device(backend: Backend, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert_same(trained(mapped, True), trained(IMAGES, False))


def test_a_block_is_of_one_step_at_least_and_else_of_bounded_size(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "BYTES", 8 * (8 + 3 * 4 + 12) * 2)
    assert trainer(binarise="dynamic")._resident.steps == 2
    monkeypatch.setattr(resident, "BYTES", 1)
    assert trainer()._resident.steps == 1


@pytest.mark.parametrize("more", [0, 1])
def test_images_stay_on_a_device_where_they_fit_into_half_of_what_is_free(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = replace(get("standin"), free_memory=lambda: 2 * IMAGES.nbytes + more)
    monkeypatch.setitem(base._loaded, "standin", device)
    monkeypatch.setitem(base._by_type, standin.DeviceArray, device)
    with tv.use(device):
        run = Trainer(model(), Split(IMAGES), None, Settings(batch=8))
    assert (run._resident is not None) == bool(more)


def test_what_is_neither_true_nor_false_is_refused() -> None:
    with pytest.raises(OptionError, match=r"resident is True, False, or None .*, not 'no'"):
        tv.fit(model(), IMAGES, resident="no")


def test_python_runs_the_loss_where_a_step_is_compared_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = [], Trainer._loss

    def loss(*arguments: Any) -> Terms:
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(Trainer, "_loss", loss)
    run = trainer(epochs=6)  # of steps of 8, 8 and 6
    run.run()
    assert run._resident.is_recorded
    # of 8 rows the first, twice the second, the fourth and the eighth; of 6, the last of an
    # epoch, the first, twice the second, and each of the others
    rehearsals = 0 if backend.host else 2
    assert len(calls) == (1 + 2 + 1 + 1) + (1 + 2 + 4) + rehearsals


def test_what_cannot_be_recorded_is_done_as_it_stands(backend: Backend) -> None:
    run, other = trainer(OfLooks), model(OfLooks)
    run.run()
    tv.fit(other, IMAGES, epochs=4, batch=8, resident=False)
    assert not run._resident.is_recorded
    assert_same(weights_of(run.model), weights_of(other))


def test_a_step_that_gives_other_numbers_when_repeated_is_done_as_it_stands(
    backend: Backend,
) -> None:
    OfCounts.calls.clear()
    run = trainer(OfCounts)
    run.run()
    assert not run._resident.is_recorded
    assert len(run.model.calls) > 12 + 4  # each step of the run, and the log of each epoch


class OfState(tv.VAE):
    """A model with a number of its own, which is another one late in the run."""

    def __init__(self, *sizes: Any, **more: Any) -> None:
        super().__init__(*sizes, **more)
        self.scales, self.calls, self.late = [1.0], 0, 10**9

    def decode(self, z: tv.Tensor) -> tv.Tensor:
        if self.late < 10**9:
            self.calls += 1
        return super().decode(z * (self.scales[-1] if self.calls < self.late else 3.0))


def change_between_epochs(at: Progress, made: OfState) -> None:
    if at.row and at.epoch in (4, 6):  # of 3 steps each; 8 and 16 are done both ways
        made.scales.append(at.epoch / 2)


def change_within_an_epoch(at: Progress, made: OfState) -> None:
    if (at.epoch, at.step) == (6, 1):
        made.scales = [2.0]


def count(at: Progress, made: OfState) -> None:
    """The model does, by itself."""


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("late", [change_between_epochs, change_within_an_epoch, count])
def test_a_model_whose_numbers_change_is_trained_as_without_recording(
    backend: Backend, late: Any, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if late is count and not resident and not backend.host:
        pytest.skip("tv.Replay calls a loss once more on a device, in its first step")
    weights = []
    for is_recorded in (True, False):
        if not is_recorded:
            monkeypatch.setattr(Trainer, "_replay", lambda self: Taped(self._loss))
            monkeypatch.setattr(Resident, "_do", lambda self, rows, **_: self._step(rows))
        made = model(OfState)
        made.late = 20 if late is count else made.late
        seen = [] if late is count else [lambda at, made=made: late(at, made)]
        tv.fit(made, IMAGES, epochs=7, batch=8, resident=resident, callbacks=seen)
        weights.append(weights_of(made))
    assert_same(*weights)


class Taped:
    """The loss and its gradients, without a plan."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def __call__(self, *inputs: Any) -> Terms:
        terms: Terms = self.loss(*inputs)
        terms.loss.backward()
        return terms

    tape = __call__


@pytest.mark.parametrize("where", [True, False])
def test_a_change_that_no_attribute_shows_is_noticed_before_the_epoch_is_logged(
    backend: Backend, where: bool
) -> None:
    scales = {"now": 1.0}

    class Scaled(tv.VAE):
        def decode(self, z: tv.Tensor) -> tv.Tensor:
            return super().decode(z * scales["now"])

    begun = []

    def change(at: Progress) -> None:
        if at.epoch == 7 and at.row:  # 22 steps of 8 rows: none of the next 2 is a power of two
            scales["now"] = 2.0
            begun.append(weights_of(run.model))

    run = Trainer(model(Scaled), Split(IMAGES), None, Settings(epochs=9, batch=8), resident=where)
    run.callbacks = [change]
    with pytest.raises(GraphError, match=r"no longer what was recorded.*as an attribute"):
        run.run()
    assert run.state.epoch == 8
    assert_same(weights_of(run.model), begun[0])


def test_gradients_and_versions_are_left_as_by_a_taped_step(backend: Backend) -> None:
    run, seen = trainer(), []

    def note(progress: Progress) -> None:
        weight = run.model.encoder.layers[0].weight
        seen.append((weight.version, float(abs(weight.backend.to_host(weight.grad)).sum())))

    run.callbacks = [note]
    run.run()
    versions, sizes = zip(*(pair for k, pair in enumerate(seen) if k % 4 != 3), strict=True)
    assert len(set(versions)) == len(versions) == 12
    assert len(set(sizes)) == 12


def test_an_interrupted_run_is_resumed_to_the_same_bits(backend: Backend, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.step, progress.row) == (3, 2, None):
            raise_signal()

    weights = []
    for callbacks in ([], [stop]):
        made, path = model(), tmp_path / f"{len(callbacks)}.safetensors"
        about: dict[str, Any] = {"epochs": 5, "batch": 8, "checkpoint": path, "resident": True}
        if callbacks:
            with pytest.raises(KeyboardInterrupt):
                tv.fit(made, IMAGES, callbacks=callbacks, **about)
            made = model()
        tv.fit(made, IMAGES, resume=bool(callbacks), **about)
        weights.append(weights_of(made))
    assert_same(*weights)


def raise_signal() -> None:
    import signal

    signal.raise_signal(signal.SIGINT)


def test_the_steps_of_an_epoch_wait_for_the_device_once_and_its_log_once() -> None:
    after: list[tuple[int, bool, int]] = []
    with tv.use("standin"):
        run = trainer(epochs=5)
        run.callbacks = [lambda at: after.append((at.step, at.row is None, len(standin.SYNCS)))]
        run.run()
    *_, before, first, second, third, end = after  # the last epoch, from the end of that before
    assert [place[:2] for place in (first, second, third, end)] == [
        (1, True), (2, True), (3, True), (3, False)
    ]  # fmt: skip
    assert before[2] == first[2] == second[2] == third[2]
    assert standin.SYNCS[third[2] : end[2]] == ["to_host", "to_host"]


# Noise of the device


@pytest.mark.parametrize("images", [IMAGES, FLOATS], ids=["bytes", "floats"])
def test_noise_of_the_device_is_drawn_once_for_each_code_and_pixel(
    backend: Backend, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "STEPS", 2)
    noises, pixels, real = [], [], Trainer._loss

    def loss(run: Trainer, x: Any, noise: Any, *more: Any) -> Terms:
        noises.append(backend.to_host(noise))
        pixels.append(backend.to_host(x))
        return real(run, x, noise, *more)

    monkeypatch.setattr(Trainer, "_loss", loss)
    run = Trainer(
        model(),
        Split(np.concatenate([images] * 40)),
        None,
        Settings(epochs=3, batch=80, binarise="dynamic", noise="device"),
        resident=True,
    )
    run._resident.is_recorded = False
    run.run()
    drawn = np.concatenate(noises).reshape(-1)
    assert len(np.unique(drawn)) == len(drawn) == 3 * 880 * 3
    assert abs(drawn.mean()) < 4 / np.sqrt(len(drawn))
    assert abs(drawn.var() - 1) < 4 * np.sqrt(2 / len(drawn))
    mean = images.mean() / (255 if images.dtype == np.uint8 else 1)
    found = np.concatenate(pixels)
    assert set(np.unique(found)) == {0.0, 1.0}
    assert abs(found.mean() - mean) < 4 * 0.5 / np.sqrt(found.size)


def test_noise_of_the_device_is_resumed_in_the_middle_of_a_block(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "STEPS", 2)

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.step, progress.row) == (2, 5, None):
            raise_signal()

    about: dict[str, Any] = {"epochs": 3, "batch": 3, "binarise": "dynamic"}
    about |= {"noise": "device", "resident": True, "checkpoint": tmp_path / "run.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        tv.fit(model(), IMAGES, callbacks=[stop], **about)
    resumed, whole = model(), model()
    tv.fit(resumed, IMAGES, resume=True, **about)
    tv.fit(whole, IMAGES, **(about | {"checkpoint": None}))
    assert_same(weights_of(resumed), weights_of(whole))
    other = model()
    tv.fit(other, IMAGES, **(about | {"checkpoint": None, "noise": "host"}))
    assert not np.array_equal(weights_of(other)[0], weights_of(whole)[0])


def test_a_fault_of_noise_of_the_device_is_traced_with_the_same_noise(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Resident._draw

    def draw(resident: Resident, drawing: Any) -> None:
        real(resident, drawing)
        resident.desk.noise[8:9] = float("inf")  # in the second step

    monkeypatch.setattr(Resident, "_draw", draw)
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 2: gaussian_sample "):
        tv.fit(model(), IMAGES, epochs=2, batch=8, noise="device", resident=True)


@pytest.mark.parametrize("images", [IMAGES, FLOATS], ids=["bytes", "floats"])
def test_black_stays_black_and_white_stays_white_by_noise_of_the_device(
    backend: Backend, images: np.ndarray
) -> None:
    ends = np.zeros((400, 3, 4), images.dtype)
    ends[200:] = 255 if images.dtype == np.uint8 else 1
    settings = Settings(batch=400, binarise="dynamic", noise="device")
    made = Trainer(model(), Split(ends), None, settings, resident=True)._resident
    made._draw(made.generator(1))
    draws = backend.to_host(made.desk.draws)
    assert not (draws < ends.reshape(400, 12)[0]).any()
    assert (draws < ends.reshape(400, 12)[-1]).all()


def test_noise_of_the_device_follows_from_the_seed(backend: Backend) -> None:
    one, other, again = (
        backend.to_host(trainer(noise="device", seed=seed)._resident.generator(1).random(3))
        for seed in (1, 2, 1)
    )
    assert np.array_equal(one, again)
    assert not np.isin(one, other).any()


def test_noise_of_the_device_needs_the_images_there() -> None:
    with pytest.raises(OptionError, match="use resident=True without parallel, or noise='host'"):
        tv.fit(model(), IMAGES, noise="device", batch=8)
    with pytest.raises(OptionError, match=r"noise is drawn on one of .*, not on 'moon'"):
        Settings(noise="moon")


def test_a_checkpoint_from_before_there_was_a_choice_is_resumed() -> None:
    begun = {"settings": {"epochs": 2, "batch": 8}, "images": {}, "epoch": 1, "step": 0}
    _check_same(begun, {"settings": {"epochs": 2, "batch": 8, "noise": "host"}, "images": {}})
    with pytest.raises(RunError, match="noise = 'host', not 'device'"):
        _check_same(begun, {"settings": {"epochs": 2, "batch": 8, "noise": "device"}})


# The batch


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("images", [IMAGES, FLOATS], ids=["bytes", "floats"])
def test_a_batch_is_what_the_host_makes_of_the_images(
    backend: Backend, images: np.ndarray, dtype: str
) -> None:
    stored = images.reshape(22, 12)
    order, noise = RNG.permutation(22)[:20], RNG.standard_normal((20, 3)).astype(dtype)
    drawn = RNG.permuted(stored.reshape(-1)).reshape(stored.shape)[:20]
    constants = RNG.random((3, 3)).astype(dtype)
    for draws in (None, drawn):
        given = [x if x is None else backend.from_host(x) for x in (stored, order, draws)]
        turn = backend.from_host(np.array([2]))
        made = take_batch(
            *given, backend.from_host(noise), backend.from_host(constants), turn, 4, 8
        )
        rows = slice(16, 20)
        wanted = as_floats(stored[order[rows]], None if draws is None else draws[rows], dtype)
        assert_same(list(map(backend.to_host, made)), [wanted, noise[rows], constants[2]])
