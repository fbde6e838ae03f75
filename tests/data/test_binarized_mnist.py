from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from tinyvae.data import binarized_mnist, load
from tinyvae.errors import DataError

FOLDER = Path(os.environ.get("TINYVAE_DATA", "nowhere")) / "binarized_mnist"
real = pytest.mark.skipif(not FOLDER.is_dir(), reason="no binarized_mnist/ under TINYVAE_DATA")

ROWS = {"train": 5, "valid": 3, "test": 2}
BITS = {
    part: np.random.default_rng(rows).integers(2, size=(rows, 784), dtype=np.uint8)
    for part, rows in ROWS.items()
}
PACKED = {part: np.packbits(bits, axis=1) for part, bits in BITS.items()}


def text(bits: np.ndarray, end: str = "\n") -> str:
    return "".join(" ".join(str(bit) for bit in row) + end for row in bits)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A small set in place of the published one, and its folder under TINYVAE_DATA."""
    sums = {part: hashlib.sha256(rows.tobytes()).hexdigest() for part, rows in PACKED.items()}
    monkeypatch.setattr(binarized_mnist, "ROWS", ROWS)
    monkeypatch.setattr(binarized_mnist, "BITS_SHA256", sums)
    monkeypatch.setattr(binarized_mnist, "SOURCE", "http://127.0.0.1:9/")
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setenv("TINYVAE_DATA", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "binarized_mnist"
    folder.mkdir()
    return folder


def put_texts(folder: Path, end: str = "\n") -> None:
    for part, bits in BITS.items():
        content = text(bits, end).encode()
        (folder / f"binarized_mnist_{part}.amat").write_bytes(content)


def put_packed(folder: Path, **parts: np.ndarray) -> None:
    np.savez_compressed(folder / "binarized_mnist_packed.npz", **(PACKED | parts))


def check_is_the_small_set() -> None:
    found = load("binarized_mnist")
    for part, split in (("train", found.train), ("valid", found.valid), ("test", found.test)):
        assert split.images.dtype == np.uint8
        assert split.labels is None
        np.testing.assert_array_equal(split.images, BITS[part].reshape(-1, 28, 28) * 255)


@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_the_texts_become_black_and_white_images_whatever_their_line_ends(small, end):
    put_texts(small, end)
    check_is_the_small_set()
    assert binarized_mnist.where() == small


def test_the_packed_file_becomes_the_same_images_as_the_texts(small):
    put_packed(small)
    check_is_the_small_set()
    assert binarized_mnist.where() == small


def test_an_altered_bit_of_a_text_is_refused_with_the_name_of_the_file(small):
    put_texts(small)
    altered = BITS["valid"].copy()
    altered[2, 100] ^= 1
    (small / "binarized_mnist_valid.amat").write_text(text(altered))
    with pytest.raises(DataError, match=r"binarized_mnist_valid\.amat was altered"):
        load("binarized_mnist")


def test_a_text_cut_short_is_refused_with_both_counts(small):
    put_texts(small)
    file = small / "binarized_mnist_test.amat"
    file.write_bytes(file.read_bytes()[:-400])
    with pytest.raises(DataError, match="has 1,368 signs, not 1,568 zeros and ones"):
        load("binarized_mnist")


@pytest.mark.parametrize("sign", ["2", "x", "/", "é"])
def test_a_text_with_another_sign_is_refused(small, sign):
    put_texts(small)
    file = small / "binarized_mnist_train.amat"
    file.write_text(sign + file.read_text()[1:], encoding="utf-8")
    with pytest.raises(DataError, match=r"binarized_mnist_train\.amat has .* signs"):
        load("binarized_mnist")


def test_an_empty_text_is_refused(small):
    put_texts(small)
    (small / "binarized_mnist_train.amat").write_bytes(b"")
    with pytest.raises(DataError, match="has 0 signs"):
        load("binarized_mnist")


def test_an_altered_packed_file_is_refused_with_both_checksums(small):
    altered = PACKED["test"] ^ np.uint8(1)
    put_packed(small, test=altered)
    with pytest.raises(DataError, match="part 'test'") as refused:
        load("binarized_mnist")
    assert hashlib.sha256(altered.tobytes()).hexdigest() in str(refused.value)
    assert hashlib.sha256(PACKED["test"].tobytes()).hexdigest() in str(refused.value)


def test_a_packed_file_without_a_part_is_refused_with_its_name(small):
    np.savez(small / "binarized_mnist_packed.npz", train=PACKED["train"])
    with pytest.raises(DataError, match="has no part 'valid'"):
        load("binarized_mnist")


@pytest.mark.parametrize("length", [0, 10, 500, -30])
def test_a_truncated_packed_file_is_refused(small, length):
    put_packed(small)
    file = small / "binarized_mnist_packed.npz"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DataError, match=r"binarized_mnist_packed\.npz"):
        load("binarized_mnist")


def test_a_packed_file_of_python_objects_is_not_unpickled(small):
    put_packed(small, train=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="Object arrays cannot be loaded"):
        load("binarized_mnist")


def test_offline_the_error_names_the_text_and_where_to_put_it(small):
    assert binarized_mnist.where() is None
    with pytest.raises(DataError, match=r"cannot download binarized_mnist_train\.amat") as refused:
        load("binarized_mnist")
    assert "a folder binarized_mnist/ inside" in str(refused.value)


@real
def test_the_published_binarisation_has_50000_and_10000_and_10000_images():
    found = load("binarized_mnist")
    shapes = [split.images.shape for split in (found.train, found.valid, found.test)]
    assert shapes == [(50_000, 28, 28), (10_000, 28, 28), (10_000, 28, 28)]
    assert set(np.unique(found.test.images)) == {0, 255}


@real
def test_the_test_part_written_as_text_has_the_published_checksum():
    rows = load("binarized_mnist").test.images.reshape(10_000, 784)
    signs = np.full((10_000, 1568), ord(" "), np.uint8)
    signs[:, ::2] = np.where(rows > 0, ord("1"), ord("0"))
    signs[:, -1] = ord("\n")
    published = binarized_mnist.TEXT_SHA256["test"]
    assert hashlib.sha256(signs.tobytes()).hexdigest() == published
