"""A run folder: what it refuses, what it survives, and how training goes on in it."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import SMALL, refused, tinyvae, write_images
from safetensors.numpy import load_file

from tinyvae import backend as backends
from tinyvae import pictures, training
from tinyvae.backend import base
from tinyvae.config import Config
from tinyvae.data import Dataset, Split
from tinyvae.errors import RunError
from tinyvae.runs import Run, free_folder, newest

CONFIG = Config(hidden=(6,), epochs=2, batch=8, learning_rate=0.01, seed=3)
IMAGES = np.random.default_rng(0).integers(256, size=(26, 3, 4), dtype=np.uint8)
DATA = Dataset("noise", Split(IMAGES[:18]), Split(IMAGES[18:22]), Split(IMAGES[22:]))


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, where the pictures, which take seconds, are not drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "every", lambda *_: iter(()))
    return tmp_path


@pytest.fixture
def run() -> Run:
    """A finished run."""
    finished = Run("finished")
    finished.train(CONFIG, DATA)
    return finished


def weights(run: Run | str) -> dict[str, bytes]:
    """The weights of a run, bit for bit; the order of names in the file's header may differ."""
    file = (Run(run) if isinstance(run, str) else run) / "weights.safetensors"
    return {name: array.tobytes() for name, array in load_file(file).items()}


class stop:  # noqa: N801 - reads as an event
    """A callback that presses Ctrl-C after a step, as often as told."""

    def __init__(self, epoch: int, step: int, times: int = 1) -> None:
        self.when, self.times = (epoch, step), times

    def __call__(self, now: training.Progress) -> None:
        if now.row is None and (now.epoch, now.step) == self.when:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


# What is in the folder


def test_a_run_keeps_its_precision_and_those_before_there_was_one_are_float32(
    monkeypatch: pytest.MonkeyPatch,
):
    device = replace(base.get("standin"), precisions=base.PRECISIONS)
    monkeypatch.setitem(base._loaded, "standin", device)
    monkeypatch.setitem(base._by_type, device.array_type, device)
    found = []
    train = training.Trainer.run
    monkeypatch.setattr(
        training.Trainer, "run", lambda self: found.append(backends.precision()) or train(self)
    )
    options = ("--data", write_images(), *SMALL, "--backend", "standin", "--out", "run")
    assert tinyvae("train", *options, "--precision", "tf32").code == 0
    assert tinyvae("train", "--resume", "--out", "run", "--epochs", "3").code == 0
    assert found == ["tf32", "tf32"]
    assert backends.precision() == "float32"
    message = refused("train", "--resume", "--out", "run", "--precision", "bfloat16")
    assert "run was begun with --precision tf32, not bfloat16" in message
    content = json.loads((Run("run") / "config.json").read_text())
    assert content.pop("precision") == "tf32"
    (Run("run") / "config.json").write_text(json.dumps(content))
    assert Run("run").config.precision == "float32"


def test_a_run_can_be_opened_again_with_the_weights_that_training_ended_with(run: Run):
    saved = load_file(run / "checkpoint.safetensors")
    for name, array in run.model().state_dict().items():
        np.testing.assert_array_equal(array, saved[f"model.{name}"])
    assert run.config == CONFIG


def test_the_newest_run_is_the_one_that_was_trained_last():
    for name in ("b", "c", "a"):
        Run(f"runs/{name}").train(CONFIG, DATA)
    assert newest(Path("runs")).path == Path("runs/a")
    Run("runs/b").train(replace(CONFIG, epochs=3), DATA, resume=True)
    assert newest(Path("runs")).path == Path("runs/b")


def test_a_free_folder_is_one_that_is_not_there():
    assert free_folder(Path("runs"), "a") == Path("runs/a")
    Path("runs/a").mkdir(parents=True)
    Path("runs/a-2").touch()
    assert free_folder(Path("runs"), "a") == Path("runs/a-3")


@pytest.mark.parametrize("name", ["config.json", "samples.png", "my thesis.txt"])
def test_nothing_is_trained_into_a_folder_that_holds_anything(name: str):
    Path("full").mkdir()
    Path("full", name).write_text("precious")
    message = refused("train", "--data", write_images(), "--out", "full")
    assert f"full holds {name}: give --resume to go on with a run that is there, or" in message
    assert Path("full", name).read_text() == "precious"


def test_an_empty_folder_will_do():
    Path("full", ".hidden").mkdir(parents=True)
    assert tinyvae("train", "--data", write_images(), *SMALL, "--out", "full").code == 0


