"""How large a batch fits in a device: counted, and said when its memory runs out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cuda_on_host
import numpy as np
import pytest
import standin
from commandline import SMALL, tinyvae, write_images
from fake_cupy import GB, OutOfMemoryError

import tinyvae as tv
from tinyvae import pictures
from tinyvae.autograd import Tensor
from tinyvae.backend import Backend, base, cupy_backend
from tinyvae.backend.cupy_capture import Capture
from tinyvae.capacity import VECTORS, largest_batch
from tinyvae.config import Config
from tinyvae.console import Display
from tinyvae.errors import BackendError, OptionError
from tinyvae.objectives import elbo_terms
from tinyvae.training import Progress

MODELS = [
    {"image_shape": (28, 28), "latent": 20, "hidden": (400,)},
    {"image_shape": (28, 28), "latent": 50, "hidden": (200, 200)},
    {"image_shape": (8, 8), "latent": 2, "hidden": (256, 128)},
    {"image_shape": (1, 2), "latent": 40, "hidden": (3,)},
    {"image_shape": (32, 32, 3), "latent": 2, "hidden": ()},
]


def as_device(monkeypatch: pytest.MonkeyPatch, like: Backend, **fields: Any) -> None:
    """The stand-in, with what a GPU says of its memory."""
    device = replace(like, is_full=cupy_backend.is_full, **fields)
    monkeypatch.setitem(base._loaded, "standin", device)
    monkeypatch.setitem(base._by_type, standin.DeviceArray, device)


# The estimate


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The bytes of every array that is made within the block; views have none of their own."""
    sizes: list[int] = []
    make = standin.DeviceArray.__init__

    def note(self: Any, host: np.ndarray, *memory: Any) -> None:
        make(self, host, *memory)
        if host.base is None or host.base.size == host.size + cuda_on_host.GUARD:
            sizes.append(host.nbytes)

    with monkeypatch.context() as patch:
        patch.setattr(standin.DeviceArray, "__init__", note)
        yield sizes


