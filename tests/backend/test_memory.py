"""Arrays that share memory never do so while both are needed."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.backend.memory import Call, owner, shared

ACTS = (np.add, np.multiply, np.maximum, np.subtract)
steps = st.lists(
    st.tuples(st.sampled_from(ACTS), st.integers(0, 99), st.integers(0, 99), st.booleans()),
    min_size=1,
    max_size=20,
)


def program(steps: list[tuple]) -> tuple[list[Call], list[np.ndarray]]:
    """Calls on two given arrays and on what calls before have made, some on a view of half."""
    arrays = [np.arange(1.0, 7.0), np.linspace(-1, 1, 6)]
    calls = []
    for act, i, j, half in steps:
        a, b = arrays[i % len(arrays)], arrays[j % len(arrays)]
        size = min(a.size, b.size) // (2 if half and min(a.size, b.size) > 1 else 1)
        a, b = a[:size], b[-size:]
        arrays.append(np.empty(size))
        calls.append(Call(act, (a, b), arrays[-1], {}))
    return calls, arrays


def run(calls: list[Call]) -> None:
    for call in calls:
        call.act(*call.inputs, out=call.out)


@given(steps=steps)
def test_the_last_result_is_the_same_in_less_memory(steps: list[tuple]) -> None:
    calls, arrays = program(steps)
    run(calls)
    wanted = calls[-1].out.copy()
    fleeting = arrays[2:-1]
    moved = shared(calls, fleeting)
    for array in fleeting:
        array[...] = np.nan  # what still used the old place would be noticed
    run(moved)
    np.testing.assert_array_equal(moved[-1].out, wanted)
    homes = {id(owner(call.out)): owner(call.out).nbytes for call in moved[:-1]}
    assert sum(homes.values()) <= sum(array.nbytes for array in fleeting)


def test_a_long_chain_needs_two_pieces_of_memory() -> None:
    arrays = [np.ones(100) for _ in range(50)]
    chain = [Call(np.sqrt, (a,), b, {}) for a, b in itertools.pairwise(arrays)]
    moved = shared(chain, arrays[1:-1])
    assert len({id(owner(call.out)) for call in moved[:-1]}) == 2


def test_an_array_that_is_needed_later_keeps_its_memory() -> None:
    x, a, b, c = (np.ones(3) for _ in range(4))
    calls = [
        Call(np.add, (x, x), a, {}),
        Call(np.add, (a, a), b, {}),
        Call(np.add, (b, b), c, {"where": a > 0}),
        Call(np.add, (c, a), x, {}),
    ]
    run(moved := shared(calls, [a, b, c]))
    assert (moved[-1].out == 10).all()


def test_the_smallest_piece_that_will_do_is_taken() -> None:
    x, large, small, sums = np.ones(1000), np.empty(1000), np.empty(10), np.empty(10)
    calls = [
        Call(np.add, (x, x), large, {}),
        Call(np.add, (x[:10], x[:10]), small, {}),
        Call(np.add, (large[:10], small), x[:10], {}),
        Call(np.add, (x[:10], x[:10]), sums, {}),
    ]
    moved = shared(calls, [large, small, sums])
    assert owner(moved[-1].out) is owner(moved[1].out)
