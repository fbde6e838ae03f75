"""Sample quality: distances between sets of features, and the network that makes these."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.data.dataset import Dataset, Split
from tinyvae.errors import DataError, ShapeError
from tinyvae.evaluation import quality
from tinyvae.evaluation.features import Labeller, train_labeller
from tinyvae.evaluation.quality import frechet_distance, neighbour_scores, sample_quality, scores

seeds = st.integers(0, 2**32 - 1)


def cloud(seed: int, rows: int, width: int) -> np.ndarray:
    """Points whose axes are correlated, about some mean."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((rows, width)) @ rng.standard_normal((width, width))
    return points + rng.standard_normal(width)


# The Frechet distance


@given(seeds, st.integers(2, 6))
def test_the_frechet_distance_is_that_of_the_matrix_root_of_scipy(seed: int, width: int) -> None:
    a, b = cloud(seed, 30, width), cloud(seed + 1, 40, width)
    covariances = [np.cov(points, rowvar=False) for points in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sum(covariances) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6, abs=1e-7)


@given(seeds, st.integers(1, 5))
def test_gaussians_along_the_same_axes_are_apart_by_their_means_and_sigmas(
    seed: int, width: int
) -> None:
    points, rng = cloud(seed, 20, 1), np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((width, width)))[0]
    signs = scipy.linalg.hadamard(8)[:, 1 : width + 1]  # columns at right angles, of mean 0
    sigma, other, shift = rng.random((3, width)) + 0.1
    a, b = (signs * sigma) @ axes, (signs * other + shift) @ axes
    wanted = (shift**2).sum() + ((sigma - other) ** 2).sum() * 8 / 7
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)
    one = frechet_distance(points, 3 * points + 1)
    assert one == pytest.approx((2 * points.mean() + 1) ** 2 + 4 * points.var(ddof=1), rel=1e-9)


@given(seeds, st.integers(2, 12), st.integers(1, 9))
def test_the_frechet_distance_is_0_to_itself_and_the_same_both_ways_even_where_singular(
    seed: int, rows: int, width: int
) -> None:
    a, b = cloud(seed, rows, width), cloud(seed + 1, 7, width)
    scale = (a**2).sum()
    assert 0 <= frechet_distance(a, a) < 1e-12 * scale
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-7)
    shift = np.full(width, 2.0)
    assert frechet_distance(a, a + shift) == pytest.approx(4 * width, abs=1e-12 * scale + 1e-9)


# Balls about neighbours


def by_definition(real: np.ndarray, points: np.ndarray, k: int) -> tuple[float, ...]:
    """Precision, recall, density and coverage, by loops over exact distances."""

    def radius(own: np.ndarray, i: int) -> float:
        return sorted(math.dist(own[i], other) for other in own)[k] * (1 + 1e-9)

    radii, others = ([radius(own, i) for i in range(len(own))] for own in (real, points))
    d = cdist(real, points)
    precise = [any(d[i, j] <= radii[i] for i in range(len(real))) for j in range(len(points))]
    recalled = [any(d[i, j] <= others[j] for j in range(len(points))) for i in range(len(real))]
    inside = [[d[i, j] <= radii[i] for j in range(len(points))] for i in range(len(real))]
    density = np.sum(inside) / (k * len(points))
    return np.mean(precise), np.mean(recalled), density, np.mean(np.any(inside, axis=1))


@given(seeds, st.integers(1, 4), st.integers(1, 4))
def test_the_scores_are_those_of_their_definitions(seed: int, k: int, width: int) -> None:
    real, points = cloud(seed, 17, width), cloud(seed + 1, 11, width)
    found = neighbour_scores(real, points, k)
    np.testing.assert_allclose(found, by_definition(real, points, k), rtol=1e-12)


def test_whole_numbers_on_a_line_which_lie_on_the_edges_of_the_balls() -> None:
    real, points = np.arange(8.0)[:, None], np.arange(4.0)[:, None]
    assert neighbour_scores(real, points, 1) == by_definition(real, points, 1)
    assert neighbour_scores(real, points, 2) == by_definition(real, points, 2)


