"""The training loop: what happens in which order, and how it stops and goes on."""

from __future__ import annotations

import math
import signal
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinyvae import __version__
from tinyvae.autograd import Replay, Tensor, trace_non_finite
from tinyvae.autograd.replay import CHANGED
from tinyvae.backend import Array
from tinyvae.capacity import enough_memory
from tinyvae.data.batches import batches, feeds
from tinyvae.data.dataset import Split
from tinyvae.errors import DataError, GraphError, NonFiniteError, OptionError, ShapeError
from tinyvae.evaluation.elbo import elbo
from tinyvae.models.vae import VAE
from tinyvae.noise import Noise
from tinyvae.objectives import OBJECTIVES, Terms
from tinyvae.optim import Schedule, clip_global_norm, threefold
from tinyvae.parallel import Alone, Communicator
from tinyvae.resident import Resident, tally
from tinyvae.settings import Progress, Row, Settings
from tinyvae.state import RunState, Snapshot, constants_in, fingerprint

LOOK = 32  # steps between looks at a device for whether a process was asked to stop
WATCHED = 1000  # training images on which the latent dimensions are watched without validation


class Trainer:
    """The steps that move the state of a run, and what is logged of them; see `tinyvae.fit`."""

    def __init__(
        self,
        model: VAE,
        train: Split,
        valid: Split | None,
        settings: Settings,
        callbacks: Sequence[Callable[[Progress], object]] = (),
        checkpoint: Path | None = None,
        group: Communicator | None = None,
        resident: bool | None = None,
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
        self.steps = math.ceil(len(train) / settings.batch)
        model.begin(train)
        rate: float | Schedule = settings.learning_rate
        if settings.schedule == "threefold":
            rate = threefold(settings.learning_rate, self.steps)
        self.state = RunState(model, rate)
        self._terms: Callable[..., Terms] = self._replay()
        self._is_taped, self._constants = False, constants_in(model)
        self._sums, self._resident = self._on_device(resident)
        if self.group.size > 1:
            self._agree()

    # The loop

    def run(self) -> list[Row]:
        """Train until the last epoch, or until it no longer helps."""
        room = enough_memory(self.model, self.settings.batch, self.settings.samples)
        with room, _ctrl_c() as asked, np.errstate(over="ignore", invalid="ignore"):
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
        except GraphError:
            self.state.restore(good)
            raise
        self.state.end_epoch(row)
        self._save()
        self._tell(row["epoch"], self.steps, row)
        if self.group.broadcast(asked.stop):
            raise KeyboardInterrupt

    def _run_steps(self, asked: SimpleNamespace) -> None:
        self._sums[...] = self.model.backend.from_host(np.array(self.state.sums))
        self._forget_if_changed()
        first = self.state.step + 1
        with closing(self._resident_steps() if self._resident else self._steps()) as steps:
            for _ in steps:
                self.state.step += 1
                self._tell(self.state.epoch, self.state.step)
                if (self.callbacks or self.state.step == first) and self._has_changed:
                    self._tape_always()
                last = self.state.step == self.steps
                stop = asked.stop if self.group.size == 1 else self._agreed_to_stop(last)
                if self.model.backend.host or last or stop:
                    self._fetch(whole=last or stop)
                if stop and not last:
                    self._save()
                    raise KeyboardInterrupt

    # What a step that was recorded knows nothing of

    @property
    def _has_changed(self) -> bool:
        """Whether the model's numbers are others than those that were recorded."""
        return not self._is_taped and constants_in(self.model) != self._constants

    def _forget_if_changed(self) -> None:
        """Record anew what was changed between two epochs, as a callback may do."""
        if self._has_changed:
            self._constants, self._terms = constants_in(self.model), self._replay()
            if self._resident:
                self._resident.forget()

    def _tape_always(self) -> None:
        """Repeat no step any more, since the numbers change from one step to the next."""
        self._is_taped, self._terms = True, self._replay().tape
        if self._resident:
            self._resident.is_recorded = False

    def _replay(self) -> Replay:
        return Replay(self._loss, self.state.optimiser.flat.parameters)

    def _steps(self) -> Generator[None]:
        """Do the steps of this epoch that are not done yet, with batches from the host."""
        turn = self.model.backend.xp.zeros(1, dtype="int64")
        with closing(self._batches()) as made:
            for x, noise in made:
                if isinstance(self._terms, Replay):
                    self._terms.is_due = self.state.step + 1 == self.steps
                terms = self.train_step(x, noise)
                tally(terms.reconstruction.array, terms.kl.array, self._sums, turn)
                yield

    def _resident_steps(self) -> Generator[None]:
        """The same steps with images on the device."""
        assert self._resident is not None
        size, width, about = self.settings.batch, self._noise_width, self._about_batches()
        if self._resident.generator:
            width, about["dynamic"] = 0, False
        drawn = feeds(self.train, size, width, **about)
        return self._resident.run(drawn, self.beta, self.state.epoch, self.state.step)

    def _on_device(self, resident: bool | None) -> tuple[Array, Resident | None]:
        """The sums of this epoch's losses, and the steps with images on the device, if wanted."""
        settings, optimiser = self.settings, self.state.optimiser
        backend = optimiser.backend
        if resident is None:
            stored = self.train.images.dtype.itemsize * self.train.pixels * len(self.train)
            resident = not backend.host and stored < backend.free_memory() / 2
        resident = resident and self.group.size == 1
        if settings.noise == "device" and not (resident and backend.generator):
            raise OptionError(
                "noise='device' needs the images on the device, and one process alone: use "
                "resident=True without parallel, or noise='host'"
            )
        if not resident:
            return backend.xp.zeros(2, dtype="float64"), None

        def loss(x: Array, noise: Array, beta: Tensor) -> Terms:
            return self._loss(x, noise, beta if settings.warm_up > 1 else settings.beta, 1.0)

        def generator(epoch: int) -> Any:
            assert backend.generator is not None
            names = ("device", str(epoch))
            return backend.generator(
                int(Noise(settings.seed, *names, backend="numpy").integers(2**63, ()))
            )

        made = Resident(
            self.train,
            optimiser,
            loss,
            settings.batch,
            self._noise_width,
            settings.clip,
            settings.binarise == "dynamic",
            generator if settings.noise == "device" else None,
            self.model.posterior.noise,
        )
        return made.desk.sums, made

    def _about_batches(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "seed": settings.seed,
            "epoch": self.state.epoch,
            "done": self.state.step,
            "dynamic": settings.binarise == "dynamic",
            "dtype": self.model.dtype,
            "kind": self.model.posterior.noise,
        }

    def _batches(self) -> Generator[tuple[Tensor, Array]]:
        """The steps of this epoch that are not done yet: pixels (B, D) and noise (B, K)."""
        from_host = self.model.backend.from_host
        made = batches(
            self.train,
            self.settings.batch,
            self._noise_width,
            **self._about_batches(),
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

    def _loss(self, x: Array, noise: Array, beta: float | Tensor, part: float) -> Terms:
        settings = self.settings
        if settings.samples > 1:
            noise = noise.reshape(len(noise), settings.samples, -1)  # (B, S, K)
        objective = OBJECTIVES[settings.objective]
        terms = objective(self.model, Tensor.wrap(x), noise, beta, settings.free_bits)
        return terms if part == 1 else terms._replace(loss=terms.loss * part)

    @property
    def _noise_width(self) -> int:
        return self.settings.samples * self.model.posterior.noise_width

    @property
    def beta(self) -> float:
        """The weight of the KL in this epoch."""
        return self.settings.beta * min(1.0, self.state.epoch / max(1, self.settings.warm_up))

    def _fetch(self, whole: bool) -> None:
        """What the steps have added up, and see that it is finite; ``whole``, that all is well.

        The device is waited for once.
        """
        backend, wanted = self.model.backend, self._sums
        if whole:
            differing = self._resident.desk.differing if self._resident else backend.xp.zeros(1)
            wanted = backend.xp.concatenate([wanted, self.state.is_finite(), differing])
        *sums, finite, differ = [*backend.to_host(wanted).tolist(), 1.0, 0.0][:4]
        self.state.sums = sums
        if not math.isfinite(sum(sums)):
            raise NonFiniteError("the loss is not finite")
        if not finite:
            self.state.check_finite()
        if differ:
            raise GraphError(CHANGED)

    def _log(self) -> Row:
        reconstruction, kl = (s / len(self.train) for s in self.state.sums)
        row: Row = {"epoch": self.state.epoch, "beta": self.beta}
        row |= {
            "train_loss": reconstruction + kl,
            "train_reconstruction": reconstruction,
            "train_kl": kl,
        }
        dynamic = self.settings.binarise == "dynamic"
        watched = self.train[:WATCHED] if self.valid is None else self.valid
        result = elbo(self.model, watched, self.settings.seed, dynamic)
        if not math.isfinite(result.loss):
            raise NonFiniteError("the loss on the images watched is not finite")
        if self.valid is not None:
            row |= {"valid_loss": result.loss}
            row |= {"valid_reconstruction": result.reconstruction, "valid_kl": result.kl}
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
        if not self.model.is_per_image:
            raise OptionError(
                f"the loss of {type(self.model).__name__} compares all codes of a batch, of which "
                "each of several processes has a share: use one process"
            )
        versions = {"the version of tinyvae": __version__, "that of NumPy": np.__version__}
        about = self._about
        images = {f"the {part} images": found for part, found in about["images"].items()}
        values = self.model.backend.to_host(self.state.optimiser.flat.values)
        weights = {"the first weights": zlib.crc32(values.data)}
        self.group.agree(about["settings"] | about["model"] | versions | images | weights)

    def _terms_together(self, x: Tensor, noise: Array) -> Terms:
        """The gradient of the mean over the whole batch, from those over the ranks' shares.

        With it, in the one vector that is added up, ride the sums of the reconstruction and
        the KL, which are returned in place of this rank's, and whether to stop.
        """
        flat, step = self.state.optimiser.flat, self.state.step
        rows = min(self.settings.batch, len(self.train) - step * self.settings.batch)
        _, part = self.group.share(rows)
        terms: Terms = self._terms(x.array, noise, self.beta, part)
        for k, each in enumerate((terms.reconstruction, terms.kl)):
            flat.riders[k] = each.array.sum() * (part > 0)
        flat.riders[2] = float(self.asked.stop)
        self.group.sum(flat.exchanged)
        reconstruction, kl = (Tensor.wrap(flat.riders[k : k + 1].copy()) for k in (0, 1))
        return terms._replace(reconstruction=reconstruction, kl=kl)

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
        step, group = self.state.step + 1, self.group
        self.group = Alone()  # each rank for itself, so that none waits for one that has failed
        self._tape_always()
        try:
            again = self._resident_steps() if self._resident else self._steps()
            with trace_non_finite(), closing(again) as steps:
                for _ in steps:
                    self.state.check_finite()
                    step += 1
                self._log()
        except NonFiniteError as first:
            error = first
        self.group = group
        self.state.restore(good)
        where = f"epoch {self.state.epoch}, step {min(step, self.steps)}"
        return NonFiniteError(
            f"{where}: {error}. The model is back where the epoch began; most often a smaller "
            "learning rate helps"
        )

    # What is kept

    @cached_property  # a pass over all images, which do not change
    def _about(self) -> dict[str, Any]:
        images = {"training": fingerprint(self.train), "validation": fingerprint(self.valid)}
        model = {"model": type(self.model).__name__} | self.model.config
        return {"settings": asdict(self.settings), "model": model, "images": images}

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
    model.backend.check(next(iter(model.parameters())).array)
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
