from __future__ import annotations

import sys

import numpy as np
import pytest
from drawn import DIGITS
from PIL import Image, ImageSequence

from tinyvae import plots
from tinyvae.errors import DataError, MissingExtraError, RunError, ShapeError
from tinyvae.plots import mosaic


def played(path):
    """The frames as shown, (T, h, w, 3), and how long each, in milliseconds."""
    with Image.open(path) as opened:
        assert opened.info["loop"] == 0  # for ever
        shown = [(f.convert("RGB"), f.info["duration"]) for f in ImageSequence.Iterator(opened)]
    return np.stack([np.asarray(picture) for picture, _ in shown]), [time for _, time in shown]


def greys(*values):
    """One walk of plain images of 24 x 24 pixels."""
    return np.array(values, float).reshape(1, -1, 1, 1) * np.ones((1, 1, 24, 24))


def test_a_walk_goes_there_and_back_again_and_rests_at_its_ends(tmp_path):
    plots.animate(greys(0, 0.2, 0.6, 1), tmp_path / "walk.gif")
    pictures, times = played(tmp_path / "walk.gif")
    shades = pictures.reshape(len(pictures), -1)
    assert np.ptp(shades, axis=1).max() == 0
    np.testing.assert_allclose(shades[:, 0] / 255, [0, 0.2, 0.6, 1, 0.6, 0.2], atol=0.02)
    assert times[0] == times[3] > times[1] == times[2] == times[4] == times[5]


def test_several_walks_go_side_by_side_in_rows(tmp_path):
    walks = np.concatenate([greys(k / 4, 1 - k / 4) for k in range(5)])
    plots.animate(walks, tmp_path / "walks.gif")
    pictures, _ = played(tmp_path / "walks.gif")
    size = (pictures.shape[2] - 2 * mosaic.THIN) // 3
    step = size + mosaic.THIN
    assert pictures.shape[1] == 2 * size + mosaic.THIN
    for k in range(5):
        top, left = k // 3 * step, k % 3 * step
        found = pictures[:, top + size // 2, left + size // 2, 0] / 255
        np.testing.assert_allclose(found, [k / 4, 1 - k / 4], atol=0.02)
    assert (pictures[:, step:, 2 * step :] == 255).all()  # a place that is left over


def test_what_stays_does_not_flicker(tmp_path):
    frames = np.random.default_rng(0).random((1, 6, 24, 24, 3))
    frames[:, :, :12] = frames[:, :1, :12]
    plots.animate(frames, tmp_path / "walk.gif")
    pictures, _ = played(tmp_path / "walk.gif")
    half = pictures.shape[1] // 2
    assert np.ptp(pictures[:, :half].astype(int), axis=0).max() == 0
    assert np.ptp(pictures[:, half:].astype(int), axis=0).max() > 100


def test_small_images_and_bytes_are_animated_too(tmp_path):
    frames = (DIGITS[None, :3] * 255).astype(np.uint8)
    plots.animate(frames, tmp_path / "digits.gif")
    assert played(tmp_path / "digits.gif")[0].shape[1] > 100


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        (np.zeros((3, 8, 8)), ShapeError),
        (np.zeros((1, 0, 8, 8)), ShapeError),
        (np.full((1, 2, 8, 8), np.nan), DataError),
    ],
)
def test_what_is_no_walk_is_refused_and_nothing_is_written(frames, error, tmp_path):
    with pytest.raises(error):
        plots.animate(frames, tmp_path / "walk.gif")
    assert list(tmp_path.iterdir()) == []


def test_a_walk_of_one_frame_is_a_still(tmp_path):
    plots.animate(greys(0.5), tmp_path / "still.gif")
    with Image.open(tmp_path / "still.gif") as opened:
        assert getattr(opened, "n_frames", 1) == 1


def test_without_pillow_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinyvae\[images\]'"):
        plots.animate(greys(0, 1), tmp_path / "walk.gif")


def test_a_file_that_cannot_be_written_stays_what_it_was(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        plots.animate(greys(0, 1), tmp_path / "file" / "walk.gif")