def test_a_file_is_no_folder_to_train_into():
    Path("file").touch()
    data = ("--data", write_images())
    assert "file is a file, and a run is a folder" in refused("train", *data, "--out", "file")
    below = refused("train", *data, *SMALL, "--out", "file/below")
    assert "cannot write file/below/config.json: Not a directory" in below


def test_a_name_that_the_system_refuses_is_said():
    message = refused("train", "--data", write_images(), "--out", "a" * 300)
    assert "File name too long" in message


def test_a_folder_that_is_read_only_is_said(monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    data = ("--data", write_images())
    monkeypatch.setattr(Path, "mkdir", refuse)
    message = refused("train", *data, *SMALL, "--out", "locked")
    assert "cannot write locked/config.json: Permission denied" in message
    monkeypatch.setattr(Path, "exists", refuse)
    assert "the system says: [Errno 13] Permission denied" in refused("train", *data)


# To resume


def test_a_finished_run_says_that_it_is_and_can_be_extended():
    data = ("--data", write_images(), *SMALL)
    assert tinyvae("train", *data).code == 0
    before = weights("runs/tiny")
    again = tinyvae("train", "--resume")
    assert again.code == 0
    assert "All 2 epochs were done already; more of them: --resume --epochs N" in again.out
    assert weights("runs/tiny") == before
    assert tinyvae("train", "--resume", "--epochs", "4").code == 0
    assert tinyvae("train", *data, "--epochs", "4", "--out", "whole").code == 0
    assert weights("runs/tiny") == weights("whole")
    for name in ("history.csv", "config.json"):
        assert Path("runs/tiny", name).read_bytes() == Path("whole", name).read_bytes()
    assert "this run has come to epoch 4, past epochs = 3" in refused(
        "train", "--resume", "--epochs", "3"
    )


@pytest.mark.parametrize(
    ("option", "saved"),
    [
        (("--latent", "3"), "2"),
        (("--hidden", "9,5"), "8"),
        (("--learning-rate", "0.5"), "0.001"),
        (("--beta", "2.0"), "1.0"),
        (("--seed", "1"), "0"),
        (("--batch", "7"), "8"),
        (("--binarise", "static"), "none"),
        (("--data", "digits"), "tiny.npz"),
        (("--backend", "standin"), "numpy"),
        (("--kernels", "numba"), "numpy"),
    ],
)
def test_to_resume_with_another_setting_is_refused_with_both_values(
    option: tuple[str, str], saved: str
):
    Path("old").mkdir()
    Run("old").train(
        Config(write_images(), hidden=(8,), epochs=1, batch=8), Dataset("", *[DATA.train] * 3)
    )
    message = refused("train", "--resume", "--out", "old", *option)
    assert f"old was begun with {option[0]} {saved}, not {option[1]}: leave that" in message


def test_where_there_is_nothing_to_resume_it_is_said(run: Run):
    assert "there is no run in runs: train one with" in refused("train", "--resume")
    assert "nowhere is not a run folder: it has no config.json" in refused(
        "train", "--resume", "--out", "nowhere"
    )
    (run / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match=r"there is no file finished/checkpoint\.safetensors"):
        run.train(CONFIG, DATA, resume=True)


def test_a_run_that_was_killed_in_its_first_epoch_begins_anew(run: Run):
    whole = weights(run)
    for name in ("checkpoint.safetensors", "weights.safetensors"):
        (run / name).unlink()
    run.train(CONFIG, DATA, resume=True)
    assert weights(run) == whole


def test_a_run_stopped_while_it_is_extended_remembers_how_far_it_should_go(run: Run):
    longer = replace(CONFIG, epochs=5)
    with pytest.raises(KeyboardInterrupt):
        run.train(longer, DATA, resume=True, callbacks=(stop(4, 2),))
    assert run.config == longer
    run.train(run.config, DATA, resume=True)
    Run("whole").train(longer, DATA)
    assert weights(run) == weights("whole")


def test_stopped_twice_within_the_first_epoch_a_run_leaves_nothing(empty: Path):
    with pytest.raises(KeyboardInterrupt):
        Run("runs/broken").train(CONFIG, DATA, callbacks=(stop(1, 1, times=2),))
    assert not Path("runs/broken").exists()
    Path("mine").mkdir()
    Path("mine", ".keep").touch()
    with pytest.raises(KeyboardInterrupt):
        Run("mine").train(CONFIG, DATA, callbacks=(stop(1, 1, times=2),))
    assert [path.name for path in Path("mine").iterdir()] == [".keep"]


def test_a_run_without_weights_says_how_to_finish_it(run: Run):
    (run / "weights.safetensors").unlink()
    assert "finish it with tinyvae train --resume --out finished" in refused("sample", "finished")
