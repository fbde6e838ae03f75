"""One run of `papers.py`: trained, interrupted, taken up again, judged, and kept."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from harness import machine, peak_mb, versions
from papers_rows import Run

import tinyvae as tv
from tinyvae.data.dataset import Split

FOLDER = Path(__file__).resolve().parent / "results" / "papers"


class Images(NamedTuple):
    """To train on, to watch, to judge by."""

    train: Split
    valid: Split | None
    test: Split


# The images


def mnist() -> Images:
    """Grey, the published parts."""
    found = tv.data.load("mnist")
    return Images(found.train, None, found.test)


def mnist_50000() -> Images:
    """The first 50,000 to train on; to judge by, every fifth test image, drawn once."""
    found = tv.data.load("mnist").hold_out(1 / 6)
    drawn = found.test[::5].binarised(tv.Noise(0, "binarise", "test", backend="numpy"))
    return Images(found.train, None, drawn)


def binarized_mnist() -> Images:
    """The fixed binarisation of Larochelle and Murray."""
    found = tv.data.load("binarized_mnist")
    return Images(found.train, found.valid, found.test)


def frey_faces() -> Images:
    """Of the 1,965 frames of a film two tenths are drawn: to watch, and to judge by."""
    folder = Path(os.environ.get("TINYVAE_DATA", "."), "frey_faces")
    images = np.load(folder / "freyfaces_1965x28x20_u8.npy")
    drawn = images[np.random.default_rng(0).permutation(len(images))]
    return Images(Split(drawn[392:]), Split(drawn[:196]), Split(drawn[196:392]))


DATA: dict[str, Callable[[], Images]] = {
    "mnist": mnist,
    "mnist_50000": mnist_50000,
    "binarized_mnist": binarized_mnist,
    "frey_faces": frey_faces,
}


# A run and its files


def path(run: Run, ending: str, folder: Path = FOLDER) -> Path:
    """``folder``/<its name><ending>."""
    return folder / f"{run.stem}{ending}"


def finished(run: Run, folder: Path = FOLDER) -> dict[str, Any] | None:
    """What was found, where the run is finished."""
    file = path(run, ".json", folder)
    return json.loads(file.read_text()) if file.exists() else None


def per_image(run: Run, folder: Path = FOLDER) -> np.ndarray:
    """log p(x) of each image, (N,)."""
    found: np.ndarray = np.load(path(run, ".npy", folder))
    return found


def play(run: Run, folder: Path = FOLDER, backend: str = "numpy") -> dict[str, Any]:
    """Train and judge, from where an earlier call was interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    images = DATA[run.row.data]()
    images = images._replace(test=images.test[:: run.every])
    with Clock(path(run, ".seconds", folder)) as clock, tv.use(**_backend(backend)):
        if run.by == "torch":
            from papers_torch import play_torch

            found = play_torch(run, images, path(run, ".pt", folder), clock)
        else:
            found = play_tinyvae(run, images, path(run, ".safetensors", folder), clock)
    np.save(path(run, ".npy", folder), found.pop("per_image").astype(np.float32))
    result = {"row": run.stem, "model": run.model, "fit": run.fit, "seed": run.seed} | found
    result |= {"seconds": clock.seconds, "processor_seconds": clock.processor_seconds}
    result |= {"peak_mb": peak_mb(), "versions": versions(), "machine": machine()}
    path(run, ".json", folder).write_text(json.dumps(result, indent=1) + "\n")
    return result


def _backend(name: str) -> dict[str, str]:
    quick = name == "numpy" and find_spec("numba")
    return {"backend": name} | ({"kernels": "numba"} if quick else {})


class Clock:
    """The seconds of a training that may be interrupted, by the wall and of the processor.

    They are kept in a file after each epoch, since the time of what was done before an
    interruption counts.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.before = json.loads(file.read_text()) if file.exists() else [0.0, 0.0]

    def __enter__(self) -> Clock:
        self.begun = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *exception: object) -> None:
        self.keep()

    def keep(self) -> None:
        """Write what has passed by now."""
        now = time.perf_counter(), time.process_time()
        passed = [b + n - s for b, n, s in zip(self.before, now, self.begun, strict=True)]
        self.seconds, self.processor_seconds = passed
        self.file.write_text(json.dumps(passed))


# tinyvae


def play_tinyvae(run: Run, images: Images, checkpoint: Path, clock: Clock) -> dict[str, Any]:
    """`fit`, then `log_likelihood`."""
    model = tv.VAE(images.train.images.shape[1:], seed=run.seed, **run.model)
    if run.row.mean_image:
        set_mean_image(model, images.train)

    def tell(progress: tv.Progress) -> None:
        if progress.row:
            clock.keep()
            watched = progress.row.get("valid_loss", progress.row["train_loss"])
            print(f"{run.stem}: epoch {progress.epoch}, {watched:.2f} nats", flush=True)

    history = tv.fit(
        model,
        images.train,
        images.valid,
        seed=run.seed,
        checkpoint=checkpoint,
        resume=checkpoint.exists(),
        callbacks=[tell],
        **run.fit,
    )
    return judged(model, images.test, run.row.samples) | {"train_loss": history[-1]["train_loss"]}


def set_mean_image(model: tv.VAE, train: Split) -> None:
    """The decoder's last bias becomes the logit of the mean image (Burda et al., 2015)."""
    bias = model.decoder.layers[-1].bias
    bias.data = model.backend.from_host(logit_of_mean(train).astype(bias.dtype))


def logit_of_mean(train: Split) -> np.ndarray:
    """Of each pixel's mean, which is kept between 0.001 and 0.999, (D,)."""
    mean = train.images.reshape(len(train), -1).mean(axis=0) / 255
    mean = np.clip(mean, 0.001, 0.999)
    logit: np.ndarray = np.log(mean / (1 - mean))
    return logit


def judged(model: tv.VAE, test: Split, samples: int) -> dict[str, Any]:
    """The negative ELBO and -log p(x) of the test images, in nats per image."""
    elbo = tv.evaluate(model, test)
    found = {"elbo": elbo.loss, "kl": elbo.kl, "active_units": elbo.active_units}
    if not samples:
        return found | {"figure": elbo.loss, "standard_error": 0.0, "per_image": np.empty(0)}
    result = tv.log_likelihood(model, test, samples)
    return found | {
        "figure": -result.mean,
        "standard_error": result.standard_error,
        "per_image": result.per_image,
    }
