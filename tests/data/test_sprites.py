from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.data.sprites import FACTORS, GRID, SHAPES, draw, load
from tinyvae.errors import DataError, OptionError, ShapeError

SQUARE, ELLIPSE, HEART = range(3)
# Areas at scale 1 in widths of the picture squared, each from its circumradius of 3 / 16: a
# square has side r sqrt(2), the ellipse axes r and 0.6 r. The heart joins a square of side s
# and a disc of diameter s; from its centroid to its tip it is s / 2 (sqrt(2) + 0.4430875).
R = 3 / 16
AREA = {
    SQUARE: 2 * R**2,
    ELLIPSE: math.pi * 0.6 * R**2,
    HEART: (2 * R / (math.sqrt(2) + 0.4430875)) ** 2 * (1 + math.pi / 4),
}

sprite = st.tuples(
    st.integers(0, 2),
    st.floats(0.5, 1),
    st.floats(0, 6.28),
    st.floats(0, 1),
    st.floats(0, 1),
)
sizes = st.sampled_from([16, 17, 31, 32, 64])


def one(shape, scale=1.0, rotation=0.0, x=0.5, y=0.5, size=64):
    return draw([[shape, scale, rotation, x, y]], size)[0].astype(float) / 255


def centroid(image):
    """Of the light, in widths of the picture from its left and its top."""
    places = (np.arange(len(image)) + 0.5) / len(image)
    return image.sum(0) @ places / image.sum(), image.sum(1) @ places / image.sum()


@given(sprite, st.sampled_from([32, 48, 64]))
def test_the_centroid_of_a_sprite_is_where_its_x_and_y_say(factors, size):
    found = np.array(centroid(one(*factors, size=size)))
    np.testing.assert_allclose(found, 0.25 + 0.5 * np.array(factors[3:]), atol=0.15 / size)


@given(sprite)
def test_the_area_of_a_sprite_is_the_closed_form_times_its_scale_squared(factors):
    shape, scale = factors[:2]
    expected = 128**2 * AREA[shape] * scale**2
    assert one(*factors, size=128).sum() == pytest.approx(expected, rel=0.015)


@given(sprite, sizes)
def test_a_sprite_never_touches_the_border(factors, size):
    image = one(*factors, size=size)
    assert not image[[0, -1]].any()
    assert not image[:, [0, -1]].any()
    assert image.max() > 0.8


@pytest.mark.parametrize(("shape", "turn"), [(SQUARE, math.pi / 2), (ELLIPSE, math.pi)])
def test_a_rotation_that_maps_a_shape_to_itself_gives_the_same_picture(shape, turn):
    for rotation in (0.0, 0.3, 1.1):
        kept = one(shape, rotation=rotation) - one(shape, rotation=rotation + turn)
        assert abs(kept).max() <= 1 / 255


@pytest.mark.parametrize("shape", range(3))
def test_a_quarter_turn_is_the_picture_turned_clockwise(shape):
    turned = one(shape, rotation=math.pi / 2)
    np.testing.assert_allclose(turned, np.rot90(one(shape), k=-1), atol=1 / 255)


def test_a_heart_has_one_quarter_turn_only_that_keeps_it():
    upright = one(HEART)
    for quarter in (1, 2, 3):
        assert abs(one(HEART, rotation=quarter * math.pi / 2) - upright).max() > 0.9


def test_a_heart_is_the_same_left_and_right_and_stands_on_its_tip():
    heart = one(HEART)
    np.testing.assert_array_equal(heart, heart[:, ::-1])
    rows = np.flatnonzero(heart.sum(1))
    assert heart[rows[-3]].sum() < 6 < heart[rows[2]].sum()
    assert heart[rows[1], 32] < 0.1 < heart[rows[1]].max()  # the cleft between the lobes


