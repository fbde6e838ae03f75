"""Which models the command line trains, and which it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import refused, tinyvae
from test_cli import SMALL, write_images

import tinyvae as tv
from tinyvae import pictures, runs
from tinyvae.config import Config, choices
from tinyvae.data import Dataset, Split, faces, registry
from tinyvae.data.faces import FACTORS
from tinyvae.errors import OptionError
from tinyvae.models import MODELS, model_class
from tinyvae.models.fitted import fit_prior
from tinyvae.runs import Run


def test_models_lists_every_name_with_what_it_is():
    lines = tinyvae("models").out.splitlines()
    for rows in choices().values():
        for name, what in rows:
            assert what.endswith(".")
            assert any(line.split("  ")[0] == name and what in line for line in lines), name


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_asked_for(name: str):
    config = Config(model=name, latent=3, hidden=(5,))
    model = config.new_model((4, 4))
    assert type(model) is model_class(name)
    assert (model.latent, model.hidden) == (3, (5,))
    loss = next(line for line in config.describe((4, 4), 10) if line.startswith("loss "))
    assert loss.startswith(f"loss {model.describe(1.0)}")
    plain = name in ("beta-vae", "beta-tcvae", "factor-vae")
    assert loss.endswith("(with beta 1 the plain VAE: give --beta)") == plain


@pytest.mark.parametrize("option", choices())
def test_a_name_that_is_on_no_list_is_refused_with_the_list(option: str):
    with pytest.raises(OptionError) as refusal:
        Config(**{option: "no-such-thing"})
    assert "no-such-thing" in str(refusal.value)
    assert all(name in str(refusal.value) for name, _ in choices()[option])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--objective elbo-analytic --prior mixture:3", "no closed form"),
        ("--objective iwae --beta 2", "no KL to weigh"),
        ("--objective vimco", "use samples=2 or more"),
        ("--free-bits 0.1 --prior mixture:3", "KL of each latent dimension in closed form"),
        ("--beta 2 --normalised-beta 0.1", "two weights for one KL"),
        ("--prior normal:3", "takes no number: leave out ':3'"),
        ("--prior mixture:", "a number stands behind the colon"),
        ("--prior mixture:1e8", "a whole number from 1 to 100,000"),
        ("--model vae:3", "takes no number"),
        ("--model capacity-vae:much", "a number stands behind the colon"),
        ("--model factor-vae --latent 1", "use latent=2 or more"),
        ("--model beta-tcvae --latent 1", "use latent=2 or more"),
        ("--posterior iaf:two", "a number stands behind the colon"),
        ("--prior mixture:0", "the prior 'mixture:0': a whole number from 1 "),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, reason: str
):
    monkeypatch.chdir(tmp_path)
    assert reason in refused("train", "--data", write_images(), *SMALL, *words.split())
    assert not (tmp_path / "runs").exists()


def test_a_prior_fitted_after_training_is_kept_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "every", lambda *_: iter(()))
    for name in ("fitted:2", "normal"):
        out = ("--out", name[:6], "--prior", name)
        assert tinyvae("train", "--data", write_images(), *SMALL, *out).code == 0
    fitted, normal = Run(tmp_path / "fitted").model(), Run(tmp_path / "normal").model()
    for name, weights in normal.state_dict().items():
        np.testing.assert_array_equal(fitted.state_dict()[name], weights)
    images = Run(tmp_path / "normal").config.dataset().train.images
    wanted = fit_prior(normal, images, 2, seed=0)
    z = tv.Noise(1).normal((50, 2))
    found, known = (prior.log_prob(tv.Tensor(z), normal.encode) for prior in (fitted.prior, wanted))
    np.testing.assert_allclose(found.numpy(), known.numpy(), rtol=1e-5)
    assert not np.allclose(
        found.numpy(), normal.prior.log_prob(tv.Tensor(z), normal.encode).numpy()
    )


def test_a_capacity_is_given_with_the_name_of_its_model():
    model = Config(model="capacity-vae:12").new_model((4, 4))
    assert type(model) is model_class("capacity-vae")
    assert model.capacity == 12


def test_the_effective_beta_is_printed_however_it_was_given():
    given = {"beta": 8.0, "normalised_beta": 4 * 2.0 / 100}
    for name, value in given.items():
        lines = Config(**{name: value}, latent=4).describe((10, 10), 5)
        wanted = 8 if name == "beta" else 0.08 * 100 / 4
        assert f"effective beta {wanted:g} " in lines[-1]


def test_the_loss_is_told_as_the_objective_has_it():
    for name in ("iwae", "iwae-stl", "dreg", "vimco"):
        loss = Config(objective=name, samples=5).describe((4, 4), 10)[2]
        assert loss == "loss -log of the mean of p(x, z) / q(z | x) over 5 samples"
        with pytest.raises(OptionError, match=r"no KL to weigh.*normalised_beta"):
            Config(objective=name, samples=5, normalised_beta=2.0)
    assert Config(objective="elbo-mc", samples=5).describe((4, 4), 10)[2].endswith("+ 1 KL")
    assert "below 0.5 nats" in Config(free_bits=0.5).describe((4, 4), 10)[2]


@pytest.mark.parametrize("binarise", ["none", "dynamic"])
def test_a_prior_is_fitted_to_codes_of_what_the_model_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binarise: Any
):
    seen, fit = [], runs.fit_prior
    monkeypatch.setattr(
        runs, "fit_prior", lambda m, x, *more: (seen.append(x), fit(m, x, *more))[1]
    )
    grey = Split(np.arange(30, 54, dtype=np.uint8).reshape(6, 2, 2) * 4)
    config = Config(prior="fitted:2", hidden=(3,), epochs=1, batch=3, binarise=binarise)
    Run(tmp_path / "run").train(config, Dataset("grey", train=grey, valid=grey, test=grey))
    assert {*np.unique(seen[0])} == (
        {0, 255} if binarise == "dynamic" else {*np.unique(grey.images)}
    )


def test_more_components_than_images_are_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    data = ("--data", write_images())
    message = refused("train", *data, *SMALL, "--prior", "fitted:300", "--out", "run")
    assert "300 components are fitted to as many images or more, not to" in message
    assert not Path("run").exists()


def test_a_warm_up_is_told_beside_the_beta_that_it_leads_to():
    lines = Config(beta=4.0, warm_up=9).describe((2, 2), 10)
    assert lines[-1] == "objective elbo, effective beta 4 (beta K / D = 2), reached in 9 epochs"


def test_a_walk_tells_what_else_it_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "every", lambda *_: iter(()))
    monkeypatch.setattr(registry, "LOADERS", registry.LOADERS | {"few": "test_cli_models.few"})
    options = "--data few --latent 4 --hidden 32 --batch 8 --epochs 60 --beta 0.05 --out faces"
    assert tinyvae("train", *options.split()).code == 0
    out = tinyvae("walk", "hair_colour", "faces", "--leakage").out.splitlines()
    rows = {line.split()[0]: line.split() for line in out if "%" in line}
    assert tuple(rows) == FACTORS
    assert rows["hair_colour"][1] == "100.0%"
    assert all(float(row[1].rstrip("%")) >= 0 for row in rows.values())


def few() -> Dataset:
    return faces.load(count=120, size=16)
