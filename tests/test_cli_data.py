"""What `tinyvae train` says to data that it cannot use; the rooms of the data test the rest."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commandline import refused, tinyvae, write_images

from tinyvae import pictures
from tinyvae.data import download, idx


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and neither data nor cache of the person who tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYVAE_DATA", str(tmp_path / "files"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "no data set is called 'digit'; did you mean 'digits'? the list: digits, mnist,"),
        ("cifar10", "no data set is called 'cifar10'; the list: digits, mnist,"),
        ("nowhere/", "nowhere is not there, or may not be read"),
        ("images.npz", "images.npz is not there, or may not be read"),
        ("./images.png", "images.png is not there, or may not be read"),
        ("a" * 300, "no data set is called 'aaaaaaa"),
        ("/" + "a" * 300, "is not there, or may not be read"),
    ],
)
def test_data_that_are_not_there_are_named(name: str, message: str):
    assert message in refused("train", "--data", name)


class Trap:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_objects_in_an_npz_file_are_refused_and_never_unpickled():
    np.savez("trap.npz", images=np.array([Trap()] * 5, dtype=object))
    assert "trap.npz" in refused("train", "--data", "trap.npz")
    Path("trap.npy").write_bytes(pickle.dumps(Trap()))
    assert "trap.npy" in refused("train", "--data", "trap.npy")
    assert not Path("sprung").exists()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((9, 4, 4), np.nan), "nan at index (0, 0, 0)"),
        (np.full((9, 4, 4), 1.5), "values from 1.5 to 1.5"),
        (np.full((9, 4, 4), -0.5, "float32"), "floats must lie in [0, 1]"),
        (np.zeros((9, 4, 4), "int64"), "images of dtype int64; store uint8"),
        (np.zeros((9, 4, 4), "complex64"), "images of dtype complex64"),
        (np.zeros((9, 4, 4, 2), "uint8"), "images of shape (9, 4, 4, 2)"),
        (np.zeros(9, "uint8"), "images of shape (9,)"),
        (np.zeros((0, 4, 4), "uint8"), "is empty: its images have the shape (0, 4, 4)"),
        (np.zeros((2, 4, 4), "uint8"), "has 2 images; at least 3 are needed"),
    ],
)
@pytest.mark.parametrize("file", ["own.npz", "own.npy"])
def test_an_array_that_is_no_images_is_refused(file: str, images: np.ndarray, message: str):
    if file == "own.npz":
        np.savez(file, images=images)
    else:
        np.save(file, images)
    assert message in refused("train", "--data", file)


def test_a_file_that_is_no_archive_is_refused():
    Path("own.npz").write_text("hello")
    assert "own.npz" in refused("train", "--data", "own.npz")
    write_images("whole.npz")
    Path("half.npz").write_bytes(Path("whole.npz").read_bytes()[:300])
    assert "half.npz" in refused("train", "--data", "half.npz")


def test_a_folder_without_images_is_refused():
    Path("images").mkdir()
    assert "images has no images in it; files that count: .bmp" in refused(
        "train", "--data", "images"
    )


def test_a_corrupt_image_is_named():
    from PIL import Image

    Path("images").mkdir()
    for k in range(5):
        Image.fromarray(np.full((4, 4), 10 * k, np.uint8)).save(f"images/{k}.png")
    Path("images/3.png").write_bytes(Path("images/3.png").read_bytes()[:50])
    message = refused("train", "--data", "images")
    assert "cannot read the image images/3.png" in message
    assert "take it out of the folder" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes([0, 0, 8, 3]) + np.array([60_000, 28, 28], ">u4").tobytes() + bytes(5), "cut short"),
        (bytes([0, 0, 8, 3]) + bytes(12), "has a header for the shape (0, 0, 0), not (60000, 28,"),
        (b"<html>404 not found</html>", "begins with the bytes 3c 68 74 6d"),
        (b"", "begins with the bytes"),
    ],
)
def test_an_idx_file_that_is_not_as_published_is_named(folder: Path, content: bytes, message: str):
    file = folder / "files" / "mnist" / "train-images-idx3-ubyte"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    said = refused("train", "--data", "mnist")
    assert str(file) in said.replace("\n", "")
    assert message in said
    assert "delete it and get the published file again" in said


def test_without_a_network_mnist_says_where_the_files_may_be_put(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pooch")
    offline = replace(idx.MNIST, mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setattr(idx, "MNIST", offline)
    message = refused("train", "--data", "mnist")
    assert "cannot download train-images-idx3-ubyte.gz" in message
    assert "http://127.0.0.1:9/train-images-idx3-ubyte.gz: ConnectionError" in message
    assert "the environment variable TINYVAE_DATA names" in message


def test_without_pooch_mnist_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download, "find_spec", lambda _: None)
    assert "pip install 'tinyvae[download]'" in refused("train", "--data", "mnist")
    assert tinyvae("data").code == 0


def test_a_run_whose_data_have_gone_or_changed_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "every", lambda *_: iter(()))  # they take seconds
    small = ("--hidden", "4", "--epochs", "1", "--batch", "5", "--out", "run")
    assert tinyvae("train", "--data", write_images(), *small).code == 0
    np.savez("tiny.npz", images=np.zeros((30, 5, 5), np.uint8))
    assert "shape (N, 4, 4) or (N, 16), with N from 1 up, not (3, 5, 5)" in refused(
        "reconstruct", "run"
    )
    Path("tiny.npz").unlink()
    assert "tiny.npz is not there" in refused("latent", "run")
    assert "tiny.npz is not there" in refused("train", "--resume", "--out", "run")
