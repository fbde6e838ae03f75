"""What processes that train together can do: add up, tell, agree; and one process alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from tinyvae.errors import OptionError, ParallelError, TinyvaeError

if TYPE_CHECKING:  # so that the command line can ask for `launched` without loading NumPy
    from tinyvae.backend import Array, Backend

T = TypeVar("T")


class Communicator(ABC):
    """The processes that train together. Every method is called on all ranks, in one order.

    Attributes
    ----------
    rank, size : int
        Which process this is, counted from 0, and how many there are.
    local_rank : int
        Which of those on this machine.
    """

    rank: int
    size: int
    local_rank: int

    @abstractmethod
    def sum(self, array: Array) -> None:
        """Add up ``array`` over the ranks, in place and element by element."""

    @abstractmethod
    def broadcast(self, value: T) -> T:
        """Rank 0's ``value``, of plain data, on every rank."""

    @abstractmethod
    def gather(self, value: T) -> list[T]:
        """The ``value`` of every rank, of plain data, on every rank."""

    def on(self, backend: Backend) -> Communicator:  # noqa: ARG002
        """The same processes, adding up arrays of this backend."""
        return self

    # In terms of these

    def share(self, count: int) -> tuple[slice, float]:
        """The rows of a batch of ``count`` that are this rank's, and their part of the batch.

        Where there are fewer rows than ranks, some get the first row with a part of 0.

        >>> Alone().share(10)
        (slice(0, 10, None), 1.0)
        """
        start, stop = (count * k // self.size for k in (self.rank, self.rank + 1))
        return slice(start, stop) if stop > start else slice(0, 1), (stop - start) / count

    def once(self, act: Callable[[], T]) -> T:
        """What ``act`` returns on rank 0, which alone calls it; on every rank.

        Raises
        ------
        TinyvaeError
            The one that it raises there.
        """
        outcome: tuple[Any, TinyvaeError | None] = None, None
        if self.rank == 0:
            try:
                outcome = act(), None
            except TinyvaeError as error:
                outcome = None, error
        value, failure = self.broadcast(outcome)
        if failure is not None:
            raise failure
        return value  # type: ignore[no-any-return]

    def in_turn(self, act: Callable[[], T]) -> T:
        """What ``act`` returns on this rank; rank 0 goes first, since it may download."""
        mine: list[T] = []
        self.once(lambda: mine.append(act()))
        return mine[0] if mine else act()

    def agree(self, about: Mapping[str, Any]) -> None:
        """See that ``about``, plain data by name, is the same on every rank.

        Raises
        ------
        ParallelError
            It is not; with the name, two values, and their ranks.
        """
        first, *others = self.gather(dict(about))
        for rank, other in enumerate(others, 1):
            for name in first | other:
                here, there = first.get(name), other.get(name)
                if here != there:
                    raise ParallelError(
                        f"the processes differ in {name}: {here!r} on rank 0, and {there!r} on "
                        f"rank {rank}; start all of them by one command, with the same settings, "
                        "the same versions and the same data"
                    )

    def with_file(self, path: Path, act: Callable[[Path], object]) -> None:
        """Call ``act`` with rank 0's file; elsewhere, where its disk may be out of sight, a copy.

        Raises
        ------
        TinyvaeError
            The one that it raises on rank 0, which is the first.
        """
        self.once(lambda: act(path))
        content = self.broadcast(path.read_bytes() if self.rank == 0 < self.size - 1 else b"")
        if self.rank:
            with TemporaryDirectory() as folder:
                copy = Path(folder, path.name)
                copy.write_bytes(content)
                act(copy)


class Alone(Communicator):
    """One process.

    Examples
    --------
    >>> Alone().once(lambda: 5)
    5
    """

    rank, size, local_rank = 0, 1, 0

    def sum(self, array: Array) -> None:
        """Nothing: it is the sum."""

    def broadcast(self, value: T) -> T:
        """``value``."""
        return value

    def gather(self, value: T) -> list[T]:
        """``value``, in a list."""
        return [value]


@contextmanager
def joined(parallel: str | None) -> Iterator[Communicator]:
    """The processes to train with: all that ``mpiexec`` started, or this one alone.

    If the block raises on some of them only, all are ended when this process ends.

    Parameters
    ----------
    parallel : {None, "mpi"}

    Raises
    ------
    OptionError
        Another word.
    ParallelError, MissingExtraError
        For ``"mpi"``: not started by ``mpiexec``, or by that of another MPI; no mpi4py.

    Examples
    --------
    >>> with joined(None) as group:
    ...     group.rank, group.size
    (0, 1)
    """
    if parallel not in (None, "mpi"):
        raise OptionError(f"parallel is 'mpi', or left out for one process, not {parallel!r}")
    if parallel is None:
        yield Alone()
        return
    from tinyvae.parallel.mpi import world

    with world() as group:
        yield group
