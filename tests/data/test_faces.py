from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.data.faces import FACTORS, draw, load
from tinyvae.errors import DataError, OptionError, ShapeError

PLAIN = dict.fromkeys(FACTORS, 0.5) | {"glasses": 0.0, "skin_tone": 0.7, "hair_colour": 0.2}

unit = st.floats(0, 1)
face = st.fixed_dictionaries(dict.fromkeys(FACTORS, unit))
# Where a factor may change the picture: left, top, right and bottom in its width.
REACH = {
    "smile": (0.22, 0.56, 0.78, 0.81),
    "eye_openness": (0.15, 0.38, 0.85, 0.65),
    "brow": (0.15, 0.25, 0.85, 0.50),
    "glasses": (0.10, 0.38, 0.90, 0.65),
    "hair_colour": (0.05, 0.05, 0.95, 1.0),
    "hair_length": (0.05, 0.25, 0.95, 1.0),
    "face_width": (0.05, 0.05, 0.95, 0.95),
    "skin_tone": (0.05, 0.10, 0.95, 0.95),
    "head_turn": (0.05, 0.05, 0.95, 0.95),
}


def one(size=32, **factors):
    row = [(PLAIN | factors)[name] for name in FACTORS]
    return draw([row], size)[0].astype(float)


def walk(factor, values, size=32, **factors):
    return [one(size, **factors, **{factor: value}) for value in values]


def changed(first, second, by=24):
    """Where two pictures differ in some channel by more than so many levels of 255."""
    return abs(first - second).max(-1) > by


def ruled(factor, size=64, **factors):
    """The pixels that a factor rules, given the others."""
    return changed(*walk(factor, (0.0, 1.0), size, **factors))


def middle(mask):
    """The mean column of a mask, in widths of the picture from its left."""
    return (np.flatnonzero(mask.any(0)).mean() + 0.5) / mask.shape[1]


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_visibly_changes_the_picture_at_32_pixels(factor):
    ends = (0.0, 0.5) if factor == "background" else (0.0, 1.0)
    assert changed(*walk(factor, ends), by=40).sum() >= 20


@pytest.mark.parametrize("factor", FACTORS)
def test_every_part_of_a_walk_changes_the_picture(factor):
    stops = walk(factor, np.linspace(0, 1, 6))
    assert all((a != b).any() for a, b in pairwise(stops))


@pytest.mark.parametrize("factor", REACH)
@pytest.mark.parametrize("turn", [0.0, 0.5, 1.0])
def test_a_factor_changes_nothing_outside_its_part_of_the_face(factor, turn):
    others = {} if factor == "head_turn" else {"head_turn": turn}
    rows, columns = np.nonzero(changed(*walk(factor, (0.0, 1.0), 64, **others), by=0))
    left, top, right, bottom = REACH[factor]
    assert left * 64 <= columns.min() < columns.max() < right * 64
    assert top * 64 <= rows.min() < rows.max() < bottom * 64


@given(face, st.sampled_from(FACTORS), unit)
def test_a_small_step_of_any_factor_is_a_small_change_of_every_pixel(factors, factor, start):
    near, far = walk(factor, (0.99 * start, 0.99 * start + 0.01), **_without(factors, factor))
    assert abs(near - far).max() <= 64


def _without(factors, factor):
    return {name: value for name, value in factors.items() if name != factor}


@given(face, face)
def test_the_corners_show_the_background_and_nothing_of_the_face(factors, others):
    others = others | {"background": factors["background"]}
    np.testing.assert_array_equal(one(**factors)[:2], one(**others)[:2])
    np.testing.assert_array_equal(one(**factors)[:8, :2], one(**others)[:8, :2])


def test_the_chin_has_the_colour_of_the_skin_tone():
    chins = [picture[48, 32] for picture in walk("skin_tone", (0.0, 0.5, 1.0), 64)]
    deep, medium, light = [(0x66, 0x41, 0x2D), (0xC1, 0x8A, 0x60), (0xFA, 0xDC, 0xC4)]
    np.testing.assert_allclose(chins, [deep, medium, light], atol=1)


