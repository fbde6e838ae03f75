"""FactorVAE's score is the accuracy of the dimension that stands still."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyvae.data import faces, sprites
from tinyvae.errors import OptionError, ShapeError
from tinyvae.evaluation.factor_votes import factor_vae_score, groups_sharing

TABLE = np.random.default_rng(0).random((500, 4))
GROUPS = groups_sharing(TABLE, votes=400, size=16)


def score(codes: np.ndarray) -> float:
    return factor_vae_score(codes, GROUPS.kept, codes.reshape(-1, codes.shape[2]).std(axis=0))


# The groups


def test_a_group_shares_one_factor_and_no_other() -> None:
    same = (GROUPS.factors == GROUPS.factors[:, :1]).all(axis=1)  # (V, F)
    np.testing.assert_array_equal(same, np.eye(4, dtype=bool)[GROUPS.kept])


def test_each_factor_is_shared_about_as_often_and_takes_the_values_of_the_data() -> None:
    assert np.bincount(GROUPS.kept).min() > 70
    for k in range(4):
        assert set(GROUPS.factors[..., k].ravel()) <= set(TABLE[:, k])
    shared = GROUPS.factors[np.arange(400), 0, GROUPS.kept]
    assert len(set(shared)) > 200  # not the same value in all groups


def test_the_other_factors_are_independent_even_where_those_of_the_data_are_not() -> None:
    alike = groups_sharing(np.repeat(TABLE[:, :1], 3, axis=1), votes=50, size=200)
    rows = alike.factors[alike.kept == 2].reshape(-1, 3)
    assert abs(np.corrcoef(rows[:, :2].T)[0, 1]) < 0.1


def test_the_same_seed_gives_the_same_groups_and_another_seed_others() -> None:
    one, same, other = (groups_sharing(TABLE, 10, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.factors, same.factors)
    assert not np.array_equal(one.factors, other.factors)


@pytest.mark.parametrize("data", [faces, sprites])
def test_faces_and_sprites_can_be_drawn_from_groups(data: object) -> None:
    groups = groups_sharing(data.load(count=50).train.labels, votes=4, size=3)
    images = data.draw(groups.factors.reshape(12, -1), size=16)
    assert len(images) == 12


# The score


def test_a_dimension_for_each_factor_scores_1() -> None:
    assert score(GROUPS.factors) == 1


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.lists(st.floats(1, 5), min_size=4, max_size=4))
def test_order_and_scale_do_not_matter_where_none_is_collapsed(
    order: list[int], scale: list[float]
) -> None:
    mixed = GROUPS.factors @ np.array([[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1.5]])
    assert score(mixed[:, :, order] * scale) == score(mixed)


def test_noise_scores_as_chance_does() -> None:
    assert score(np.random.default_rng(1).random((400, 16, 4))) < 0.38


def test_a_second_dimension_for_a_factor_costs_nothing_and_to_have_none_its_share() -> None:
    assert score(np.concatenate([GROUPS.factors, 2 * GROUPS.factors[..., :1]], axis=2)) == 1
    blind = GROUPS.factors.copy()
    blind[..., 2] = np.random.default_rng(1).random((400, 16))
    assert 0.65 < score(blind) < 0.9


def test_the_groups_that_are_judged_are_not_those_that_decided() -> None:
    """Every group of the first half votes for factor 0, and all of the second are of factor 1."""
    still = np.random.default_rng(2).random((20, 8, 2))
    still[:, :, 0] = 0.5
    assert factor_vae_score(still, np.repeat([0, 1], 10), np.array([0.3, 0.3])) == 0


def test_a_collapsed_dimension_has_no_vote() -> None:
    rng = np.random.default_rng(3)
    codes = GROUPS.factors + 0.01 * rng.random((400, 16, 4))
    collapsed = 0.01 * rng.random((400, 16, 1))
    collapsed[:200] *= 1e-3  # it would win every vote of the first half
    assert score(np.concatenate([codes, collapsed], axis=2)) == 1


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(V, L, K\) go with kept"):
        factor_vae_score(TABLE, GROUPS.kept, np.ones(4))
    with pytest.raises(OptionError, match="every dimension is constant"):
        factor_vae_score(GROUPS.factors, GROUPS.kept, np.zeros(4))
    with pytest.raises(ShapeError, match=r"\(N, F\)"):
        groups_sharing(TABLE[:, 0])
    with pytest.raises(OptionError, match="from 2 up, not 1 and 64"):
        groups_sharing(TABLE, votes=1)
