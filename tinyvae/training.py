"""The training loop: what happens in which order, and how it stops and goes on."""

from __future__ import annotations

import json
import math
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from tinyvae.autograd import Tensor, trace_non_finite
from tinyvae.backend import Array
from tinyvae.checkpoint import load_tensors, save_tensors
from tinyvae.data.dataset import BINARISE, Binarise, Split
from tinyvae.errors import NonFiniteError, OptionError, RunError, ShapeError
from tinyvae.evaluation.elbo import evaluate
from tinyvae.models.vae import VAE
from tinyvae.noise import Noise
from tinyvae.objectives import Terms, negative_elbo
from tinyvae.optim import Adam, clip_global_norm

Row: TypeAlias = dict[str, Any]
"""What is logged of an epoch; see `fit`."""

WATCHED = 1000  # training images on which the latent dimensions are watched without validation


@dataclass(frozen=True)
class Settings:
    """How to train; the parameters of `fit`."""

    epochs: int = 10
    batch: int = 128
    learning_rate: float = 1e-3
    beta: float = 1.0
    warm_up: int = 0
    free_bits: float = 0.0
    patience: int = 0
    clip: float = 0.0
    binarise: Binarise = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is a number from 1 up, not {getattr(self, name)}")
        for name in ("beta", "warm_up", "free_bits", "patience", "clip", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"{name} is a number from 0 up, not {getattr(self, name)}")
        if self.binarise not in BINARISE:
            raise OptionError(f"binarise is one of {BINARISE}, not {self.binarise!r}")


@dataclass(frozen=True)
class Progress:
    """Where a run stands: told to every callback after each step and after each epoch.

    Attributes
    ----------
    epoch, step : int
        Of ``settings.epochs`` and ``steps``, counted from 1.
    row : dict or None
        The log of the epoch, once it is complete.
    """

    settings: Settings
    epoch: int
    step: int
    steps: int
    row: Row | None = None


