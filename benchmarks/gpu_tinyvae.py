"""tinyvae on a device, for `gpu.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import Any

from cases import RATE, Case
from harness import Row, peak_mb, seconds
from syncs import counted, waiting
from tinyvae_vae import FitStep, Steps, TapedStep, TinyvaeStep

import tinyvae as tv
from tinyvae.data import load
from tinyvae.evaluation.elbo import elbo
from tinyvae.training import Settings, Trainer

LEAST = 32  # with less the ends of an epoch would be timed
NAMES = {"gpu": "cupy", "cpu": "numpy"}


def use(device: str, precision: str) -> None:
    """What is made from now on is there, with products of this precision."""
    tv.use(NAMES[device], precision=precision)


def backend() -> Any:
    return tv.backend.get()


def about() -> Row:
    """The device and the library."""
    if backend().host:
        return {"device": "cpu", "library": f"numpy {metadata.version('numpy')}"}
    cupy = backend().xp
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    way = [line for line in backend().about() if line.startswith("matrix products by")]
    return {"device": name, "library": ", ".join([f"cupy {cupy.__version__}", *way])}


def make(name: str, case: Case, images: int, *given: Any) -> Any:
    """The contestant; `fit` is timed in epochs of so many images, and of no fewer steps than 32."""
    if name == "tinyvae":
        return TapedStep(case, *given)
    if case.k:
        return TinyvaeStep(case, *given)
    return FitStep(case, *given, steps=max(images // case.batch, LEAST) if images else 1)


def held_mb() -> float:
    """The most that this library has held, by its own count."""
    return (
        peak_mb() if backend().host else backend().xp.get_default_memory_pool().total_bytes() / 1e6
    )


def product(n: int, _precision: str) -> Callable[[], object]:
    """A product of n by n."""
    noise = tv.Noise(0)
    a, b = (tv.Tensor(noise.normal((n, n))) for _ in range(2))

    def act() -> object:
        with tv.no_grad():
            return a @ b

    return act


def normals(n: int) -> Callable[[], object]:
    """So many draws from the standard normal, into the device's memory."""
    drawing = backend().generator(0)
    return lambda: drawing.standard_normal(n, dtype="float32")


def wait(_result: object) -> None:
    if not backend().host:
        backend().xp.cuda.Device().synchronize()


def mnist(_name: str, case: Case, data: str, _precision: str) -> Callable[[int, int], Row]:
    """`fit` and `elbo` with their defaults."""
    images = load(data)

    def train(seed: int, epochs: int) -> Row:
        model = tv.VAE(images.image_shape, case.latent, case.hidden, seed=seed)
        options = {"epochs": epochs, "batch": case.batch, "learning_rate": RATE, "seed": seed}
        train_s = seconds(partial(tv.fit, model, images.train, **options))
        return {"train_s": train_s, "elbo": elbo(model, images.test, seed).loss}

    return train


def syncs(case: Case, data: str) -> Row:
    """How often the host waits in an epoch: for its steps, and with what is logged at its end."""
    images, host = load(data).train, backend().host
    methods = [] if host else waiting(backend().xp)
    settings = Settings(epochs=2, batch=case.batch)  # the second records the last, smaller batch
    found: Row = {}
    for name, kind in {"steps": Steps, "epoch": Trainer}.items():
        trainer = kind(
            tv.VAE(images.images.shape[1:], case.latent, case.hidden), images, None, settings
        )
        trainer.run()
        trainer.settings = replace(settings, epochs=3)
        with counted(methods) as waits:
            trainer.run()
        found |= {f"syncs_{name}": None if host else waits.total()}
    return found