def test_many_points_go_through_in_parts_without_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, points = cloud(0, 30, 3), cloud(1, 23, 3)
    whole = neighbour_scores(real, points)
    monkeypatch.setattr(quality, "ROWS", 7)
    assert neighbour_scores(real, points) == whole


@given(seeds, st.integers(1, 5), st.floats(1e-6, 1e6))
def test_a_set_is_as_good_as_itself(seed: int, width: int, scale: float) -> None:
    points = scale * cloud(seed, 25, width)
    found = scores(points, points)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == pytest.approx(6 / 5)  # each is in its own ball and in five others'
    assert found.frechet < 1e-12 * (points**2).sum()


@given(seeds, st.integers(1, 5))
def test_sets_that_are_far_apart_have_nothing_in_common(seed: int, width: int) -> None:
    points = cloud(seed, 20, width)
    found = scores(points, points + 1e4)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)
    assert found.frechet == pytest.approx(1e8 * width, rel=1e-6)


@given(seeds)
def test_precision_and_recall_change_places_with_the_sets(seed: int) -> None:
    real, points = cloud(seed, 20, 2), cloud(seed + 1, 14, 2)
    precision, recall, *_ = neighbour_scores(real, points)
    assert neighbour_scores(points, real)[:2] == (recall, precision)


def test_points_that_are_all_the_same_are_precise_and_recall_nothing() -> None:
    real = cloud(0, 30, 3)
    one = np.repeat(real[:1], 30, axis=0)
    precision, recall, density, coverage = neighbour_scores(real, one)
    assert precision == 1
    assert recall == pytest.approx(1 / 30)  # the one itself
    assert density >= 1 / 5
    assert coverage < 0.5


@pytest.mark.parametrize(
    ("a", "b"), [((5, 2), (9, 2)), ((9, 2), (5, 2)), ((9, 2), (9, 3)), ((9,), (9,))]
)
def test_tables_that_are_too_short_or_do_not_fit_are_refused(a: Any, b: Any) -> None:
    with pytest.raises(ShapeError, match="tables of one width with 6 rows or more"):
        neighbour_scores(np.zeros(a), np.zeros(b))
    with pytest.raises(ShapeError, match="with 2 rows or more"):
        frechet_distance(np.zeros((1, 2)), np.zeros((1, 2)))


# The network whose features are used


def stripes(count: int, seed: int = 0, factors: bool = False) -> Split:
    """Images with one bright row of three, by its number or by its brightness and a constant."""
    rng = np.random.default_rng(seed)
    row, grey = rng.integers(3, size=count), rng.integers(100, 256, size=count)
    images = rng.integers(0, 30, size=(count, 3, 4)).astype(np.uint8)
    images[np.arange(count), row] = grey[:, None]
    if factors:
        return Split(images, np.stack([row, grey, 0 * grey + 7], axis=1).astype("float32"))
    return Split(images, np.array([2, 5, 9])[row])


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyvae.evaluation.features.STEPS", 60)


DATA = Dataset("stripes", stripes(600), stripes(120, seed=1))


@pytest.mark.usefixtures("few_steps")
def test_classes_are_learnt_whatever_their_numbers(backend: Backend) -> None:
    labeller = train_labeller(DATA)
    assert labeller.accuracy(DATA.test) == 1
    assert labeller.features(DATA.test).shape == (120, 64)
    swapped = Split(DATA.test.images, DATA.test.labels[::-1].copy())
    agree = (DATA.test.labels == DATA.test.labels[::-1]).mean()
    assert labeller.accuracy(swapped) == pytest.approx(agree)


@pytest.mark.usefixtures("few_steps")
def test_the_network_learns_from_training_images_alone() -> None:
    one_class = Split(DATA.test.images, np.full(120, 5))
    labeller = train_labeller(Dataset("stripes", DATA.train, one_class))
    assert labeller.classes.tolist() == [2, 5, 9]
    assert labeller.accuracy(DATA.test) == 1


