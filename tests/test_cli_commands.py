"""What the commands make of a run that is there."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import matplotlib.image
import pytest
from commandline import SMALL, refused, tinyvae, write_images

from tinyvae.config import Config
from tinyvae.runs import Run

FILES = ["checkpoint.safetensors", "config.json", "curves.png", "history.csv", "latent.png"] + [
    *("manifold.png", "reconstructions.png", "samples.png", "weights.safetensors")
]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small data set and a run on it in runs/tiny."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert tinyvae("train", "--data", write_images(), *SMALL).code == 0
    return folder


@pytest.fixture
def there(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory."""
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_train_writes_a_run_folder_and_says_where_it_is(there: Path):
    run = there / "runs" / "tiny"
    assert sorted(path.name for path in run.iterdir()) == FILES
    assert Run(run).config == Config(data="tiny.npz", hidden=(8,), epochs=2, batch=8)
    assert len((run / "history.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("sample", "--count", "7", "--seed", "3"), "samples"),
        (("reconstruct", "--count", "2"), "reconstructions"),
        (("interpolate", "--rows", "1", "--steps", "3"), "interpolation"),
        (("interpolate", "--rows", "1", "--path", "spherical"), "interpolation"),
        (("traverse", "--rows", "2", "--steps", "3"), "traversals"),
        (("walk", "2", "--rows", "2", "--steps", "3"), "walk-2"),
        (("latent",), "latent"),
    ],
)
def test_a_picture_goes_into_the_run_or_where_it_is_asked(
    there: Path, command: tuple[str, ...], name: str
):
    Path("runs", "tiny", f"{name}.png").unlink(missing_ok=True)
    assert tinyvae(*command).out == f"wrote runs/tiny/{name}.png\n"
    assert tinyvae(*command, "--out", "new/mine.png").out == "wrote new/mine.png\n"
    for path in (f"runs/tiny/{name}.png", "new/mine.png"):
        picture = matplotlib.image.imread(path)
        assert min(picture.shape[:2]) > 100
        assert len({*picture.reshape(-1, picture.shape[2])[:, 0].tolist()}) > 10


def test_the_same_seed_draws_the_same_samples_and_another_one_others(there: Path):
    pictures = []
    for seed in (1, 1, 2):
        assert tinyvae("sample", "runs/tiny", "--count", "4", "--seed", seed).code == 0
        pictures.append(Path("runs/tiny/samples.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "--count", "0"), "Invalid value for '--count': "),
        (("sample", "--count", "9" * 12), "Invalid value for '--count': "),
        (("sample", "--seed", "-1"), "Invalid value for '--seed': "),
        (("reconstruct", "--count", "-3"), "Invalid value for '--count': "),
        (("interpolate", "--steps", "1"), "Invalid value for '--steps': "),
        (("interpolate", "--rows", "0"), "Invalid value for '--rows': "),
        (("interpolate", "--path", "round"), "linear, spherical, fade, or each, not 'round'"),
        (("walk", "7"), "tiny has no attribute '7': 0, 1, 2"),
        (("walk", "2", "--out", "a.mp4"), "'a.mp4' does not end in .png or .gif"),
        (("traverse", "--out", "a.gif"), "'a.gif' does not end in .png"),
        (("sample", "--out", "a.jpg"), "'a.jpg' does not end in .png"),
        (("latent", "--out", "folder"), "'folder' does not end in .png"),
        (("check", "--seed", "-1"), "Invalid value for '--seed': "),
        (("sample", "tiny"), "tiny is not a run folder: it has no config.json"),
        (("evaluate", "tiny.npz"), "tiny.npz is not a run folder"),
        (("sample", "--out", "tiny.npz/a.png"), "cannot write tiny.npz/a.png: "),
    ],
)
def test_a_picture_that_cannot_be_is_refused(there: Path, arguments: tuple[str, ...], message: str):
    assert message in refused(*arguments)


def test_evaluate_prints_the_negative_elbo_that_training_ended_with(there: Path):
    finished = tinyvae("evaluate")
    title, _, *lines = finished.out.splitlines()
    assert title == "nats per image, ± a standard error"
    cells = [re.split(" {2,}", line.strip()) for line in lines]
    found = {cell[0]: cell[1] for cell in cells if len(cell) > 1}
    assert cells[0] == ["images", "3", "test images of tiny"]
    loss, reconstruction, kl = (
        float(found[name]) for name in ("-ELBO", "-log p(x | z)", "KL (analytic)")
    )
    assert math.isclose(loss, reconstruction + kl, abs_tol=0.002)
    surgery = float(found["KL: mutual information"]) + float(found["KL: marginal KL"])
    assert math.isclose(surgery, kl, abs_tol=0.002)
    assert any(line.startswith("KL of each dimension, sorted: ") for line in lines)


@pytest.mark.parametrize("command", [("interpolate",), ("walk", "1")])
def test_a_walk_that_is_to_be_a_gif_moves(there: Path, command: tuple[str, ...]):
    pytest.importorskip("PIL")
    from PIL import Image

    options = ("--rows", "1", "--steps", "4", "--out", "moves.gif")
    assert tinyvae(*command, *options).out == "wrote moves.gif\n"
    with Image.open("moves.gif") as opened:
        assert opened.n_frames == 6  # there, and back again


def test_each_kind_of_walk_is_measured_in_a_table(there: Path):
    finished = tinyvae("interpolate", "--rows", "1", "--path", "each")
    rows = [line.split() for line in finished.out.splitlines()]
    assert rows[0] == ["wrote", "runs/tiny/interpolation.png"]
    assert [row[0] for row in rows[-3:]] == ["linear", "spherical", "fade"]
    assert rows[-1][1:3] == ["1.000", "1.000"]
