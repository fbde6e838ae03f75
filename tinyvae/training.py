"""The training loop: what happens in which order, and how it stops and goes on."""

from __future__ import annotations

import math
import operator
import signal
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import numpy as np

from tinyvae import __version__
from tinyvae.autograd import Replay, Tensor, trace_non_finite
from tinyvae.backend import Array
from tinyvae.data.batches import batches
from tinyvae.data.dataset import BINARISE, Binarise, Split, as_split
from tinyvae.errors import DataError, NonFiniteError, OptionError, ShapeError
from tinyvae.evaluation.elbo import evaluate
from tinyvae.models.vae import VAE
from tinyvae.noise import Noise
from tinyvae.objectives import Terms, elbo_terms
from tinyvae.optim import clip_global_norm
from tinyvae.parallel import Alone, Communicator, joined
from tinyvae.state import Row as Row
from tinyvae.state import RunState, Snapshot, fingerprint

MOST = 10**9  # epochs, or images in a batch
LOOK = 32  # steps between looks at a device for whether a process was asked to stop
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
        for name, kind in get_type_hints(Settings).items():
            if kind in (int, float):
                object.__setattr__(self, name, _number(name, kind, getattr(self, name)))
        for name in ("epochs", "batch"):
            if not 1 <= getattr(self, name) <= MOST:
                raise OptionError(f"{name} is a number from 1 up, not {getattr(self, name)}")
        for name in ("beta", "warm_up", "free_bits", "patience", "clip", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"{name} is a number from 0 up, not {getattr(self, name)}")
        if self.binarise not in BINARISE:
            raise OptionError(f"binarise is one of {BINARISE}, not {self.binarise!r}")


def _number(name: str, kind: type, value: Any) -> Any:
    """``value`` as a plain number that JSON can hold; NumPy's numbers are welcome."""
    try:
        return operator.index(value) if kind is int else float(value)
    except TypeError:
        wanted = "a whole number" if kind is int else "a number"
        raise OptionError(f"{name} is {wanted}, not {value!r}") from None


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
    parallel: str | None = None,
    **settings: Any,
) -> list[Row]:
    """Train a VAE by Adam on the negative ELBO.

    Parameters
    ----------
    model : VAE
        Trained in place, on the backend where it is.
    train, valid : Split or array
        Images to train on, and others to watch: uint8, or float32 in [0, 1], of shape
        (N, H, W) or (N, H, W, 3). Those of a memory-mapped file are read batch by batch.
    callbacks : sequence of callable
        Called with a `Progress` after every step and every epoch; by rank 0 alone.
    checkpoint : path, optional
        A file that holds everything after each epoch, and after Ctrl-C.
    resume : bool
        Go on from ``checkpoint``, to the same numbers bit for bit as without a break.
    parallel : {None, "mpi"}
        ``"mpi"`` where ``mpiexec`` started several processes that all come here: they share
        each batch, to the numbers of one process but for round-off, and rank 0 writes. One
        that raises ends the others, when it ends.
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
    DataError, ShapeError
        Pixels outside [0, 1], or images of another shape than the model's; or a file of images
        that has changed, or cannot be read, at which the last checkpoint stays.
    NonFiniteError
        A NaN or an infinity, naming the op and the tensor that made it first; the model
        is put back to where the epoch began, and the last checkpoint stays.
    ParallelError
        The processes were not started together, or differ in settings, images or model.

    Examples
    --------
    >>> images = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    >>> history = fit(VAE((2, 2), hidden=(8,)), images, epochs=2, batch=2)
    >>> [row["epoch"] for row in history]
    [1, 2]
    """
    path = None if checkpoint is None else Path(checkpoint)
    known = [field.name for field in fields(Settings)]
    if unknown := sorted(settings.keys() - set(known)):
        raise OptionError(f"fit has no setting {unknown[0]!r}; its settings: {', '.join(known)}")
    with joined(parallel) as group:
        trainer = Trainer(
            model,
            as_split(train),
            None if valid is None else as_split(valid),
            Settings(**settings),
            callbacks,
            path,
            group,
        )
        if resume:
            trainer.resume()
        return trainer.run()


