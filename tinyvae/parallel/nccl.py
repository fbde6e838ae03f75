"""The sum over GPUs, each with a process of its own, through NCCL."""

from __future__ import annotations

import platform
from itertools import combinations
from typing import Any, TypeVar

from tinyvae.backend import Array
from tinyvae.errors import MissingExtraError, ParallelError
from tinyvae.parallel.communicator import Communicator
from tinyvae.parallel.mpi import MPI

T = TypeVar("T")


class NCCL(Communicator):
    """Arrays are added up from GPU to GPU by NCCL; plain data goes by MPI.

    It has not run on a GPU: tests hold it to a stand-in with the functions of
    ``cupy.cuda.nccl`` as documented.

    Parameters
    ----------
    mpi : MPI
        The processes. Each uses the GPU that is current in it, and no other one's.

    Raises
    ------
    MissingExtraError
        CuPy finds no NCCL.
    ParallelError
        Two processes use one GPU.
    """

    def __init__(self, mpi: MPI) -> None:
        self._mpi, self._cuda = mpi, _cuda()
        self.rank, self.size, self.local_rank = mpi.rank, mpi.size, mpi.local_rank
        nccl = self._nccl = self._cuda.nccl
        _check_devices(mpi.gather((platform.node(), int(self._cuda.Device().id))))
        name = mpi.once(nccl.get_unique_id)
        self._group = nccl.NcclCommunicator(self.size, name, self.rank)
        self._types = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}
        self._done = self._cuda.Event(disable_timing=True)

    def sum(self, array: Array) -> None:
        """Add up an array of the device, in place, behind what its stream has to do.

        It waits for the sum before, so that a rank that hangs is noticed within a step.
        """
        with self._mpi.waiting():
            self._done.synchronize()
        stream, where = self._cuda.get_current_stream(), array.data.ptr
        kind = self._types[str(array.dtype)]
        self._group.allReduce(where, where, array.size, kind, self._nccl.NCCL_SUM, stream.ptr)
        self._done.record(stream)

    def broadcast(self, value: T) -> T:
        """Rank 0's ``value`` on every rank."""
        return self._mpi.broadcast(value)

    def gather(self, value: T) -> list[T]:
        """The ``value`` of every rank."""
        return self._mpi.gather(value)


def take_device(local_rank: int) -> None:
    """Make the GPU with this number the current one, before anything is put on it.

    Raises
    ------
    ParallelError
        This machine has more processes than GPUs.
    """
    cuda = _cuda()
    if local_rank >= (count := cuda.runtime.getDeviceCount()):
        raise ParallelError(
            f"{platform.node()} has {count} GPU(s), and process {local_rank + 1} on it finds none "
            "left: start at most one process for each GPU"
        )
    cuda.Device(local_rank).use()


def _check_devices(used: list[tuple[str, int]]) -> None:
    for (a, here), (b, there) in combinations(enumerate(used), 2):
        if here == there:
            raise ParallelError(
                f"ranks {a} and {b} both use GPU {here[1]} of {here[0]}, and NCCL wants one for "
                "each: call cupy.cuda.Device(...).use() before the model is made, with another "
                "number in each process"
            )


def _cuda() -> Any:
    import cupy

    try:
        from cupy.cuda import nccl
    except ImportError as error:
        raise _missing(error) from error
    if not nccl.available:
        raise _missing("it was built without")
    return cupy.cuda


def _missing(why: object) -> MissingExtraError:
    return MissingExtraError(
        f"--parallel mpi on GPUs needs NCCL, and CuPy finds none ({why}): "
        "pip install nvidia-nccl-cu12"
    )
