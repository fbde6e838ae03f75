"""What a process makes of the way in which it was started."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from tinyvae.parallel.launch import OTHERS, SIZES, is_launched, processes


@pytest.fixture(autouse=True)
def by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SIZES + OTHERS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [("PMI_SIZE", "4", 4), ("OMPI_COMM_WORLD_SIZE", "2", 2), ("PMIX_RANK", "0", 0)],
)
def test_every_kin_of_mpiexec_is_known_by_what_it_leaves_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, count: int
):
    assert (is_launched(), processes()) == (False, 0)
    monkeypatch.setenv(name, value)
    assert (is_launched(), processes()) == (True, count)


@pytest.mark.parametrize(
    ("bound", "threads"),
    [
        ([{0, 1, 2, 3}] * 2, 2),  # one machine, nobody bound
        ([{0, 1}, {2, 3}], 2),  # the launcher gave each its own
        ([{0, 1}] * 3, 1),  # more processes than cores
        ([{0, 1, 2, 3}], 4),
    ],
)
def test_the_processes_of_a_machine_share_its_cores_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch, bound: list[set[int]], threads: int
):
    limits = []
    threadpoolctl = pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(threadpoolctl, "threadpool_limits", limits.append)
    from tinyvae.parallel.mpi import THREADS, _share_cores

    here = SimpleNamespace(size=len(bound), allgather=lambda _: bound)
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    _share_cores(here)
    assert limits == [threads]
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "7")
    _share_cores(here)
    assert limits == [threads]
