"""Images on disk look like an array, take no memory, and say so when their file changes."""

from __future__ import annotations

import gc
import io
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyvae.data import Split, ondisk
from tinyvae.data.ondisk import OnDisk, RowFile, blocks, check_floats, spooled, unmapped
from tinyvae.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(20, 3, 4), dtype=np.uint8)


def written(path: Path, images: np.ndarray, head: bytes = b"") -> OnDisk:
    path.write_bytes(head + images.tobytes())
    return OnDisk(RowFile(path, images.shape, images.dtype, len(head)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


# Like an array


@st.composite
def stored(draw: Any) -> np.ndarray:
    """Images of any shape, as bytes or as floats of any size and order of bytes."""
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=9))
    shape += draw(st.sampled_from([(), (3,)]))
    images = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    dtype = draw(st.sampled_from(["uint8", "<f2", "<f4", "<f8", ">f4"]))
    return images if dtype == "uint8" else (images / 255).astype(dtype)


@given(images=stored(), head=st.binary(max_size=9), data=st.data())
def test_slices_and_rows_are_those_of_the_array(
    folder: Path, images: np.ndarray, head: bytes, data: st.DataObject
) -> None:
    on_disk = written(folder / "any", images, head)
    array = images if images.dtype == np.uint8 else images.astype(np.float32)
    for _ in range(data.draw(st.integers(0, 3))):
        part = data.draw(st.slices(len(array)))
        on_disk, array = on_disk[part], array[part]
    assert isinstance(on_disk, OnDisk)
    assert (on_disk.shape, on_disk.dtype, on_disk.ndim) == (array.shape, array.dtype, array.ndim)
    np.testing.assert_array_equal(np.asarray(on_disk), array)
    index = st.integers(-len(array), len(array) - 1)
    rows = data.draw(st.lists(index, max_size=12)) if len(array) else []
    chosen = on_disk[np.array(rows, dtype=data.draw(st.sampled_from(["int8", "int64"])))]
    assert chosen.dtype == array.dtype
    np.testing.assert_array_equal(chosen, array[np.array(rows, int)])
    for row in rows[:1]:
        np.testing.assert_array_equal(on_disk[row], array[row])


@pytest.mark.parametrize("row", [20, -21])
def test_a_row_that_is_not_there_is_refused_as_an_array_does(folder: Path, row: int) -> None:
    on_disk = written(folder / "twenty", IMAGES)
    for key in (row, np.array([0, row])):
        with pytest.raises(IndexError):
            IMAGES[key]
        with pytest.raises(IndexError):
            on_disk[key]


@pytest.mark.parametrize("key", [np.array([0.5]), np.ones(20, bool), np.array([[0]]), (0, 1)])
def test_what_is_neither_a_slice_nor_rows_is_refused(folder: Path, key: Any) -> None:
    with pytest.raises(IndexError, match="images on disk are chosen by"):
        written(folder / "twenty", IMAGES)[key]


def test_they_become_an_array_of_another_dtype_but_never_without_a_copy(folder: Path) -> None:
    on_disk = written(folder / "twenty", IMAGES)
    assert np.asarray(on_disk, dtype="float64").dtype == np.float64
    with pytest.raises(ValueError, match="copying"):
        np.asarray(on_disk, copy=False)


@given(images=stored(), size=st.integers(1, 100))
def test_blocks_are_all_images_in_order(folder: Path, images: np.ndarray, size: int) -> None:
    on_disk = written(folder / "any", images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ondisk, "BLOCK", size)
        found = list(blocks(on_disk))
    pixels = images[0].size
    assert all(len(block) == 1 or block.size <= size for block in found)
    assert len(found) == -(-len(images) // max(1, size // pixels))
    np.testing.assert_array_equal(np.concatenate(found), np.asarray(on_disk))


class Slow(io.FileIO):
    """Between going to a place and reading there, others have their turn."""

    def seek(self, *place: int) -> int:
        found = super().seek(*place)
        time.sleep(1e-4)
        return found


def test_where_the_system_reads_without_a_position_threads_do_not_mix_their_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    (folder / "shared").write_bytes(IMAGES.tobytes())
    source = RowFile(folder / "shared", IMAGES.shape, "uint8", file=Slow(folder / "shared"))
    on_disk, wrong = OnDisk(source), []

    def read(seed: int) -> None:
        rows = np.random.default_rng(seed).permutation(20)
        if not np.array_equal(on_disk[rows], IMAGES[rows]):
            wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_read_that_gives_less_than_was_asked_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk, preadv = written(folder / "twenty", IMAGES), os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: preadv(fd, [views[0][:5]], at))
    np.testing.assert_array_equal(np.asarray(on_disk), IMAGES)


def test_the_file_is_closed_when_nobody_holds_the_images_any_more(folder: Path) -> None:
    on_disk = written(folder / "twenty", IMAGES)
    part, file = on_disk[2:5], on_disk.source._file
    del on_disk
    gc.collect()
    assert len(np.asarray(part)) == 3
    del part
    gc.collect()
    assert file.closed


# A file that changes


@pytest.mark.parametrize("left", [0, 100, 239])
def test_a_file_that_shrinks_is_named_with_the_row_and_both_sizes(
    tmp_path: Path, left: int
) -> None:
    on_disk = written(tmp_path / "images", IMAGES)  # of 240 bytes
    os.truncate(tmp_path / "images", left)
    with pytest.raises(DataError, match="had 240 bytes and has") as refused:
        on_disk[np.array([19])]
    for words in (str(tmp_path / "images"), "row 19", f"has {left}", "put the file back"):
        assert words in str(refused.value)
    with pytest.raises(DataError, match="row 0"):  # which is there, but of what file?
        on_disk[np.array([0])]


