"""The whole state of a training run: in memory to go back to, in a file to resume from."""

from __future__ import annotations

import math
import zlib
from numbers import Number
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinyvae.autograd import Tensor
from tinyvae.autograd.node import check_finite
from tinyvae.backend import Array
from tinyvae.checkpoint import load_tensors, save_tensors
from tinyvae.data.dataset import Split
from tinyvae.data.ondisk import blocks
from tinyvae.errors import RunError
from tinyvae.models.vae import VAE
from tinyvae.nn import Module
from tinyvae.optim import Adam, Schedule
from tinyvae.settings import Row, Settings

Snapshot: TypeAlias = tuple[dict[str, Array], int, int, int, list[float]]


class RunState:
    """Where a run stands. All randomness is a function of (seed, epoch, step), so this is all.

    Attributes
    ----------
    model : VAE
    optimiser : Adam
    epoch, step : int
        The epoch under way, counted from 1, and its steps that are done.
    sums : list of float
        Of the reconstruction and the KL over those steps.
    history : list of dict
        A row for each epoch that is complete.
    best, best_loss, best_epoch : (P,) array, float, int
        Parameters, validation loss and number of the best epoch.
    """

    def __init__(self, model: VAE, learning_rate: float | Schedule) -> None:
        self.model, self.optimiser = model, Adam(model.parameters(), learning_rate)
        self.epoch, self.step = 1, 0
        self.sums = [0.0, 0.0]
        self.history: list[Row] = []
        self.best = self.optimiser.flat.values.copy()
        self.best_loss, self.best_epoch = math.inf, 0

    def end_epoch(self, row: Row) -> None:
        """Log the epoch, note whether it is the best, and go on to the next."""
        self.history.append(row)
        self.optimiser.drop_denormals()
        if row.get("valid_loss", math.inf) < self.best_loss:
            self.best = self.optimiser.flat.values.copy()
            self.best_loss, self.best_epoch = row["valid_loss"], self.epoch
        self.epoch, self.step, self.sums = self.epoch + 1, 0, [0.0, 0.0]

    def take_best(self) -> None:
        """Set the parameters to those of the best epoch."""
        self._set({"parameters": self.best})

    def is_finite(self) -> Array:
        """Whether all that a step of the optimiser changes is: (1,), 1 or 0, on the device."""
        xp = self.model.backend.xp
        finite = [xp.isfinite(vector).all() for vector in self._vectors().values()]
        return xp.stack(finite).all().astype("float64").reshape(1)

    def check_finite(self) -> None:
        """Raise NonFiniteError if a step of the optimiser has made a NaN or an infinity."""
        for parameter in self.optimiser.flat.parameters:
            check_finite("the optimiser", [parameter], parameter.array, "new values")
        for name, vector in self.optimiser.state.items():
            check_finite("the optimiser", ["the gradients"], vector, f"vector {name!r}")

    # In memory

    def snapshot(self) -> Snapshot:
        """A copy of what the steps of an epoch change."""
        vectors = {name: vector.copy() for name, vector in self._vectors().items()}
        return vectors, self.optimiser.steps, self.epoch, self.step, list(self.sums)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a `snapshot`, which stays as it is."""
        vectors, self.optimiser.steps, self.epoch, self.step, sums = snapshot
        self.sums = list(sums)
        self._set(vectors)

    def _vectors(self) -> dict[str, Array]:
        return {"parameters": self.optimiser.flat.values, **self.optimiser.state}

    def _set(self, values: dict[str, Array]) -> None:
        vectors = self._vectors()
        for name, value in values.items():
            vectors[name][...] = value
        self.optimiser.flat.announce()

    # In a file

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """Save everything, with the settings, model and images of the run in ``about``."""
        save_tensors(path, self._tensors(), self._plain(about))

    def _plain(self, about: dict[str, Any]) -> dict[str, Any]:
        return {
            **about,
            "optimiser_steps": self.optimiser.steps,
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "best": [None if math.isinf(self.best_loss) else self.best_loss, self.best_epoch],
            "history": self.history,
        }

    def load(self, path: Path, about: dict[str, Any]) -> None:
        """Go on from what `save` has written.

        Raises
        ------
        RunError
            The file is not there or damaged, or it belongs to another model, other settings
            or other images.
        """
        expected = {k: (v.shape, str(v.dtype)) for k, v in self._tensors().items()}
        tensors, state = load_tensors(path, expected)
        if isinstance(state, dict):
            state.setdefault("model", about["model"])  # older runs did not tell theirs
        if not _is_sound(state, self._plain(about)):
            raise RunError(f"{path} is not the checkpoint of a training run; train again")
        _check_same(state, about)
        from_host, prefix = self.model.backend.from_host, "model."
        self.model.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        self._set({name: from_host(tensors[f"adam.{name}"]) for name in self.optimiser.state})
        self.best = from_host(tensors["best"])
        self.optimiser.steps, self.history = state["optimiser_steps"], state["history"]
        self.epoch, self.step, self.sums = state["epoch"], state["step"], state["sums"]
        loss, self.best_epoch = state["best"]
        self.best_loss = math.inf if loss is None else loss

    def _tensors(self) -> dict[str, np.ndarray]:
        to_host = self.model.backend.to_host
        tensors = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        tensors |= {f"adam.{name}": to_host(v) for name, v in self.optimiser.state.items()}
        return tensors | {"best": to_host(self.best)}


def fingerprint(split: Split | None) -> list[int]:
    """The shape of the images, and a checksum over all of them."""
    if split is None:
        return []
    checksum = 0
    for part in blocks(split.images):
        checksum = zlib.crc32(np.ascontiguousarray(part).data, checksum)
    return [*split.images.shape, checksum]


def _is_sound(state: Any, like: dict[str, Any]) -> bool:
    """Whether ``state`` has the parts of ``like``, of their kinds, and fits together."""
    kinds = {name: type(value) for name, value in like.items()}
    if not isinstance(state, dict) or {k: type(v) for k, v in state.items()} != kinds:
        return False
    rows, sums, best = state["history"], state["sums"], state["best"]
    return (
        state["epoch"] == len(rows) + 1
        and all(isinstance(row, dict) for row in rows)
        and min(state["step"], state["optimiser_steps"]) >= 0
        and [type(x) for x in sums] == [float, float]
        and len(best) == 2
        and isinstance(best[0], float | None)
        and type(best[1]) is int
        and state["images"].keys() == like["images"].keys()
    )


def constants_in(value: Any) -> Any:
    """What a model holds beside its parameters, such as numbers, to compare with it later.

    Of what is no module, list, tuple, dict, tensor, array of the host, number or word it tells
    only which object it is.

    >>> model = VAE((2, 2))
    >>> model.scale, before = 1.0, constants_in(model)
    >>> constants_in(model) == before
    False
    """
    if isinstance(value, Tensor):
        return None if value.requires_grad else (id(value.array), value.version)
    if isinstance(value, Module):
        value = vars(value)
    if isinstance(value, dict):
        return [(key, constants_in(part)) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [constants_in(part) for part in value]
    if isinstance(value, (Number, str)):
        return type(value), repr(value)
    return (id(value), value.tobytes()) if isinstance(value, np.ndarray) else id(value)


def _check_same(saved: dict[str, Any], about: dict[str, Any]) -> None:
    """Only the number of epochs may differ from those of the checkpoint: no step rests on it."""
    begun, wanted = saved["settings"], about["settings"]
    for name in sorted((begun.keys() | wanted.keys()) - {"epochs"}):
        before = begun.get(name, getattr(Settings, name, None))  # older runs knew fewer settings
        if before != wanted.get(name):
            raise RunError(
                f"this run began with {name} = {before!r}, not {wanted.get(name)!r}: "
                "resume with the same settings, or start a new run"
            )
    for name, after in about.get("model", {}).items():
        if (before := saved["model"].get(name)) != after:
            raise RunError(
                f"this run began with a model of {name} = {before!r}, not {after!r}: resume with "
                "the same model, or start a new run"
            )
    if (done := saved["epoch"] - (saved["step"] == 0)) > wanted["epochs"]:
        raise RunError(
            f"this run has come to epoch {done}, past epochs = {wanted['epochs']!r}: resume with "
            "at least as many, or start a new run"
        )
    for part, images in about["images"].items():
        if saved["images"][part] != images:
            raise RunError(
                f"the {part} images are not those that this run began with: resume with the same "
                "ones, or start a new run"
            )
