"""A folder that is too large for memory is decoded batch by batch, to the same images."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tinyvae.data import Dataset, Split, folder, load
from tinyvae.data.folder import Names
from tinyvae.data.ondisk import OnDisk
from tinyvae.errors import DataError

PARTS = ("train", "valid", "test")
RNG = np.random.default_rng(0)


def pictures(root: Path, count: int = 30, below: tuple[str, ...] = ("",), **at: Any) -> Path:
    for i in range(count):
        path = root / below[i % len(below)] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = at.get("shape", (4, 6)) + at.get("colour", ())
        Image.fromarray(RNG.integers(256, size=shape, dtype=np.uint8)).save(path)
    return root


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch):
    """The same folder twice: in memory and on disk."""

    def load_both(path: Path, **options: Any) -> tuple[Dataset, Dataset]:
        whole = load(path, **options)
        monkeypatch.setattr(folder, "LARGEST", 0)
        return whole, load(path, **options)

    return load_both


def assert_same(here: Split, there: Split) -> None:
    assert isinstance(here.images, np.ndarray)
    assert isinstance(there.images, OnDisk)
    assert here.images.shape == there.images.shape
    np.testing.assert_array_equal(here.images, np.asarray(there.images))
    np.testing.assert_array_equal(here.labels, there.labels)


@pytest.mark.parametrize(
    ("at", "options"),
    [
        ({}, {}),
        ({"colour": (3,)}, {}),
        ({"below": ("cats", "cats/black", "dogs", "a b")}, {}),
        ({}, {"size": (3, 7)}),
    ],
)
def test_it_has_the_same_images_labels_and_parts_as_in_memory(
    tmp_path: Path, both: Any, at: Any, options: Any
) -> None:
    here, there = both(pictures(tmp_path / "images", **at), **options)
    for part in PARTS:
        assert_same(getattr(here, part), getattr(there, part))
    assert (here.train.labels is None) == ("below" not in at)


def test_the_limit_is_of_the_decoded_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, 30)
    for limit, kind in ((30 * 24, np.ndarray), (30 * 24 - 1, OnDisk)):
        monkeypatch.setattr(folder, "LARGEST", limit)
        assert isinstance(load(tmp_path).train.images, kind)


@pytest.fixture
def streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnDisk:
    monkeypatch.setattr(folder, "LARGEST", 0)
    return load(pictures(tmp_path)).train.images


def every(path: Path) -> list[Path]:
    return sorted(path.rglob("*.png"))


def test_an_image_that_has_gone_is_named(tmp_path: Path, streamed: OnDisk) -> None:
    np.asarray(streamed)
    for path in every(tmp_path):
        path.unlink()
    with pytest.raises(DataError, match=r"cannot read the image .*\.png.*No such file"):
        streamed[np.array([0])]


def test_an_image_that_was_damaged_is_named(tmp_path: Path, streamed: OnDisk) -> None:
    for path in every(tmp_path):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"cannot read the image .*\.png.*take it out"):
        streamed[np.array([0])]


@pytest.mark.parametrize("shape", [(5, 6), (1, 1)])
def test_an_image_that_has_another_size_now_is_named_with_it(
    tmp_path: Path, streamed: OnDisk, shape: tuple[int, int]
) -> None:
    for path in every(tmp_path):
        Image.fromarray(np.zeros(shape, np.uint8)).save(path)
    with pytest.raises(DataError, match=f"it has become {shape[0]}x{shape[1]}"):
        streamed[np.array([0])]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_names_are_kept(names: list[str]) -> None:
    kept = Names(names)
    assert list(kept) == names
    with pytest.raises(IndexError):
        kept[len(names)]


def test_a_name_that_is_no_utf8_is_kept() -> None:
    assert list(Names(["\udcff.png"])) == ["\udcff.png"]


def test_names_take_little_more_than_their_letters() -> None:
    tracemalloc.start()
    try:
        names = Names(f"{k:08}.png" for k in range(20_000))
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 20_000 * (12 + 8) * 1.3
    assert names[19_999] == "00019999.png"


def test_images_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.png", "a/b/c.png", "a.png", "a-b/x.png", "B/y.png", "a b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [tmp_path / name for name in folder._image_names(tmp_path)]
    assert found == sorted(tmp_path.rglob("*.png"))
    assert len(found) == 7


def test_a_folder_that_leads_back_to_itself_is_not_walked_for_ever(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    (tmp_path / "again").symlink_to(tmp_path)
    assert list(folder._image_names(tmp_path)) == ["00.png", "01.png", "02.png"]
