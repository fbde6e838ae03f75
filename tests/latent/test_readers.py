"""Regressors of factors, and the leakage of walks whose leakage is known."""

from __future__ import annotations

import numpy as np
import pytest

from tinyvae.data.faces import FACTORS, draw
from tinyvae.errors import DataError, ShapeError
from tinyvae.latent import Readers, leakage
from tinyvae.latent.readers import difference

RNG = np.random.default_rng(0)
HAIR, BACKGROUND = FACTORS.index("hair_colour"), FACTORS.index("background")


def walks(changes, noise=0.0, count=4000):
    """Two frames each: the factors begin anywhere and change by so much."""
    start = RNG.normal(size=(count, 1, len(changes)))
    end = start + np.array(changes) + noise * RNG.normal(size=start.shape)
    return np.concatenate([start, end], axis=1)


def test_leakage_is_the_change_in_standard_deviations_as_a_share_of_the_moved_one():
    scale = np.array([2.0, 0.5, 10.0])
    found = leakage(walks([4.0, 0.1, -3.0]), 0, scale)
    np.testing.assert_allclose(found.each, [1, 0.1, 0.15])
    np.testing.assert_allclose(found.mean, [1, 0.1, 0.15])
    np.testing.assert_allclose(found.farthest, [1, 0.1, 0.15])
    np.testing.assert_allclose([found.each_interval, found.mean_interval], 0, atol=1e-12)
    assert found.moved == pytest.approx(2)


def test_what_goes_up_in_one_face_and_down_in_another_is_in_each_and_not_in_the_mean():
    read = np.concatenate([walks([1.0, 0.4], count=50), walks([1.0, -0.4], count=50)])
    found = leakage(read, 0, np.ones(2))
    assert found.each[1] == pytest.approx(0.4)
    assert found.mean[1] == pytest.approx(0, abs=1e-12)


def test_what_moves_away_and_comes_back_is_in_the_farthest_alone():
    read = np.zeros((3, 5, 2))
    read[:, :, 0] = np.linspace(0, -1, 5)  # the walked factor may fall as well
    read[:, 2, 1] = 0.7
    found = leakage(read, 0, np.ones(2))
    np.testing.assert_allclose([found.each[1], found.mean[1], found.farthest[1]], [0, 0, 0.7])


def test_the_noise_of_the_readers_is_in_each_and_averages_out_of_the_mean():
    found = leakage(walks([2.0, 0.0], noise=0.1), 0, np.ones(2))
    np.testing.assert_allclose(found.each[1], 0.05 * np.sqrt(2 / np.pi), rtol=0.05)
    assert found.mean[1] < 0.05 / np.sqrt(4000) * 4


@pytest.mark.parametrize("kind", ["each", "mean"])
def test_nineteen_of_twenty_intervals_hold_the_true_ratio(kind):
    # The changes are 2 and 0.6, each with noise of its own, and seldom of another sign.
    found = [leakage(walks([2.0, 0.6], noise=0.15, count=60), 0, np.ones(2)) for _ in range(400)]
    inside = [
        abs(getattr(leak, kind)[1] - 0.3) < getattr(leak, f"{kind}_interval")[1] for leak in found
    ]
    assert 0.9 < np.mean(inside) < 0.985
    assert all(getattr(leak, f"{kind}_interval")[0] < 1e-12 for leak in found)


def test_round_a_circle_the_shorter_way_counts():
    read = np.array([[0.5, 0.95], [1.5, 0.05]])[None].repeat(2, axis=0)
    assert leakage(read, 0, np.ones(2), circular=[1]).each[1] == pytest.approx(0.1)
    assert leakage(read, 0, np.ones(2)).each[1] == pytest.approx(0.9)
    turned = difference(np.array([0.0, 0.7, 1.0]), np.array([0.6, 0.0, 0.0]), [0, 1, 2])
    np.testing.assert_allclose(turned, [0.4, -0.3, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "moved", "scale"),
    [((1, 5, 2), 0, 2), ((5, 1, 2), 0, 2), ((5, 5, 2), 2, 2), ((5, 5, 2), 0, 3)],
)
def test_what_is_no_walk_is_refused(shape, moved, scale):
    with pytest.raises(ShapeError):
        leakage(np.zeros(shape), moved, np.ones(scale))


# Readers


@pytest.fixture(scope="module")
def few():
    """Readers of faces that differ in hair and background alone, and other such faces."""
    factors = np.full((1600, len(FACTORS)), 0.4)
    factors[:, [HAIR, BACKGROUND]] = RNG.random((1600, 2))
    images, varied = draw(factors), factors[:, [HAIR, BACKGROUND]]
    readers = Readers(images[:1300], varied[:1300], circular=[1], epochs=12)
    return readers, images[1300:], varied[1300:]


def test_factors_are_read_off_images_that_were_not_fitted_to_round_the_circle_too(few):
    readers, images, factors = few
    assert (readers.r2(images, factors) > 0.97).all()
    off = difference(readers(images), factors, [1])
    assert np.abs(off).max(axis=0)[1] < 0.2  # also where the circle is closed
    assert (readers(images)[:, 1] >= 0).all()
    assert (readers(images)[:, 1] <= 1).all()


def test_without_the_circle_the_place_where_it_is_closed_is_misread():
    factors = np.full((900, len(FACTORS)), 0.4)
    factors[:, BACKGROUND] = RNG.random(900)
    images, varied = draw(factors), factors[:, BACKGROUND]
    straight = Readers(images[:700], varied[:700], epochs=5)
    round_it = Readers(images[:700], varied[:700], circular=[0], epochs=5)
    rest = images[700:], varied[700:]
    assert straight.r2(*rest)[0] < round_it.r2(*rest)[0]


def test_a_perfect_walk_hardly_leaks_and_one_that_takes_the_background_along_does(few):
    readers, _, varied = few
    factors = np.full((40, 3, len(FACTORS)), 0.4)
    factors[:, :, BACKGROUND] = varied[:40, [1]]
    factors[:, :, HAIR] = [0.1, 0.5, 0.9]

    def found(walked):
        images = draw(walked.reshape(-1, len(FACTORS)))
        read = readers(images).reshape(40, 3, 2)
        return leakage(read, 0, np.full(2, 12**-0.5), circular=[1]).each[1]

    assert found(factors) < 0.06
    factors[:, :, BACKGROUND] = (factors[:, :, BACKGROUND] + [0, 0.1, 0.2]) % 1
    assert found(factors) == pytest.approx(0.2 / 0.8, abs=0.05)


def test_noise_tells_nothing():
    images, factors = RNG.random((300, 4, 4)), RNG.random(300)
    assert Readers(images[:200], factors[:200], epochs=5).r2(images[200:], factors[200:])[0] < 0.3


def test_the_same_seed_reads_the_same():
    images, factors = RNG.random((200, 4, 4)), RNG.random((200, 2))
    read = [Readers(images, factors, seed=seed, epochs=2)(images) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(read[0], read[1])
    assert (read[0] != read[2]).any()


def test_labels_that_are_not_one_row_an_image_are_refused():
    with pytest.raises(ShapeError):
        Readers(np.zeros((5, 2, 2)), np.zeros(4))
    with pytest.raises(DataError, match="NaN"):
        Readers(np.zeros((5, 2, 2)), np.full(5, np.nan))
