"""What was written down of a computation gives, repeated, what NumPy gives anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.backend import perform, unwatched
from tinyvae.backend.recording import Recording, Watched
from tinyvae.errors import NotRecordableError

Function = Callable[[Any, Any], Any]
WAYS: dict[str, Function] = {
    "ufuncs": lambda x, y: np.exp(x) * 2 - y / 3,
    "in place": lambda x, y: _in_place(x.copy(), y),
    "into a given array": lambda x, y: np.add(x, y, out=np.zeros_like(x)),
    "a matrix product": lambda x, y: x @ y.T,
    "a reduction": lambda x, y: x.sum(axis=1) + np.max(y, axis=0)[0] + np.mean(x),
    "a number": lambda x, y: (x * y).sum() * 0.5,
    "an empty slice": lambda x, y: x[:0].sum() + x - y[:, 4:].sum(),
    "numbers beside comparisons": lambda x, y: (x > 0) * 0.75 + (1.5 - (y > 1) * 1),
    "views": lambda x, y: x.T[1:, ::2].T + y.reshape(-1)[:1],
    "a copied shape": lambda x, y: x.T.reshape(-1) + y.reshape(-1),
    "one element": lambda x, y: x[1, 2] * y[0],
    "picked rows": lambda x, y: x[np.array([2, 0, 0])] + y[[1, 1, 2]],
    "only where a mask says so": lambda x, y: np.exp(x, out=y * 2, where=(x > y) & (x > 0)) + y,
    "picked by a mask": lambda x, y: np.where(x > y, x, -y),
    "a slice that is set": lambda x, y: _set(np.zeros_like(x), y),
    "rows added where they belong": lambda x, y: _added_at(np.zeros_like(x), y),
    "arrays end to end": lambda x, y: np.concatenate([x, y], axis=1) * np.stack([x, y])[1, 0, 0],
    "constant arrays": lambda x, y: np.full_like(x, 7) * np.ones_like(y) + x,
    "another dtype": lambda x, y: x.astype("float32") * y.astype("float32"),
    "broadcasting": lambda x, y: np.broadcast_to(x[:1], (3, 4)) * y + np.clip(x, -1, 1),
    "moved axes": lambda x, y: np.moveaxis(x[None], 0, 2)[..., 0] - np.squeeze(y[None], axis=0),
    "a product of vectors": lambda x, y: np.vecdot(x, y),
    "what is not NumPy's": lambda x, y: _performed(x, y),
}  # fmt: skip


def _in_place(x: Any, y: Any) -> Any:
    x += y
    x *= x
    np.negative(x, out=x)
    return x


def _set(x: Any, y: Any) -> Any:
    x[:, 1:3] = y[:, :2]
    x[0] = 5.0
    return x


def _added_at(x: Any, y: Any) -> Any:
    np.add.at(x, np.array([0, 0, 2]), y)
    return x


def _performed(x: Any, y: Any) -> Any:
    out = np.empty_like(x)
    perform(np.copyto, out, y)
    return out + x


def pairs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(seed).standard_normal((2, 3, 4))
    return x, y


@pytest.mark.parametrize("way", WAYS)
@given(seeds=st.lists(st.integers(0, 9), min_size=2, max_size=4))
def test_repeated_on_other_values_it_gives_the_same_bits_as_anew(
    way: str, seeds: list[int]
) -> None:
    recording, memory = Recording(), pairs(seeds[0])
    result = WAYS[way](*map(recording.watch, memory))
    again = recording.finish([unwatched(result)])
    for seed in seeds:
        for array, values in zip(memory, pairs(seed), strict=True):
            array[...] = values
        again()
        wanted = np.asarray(WAYS[way](*pairs(seed)))
        got = unwatched(result)
        assert type(got) is np.ndarray
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(got, wanted)


def test_what_is_computed_while_written_down_is_right_as_well() -> None:
    for way, function in WAYS.items():
        got = unwatched(function(*map(Recording().watch, pairs(1))))
        np.testing.assert_array_equal(got, function(*pairs(1)), err_msg=way)


@pytest.mark.parametrize(
    "look",
    [
        bool,
        float,
        int,
        lambda x: x.item(),
        lambda x: x.tolist(),
        lambda x: [1, 2][x],
        np.linalg.det,
    ],
)
def test_what_looks_at_a_value_or_is_not_known_cannot_be_written_down(look: Any) -> None:
    x = Recording().watch(np.array(1) if look is not np.linalg.det else np.eye(2))
    with pytest.raises(NotRecordableError):
        look(x)


def test_views_need_no_call() -> None:
    recording = Recording()
    x = recording.watch(np.zeros((3, 4)))
    views = x.T, x[1:], x[..., None], x.reshape(4, 3), x[0, 1], np.broadcast_to(x, (2, 3, 4))
    assert all(type(view) is Watched for view in views)
    assert recording.calls == []


def test_what_is_performed_is_performed_each_time_and_may_raise() -> None:
    def refuse_ones(x: np.ndarray) -> None:
        if (x == 1).any():
            raise ValueError("a one")

    recording, memory = Recording(), np.zeros(2)
    perform(refuse_ones, recording.watch(memory))
    again = recording.finish()
    again()
    memory[1] = 1
    with pytest.raises(ValueError, match="a one"):
        again()


def test_without_a_watched_array_performing_is_only_calling() -> None:
    seen: list[np.ndarray] = []
    perform(seen.append, np.zeros(2))
    assert len(seen) == 1
