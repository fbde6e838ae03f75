"""A run is a folder: its configuration, checkpoint, weights and log; the pictures join them."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tinyvae import __version__
from tinyvae import backend as backends
from tinyvae.checkpoint import (
    FORMAT,
    load_json,
    load_tensors,
    save_history,
    save_json,
    save_tensors,
)
from tinyvae.data import Dataset, load
from tinyvae.data.dataset import Binarise
from tinyvae.errors import OptionError, RunError
from tinyvae.evaluation.elbo import Evaluation, evaluate
from tinyvae.models.vae import VAE
from tinyvae.training import Progress, Row, Settings, Trainer

BYTES = 64  # a parameter in training: value, gradient, Adam's two, the best, and their copies


@dataclass(frozen=True)
class Config:
    """What `tinyvae train` is asked for; with the seed it determines the run.

    Attributes
    ----------
    data : str
        A name of `tinyvae data`, or a path.
    binarise : {"none", "static", "dynamic"}
    latent : int
    hidden : tuple of int
    epochs, batch : int
    learning_rate, beta : float
    seed : int
    backend : {"numpy", "cupy", "auto"}

    Raises
    ------
    OptionError
        A value outside its range.

    Examples
    --------
    >>> Config(latent=0)
    Traceback (most recent call last):
    ...
    tinyvae.errors.OptionError: latent and hidden are sizes from 1 up, not 0 and (256, 128)
    """

    data: str = "digits"
    binarise: Binarise = "none"
    latent: int = 2
    hidden: tuple[int, ...] = (256, 128)
    epochs: int = 100
    batch: int = 64
    learning_rate: float = 1e-3
    beta: float = 1.0
    seed: int = 0
    backend: str = "numpy"

    def __post_init__(self) -> None:
        if min((self.latent, *self.hidden)) < 1:
            raise OptionError(
                f"latent and hidden are sizes from 1 up, not {self.latent} and {self.hidden}"
            )
        if not 0 < self.learning_rate < math.inf:
            raise OptionError(f"a learning rate is a number above 0, not {self.learning_rate}")
        _ = self.settings  # which checks the rest

    @property
    def settings(self) -> Settings:
        """What of it says how to train."""
        names = ("epochs", "batch", "learning_rate", "beta", "binarise", "seed")
        return Settings(**{name: getattr(self, name) for name in names})

    def dataset(self) -> Dataset:
        """The data, with a validation part, binarised if that is static."""
        dataset = load(self.data).hold_out()
        return dataset.binarised(self.seed) if self.binarise == "static" else dataset

    def model(self, image_shape: tuple[int, ...]) -> VAE:
        """A new VAE of these sizes, on the backend in use.

        Raises
        ------
        OptionError
            To train it would take more memory than the machine has.
        """
        count = self.parameters(image_shape)
        if count * BYTES > _memory():
            raise OptionError(
                f"a model with latent = {self.latent} and hidden = {self.hidden} has {count:,} "
                f"parameters; to train it takes about {count * BYTES / 2**30:,.0f} GB, and this "
                f"machine has {_memory() / 2**30:,.0f} GB: choose smaller sizes"
            )
        return VAE(image_shape, self.latent, self.hidden, seed=self.seed)

    def parameters(self, image_shape: tuple[int, ...]) -> int:
        """How many numbers the VAE has to learn.

        >>> Config(latent=1, hidden=(3,)).parameters((2, 2))  # 4 -> 3 -> 2, and 1 -> 3 -> 4
        45
        """
        pixels = math.prod(image_shape)
        encoder = (pixels, *self.hidden, 2 * self.latent)
        decoder = (self.latent, *reversed(self.hidden), pixels)
        return sum((a + 1) * b for widths in (encoder, decoder) for a, b in pairwise(widths))


def _memory() -> float:
    """The machine's memory in bytes, where the system tells it."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