def fit(
    model: VAE,
    train: Split | np.ndarray,
    valid: Split | np.ndarray | None = None,
    *,
    callbacks: Sequence[Callable[[Progress], object]] = (),
    checkpoint: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> list[Row]:
    """Train a VAE by Adam on the negative ELBO.

    Parameters
    ----------
    model : VAE
        Trained in place, on the backend where it is.
    train, valid : Split or array
        Images to train on, and others to watch: bytes, or floats in [0, 1], of shape
        (N, H, W) or (N, H, W, 3).
    callbacks : sequence of callable
        Called with a `Progress` after every step and every epoch.
    checkpoint : path, optional
        A file that holds everything after each epoch, and after Ctrl-C.
    resume : bool
        Go on from ``checkpoint``, to the same numbers bit for bit as without a break.
    epochs, batch : int
        Passes over the images, and images in one step (the last may be smaller).
    learning_rate : float
        Of Adam.
    beta : float
        Weight of the KL in the loss; what is logged has weight 1.
    warm_up : int
        Epochs over which the weight of the KL rises to ``beta`` in equal stairs.
    free_bits : float
        Nats that each latent dimension may use for free; see `negative_elbo`.
    patience : int
        Stop when the validation loss has not improved for so many epochs, and go back to
        the best ones' parameters; 0 never stops.
    clip : float
        Largest Euclidean norm of the gradient; 0 for none.
    binarise : {"none", "static", "dynamic"}
        Grey pixels as they are; drawn black or white once; or drawn anew each time.
    seed : int
        Of all that is random in training.

    Returns
    -------
    list of dict
        For each epoch: epoch, beta, train_loss, train_bce, train_kl (averages over the
        epoch's steps), valid_loss, valid_bce, valid_kl (after it), active_units and
        kl_per_dimension (on the validation images; without any, on the first 1,000 to
        train on). In nats per image; the loss is BCE + KL.

    Raises
    ------
    NonFiniteError
        A NaN or an infinity, naming the op and the tensor that made it first; the model
        is put back to where the epoch began, and the last checkpoint stays.

    Examples
    --------
    >>> images = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    >>> history = fit(VAE((2, 2), hidden=(8,)), images, epochs=2, batch=2)
    >>> [row["epoch"] for row in history]
    [1, 2]
    """
    trainer = Trainer(model, _split(train), _split(valid), Settings(**settings), callbacks)
    if checkpoint is not None:
        trainer.checkpoint = Path(checkpoint)
    if resume:
        trainer.resume()
    return trainer.run()


def _split(images: Any) -> Any:
    return Split(images) if isinstance(images, np.ndarray) else images


class Trainer:
    """The state of a run, and the steps that move it.

    All randomness is a function of (seed, epoch, step), so that epoch, step, parameters,
    optimiser and log are the whole state.
    """

    def __init__(
        self,
        model: VAE,
        train: Split,
        valid: Split | None,
        settings: Settings,
        callbacks: Sequence[Callable[[Progress], object]] = (),
    ) -> None:
        _check_images(model, train, settings.batch)
        if settings.patience and valid is None:
            raise OptionError("early stopping needs validation images: give valid=..., or patience=0")
        if settings.binarise == "static":
            train = train.binarised(Noise(settings.seed, "static", "train", backend="numpy"))
            valid = valid and valid.binarised(
                Noise(settings.seed, "static", "valid", backend="numpy")
            )
        self.model, self.train, self.valid, self.settings = model, train, valid, settings
        self.callbacks, self.checkpoint = callbacks, None
        self.optimiser = Adam(model.parameters(), settings.learning_rate)
        self.steps = math.ceil(len(train) / settings.batch)
        self.history: list[Row] = []
        self.epoch, self.step = 1, 0  # the epoch under way, and its steps that are done
        self.sums = [0.0, 0.0]  # of cross-entropy and KL over those steps
        self.best: tuple[float, int, Array] = (math.inf, 0, None)  # loss, epoch, parameters

    checkpoint: Path | None

    # The loop

    def run(self) -> list[Row]:
        """Train until the last epoch, or until it no longer helps."""
        with _ctrl_c() as asked, np.errstate(over="ignore", invalid="ignore"):
            while self.epoch <= self.settings.epochs and not self.is_stale:
                self._run_epoch(asked)
        if self.settings.patience:
            self._set_parameters(self.best[2])
        return self.history

    @property
    def is_stale(self) -> bool:
        """Whether the validation loss has not improved for as long as patience lasts."""
        return 0 < self.settings.patience <= self.epoch - 1 - self.best[1]

    def _run_epoch(self, asked: SimpleNamespace) -> None:
        good = self._snapshot()
        try:
            self._run_steps(asked)
            row = self._log()
        except NonFiniteError as error:
            raise self._first_cause(good, error) from None
        self.history.append(row)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, [0.0, 0.0]
        self._save()
        self._tell(self.epoch - 1, self.steps, row)

    def _run_steps(self, asked: SimpleNamespace) -> None:
        pending: list[Terms] = []
        for x, noise in self._batches():
            pending.append(self.train_step(x, noise))
            self.step += 1
            if self.model.backend.host or self.step == self.steps or asked.stop:
                self._add_up(pending)
            self._tell(self.epoch, self.step)
            if asked.stop and self.step < self.steps:
                self._save()
                raise KeyboardInterrupt

    def _batches(self) -> Iterator[tuple[Tensor, Array]]:
        """The steps of this epoch that are not done yet: pixels (B, D) and noise (B, K)."""
        seed, epoch, size = self.settings.seed, str(self.epoch), self.settings.batch
        order = Noise(seed, "shuffle", epoch, backend="numpy").permutation(len(self.train))
        dynamic = self.settings.binarise == "dynamic"
        pixels = Noise(seed, "pixels", epoch, backend="numpy") if dynamic else None
        posterior = Noise(seed, "posterior", epoch, backend=self.model.backend)
        for step in range(self.steps):
            rows = order[step * size : (step + 1) * size]
            images = self.train.batch(rows, pixels, self.model.dtype)
            noise = posterior.normal((len(rows), self.model.latent), self.model.dtype)
            if step >= self.step:
                yield Tensor.wrap(self.model.backend.from_host(images)), noise

    def train_step(self, x: Tensor, noise: Array) -> Terms:
        """One step: the loss forward, the gradients backward, the parameters along them."""
        terms = negative_elbo(self.model, x, noise, self.beta, self.settings.free_bits)
        self.optimiser.zero_grad()
        terms.loss.backward()
        if self.settings.clip:
            clip_global_norm(self.optimiser, self.settings.clip)
        self.optimiser.step()
        return terms

    @property
    def beta(self) -> float:
        """The weight of the KL in this epoch."""
        return self.settings.beta * min(1.0, self.epoch / max(1, self.settings.warm_up))

    def _add_up(self, pending: list[Terms]) -> None:
        """Fetch what the steps left on the device, in their order, and see that it is finite."""
        for terms in pending:
            for k, part in enumerate((terms.cross_entropy, terms.kl)):
                self.sums[k] += float(part.array.sum())
        pending.clear()
        if not math.isfinite(sum(self.sums)):
            raise NonFiniteError("the loss is not finite")

    def _log(self) -> Row:
        if not bool(self.model.backend.xp.isfinite(self.optimiser.flat.values).all()):
            raise NonFiniteError("the parameters are not finite")
        bce, kl = (s / len(self.train) for s in self.sums)
        row = {"epoch": self.epoch, "beta": self.beta}
        row |= {"train_loss": bce + kl, "train_bce": bce, "train_kl": kl}
        dynamic = self.settings.binarise == "dynamic"
        watched = self.train[:WATCHED] if self.valid is None else self.valid
        result = evaluate(self.model, watched, self.settings.seed, dynamic)
        if self.valid is not None:
            row |= {"valid_loss": result.loss}
            row |= {"valid_bce": result.cross_entropy, "valid_kl": result.kl}
            if result.loss < self.best[0]:
                self.best = (result.loss, self.epoch, self.optimiser.flat.values.copy())
        row |= {"active_units": result.active_units, "kl_per_dimension": result.kl_per_dimension}
        return row

    def _tell(self, epoch: int, step: int, row: Row | None = None) -> None:
        for callback in self.callbacks:
            callback(Progress(self.settings, epoch, step, self.steps, row))

    # What went wrong

    def _first_cause(self, good: Snapshot, error: NonFiniteError) -> NonFiniteError:
        """Go through the epoch again from where all was well, until the first bad op says so."""
        failed = f"epoch {self.epoch}, step {self.step}"
        self._restore(good)
        try:
            with trace_non_finite():
                for x, noise in self._batches():
                    self.train_step(x, noise)
                self._log()
        except NonFiniteError as first:
            error = first
        self._restore(good)
        return NonFiniteError(
            f"{failed}: {error}. The model is back where the epoch began; try a smaller learning "
            "rate, --clip, or KL warm-up"
        )

    def _snapshot(self) -> Snapshot:
        vectors = [self.optimiser.flat.values, *self.optimiser.state.values()]
        return (
            [v.copy() for v in vectors],
            (self.optimiser.steps, self.epoch, self.step, list(self.sums)),
        )

    def _restore(self, good: Snapshot) -> None:
        (values, *vectors), counts = good
        self._set_parameters(values)
        for vector, saved in zip(self.optimiser.state.values(), vectors, strict=True):
            vector[...] = saved
        self.optimiser.steps, self.epoch, self.step, sums = counts
        self.sums = list(sums)

    def _set_parameters(self, values: Array) -> None:
        self.optimiser.flat.values[...] = values
        self.optimiser.flat.announce()

    # What is kept

    def _tensors(self) -> dict[str, np.ndarray]:
        host = self.model.backend.to_host
        tensors = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        tensors |= {f"adam.{name}": host(v) for name, v in self.optimiser.state.items()}
        if self.settings.patience:
            best = self.best[2] if self.best[2] is not None else self.optimiser.flat.values
            tensors["best"] = host(best)
        return tensors

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "settings": asdict(self.settings),
            "images": fingerprint(self.train),
            "optimiser_steps": self.optimiser.steps,
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "best": [None if math.isinf(self.best[0]) else self.best[0], self.best[1]],
            "history": self.history,
        }
        save_tensors(self.checkpoint, self._tensors(), state)

    def resume(self) -> None:
        """Take up the state of the checkpoint.

        Raises
        ------
        RunError
            There is none, it is damaged, or it belongs to other settings or images.
        """
        if self.checkpoint is None:
            raise OptionError("to resume, say from where: checkpoint=...")
        expected = {k: (v.shape, str(v.dtype)) for k, v in self._tensors().items()}
        tensors, state = load_tensors(self.checkpoint, expected)
        _check_same(state, self.settings, fingerprint(self.train))
        prefix = "model."
        self.model.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        vectors = {name: tensors[f"adam.{name}"] for name in self.optimiser.state}
        self.optimiser.load_state_dict({"steps": state["optimiser_steps"], **vectors})
        self.epoch, self.step, self.sums = state["epoch"], state["step"], state["sums"]
        self.history = state["history"]
        loss, epoch = state["best"]
        best = self.model.backend.from_host(tensors["best"]) if "best" in tensors else None
        self.best = (math.inf if loss is None else loss, epoch, best)


