"""A run folder that was damaged, altered, or made to do harm: refused in words."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import refused, write_images
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tinyvae import checkpoint
from tinyvae.config import Config
from tinyvae.data import Dataset, Split
from tinyvae.errors import RunError, TinyvaeError
from tinyvae.models.vae import VAE
from tinyvae.runs import Run

CONFIG = Config(hidden=(6,), epochs=2, batch=8, learning_rate=0.01, seed=3)
IMAGES = np.random.default_rng(0).integers(256, size=(26, 3, 4), dtype=np.uint8)
DATA = Dataset("noise", Split(IMAGES[:18]), Split(IMAGES[18:22]), Split(IMAGES[22:]))


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    """A finished run."""
    finished = Run("finished")
    finished.train(CONFIG, DATA)
    return finished


def alter(run: Run, **values: Any) -> None:
    content = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(content | values))


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
