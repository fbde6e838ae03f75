"""A file is whole or not there; what is wrong with one is said before anything is loaded."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import tinyvae as tv
from tinyvae.checkpoint import (
    load_json,
    load_tensors,
    save_history,
    save_json,
    save_tensors,
)
from tinyvae.errors import RunError

TENSORS = {
    "weight": np.arange(6, dtype="float32").reshape(2, 3) / 7,
    "bias": np.array([-1.5, 1e-42], dtype="float32"),
    "scale": np.array(2.5, dtype="float64"),
}
EXPECTED = {name: (array.shape, str(array.dtype)) for name, array in TENSORS.items()}
STATE = {"epoch": 3, "sums": [0.1, 1e300], "best": None, "name": "é"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, TENSORS, STATE)
    return path


def refusal(path: Path, expected: Any = EXPECTED) -> str:
    """The message with which the file is refused; no other exception will do."""
    with pytest.raises(RunError) as caught:
        load_tensors(path, expected)
    message = str(caught.value)
    assert str(path) in message
    assert "train" in message or "use the version" in message  # the mend
    return message


def rewritten(file: Path, tensors: Any = TENSORS, **changes: Any) -> Path:
    """The same file by the safetensors library, with another header or other tensors."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["tinyvae"])
    changed = {k: v for k, v in (header | changes).items() if v is not None}
    save_file(tensors, file, metadata={"tinyvae": json.dumps(changed)})
    return file


# What was saved is what is loaded


def test_tensors_and_state_come_back_bit_for_bit(file: Path) -> None:
    tensors, state = load_tensors(file, EXPECTED)
    assert state == STATE
    assert tensors.keys() == TENSORS.keys()
    for name, array in tensors.items():
        assert (array.dtype, array.shape) == (TENSORS[name].dtype, TENSORS[name].shape)
        assert array.tobytes() == TENSORS[name].tobytes()


def test_the_weights_are_plain_safetensors(file: Path) -> None:
    for name, array in load_file(file).items():
        np.testing.assert_array_equal(array, TENSORS[name])


def test_arrays_in_any_layout_are_saved_by_their_values(tmp_path: Path) -> None:
    array = np.arange(12, dtype="float32").reshape(3, 4)
    save_tensors(tmp_path / "new folder" / "file", {"a": array.T, "b": array[:, ::2]})
    spec = {"a": ((4, 3), "float32"), "b": ((3, 2), "float32")}
    tensors, _ = load_tensors(tmp_path / "new folder" / "file", spec)
    np.testing.assert_array_equal(tensors["a"], array.T)
    np.testing.assert_array_equal(tensors["b"], array[:, ::2])


def test_a_saved_file_can_be_read_by_whom_the_umask_allows(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"")
    assert file.stat().st_mode == other.stat().st_mode


# What is wrong with a file


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    assert "there is no file" in refusal(tmp_path / "nothing")
    assert "there is no file" in refusal(tmp_path)


def test_a_file_of_another_version_is_refused_with_both_versions(file: Path) -> None:
    assert "'tinyvae 9', and this version reads 'tinyvae 1'" in refusal(
        rewritten(file, format="tinyvae 9")
    )
    save_file(TENSORS, file)
    assert "None" in refusal(file)


@pytest.mark.parametrize("key", ["state", "sha256"])
def test_a_header_that_lacks_a_part_is_refused(file: Path, key: str) -> None:
    assert "checksum" in refusal(rewritten(file, **{key: None}))


def test_a_header_that_is_no_json_object_is_refused(file: Path) -> None:
    for header in ("{", "[" * 100_000, "[]"):
        save_file(TENSORS, file, metadata={"tinyvae": header})
        assert "is of format None" in refusal(file)


def test_the_same_content_gives_the_same_bytes(file: Path) -> None:
    for k in range(8):
        save_tensors(file.with_name(f"again {k}"), TENSORS, STATE)
        assert file.with_name(f"again {k}").read_bytes() == file.read_bytes()


