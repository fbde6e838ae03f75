from __future__ import annotations

import numpy as np
import pytest

from tinyvae.data import Dataset, Split
from tinyvae.errors import DataError, OptionError
from tinyvae.noise import Noise

BYTES = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)


def host(seed: int) -> Noise:
    return Noise(seed, backend="numpy")


def constant(value: int, count: int = 20) -> Split:
    return Split(np.full((count, 100, 100), value, np.uint8))


def test_a_batch_is_the_bytes_over_255_as_rows():
    batch = Split(BYTES).batch(np.array([3, 0]))
    assert batch.dtype == np.float32
    assert batch.shape == (2, 64)
    np.testing.assert_allclose(batch[0], np.arange(192, 256) / 255.0, rtol=1e-6)
    np.testing.assert_allclose(batch[1], np.arange(64) / 255.0, rtol=1e-6)


def test_a_batch_reaches_0_and_1_exactly():
    for dtype in ("float32", "float64"):
        batch = Split(BYTES).batch(slice(None), dtype=dtype)
        assert batch.dtype == dtype
        assert (batch.min(), batch.max()) == (0.0, 1.0)


def test_a_batch_of_floats_is_the_floats():
    images = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 2, 3)
    np.testing.assert_array_equal(Split(images).batch(slice(0, 2)), images.reshape(2, 6))


def test_a_batch_of_colour_has_three_numbers_a_pixel():
    assert Split(np.zeros((5, 4, 2, 3), np.uint8)).batch(np.arange(3)).shape == (3, 24)


def test_a_slice_of_a_split_keeps_images_and_labels_together():
    split = Split(BYTES, np.arange(4))[1:3]
    np.testing.assert_array_equal(split.images, BYTES[1:3])
    np.testing.assert_array_equal(split.labels, [1, 2])


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4, 4), np.float64),
        np.zeros((2, 4, 4), np.int64),
        np.zeros((2, 16), np.uint8),
        np.zeros((2, 4, 4, 1), np.uint8),
        np.zeros((2, 4, 4, 4), np.uint8),
    ],
)
def test_images_of_another_dtype_or_shape_are_refused_with_both(images):
    with pytest.raises(DataError, match=str(images.dtype)) as refusal:
        Split(images)
    assert str(images.shape) in str(refusal.value)


def test_labels_that_are_too_few_are_refused_with_both_counts():
    with pytest.raises(DataError, match="4 images but 3 labels"):
        Split(BYTES, np.arange(3))


def test_dynamic_binarisation_never_lights_black_and_always_lights_white():
    assert constant(0).batch(slice(None), host(0)).max() == 0
    assert constant(255).batch(slice(None), host(0)).min() == 1


@pytest.mark.parametrize("value", [1, 64, 128, 254])
def test_a_pixel_is_drawn_as_1_with_its_grey_value_for_probability(value):
    p, draws = value / 255, 200_000
    drawn = constant(value).batch(slice(None), host(3))
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    assert abs(drawn.mean() - p) < 5 * np.sqrt(p * (1 - p) / draws)


def test_a_float_pixel_is_drawn_with_its_value_for_probability():
    drawn = Split(np.full((20, 100, 100), 0.3, np.float32)).batch(slice(None), host(3))
    assert abs(drawn.mean() - 0.3) < 5 * np.sqrt(0.21 / 200_000)


def test_dynamic_binarisation_draws_anew_at_each_batch():
    split, noise = constant(128), host(0)
    assert (split.batch(slice(None), noise) != split.batch(slice(None), noise)).any()


def three_parts() -> Dataset:
    images = np.full((10, 8, 8), 128, np.uint8)
    labels = np.arange(10)
    return Dataset("grey", *(Split(images.copy(), labels) for _ in range(3)))


def test_static_binarisation_leaves_black_and_white_bytes_and_the_labels():
    drawn = three_parts().binarised(0)
    for split in (drawn.train, drawn.valid, drawn.test):
        assert split.images.dtype == np.uint8
        assert set(np.unique(split.images)) == {0, 255}
        np.testing.assert_array_equal(split.labels, np.arange(10))


def test_static_binarisation_repeats_with_its_seed_and_differs_between_parts():
    once, again, other = (three_parts().binarised(seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once.train.images, again.train.images)
    assert (once.train.images != other.train.images).any()
    assert (once.train.images != once.test.images).any()


def test_static_binarisation_of_black_and_white_changes_nothing():
    images = np.where(np.arange(128).reshape(2, 8, 8) % 3, 0, 255).astype(np.uint8)
    drawn = Split(images).binarised(host(0))
    np.testing.assert_array_equal(drawn.images, images)


def without_validation(count: int) -> Dataset:
    images = np.zeros((count, 2, 2), np.uint8)
    return Dataset("plain", train=Split(images, np.arange(count)), test=Split(images))


def test_holding_out_takes_the_last_part_of_the_training_images():
    held = without_validation(10).hold_out(0.3)
    np.testing.assert_array_equal(held.train.labels, np.arange(7))
    np.testing.assert_array_equal(held.valid.labels, [7, 8, 9])


def test_holding_out_takes_at_least_one_image():
    assert len(without_validation(3).hold_out(0.01).valid) == 1


def test_holding_out_leaves_a_set_with_a_validation_part_as_it_is():
    whole = three_parts()
    assert whole.hold_out() is whole


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused_with_its_value(fraction):
    with pytest.raises(OptionError, match=str(fraction)):
        without_validation(10).hold_out(fraction)


def test_holding_out_of_a_single_image_is_refused():
    with pytest.raises(DataError, match="1 training images are too few"):
        without_validation(1).hold_out()


def test_the_image_shape_of_a_set_has_no_batch_axis():
    assert three_parts().image_shape == (8, 8)
