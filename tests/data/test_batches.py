"""Batches: each row once an epoch, made ahead by a thread that ends, and never by its timing."""

from __future__ import annotations

import itertools
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.data import Split
from tinyvae.data import batches as module
from tinyvae.data.batches import ahead, batches, shuffled
from tinyvae.data.ondisk import OnDisk, RowFile
from tinyvae.data.pixels import draws
from tinyvae.noise import Noise

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(22, 3, 4), dtype=np.uint8)


def host(seed: int = 0) -> Noise:
    return Noise(seed, backend="numpy")


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if "tinyvae" in thread.name}


# The order


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 60), st.integers(0, 9))
def test_every_row_comes_once_in_batches_of_one_size_but_the_last(
    count: int, size: int, at_once: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHUFFLED", at_once)
        parts = list(shuffled(count, size, host(seed)))
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert [len(part) for part in parts[:-1]] == [size] * (-(-count // size) - 1)


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 9))
def test_rows_that_are_shuffled_at_once_are_a_permutation_of_the_stream(
    count: int, size: int, seed: int
) -> None:
    rows = np.concatenate(list(shuffled(count, size, host(seed))))
    np.testing.assert_array_equal(rows, host(seed).permutation(count))


def test_more_rows_come_class_by_class_each_spread_over_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SHUFFLED", 100)
    rows = np.concatenate(list(shuffled(1000, 30, host())))
    classes = (rows % 10).reshape(10, 100)
    assert (classes == classes[:, :1]).all()
    assert sorted(classes[:, 0]) == list(range(10)) != classes[:, 0].tolist()
    assert all((np.diff(part) < 0).any() for part in rows.reshape(10, 100))
    other = np.concatenate(list(shuffled(1000, 30, host(1))))
    assert (rows != other).any()


def test_the_order_of_many_rows_takes_the_memory_of_one_class() -> None:
    count = 1 << 24  # whose whole order takes 134 MB
    tracemalloc.start()
    try:
        total = sum(len(rows) for rows in itertools.islice(shuffled(count, 4096, host()), 600))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 600 * 4096  # into the third class
    assert peak < 9e6


# What is drawn


def test_bytes_are_drawn_against_0_to_254_each_as_often_as_the_others() -> None:
    drawn = draws((255, 2000), np.dtype(np.uint8), host())
    assert (drawn.dtype, drawn.max()) == (np.uint8, 254)
    counts = np.bincount(drawn.ravel(), minlength=255)
    chi_square = float(((counts - 2000) ** 2 / 2000).sum())
    assert abs(chi_square - 254) < 5 * np.sqrt(2 * 254)


@given(st.integers(1, 40), st.integers(1, 9))
def test_draws_have_the_shape_asked_for(rows: int, pixels: int) -> None:
    for dtype in (np.uint8, np.float32):
        assert draws((rows, pixels), np.dtype(dtype), host()).shape == (rows, pixels)


def every(split: Split, **options: Any) -> list[tuple[bytes, bytes]]:
    made = batches(split, 5, 3, **{"seed": 2, "epoch": 1} | options)
    return [(pixels.tobytes(), noise.tobytes()) for pixels, noise in made]


def on_disk(path: Path, images: np.ndarray = IMAGES) -> Split:
    path.write_bytes(images.tobytes())
    return Split(OnDisk(RowFile(path, images.shape, images.dtype)))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_batches_are_the_same_bit_for_bit_from_memory_and_from_disk(
    tmp_path: Path, kind: str, dynamic: bool
) -> None:
    images = IMAGES if kind == "uint8" else (IMAGES / 255).astype(kind)
    disk = on_disk(tmp_path / "images", images)
    for epoch in (1, 2):
        here, there = (every(s, epoch=epoch, dynamic=dynamic) for s in (Split(images), disk))
        assert here == there
    assert every(disk, epoch=1) != here


@pytest.mark.parametrize("done", [1, 3, 5])
def test_batches_that_are_done_are_left_out_unread_and_the_others_stay_the_same(
    tmp_path: Path, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = on_disk(tmp_path / "images")
    whole, read = every(split, dynamic=True), []
    stored = Split.stored
    monkeypatch.setattr(Split, "stored", lambda s, rows: read.append(len(rows)) or stored(s, rows))
    assert every(split, dynamic=True, done=done) == whole[done:]
    assert len(read) == 5 - done


def test_a_batch_is_never_written_over_by_a_later_one(tmp_path: Path) -> None:
    made = batches(on_disk(tmp_path / "images"), 5, 3, seed=2, epoch=1)
    kept = [pixels for pixels, _ in made]
    assert [pixels.tobytes() for pixels in kept] == [p for p, _ in every(Split(IMAGES))]


# The thread


def slow(count: int, pause: float = 0.0) -> Iterator[int]:
    for k in range(count):
        time.sleep(pause)
        yield k


@given(st.integers(0, 9))
def test_items_made_ahead_are_the_items(count: int) -> None:
    assert list(ahead(slow(count))) == list(range(count))
    assert threads() == set()


def test_no_more_than_two_items_are_ahead() -> None:
    made: list[int] = []
    items = ahead(made.append(k) or k for k in range(100))
    for k in range(5):
        assert next(items) == k
        time.sleep(0.02)
        assert len(made) <= k + 3
    items.close()


def test_the_next_item_is_made_while_this_one_is_used() -> None:
    asked, ready = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        asked.wait(10)  # only while the caller is at the first can it be set
        ready.set()
        yield 1

    for _ in ahead(items()):
        asked.set()
        assert ready.wait(10)


def test_what_goes_wrong_in_the_thread_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the fourth")

    seen = []
    with pytest.raises(ValueError, match="the fourth"):
        seen.extend(ahead(items()))
    made = ahead(items())
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(made)
    assert threads() == set()


def test_the_thread_ends_when_the_rest_is_not_wanted() -> None:
    items = ahead(slow(1000))
    assert next(items) == 0
    assert len(threads()) == 1
    items.close()
    assert threads() == set()


def test_what_is_not_wanted_is_not_made_any_more() -> None:
    gate, made = threading.Event(), []

    def items() -> Iterator[int]:
        for k in range(9):
            made.append(k)
            yield k
            gate.wait(10)

    left = ahead(items())
    next(left)  # of the two that were asked for ahead, one is under way
    threading.Timer(0.05, gate.set).start()
    left.close()
    assert len(made) <= 2


def test_images_in_memory_need_no_thread(tmp_path: Path) -> None:
    for split, count in ((Split(IMAGES), 0), (on_disk(tmp_path / "images"), 1)):
        made = batches(split, 5, 3, seed=2, epoch=1)
        next(made)
        assert len(threads()) == count
        made.close()
    assert threads() == set()
