from __future__ import annotations

import numpy as np
import pytest
from drawn import DIGITS, rendered

from tinyvae import plots
from tinyvae.errors import DataError, ShapeError
from tinyvae.plots import mosaic

LARGE = DIGITS[:12].repeat(3, axis=1).repeat(3, axis=2)  # (12, 24, 24): shown pixel by pixel


def picture(figure):
    """The pixels within the first axes."""
    pixels = rendered(figure)
    x0, y0, x1, y1 = figure.axes[0].get_window_extent().extents.round().astype(int)
    return pixels[len(pixels) - y1 : len(pixels) - y0, x0:x1]


def as_bytes(image):
    grey = np.round(np.asarray(image) * 255).astype(np.uint8)
    return grey if grey.shape[-1] == 3 else np.repeat(grey[..., None], 3, axis=-1)


def cell(pixels, size, top, left):
    """The image at a place, shrunk back to its own pixels; each must be a square of one colour."""
    found, factor = pixels[top : top + size, left : left + size], size // 8
    small = found[::factor, ::factor]
    np.testing.assert_array_equal(found, small.repeat(factor, 0).repeat(factor, 1))
    return small


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_image_k_stands_row_by_row_at_its_place_pixel_by_pixel(dtype):
    images = LARGE if dtype != "uint8" else as_bytes(LARGE)[..., 0]
    pixels = picture(plots.images(images.astype(dtype), columns=5, title="Digits"))
    size = (pixels.shape[1] - 4 * mosaic.THIN) // 5
    for k in range(12):
        row, column = divmod(k, 5)
        step = size + mosaic.THIN
        small = cell(pixels, size, row * step, column * step)
        np.testing.assert_array_equal(small, as_bytes(DIGITS[k]))
    left_over = pixels[2 * (size + mosaic.THIN) :, 2 * (size + mosaic.THIN) :]
    assert (left_over == 255).all()


def test_between_images_there_is_white():
    pixels = picture(plots.images(np.zeros((4, 8, 8)), columns=2))
    size = (pixels.shape[0] - mosaic.THIN) // 2
    gap = slice(size, size + mosaic.THIN)
    assert (pixels[gap] == 255).all()
    assert (pixels[:, gap] == 255).all()
    assert not pixels[:size, :size].any()


def test_colour_images_keep_their_channels():
    images = np.zeros((3, 8, 8, 3))
    images[[0, 1, 2], :, :, [0, 1, 2]] = 1
    pixels = picture(plots.images(images, columns=3))
    third = pixels.shape[1] / 3
    for k, colour in enumerate(255 * np.eye(3)):
        np.testing.assert_array_equal(pixels[4, int(third * (k + 0.5))], colour)


def test_floats_beyond_0_and_1_are_cut_off():
    pixels = picture(plots.images(np.stack([np.full((8, 8), -3.0), np.full((8, 8), 4.0)])))
    assert not pixels[:, 0].any()
    assert (pixels[:, -1] == 255).all()


def test_an_original_stands_above_its_reconstruction_in_every_row_of_pairs():
    figure = plots.reconstructions(LARGE[:5], 1 - LARGE[:5], columns=3)
    pixels = picture(figure)
    size = (pixels.shape[1] - 2 * mosaic.THIN) // 3
    for k in range(5):
        pair, column = divmod(k, 3)
        top = pair * (2 * size + mosaic.THIN + mosaic.WIDE)
        left = column * (size + mosaic.THIN)
        above = cell(pixels, size, top, left)
        below = cell(pixels, size, top + size + mosaic.THIN, left)
        np.testing.assert_array_equal(above, as_bytes(DIGITS[k]))
        np.testing.assert_array_equal(below, as_bytes(1 - DIGITS[k]))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["input", "reconstruction"] * 2