@pytest.mark.parametrize("factor", ["skin_tone", "hair_colour"])
def test_tones_go_from_dark_to_light(factor):
    mask = ruled(factor)
    light = [picture[mask].mean() for picture in walk(factor, np.linspace(0, 1, 9), 64)]
    assert (np.diff(light) > 4).all()


def test_skin_is_always_warm():
    for picture in walk("skin_tone", np.linspace(0, 1, 9), 64):
        red, green, blue = picture[48, 32]
        assert red > green > blue


def test_longer_hair_covers_more_of_the_picture_and_reaches_lower():
    masks = [ruled("hair_colour", hair_length=length) for length in np.linspace(0, 1, 6)]
    assert (np.diff([mask.sum() for mask in masks]) > 30).all()
    lowest = [np.flatnonzero(mask.any(1)).max() / 64 for mask in masks]
    assert lowest[0] < 0.5 < 0.9 < lowest[-1]
    assert lowest == sorted(lowest)


def test_short_hair_leaves_the_ears_bare_and_long_hair_hides_them():
    bare, hidden = (ruled("skin_tone", hair_length=length)[30:40].any(0) for length in (0.0, 0.8))
    assert bare.sum() >= hidden.sum() + 8


def test_a_smile_lifts_the_corners_of_the_mouth_and_a_frown_lowers_them():
    for smile, sign in ((0.0, -1), (0.5, 1), (1.0, 1)):
        picture = one(128, smile=smile, skin_tone=1.0, hair_length=0.0)
        rows, columns = np.nonzero(picture[76:104, 40:88, 1] < 150)  # lips are less green than skin
        away = abs(columns - 23.5)
        assert sign * (rows[away < 3].mean() - rows[away > away.max() - 3].mean()) > 1.5


def test_teeth_show_in_a_broad_smile_only():
    frown, faint, broad = (picture[41:52].min(-1) for picture in walk("smile", (0, 0.5, 1), 64))
    assert (broad > 235).sum() > 12
    assert (frown > 235).sum() == (faint > 235).sum() == 0


def test_eyes_open_from_no_white_to_much():
    stops = walk("eye_openness", np.linspace(0, 1, 6), 64)
    white = [(picture[20:44].min(-1) > 235).sum() for picture in stops]
    assert white == sorted(white)
    assert white[0] == 0
    assert white[-1] > 20


def test_brows_rise():
    masks = [ruled("hair_colour", 128, brow=brow) for brow in (0.0, 0.5, 1.0)]
    fringe = np.logical_and.reduce(masks)
    low, even, high = (np.nonzero(mask & ~fringe)[0].mean() for mask in masks)
    assert low > even + 3 > high + 6


def test_a_wider_face_is_wider():
    masks = [ruled("skin_tone", hair_length=0.0, face_width=width) for width in (0.0, 0.5, 1.0)]
    widths = [mask[38].sum() for mask in masks]
    assert (np.diff(widths) >= 3).all()


@given(face, unit)
def test_glasses_fade_in_between_none_and_worn(factors, opacity):
    bare, faint, worn = walk("glasses", (0.0, opacity, 1.0), **_without(factors, "glasses"))
    assert (np.minimum(bare, worn) - 2 <= faint).all()
    assert (faint <= np.maximum(bare, worn) + 2).all()


def test_glasses_frame_both_eyes_and_darken_no_cheek():
    mask = ruled("glasses")
    assert mask[:, :32].sum() == pytest.approx(mask[:, 32:].sum(), rel=0.1)
    assert not mask[44:].any()


def test_the_background_goes_round_a_circle_of_pastels_behind_the_face():
    stops = walk("background", np.linspace(0, 1, 9), 64)
    np.testing.assert_array_equal(stops[0], stops[-1])
    assert all((picture[:6] > 140).all() for picture in stops)
    assert all(np.ptp(picture[32, 32] - stops[0][32, 32]) == 0 for picture in stops)
    assert changed(stops[0], stops[4], by=20)[:6].all()


