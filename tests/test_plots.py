from __future__ import annotations

import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from sklearn.datasets import load_digits

from tinyvae import plots
from tinyvae.errors import DataError, RunError, ShapeError

DIGITS = load_digits().images / 16.0
CLASSES = load_digits().target


def rendered(figure):
    """The pixels on the screen, (H, W, 3), as bytes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def picture(figure):
    """The pixels within the first axes."""
    pixels = rendered(figure)
    x0, y0, x1, y1 = figure.axes[0].get_window_extent().extents.round().astype(int)
    return pixels[len(pixels) - y1 : len(pixels) - y0, x0:x1]


def as_bytes(image):
    grey = np.round(np.asarray(image) * 255).astype(np.uint8)
    return grey if grey.shape[-1] == 3 else np.repeat(grey[..., None], 3, axis=-1)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def cell(pixels, size, top, left):
    """The image at a place, shrunk back to its own pixels; each must be a square of one colour."""
    found, factor = pixels[top : top + size, left : left + size], size // 8
    small = found[::factor, ::factor]
    np.testing.assert_array_equal(found, small.repeat(factor, 0).repeat(factor, 1))
    return small


def history(epochs, dimensions=4, valid=True):
    def one(epoch):
        per_dimension = [epoch * k / dimensions for k in range(dimensions)]
        parts = ("train", "valid") if valid else ("train",)
        terms = {"loss": 200.0 / epoch + 7, "bce": 200.0 / epoch, "kl": 7.0}
        losses = {f"{part}_{key}": v for part in parts for key, v in terms.items()}
        units = {"active_units": dimensions - 1, "kl_per_dimension": per_dimension}
        return {"epoch": epoch, **losses, **units}

    return [one(epoch) for epoch in range(1, epochs + 1)]


# Grids of images


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_image_k_stands_row_by_row_at_its_place_pixel_by_pixel(dtype):
    images = DIGITS[:12] if dtype != "uint8" else as_bytes(DIGITS[:12])[..., 0]
    pixels = picture(plots.images(images.astype(dtype), columns=5, title="Digits"))
    size = (pixels.shape[1] - 4 * plots.THIN) // 5
    for k in range(12):
        row, column = divmod(k, 5)
        step = size + plots.THIN
        small = cell(pixels, size, row * step, column * step)
        np.testing.assert_array_equal(small, as_bytes(DIGITS[k]))
    left_over = pixels[2 * (size + plots.THIN) :, 2 * (size + plots.THIN) :]
    assert (left_over == 255).all()


def test_between_images_there_is_white():
    pixels = picture(plots.images(np.zeros((4, 8, 8)), columns=2))
    size = (pixels.shape[0] - plots.THIN) // 2
    gap = slice(size, size + plots.THIN)
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
    figure = plots.reconstructions(DIGITS[:5], 1 - DIGITS[:5], columns=3)
    pixels = picture(figure)
    size = (pixels.shape[1] - 2 * plots.THIN) // 3
    for k in range(5):
        pair, column = divmod(k, 3)
        top = pair * (2 * size + plots.THIN + plots.WIDE)
        left = column * (size + plots.THIN)
        above = cell(pixels, size, top, left)
        below = cell(pixels, size, top + size + plots.THIN, left)
        np.testing.assert_array_equal(above, as_bytes(DIGITS[k]))
        np.testing.assert_array_equal(below, as_bytes(1 - DIGITS[k]))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["input", "reconstruction"] * 2


def test_a_manifold_is_seamless_and_its_ticks_name_the_latent_values():
    x, y = np.linspace(-2, 2, 4), np.linspace(1, -1, 3)
    figure = plots.manifold(DIGITS[:12], 4, x=x, y=y)
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
    frames = DIGITS[:6].reshape(2, 3, 8, 8)
    pixels = picture(plots.interpolation(frames))
    size = pixels.shape[1] // 3
    for walk in range(2):
        for step in range(3):
            found = cell(pixels, size, walk * (size + plots.WIDE), step * size)
            np.testing.assert_array_equal(found, as_bytes(frames[walk, step]))


@pytest.mark.parametrize(
    "make",
    [
        lambda title: plots.images(DIGITS[:1], title=title),
        lambda title: plots.reconstructions(DIGITS[:1], DIGITS[:1], title=title),
        lambda title: plots.manifold(DIGITS[:4], 2, x=np.ones(2), y=np.ones(2), title=title),
        lambda title: plots.interpolation(DIGITS[None, :2], title=title),
        lambda title: plots.curves(history(12), title=title),
        lambda title: plots.latent(DIGITS[:50, 4], CLASSES[:50], title=title),
    ],
    ids=["images", "reconstructions", "manifold", "interpolation", "curves", "latent"],
)
def test_nothing_is_cut_off_at_the_border(make):
    pixels = rendered(make("A title that is a good deal wider than the picture"))
    border = np.concatenate([pixels[:3], pixels[-3:]], 0).reshape(-1, 3)
    sides = np.concatenate([pixels[:, :3], pixels[:, -3:]], 1).reshape(-1, 3)
    assert (border == 255).all()
    assert (sides == 255).all()


# Curves


def test_the_lines_are_the_history_and_their_names_carry_the_last_values():
    figure = plots.curves(history(10))
    for axes, key in zip(figure.axes[:3], ("loss", "bce", "kl"), strict=True):
        for line, part in zip(axes.lines, ("train", "valid"), strict=True):
            want = [epoch[f"{part}_{key}"] for epoch in history(10)]
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 11))
            np.testing.assert_array_equal(line.get_ydata(), want)
    assert texts(figure.axes[0]) == ["train 27.0", "validation 27.0"]


def test_names_of_lines_that_end_together_do_not_overlap():
    figure = plots.curves(history(10))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes[:3]:
        first, second = (t.get_window_extent(canvas.get_renderer()) for t in axes.texts)
        assert not first.overlaps(second)


def test_one_epoch_is_drawn_as_points_above_one_whole_number():
    figure = plots.curves(history(1))
    rendered(figure)
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", "o"]
    low, high = figure.axes[2].get_xlim()
    assert [x for x in figure.axes[2].get_xticks() if low < x < high] == [1]


def test_a_history_without_validation_has_one_line_a_panel():
    figure = plots.curves(history(5, valid=False))
    rendered(figure)
    assert [len(axes.lines) for axes in figure.axes] == [1, 1, 1, 0]
    assert texts(figure.axes[0]) == ["train 47.0"]


def test_a_validation_at_some_epochs_only_is_drawn_at_these():
    entries = history(6)
    for entry in entries[::2]:
        entry["valid_loss"] = None
    line = plots.curves(entries).axes[0].lines[1]
    np.testing.assert_array_equal(line.get_xdata(), [2, 4, 6])


def test_the_heat_map_shows_the_most_used_dimension_on_top_and_counts_the_active():
    axes = plots.curves(history(3, dimensions=4)).axes[3]
    nats = axes.collections[0].get_array()
    want = np.array([[epoch * k / 4 for epoch in (1, 2, 3)] for k in (3, 2, 1, 0)])
    np.testing.assert_allclose(nats, want)
    assert axes.get_title(loc="left") == "KL of each dimension, 3 of 4 active"
    assert axes.get_ylim() == (4.5, 0.5)


def test_a_cell_of_the_heat_map_is_centred_on_its_epoch():
    entries = [{**history(1)[0], "epoch": epoch} for epoch in (5, 10, 20)]
    corners = plots.curves(entries).axes[3].collections[0].get_coordinates()
    np.testing.assert_array_equal(corners[0, :, 0], [2.5, 7.5, 15, 25])


def test_what_was_not_measured_is_said_so():
    figure = plots.curves([{"epoch": 1, "train_loss": 3.0, "train_bce": np.nan}])
    rendered(figure)
    assert [texts(axes) for axes in figure.axes] == [["train 3"], *[["not measured"]] * 3]


# The latent space


def test_the_principal_components_are_the_eigenvectors_of_the_covariance():
    means = DIGITS.reshape(len(DIGITS), -1)[:, 10:40]
    figure = plots.latent(means, CLASSES)
    axes = figure.axes[0]
    points = np.asarray(axes.collections[0].get_offsets())
    variances, vectors = np.linalg.eigh(np.cov(means.T))
    want = (means - means.mean(0)) @ vectors[:, [-1, -2]]
    signs = np.sign((points * want).sum(0))
    np.testing.assert_allclose(points, want * signs, atol=1e-9)
    share = 100 * variances[[-1, -2]] / variances.sum()
    assert axes.get_xlabel() == f"first principal component, {share[0]:.0f} % of the variance"
    assert axes.get_ylabel() == f"second principal component, {share[1]:.0f} % of the variance"


def test_two_dimensions_are_drawn_as_they_are_in_the_colours_of_their_classes():
    means, labels = DIGITS[:30, 3, 2:4], CLASSES[:30]
    dots = plots.latent(means, labels).axes[0].collections[0]
    np.testing.assert_array_equal(dots.get_offsets(), means)
    want = [to_rgb(plots.CLASSES[label]) for label in labels]
    np.testing.assert_allclose(dots.get_facecolors()[:, :3], want)


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
    axes = plots.latent(DIGITS[:20, 2, 2:4], labels, factor_name="slant").axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_array(), factor)
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


# Mistakes


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
        (lambda: plots.latent(np.zeros(3)), r"\(3,\); wanted is \(N, K\)"),
        (lambda: plots.latent(np.zeros((1, 3))), "N at least 2"),
        (lambda: plots.latent(np.zeros((3, 2)), np.zeros(2)), r"\(2,\); wanted is \(3,\)"),
        (lambda: plots.curves(history(1, 3) + history(1, 4)), r"\[\(3,\), \(4,\)\]"),
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
        (lambda: plots.latent(np.full((1, 2), np.inf)), "2 of 2 values in means"),
        (lambda: plots.curves([]), "0 epochs"),
        (lambda: plots.curves([{"train_loss": 1.0}]), "'epoch'"),
    ],
)
def test_data_that_cannot_be_drawn_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()


# Saving, and keeping out of the way


def test_a_saved_picture_holds_what_the_figure_shows(tmp_path):
    figure = plots.images(DIGITS[:4])
    plots.save(figure, tmp_path / "samples.png")
    np.testing.assert_array_equal(
        np.round(imread(tmp_path / "samples.png")[..., :3] * 255), rendered(figure)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]


def test_a_failed_write_keeps_the_old_picture_and_leaves_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "samples.png"
    target.write_bytes(b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RunError, match=r"cannot write .*samples\.png: No space left on device"):
        plots.save(plots.images(DIGITS[:1]), target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupt_while_drawing_leaves_nothing_behind(tmp_path, monkeypatch):
    figure = plots.images(DIGITS[:1])

    def interrupt(path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", interrupt)
    with pytest.raises(KeyboardInterrupt):
        plots.save(figure, tmp_path / "samples.png")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist_is_an_error_with_the_path(tmp_path):
    with pytest.raises(RunError, match=r"missing.samples\.png: No such file or directory"):
        plots.save(plots.images(DIGITS[:1]), tmp_path / "missing" / "samples.png")
    assert not list(tmp_path.iterdir())


def test_the_settings_of_the_user_neither_change_nor_show(tmp_path):
    plots.save(plots.curves(history(3)), tmp_path / "plain.png")
    own = {"font.size": 31.0, "axes.grid": True, "savefig.bbox": "tight", "xtick.major.size": 20}
    with matplotlib.rc_context(own):
        before = dict(matplotlib.rcParams)
        plots.save(plots.curves(history(3)), tmp_path / "own.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_pictures_need_no_display_and_no_pyplot(tmp_path):
    script = (
        "import sys, numpy as np; from tinyvae import plots\n"
        f"plots.save(plots.latent(np.eye(5), np.arange(5)), {str(tmp_path / 'latent.png')!r})\n"
        "plots.curves([{'epoch': 1, 'kl_per_dimension': [1.0]}])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True)
    assert (tmp_path / "latent.png").read_bytes().startswith(b"\x89PNG")


# Colours

# Linear RGB as seen without the red, or the green, cones (Machado, Oliveira, Fernandes 2009).
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
}  # fmt: skip


def cielab(linear):
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
         [0.0193339, 0.1191920, 0.9503041]]
    )  # fmt: skip
    ratios = linear.clip(0, 1) @ to_xyz.T / to_xyz.sum(axis=1)
    small = ratios <= (6 / 29) ** 3
    f = np.where(small, ratios / (3 * (6 / 29) ** 2) + 4 / 29, np.cbrt(ratios))
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("sight", SIGHT)
def test_the_colours_of_classes_stay_apart_from_each_other_and_from_paper(sight):
    colours = np.array([to_rgb(colour) for colour in (*plots.CLASSES, plots.PAPER)])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    lab = cielab(linear @ SIGHT[sight].T)
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1) + 1e9 * np.eye(len(lab))
    assert distances[:-1, :-1].min() > 28
    assert distances[-1].min() > 20
