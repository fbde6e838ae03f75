"""A run is a folder: its configuration, checkpoint, weights and log; the pictures join them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
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
from tinyvae.config import Config, parse, parse_image_shape
from tinyvae.data import Dataset
from tinyvae.distributions.priors import Fitted
from tinyvae.errors import OptionError, RunError
from tinyvae.evaluation.elbo import Elbo, elbo
from tinyvae.evaluation.report import Evaluation, evaluate
from tinyvae.models.fitted import check_enough, fit_prior
from tinyvae.models.vae import VAE
from tinyvae.noise import Noise
from tinyvae.parallel import Alone, Communicator
from tinyvae.training import Progress, Row, Trainer


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
        group: Communicator | None = None,
    ) -> list[Row]:
        """Train a VAE on `Config.dataset`; write config, checkpoint, weights and log.

        After every epoch ``checkpoint.safetensors`` holds all that ``resume`` needs. Of a
        ``group`` of processes, only rank 0 reads and writes the folder.

        Raises
        ------
        RunError
            The folder is not empty; or, to resume, it holds no run, or one that was begun
            with another configuration.
        """
        group = group or Alone()
        group.once(lambda: self.check(config, resume))
        config = group.once(config.settled)
        with backends.use(config.backend, config.kernels, config.precision):
            model, history = self._trained(config, dataset, resume, callbacks, group)
            if group.rank:
                return history
            if isinstance(model.prior, Fitted):
                images, count = _trained_on(config, dataset), len(model.prior.logits)
                model.prior = fit_prior(model, images, count, config.seed)
        save_tensors(self / "weights.safetensors", model.state_dict())
        save_history(self / "history.csv", history)
        return history

    def _trained(
        self, config: Config, dataset: Dataset, resume: bool, callbacks: Any, group: Communicator
    ) -> tuple[VAE, list[Row]]:
        model, checkpoint = config.new_model(dataset.image_shape), self / "checkpoint.safetensors"
        parts = (dataset.train, dataset.valid)
        if isinstance(model.prior, Fitted):  # the fit comes last, and would waste the training
            check_enough(dataset.train, len(model.prior.logits))
        trainer = Trainer(
            model, *parts, config.settings(dataset.image_shape), callbacks, checkpoint, group
        )
        if resume and group.once(lambda: self.has_state):
            trainer.resume()
        with contextlib.nullcontext() if group.rank else self._begun(config, dataset):
            return model, trainer.run()

    def check(self, config: Config, resume: bool) -> None:
        """Refuse to train into a folder with anything in it, or to resume another run."""
        if not resume:
            if found := self._visible():
                raise RunError(
                    f"{self.path} holds {_some(found)}: give --resume to go on with a run that is "
                    "there, or another folder with --out"
                )
            return
        saved, config = self.config.settled(), config.settled()
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
            model = config.new_model(shape)
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
        content = load_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else None
            raise RunError(
                f"{path} is of format {found!r}, and this version reads {FORMAT!r}: use the "
                "version of tinyvae that wrote it, or train again"
            )
        try:
            return parse(content), parse_image_shape(content)
        except OptionError as error:
            raise RunError(f"{path} was altered: {error}; mend it, or train again") from error

    def elbo(self, model: VAE, dataset: Dataset) -> Elbo:
        """The negative ELBO on the test images, with the run's seed."""
        config = self.config
        return elbo(model, dataset.test, config.seed, config.binarise == "dynamic")

    def evaluate(
        self, model: VAE, dataset: Dataset, samples: int = 0, quality: bool = False
    ) -> Evaluation:
        """All that `tinyvae.evaluate` measures on the test images, with the run's seed."""
        config = self.config
        dynamic = config.binarise == "dynamic"
        return evaluate(model, dataset, config.seed, dynamic, samples, quality)


def _trained_on(config: Config, dataset: Dataset) -> Any:
    """The training images as the model has seen them: black or white, if they were drawn so."""
    if config.binarise != "dynamic":
        return dataset.train.images
    noise = Noise(config.seed, "fit_prior", "pixels", backend="numpy")
    return dataset.train.binarised(noise).images


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _as_typed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


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
