"""The published numbers: a run goes on where it was interrupted; the table says what was done."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tinyvae as tv

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def papers(monkeypatch):
    """The module, with one row more: three short trainings on 8x8 digits."""
    monkeypatch.syspath_prepend(FOLDER)
    import papers as found
    from papers_rows import ROWS, Line, Row, Schedule
    from papers_run import DATA, Images

    def digits():
        images = tv.data.load("digits")
        return Images(images.train, images.valid, images.test[:50])

    row = Row(
        "A work",
        "its source",
        data="digits",
        model={"latent": 4, "hidden": (16,), "activation": "tanh"},
        fit={"batch": 100, "learning_rate": 1e-2, "schedule": "threefold", "binarise": "dynamic"},
        samples=20,
        lines={
            "3": Line("IWAE", "1.00", fit={"objective": "iwae", "samples": 3}),
            "1": Line("VAE", "2.00"),
        },
        full=Schedule(100),
        short=Schedule(3, (0, 1), (0,)),
        mean_image=True,
        better=(("3", "1"),),
        differs="all of it",
    )
    monkeypatch.setitem(DATA, "digits", digits)
    monkeypatch.setitem(ROWS, "digits", row)
    return found


def interrupt_in_epoch(monkeypatch, epoch: int) -> None:
    """Let Ctrl-C be pressed in the middle of an epoch of tinyvae."""
    fit = tv.fit

    def press(progress):
        if (progress.epoch, progress.step) == (epoch, 5) and progress.row is None:
            os.kill(os.getpid(), signal.SIGINT)

    def interrupted(*given, callbacks, **options):
        return fit(*given, callbacks=[*callbacks, press], **options)

    monkeypatch.setattr(tv, "fit", interrupted)


def test_a_row_that_was_interrupted_comes_to_the_same_numbers(
    papers, monkeypatch, tmp_path, capsys
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert papers.main(["--row", "digits", "--folder", str(whole)]) == 0
    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 2)
        assert papers.main(["--row", "digits", "--folder", str(broken)]) == 130
    assert not list(broken.glob("*.json"))
    capsys.readouterr()
    assert papers.main(["--row", "digits", "--folder", str(broken)]) == 0
    assert capsys.readouterr().out.startswith("digits-3-short-0-tinyvae: epoch 2,")
    names = sorted(path.name for path in whole.glob("*.json"))
    assert names == [f"digits-{k}-short-{s}-tinyvae.json" for k in "13" for s in (0, 1)]
    for name in names:
        one, other = (json.loads((folder / name).read_text()) for folder in (whole, broken))
        assert one["figure"] == other["figure"]
        assert 5 < one["figure"] < 45  # nats, of 64 pixels
        assert one["elbo"] > one["figure"]
        assert one["processor_seconds"] > 0
    assert str(tmp_path) not in (whole / names[0]).read_text()


def test_what_is_finished_is_not_trained_again(papers, monkeypatch, tmp_path, capsys):
    assert papers.main(["--row", "digits", "--folder", str(tmp_path)]) == 0
    monkeypatch.setattr(papers, "play", lambda *_: pytest.fail("trained again"))
    assert papers.main(["--row", "digits", "--folder", str(tmp_path)]) == 0
    capsys.readouterr()
    assert papers.main(["--list", "--folder", str(tmp_path)]) == 0
    assert "digits   short  tinyvae  4 of 4, 3 epochs: A work" in capsys.readouterr().out


def test_the_table_names_a_shortened_schedule_and_compares_image_by_image(papers, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- papers: begin -->\nearlier\n<!-- papers: end -->\nafter\n")
    options = ["--folder", str(tmp_path), "--readme", str(readme)]
    assert papers.main(["--row", "digits", "--table", *options]) == 0
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "earlier" not in text
    (line,) = [line for line in text.splitlines() if "| IWAE |" in line]
    files = [f"digits-3-short-{seed}-tinyvae.json" for seed in (0, 1)]
    found = [json.loads((tmp_path / file).read_text())["figure"] for file in files]
    assert f"| 1.00 | {found[0]:.2f}, {found[1]:.2f} |" in line
    assert "**shortened: 3 of 100 epochs**" in line
    gains = [
        np.load(tmp_path / f"digits-3-short-{seed}-tinyvae.npy")
        - np.load(tmp_path / f"digits-1-short-{seed}-tinyvae.npy")
        for seed in (0, 1)
    ]
    said = f"{gains[0].mean():.2f} ± {1.96 * gains[0].std(ddof=1) / 50**0.5:.2f}"
    assert f"IWAE above VAE in log p, nats, 95% interval over the images: {said}," in text
    papers.main(["--table", *options])
    assert readme.read_text() == text


def test_a_readme_without_the_marks_is_left_as_it_is(papers, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing\n")
    with pytest.raises(SystemExit, match="needs a line <!-- papers: begin -->"):
        papers.main(["--table", "--folder", str(tmp_path), "--readme", str(readme)])
    assert readme.read_text() == "nothing\n"


def test_the_decoder_begins_at_the_mean_image(papers):
    from papers_run import set_mean_image

    train = tv.data.load("digits").train
    model = tv.VAE((8, 8), 2, (4,))
    set_mean_image(model, train)
    model.decoder.layers[-1].weight.data = 0 * model.decoder.layers[-1].weight.array
    mean = train.images.mean(axis=0) / 255
    inside = (mean > 0.001) & (mean < 0.999)
    made = model.generate(np.zeros((1, 2), np.float32))[0]
    np.testing.assert_allclose(made[inside], mean[inside], rtol=1e-5)
    assert made.min() == pytest.approx(0.001, rel=1e-4)


def test_a_run_depends_on_its_seed_and_on_where_the_decoder_begins(papers, monkeypatch, tmp_path):
    from papers_rows import ROWS

    first = [papers.play(run, tmp_path)["figure"] for run in ROWS["digits"].runs(full=False)]
    assert len(set(first)) == 4
    monkeypatch.setitem(ROWS, "digits", replace(ROWS["digits"], mean_image=False))
    run = next(ROWS["digits"].runs(full=False))
    assert papers.play(run, tmp_path / "elsewhere")["figure"] != first[0]


@pytest.mark.skipif(not find_spec("torch"), reason="needs PyTorch")
def test_pytorch_trains_the_same_row_and_goes_on_where_it_was(
    papers, monkeypatch, tmp_path, capsys
):
    import papers_torch

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    command = ["--row", "digits", "--torch", "--folder"]
    assert papers.main([*command, str(whole)]) == 0
    epochs, real = [], papers_torch.train_epoch

    def breaks_off(*given):
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(papers_torch, "train_epoch", breaks_off)
        assert papers.main([*command, str(broken)]) == 130
    capsys.readouterr()
    assert papers.main([*command, str(broken)]) == 0
    assert capsys.readouterr().out.startswith("digits-3-short-0-torch: epoch 2,")
    for name in ("digits-3-short-0-torch", "digits-1-short-0-torch"):
        one, other = (np.load(folder / f"{name}.npy") for folder in (whole, broken))
        np.testing.assert_array_equal(one, other)
        assert -45 < one.mean() < -5


@pytest.mark.skipif(not find_spec("torch"), reason="needs PyTorch")
@pytest.mark.parametrize(
    ("line", "prior"), [("3", "normal"), ("1", "normal"), ("1", "mixture:3"), ("1", "vamp:5")]
)
def test_pytorch_trains_and_judges_by_the_same_numbers(papers, line, prior):
    import torch
    from papers_rows import ROWS
    from papers_run import DATA, set_mean_image
    from papers_torch import PaperVAE

    from tinyvae.objectives import OBJECTIVES

    run = next(run for run in ROWS["digits"].runs(full=False) if run.line == line)
    run = replace(run, model=run.model | {"prior": prior})
    images, draw = DATA["digits"](), tv.Noise(0)
    ours = tv.VAE((8, 8), **run.model)
    set_mean_image(ours, images.train)
    for parameter in ours.prior.parameters():
        parameter.data = draw.normal(parameter.shape)
    theirs = PaperVAE(replace(run, by="torch"), images.train)
    if prior == "vamp:5":
        first = torch.sigmoid(theirs.prior.pseudo_inputs.detach()).numpy()
        assert 0.049 < first.min() < first.max() < 0.951
    with torch.no_grad():
        for (name, p), q in zip(theirs.named_parameters(), ours.parameters(), strict=True):
            p.copy_(torch.from_numpy(q.numpy() if name.startswith("prior") else q.numpy().T))
        samples = run.fit.get("samples", 1)
        x, noise = images.test.batch(slice(20)), draw.normal((20, samples, 4))
        weights = theirs.log_weights(torch.from_numpy(x), torch.from_numpy(noise)).numpy()
        loss = float(theirs(torch.from_numpy(x), torch.from_numpy(noise)))
    own = tv.log_weights(ours, tv.Tensor(x), noise).numpy()
    np.testing.assert_allclose(own, weights, rtol=1e-4)
    objective = OBJECTIVES[run.fit.get("objective", "elbo")]
    given = noise if samples > 1 else noise[:, 0]
    assert float(objective(ours, tv.Tensor(x), given).loss.numpy()) == pytest.approx(loss, rel=1e-4)
