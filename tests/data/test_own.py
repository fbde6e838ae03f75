from __future__ import annotations

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyvae.data import Dataset, load
from tinyvae.data.ondisk import OnDisk
from tinyvae.errors import DataError, MissingExtraError, OptionError


def numbered(count: int = 20, *shape: int) -> np.ndarray:
    """Images that all differ: each is filled with its own index."""
    shape = shape or (4, 6)
    return np.broadcast_to(
        np.arange(count, dtype=np.uint8).reshape(-1, *(1 for _ in shape)), (count, *shape)
    ).copy()


def parts(dataset: Dataset) -> list:
    return [dataset.train, dataset.valid, dataset.test]


def save(path: Path, images: np.ndarray, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, images)
    else:
        np.savez(path, images=images, **arrays)
    return path


def refusal(path: Path, **options) -> str:
    with pytest.raises(DataError, match=path.name) as refused:
        load(path, **options)
    return str(refused.value)


# Arrays


def test_an_npz_file_is_cut_into_eight_tenths_and_two_tenths_with_nothing_lost(tmp_path):
    own = load(save(tmp_path / "own.npz", numbered(20)))
    assert [len(part) for part in parts(own)] == [16, 2, 2]
    seen = np.concatenate([part.images[:, 0, 0] for part in parts(own)])
    assert sorted(seen) == list(range(20))
    assert list(seen) != list(range(20)), "the order is not shuffled"


def test_the_split_of_an_npz_file_is_the_same_each_time(tmp_path):
    path = save(tmp_path / "own.npz", numbered(20))
    np.testing.assert_array_equal(load(path).test.images, load(str(path)).test.images)


def test_labels_stay_with_their_images(tmp_path):
    path = save(tmp_path / "own.npz", numbered(20), labels=np.arange(20) * 10)
    for part in parts(load(path)):
        np.testing.assert_array_equal(part.labels, part.images[:, 0, 0] * 10)


def test_the_only_array_of_an_npz_file_is_the_images_whatever_its_name(tmp_path):
    np.savez(tmp_path / "own.npz", numbered(10))
    assert load(tmp_path / "own.npz").image_shape == (4, 6)
    np.savez(tmp_path / "named.npz", faces=numbered(10), labels=np.arange(10))
    assert load(tmp_path / "named.npz").train.labels is not None


def test_an_npz_file_with_several_arrays_and_no_images_is_refused_with_their_names(tmp_path):
    np.savez(tmp_path / "own.npz", first=numbered(10), second=numbered(10))
    assert "first, second" in refusal(tmp_path / "own.npz")


def test_an_npy_file_stays_on_disk_and_is_cut_in_its_own_order(tmp_path):
    own = load(save(tmp_path / "own.npy", numbered(20)))
    for part in parts(own):
        assert isinstance(part.images, OnDisk)
    seen = np.concatenate([np.asarray(part.images)[:, 0, 0] for part in parts(own)])
    np.testing.assert_array_equal(seen, np.arange(20))


def test_rows_of_a_square_length_are_square_images_and_others_are_one_pixel_high(tmp_path):
    assert load(save(tmp_path / "square.npy", numbered(10, 49))).image_shape == (7, 7)
    assert load(save(tmp_path / "long.npy", numbered(10, 50))).image_shape == (1, 50)


def test_rows_are_cut_into_lines_from_left_to_right(tmp_path):
    rows = np.tile(np.arange(9, dtype=np.uint8), (10, 1))
    own = load(save(tmp_path / "own.npy", rows))
    np.testing.assert_array_equal(own.test.images[0], [[0, 1, 2], [3, 4, 5], [6, 7, 8]])


