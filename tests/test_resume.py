"""A run that was broken off, in whatever way, goes on to the same numbers bit for bit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.checkpoint import save_tensors
from tinyvae.errors import OptionError, RunError
from tinyvae.models.beta_vae import BetaVAE
from tinyvae.state import RunState
from tinyvae.training import Progress, fit

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(22, 3, 4), dtype=np.uint8)
OTHERS = RNG.integers(256, size=(9, 3, 4), dtype=np.uint8)
SETTINGS: dict[str, Any] = {"epochs": 4, "batch": 8, "learning_rate": 0.01, "seed": 3}


def small_model(seed: int = 0, **sizes: Any) -> tv.VAE:
    return tv.VAE((3, 4), **{"latent": 3, "hidden": (6,), "seed": seed} | sizes)


def assert_same_run(a: tuple[Any, tv.VAE], b: tuple[Any, tv.VAE]) -> None:
    assert a[0] == b[0]
    weights, others = a[1].state_dict(), b[1].state_dict()
    for name in weights:
        np.testing.assert_array_equal(weights[name], others[name], err_msg=name)


def run(**options: Any) -> tuple[list[dict[str, Any]], tv.VAE]:
    """A run from the start; or, with ``resume``, from a model that knows nothing of it."""
    model = small_model(seed=9 if options.get("resume") else 0)
    return fit(model, IMAGES, OTHERS, **SETTINGS | options), model


class ctrl_c:  # noqa: N801 - reads as an event
    """A callback that presses Ctrl-C after a step, or at the end of an epoch."""

    def __init__(self, epoch: int, step: int, end: bool = False) -> None:
        self.when = (epoch, step, end)

    def __call__(self, progress: Progress) -> None:
        if (progress.epoch, progress.step, progress.row is not None) == self.when:
            signal.raise_signal(signal.SIGINT)


# Ctrl-C


@pytest.mark.parametrize("patience", [0, 2])
@pytest.mark.parametrize("binarise", ["none", "static", "dynamic"])
def test_a_run_goes_on_after_ctrl_c_as_if_it_had_not_been(
    backend: Backend, tmp_path: Path, binarise: str, patience: int
) -> None:
    options: dict[str, Any] = {"binarise": binarise, "patience": patience, "warm_up": 3}
    whole = run(**options)
    options |= {"checkpoint": tmp_path / "file"}
    for k, break_off in enumerate([ctrl_c(1, 2), ctrl_c(2, 1), ctrl_c(2, 3), ctrl_c(3, 3, True)]):
        with pytest.raises(KeyboardInterrupt):
            run(resume=k > 0, callbacks=[break_off], **options)
    assert_same_run(run(resume=True, **options), whole)


@pytest.mark.parametrize("epoch", [1, 4])
def test_a_run_of_one_step_an_epoch_stops_at_the_end_of_the_epoch(
    backend: Backend, tmp_path: Path, epoch: int
) -> None:
    whole = run(batch=22)
    options: dict[str, Any] = {"batch": 22, "checkpoint": tmp_path / "file"}
    seen: list[int] = []
    callbacks = [ctrl_c(epoch, 1), lambda progress: seen.append(progress.epoch)]
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=callbacks, **options)
    assert max(seen) == epoch
    assert_same_run(run(resume=True, **options), whole)


def test_ctrl_c_stops_after_the_step_and_the_second_one_at_once(
    backend: Backend, tmp_path: Path
) -> None:
    steps: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[steps.append, ctrl_c(2, 1), steps.append], checkpoint=tmp_path / "file")
    assert (steps[-1].epoch, steps[-1].step) == (2, 1)
    assert len(steps) % 2 == 0  # the callback after Ctrl-C has run
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[ctrl_c(1, 1), ctrl_c(1, 1), pytest.fail], checkpoint=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_handler_of_ctrl_c_is_put_back_and_a_thread_does_without() -> None:
    before, found = signal.getsignal(signal.SIGINT), []
    run(callbacks=[lambda _: found.append(signal.getsignal(signal.SIGINT))], epochs=1)
    assert signal.getsignal(signal.SIGINT) is before
    assert before not in found
    histories: list[Any] = []
    thread = threading.Thread(target=lambda: histories.append(run()[0]))
    thread.start()
    thread.join()
    assert histories == [run()[0]]


# Longer, shorter, other


def test_a_run_resumed_with_more_epochs_is_the_longer_run(backend: Backend, tmp_path: Path) -> None:
    for patience in (0, 3):
        file = tmp_path / f"patience {patience}"
        run(epochs=2, patience=patience, checkpoint=file)
        longer = run(epochs=5, patience=patience, checkpoint=file, resume=True)
        assert_same_run(longer, run(epochs=5, patience=patience))


def test_a_finished_run_resumes_to_itself(backend: Backend, tmp_path: Path) -> None:
    whole = run(patience=2, checkpoint=tmp_path / "file")
    assert_same_run(run(patience=2, checkpoint=tmp_path / "file", resume=True), whole)


def test_a_run_goes_on_without_validation_images(backend: Backend, tmp_path: Path) -> None:
    models = [small_model(), small_model()]
    whole = fit(models[0], IMAGES, **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path / "no", callbacks=[ctrl_c(2, 1)])
    with pytest.raises(KeyboardInterrupt):
        fit(models[1], IMAGES, checkpoint=tmp_path / "f", callbacks=[ctrl_c(2, 1)], **SETTINGS)
    again = fit(models[1], IMAGES, checkpoint=tmp_path / "f", resume=True, **SETTINGS)
    assert_same_run((again, models[1]), (whole, models[0]))


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was broken off in its third epoch."""
    file = tmp_path_factory.mktemp("run") / "file"
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=file, callbacks=[ctrl_c(3, 1)])
    return file


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [("batch", 8, 11), ("learning_rate", 0.01, 0.02), ("beta", 1.0, 2.0), ("warm_up", 0, 2)]
    + [("free_bits", 0.0, 0.1), ("patience", 0, 5), ("clip", 0.0, 1.0), ("seed", 3, 4)]
    + [("binarise", "none", "dynamic"), ("epochs", 3, 2)],
)
def test_other_settings_are_refused_with_the_name_and_both_values(
    broken_off: Path, name: str, before: Any, now: Any
) -> None:
    with pytest.raises(RunError, match=name) as caught:
        run(checkpoint=broken_off, resume=True, **{name: now})
    assert repr(now) in str(caught.value)
    assert repr(before) in str(caught.value)
    assert "start a new run" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("model", BetaVAE),
        ("posterior", "laplace"),
        ("likelihood", "continuous-bernoulli"),
        ("activation", "elu"),
    ],
)
def test_another_model_with_parameters_of_the_same_shapes_is_refused(
    broken_off: Path, name: str, other: Any
) -> None:
    first = small_model()
    kind, named = (other, {}) if name == "model" else (tv.VAE, {name: other})
    model = kind(**first.config | named)
    with pytest.raises(RunError, match=rf"a model of {name} = .*, not .*resume with the same"):
        fit(model, IMAGES, OTHERS, **SETTINGS, checkpoint=broken_off, resume=True)


