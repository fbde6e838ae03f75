"""No part of a data set is taken for another: what trains, what is watched, what judges.

Every image says of which part it is, by the one of its first three pixels that is white; so it
does after any binarisation, which leaves white and black as they are. The rest is grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae import pictures, trainer
from tinyvae.backend import Backend
from tinyvae.config import Config
from tinyvae.data import Dataset, Split
from tinyvae.data.dataset import BINARISE
from tinyvae.evaluation import elbo
from tinyvae.nn import glorot_uniform
from tinyvae.objectives import OBJECTIVES
from tinyvae.runs import Run

PARTS = ("train", "valid", "test")
SIZES = {"train": 18, "valid": 5, "test": 7}
RNG = np.random.default_rng(0)


def marked(part: str) -> Split:
    images = RNG.integers(60, 196, size=(SIZES[part], 3, 4), dtype=np.uint8)
    images[:, 0, :3] = 255 * np.equal(PARTS, part)
    return Split(images)


DATA = Dataset("marked", **{part: marked(part) for part in PARTS})
CONFIG = Config(hidden=(6,), epochs=3, batch=8, learning_rate=0.01, seed=3)


def parts_of(images: np.ndarray) -> list[str]:
    """The part of each image, by its mark."""
    marks = images.reshape(len(images), -1)[:, :3]
    assert ((marks > 0).sum(axis=1) == 1).all()
    return [PARTS[k] for k in marks.argmax(axis=1)]


def counts(batches: list[np.ndarray]) -> dict[str, int]:
    """How many images of each part there are; no part that has none."""
    found = [part for images in batches for part in parts_of(images)]
    return {part: found.count(part) for part in PARTS if part in found}


@contextmanager
def seen_by(module: Any) -> Iterator[list[np.ndarray]]:
    """The pixels of which a module measures the loss, batch after batch; each step is taped."""
    seen: list[np.ndarray] = []
    loss = OBJECTIVES["elbo"] if module is trainer else elbo.infer

    def spy(model: tv.VAE, x: tv.Tensor, *rest: Any) -> Any:
        if x.shape[1] == DATA.train.pixels:  # not what a configuration is tried out on
            seen.append(x.numpy())
        return loss(model, x, *rest)

    with pytest.MonkeyPatch.context() as patch:
        if module is trainer:
            patch.setitem(OBJECTIVES, "elbo", spy)
        else:
            patch.setattr(module, "infer", spy)
        patch.setattr(tv.Replay, "__call__", tv.Replay.tape)
        yield seen


def a_run(path: Path, **settings: Any) -> Run:
    run = Run(path / "run")
    run.train(replace(CONFIG, **settings), DATA)
    return run


# To train


@pytest.mark.parametrize("binarise", BINARISE)
def test_a_run_steps_on_training_images_alone_and_on_each_once_an_epoch(
    tmp_path: Path, binarise: str
) -> None:
    with seen_by(trainer) as stepped:
        a_run(tmp_path, binarise=binarise)
    assert counts(stepped) == {"train": 3 * 18}
    if binarise == "none":
        epoch = np.concatenate(stepped[-3:])
        assert {row.tobytes() for row in epoch} == {
            row.tobytes() for row in DATA.train.batch(slice(None))
        }


@pytest.mark.parametrize("binarise", BINARISE)
def test_a_run_logs_its_validation_images_alone(tmp_path: Path, binarise: str) -> None:
    with seen_by(elbo) as watched:
        a_run(tmp_path, binarise=binarise)
    assert counts(watched) == {"valid": 3 * 5}


def test_a_run_without_a_validation_part_watches_training_images_and_never_the_test(
    tmp_path: Path,
) -> None:
    with seen_by(elbo) as watched, seen_by(trainer) as stepped:
        history = Run(tmp_path / "run").train(CONFIG, replace(DATA, valid=None))
    assert counts(watched) == counts(stepped) == {"train": 3 * 18}
    assert "valid_loss" not in history[-1]


# To judge


@pytest.mark.parametrize("binarise", BINARISE)
def test_a_run_is_judged_by_its_test_images_each_of_them_once(
    tmp_path: Path, binarise: str
) -> None:
    run = a_run(tmp_path, binarise=binarise)
    with seen_by(elbo) as judged, seen_by(trainer) as stepped:
        run.evaluate(run.model(), DATA)
    assert (counts(judged), stepped) == ({"test": 7}, [])


@pytest.mark.parametrize("binarise", BINARISE)
def test_a_run_is_judged_with_its_own_seed(tmp_path: Path, binarise: str) -> None:
    run = a_run(tmp_path, binarise=binarise)
    model, dynamic = run.model(), binarise == "dynamic"
    got = run.evaluate(model, DATA)
    assert got == tv.evaluate(model, DATA, 3, dynamic)
    assert got != tv.evaluate(model, DATA, 0, dynamic)


@pytest.mark.parametrize("binarise", BINARISE)
def test_a_run_is_judged_by_pixels_drawn_anew_exactly_if_it_was_trained_so(
    tmp_path: Path, binarise: str
) -> None:
    run = a_run(tmp_path, binarise=binarise)
    with seen_by(elbo) as judged:
        run.evaluate(run.model(), DATA)
    (x,) = judged
    if binarise == "dynamic":
        assert set(x.flat) == {0, 1}
    else:  # a static run's are drawn before, in `Config.dataset`
        np.testing.assert_array_equal(x, DATA.test.batch(slice(None)))


def test_the_pixels_drawn_to_evaluate_depend_on_the_seed_and_on_nothing_else() -> None:
    model = tv.VAE((3, 4), hidden=(6,))
    with seen_by(elbo) as drawn:
        for seed in (1, 1, 2, 0):
            tv.evaluate(model, DATA.test, seed, dynamic=True)
    first, same, *others = (x.tobytes() for x in drawn)
    assert first == same
    assert len({first, *others}) == 3


# The data of a configuration


def data_of(monkeypatch: pytest.MonkeyPatch, dataset: Dataset, **settings: Any) -> Dataset:
    monkeypatch.setattr("tinyvae.config.load", lambda name: {"marked": dataset}[name])
    return replace(CONFIG, data="marked", **settings).dataset()


def pixels(dataset: Dataset) -> dict[str, bytes]:
    return {part: getattr(dataset, part).images.tobytes() for part in PARTS}


@pytest.mark.parametrize("seed", [0, 3])
def test_static_pixels_are_those_of_the_configurations_seed(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    drawn = pixels(data_of(monkeypatch, DATA, binarise="static", seed=seed))
    assert drawn == pixels(DATA.binarised(seed))
    other = pixels(data_of(monkeypatch, DATA, binarise="static", seed=seed + 1))
    assert all(drawn[part] != other[part] for part in PARTS)


@pytest.mark.parametrize("binarise", ["none", "dynamic"])
def test_a_configurations_pixels_are_the_published_ones_unless_static(
    monkeypatch: pytest.MonkeyPatch, binarise: str
) -> None:
    assert pixels(data_of(monkeypatch, DATA, binarise=binarise)) == pixels(DATA)


@pytest.mark.parametrize("binarise", BINARISE)
def test_a_configurations_parts_stay_what_they_are(
    monkeypatch: pytest.MonkeyPatch, binarise: str
) -> None:
    dataset = data_of(monkeypatch, DATA, binarise=binarise)
    for part, size in SIZES.items():
        assert counts([getattr(dataset, part).images]) == {part: size}


@pytest.mark.parametrize("binarise", BINARISE)
def test_what_is_held_out_comes_from_the_training_part(
    monkeypatch: pytest.MonkeyPatch, binarise: str
) -> None:
    dataset = data_of(monkeypatch, replace(DATA, valid=None), binarise=binarise)
    found = {part: counts([getattr(dataset, part).images]) for part in PARTS}
    assert found == {"train": {"train": 16}, "valid": {"train": 2}, "test": {"test": 7}}


# To look at


PICTURES: dict[str, tuple[Callable[..., Any], dict[str, int]]] = {
    "reconstructions": (pictures.reconstructions, {"test": 7}),
    "interpolation": (pictures.interpolation, {"test": 6}),  # three walks have six ends
    "latent": (pictures.latent, {"train": 18, "test": 7}),
    "manifold": (pictures.manifold, {"test": 7}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_of_test_images_and_in_the_latent_space_of_training_images_too(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    draw, wanted = PICTURES[name]
    shown: list[np.ndarray] = []
    embed = tv.VAE.embed
    monkeypatch.setattr(
        tv.VAE, "embed", lambda self, images: shown.append(images) or embed(self, images)
    )
    with seen_by(elbo) as measured:
        draw(tv.VAE((3, 4), hidden=(6,)), DATA)
    assert counts([*shown, *measured]) == wanted


# First weights


def test_the_largest_of_many_glorot_draws_is_at_the_bound(backend: Backend) -> None:
    draws = backend.to_host(glorot_uniform(250, 400, tv.Noise(0)))  # 1e5 of them
    a = math.sqrt(6 / 650)
    for end in (draws.max(), -draws.min()):  # less than 0.999 a: once in 1e21
        assert end == pytest.approx(a, rel=1e-3)
