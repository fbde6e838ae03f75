from __future__ import annotations

import gzip
import hashlib
import os
import struct
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinyvae.data import idx, load
from tinyvae.errors import DataError, MissingExtraError

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
FOLDER = Path(os.environ.get("TINYVAE_DATA", "nowhere")) / "mnist"
real = pytest.mark.skipif(not FOLDER.is_dir(), reason="no mnist/ under TINYVAE_DATA")


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return header + array.tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


GOOD = idx_bytes(IMAGES)


def read(tmp_path: Path, content: bytes, name: str = "some-images") -> np.ndarray:
    path = tmp_path / name
    path.write_bytes(content)
    return idx.read_idx(path, IMAGES.shape, md5(GOOD))


def refusal(tmp_path: Path, content: bytes, name: str = "some-images") -> str:
    with pytest.raises(DataError, match=name) as refused:
        read(tmp_path, content, name)
    assert "delete it and get the published file again" in str(refused.value)
    return str(refused.value)


def test_an_idx_file_is_read_as_the_bytes_that_were_written(tmp_path):
    images = read(tmp_path, GOOD)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, IMAGES)


def test_a_gzipped_idx_file_is_unpacked_whatever_its_compression(tmp_path):
    for level in (1, 9):
        np.testing.assert_array_equal(
            read(tmp_path, gzip.compress(GOOD, level), "some-images.gz"), IMAGES
        )


def test_a_bad_magic_number_is_refused_with_the_bytes_found_and_expected(tmp_path):
    message = refusal(tmp_path, b"\x00\x00\x0d\x03" + GOOD[4:])
    assert "00 00 0d 03, not 00 00 08 03" in message


def test_a_web_page_in_place_of_the_file_is_refused(tmp_path):
    assert "begins with the bytes 3c 68 74 6d" in refusal(tmp_path, b"<html>not found</html>")


def test_another_shape_is_refused_before_memory_is_taken_for_it(tmp_path):
    huge = struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)
    message = refusal(tmp_path, GOOD[:4] + huge + GOOD[16:])
    assert "(4294967295, 4294967295, 4294967295), not (3, 4, 5)" in message


def test_a_truncated_idx_file_is_refused_with_its_name(tmp_path):
    assert "cut short: 50 bytes after the header, not 60" in refusal(tmp_path, GOOD[:-10])


@pytest.mark.parametrize("length", [0, 3, 4, 6, 15])
def test_an_idx_file_cut_off_within_its_header_is_refused(tmp_path, length):
    refusal(tmp_path, GOOD[:length])


def test_trailing_bytes_are_refused(tmp_path):
    assert "has bytes after the 60" in refusal(tmp_path, GOOD + b"\x00")


def test_an_altered_byte_is_refused_with_both_checksums(tmp_path):
    altered = GOOD[:-1] + b"\xff"
    message = refusal(tmp_path, altered)
    assert md5(altered) in message
    assert md5(GOOD) in message


@pytest.mark.parametrize("cut", [1, 8, 30])
def test_a_truncated_gz_file_is_refused_with_its_name(tmp_path, cut):
    refusal(tmp_path, gzip.compress(GOOD)[:-cut], "some-images.gz")


def test_a_gz_file_that_is_not_gzipped_is_refused(tmp_path):
    refusal(tmp_path, GOOD, "some-images.gz")


def test_every_gz_file_with_a_broken_byte_is_read_right_or_refused(tmp_path):
    packed = gzip.compress(GOOD)
    for place in range(len(packed)):
        broken = bytearray(packed)
        broken[place] ^= 0x55
        try:
            images = read(tmp_path, bytes(broken), "some-images.gz")
        except DataError:
            continue
        np.testing.assert_array_equal(images, IMAGES)  # a byte of the time stamp, say


def test_a_missing_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(DataError, match="no-such-file"):
        idx.read_idx(tmp_path / "no-such-file", (1,), "")


def test_reading_holds_the_images_in_memory_once(tmp_path):
    images = np.zeros((20_000, 28, 28), np.uint8)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(images), 1))
    checksum = md5(idx_bytes(images))
    tracemalloc.start()
    idx.read_idx(path, images.shape, checksum)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * images.nbytes + (4 << 20)