def test_colour_images_keep_their_shape(tmp_path):
    assert load(save(tmp_path / "own.npz", numbered(10, 4, 6, 3))).image_shape == (4, 6, 3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floats_in_0_to_1_become_float32(tmp_path, dtype):
    images = (numbered(10) / 16).astype(dtype)
    for suffix in (".npy", ".npz"):
        own = load(save(tmp_path / f"own{suffix}", images))
        assert own.test.images.dtype == np.float32
        np.testing.assert_array_equal(np.mean(own.train.images, (1, 2)).max() * 16 % 1, 0)


def test_a_float32_npy_file_stays_on_disk(tmp_path):
    own = load(save(tmp_path / "own.npy", (numbered(10) / 16).astype(np.float32)))
    assert isinstance(own.train.images, OnDisk)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_with_its_first_index(tmp_path, value):
    images = np.zeros((5000, 4, 6), np.float32)  # more than are looked through at a time
    images[4321, 2, 5] = images[4500, 0, 0] = value
    assert f"{value} at index (4321, 2, 5)" in refusal(save(tmp_path / "own.npy", images))


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1.0, 1.0), (0.0, 1.001)])
def test_floats_outside_0_to_1_are_refused_with_their_range_and_the_mend(tmp_path, low, high):
    images = np.linspace(low, high, 240).reshape(10, 4, 6)
    message = refusal(save(tmp_path / "own.npz", images))
    assert f"values from {low:g} to {high:g}" in message
    assert "divide by 255, or store uint8" in message


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", "uint16", "U3", "M8[s]"])
def test_another_dtype_is_refused_with_its_name(tmp_path, dtype):
    images = np.zeros((10, 4, 6), dtype)
    assert f"dtype {images.dtype}" in refusal(save(tmp_path / "own.npy", images))


@pytest.mark.parametrize("shape", [(10,), (), (10, 4, 6, 1), (10, 3, 4, 6), (10, 4, 6, 4)])
def test_another_shape_is_refused_with_it_and_with_the_mend(tmp_path, shape):
    message = refusal(save(tmp_path / "own.npz", np.zeros(shape, np.uint8)))
    assert f"shape {shape}" in message
    assert "(N, H, W, 3)" in message


@pytest.mark.parametrize("shape", [(0, 4, 6), (10, 0), (0,), (10, 4, 0, 3)])
def test_an_empty_array_is_refused_with_its_shape(tmp_path, shape):
    for suffix in (".npy", ".npz"):
        message = refusal(save(tmp_path / f"own{suffix}", np.zeros(shape, np.uint8)))
        assert f"is empty: its images have the shape {shape}" in message


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_images_than_parts_are_refused_with_their_number(tmp_path, count):
    assert f"has {count} images" in refusal(save(tmp_path / "own.npz", numbered(count) + 9))


def test_three_images_make_three_parts(tmp_path):
    own = load(save(tmp_path / "own.npy", numbered(3)))
    assert [len(part) for part in parts(own)] == [1, 1, 1]


@pytest.mark.parametrize(
    "labels",
    [np.arange(9), np.array(["a"] * 10), np.array(3), np.zeros((10, 2, 2)), np.zeros((0, 10))],
)
def test_labels_of_another_length_or_kind_are_refused_with_their_shape(tmp_path, labels):
    message = refusal(save(tmp_path / "own.npz", numbered(10), labels=labels))
    assert f"shape {labels.shape}" in message


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_python_objects_are_refused_and_never_unpickled(tmp_path):
    objects = np.array([Bomb()] * 10, dtype=object)
    for name in ("own.npy", "own.npz"):
        assert "never unpickled" in refusal(save(tmp_path / name, objects))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps([Bomb()]))
    assert "never unpickled" in refusal(tmp_path / "pickle.npy")


def test_truncated_files_are_refused_with_their_names(tmp_path):
    for suffix in (".npy", ".npz"):
        whole = save(tmp_path / f"whole{suffix}", numbered(10)).read_bytes()
        for length in (0, 5, 60, 130, len(whole) - 1):
            path = tmp_path / f"cut{suffix}"
            path.write_bytes(whole[:length])
            assert "cannot read" in refusal(path)


