"""The measures of disentanglement know the codes whose answer is known."""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinyvae.errors import DataError, OptionError, ShapeError
from tinyvae.evaluation.disentanglement import (
    dci,
    disentanglement_scores,
    mig,
    mig_per_factor,
    mutual_information,
    sap,
)

RNG = np.random.default_rng(0)
FACTORS = RNG.random((4000, 3))
TURN = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
MIXED = (FACTORS - 0.5) @ TURN.T
MEASURES = [mig, sap, lambda codes, factors: dci(codes, factors).disentanglement]


# Codes whose answer is known


@pytest.mark.parametrize("measure", MEASURES)
def test_a_dimension_for_each_factor_is_1_and_mixtures_and_noise_are_about_0(
    measure: Callable[..., float],
) -> None:
    assert measure(FACTORS, FACTORS) > 0.93  # not 1, since bins of so few rows know too much
    assert measure(MIXED, FACTORS) < 0.35
    assert abs(measure(RNG.random((4000, 5)), FACTORS)) < 0.05


def test_one_dimension_for_all_factors_is_complete_and_not_disentangled() -> None:
    digits = RNG.integers(4, size=(2000, 2))
    codes = np.stack([4 * digits[:, 0] + digits[:, 1], RNG.random(2000)], axis=1)
    result = dci(codes, digits, categorical=(0, 1))
    assert result.disentanglement < 0.1
    assert result.completeness > 0.95
    assert result.informativeness > 0.99
    assert mig(codes, digits) > 0.95  # which does not see this fault


def test_two_dimensions_for_one_factor_are_disentangled_and_not_complete() -> None:
    circle = np.stack([np.cos(6.28 * FACTORS[:, 0]), np.sin(6.28 * FACTORS[:, 0])], axis=1)
    result = dci(np.column_stack([circle, FACTORS[:, 1]]), FACTORS[:, :2])
    assert result.disentanglement > 0.95
    assert result.completeness < 0.9
    np.testing.assert_allclose(result.importances.sum(axis=0), 1)


def test_each_factor_is_judged_by_its_own_entropy() -> None:
    factors = np.array([[a, b] for a in range(2) for b in range(8)])
    np.testing.assert_allclose(mig_per_factor(factors, factors), 1)


def test_a_copy_of_a_dimension_takes_the_gap_away() -> None:
    twice = np.column_stack([FACTORS, FACTORS[:, 0]])
    np.testing.assert_allclose(mig_per_factor(twice, FACTORS)[0], 0, atol=1e-12)
    assert sap(twice, FACTORS) == pytest.approx(sap(FACTORS, FACTORS) * 2 / 3, abs=0.01)


def test_a_single_dimension_has_no_rival() -> None:
    one = FACTORS[:400, :1]
    assert mig(one, one, bins=2) == pytest.approx(1)
    assert sap(one, one) == pytest.approx(1)


def test_all_scores_are_those_of_each_measure() -> None:
    scores, parts = disentanglement_scores(MIXED, FACTORS, seed=3), dci(MIXED, FACTORS, seed=3)
    assert (scores.mig, scores.sap) == (mig(MIXED, FACTORS), sap(MIXED, FACTORS))
    assert scores.disentanglement == parts.disentanglement
    assert scores.completeness == parts.completeness
    assert scores.informativeness == parts.informativeness


# The mutual information gap


@given(arrays(np.int64, (3, 4), elements=st.integers(0, 9)))
def test_mutual_information_is_that_of_50_digits_of_any_table(counts: np.ndarray) -> None:
    counts[0, 0] += 1
    a, b = (np.repeat(k, counts.ravel()) for k in np.indices(counts.shape).reshape(2, -1))
    total = mp.mpf(int(counts.sum()))
    wanted = mp.fsum(
        int(n) / total * mp.log(int(n) * total / int(counts[i].sum()) / int(counts[:, j].sum()))
        for (i, j), n in np.ndenumerate(counts)
        if n
    )
    assert mutual_information(a, b) == pytest.approx(float(wanted), abs=1e-12)