# Whole sets, small ones in the place of the published ones

SHAPES = dict(zip(idx.SHAPES, [(6, 4, 4), (6,), (2, 4, 4), (2,)], strict=True))
CONTENTS = {
    file: idx_bytes(np.random.default_rng(i).integers(10, size=shape, dtype=np.uint8))
    for i, (file, shape) in enumerate(SHAPES.items())
}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Small sets in place of the published ones, nobody's cache, and no way to the network."""
    monkeypatch.setattr(idx, "SHAPES", SHAPES)
    for name in ("MNIST", "FASHION_MNIST"):
        checksums = tuple(md5(content) for content in CONTENTS.values())
        mirrors = ("http://127.0.0.1:9/", "http://127.0.0.1:9/second/")
        published = replace(getattr(idx, name), unpacked_md5=checksums, mirrors=mirrors)
        monkeypatch.setattr(idx, name, published)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setenv("TINYVAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


def put(folder: Path, suffix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in CONTENTS.items():
        packed = gzip.compress(content) if suffix else content
        (folder / f"{file}{suffix}").write_bytes(packed)


@pytest.mark.parametrize("folder", ["data/mnist", "data", "cache/tinyvae/mnist"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_found_packed_or_not_in_every_place_that_is_named(small, folder, suffix):
    put(small / folder, suffix)
    mnist = load("mnist")
    assert mnist.train.images.tobytes() == CONTENTS["train-images-idx3-ubyte"][16:]
    assert mnist.train.labels.tobytes() == CONTENTS["train-labels-idx1-ubyte"][8:]
    assert mnist.test.images.tobytes() == CONTENTS["t10k-images-idx3-ubyte"][16:]
    assert mnist.test.labels.tobytes() == CONTENTS["t10k-labels-idx1-ubyte"][8:]
    assert mnist.valid is None
    assert idx.where(idx.MNIST) == small / folder


def test_fashion_mnist_is_found_in_its_own_folder(small):
    put(small / "data" / "fashion_mnist", ".gz")
    assert len(load("fashion_mnist").train) == 6


def test_fashion_mnist_is_never_mistaken_for_mnist_in_the_folder_above(small):
    put(small / "data")
    assert idx.where(idx.FASHION_MNIST) is None
    with pytest.raises(DataError, match="cannot download"):
        load("fashion_mnist")


def test_an_altered_file_under_tinyvae_data_is_refused(small):
    put(small / "data" / "mnist")
    file = small / "data" / "mnist" / "t10k-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + b"\x63")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte was altered"):
        load("mnist")


def test_offline_the_error_lists_both_mirrors_and_says_where_to_put_the_files(small):
    with pytest.raises(DataError) as refused:
        load("mnist")
    message = str(refused.value)
    assert "http://127.0.0.1:9/train-images-idx3-ubyte.gz: ConnectionError" in message
    assert "http://127.0.0.1:9/second/train-images-idx3-ubyte.gz" in message
    assert "a folder mnist/ inside the folder that the environment variable TINYVAE_DATA" in message


def test_a_missing_pooch_is_named_with_the_line_that_installs_it(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinyvae\[download\]'"):
        load("mnist")


def test_a_set_of_which_a_file_is_missing_is_nowhere(small):
    put(small / "data" / "mnist")
    (small / "data" / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    assert idx.where(idx.MNIST) is None


# The published files


@real
def test_mnist_has_the_published_counts_of_each_class():
    mnist = load("mnist")
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(mnist.train.labels), train)
    np.testing.assert_array_equal(np.bincount(mnist.test.labels), test)
    assert mnist.train.images.shape == (60_000, 28, 28)
    assert mnist.test.images.shape == (10_000, 28, 28)
    assert mnist.train.images.dtype == np.uint8
    assert mnist.train.images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


@real
def test_the_published_packed_checksums_are_those_of_the_files_as_published():
    for file, packed in zip(idx.SHAPES, idx.MNIST.packed_md5, strict=True):
        if not file.startswith("train-images"):  # which may be a re-compression here
            assert md5((FOLDER / f"{file}.gz").read_bytes()) == packed