def test_a_file_with_the_other_suffix_is_refused(tmp_path):
    save(tmp_path / "a.npy", numbered(10)).rename(tmp_path / "array.npz")
    save(tmp_path / "b.npz", numbered(10)).rename(tmp_path / "zip.npy")
    assert "cannot read" in refusal(tmp_path / "array.npz")
    assert "cannot read" in refusal(tmp_path / "zip.npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_damaged_file_is_loaded_or_refused_but_never_raises_anything_else(tmp_path, suffix):
    whole = save(tmp_path / f"whole{suffix}", numbered(10)).read_bytes()
    rng, path = np.random.default_rng(0), tmp_path / f"damaged{suffix}"
    for _ in range(400):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(min(len(whole), 400), size=rng.integers(1, 4))
        damaged[places] = rng.integers(256, size=len(places))
        path.write_bytes(damaged.tobytes())
        try:
            load(path)
        except DataError:
            continue


def test_an_empty_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "own.npz", "w"):
        pass
    assert "(none)" in refusal(tmp_path / "own.npz")


@pytest.mark.parametrize("name", ["nothing.npz", "nothing.npy", "no/such/folder"])
def test_a_path_where_nothing_is_is_refused_with_it(tmp_path, name):
    assert "is not there" in refusal(tmp_path / name)


def test_a_file_of_another_kind_is_refused_with_the_kinds_that_count(tmp_path):
    (tmp_path / "own.csv").write_text("1,2,3")
    assert "nor an .npz or .npy file" in refusal(tmp_path / "own.csv")


def test_a_size_for_an_array_is_refused(tmp_path):
    with pytest.raises(OptionError, match="is for a folder of images"):
        load(save(tmp_path / "own.npz", numbered(10)), size=(8, 8))


# Folders