def test_an_ellipse_is_the_set_of_points_at_one_sum_of_distances_from_two_foci():
    a, b = R, 0.6 * R
    focus = math.sqrt(a * a - b * b)
    x, y = np.meshgrid(*[(np.arange(64) + 0.5) / 64 - 0.5] * 2)
    total = np.hypot(x - focus, y) + np.hypot(x + focus, y)
    image = one(ELLIPSE)
    assert (image[total < 2 * a - 0.06] == 1).all()
    assert (image[total > 2 * a + 0.06] == 0).all()


def test_a_larger_picture_is_the_same_sprite_in_finer_pixels():
    coarse, fine = (one(HEART, 0.7, 1.0, 0.3, 0.8, size=size) for size in (32, 128))
    averaged = fine.reshape(32, 4, 32, 4).mean((1, 3))
    assert abs(averaged - coarse).max() < 0.2
    assert abs(averaged - coarse).mean() < 0.001


def test_drawing_one_at_a_time_is_drawing_a_batch():
    labels = load(count=60, seed=3).train.labels
    alone = [draw(row[None])[0] for row in labels]
    np.testing.assert_array_equal(draw(labels), alone)


def test_the_data_set_is_what_its_labels_draw():
    sprites = load(count=200, size=32, seed=5)
    assert [len(part) for part in (sprites.train, sprites.valid, sprites.test)] == [160, 20, 20]
    for part in (sprites.train, sprites.valid, sprites.test):
        np.testing.assert_array_equal(part.images, draw(part.labels, size=32))
        assert part.labels.dtype == np.float32


def test_every_label_is_a_value_of_the_grid_and_every_value_is_drawn():
    sprites = load(count=5_000, size=16)
    labels = np.concatenate([sprites.train.labels, sprites.valid.labels, sprites.test.labels])
    for column, values in zip(labels.T, GRID, strict=True):
        np.testing.assert_array_equal(np.unique(column), values.astype(np.float32))
    assert [len(values) for values in GRID] == [3, 6, 40, 32, 32]
    assert sprites.factor_names == FACTORS


def test_the_factors_are_independent():
    labels = load(count=20_000, size=16).train.labels
    correlation = np.corrcoef(labels, rowvar=False)
    assert abs(correlation - np.eye(5)).max() < 4 / math.sqrt(len(labels))


def test_the_same_seed_draws_the_same_sprites_and_another_seed_others():
    first, again, other = (load(count=50, seed=seed).train for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()


def test_no_factors_draw_no_sprites():
    assert draw(np.empty((0, 5))).shape == (0, 64, 64)


@pytest.mark.parametrize(
    ("factors", "error", "message"),
    [
        ([0, 1, 0, 0.5, 0.5], ShapeError, r"\(N, 5\).*shape, scale, rotation, x, y; not \(5,\)"),
        ([[0, 1, 0]], ShapeError, r"not \(1, 3\)"),
        (
            [[0, 1, 0, 0.5, 0.5], [0, 1.5, 0, 0, 0]],
            DataError,
            r"scale .* 0.5 and 1, not 1.5 \(row 1",
        ),
        ([[3, 1, 0, 0.5, 0.5]], DataError, "shape lies between 0 and 2, not 3"),
        ([[0.5, 1, 0, 0.5, 0.5]], DataError, r"2 \(heart\), not 0.5 \(row 0\)"),
        ([[0, 1, -1, 0.5, 0.5]], DataError, "rotation lies between 0 and 6.283, not -1"),
        ([[0, 1, 0, math.nan, 0.5]], DataError, "x lies between 0 and 1, not nan"),
    ],
)
def test_factors_that_cannot_be_drawn_are_refused_with_the_value_and_the_range(
    factors, error, message
):
    with pytest.raises(error, match=message):
        draw(factors)


def test_a_picture_too_small_and_a_set_too_small_are_refused():
    with pytest.raises(OptionError, match="at least 16 pixels wide, not 8"):
        draw([[SHAPES.index("square"), 1, 0, 0.5, 0.5]], size=8)
    with pytest.raises(OptionError, match="at least 10 pictures make the three parts, not 9"):
        load(count=9)