def test_an_altered_state_or_value_is_noticed(file: Path) -> None:
    assert "checksum" in refusal(rewritten(file, state=json.dumps(STATE | {"epoch": 4})))
    save_tensors(file, TENSORS, STATE)
    bias = np.array([-1.5, 2e-42], dtype="float32")
    assert "checksum" in refusal(rewritten(file, TENSORS | {"bias": bias}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"more": ((2,), "float32")}, "for more it has nothing, not ((2,), 'float32')"),
        ({"bias": None}, "for bias it has ((2,), 'float32'), not nothing"),
        ({"bias": ((3,), "float32")}, "for bias it has ((2,), 'float32'), not ((3,), 'float32')"),
        ({"bias": ((2, 1), "float32")}, "not ((2, 1), 'float32')"),
        ({"scale": ((), "float32")}, "for scale it has ((), 'float64'), not ((), 'float32')"),
    ],
)
def test_tensors_that_do_not_fit_are_named_with_both_shapes_and_dtypes(
    file: Path, changes: dict[str, Any], words: str
) -> None:
    wanted = {k: v for k, v in (EXPECTED | changes).items() if v is not None}
    assert words in refusal(file, wanted)


def test_integers_and_halves_do_not_pass_for_floats(file: Path) -> None:
    for dtype in ("int32", "float16"):
        assert "for bias" in refusal(
            rewritten(file, TENSORS | {"bias": np.array([1, 2], dtype=dtype)})
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    save_tensors(tmp_path / "file", TENSORS | {"bias": np.array([0, value], dtype="float32")})
    assert "bias holds values that are not finite" in refusal(tmp_path / "file")


@pytest.mark.parametrize("length", [0, 1, 1 << 30, (1 << 63) + 1, (1 << 64) - 1])
def test_a_header_that_claims_another_length_is_refused_at_once(file: Path, length: int) -> None:
    content = file.read_bytes()
    file.write_bytes(struct.pack("<Q", length) + content[8:])
    assert "damaged" in refusal(file)


@pytest.mark.parametrize("place", ["__metadata__", "shape", "dtype", "data_offsets", "F32", "sha2"])
def test_a_header_with_a_word_changed_is_refused(file: Path, place: str) -> None:
    content = file.read_bytes()
    assert place.encode() in content
    file.write_bytes(content.replace(place.encode(), b"x" * len(place)))
    refusal(file)


@given(st.data())
@settings(max_examples=200)
def test_a_file_with_any_bit_flipped_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "file"
    save_tensors(path, TENSORS, STATE)
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        tensors, state = load_tensors(path, EXPECTED)
    except RunError:
        refusal(path)
    else:  # a bit that says nothing, as in the padding
        assert state == STATE
        assert all(tensors[name].tobytes() == TENSORS[name].tobytes() for name in TENSORS)


@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(tmp_path: Path, part: float) -> None:
    path = tmp_path / "file"
    save_tensors(path, TENSORS, STATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert "damaged" in refusal(path)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert "damaged" in refusal(tmp_path / "file")
    (tmp_path / "file").write_bytes(struct.pack("<Q", len(content)) + content)
    refusal(tmp_path / "file")


# The log and plain data


def test_the_history_is_a_table_with_a_column_for_every_latent_dimension(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(256, size=(8, 2, 2), dtype=np.uint8)
    model = tv.VAE((2, 2), latent=2, hidden=(4,))
    history = tv.fit(model, images, images[:4], epochs=3, batch=4)
    save_history(tmp_path / "history.csv", history)
    with (tmp_path / "history.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert ",".join(rows[0]) == (
        "epoch,beta,train_loss,train_reconstruction,train_kl,valid_loss,valid_reconstruction,valid_kl,"
        "active_units,kl_0,kl_1"
    )
    for row, logged in zip(rows, history, strict=True):
        kl = [float(row.pop(name)) for name in ("kl_0", "kl_1")]
        assert kl == logged["kl_per_dimension"]
        assert {k: float(v) for k, v in row.items()} == {k: logged[k] for k in row}


def test_plain_data_come_back_from_json_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    save_json(path, STATE)
    assert load_json(path) == STATE
    for content in (b"{", b"\xff\xfe", b""):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"cannot read .*config\.json"):
            load_json(path)
    path.unlink()
    with pytest.raises(RunError, match=r"cannot read .*config\.json"):
        load_json(path)