class Trainer:
    """The steps that move the state of a run, and what is logged of them; see `fit`."""

    def __init__(
        self,
        model: VAE,
        train: Split,
        valid: Split | None,
        settings: Settings,
        callbacks: Sequence[Callable[[Progress], object]] = (),
        checkpoint: Path | None = None,
        group: Communicator | None = None,
    ) -> None:
        _check_data(model, train, valid, settings)
        self.group = (group or Alone()).on(model.backend)
        if settings.binarise == "static":
            train = train.binarised(Noise(settings.seed, "binarise", "train", backend="numpy"))
            valid = valid and valid.binarised(
                Noise(settings.seed, "binarise", "valid", backend="numpy")
            )
        self.model, self.train, self.valid, self.settings = model, train, valid, settings
        self.callbacks = callbacks if self.group.rank == 0 else ()
        self.checkpoint, self.asked = checkpoint, SimpleNamespace(stop=False)
        self.state = RunState(model, settings.learning_rate)
        self.steps = math.ceil(len(train) / settings.batch)
        self._terms = Replay(self._loss, self.state.optimiser.flat.parameters)
        if self.group.size > 1:
            self._agree()

    # The loop

    def run(self) -> list[Row]:
        """Train until the last epoch, or until it no longer helps."""
        with _ctrl_c() as asked, np.errstate(over="ignore", invalid="ignore"):
            self.asked = asked
            while self.state.epoch <= self.settings.epochs and not self.is_stale:
                self._run_epoch(asked)
        if self.settings.patience:
            self.state.take_best()
        return self.state.history

    @property
    def is_stale(self) -> bool:
        """Whether the validation loss has not improved for as long as patience lasts."""
        return 0 < self.settings.patience <= self.state.epoch - 1 - self.state.best_epoch

    def _run_epoch(self, asked: SimpleNamespace) -> None:
        good = self.state.snapshot()
        try:
            self._run_steps(asked)
            row = self.group.once(self._log)
        except NonFiniteError as error:
            raise self._first_cause(good, error) from None
        self.state.end_epoch(row)
        self._save()
        self._tell(row["epoch"], self.steps, row)
        if self.group.broadcast(asked.stop):
            raise KeyboardInterrupt

    def _run_steps(self, asked: SimpleNamespace) -> None:
        pending: list[Terms] = []
        with closing(self._batches()) as made:
            for x, noise in made:
                pending.append(self.train_step(x, noise))
                self.state.step += 1
                self._tell(self.state.epoch, self.state.step)
                last = self.state.step == self.steps
                stop = asked.stop if self.group.size == 1 else self._agreed_to_stop(last)
                if self.model.backend.host or last or stop:
                    self._add_up(pending)
                if stop and not last:
                    self.state.check_finite()
                    self._save()
                    raise KeyboardInterrupt

    def _batches(self) -> Generator[tuple[Tensor, Array]]:
        """The steps of this epoch that are not done yet: pixels (B, D) and noise (B, K)."""
        settings, from_host = self.settings, self.model.backend.from_host
        made = batches(
            self.train,
            settings.batch,
            self.model.latent,
            seed=settings.seed,
            epoch=self.state.epoch,
            done=self.state.step,
            dynamic=settings.binarise == "dynamic",
            dtype=self.model.dtype,
            share=lambda count: self.group.share(count)[0],
        )
        with closing(made):
            for images, noise in made:
                yield Tensor.wrap(from_host(images)), from_host(noise)

    def train_step(self, x: Tensor, noise: Array) -> Terms:
        """One step: the loss forward, the gradients backward, the parameters along them."""
        optimiser = self.state.optimiser
        optimiser.zero_grad()
        if self.group.size == 1:
            terms: Terms = self._terms(x.array, noise, self.beta, 1.0)
        else:
            terms = self._terms_together(x, noise)
        if self.settings.clip:
            clip_global_norm(optimiser, self.settings.clip)
        optimiser.step()
        return terms

    def _loss(self, x: Array, noise: Array, beta: float, part: float) -> Terms:
        terms = elbo_terms(self.model, Tensor.wrap(x), noise, beta, self.settings.free_bits)
        return terms if part == 1 else terms._replace(loss=terms.loss * part)

    @property
    def beta(self) -> float:
        """The weight of the KL in this epoch."""
        return self.settings.beta * min(1.0, self.state.epoch / max(1, self.settings.warm_up))

    def _add_up(self, pending: list[Terms]) -> None:
        """Fetch what the steps left on the device, in their order, and see that it is finite."""
        sums = self.state.sums
        for terms in pending:
            for k, part in enumerate((terms.cross_entropy, terms.kl)):
                sums[k] += float(part.array.sum())
        pending.clear()
        if not math.isfinite(sum(sums)):
            raise NonFiniteError("the loss is not finite")

    def _log(self) -> Row:
        self.state.check_finite()
        bce, kl = (s / len(self.train) for s in self.state.sums)
        row: Row = {"epoch": self.state.epoch, "beta": self.beta}
        row |= {"train_loss": bce + kl, "train_bce": bce, "train_kl": kl}
        dynamic = self.settings.binarise == "dynamic"
        watched = self.train[:WATCHED] if self.valid is None else self.valid
        result = evaluate(self.model, watched, self.settings.seed, dynamic)
        if not math.isfinite(result.loss):
            raise NonFiniteError("the loss on the images watched is not finite")
        if self.valid is not None:
            row |= {"valid_loss": result.loss}
            row |= {"valid_bce": result.cross_entropy, "valid_kl": result.kl}
        row |= {"active_units": result.active_units, "kl_per_dimension": result.kl_per_dimension}
        return row

    def _tell(self, epoch: int, step: int, row: Row | None = None) -> None:
        for callback in self.callbacks:
            callback(Progress(self.settings, epoch, step, self.steps, row))

    # Together with other processes

    def _agree(self) -> None:
        """Begin from the same everywhere, or not at all."""
        if self.settings.free_bits:
            raise OptionError(
                "free_bits takes the larger of two averages over the batch, which is no sum over "
                "the shares of several processes: use free_bits=0, or one process"
            )
        versions = {"the version of tinyvae": __version__, "that of NumPy": np.__version__}
        about = self._about
        images = {f"the {part} images": found for part, found in about["images"].items()}
        values = self.model.backend.to_host(self.state.optimiser.flat.values)
        weights = {"the first weights": zlib.crc32(values.data)}
        self.group.agree(about["settings"] | self.model.config | versions | images | weights)

    def _terms_together(self, x: Tensor, noise: Array) -> Terms:
        """The gradient of the mean over the whole batch, from those over the ranks' shares.

        With it, in the one vector that is added up, ride the sums of the cross-entropy and
        the KL, which are returned in place of this rank's, and whether to stop.
        """
        flat, step = self.state.optimiser.flat, self.state.step
        rows = min(self.settings.batch, len(self.train) - step * self.settings.batch)
        _, part = self.group.share(rows)
        terms: Terms = self._terms(x.array, noise, self.beta, part)
        for k, each in enumerate((terms.cross_entropy, terms.kl)):
            flat.riders[k] = each.array.sum() * (part > 0)
        flat.riders[2] = float(self.asked.stop)
        self.group.sum(flat.exchanged)
        cross_entropy, kl = (Tensor.wrap(flat.riders[k : k + 1].copy()) for k in (0, 1))
        return terms._replace(cross_entropy=cross_entropy, kl=kl)

    def _agreed_to_stop(self, last: bool) -> bool:
        """Whether any rank was asked to; a device is seldom looked at, since that waits for it."""
        backend, stop = self.model.backend, self.state.optimiser.flat.riders[2]
        agreed = (backend.host or last or self.state.step % LOOK == 0) and bool(stop > 0)
        self.asked.stop = self.asked.stop or agreed
        return agreed

    # What went wrong

    def _first_cause(self, good: Snapshot, error: NonFiniteError) -> NonFiniteError:
        """Go through the epoch again from where all was well, until the first bad op says so."""
        self.state.restore(good)
        step, group = self.state.step, self.group
        self.group = Alone()  # each rank for itself, so that none waits for one that has failed
        try:
            with trace_non_finite(), closing(self._batches()) as made:
                for x, noise in made:
                    step += 1
                    self.train_step(x, noise)
                    self.state.check_finite()
                self._log()
        except NonFiniteError as first:
            error = first
        self.group = group
        self.state.restore(good)
        return NonFiniteError(
            f"epoch {self.state.epoch}, step {step}: {error}. The model is back where the epoch "
            "began; most often a smaller learning rate helps"
        )

    # What is kept

    @cached_property  # a pass over all images, which do not change
    def _about(self) -> dict[str, Any]:
        images = {"training": fingerprint(self.train), "validation": fingerprint(self.valid)}
        return {"settings": asdict(self.settings), "images": images}

    def _save(self) -> None:
        if self.checkpoint is not None and self.group.rank == 0:
            self.state.save(self.checkpoint, self._about)

    def resume(self) -> None:
        """Take up the state of the checkpoint.

        Raises
        ------
        RunError
            There is none, it is damaged, or it belongs to another model, other settings or
            other images.
        """
        if self.checkpoint is None:
            raise OptionError("to resume, say from where: checkpoint=...")
        self.group.with_file(self.checkpoint, lambda path: self.state.load(path, self._about))


def _check_data(model: VAE, train: Split, valid: Split | None, settings: Settings) -> None:
    if settings.patience and valid is None:
        raise OptionError("early stopping needs validation images: give valid=..., or patience=0")
    for split in (train, valid):
        if split is not None:
            _check_images(model, split)
    if settings.batch > len(train):
        raise OptionError(
            f"a batch of {settings.batch} is more than the {len(train)} images to train on: use "
            f"a batch of at most {len(train)}"
        )


def _check_images(model: VAE, split: Split) -> None:
    shape = split.images.shape[1:]
    if shape != model.image_shape:
        raise ShapeError(
            f"the model takes images of shape {model.image_shape}, and these are of shape "
            f"{shape}: make the model with image_shape={shape}"
        )
    if len(split) == 0:
        raise DataError("there are no images to train on or to watch: give at least one")
    split.check()


@contextmanager
def _ctrl_c() -> Iterator[SimpleNamespace]:
    """The first Ctrl-C asks to stop after the step under way; the second stops at once."""
    asked = SimpleNamespace(stop=False)
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(*_: object) -> None:
        if asked.stop:
            raise KeyboardInterrupt
        asked.stop = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