def test_the_gap_of_discrete_codes_is_exact() -> None:
    """v is fair; z_1 is v in 3 of 4 rows, and z_2 in 5 of 8: both are binary channels."""
    v = np.repeat([0, 1], 32)
    wrong = np.arange(64) % 32
    codes = np.stack([v ^ (wrong % 4 == 0), v ^ (wrong // 4 < 3)], axis=1)

    def entropy(p: float) -> float:
        return -p * np.log2(p) - (1 - p) * np.log2(1 - p)

    np.testing.assert_allclose(mig(codes, v[:, None]), entropy(3 / 8) - entropy(1 / 4))


def test_a_gaussian_channel_has_the_information_of_its_formula() -> None:
    """I = -log(1 - rho^2) / 2 in nats, of which bins see a little less."""
    v, noise = RNG.standard_normal((2, 200_000))
    z = 0.9 * v + np.sqrt(1 - 0.81) * noise
    known = mig_per_factor(z[:, None], v[:, None], bins=40)
    counts = np.histogram(v, 40)[0] / len(v)
    entropy = -(counts[counts > 0] * np.log(counts[counts > 0])).sum()
    assert known[0] * entropy == pytest.approx(-np.log(1 - 0.81) / 2, rel=0.05)


def test_few_values_are_classes_and_many_are_binned() -> None:
    few, many = np.repeat(np.arange(64.0), 2), np.repeat(np.arange(65.0), 2)
    assert mig(few[:, None], few[:, None] ** 2) == pytest.approx(1)  # unevenly spaced
    binned = np.bincount(np.minimum((np.arange(65) / 64 * 4).astype(int), 3))
    coarse = -(binned / 65 * np.log(binned / 65)).sum()
    whole = many[:, None] > 31
    known = mutual_information(np.repeat(np.minimum(np.arange(65) // 16, 3), 2), whole[:, 0] * 1)
    gap = mig(many[:, None], many[:, None], bins=4)
    assert gap == pytest.approx(1)
    assert known < coarse
    # a factor that splits within a bin is not wholly known
    split = (many[:, None] > 23).astype(float)
    assert mig(many[:, None], split, bins=4) < 1


# What does not matter: the order, the scale and the sign of the dimensions


@settings(max_examples=25, deadline=None)
@given(
    st.permutations(range(3)),
    arrays(np.float64, 3, elements=st.sampled_from([0.25, 0.5, 2, -1, -4])),
    st.integers(0, 2**32 - 1),
)
def test_order_scale_and_sign_of_the_dimensions_do_not_matter(
    order: list[int], scale: np.ndarray, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes, factors = rng.integers(0, 90, (300, 3)) / 1.0, rng.random((300, 2))
    codes[:, 0] += 20 * factors[:, 0]
    codes -= codes.mean(axis=0)
    moved = codes[:, order] * scale
    assert sap(moved, factors) == pytest.approx(sap(codes, factors), abs=1e-9)
    positive = codes[:, order] * np.abs(scale)
    np.testing.assert_allclose(mig(positive, factors), mig(codes, factors), atol=1e-12)


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(3)))
def test_the_importances_move_with_the_dimensions(order: list[int]) -> None:
    codes, factors = MIXED[:600] + 0.2 * FACTORS[:600], FACTORS[:600]
    one, other = dci(codes, factors), dci(4 * codes[:, order], factors)
    np.testing.assert_allclose(other.importances, one.importances[order], atol=0.1)
    assert other.disentanglement == pytest.approx(one.disentanglement, abs=0.05)


# Categories


def test_a_category_is_told_by_thresholds_and_no_line_is_laid_through_it() -> None:
    names = np.repeat([0, 1, 2], 400)
    place = np.array([0.5, 0.0, 1.0])[names]  # in another order than the names
    codes = np.stack([place + 0.1 * RNG.random(1200), RNG.random(1200)], axis=1)
    assert sap(codes, names[:, None], categorical=(0,)) == pytest.approx(2 / 3, abs=0.06)
    assert sap(codes, names[:, None]) < 0.3
    assert dci(codes, names[:, None], categorical=(0,)).informativeness == 1


def test_a_rare_category_counts_as_much_as_a_frequent_one() -> None:
    names = (np.arange(1000) < 50).astype(int)
    useless = np.stack([RNG.random(1000), names], axis=1)
    assert sap(useless, names[:, None], categorical=(0,)) > 0.3  # 1 less about 1/2, not 0.95
    assert dci(useless[:, :1], names[:, None], categorical=(0,)).informativeness < 0.05


def test_balanced_thresholds_on_two_gaussians_are_right_as_often_as_their_formula_says() -> None:
    names = (np.arange(20_000) < 1000).astype(int)
    code = 2 * names + RNG.standard_normal(20_000)  # the best threshold is 1 for both
    assert sap(code[:, None], names[:, None], categorical=(0,)) == pytest.approx(0.841, abs=0.02)


def test_informativeness_is_judged_on_other_rows_and_in_no_unit() -> None:
    noise = RNG.random((1000, 6))
    assert dci(noise, FACTORS[:1000]).informativeness < 0.05
    one, other = (dci(MIXED[:1000], k * FACTORS[:1000]).informativeness for k in (1, 100))
    assert one == pytest.approx(other, rel=1e-3)  # rounding may move a split


# Dimensions that stand still


def test_a_constant_dimension_knows_nothing() -> None:
    codes = np.column_stack([np.full(4000, 0.1), FACTORS])
    assert sap(codes, FACTORS) == pytest.approx(sap(FACTORS, FACTORS))
    assert mig(codes, FACTORS) > mig(FACTORS, FACTORS) - 1e-12
    still = np.zeros((4000, 3))
    assert (mig(still, FACTORS), sap(still, FACTORS)) == (0, 0)
    assert dci(still[:200], FACTORS[:200]).disentanglement == 0


# What is refused


@pytest.mark.parametrize("measure", MEASURES)
def test_what_cannot_be_compared_is_refused(measure: Callable[..., float]) -> None:
    with pytest.raises(ShapeError, match=r"\(N, K\) are compared with factors \(N, F\)"):
        measure(FACTORS[:5], FACTORS[:6])
    with pytest.raises(ShapeError, match=r"not \(5,\) with"):
        measure(FACTORS[:5, 0], FACTORS[:5])
    with pytest.raises(DataError, match="NaN or infinite"):
        measure(FACTORS[:5] * np.nan, FACTORS[:5])
    with pytest.raises(DataError, match="factor 1 is always the same"):
        measure(FACTORS[:5], np.column_stack([FACTORS[:5, 0], np.ones(5)]))


def test_unknown_or_too_many_categories_and_too_few_bins_are_refused() -> None:
    for column in (3, -1):
        with pytest.raises(OptionError, match=f"from 0 to 2; {column} is none"):
            sap(FACTORS, FACTORS, categorical=(column,))
    with pytest.raises(OptionError, match="at most 64 different values"):
        dci(FACTORS, FACTORS, categorical=(0,))
    with pytest.raises(OptionError, match="from 2 up, not 1"):
        mig(FACTORS, FACTORS, bins=1)