def test_a_file_that_is_written_to_or_grows_is_refused(tmp_path: Path) -> None:
    on_disk = written(tmp_path / "images", IMAGES)
    os.utime(tmp_path / "images", ns=(0, 0))
    with pytest.raises(DataError, match="it was written to"):
        on_disk[np.array([3])]
    on_disk = written(tmp_path / "images", IMAGES)
    with (tmp_path / "images").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match="had 240 bytes and has 244"):
        on_disk[np.array([3])]


def test_a_file_that_is_replaced_or_deleted_is_read_on_as_it_was(tmp_path: Path) -> None:
    on_disk = written(tmp_path / "images", IMAGES)
    (tmp_path / "new").write_bytes(bytes(240))
    (tmp_path / "new").replace(tmp_path / "images")
    np.testing.assert_array_equal(np.asarray(on_disk), IMAGES)
    (tmp_path / "images").unlink()
    np.testing.assert_array_equal(np.asarray(on_disk), IMAGES)


def test_a_file_that_is_too_short_or_not_there_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(bytes(239))
    with pytest.raises(DataError, match="239 bytes, where its 20 images take 240"):
        RowFile(tmp_path / "images", IMAGES.shape, "uint8")
    with pytest.raises(DataError, match=r"cannot read .*none"):
        RowFile(tmp_path / "none", IMAGES.shape, "uint8")


def test_an_error_of_the_disk_is_named_with_the_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = written(folder / "twenty", IMAGES)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(DataError, match=r"row 7 of .*twenty: .*Input/output error"):
        on_disk[7]


# Floats outside [0, 1]


def test_floats_are_checked_once_and_named_with_their_file(tmp_path: Path) -> None:
    images = np.full((5, 2, 2), 0.5, np.float32)
    reads, on_disk = [], written(tmp_path / "good", images)
    read = on_disk.source.read
    on_disk.source.read = lambda rows: reads.append(len(rows)) or read(rows)
    Split(on_disk).check()
    Split(on_disk)[1:3].check()
    assert reads == [5]
    images[3, 1, 0] = np.nan
    with pytest.raises(DataError, match=r"bad has nan at index \(3, 1, 0\)"):
        Split(written(tmp_path / "bad", images)).check()


def test_bytes_are_not_read_to_be_checked(tmp_path: Path) -> None:
    on_disk = written(tmp_path / "images", IMAGES)
    os.truncate(tmp_path / "images", 0)
    Split(on_disk).check()
    check_floats(on_disk, tmp_path)


# Memory maps


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_a_map_and_its_parts_are_read_from_their_place_in_the_file(
    tmp_path: Path, dtype: str
) -> None:
    images = (IMAGES if dtype == "uint8" else IMAGES / 255).astype(dtype)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    wanted = images if dtype == "uint8" else images.astype("float32")
    for part in (slice(None), slice(3, 9), slice(19, 20)):
        found = Split(mapped[part]).images
        assert isinstance(found, OnDisk)
        np.testing.assert_array_equal(np.asarray(found), wanted[part])
    deep = unmapped(mapped[2:][3:][:4].reshape(4, 4, 3))
    np.testing.assert_array_equal(np.asarray(deep), wanted[5:9].reshape(4, 4, 3))


def test_what_was_written_through_a_map_is_read(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "images", np.uint8, "w+", shape=IMAGES.shape)
    mapped[:] = IMAGES
    np.testing.assert_array_equal(np.asarray(Split(mapped).images), IMAGES)


def test_what_is_no_map_of_whole_rows_stays_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    private = np.load(tmp_path / "images.npy", mmap_mode="c")
    private[0] = 7
    for images in (IMAGES, mapped[::2], mapped[:, :2], mapped[:0], private, mapped.astype(int)):
        assert unmapped(images) is images
    assert Split(private).stored(slice(0, 1))[0, 0] == 7


def test_a_map_whose_file_is_now_another_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.save(tmp_path / "new.npy", IMAGES[::-1])
    (tmp_path / "new.npy").replace(tmp_path / "images.npy")
    with pytest.raises(DataError, match=r"images\.npy is not the file that is mapped"):
        Split(mapped)


# Drawn images


def test_drawn_images_are_in_a_file_that_no_folder_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    drawn = spooled((IMAGES[k : k + 7] for k in range(0, 20, 7)), IMAGES.shape)
    np.testing.assert_array_equal(np.asarray(drawn), IMAGES)
    assert os.name == "nt" or list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_with_the_folder_and_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(DataError, match=r"1,310,720 bytes of drawn images.*TMPDIR"):
            spooled((np.zeros(1 << 16, np.uint8) for _ in range(20)), (20, 256, 256))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_static_binarisation_is_the_same_on_disk_and_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyvae.noise import Noise

    monkeypatch.setattr(ondisk, "BLOCK", 50)  # four images
    for images in (IMAGES, (IMAGES / 255).astype(np.float32)):
        here, there = (
            Split(found).binarised(Noise(3)).images
            for found in (images, written(folder / "grey", images))
        )
        assert isinstance(there, OnDisk)
        np.testing.assert_array_equal(here, np.asarray(there))
        assert set(np.unique(here)) == {0, 255}
