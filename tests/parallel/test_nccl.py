"""The sum over GPUs, against a stand-in with the functions of `cupy.cuda.nccl` as documented."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ranks import PATIENCE, Threads, together, values

import tinyvae as tv
from tinyvae.errors import MissingExtraError, ParallelError
from tinyvae.parallel.nccl import NCCL, take_device

C_TYPES = {7: ctypes.c_float, 8: ctypes.c_double}  # the numbers of ncclFloat32 and ncclFloat64
SUM = 0
LOCAL = threading.local()  # each rank, a thread here, has a device and a stream of its own


class Stream:
    """Work that is only done when somebody waits for it, as on a GPU that is slow."""

    def __init__(self) -> None:
        self.work: list[Callable[[], object]] = []
        self.ptr = id(self)

    def synchronize(self) -> None:
        work, self.work = self.work, []
        for each in work:
            each()


class Event:
    def __init__(self, *, disable_timing: bool = False) -> None:
        self.stream: Stream | None = None

    def record(self, stream: Stream) -> None:
        self.stream = stream

    def synchronize(self) -> None:
        if self.stream is not None:
            self.stream.synchronize()


class Device:
    def __init__(self, number: int | None = None) -> None:
        self.id = getattr(LOCAL, "device", 0) if number is None else number

    def use(self) -> None:
        LOCAL.device = self.id


class NcclCommunicator:
    """One rank of a group; made when all have come, and found again by the unique id."""

    groups: dict[tuple[int, ...], Any] = {}  # noqa: RUF012

    def __init__(self, ndev: int, commId: tuple[int, ...], rank: int) -> None:
        assert type(commId) is tuple
        assert len(commId) == 128
        fresh = SimpleNamespace(meeting=threading.Barrier(ndev), slots=[None] * ndev)
        self.group, self.rank = self.groups.setdefault(commId, fresh), rank
        self.group.meeting.wait(PATIENCE)

    def allReduce(  # noqa: N802
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int
    ) -> None:
        assert all(type(x) is int for x in (sendbuf, recvbuf, count, datatype, op, stream))
        assert op == SUM
        assert stream == LOCAL.stream.ptr
        LOCAL.stream.work.append(lambda: self._add_up(sendbuf, recvbuf, count, datatype))

    def _add_up(self, sendbuf: int, recvbuf: int, count: int, datatype: int) -> None:
        self.group.slots[self.rank] = memory(sendbuf, count, datatype).copy()
        self.group.meeting.wait(PATIENCE)
        memory(recvbuf, count, datatype)[:] = np.sum(self.group.slots, axis=0)
        self.group.meeting.wait(PATIENCE)


def memory(pointer: int, count: int, datatype: int) -> np.ndarray:
    return np.ctypeslib.as_array((C_TYPES[datatype] * count).from_address(pointer))


class OnDevice:
    """As much of an array of CuPy as NCCL sees."""

    def __init__(self, host: np.ndarray) -> None:
        self.host, self.size, self.dtype = host, host.size, host.dtype
        self.data = SimpleNamespace(ptr=host.ctypes.data)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A `cupy` with nothing but what the sum asks of `cupy.cuda`, on a machine of two GPUs."""
    unique = iter(range(1000))
    nccl = ModuleType("cupy.cuda.nccl")
    nccl.__dict__.update(
        available=True,
        NcclCommunicator=NcclCommunicator,
        get_unique_id=lambda: (next(unique), *[0] * 127),
        NCCL_FLOAT32=7,
        NCCL_FLOAT64=8,
        NCCL_SUM=SUM,
    )
    cuda = ModuleType("cupy.cuda")
    cuda.__dict__.update(
        nccl=nccl,
        Device=Device,
        Event=Event,
        get_current_stream=lambda: LOCAL.stream,
        runtime=SimpleNamespace(getDeviceCount=lambda: 2),
    )
    cupy = ModuleType("cupy")
    cupy.__dict__.update(cuda=cuda)
    NcclCommunicator.groups.clear()
    for module in (cupy, cuda, nccl):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return cuda


def joined(group: Threads) -> NCCL:
    take_device(group.local_rank)
    LOCAL.stream = Stream()
    return NCCL(group)  # type: ignore[arg-type]


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_of_two_gpus_are_added_up_in_place_and_in_the_order_of_the_stream(dtype: str):
    def act(group: Threads) -> np.ndarray:
        nccl = joined(group)
        array = OnDevice(np.arange(5, dtype=dtype) + group.rank)
        LOCAL.stream.work.append(lambda: array.host.__imul__(2))
        nccl.sum(array)
        assert array.host.tolist() == [k + group.rank for k in range(5)]  # nobody has waited
        LOCAL.stream.work.append(lambda: array.host.__iadd__(1))
        nccl.sum(array)
        assert array.host.tolist() == [4 * k + 3 for k in range(5)]  # the first, waited for
        LOCAL.stream.synchronize()
        return array.host

    wanted = 2 * (2 * (2 * np.arange(5, dtype=dtype) + 1) + 1)
    for found in values(together(2, act)):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.usefixtures("cuda")
def test_a_part_of_a_larger_array_is_added_up_by_itself():
    def act(group: Threads) -> list[float]:
        nccl, host = joined(group), np.ones(6)
        nccl.sum(OnDevice(host[1:4]))
        LOCAL.stream.synchronize()
        return host.tolist()

    assert values(together(2, act)) == [[1, 2, 2, 2, 1, 1]] * 2


@pytest.mark.usefixtures("cuda")
def test_plain_data_goes_by_mpi():
    def act(group: Threads) -> tuple[str, list[int], int, int]:
        nccl = joined(group)
        told = nccl.broadcast(f"by rank {group.rank}")
        return told, nccl.gather(group.rank), nccl.rank, nccl.local_rank

    assert values(together(2, act)) == [("by rank 0", [0, 1], k, k) for k in (0, 1)]


@pytest.mark.usefixtures("cuda")
def test_two_ranks_on_one_gpu_are_refused():
    def act(group: Threads) -> NCCL:
        LOCAL.device = 1
        return NCCL(group)  # type: ignore[arg-type]

    for error in together(2, act):
        assert isinstance(error, ParallelError)
        assert "ranks 0 and 1 both use GPU 1 of " in str(error)


@pytest.mark.usefixtures("cuda")
def test_a_process_for_which_there_is_no_gpu_says_so():
    take_device(1)
    with pytest.raises(ParallelError, match=r"has 2 GPU\(s\), and process 3 on it finds none"):
        take_device(2)


def test_without_nccl_the_mend_is_named(cuda: ModuleType):
    cuda.nccl.available = False
    with pytest.raises(MissingExtraError, match=r"finds none .*: pip install nvidia-nccl-cu12"):
        take_device(0)


def test_the_communicator_of_a_host_is_mpi_itself():
    from tinyvae.parallel.mpi import MPI

    mpi = MPI.__new__(MPI)
    mpi.rank, mpi.size = 0, 2
    assert mpi.on(tv.backend.get("numpy")) is mpi