def step_bytes(model: tv.VAE, batch: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of all arrays of a loss and its gradients, pixels and noise among them."""
    rng, backend, pixels = np.random.default_rng(0), model.backend, math.prod(model.image_shape)
    images = rng.random((batch, pixels)).astype("float32")
    noise = rng.standard_normal((batch, model.latent)).astype("float32")
    with counted(monkeypatch) as sizes:
        x = Tensor.wrap(backend.from_host(images))
        elbo_terms(model, x, backend.from_host(noise), 1.0, 0.0).loss.backward()
    return sum(sizes)


@pytest.mark.skipif(cuda_on_host.COMPILER is None, reason="needs Linux and a C++ compiler")
@pytest.mark.parametrize("sizes", MODELS)
def test_the_estimate_for_an_image_covers_what_a_step_makes_and_not_much_more(
    sizes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_device(monkeypatch, cuda_on_host.backend())
    with tv.use("standin"):
        model = tv.VAE(**sizes)
        few, many = (step_bytes(model, batch, monkeypatch) for batch in (8, 40))
    images = largest_batch(model, 10 * GB) - largest_batch(model, 9 * GB)
    estimated = 0.9 * GB / images
    assert 1 <= estimated / ((many - few) / 32) <= 2


def test_what_is_held_beside_the_step_makes_the_batch_smaller() -> None:
    model = tv.VAE((28, 28), 20, (400,))
    parameters = sum(p.size for p in model.parameters())
    image = 4 * (4 * 784 + 9 * 400 + 24 * 20)
    assert largest_batch(model, GB) == (int(0.9 * GB) - 4 * VECTORS * parameters) // image
    half = largest_batch(model, GB // 2)
    assert largest_batch(model, 1000) == 0
    assert largest_batch(model.to(dtype="float64"), GB) == half


def test_a_model_that_the_gpu_has_no_room_for_is_refused_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_device(monkeypatch, base.get("standin"), free_memory=lambda: float(GB))
    config = Config(hidden=(20_000,))
    with tv.use("standin"), pytest.raises(OptionError, match=r"2 GB, and its GPU has free 1 GB: "):
        config.new_model((28, 28))
    Config(hidden=(200,)).new_model((28, 28))


# When it runs out


def test_a_graph_that_there_is_no_memory_for_gives_way_to_steps_that_are_taped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OutOfMemoryError(512, 0)

    replayed = train(tmp_path / "replayed")
    monkeypatch.setattr(Capture, "_hold", full)
    as_device(monkeypatch, base.get("standin"))
    assert train(tmp_path / "taped") == replayed


class runs_out:  # noqa: N801 - reads as an event
    """A callback that finds the memory full in the second epoch, once."""

    def __init__(self, error: BaseException) -> None:
        self.errors = [error]

    def __call__(self, now: Progress) -> None:
        if (now.epoch, now.step) == (2, 1) and self.errors:
            raise self.errors.pop()


IMAGES = np.random.default_rng(0).integers(256, size=(24, 3, 4), dtype=np.uint8)


def train(checkpoint: Path, **options: Any) -> list[Any]:
    with tv.use("standin"):
        model = tv.VAE((3, 4), 2, (6,))
    return tv.fit(model, IMAGES, epochs=3, batch=8, checkpoint=checkpoint, **options)


@pytest.mark.parametrize(
    "error",
    [OutOfMemoryError(512, 0), RuntimeError("cudaErrorMemoryAllocation: out of memory")],
)
def test_fit_says_how_large_a_batch_fits_and_goes_on_from_a_whole_checkpoint(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole")
    image = 4 * (4 * 12 + 9 * 6 + 24 * 2)
    copies = 4 * VECTORS * sum(p.size for p in tv.VAE((3, 4), 2, (6,)).parameters())
    free = (copies + 3 * image) / 0.9 + 10
    as_device(monkeypatch, base.get("standin"), free_memory=lambda: free)
    with pytest.raises(BackendError) as caught:
        train(tmp_path / "broken", callbacks=[runs_out(error)])
    assert str(caught.value) == (
        "the device ran out of memory at a batch of 8: before the first step it had 0.0 GB free; "
        "a batch of 3 should fit. The last checkpoint is whole"
    )
    assert caught.value.__cause__ is error
    assert train(tmp_path / "broken", resume=True) == whole


@pytest.mark.parametrize(
    ("free", "mend"),
    [(8 * GB, "a batch of 4 should fit"), (100, "choose smaller hidden layers")],
)
def test_the_batch_that_is_named_is_smaller_than_the_one_that_failed(
    free: int, mend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_device(monkeypatch, base.get("standin"), free_memory=lambda: free)
    with pytest.raises(BackendError, match=mend):
        train(tmp_path / "file", callbacks=[runs_out(OutOfMemoryError(512, 0))])


def test_other_errors_and_those_of_the_host_pass_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MemoryError):
        train(tmp_path / "host", callbacks=[runs_out(MemoryError())])
    as_device(monkeypatch, base.get("standin"), free_memory=lambda: float(GB))
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "device", callbacks=[runs_out(ZeroDivisionError())])


def test_the_command_line_says_it_without_a_traceback_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "every", lambda *_: iter(()))
    as_device(monkeypatch, base.get("standin"), free_memory=lambda: float(2 * GB))
    options = ("--data", write_images(), *SMALL, "--backend", "standin", "--out", "run")
    with monkeypatch.context() as patch:
        full = runs_out(OutOfMemoryError(512, 0))
        patch.setattr(Display, "__call__", lambda _, now: full(now))
        failed = tinyvae("train", *options)
    assert failed.code == 1
    assert "Traceback" not in failed.err
    assert "ran out of memory at a batch of 8" in failed.err
    assert "it had 2.0 GB free; a batch of 4 should fit" in failed.err
    assert tinyvae("train", "--resume", "--out", "run").code == 0
