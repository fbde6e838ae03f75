"""What processes say to each other: shares, agreement, what one does for all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranks import Threads, together, values

from tinyvae.errors import DataError, OptionError, ParallelError
from tinyvae.parallel import Alone, Communicator, joined


def shares(count: int, size: int) -> list[tuple[slice, float]]:
    return [Communicator.share(SimpleNamespace(rank=k, size=size), count) for k in range(size)]


@given(st.integers(1, 200), st.integers(1, 50))
def test_every_row_is_in_one_share_and_shares_differ_by_one_row_at_most(count: int, size: int):
    found = shares(count, size)
    rows = [row for mine, part in found if part for row in range(count)[mine]]
    assert rows == list(range(count))
    lengths = [round(part * count) for _, part in found]
    assert max(lengths) - min(lengths) <= 1
    assert all(
        len(range(count)[mine]) == max(1, n) for (mine, _), n in zip(found, lengths, strict=True)
    )
    assert sum(part for _, part in found) == pytest.approx(1)


def test_one_process_alone_has_the_whole_batch_and_talks_to_itself():
    alone = Alone()
    assert alone.share(7) == (slice(0, 7), 1.0)
    assert alone.gather("a") == ["a"]
    alone.agree({"seed": 3})
    with joined(None) as group:
        assert isinstance(group, Alone)


def test_what_is_done_once_is_done_on_rank_0_and_known_everywhere():
    done: list[int] = []

    def act(group: Threads) -> str:
        return group.once(lambda: done.append(group.rank) or "folder")

    assert values(together(3, act)) == ["folder"] * 3
    assert done == [0]


def test_what_rank_0_refuses_every_rank_refuses_in_the_same_words():
    def refuse() -> None:
        raise DataError("nothing there")

    found = together(3, lambda group: group.once(refuse))
    assert [(type(error), str(error)) for error in found] == [(DataError, "nothing there")] * 3


def test_rank_0_goes_first_and_each_rank_has_its_own():
    order: list[int] = []
    found = values(together(4, lambda g: g.in_turn(lambda: order.append(g.rank) or g.rank)))
    assert found == [0, 1, 2, 3]
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2, 3]


def test_ranks_that_differ_are_told_in_what_and_which():
    def act(group: Threads) -> None:
        group.agree({"batch": 8, "seed": 1 + group.rank // 2})

    found = together(3, act)
    assert {str(error) for error in found} == {str(found[0])}
    assert isinstance(found[0], ParallelError)
    assert "differ in seed: 1 on rank 0, and 2 on rank 2; start all" in str(found[0])
    values(together(3, lambda group: group.agree({"seed": 1})))


def test_a_setting_that_only_some_ranks_have_is_a_difference():
    found = together(2, lambda group: group.agree({"--beta": 2.0} if group.rank else {}))
    assert "differ in --beta: None on rank 0, and 2.0 on rank 1" in str(found[0])


def test_every_rank_reads_the_file_that_rank_0_sees(tmp_path: Path):
    def act(group: Threads) -> bytes:
        read: list[bytes] = []
        path = tmp_path / f"of rank {group.rank}"
        if group.rank == 0:
            path.write_bytes(b"state")
        group.with_file(path, lambda there: read.append(there.read_bytes()))
        return read[0]

    assert values(together(3, act)) == [b"state"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["of rank 0"]


def test_another_word_than_mpi_is_refused():
    with (
        pytest.raises(OptionError, match=r"parallel is 'mpi', or left out .* not 'threads'"),
        joined("threads"),
    ):
        pass
