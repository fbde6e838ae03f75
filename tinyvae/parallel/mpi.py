"""The processes that `mpiexec` started, through mpi4py.

A process that fails must not leave the others waiting for it. So it waits a second for them to
fail as well, as all do of a wrong option, and otherwise ends them; and if the others do not
answer for `PATIENCE`, it says so and ends them. A process that is killed is `mpiexec`'s to notice.
"""

from __future__ import annotations

import atexit
import io
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from typing import Any, Self, TypeVar

import numpy  # noqa: F401 - its BLAS has to be there before the number of its threads is set

from tinyvae.backend import Array, Backend
from tinyvae.errors import MissingExtraError, ParallelError
from tinyvae.parallel.communicator import Communicator
from tinyvae.parallel.launch import is_launched, processes

T = TypeVar("T")

PATIENCE = 1800.0  # seconds without an answer; rank 0 may load data or evaluate meanwhile
GRACE = 1.0  # seconds in which all processes fail that fail for the same reason
START = "mpiexec -n 4 tinyvae train --parallel mpi"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class MPI(Communicator):
    """All processes of one `mpiexec`; `world` makes it, once a process.

    While one of its methods waits for the other ranks, a thread looks at the time.

    Raises
    ------
    MissingExtraError
        No mpi4py, or no MPI that it can load.
    ParallelError
        Not started by ``mpiexec``, or by one that belongs to another MPI.
    """

    def __init__(self) -> None:
        self._mpi = _load()
        self._world = self._mpi.COMM_WORLD
        self.rank, self.size = self._world.rank, self._world.size
        _check_start(self.size, self._mpi.Get_library_version())
        self._ends = self._world.Dup()  # messages of its own, which nothing else can meet
        self._since = math.inf
        here = self._world.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.local_rank = here.rank
        _share_cores(here)
        threading.Thread(target=self._watch, daemon=True).start()

    def sum(self, array: Array) -> None:
        """Add up an array of the host over the ranks, in place."""
        with self.waiting():
            self._world.Allreduce(self._mpi.IN_PLACE, array)

    def broadcast(self, value: T) -> T:
        """Rank 0's ``value`` on every rank."""
        with self.waiting():
            told: T = self._world.bcast(value)
        return told

    def gather(self, value: T) -> list[T]:
        """The ``value`` of every rank."""
        with self.waiting():
            told: list[T] = self._world.allgather(value)
        return told

    def on(self, backend: Backend) -> Communicator:
        """The same processes; where arrays are on a GPU, through NCCL."""
        if backend.host or self.size == 1:
            return self
        from tinyvae.parallel.nccl import NCCL

        return NCCL(self)

    # What ends a run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is not None and not (isinstance(error, SystemExit) and not error.code):
            self.all_fail()

    def all_fail(self) -> bool:
        """Whether every rank does, within a second; if not, this one ends them as it exits."""
        meeting, limit = self._ends.Ibarrier(), time.monotonic() + GRACE
        while not (met := meeting.Test()) and time.monotonic() < limit:
            time.sleep(0.01)
        if not met:
            atexit.register(self._abort)  # after the message, or the traceback
        return bool(met)

    def _abort(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(GRACE)  # mpiexec drops what it has not passed on yet
        self._world.Abort(1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that waits for the other ranks, though not for ever."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = math.inf

    def _watch(self) -> None:
        patience = PATIENCE + self.rank  # so that one rank speaks for all
        while time.monotonic() - self._since < patience:
            time.sleep(min(1.0, patience))
        print(
            f"Error: rank {self.rank}: the other processes have not answered for {patience:.0f} s; "
            "one of them hangs or was lost. What was saved last is whole: end what still runs, and "
            "go on from there with --resume",
            file=sys.__stderr__,
            flush=True,
        )
        self._abort()


@contextmanager
def one_voice(group: MPI) -> Iterator[None]:
    """A block in which rank 0 prints, and of the others only one that fails by itself."""
    if group.rank == 0:
        with group:
            yield
        return
    said = io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            yield
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        if group.all_fail():
            raise SystemExit(getattr(error, "code", 1)) from None
        print(f"rank {group.rank}: {said.getvalue()}", end="", file=sys.stderr)
        raise


@cache
def world() -> MPI:
    """The processes that `mpiexec` started, this one among them; see `MPI`."""
    return MPI()


def _load() -> Any:
    mend = "pip install 'tinyvae[mpi]' mpich"
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise MissingExtraError(
            f"--parallel mpi needs mpi4py, and it cannot be imported ({error}): {mend}"
        ) from error
    except RuntimeError as error:  # mpi4py's, where it finds no library to load
        raise MissingExtraError(
            f"--parallel mpi needs an MPI beside mpi4py, and it finds none "
            f"({' '.join(str(error).split())}): {mend}, or load your cluster's module"
        ) from error
    return MPI


def _check_start(size: int, library: str) -> None:
    if size == 1 and not is_launched():
        raise ParallelError(
            "parallel 'mpi' was asked for, but mpiexec did not start this process: "
            f"{START}, or mpiexec -n 4 python -m mpi4py script.py"
        )
    if processes() > size:
        raise ParallelError(
            f"mpiexec started {processes()} processes, but each sees {size}: it belongs to another "
            f"MPI than the one that mpi4py uses ({library.split(chr(10))[0].strip()}); call that "
            "one's mpiexec by its full path"
        )


def _share_cores(here: Any) -> None:
    """As many threads for BLAS as there are cores for each process, unless the user chose."""
    from threadpoolctl import threadpool_limits

    if not any(name in os.environ for name in THREADS):
        cores = set().union(*here.allgather(_cores()))  # a launcher may bind each to its own
        threadpool_limits(max(1, len(cores) // here.size))


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