def picture(path: Path, value: int, mode: str = "L", size: tuple[int, int] = (4, 6)) -> None:
    """One colour everywhere; `size` is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1], value if mode in ("1", "L") else (value, 0, 255)).save(path)


def pictures(folder: Path, count: int = 10, **options) -> Path:
    for i in range(count):
        picture(folder / f"{i:02}.png", 10 * i, **options)
    return folder


def test_a_folder_of_grey_images_is_loaded_whole_and_stays_grey(tmp_path):
    own = load(pictures(tmp_path / "grey"))
    assert own.name == "grey"
    assert own.image_shape == (4, 6)
    assert [len(part) for part in parts(own)] == [8, 1, 1]
    seen = np.concatenate([part.images[:, 0, 0] for part in parts(own)])
    assert sorted(seen) == [10 * i for i in range(10)]
    assert own.train.labels is None


def test_the_split_of_a_folder_does_not_depend_on_the_order_of_writing(tmp_path):
    for i in reversed(range(10)):
        picture(tmp_path / "late" / f"{i:02}.png", 10 * i)
    early = load(pictures(tmp_path / "early"))
    np.testing.assert_array_equal(load(tmp_path / "late").train.images, early.train.images)


def test_colour_images_become_rgb(tmp_path):
    own = load(pictures(tmp_path, mode="RGB"))
    assert own.image_shape == (4, 6, 3)
    np.testing.assert_array_equal(own.test.images[..., 2], 255)


def test_one_colour_image_makes_all_rgb(tmp_path):
    picture(pictures(tmp_path) / "00.png", 7, "RGB")
    assert load(tmp_path).image_shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("mode", "suffix", "shape"),
    [
        ("1", "png", (4, 6)),
        ("LA", "png", (4, 6)),
        ("P", "gif", (4, 6, 3)),
        ("P", "png", (4, 6, 3)),
        ("RGBA", "png", (4, 6, 3)),
        ("CMYK", "jpg", (4, 6, 3)),
        ("L", "jpeg", (4, 6)),
        ("RGB", "BMP", (4, 6, 3)),
    ],
)
def test_the_usual_kinds_of_image_are_read(tmp_path, mode, suffix, shape):
    for i in range(3):
        Image.new("RGB", (6, 4), (200, 200, 200)).convert(mode).save(tmp_path / f"{i}.{suffix}")
    own = load(tmp_path)
    assert own.image_shape == shape
    assert abs(int(own.test.images.max()) - 200) <= (55 if mode == "1" else 4)


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    for i in range(3):
        image = Image.new("P", (6, 4), 1)
        image.putpalette([0, 0, 0, 10, 20, 30])
        image.save(tmp_path / f"{i}.png", transparency=bytes([0, 128]))
    np.testing.assert_array_equal(load(tmp_path).test.images[0, 0, 0], [10, 20, 30])


def test_pixels_of_sixteen_bits_are_refused_with_their_mode(tmp_path):
    Image.new("I;16", (6, 4)).save(pictures(tmp_path) / "03.png")
    assert "03.png has pixels of mode 'I;16'" in refusal(tmp_path)


def test_folders_below_become_classes_where_all_images_lie_in_them(tmp_path):
    for i in range(10):
        picture(tmp_path / ("cats/black" if i < 5 else "dogs") / f"{i}.png", i)
    for part in parts(load(tmp_path)):
        np.testing.assert_array_equal(part.labels, part.images[:, 0, 0] >= 5)


def test_an_image_beside_the_folders_leaves_all_without_a_class(tmp_path):
    pictures(tmp_path / "cats")
    picture(tmp_path / "stray.png", 99)
    own = load(tmp_path)
    assert own.train.labels is None
    assert sum(len(part) for part in parts(own)) == 11


def test_other_files_in_a_folder_are_passed_over(tmp_path):
    (pictures(tmp_path) / "notes.txt").write_text("not an image")
    assert sum(len(part) for part in parts(load(tmp_path))) == 10


def test_a_folder_without_images_is_refused_with_the_suffixes_that_count(tmp_path):
    (tmp_path / "notes.txt").write_text("not an image")
    message = refusal(tmp_path)
    assert "has no images in it" in message
    assert ".png" in message


def test_a_corrupt_image_is_refused_with_its_name(tmp_path):
    whole = (pictures(tmp_path) / "04.png").read_bytes()
    for content in (b"", b"not a png", whole[:30], whole[:50]):
        (tmp_path / "04.png").write_bytes(content)
        assert "cannot read the image" in refusal(tmp_path)
        assert "04.png" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif"])
def test_a_damaged_image_is_read_or_refused_but_never_raises_anything_else(tmp_path, suffix):
    for i in range(3):
        picture(tmp_path / f"{i}.{suffix}", 50 * i)
    path, rng = tmp_path / f"1.{suffix}", np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(len(damaged), size=2)] = rng.integers(256, size=2)
        path.write_bytes(damaged.tobytes())
        try:
            load(tmp_path)
        except DataError:
            continue


def test_mixed_sizes_are_refused_with_the_first_two_sizes_and_files(tmp_path):
    picture(pictures(tmp_path) / "03.png", 1, size=(5, 9))
    picture(tmp_path / "07.png", 1, size=(8, 8))
    message = refusal(tmp_path)
    assert "00.png is 4x6" in message
    assert "03.png is 5x9" in message
    assert "07.png" not in message
    assert "size=(H, W)" in message


def test_a_size_brings_images_of_several_sizes_together(tmp_path):
    picture(pictures(tmp_path) / "03.png", 1, size=(5, 9))
    own = load(tmp_path, size=(3, 7))
    assert own.image_shape == (3, 7)
    assert sorted(np.concatenate([part.images[:, 1, 1] for part in parts(own)]))[:2] == [0, 1]


@pytest.mark.parametrize("size", [8, (8,), (8, 0), (-1, 8), (8.0, 8), "88", (8, 8, 3)])
def test_a_size_that_is_not_two_positive_integers_is_refused_with_it(tmp_path, size):
    with pytest.raises(OptionError, match="two positive integers"):
        load(pictures(tmp_path), size=size)


def test_a_missing_pillow_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch):
    folder = pictures(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinyvae\[images\]'"):
        load(folder)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_black_and_white_as_bytes_of_0_and_1_is_refused(tmp_path, suffix):
    path, images = tmp_path / f"bits{suffix}", np.zeros((30, 4, 4), np.uint8)
    images[3:, 1] = 1
    (np.save if suffix == ".npy" else np.savez)(path, images)
    with pytest.raises(DataError, match=r"bytes of 0 and 1 only, .* store images \* 255"):
        load(path)
    images[-1, 0, 0] = 2
    (np.save if suffix == ".npy" else np.savez)(path, images)
    assert len(load(path).test) == 3
