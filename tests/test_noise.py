"""Noise is the stated distribution, the same on every backend, and resumes bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import standin
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.backend import Backend, get
from tinyvae.errors import OptionError
from tinyvae.noise import BLOCK, Noise

FLOATS = ["float32", "float64"]
COUNT = 200_000


def normal_cdf(x: np.ndarray) -> np.ndarray:
    return np.array([(1 + math.erf(v / math.sqrt(2))) / 2 for v in x.tolist()])


def kolmogorov_smirnov(draws: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray]) -> float:
    """The largest distance of the empirical cdf from ``cdf``, times the root of the count."""
    n, expected = len(draws), cdf(np.sort(draws).astype("float64"))
    above, below = np.arange(1, n + 1) / n - expected, expected - np.arange(n) / n
    return float(max(above.max(), below.max()) * math.sqrt(n))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_the_same_seed_gives_the_same_numbers_on_every_backend(
    backend: Backend, kind: str, dtype: str
) -> None:
    here = getattr(Noise(7), kind)((3, 5), dtype)
    there = getattr(Noise(7, backend="numpy"), kind)((3, 5), dtype)
    assert isinstance(here, backend.array_type)
    assert (here.shape, here.dtype) == ((3, 5), dtype)
    np.testing.assert_array_equal(backend.to_host(here), there)


def test_the_numbers_of_a_seed_stay_what_they_are() -> None:
    # A change here changes every recorded result: NumPy's own stream moved, or ours did.
    numbers = [1.1375024404290368, 0.5381662705471898, 0.38188466718060166]
    np.testing.assert_allclose(Noise(0).normal((3,), "float64"), numbers, rtol=1e-12)
    assert Noise(0, "shuffle").permutation(5).tolist() == [0, 2, 4, 1, 3]


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_has_the_moments_of_the_standard_normal(dtype: str) -> None:
    draws = Noise(1).normal((COUNT,), dtype).astype("float64")
    # Five standard errors: var(x^k) / n, with E x^2k = 1, 3, 15, 105 for k = 1 to 4.
    for k, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((draws**k).mean() - moment) < 5 * math.sqrt(variance / COUNT)


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_has_the_moments_and_bounds_of_the_unit_interval(dtype: str) -> None:
    draws = Noise(1).uniform((COUNT,), dtype).astype("float64")
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / COUNT)
    assert abs(((draws - 1 / 2) ** 2).mean() - 1 / 12) < 5 * math.sqrt(1 / 180 / COUNT)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("kind", "cdf"), [("normal", normal_cdf), ("uniform", lambda x: x)])
def test_draws_follow_the_closed_form_cdf(
    kind: str, cdf: Callable[[np.ndarray], np.ndarray], dtype: str
) -> None:
    noise = Noise(2)
    draws = np.concatenate([getattr(noise, kind)((1000,), dtype) for _ in range(100)])
    assert kolmogorov_smirnov(draws, cdf) < 1.95  # exceeded once in a thousand seeds
    assert kolmogorov_smirnov(draws + np.asarray(0.05, dtype), cdf) > 1.95


def test_draws_one_after_the_other_are_uncorrelated_and_never_repeat() -> None:
    noise = Noise(3)
    draws = np.concatenate([noise.normal((1000,), "float64") for _ in range(200)])
    assert len(np.unique(draws)) == len(draws)
    for lag in (1, 2, 1000, BLOCK):
        products = draws[:-lag] * draws[lag:]
        assert abs(products.mean()) < 5 / math.sqrt(len(products))


@pytest.mark.parametrize(
    "other",
    [Noise(4, "b"), Noise(5, "a"), Noise(4), Noise(4, "a", "a"), Noise(4, "", "a")],
    ids=["name", "seed", "parent", "child", "cousin"],
)
def test_streams_of_other_names_and_seeds_are_independent(other: Noise) -> None:
    state = other.state()
    first, second = Noise(4, "a").normal((COUNT,)), other.normal((COUNT,))
    other.restore(state)
    assert abs(float((first * second).mean())) < 5 / math.sqrt(COUNT)
    assert not (first == second).all()


def test_a_stream_is_its_seed_and_path_however_it_was_reached() -> None:
    direct = Noise(4, "model", "dropout").normal((9,))
    parent = Noise(4)
    parent.normal((3,))
    reached = parent.stream("model").stream("dropout").normal((9,))
    np.testing.assert_array_equal(reached, direct)


def test_taking_a_stream_does_not_move_the_parent() -> None:
    parent, alone = Noise(4), Noise(4)
    parent.normal((3,))
    alone.normal((3,))
    parent.stream("child").normal((3,))
    np.testing.assert_array_equal(parent.normal((3,)), alone.normal((3,)))


def test_a_stream_stays_on_the_backend_of_its_parent(backend: Backend) -> None:
    child = Noise(0, backend=backend).stream("child")
    assert isinstance(child.normal((2,)), backend.array_type)


@given(st.integers(1, 2**40), st.integers(0, 300))
def test_integers_lie_from_zero_to_below_their_bound(high: int, count: int) -> None:
    drawn = Noise(6).integers(high, (count, 2))
    assert (drawn.shape, drawn.dtype) == ((count, 2), "int64")
    assert ((drawn >= 0) & (drawn < high)).all()


def test_integers_reach_every_value_about_equally_often() -> None:
    counts = np.bincount(Noise(6).integers(10, (COUNT,), "int32"), minlength=10)
    chi_square = ((counts - COUNT / 10) ** 2 / (COUNT / 10)).sum()
    assert len(counts) == 10
    assert chi_square < 27.9  # of 9 degrees of freedom, exceeded once in a thousand seeds


@given(st.integers(0, 200))
def test_a_permutation_holds_each_number_once(n: int) -> None:
    assert sorted(Noise(6).permutation(n).tolist()) == list(range(n))


DRAWS = st.one_of(
    st.tuples(
        st.sampled_from(["normal", "uniform"]),
        st.sampled_from([0, 1, 2, 100, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3]),
        st.sampled_from(FLOATS),
    ),
    st.tuples(st.just("integers"), st.integers(0, 7), st.sampled_from(["int32", "int64"])),
    st.tuples(st.just("permutation"), st.integers(0, 7)),
)


def draw(noise: Noise, kind: str, size: int, dtype: str = "") -> np.ndarray:
    if kind == "permutation":
        return noise.permutation(size)
    if kind == "integers":
        return noise.integers(1000, (size,), dtype)
    return noise.backend.to_host(getattr(noise, kind)((size,), dtype))


@given(before=st.lists(DRAWS, max_size=5), after=st.lists(DRAWS, min_size=1, max_size=5))
def test_a_restored_stream_goes_on_bit_for_bit(
    backend: Backend, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    noise = Noise(8, "training")
    for call in before:
        draw(noise, *call)
    saved = json.dumps(noise.state())
    expected = [draw(noise, *call) for call in after]
    moved = Noise(9)
    moved.normal((5,))
    for resumed in (noise, Noise(8, "training"), moved):
        resumed.restore(json.loads(saved))
        assert json.dumps(resumed.state()) == saved
        for call, numbers in zip(after, expected, strict=True):
            again = draw(resumed, *call)
            assert again.dtype == numbers.dtype
            np.testing.assert_array_equal(again, numbers)


def test_a_stream_saved_on_one_backend_goes_on_on_another() -> None:
    noise = Noise(8, backend="numpy")
    noise.normal((5,))
    other = Noise(0, backend="standin")
    other.restore(noise.state())
    np.testing.assert_array_equal(get("standin").to_host(other.normal((5,))), noise.normal((5,)))


def test_a_saved_state_is_not_moved_by_later_draws() -> None:
    noise = Noise(8)
    noise.normal((5,))
    state = noise.state()
    saved = json.dumps(state)
    noise.uniform((BLOCK,))
    assert json.dumps(state) == saved


def test_a_dtype_object_is_saved_like_its_name() -> None:
    noise, named = Noise(8), Noise(8)
    np.testing.assert_array_equal(
        noise.normal((3,), np.dtype("float64")), named.normal((3,), "float64")
    )
    noise.normal((3,), np.float64)
    named.normal((3,), "float64")
    assert json.dumps(noise.state()) == json.dumps(named.state())


def test_a_draw_that_fails_leaves_the_stream_where_it_was() -> None:
    noise, expected = Noise(8), Noise(8)
    for each in (noise, expected):
        each.normal((3,))
        each.integers(10, (3,))
    with pytest.raises(TypeError):
        noise.normal((3,), "float16")
    assert noise.state() == expected.state()


def test_an_array_of_noise_is_not_overwritten_by_later_draws() -> None:
    noise = Noise(8)
    first = noise.normal((4,))
    kept = first.copy()
    first_of_the_next = noise.normal((4,)).copy()
    first[...] = 0.0
    np.testing.assert_array_equal(Noise(8).normal((8,))[4:], first_of_the_next)
    noise.normal((BLOCK,))
    assert not first.any()
    np.testing.assert_array_equal(Noise(8).normal((4,)), kept)


def test_how_draws_are_cut_does_not_change_the_numbers_within_a_block() -> None:
    whole, parts = Noise(8), Noise(8)
    pieces = [parts.uniform(shape).ravel() for shape in ((2, 3), (), (0,), (10,))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole.uniform((17,)))


def test_drawing_does_not_wait_for_the_device_and_moves_one_block() -> None:
    before = standin.CALLS["from_host"]
    with standin.count_syncs() as syncs:
        noise = Noise(8, backend="standin")
        for _ in range(20):
            noise.normal((100, 20))
    assert syncs == []
    assert standin.CALLS["from_host"] == before + 1


@pytest.mark.parametrize("seed", [-1, 1.0, "1", None, True, np.int64(-3), [1]])
def test_a_seed_that_is_no_integer_from_zero_is_refused_in_a_sentence(seed: Any) -> None:
    with pytest.raises(OptionError, match=r"^a seed is an integer from 0, not .*for example"):
        Noise(seed)


@pytest.mark.parametrize("seed", [0, 2**63, 2**200, np.int64(5), np.uint8(5)])
def test_any_integer_from_zero_is_a_seed(seed: Any) -> None:
    noise = Noise(seed)
    assert type(noise.seed) is int
    np.testing.assert_array_equal(noise.normal((3,)), Noise(int(seed)).normal((3,)))