class Run:
    """A run folder.

    Parameters
    ----------
    path : path
        The folder; it need not be there before `train`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    # To train

    def train(
        self,
        config: Config,
        dataset: Dataset,
        *,
        resume: bool = False,
        callbacks: tuple[Callable[[Progress], object], ...] = (),
    ) -> list[Row]:
        """Train a VAE on `Config.dataset`; write config, checkpoint, weights and log.

        After every epoch ``checkpoint.safetensors`` holds all that ``resume`` needs.

        Raises
        ------
        RunError
            The folder is not empty; or, to resume, it holds no run, or one that was begun
            with another configuration.
        """
        self.check(config, resume)
        with backends.use(config.backend):
            model = config.model(dataset.image_shape)
        checkpoint = self / "checkpoint.safetensors"
        parts = (dataset.train, dataset.valid)
        trainer = Trainer(model, *parts, config.settings, callbacks, checkpoint)
        if resume and self.has_state:
            trainer.resume()
        with self._begun(config, dataset):
            history = trainer.run()
        save_tensors(self / "weights.safetensors", model.state_dict())
        save_history(self / "history.csv", history)
        return history

    def check(self, config: Config, resume: bool) -> None:
        """Refuse to train into a folder with anything in it, or to resume another run."""
        if not resume:
            if found := self._visible():
                raise RunError(
                    f"{self.path} holds {_some(found)}: give --resume to go on with a run that is "
                    "there, or another folder with --out"
                )
            return
        saved = self.config
        for name, value in asdict(replace(saved, epochs=config.epochs)).items():
            if (asked := getattr(config, name)) != value:
                raise RunError(
                    f"{self.path} was begun with --{name.replace('_', '-')} {_as_typed(value)}, "
                    f"not {_as_typed(asked)}: leave that option out to resume, or start a new run "
                    "in another folder with --out"
                )

    def _visible(self) -> list[str]:
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file, and a run is a folder: give another --out")
        names = (path.name for path in self.path.glob("*"))
        return sorted(name for name in names if not name.startswith("."))

    @property
    def has_state(self) -> bool:
        """Whether anything was learnt yet that training anew would throw away."""
        learnt = ("checkpoint.safetensors", "weights.safetensors")
        return any((self / name).exists() for name in learnt)

    @contextmanager
    def _begun(self, config: Config, dataset: Dataset) -> Iterator[None]:
        """The configuration is there from the first step; unless nothing comes of the run."""
        about = {"format": FORMAT, "tinyvae": __version__, "numpy": np.__version__}
        shape = {"image_shape": list(dataset.image_shape)}
        try:
            save_json(self / "config.json", about | asdict(config) | shape)
            yield
        except BaseException:
            if not self.has_state:
                with contextlib.suppress(OSError):  # the folder may hold something else
                    (self / "config.json").unlink(missing_ok=True)
                    self.path.rmdir()
            raise

    # To use

    @property
    def config(self) -> Config:
        """The configuration that the run was begun with, checked.

        Raises
        ------
        RunError
            The folder is not a run, from another version, or its configuration is damaged.
        """
        return self._read()[0]

    def model(self) -> VAE:
        """The trained model, on the host.

        Raises
        ------
        RunError
            The run is not finished, or its weights are damaged or of another model.
        """
        config, shape = self._read()
        weights = self / "weights.safetensors"
        if not weights.is_file():
            raise RunError(
                f"{self.path} has no weights yet: finish it with "
                f"tinyvae train --resume --out {self.path}"
            )
        # Before anything of the size that config.json names is made.
        wanted, held = config.parameters(shape), weights.stat().st_size // 4
        if wanted > held:
            raise RunError(
                f"{self.path}: config.json asks for {wanted:,} parameters, and weights.safetensors "
                f"holds at most {held:,}: one of them was altered; train again"
            )
        with backends.use("numpy"):
            model = config.model(shape)
        expected = {name: (p.shape, p.dtype) for name, p in model.named_parameters()}
        model.load_state_dict(load_tensors(weights, expected)[0])
        return model

    def _read(self) -> tuple[Config, tuple[int, ...]]:
        path = self / "config.json"
        if not path.is_file():
            raise RunError(
                f"{self.path} is not a run folder: it has no config.json; name a folder that "
                "`tinyvae train` has made, such as runs/digits"
            )
        try:
            content = load_json(path)
        except RecursionError as error:
            raise RunError(f"cannot read {path}: it is nested too deeply; train again") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else None
            raise RunError(
                f"{path} is of format {found!r}, and this version reads {FORMAT!r}: use the "
                "version of tinyvae that wrote it, or train again"
            )
        try:
            return _config(content), _image_shape(content)
        except OptionError as error:
            raise RunError(f"{path} was altered: {error}; mend it, or train again") from error

    def evaluate(self, model: VAE, dataset: Dataset) -> Evaluation:
        """The negative ELBO on the test images, with the run's seed."""
        config = self.config
        return evaluate(model, dataset.test, config.seed, config.binarise == "dynamic")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _as_typed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _config(content: dict[str, Any]) -> Config:
    values: dict[str, Any] = {"hidden": tuple(_sizes(content, "hidden"))}
    for field in fields(Config):
        value = content.get(field.name)
        if field.name != "hidden" and type(value) is not type(field.default):
            raise OptionError(f"{field.name} is {value!r}, not of type {field.type}")
        values.setdefault(field.name, value)
    return Config(**values)


def _image_shape(content: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(_sizes(content, "image_shape"))
    if len(shape) not in (2, 3):
        raise OptionError(f"image_shape is {shape}, not (H, W) or (H, W, 3)")
    return shape


def _sizes(content: dict[str, Any], name: str) -> list[int]:
    value = content.get(name)
    if not isinstance(value, list) or not all(type(n) is int and n > 0 for n in value):
        raise OptionError(f"{name} is {value!r}, not a list of sizes from 1 up")
    return value


def newest(root: Path) -> Run:
    """The run under ``root`` that was begun, or gone on with, last."""
    found = [config.parent for config in root.glob("*/config.json")]
    if not found:
        raise RunError(f"there is no run in {root}: train one with `tinyvae train`, or name one")
    return Run(max(found, key=lambda path: (path / "config.json").stat().st_mtime))


def free_folder(root: Path, name: str) -> Path:
    """``root/name``, or the first of ``root/name-2``, ... that is not there yet."""
    path, k = root / name, 1
    while path.exists():
        k += 1
        path = root / f"{name}-{k}"
    return path