Snapshot: TypeAlias = tuple[list[Array], tuple[int, int, int, list[float]]]


def fingerprint(split: Split) -> list[int]:
    """The shape of the images, and a checksum over up to 1,000 of them."""
    some = split.images[:: max(1, len(split) // 1000)]
    return [*split.images.shape, zlib.crc32(np.ascontiguousarray(some).data)]


def _check_images(model: VAE, train: Split, batch: int) -> None:
    if train.images.shape[1:] != model.image_shape:
        raise ShapeError(
            f"the model takes images of shape {model.image_shape}, and these are of shape "
            f"{train.images.shape[1:]}: make the model with image_shape={train.images.shape[1:]}"
        )
    if batch > len(train):
        raise OptionError(
            f"a batch of {batch} is more than the {len(train)} images to train on: use "
            f"a batch of at most {len(train)}"
        )


def _check_same(state: dict[str, Any], settings: Settings, images: list[int]) -> None:
    """Only the number of epochs may differ from those of the checkpoint: no step rests on it."""
    saved = Settings(**state["settings"])
    for name, value in asdict(replace(saved, epochs=settings.epochs)).items():
        if getattr(settings, name) != value:
            raise RunError(
                f"this run began with {name} = {value!r}, not {getattr(settings, name)!r}: resume "
                "with the same settings, or start a new run"
            )
    if state["images"] != json.loads(json.dumps(images)):
        raise RunError("the images to train on are not those that this run began with")


@contextmanager
def _ctrl_c() -> Iterator[SimpleNamespace]:
    """The first Ctrl-C asks to stop after the step under way; the second stops at once."""
    asked = SimpleNamespace(stop=False)
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(signum: int, frame: Any) -> None:
        if asked.stop:
            raise KeyboardInterrupt
        asked.stop = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
