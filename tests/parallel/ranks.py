"""A stand-in for several processes: threads of this one, each with a communicator of its own."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinyvae.parallel import Communicator

PATIENCE = 20.0  # seconds; after them a test that would hang fails


class Threads(Communicator):
    """One rank of several; it notes how often it was asked to add up, and arrays of what length."""

    def __init__(self, rank: int, size: int, meeting: threading.Barrier, slots: list[Any]) -> None:
        self.rank = self.local_rank = rank
        self.size, self.meeting, self.slots = size, meeting, slots
        self.sums: list[int] = []

    def gather(self, value: Any) -> list[Any]:
        self.slots[self.rank] = value
        self.meeting.wait(PATIENCE)
        found = list(self.slots)
        self.meeting.wait(PATIENCE)
        return found

    def broadcast(self, value: Any) -> Any:
        return self.gather(value)[0]

    def sum(self, array: Any) -> None:
        self.sums.append(array.size)
        first, *others = self.gather(array.copy())
        for other in others:
            first = first + other
        array[...] = first

    @contextmanager
    def waiting(self) -> Iterator[None]:
        yield


def together(size: int, act: Callable[[Threads], Any]) -> list[Any]:
    """What ``act`` returns, or the exception that it raises, on each of ``size`` ranks."""
    meeting, slots = threading.Barrier(size), [None] * size
    found: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            found[rank] = act(Threads(rank, size, meeting, slots))
        except BaseException as error:
            found[rank] = error
            if not isinstance(error, KeyboardInterrupt | Exception):
                raise

    threads = [
        threading.Thread(
            target=contextvars.copy_context().run, args=(run, rank), name=f"rank {rank}"
        )
        for rank in range(size)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def values(found: list[Any]) -> list[Any]:
    """The results of `together`, if no rank has raised."""
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return found
