"""`tinyvae` as a process of its own: Ctrl-C, a full disk, a closed pipe, a bare environment."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import matplotlib.image
import pytest
from commandline import write_images
from safetensors.numpy import load_file

CALL = "from tinyvae.cli import main; main()"
BARE = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND", "TERM", "HOME")
PROGRAM = Path(sys.executable).with_name("tinyvae")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a small data set; no display, and threads that share no cores."""
    monkeypatch.chdir(tmp_path)
    for name in BARE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", str(PROGRAM.parent), prepend=os.pathsep)
    write_images()
    return tmp_path


def start(*arguments: str, code: str = CALL, stdout: int | IO[str] = subprocess.PIPE):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAM.exists(), reason="the command is not installed beside Python")
def test_ctrl_c_saves_and_prints_the_command_that_goes_on_to_the_same_weights():
    options = ["--data", "digits", "--hidden", "16", "--epochs", "60", "--batch", "50"]
    run = start("train", *options, "--out", "a run")
    lines = iter(run.stdout.readline, "")
    assert any(line.startswith("epoch 6 of 60") for line in lines)
    run.send_signal(signal.SIGINT)
    rest, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (130, "")
    stopped, command = rest.splitlines()[-1].split(": ")
    assert stopped == "Stopped and saved. To go on, to the same numbers"
    assert sorted(path.name for path in Path("a run").iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
    ]
    whole = start("train", *options, "--out", "whole")
    resumed = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    assert "epoch 6 of 60" not in resumed.stdout
    assert "epoch 60 of 60" in resumed.stdout
    assert whole.communicate(timeout=60)[1] == ""
    weights, same = (load_file(f"{name}/weights.safetensors") for name in ("a run", "whole"))
    assert weights.keys() == same.keys()
    assert all((weights[name] == same[name]).all() for name in same)
    assert Path("a run/history.csv").read_text() == Path("whole/history.csv").read_text()


FULL = f"""
import resource, signal
from tinyvae import training
epoch = training.Trainer._run_epoch
def run_epoch(self, asked):
    if self.state.epoch == int(__import__("os").environ["FULL_FROM"]):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    epoch(self, asked)
training.Trainer._run_epoch = run_epoch
{CALL}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epoch", "left"), [(1, []), (2, ["checkpoint.safetensors", "config.json"])]
)
def test_a_disk_that_is_full_is_said_and_what_was_saved_is_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, left: list[str]
):
    pytest.importorskip("resource")
    monkeypatch.setenv("FULL_FROM", str(epoch))
    run = start("train", "--data", "tiny.npz", "--epochs", "3", "--batch", "8", code=FULL)
    errors = run.communicate(timeout=60)[1]
    assert run.returncode == 1
    assert "Error: cannot write runs/tiny/checkpoint.safetensors: File too large" in errors
    assert "Traceback" not in errors
    assert sorted(path.name for path in folder.glob("runs/tiny/*")) == left
    assert not left or load_file("runs/tiny/checkpoint.safetensors")


def test_a_closed_pipe_shows_no_traceback():
    read_end, write_end = os.pipe()
    os.close(read_end)
    listing = start("data", stdout=write_end)
    training = start("train", "--data", "tiny.npz", "--batch", "8", stdout=write_end)
    os.close(write_end)
    for process in (listing, training):
        errors = process.communicate(timeout=60)[1]
        assert "Traceback" not in errors
        assert "Exception" not in errors
        assert process.returncode != 0


@pytest.mark.slow
def test_without_a_display_a_home_or_letters_beyond_ascii_training_goes_to_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("MPLBACKEND", "qtagg-that-is-not-there")
    monkeypatch.setenv("MPLCONFIGDIR", str(folder / "matplotlib"))
    Path("tiny.npz").rename("zähl.npz")
    options = ("--data", "zähl.npz", "--hidden", "8", "--epochs", "1", "--batch", "8")
    run = start("train", *options)
    out, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (0, "")
    assert "training images of z\\xe4hl.npz" in out
    for name in ("curves", "samples", "reconstructions", "latent", "manifold"):
        assert matplotlib.image.imread(f"runs/zähl/{name}.png").std() > 0.05