@pytest.mark.usefixtures("few_steps")
def test_factors_are_learnt_and_one_that_does_not_vary_is_left_out(backend: Backend) -> None:
    data = Dataset("stripes", stripes(600, factors=True), stripes(120, seed=1, factors=True))
    labeller = train_labeller(data)
    assert 0.5 < labeller.accuracy(data.test) < 1
    np.testing.assert_array_equal(labeller.targets(data.test.labels)[:, 2], 0)


def test_r_squared_is_0_for_the_mean_and_1_for_the_truth() -> None:
    train = stripes(600, factors=True)
    labeller = Labeller(train)
    targets = labeller.targets(train.labels)
    labeller._through = lambda *_: 0 * targets
    assert labeller.accuracy(train) == pytest.approx(0, abs=1e-6)
    labeller._through = lambda *_: targets
    assert labeller.accuracy(train) == 1


def test_the_loss_is_that_of_the_definition(backend: Backend) -> None:
    for split in (stripes(9), stripes(9, factors=True)):
        labeller = Labeller(split)
        x, targets = split.batch(slice(None)), labeller.targets(split.labels)
        output = labeller._through(lambda x: labeller.head(labeller.body(x)), split)  # noqa: B023
        if split.labels.ndim == 2:
            wanted = ((output - targets) ** 2).sum() / 18
        else:
            p = np.exp(output) / np.exp(output).sum(axis=1, keepdims=True)
            wanted = -np.log((p * targets).sum(axis=1)).mean()
        found = labeller.loss(tv.Tensor(x), tv.Tensor(targets)).item()
        assert found == pytest.approx(wanted, rel=1e-5)


# The quality of samples


def sampler(split: Split) -> Any:
    """A stand-in of a model whose samples are the first images of a split."""
    return SimpleNamespace(sample=lambda count, seed: split.images[:count])


@pytest.mark.usefixtures("few_steps")
def test_true_images_are_as_good_as_the_floor_and_one_image_repeated_is_not(
    backend: Backend,
) -> None:
    labeller = train_labeller(DATA)
    true = sample_quality(sampler(DATA.train), DATA, labeller=labeller)
    assert (true.count, true.accuracy) == (60, 1)
    assert abs(true.samples.precision - true.floor.precision) < 0.15
    assert abs(true.samples.coverage - true.floor.coverage) < 0.15
    assert true.samples.frechet < 3 * true.floor.frechet + 0.1
    repeated = Split(np.repeat(DATA.train.images[:1], 60, axis=0))
    one = sample_quality(sampler(repeated), DATA, labeller=labeller)
    assert one.floor == true.floor
    assert one.samples.frechet > 5 * one.floor.frechet
    assert one.samples.coverage < 0.2


@pytest.mark.usefixtures("few_steps")
def test_the_samples_are_held_to_one_half_of_the_test_images_and_the_floor_is_the_other(
    backend: Backend,
) -> None:
    others = sampler(Split(DATA.test.images[1::2]))
    found = sample_quality(others, DATA)
    assert found.samples == found.floor
    assert found == sample_quality(others, DATA)
    same = sample_quality(sampler(Split(DATA.test.images[::2])), DATA)
    assert same.samples.frechet < 1e-6
    assert same.floor.frechet > 1e-3


def test_images_without_labels_are_refused_with_what_to_do() -> None:
    bare = Dataset("bare", Split(DATA.train.images), Split(DATA.test.images))
    with pytest.raises(DataError, match=r"have no labels.*'mnist' for 'binarized_mnist'"):
        sample_quality(sampler(DATA.train), bare)


def test_too_few_test_images_are_refused() -> None:
    few = Dataset("few", DATA.train, DATA.test[:11])
    with pytest.raises(DataError, match=r"11 test images are too few.*6 at least"):
        sample_quality(sampler(DATA.train), few)
