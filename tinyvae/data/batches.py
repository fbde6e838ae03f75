"""The batches of an epoch: which images, in which order, with which noise; read ahead from disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeAlias, TypeVar

import numpy as np

from tinyvae.data.dataset import Split
from tinyvae.data.ondisk import OnDisk
from tinyvae.data.pixels import as_floats, draws
from tinyvae.noise import Noise

AHEAD = 2  # batches that are made before they are asked for
SHUFFLED = 1 << 20  # rows that are shuffled at once
END: Any = object()
Item = TypeVar("Item")
Batches: TypeAlias = "Generator[tuple[np.ndarray, np.ndarray]]"
Feed: TypeAlias = "tuple[np.ndarray, np.ndarray | None, np.ndarray]"
"""Of a step: rows (B,), what their pixels are drawn against, (B, D), and noise, (B, K)."""


def batches(
    split: Split,
    size: int,
    width: int,
    *,
    seed: int,
    epoch: int,
    done: int = 0,
    dynamic: bool = False,
    dtype: str = "float32",
    kind: str = "normal",
    share: Callable[[int], slice] = slice,
) -> Batches:
    """The batches of one epoch, on the host; those of images on disk are made by a thread.

    Memory has no reason for a thread: there a batch takes less than a hundredth of a step.

    Parameters
    ----------
    split : Split
    size : int
        Images in a batch, B; the last one may be smaller.
    width : int
        K, the numbers that are drawn for an image.
    seed, epoch : int
        Everything random follows from them alone.
    done : int
        Batches that are left out at the beginning, without reading their images.
    dynamic : bool
        Whether every pixel is drawn black or white.
    dtype : str
    kind : {"normal", "uniform"}
        From what the noise is drawn: the standard normal, or [0, 1).
    share : callable
        Which rows of a batch of so many are wanted, as where processes share it; all.

    Yields
    ------
    pixels : (B, D) ndarray
        In [0, 1].
    noise : (B, K) ndarray

    Raises
    ------
    DataError
        Images on disk that cannot be read, or have changed.

    Examples
    --------
    >>> split = Split(np.zeros((5, 2, 2), np.uint8))
    >>> [pixels.shape for pixels, _ in batches(split, 2, 3, seed=0, epoch=1)]
    [(2, 4), (2, 4), (1, 4)]
    """
    about: Any = {"seed": seed, "epoch": epoch, "done": done, "dynamic": dynamic}
    fed = feeds(split, size, width, dtype=dtype, kind=kind, **about)
    made = (_shared(split, feed, share, dtype) for feed in fed)
    return ahead(made) if isinstance(split.images, OnDisk) else made


def feeds(
    split: Split,
    size: int,
    width: int,
    *,
    seed: int,
    epoch: int,
    done: int = 0,
    dynamic: bool = False,
    dtype: str = "float32",
    kind: str = "normal",
) -> Iterator[Feed]:
    """What is drawn for the batches of one epoch; see `batches`. No image is read."""
    order, pixels, posterior = (
        Noise(seed, name, str(epoch), backend="numpy")
        for name in ("shuffle", "pixels", "posterior")
    )
    drawing = posterior.normal if kind == "normal" else posterior.uniform
    for step, rows in enumerate(shuffled(len(split), size, order)):
        shape = (len(rows), split.pixels)
        drawn = draws(shape, split.images.dtype, pixels) if dynamic else None
        noise = drawing((len(rows), width), dtype)
        if step >= done:
            yield rows, drawn, noise


def _shared(
    split: Split, feed: Feed, share: Callable[[int], slice], dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and noise of the rows that are wanted."""
    rows, drawn, noise = feed
    mine = share(len(rows))
    drawn = drawn if drawn is None else drawn[mine]
    return as_floats(split.stored(rows[mine]), drawn, dtype), noise[mine]


def shuffled(count: int, size: int, noise: Noise) -> Iterator[np.ndarray]:
    """Every row from 0 to ``count`` - 1 once, in random order, ``size`` of them at a time.

    More than 2^20 rows are dealt out to G classes of at most so many, the rows c, c + G,
    c + 2 G, ... to class c; the classes follow each other in random order, each in a random
    order of its own. So no more than the order of one class is in memory.

    >>> [rows.tolist() for rows in shuffled(5, 2, Noise(0))]
    [[1, 3], [2, 4], [0]]
    """
    classes = -(-count // SHUFFLED)
    batch = np.empty(0, np.int64)
    for c in noise.permutation(classes):
        rows = noise.permutation(len(range(c, count, classes)))
        rows *= classes
        rows += c
        for start in range(-len(batch), len(rows), size):
            batch = np.concatenate([batch, rows[max(0, start) : start + size]])
            if len(batch) == size:
                yield batch
                batch = batch[:0]
        del rows  # before the next class is there, too
    if len(batch):
        yield batch


def ahead(items: Iterator[Item]) -> Generator[Item]:
    """The same items, of which a thread makes the next two while the caller uses one.

    What goes wrong in the thread is raised where the item would have come. The thread ends
    with the items, or when this is closed.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    from concurrent.futures import ThreadPoolExecutor  # loads logging, which is slow

    with ThreadPoolExecutor(1, "tinyvae-batches") as thread:
        ready = deque(thread.submit(next, items, END) for _ in range(AHEAD))
        try:
            while (item := ready.popleft().result()) is not END:
                ready.append(thread.submit(next, items, END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
