from __future__ import annotations

import numpy as np
import pytest
from drawn import CLASSES, DIGITS, rendered
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from tinyvae import plots
from tinyvae.errors import DataError, ShapeError
from tinyvae.plots import style


def in_order(rows):
    return np.array(sorted(map(tuple, rows)))


def test_the_principal_components_are_the_eigenvectors_of_the_covariance():
    means = DIGITS.reshape(len(DIGITS), -1)[:, 10:40]
    figure = plots.latent(means, CLASSES)
    axes = figure.axes[0]
    points = np.asarray(axes.collections[0].get_offsets())
    variances, vectors = np.linalg.eigh(np.cov(means.T))
    want = (means - means.mean(0)) @ vectors[:, [-1, -2]]
    points, want = (rows[np.argsort(np.abs(rows[:, 0]))] for rows in (points, want))
    signs = np.sign((points * want).sum(0))
    np.testing.assert_allclose(points, want * signs, atol=1e-9)
    share = 100 * variances[[-1, -2]] / variances.sum()
    assert axes.get_xlabel() == f"first principal component, {share[0]:.0f} % of the variance"
    assert axes.get_ylabel() == f"second principal component, {share[1]:.0f} % of the variance"


def test_two_dimensions_are_drawn_as_they_are_in_the_colours_of_their_classes():
    means, labels = DIGITS[:30, 3, 2:4], CLASSES[:30]
    dots = plots.latent(means, labels).axes[0].collections[0]
    found = np.hstack([dots.get_offsets(), dots.get_facecolors()[:, :3]])
    want = [[*mean, *to_rgb(style.CLASSES[k])] for mean, k in zip(means, labels, strict=True)]
    np.testing.assert_allclose(in_order(found), in_order(want))


def test_in_data_sorted_by_class_no_class_lies_over_the_others_and_a_repeat_is_the_same():
    means, labels = np.stack([np.arange(400.0)] * 2, axis=1), np.repeat([0, 1], 200)
    first, again = (plots.latent(means, labels).axes[0].collections[0] for _ in range(2))
    drawn_last = labels[first.get_offsets()[-100:, 0].astype(int)]
    assert 30 < drawn_last.sum() < 70
    np.testing.assert_array_equal(first.get_offsets(), again.get_offsets())


def test_the_number_of_a_class_stands_at_its_median():
    means = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 3.0], [5.0, 5.0]])
    axes = plots.latent(means, np.array([4, 4, 4, 7])).axes[0]
    places = {text.get_text(): text.get_position() for text in axes.texts}
    np.testing.assert_allclose(places["4"], (1, 0))
    np.testing.assert_allclose(places["7"], (5, 5))


@pytest.mark.parametrize("spread", [0.0, 1e-3])
def test_numbers_of_classes_that_lie_together_do_not_overlap(spread):
    angles = np.arange(10)
    means = np.concatenate([spread * np.stack([np.cos(angles), np.sin(angles)], 1)] * 2)
    figure = plots.latent(means, np.tile(angles, 2))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [t.get_window_extent(canvas.get_renderer()) for t in figure.axes[0].texts]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


@pytest.mark.parametrize("columns", [None, 2])
def test_factors_are_coloured_by_the_first_on_a_named_scale(columns):
    factor = np.linspace(0, 1, 20)
    labels = factor if columns is None else np.stack([factor, factor**2], axis=1)
    means = DIGITS[:20, 2, 2:4]
    axes = plots.latent(means, labels, factor_name="slant").axes[0]
    dots = axes.collections[0]
    found = np.column_stack([dots.get_offsets(), dots.get_array()])
    np.testing.assert_array_equal(in_order(found), in_order(np.column_stack([means, factor])))
    assert axes.child_axes[0].get_ylabel() == "slant"


def test_one_dimension_is_a_histogram_for_each_class():
    means, labels = DIGITS[:, 3, 4:5], CLASSES
    axes = plots.latent(means, labels).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == [str(k) for k in range(10)]
    tallest = max(np.histogram(means[labels == k], axes.patches[0].get_data().edges)[0].max()
                  for k in range(10))  # fmt: skip
    for k, strip in enumerate(axes.patches):
        heights, edges, floor = strip.get_data()
        counts = np.histogram(means[labels == k], edges)[0]
        assert floor == 9 - k
        np.testing.assert_allclose((heights - floor) / 0.9 * tallest, counts, atol=1e-9)


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_a_collapsed_posterior_can_be_drawn(dimensions):
    rendered(plots.latent(np.zeros((30, dimensions)), np.arange(30) % 3))
    rendered(plots.latent(np.zeros((30, dimensions))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.latent(np.zeros(3)), r"\(3,\); wanted is \(N, K\)"),
        (lambda: plots.latent(np.zeros((1, 3))), "N at least 2"),
        (lambda: plots.latent(np.zeros((3, 2)), np.zeros(2)), r"\(2,\); wanted is \(3,\)"),
    ],
)
def test_a_bad_shape_is_named_with_what_is_wanted(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.latent(np.full((1, 2), np.inf)), "2 of 2 values in means"),
    ],
)
def test_data_that_cannot_be_drawn_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()
