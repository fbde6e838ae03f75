from __future__ import annotations

import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from drawn import CLASSES, DIGITS, history, rendered
from matplotlib.colors import to_rgb
from matplotlib.image import imread

import tinyvae as tv
from tinyvae import plots
from tinyvae.errors import RunError
from tinyvae.plots import style


@pytest.mark.parametrize(
    "make",
    [
        lambda title: plots.images(DIGITS[:1], title=title),
        lambda title: plots.reconstructions(DIGITS[:1], DIGITS[:1], title=title),
        lambda title: plots.manifold(DIGITS[:4], 2, x=np.ones(2), y=np.ones(2), title=title),
        lambda title: plots.interpolation(DIGITS[None, :2], title=title),
        lambda title: plots.curves(history(12), title=title),
        lambda title: plots.latent(DIGITS[:50, 4], CLASSES[:50], title=title),
        lambda title: plots.graph(tv.Tensor([1.0], requires_grad=True, name=title) * 2.0),
    ],
    ids=["images", "reconstructions", "manifold", "interpolation", "curves", "latent", "graph"],
)
def test_nothing_is_cut_off_at_the_border(make):
    pixels = rendered(make("A title that is a good deal wider than the picture"))
    border = np.concatenate([pixels[:3], pixels[-3:]], 0).reshape(-1, 3)
    sides = np.concatenate([pixels[:, :3], pixels[:, -3:]], 1).reshape(-1, 3)
    assert (border == 255).all()
    assert (sides == 255).all()


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

    def interrupt(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", interrupt)
    with pytest.raises(KeyboardInterrupt):
        plots.save(figure, tmp_path / "samples.png")
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
    colours = np.array([to_rgb(colour) for colour in (*style.CLASSES, style.PAPER)])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    lab = cielab(linear @ SIGHT[sight].T)
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1) + 1e9 * np.eye(len(lab))
    assert distances[:-1, :-1].min() > 28
    assert distances[-1].min() > 20
