from __future__ import annotations

import numpy as np
import pytest
from drawn import history, rendered, texts
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tinyvae import plots
from tinyvae.errors import DataError, ShapeError


def test_the_lines_are_the_history_and_their_names_carry_the_last_values():
    figure = plots.curves(history(10))
    for axes, key in zip(figure.axes[:3], ("loss", "reconstruction", "kl"), strict=True):
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
    figure = plots.curves([{"epoch": 1, "train_loss": 3.0, "train_reconstruction": np.nan}])
    rendered(figure)
    assert [texts(axes) for axes in figure.axes] == [["train 3"], *[["not measured"]] * 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.curves(history(1, 3) + history(1, 4)), r"\[\(3,\), \(4,\)\]"),
    ],
)
def test_a_bad_shape_is_named_with_what_is_wanted(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.curves([]), "0 epochs"),
        (lambda: plots.curves([{"train_loss": 1.0}]), "'epoch'"),
    ],
)
def test_data_that_cannot_be_drawn_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()