def test_a_manifold_of_large_images_is_seamless_and_its_ticks_name_the_latent_values():
    x, y = np.linspace(-2, 2, 4), np.linspace(1, -1, 3)
    figure = plots.manifold(LARGE, 4, x=x, y=y)
    pixels, axes = picture(figure), figure.axes[0]
    size = pixels.shape[1] // 4
    whole = np.block([[DIGITS[4 * row + column] for column in range(4)] for row in range(3)])
    np.testing.assert_array_equal(pixels[:: size // 8, :: size // 8], as_bytes(whole))
    assert [t.get_text() for t in axes.get_xticklabels()] == ["−2.00", "−0.67", "0.67", "2.00"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["1.00", "0.00", "−1.00"]
    np.testing.assert_allclose(axes.get_yticks(), size * (np.arange(3) + 0.5) - 0.5)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_1$", "$z_2$")


def test_a_wide_manifold_names_seven_columns_so_that_they_can_be_read():
    x = np.linspace(-2, 2, 25)
    figure = plots.manifold(np.zeros((50, 8, 8)), 25, x=x)
    named = [t.get_text() for t in figure.axes[0].get_xticklabels() if t.get_text()]
    assert len(named) == 7
    assert (named[0], named[-1]) == ("−2.00", "2.00")


def test_each_row_of_an_interpolation_is_one_walk_from_left_to_right():
    frames = LARGE[:6].reshape(2, 3, 24, 24)
    pixels = picture(plots.interpolation(frames))
    size = pixels.shape[1] // 3
    for walk in range(2):
        for step in range(3):
            found = cell(pixels, size, walk * (size + mosaic.WIDE), step * size)
            np.testing.assert_array_equal(found, as_bytes(DIGITS[3 * walk + step]))


def test_small_images_are_enlarged_smoothly_without_a_change_of_brightness():
    ramp = np.tile((40 + 25 * np.arange(8)) / 255, (8, 1))  # whole bytes
    pixels = picture(plots.images(ramp[None]))[..., 0] / 255
    factor = len(pixels) // 8
    inside = slice(2 * factor, 6 * factor)  # where no edge is repeated
    exact = np.interp((np.arange(8 * factor) + 0.5) / factor - 0.5, np.arange(8), ramp[0])
    np.testing.assert_allclose(
        pixels[:, inside], exact[None, inside].repeat(len(pixels), 0), atol=2e-3
    )
    flat = picture(plots.images(np.full((1, 8, 8), 0.6)))
    assert (flat == 153).all()


def test_the_small_images_of_a_manifold_stand_apart():
    pixels = picture(plots.manifold(np.zeros((4, 8, 8)), 2))
    middle = slice(len(pixels) // 2 - mosaic.THIN // 2, len(pixels) // 2 + mosaic.THIN // 2)
    assert (pixels[middle] == 255).all()
    assert (pixels[:, middle] == 255).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.images(np.zeros((8, 8))), r"shape \(8, 8\); wanted is \(N, H, W\)"),
        (lambda: plots.images(np.zeros((2, 8, 8, 4))), r"\(2, 8, 8, 4\)"),
        (lambda: plots.images(np.zeros((0, 8, 8))), r"\(0, 8, 8\)"),
        (lambda: plots.images(np.zeros((2, 8, 8)), columns=0), "one column or more, not 0"),
        (lambda: plots.reconstructions(np.zeros((2, 8, 8)), np.zeros((3, 8, 8))), "not pairs"),
        (lambda: plots.manifold(np.zeros((5, 8, 8)), 2), "5 images do not fill rows of 2"),
        (lambda: plots.manifold(np.zeros((4, 8, 8)), 2, x=np.ones(3)), r"x of shape \(3,\)"),
        (lambda: plots.interpolation(np.zeros((2, 8, 8))), r"\(P, S, H, W\)"),
    ],
)
def test_a_bad_shape_is_named_with_what_is_wanted(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.images(np.zeros((1, 8, 8), int)), "int64; wanted are uint8"),
        (lambda: plots.images(np.full((1, 2, 2), np.nan)), "4 of 4 values in images are NaN"),
    ],
)
def test_data_that_cannot_be_drawn_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_walks_and_their_steps_can_be_named():
    frames = np.zeros((2, 3, 8, 8))
    axes = plots.interpolation(frames, rows=["one", "two"], columns=["a", "b", "c"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    with pytest.raises(ShapeError, match="1 names of rows, of which there are 2"):
        plots.interpolation(frames, rows=["one"])
    with pytest.raises(ShapeError, match="2 names of columns, of which there are 3"):
        plots.interpolation(frames, columns=["a", "b"])


def test_however_long_the_names_of_walks_are_they_are_within_the_picture():
    frames = np.full((2, 3, 8, 8), 0.5)
    shown = rendered(plots.interpolation(frames, rows=["a name that is rather long", "b"]))
    assert (shown[:, :12] == 255).all()
    assert (shown[:, 12:200] < 200).any()
