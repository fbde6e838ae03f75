"""Training from images on disk: the same numbers, bounded memory, and errors that lose nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import tinyvae
from PIL import Image

import tinyvae as tv
from tinyvae import pictures
from tinyvae.backend import Backend
from tinyvae.data import Split, folder, load
from tinyvae.data.ondisk import OnDisk
from tinyvae.errors import DataError
from tinyvae.training import Progress, fit

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(60, 3, 4), dtype=np.uint8)
SETTINGS: dict[str, Any] = {"epochs": 3, "batch": 8, "learning_rate": 0.01, "seed": 3}


def trained(train: Any, valid: Any, **options: Any) -> tuple[Any, bytes]:
    model = tv.VAE((3, 4), latent=3, hidden=(6,))
    history = fit(model, train, valid, **SETTINGS | options)
    return history, b"".join(value.tobytes() for value in model.state_dict().values())


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "tinyvae" in thread.name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "images.npy", IMAGES)
    return tmp_path / "images.npy"


# The same numbers


@pytest.mark.parametrize("binarise", ["none", "static", "dynamic"])
def test_an_array_a_map_and_a_file_train_to_the_same_bits(
    backend: Backend, file: Path, binarise: str
) -> None:
    mapped, own = np.load(file, mmap_mode="r"), load(file)
    assert isinstance(own.train.images, OnDisk)
    runs = [
        trained(IMAGES[:48], IMAGES[48:54], binarise=binarise),
        trained(mapped[:48], mapped[48:54], binarise=binarise),
        trained(own.train, own.valid, binarise=binarise),
    ]
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_floats_of_any_size_train_to_the_bits_of_float32(file: Path, dtype: str) -> None:
    stored = (IMAGES / 255).astype(dtype)
    np.save(file, stored)
    here, mapped = stored.astype(np.float32), np.load(file, mmap_mode="r")
    assert trained(here[:48], here[48:]) == trained(mapped[:48], mapped[48:])


@pytest.mark.parametrize("binarise", ["none", "dynamic"])
def test_a_folder_trains_to_the_same_bits_from_memory_and_from_disk(
    tmp_path: Path, binarise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{k:02}.png")
    here = load(tmp_path)
    monkeypatch.setattr(folder, "LARGEST", 0)
    there = load(tmp_path)
    assert isinstance(there.train.images, OnDisk)
    runs = [trained(own.train, own.valid, binarise=binarise) for own in (here, there)]
    assert runs[0] == runs[1]


def test_a_run_that_was_begun_from_memory_goes_on_from_disk(file: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path / "checkpoint"}
    mapped = np.load(file, mmap_mode="r")
    trained(IMAGES[:48], IMAGES[48:], epochs=2, **options)
    whole = trained(IMAGES[:48], IMAGES[48:])
    assert trained(mapped[:48], mapped[48:], resume=True, **options) == whole


def test_measures_and_codes_are_the_same_from_disk(backend: Backend, file: Path) -> None:
    model, on_disk = tv.VAE((3, 4)), load(file).train
    images = IMAGES[:48]
    for dynamic in (False, True):
        assert tv.evaluate(model, on_disk, 1, dynamic) == tv.evaluate(model, images, 1, dynamic)
    likelihoods = [tv.log_likelihood(model, part, 5).mean for part in (on_disk, images)]
    assert likelihoods[0] == likelihoods[1]
    for here, there in zip(model.embed(images), model.embed(on_disk.images), strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("name", ["reconstructions", "interpolation", "latent", "manifold"])
def test_pictures_are_drawn_of_images_on_disk(file: Path, name: str) -> None:
    figure = getattr(pictures, name)(tv.VAE((3, 4)), load(file))
    assert figure.axes


# What is read, and by whom


def test_split_is_what_a_memory_map_is_looked_at_through(file: Path) -> None:
    part = Split(np.load(file, mmap_mode="r"), np.arange(60))[10:20]
    assert isinstance(part.images, OnDisk)
    np.testing.assert_array_equal(part.batch(np.array([1])), Split(IMAGES).batch(np.array([11])))


def test_the_images_are_read_once_for_a_checkpoint_and_floats_once_to_check(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(file, (IMAGES / 255).astype(np.float32))
    own, read = load(file).train, []
    real = own.images.source.read
    monkeypatch.setattr(
        own.images.source, "read", lambda rows: read.append(len(rows)) or real(rows)
    )
    trained(own, None, checkpoint=tmp_path / "checkpoint")
    watched = 3 * 48
    assert sum(read) == 3 * 48 + watched + 48


def test_the_thread_ends_with_the_training_however_it_ends(file: Path) -> None:
    train = load(file).train
    seen: list[int] = []

    def stop(error: type[BaseException]) -> Any:
        def callback(progress: Progress) -> None:
            seen.append(len(threads()))
            if progress.step == 2:
                raise error

        return callback

    trained(train, None)
    assert threads() == []
    for error in (KeyboardInterrupt, ZeroDivisionError):
        with pytest.raises(error) as stopped:
            trained(train, None, callbacks=[stop(error)])
        assert threads() == []  # while the traceback still holds the frames
        assert stopped.type is error
    assert set(seen) == {1}


# A file that shrinks while it trains


def truncating(file: Path, epoch: int, step: int) -> Any:
    def truncate(progress: Progress) -> None:
        if (progress.epoch, progress.step, progress.row) == (epoch, step, None):
            os.truncate(file, 400)

    return truncate


@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_file_that_shrinks_is_said_and_the_run_goes_on_when_it_is_back(
    file: Path, tmp_path: Path, step: int
) -> None:
    def run(**options: Any) -> tuple[Any, bytes]:
        mapped = np.load(file, mmap_mode="r")
        return trained(mapped[:48], mapped[48:], **options)

    whole, content, checkpoint = run(), file.read_bytes(), tmp_path / "checkpoint"
    kept: list[bytes] = []
    callbacks = [
        lambda progress: progress.row and kept.append(checkpoint.read_bytes()),
        truncating(file, 2, step),
    ]
    with pytest.raises(DataError, match=r"images\.npy has changed since it was opened, found at"):
        run(checkpoint=checkpoint, callbacks=callbacks)
    assert kept == [checkpoint.read_bytes()]
    assert threads() == []
    file.write_bytes(content)
    assert run(checkpoint=checkpoint, resume=True) == whole


def test_an_image_that_goes_from_a_folder_while_it_trains_is_named_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "LARGEST", 0)
    images, checkpoint = tmp_path / "images", tmp_path / "checkpoint"
    images.mkdir()
    for k, image in enumerate(IMAGES):
        Image.fromarray(image).save(images / f"{k:02}.png")
    kept: list[bytes] = []

    def remove(progress: Progress) -> None:
        if progress.row:
            kept.append(checkpoint.read_bytes())
            for path in images.iterdir():
                path.unlink()

    with pytest.raises(DataError, match=r"cannot read the image .*\d\d\.png.*No such file"):
        trained(load(images).train, None, checkpoint=checkpoint, callbacks=[remove])
    assert kept == [checkpoint.read_bytes()]
    assert threads() == []


def test_a_run_does_not_go_on_with_a_file_of_other_images(file: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path / "checkpoint"}
    trained(load(file).train, None, epochs=1, **options)
    np.save(file, IMAGES[::-1])
    with pytest.raises(tv.errors.RunError, match="the training images are not those"):
        trained(load(file).train, None, resume=True, **options)


def test_the_command_line_says_that_a_file_shrank_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyvae import training

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "every", lambda *_: iter(()))  # they take seconds
    np.save("own.npy", IMAGES)
    content, step = Path("own.npy").read_bytes(), training.Trainer.train_step
    shrink = {"at": 9}  # in the second of three epochs, of 6 steps each

    def shrinking(self: Any, *batch: Any) -> Any:
        shrink["at"] -= 1
        if shrink["at"] == 0:
            os.truncate("own.npy", 200)
        return step(self, *batch)

    monkeypatch.setattr(training.Trainer, "train_step", shrinking)
    options = ("--data", "own.npy", "--hidden", "6", "--epochs", "3", "--batch", "8")
    finished = tinyvae("train", *options, "--out", "run")
    assert finished.code == 1
    assert "own.npy has changed since it was opened" in finished.err
    assert f"it had {len(content):,} bytes and has 200" in finished.err
    assert "Traceback" not in finished.err
    assert Path("run/checkpoint.safetensors").exists()
    Path("own.npy").write_bytes(content)
    assert tinyvae("train", "--resume", "--out", "run").code == 0
    assert tinyvae("train", *options, "--out", "whole").code == 0
    weights = [Path(run, "weights.safetensors").read_bytes() for run in ("run", "whole")]
    assert weights[0] == weights[1]


# Memory

GROWTH = """
import resource, sys
import numpy as np
import tinyvae as tv

def train(path):
    own = tv.data.load(path)
    model = tv.VAE(own.image_shape, latent=2, hidden=(8,))
    options = {"epochs": 1, "batch": 512, "binarise": sys.argv[3]}
    tv.fit(model, own.train, own.valid, checkpoint=path + ".checkpoint", **options)
    tv.evaluate(model, own.test)
    model.embed(own.test.images)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6

print(train(sys.argv[1]), train(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "binarise"), [("uint8", "none"), ("float64", "static")])
def test_a_file_of_200_mb_takes_no_more_memory_than_one_of_20_mb(
    tmp_path: Path, dtype: str, binarise: str
) -> None:
    pytest.importorskip("resource")
    for name, megabytes in (("small.npy", 20), ("large.npy", 200)):
        count = megabytes * 10**6 // (32 * 32 * np.dtype(dtype).itemsize)
        np.save(tmp_path / name, np.zeros((count, 32, 32), dtype))
    command = [sys.executable, "-c", GROWTH, "small.npy", "large.npy", binarise]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    small, large = map(float, done.stdout.split())
    assert large - small < 15
