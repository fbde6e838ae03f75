"""Steps of training whose images, noise and rates are in the memory of the device.

Such a step takes nothing from the host, so it can be written down once and repeated as a whole:
on a GPU as one CUDA graph, on the host as a list of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from tinyvae import backend as backends
from tinyvae.autograd import Tensor
from tinyvae.autograd.replay import agree
from tinyvae.backend import Array
from tinyvae.data.batches import Feed, ahead
from tinyvae.data.dataset import Split
from tinyvae.data.ondisk import blocks
from tinyvae.errors import NotRecordableError
from tinyvae.objectives import Terms
from tinyvae.optim import Adam, clip_global_norm

STEPS, BYTES = 64, 1 << 26
"""A block that goes to the device is of no more steps, and no larger, if it is of more than one."""

Loss: TypeAlias = Callable[[Array, Array, Any], Terms]
"""Of pixels (B, D), noise (B, K) and the weight of the KL."""


def take_batch(
    images: Array,
    order: Array,
    draws: Array | None,
    noise: Array,
    constants: Array,
    turn: Array,
    rows: int,
    batch: int,
) -> tuple[Array, Array, Array]:
    """The batch of the step ``turn`` of a block, which begins at row ``turn * batch`` of it.

    Parameters
    ----------
    images : (N, D) array
        As they are stored: bytes, or floats in [0, 1].
    order : (M,) array of int64
        Which images, in the order of the block's steps.
    draws : (M, D) array, optional
        What each pixel is drawn black or white against.
    noise : (M, K) array
    constants : (S, C) array
        Of the optimiser, for each step.
    turn : (1,) array of int64
    rows, batch : int
        How many images this batch has, and how many a whole one.

    Returns
    -------
    pixels : (rows, D) array
        Of the dtype of ``noise``.
    noise : (rows, K) array
    constants : (C,) array
    """
    xp = backends.of(images).xp
    places = turn * batch + xp.arange(rows)
    stored = images[order[places]]
    if draws is not None:
        pixels = (draws[places] < stored).astype(noise.dtype)
    else:
        pixels = stored.astype(noise.dtype)
        if images.dtype == "uint8":
            pixels *= 1 / 255
    return pixels, noise[places], constants[turn].reshape(-1)


def tally(reconstruction: Array, kl: Array, sums: Array, turn: Array) -> None:
    """Add the sums of both, each (B,), to ``sums``, (2,) in float64, and 1 to ``turn``."""
    for k, terms in enumerate((reconstruction, kl)):
        sums[k] += terms.sum().astype(sums.dtype)
    turn += 1


class Resident:
    """The steps of an epoch, on arrays that stay where they are.

    Parameters
    ----------
    split : Split
        Images to train on; they are copied to the device as they are stored.
    optimiser : Adam
        It says which device and which dtype.
    loss : callable
        See ``Loss``.
    batch, width : int
        B, and K, the numbers that are drawn for an image.
    clip : float
        As for `tinyvae.fit`.
    dynamic : bool
        Whether pixels are drawn black or white in each step.
    generator : callable, optional
        Of an epoch the device's own stream of random numbers, where the noise is not the host's.
    kind : {"normal", "uniform"}
        From what that noise is drawn.

    Attributes
    ----------
    is_recorded : bool
        Whether steps are repeated; not where the loss cannot be, or gave other numbers.
    desk : namespace
        The arrays; among them ``sums``, (2,), of the reconstructions and the KLs so far, and
        ``differing``, (1,), above 0 if a step that was repeated has become another one.
    """

    def __init__(
        self,
        split: Split,
        optimiser: Adam,
        loss: Loss,
        batch: int,
        width: int,
        clip: float = 0.0,
        dynamic: bool = False,
        generator: Callable[[int], Any] | None = None,
        kind: str = "normal",
    ) -> None:
        self.generator, self.kind = generator, kind
        self.optimiser, self.loss, self.batch, self.clip = optimiser, loss, batch, clip
        self.backend, self.last = optimiser.backend, -(-len(split) // batch)
        values, stored = optimiser.flat.values, split.images.dtype
        row = 8 + width * values.itemsize + dynamic * split.pixels * stored.itemsize
        self.steps = max(1, min(STEPS, self.last, BYTES // (row * batch)))
        xp, rows = self.backend.xp, self.steps * batch
        self.desk = SimpleNamespace(
            images=_moved(split, self.backend),
            order=xp.zeros(rows, dtype="int64"),
            draws=xp.zeros((rows, split.pixels), dtype=stored) if dynamic else None,
            noise=xp.zeros((rows, width), dtype=values.dtype),
            constants=xp.zeros((self.steps, len(optimiser.constants(1))), dtype=values.dtype),
            turn=xp.zeros(1, dtype="int64"),
            beta=xp.zeros((), dtype=values.dtype),
            sums=xp.zeros(2, dtype="float64"),
            differing=xp.zeros(1, dtype="float64"),
        )
        self.forget()

    def forget(self) -> None:
        """Write the steps down anew, since the loss has become another one."""
        self.is_recorded = self.backend.recording is not None
        self._counts: dict[int, int] = {}
        self._again: dict[int, Callable[[], None]] = {}

    def run(
        self, feeds: Iterator[Feed], beta: float, epoch: int = 1, done: int = 0
    ) -> Generator[None]:
        """Do the steps of these feeds, one each time that the next is asked for.

        ``done`` steps of the epoch were done before, and are not among them.
        """
        self.desk.beta[...] = beta
        skipped, first = divmod(done, self.steps)
        if self.generator:
            drawing = self.generator(epoch)
            for _ in range(skipped):
                self._draw(drawing)
        with closing(ahead(_in_blocks(feeds, self.steps, first))) as made:
            for block in made:
                if self.generator:
                    self._draw(drawing)
                self._load(block, first)
                first = 0
                for rows, _, _ in block:
                    done += 1
                    self.optimiser.steps += 1
                    self._do(len(rows), is_due=done == self.last)
                    yield

    def _draw(self, drawing: Any) -> None:
        """Noise for all steps of a block, on the device."""
        desk = self.desk
        draw = drawing.standard_normal if self.kind == "normal" else drawing.random
        desk.noise[...] = draw(desk.noise.shape, dtype=desk.noise.dtype)
        if desk.draws is None:
            return
        shape, dtype = desk.draws.shape, desk.draws.dtype
        if dtype == "uint8":  # below 255, so that P(draw < p) = p / 255
            desk.draws[...] = drawing.integers(255, size=shape, dtype=dtype)
        else:
            desk.draws[...] = drawing.random(shape, dtype=dtype)

    def _load(self, block: Sequence[Feed], first: int) -> None:
        """Put what the host knows of these steps, from the block's ``first``, where they look."""
        desk, step = self.desk, self.optimiser.steps + 1
        constants = [self.optimiser.constants(step + k) for k in range(len(block))]
        rows, draws, noise = zip(*block, strict=True)
        self._put(desk.constants, first, np.array(constants, desk.constants.dtype.name))
        self._put(desk.order, first * self.batch, np.concatenate(rows))
        if not self.generator:
            self._put(desk.noise, first * self.batch, np.concatenate(noise))
            if desk.draws is not None:
                self._put(desk.draws, first * self.batch, np.concatenate(draws))
        desk.turn[...] = first

    def _put(self, array: Array, start: int, values: np.ndarray) -> None:
        array[start : start + len(values)] = self.backend.from_host(values)

    def _do(self, rows: int, is_due: bool) -> None:
        """A step of so many rows: the first as it stands, the second written down, then repeated.

        The second, fourth, eighth, ... are done both ways, and so is one that is due.
        """
        count = self._counts[rows] = self._counts.get(rows, 0) + 1
        if count == 1 or not self.is_recorded:
            self._step(rows)
        elif count == 2:
            self._record(rows)
        elif is_due or count & (count - 1) == 0:
            self.desk.differing += self._both_ways(rows, self._again[rows])
        else:
            self._again[rows]()
            self._announce()

    def _record(self, rows: int) -> None:
        """Write the step down; it is believed only if it gives the same as the step itself."""

        def repeat() -> None:
            self._again[rows] = self._written_down(rows)

        try:
            self.is_recorded = float(self._both_ways(rows, repeat)) == 0
        except NotRecordableError:
            self.is_recorded = False
            self._step(rows)

    def _both_ways(self, rows: int, repeat: Callable[[], None]) -> Array:
        """Repeat the step, go back, and do it as it stands: how many vectors differ."""
        with self._put_back():
            repeat()
            repeated = [vector.copy() for vector in self._compared()]
        self._step(rows)
        return sum(1.0 - agree(a, b) for a, b in zip(repeated, self._compared(), strict=True))

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """What a step changes within the block is as it was after it."""
        before = [vector.copy() for vector in self._changing()]
        try:
            yield
        finally:
            for vector, value in zip(self._changing(), before, strict=True):
                vector[...] = value

    def _changing(self) -> list[Array]:
        """All that a step changes and the next goes on from."""
        vectors = (self.optimiser.flat.values, *self.optimiser.state.values())
        return [*vectors, self.desk.sums, self.desk.turn]

    def _compared(self) -> list[Array]:
        """Not the parameters, since there a rounding can grow to the learning rate."""
        flat = self.optimiser.flat
        return [flat.gradients, *self.optimiser.state.values(), self.desk.sums]

    def _written_down(self, rows: int) -> Callable[[], None]:
        assert self.backend.recording is not None
        recording, plain = self.backend.recording(), self.desk
        if not recording.executes:
            with self._put_back(), recording.rehearsal():
                self._step(rows)
        with ExitStack() as stack:
            stack.enter_context(self.optimiser.seen_as(recording.watch))
            watched = {k: v if v is None else recording.watch(v) for k, v in vars(plain).items()}
            self.desk = SimpleNamespace(**watched)
            stack.callback(setattr, self, "desk", plain)
            stack.enter_context(recording)
            self._step(rows)
        again: Callable[[], None] = recording.finish()
        if not recording.executes:
            again()
        return again

    def _announce(self) -> None:
        """Leave the parameters as a step that was taped does."""
        flat = self.optimiser.flat
        flat.announce()
        for parameter in flat.parameters:
            parameter.grad = parameter.buffer()

    def _step(self, rows: int) -> None:
        desk, kernel = self.desk, self.backend.kernel
        x, noise, constants = kernel("take_batch", take_batch)(
            desk.images, desk.order, desk.draws, desk.noise, desk.constants, desk.turn,
            rows, self.batch,
        )  # fmt: skip
        self.optimiser.zero_grad()
        terms = self.loss(x, noise, Tensor.wrap(desk.beta))
        terms.loss.backward()
        if self.clip:
            clip_global_norm(self.optimiser, self.clip)
        self.optimiser.move(constants)
        kernel("tally", tally)(terms.reconstruction.array, terms.kl.array, desk.sums, desk.turn)


def _moved(split: Split, backend: backends.Backend) -> Array:
    """The images as rows on the device."""
    images = backend.xp.zeros((len(split), split.pixels), dtype=split.images.dtype)
    start = 0
    for part in blocks(split.images):
        rows = np.ascontiguousarray(part).reshape(-1, split.pixels)
        images[start : start + len(rows)] = backend.from_host(rows)
        start += len(rows)
    return images


def _in_blocks(feeds: Iterator[Feed], steps: int, first: int) -> Iterator[list[Feed]]:
    """Of so many steps each, but that the first block begins in its middle."""
    while block := list(islice(feeds, steps - first)):
        yield block
        first = 0