def test_a_turn_moves_the_mouth_more_than_the_hair_and_the_ears_the_other_way():
    def places(turn):
        factors = {"head_turn": turn, "hair_length": 0.0}
        ears = ruled("skin_tone", 128, **factors)[66:72]
        return [middle(ruled("smile", 128, **factors)), middle(ears)]

    left, right = places(0.0), places(1.0)
    assert right[0] - left[0] > 0.12
    assert right[1] - left[1] < -0.03


@pytest.mark.parametrize(("turn", "far"), [(0.0, slice(0, 64)), (1.0, slice(64, 128))])
def test_a_turn_squeezes_the_far_eye(turn, far):
    mask = ruled("glasses", 128, head_turn=turn)
    lens = np.flatnonzero(mask.any(0))
    shifted = lens.mean() - 63.5
    assert np.sign(shifted) == (1 if far.start else -1)
    bridge = lens.min() + np.argmin(mask[:, lens.min() + 20 : lens.max() - 20].sum(0)) + 20
    left, right = bridge - lens.min(), lens.max() - bridge
    assert (right < left - 4) if far.start else (left < right - 4)


def test_a_larger_picture_is_the_same_face_in_finer_pixels():
    coarse, fine = one(32), one(128).reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert abs(coarse - fine).mean() < 2


def test_drawing_one_at_a_time_is_drawing_a_batch():
    labels = load(count=150, seed=3).train.labels
    alone = [draw(row[None])[0] for row in labels]
    np.testing.assert_array_equal(draw(labels), alone)


def test_the_data_set_is_what_its_labels_draw():
    faces = load(count=200, seed=5)
    assert [len(part) for part in (faces.train, faces.valid, faces.test)] == [160, 20, 20]
    assert faces.factor_names == FACTORS
    assert faces.image_shape == (32, 32, 3)
    for part in (faces.train, faces.valid, faces.test):
        np.testing.assert_array_equal(part.images, draw(part.labels))
        assert part.labels.dtype == np.float32


def test_glasses_are_worn_or_not_by_one_face_in_three():
    worn = load(count=2_000, size=16).train.labels[:, FACTORS.index("glasses")]
    assert set(worn) == {0.0, 1.0}
    assert worn.mean() == pytest.approx(0.35, abs=4 * math.sqrt(0.35 * 0.65 / len(worn)))


def test_the_same_seed_draws_the_same_faces_and_another_seed_others():
    first, again, other = (load(count=50, seed=seed).train for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()


def test_no_factors_draw_no_faces():
    assert draw(np.empty((0, 10))).shape == (0, 32, 32, 3)


@pytest.mark.parametrize(
    ("factors", "error", "message"),
    [
        (np.full(10, 0.5), ShapeError, r"\(N, 10\), a column each for skin_tone, .*; not \(10,\)"),
        (np.full((2, 9), 0.5), ShapeError, r"not \(2, 9\)"),
        (np.eye(10) * 1.25, DataError, r"skin_tone lies between 0 and 1, not 1.25 \(row 0\)"),
        (np.diag([0] * 9 + [-1]), DataError, r"head_turn lies between 0 and 1, not -1 \(row 9\)"),
        (np.full((1, 10), math.nan), DataError, "skin_tone lies between 0 and 1, not nan"),
    ],
)
def test_factors_that_cannot_be_drawn_are_refused_with_the_value_and_the_range(
    factors, error, message
):
    with pytest.raises(error, match=message):
        draw(factors)


def test_a_picture_too_small_and_a_set_too_small_are_refused():
    with pytest.raises(OptionError, match="at least 16 pixels wide, not 8"):
        draw(np.full((1, 10), 0.5), size=8)
    with pytest.raises(OptionError, match="at least 10 pictures make the three parts, not 9"):
        load(count=9)