def test_a_run_of_an_older_version_that_did_not_tell_its_model_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, file = RunState._plain, tmp_path / "file"
    with monkeypatch.context() as older:
        older.setattr(
            RunState,
            "_plain",
            lambda *of: {name: v for name, v in plain(*of).items() if name != "model"},
        )
        run(epochs=1, checkpoint=file)
    assert_same_run(run(epochs=2, checkpoint=file, resume=True), run(epochs=2))


def test_other_images_and_another_model_are_refused(broken_off: Path) -> None:
    options: dict[str, Any] = {**SETTINGS, "checkpoint": broken_off, "resume": True}
    other = IMAGES.copy()
    other[5, 1, 1] ^= 1
    for images in (other, IMAGES[:-1], IMAGES[::-1]):
        with pytest.raises(RunError, match="the training images are not those"):
            fit(small_model(), images, OTHERS, **options)
    for valid in (None, OTHERS[::-1]):
        with pytest.raises(RunError, match="the validation images are not those"):
            fit(small_model(), IMAGES, valid, **options)
    model = small_model(latent=4)
    with pytest.raises(RunError, match=r"does not fit this model.*, not \("):
        fit(model, IMAGES, OTHERS, **options)
    assert_same_run(([], model), ([], small_model(latent=4)))


def test_to_resume_a_run_there_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no file .*nothing"):
        run(checkpoint=tmp_path / "nothing", resume=True)
    with pytest.raises(OptionError, match="checkpoint="):
        run(resume=True)


# Killed

SCRIPT = """
import json, os, signal, sys
import numpy as np
import tinyvae as tv
from tinyvae import checkpoint
from tinyvae.training import fit

file, place, after = sys.argv[1], sys.argv[2], int(sys.argv[3])
images = np.random.default_rng(0).integers(256, size=(200, 6, 6), dtype=np.uint8)
counts = {"step": 0, "fsync": 0, "replace": 0}

def count(what):
    counts[what] += 1
    if (what, counts[what]) == (place, after):
        os.kill(os.getpid(), signal.SIGKILL)

def counted(what, function):
    return lambda *args: (count(what), function(*args))

os.fsync, os.replace = counted("fsync", os.fsync), counted("replace", os.replace)
model = tv.VAE((6, 6), latent=3, hidden=(32,))
print("begun", flush=True)
history = fit(
    model, images, images[:50], epochs=12, batch=4, binarise="dynamic", patience=6,
    checkpoint=file, resume=os.path.exists(file), callbacks=[lambda _: count("step")],
)
weights = {name: value.tobytes().hex() for name, value in model.state_dict().items()}
print(json.dumps([history, weights]))
"""


def begin(file: Path, place: str = "never", after: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(file), place, str(after)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=50)
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    started = time.monotonic()
    process = begin(tmp_path / "whole")
    assert process.stdout.readline() == "begun\n"
    begun = time.monotonic()
    whole = finish(process)
    length, startup = time.monotonic() - begun, begun - started
    assert len(whole[0]) > 6

    file, moments = tmp_path / "file", random.Random(0)
    # In the first epoch; in the middle of one; while writing; and just before the move.
    for place, after in [("step", 7), ("fsync", 1), ("step", 80), ("fsync", 2), ("replace", 2)]:
        process = begin(file, place, after)
        process.communicate(timeout=50)
        assert process.returncode == -signal.SIGKILL
    for _ in range(10):  # and at moments that nobody chose, from before its start to its end
        process = begin(file)
        time.sleep(startup * 0.8 + moments.random() * length / 3)
        process.kill()
        process.communicate()
    assert finish(begin(file)) == whole
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:

    tensors = RunState(small_model(), 0.01)._tensors()
    for state in ({"x": 1}, None, []):
        save_tensors(tmp_path / "file", tensors, state)
        with pytest.raises(RunError, match="is not the checkpoint of a training run"):
            run(resume=True, checkpoint=tmp_path / "file")
