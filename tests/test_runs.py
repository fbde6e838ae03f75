"""A run folder: what it refuses, what it survives, and how training goes on in it."""

from __future__ import annotations

import contextlib
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import SMALL, refused, tinyvae, write_images
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tinyvae import checkpoint, pictures, training
from tinyvae.data import Dataset, Split
from tinyvae.errors import OptionError, RunError, TinyvaeError
from tinyvae.models.vae import VAE
from tinyvae.runs import Config, Run, free_folder, newest

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


def alter(run: Run, **values: Any) -> None:
    content = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(content | values))


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


# Settings


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
    for config in (CONFIG, replace(CONFIG, hidden=(), latent=3), replace(CONFIG, hidden=(5, 4))):
        model = config.model((3, 4))
        assert config.parameters((3, 4)) == sum(p.size for p in model.parameters())


# What is in the folder


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
        (("--backend", "auto"), "numpy"),
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


# What was damaged or altered

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def read(run: Run) -> None:
    """Open a run as every command does; nothing but an error of our own may come of it."""
    with contextlib.suppress(TinyvaeError):
        assert isinstance(run.config, Config)
        assert isinstance(run.model(), VAE)


@given(content=JSON)
@example([])
@example({"format": checkpoint.FORMAT})
def test_any_json_for_a_configuration_is_refused_in_words(content: Any):
    run = Run("any")
    run.path.mkdir(exist_ok=True)
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(RunError):
        _ = run.config


@given(name=st.sampled_from([*vars(CONFIG), "image_shape", "format", "tinyvae"]), value=JSON)
def test_any_value_in_a_configuration_is_taken_or_refused_in_words(name: str, value: Any):
    run = Run("finished")
    if not run.path.exists():
        run.train(CONFIG, DATA)
    before = (run / "config.json").read_text()
    try:
        alter(run, **{name: value})
        read(run)
    finally:
        (run / "config.json").write_text(before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "tinyvae 2"}, "is of format 'tinyvae 2', and this version reads 'tinyvae 1'"),
        ({"format": None}, "is of format None"),
        ({"latent": 10**12}, "config.json asks for 20,000,000,000,168 parameters"),
        ({"hidden": [10**9, 10**9]}, "and weights.safetensors holds at most"),
        ({"image_shape": [10**6, 10**6]}, "one of them was altered; train again"),
        ({"image_shape": []}, "image_shape is (), not (H, W) or (H, W, 3)"),
        ({"image_shape": [4, 4]}, "does not fit this model"),
        ({"latent": 1}, "does not fit this model: for decoder.layers.0.weight it has"),
        ({"latent": True}, "latent is True, not of type int"),
        ({"latent": -2}, "latent and hidden are sizes from 1 up, not -2"),
        ({"hidden": "6"}, "hidden is '6', not a list of sizes from 1 up"),
        ({"hidden": [6.0]}, "hidden is [6.0], not a list of sizes from 1 up"),
        ({"beta": float("nan")}, "beta is a number from 0 up, not nan"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast', not of type float"),
        ({"epochs": None}, "epochs is None, not of type int"),
        ({"binarise": "no"}, "binarise is one of ('none', 'static', 'dynamic'), not 'no'"),
        ({"data": ["digits"]}, "data is ['digits'], not of type str"),
        ({"seed": -1}, "seed is a number from 0 up, not -1"),
    ],
)
def test_an_altered_configuration_says_what_is_wrong_with_it(
    run: Run, values: dict[str, Any], message: str
):
    alter(run, **values)
    assert message in refused("sample", "finished")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"\x00"])
def test_a_configuration_that_is_no_json_is_refused(run: Run, content: bytes):
    (run / "config.json").write_bytes(content)
    assert "config.json" in refused("sample", "finished")
    assert "config.json" in refused("train", "--resume", "--out", "finished")


def test_a_configuration_too_large_to_train_is_refused_when_it_is_resumed(run: Run):
    alter(run, data=write_images(), hidden=[10**9, 10**9])
    message = refused("train", "--resume", "--out", "finished")
    assert "parameters; to train it takes about" in message


@given(where=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.booleans())
def test_weights_with_a_byte_changed_or_cut_off_are_refused_or_the_same(
    where: int, bit: int, cut: bool
):
    run = Run("finished")
    if not run.path.exists():
        run.train(CONFIG, DATA)
    file, state = run / "weights.safetensors", run.model().state_dict()
    whole = file.read_bytes()
    damaged = bytearray(whole)
    where %= len(whole)
    damaged[where] ^= 1 << bit
    try:
        file.write_bytes(whole[:where] if cut else damaged)
        for name, array in run.model().state_dict().items():
            np.testing.assert_array_equal(array, state[name])
    except RunError:
        pass
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays, "is of format None, and this version reads 'tinyvae 1'"),
        (lambda arrays: {**arrays, "more": np.zeros(3)}, "is of format None"),
        (lambda arrays: {}, "holds at most"),
    ],
)
def test_weights_that_another_program_wrote_are_refused(run: Run, change: Any, message: str):
    save_file(change(load_file(run / "weights.safetensors")), run / "weights.safetensors")
    assert message in refused("sample", "finished")


def test_weights_that_are_not_finite_are_refused(run: Run):
    arrays = run.model().state_dict()
    arrays["decoder.layers.0.bias"][0] = np.nan
    checkpoint.save_tensors(run / "weights.safetensors", arrays)
    assert "decoder.layers.0.bias holds values that are not finite" in refused("sample", "finished")


def test_weights_whose_header_announces_more_than_there_is_are_refused(run: Run):
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**15], "data_offsets": [0, 4 * 10**15]}})
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(4000)
    (run / "weights.safetensors").write_bytes(content)
    assert "weights.safetensors is damaged or no safetensors file" in refused("sample", "finished")
    (run / "weights.safetensors").write_bytes(b"\xff" * 4000)
    assert "weights.safetensors is damaged or no safetensors file" in refused("sample", "finished")


def test_a_damaged_checkpoint_is_refused_and_stays_as_it_is(run: Run):
    alter(run, data=write_images(), epochs=9)
    file = run / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "checkpoint.safetensors is damaged" in refused("train", "--resume", "--out", "finished")
