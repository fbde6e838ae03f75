"""What each command prints and writes, and what it says to settings that cannot be."""

from __future__ import annotations

import re
import signal
import sys
from importlib.metadata import PackageNotFoundError
from itertools import chain
from pathlib import Path

import pytest
from commandline import SMALL, refused, tinyvae, write_images
from fake_cupy import fake_cupy
from typer.main import get_command

from tinyvae import cli, pictures, training
from tinyvae.backend import base, cupy_backend
from tinyvae.cli.training import EPOCHS
from tinyvae.config import Config
from tinyvae.evaluation import gradients
from tinyvae.runs import Run

COMMANDS = [
    *("train", "sample", "reconstruct", "interpolate", "traverse", "walk", "latent"),
    *("evaluate", "check", "models", "data", "info"),
]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_pictures(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where the pictures of a run, which take seconds, are not drawn."""
    monkeypatch.setattr(pictures, "every", lambda *_: iter(()))
    return empty


# Help


def test_the_commands_are_those_that_are_promised():
    assert sorted(get_command(cli.app).commands) == sorted(COMMANDS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_explained(command: str, flag: str):
    finished = tinyvae(command, flag)
    assert finished.code == 0
    for parameter in get_command(cli.app).commands[command].params:
        assert parameter.help
        assert all(option in finished.out for option in parameter.opts if option.startswith("-"))


def test_help_lists_every_command_with_what_it_does():
    finished = tinyvae("--help")
    assert finished.code == 0
    for name, command in get_command(cli.app).commands.items():
        assert re.search(rf"{name} +{re.escape(command.help.split(',')[0][:20])}", finished.out)


def test_the_defaults_in_the_help_are_those_of_a_run():
    options = {
        parameter.name: parameter for parameter in get_command(cli.app).commands["train"].params
    }
    assert options.keys() == {*vars(Config()), "out", "resume", "parallel"}
    assert options["epochs"].help.endswith(f" Default: {EPOCHS}.")
    for name, value in vars(Config()).items() - {("epochs", 300)}:
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert options[name].help.endswith(f" Default: {shown}.")


def test_a_word_that_is_no_command_is_refused(empty: Path):
    assert "No such command 'trian'" in refused("trian")


@pytest.mark.parametrize("typo", ["--learning_rate", "--binarize", "--epoch", "--beta-"])
def test_a_mistyped_option_is_answered_with_its_right_name(empty: Path, typo: str):
    message = refused("train", typo, "1")
    assert f"No such option: {typo}" in message
    assert "--" + typo.strip("-").replace("_", "-").replace("z", "s") in message


# Training


def test_without_a_terminal_the_output_is_plain_lines(no_pictures: Path):
    out = tinyvae("train", "--data", write_images(), *SMALL, "--epochs", "40").out
    *about, folder = out.splitlines()[:5]
    assert about == [
        "A vae with 2 latent dimensions on the 24 training images of tiny.npz",
        "bernoulli likelihood, gaussian posterior, normal prior; KL in closed form",
        "loss -log p(x | z) + 1 KL",
        "objective elbo, effective beta 1 (beta K / D = 0.125)",
    ]
    assert folder == "Seed 0, into runs/tiny"
    *epochs, result, last = out.splitlines()[5:]
    assert [line.split(":")[0] for line in epochs] == [
        f"epoch {epoch} of 40" for epoch in (1, *range(4, 41, 4))
    ]
    assert all(
        re.search(r": -ELBO \S+ = reconstruction \S+ \+ KL \S+, validation ", line)
        for line in epochs
    )
    assert re.fullmatch(
        r"test images:  -ELBO \S+ = reconstruction \S+ \+ KL \S+ nats per image", result
    )
    assert last.startswith("Look at them: runs/tiny has ")
    assert "\x1b" not in out


def test_in_a_terminal_there_is_a_bar(no_pictures: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    finished = tinyvae("train", "--data", write_images(), *SMALL)
    assert finished.code == 0
    assert "2/2 ━" in re.sub(r"\x1b\[[\d;?]*\w", "", finished.out)


def test_a_second_run_has_a_folder_of_its_own(no_pictures: Path):
    assert tinyvae("train", "--data", write_images(), *SMALL).code == 0
    assert tinyvae("train", "--data", "tiny.npz", *SMALL, "--seed", "1").code == 0
    assert Run("runs/tiny-2").config.seed == 1
    assert Run("runs/tiny").config.seed == 0


@pytest.mark.parametrize("binarise", ["static", "dynamic"])
def test_binarised_training_goes_to_the_end(no_pictures: Path, binarise: str):
    options = ("--data", write_images(), "--binarise", binarise, "--latent", "3", "--out", "here")
    assert tinyvae("train", *options, *SMALL).code == 0
    assert Run("here").config.binarise == binarise
    assert tinyvae("evaluate", "here").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--latent", "0"), "latent and hidden are sizes from 1 up, not 0 and (256, 128)"),
        (("--latent", "-1"), "sizes from 1 up, not -1 and"),
        (("--latent", "2.5"), "Invalid value for '--latent'"),
        (("--hidden", "0"), "sizes from 1 up, not 2 and (0,)"),
        (("--hidden", "64,-3"), "sizes from 1 up, not 2 and (64, -3)"),
        (("--hidden", "abc"), "'abc' is not widths such as 256 or 256,128"),
        (("--hidden", "64,"), "'64,' is not widths such as 256 or 256,128"),
        (("--hidden", "64 32"), "'64 32' is not widths such as 256 or 256,128"),
        (("--hidden", ""), "'' is not widths such as 256 or 256,128"),
        (("--epochs", "0"), "epochs is a number from 1 up, not 0"),
        (("--epochs", "ten"), "Invalid value for '--epochs'"),
        (("--epochs", ""), "Invalid value for '--epochs'"),
        (("--batch", "0"), "batch is a number from 1 up, not 0"),
        (("--batch", "25"), "a batch of 25 is more than the 24 images to train on"),
        (("--learning-rate", "0"), "a learning rate is a number above 0, not 0.0"),
        (("--learning-rate", "-0.1"), "a learning rate is a number above 0, not -0.1"),
        (("--learning-rate", "nan"), "a learning rate is a number above 0, not nan"),
        (("--learning-rate", "inf"), "a learning rate is a number above 0, not inf"),
        (("--learning-rate", "0,1"), "Invalid value for '--learning-rate'"),
        (("--beta", "-1"), "beta is a number from 0 up, not -1.0"),
        (("--beta", "nan"), "beta is a number from 0 up, not nan"),
        (("--beta", "inf"), "beta is a number from 0 up, not inf"),
        (("--seed", "-1"), "seed is a number from 0 up, not -1"),
        (("--binarise", "yes"), "binarise is one of ('none', 'static', 'dynamic'), not 'yes'"),
        (("--backend", "foo"), "unknown backend 'foo'; choose one of ["),
        (("--backend", "cuda:0"), "unknown backend 'cuda:0'"),
        (("--precision", "half"), "unknown precision 'half'; choose one of ['float32', 'tf32', "),
        (("--kernels", "fortran"), "unknown kernels 'fortran'; choose one of ['numpy', 'numba']"),
        (("more",), "unexpected extra argument"),
        (("--epochs",), "'--epochs' requires an argument"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_its_value(
    empty: Path, options: tuple[str, ...], message: str
):
    assert message in refused("train", "--data", write_images(), *options)


@pytest.mark.parametrize("sizes", [("--latent", "1" + "0" * 12), ("--hidden", "9999999,9999999")])
def test_a_model_larger_than_the_memory_is_refused_before_it_is_made(
    empty: Path, sizes: tuple[str, str]
):
    message = refused("train", "--data", write_images(), *sizes)
    assert re.search(r"has [\d,]{15,} parameters; to train it takes about [\d,]+ GB, and", message)
    assert "choose smaller sizes" in message


def test_memory_that_runs_out_is_said(empty: Path, monkeypatch: pytest.MonkeyPatch):
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(training.Trainer, "train_step", exhausted)
    message = refused("train", "--data", write_images(), *SMALL)
    assert "not enough memory for this: choose a smaller --batch, --hidden or --latent" in message


@pytest.mark.parametrize("option", [("--learning-rate", "1e30"), ("--beta", "1e308")])
def test_a_loss_that_overflows_says_where_and_leaves_no_folder(
    empty: Path, option: tuple[str, str]
):
    message = refused("train", "--data", write_images(), *SMALL, *option)
    assert re.search(r"epoch 1, step \d: \w+ made -?(inf|nan) first", message)
    assert not Path("runs", "tiny").exists()


# Backends


@pytest.fixture
def no_cupy(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU's backend has been loaded; a test may put a fake CuPy in its place."""
    monkeypatch.setattr(base, "_loaded", {**base._loaded})
    monkeypatch.setattr(base, "_by_type", {**base._by_type})
    base._loaded.pop("cupy", None)
    monkeypatch.setattr(cupy_backend, "PACKAGES", ())
    monkeypatch.setitem(sys.modules, "cupy", None)


def test_cupy_that_is_not_installed_is_answered_with_the_line_that_installs_it(no_cupy: None):
    assert "pip install 'tinyvae[cupy]'" in refused("train", "--backend", "cupy")
    info = tinyvae("info")
    assert info.code == 0
    assert "backend cupy: backend 'cupy' needs CuPy" in info.out
    assert "backend numpy: ready" in info.out


def test_info_describes_the_gpu(no_cupy: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    lines = tinyvae("info").out.splitlines()
    start = lines.index("backend cupy: ready")
    assert lines[start + 1 : start + 4] == [
        "    NVIDIA H200, 100.0 of 140.0 GB are free",
        "    CUDA 12.9, driver for CUDA 13.0",
        "    precision of matrix products: float32, tf32, bfloat16",
    ]


def test_info_says_which_cupy_is_there_though_no_gpu_answers(
    no_cupy: None, monkeypatch: pytest.MonkeyPatch
):
    there = {"numpy": "2.4.6", "cupy-cuda12x": "14.2.0", "nvmath-python": "1.0.0"}

    def version(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(cli.tables, "version", version)
    assert {"cupy-cuda12x 14.2.0", "nvmath-python 1.0.0"} < set(tinyvae("info").out.splitlines())


def test_a_device_that_does_not_answer_is_said(no_cupy: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(devices=0))
    message = refused("train", "--backend", "cupy")
    assert "no NVIDIA GPU that answers (cudaErrorNoDevice" in message
    assert message.endswith("or use backend 'numpy'")


def test_auto_says_which_backend_it_is_and_why_and_the_run_records_it(
    no_cupy: None, no_pictures: Path
):
    options = ("--data", write_images(), *SMALL, "--out", "run", "--backend", "auto")
    out = tinyvae("train", *options).out
    assert [line for line in out.splitlines() if "backend" in line] == [
        "backend: numpy (no GPU: backend 'cupy' needs CuPy; it is not installed: "
        + cupy_backend.INSTALL
        + ")"
    ]
    assert Run("run").config.backend == "numpy"
    more = ("--resume", "--out", "run", "--epochs", "3")
    assert tinyvae("train", *more).code == 0
    assert tinyvae("train", *more, "--backend", "auto").code == 0


def test_a_precision_that_only_a_gpu_has_is_refused_on_the_cpu(empty: Path):
    message = refused("train", "--data", "nowhere.npz", "--precision", "tf32")
    assert "backend 'numpy' has no precision 'tf32', only ['float32']" in message


def test_numba_that_is_not_installed_is_answered_before_anything_is_read_or_written(
    empty: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "numba", None)
    message = refused("train", "--data", "nowhere.npz", "--kernels", "numba", "--out", "run")
    assert "pip install --upgrade 'tinyvae[numba]'" in message
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate", "latent", "evaluate"])
def test_without_a_run_a_command_says_how_to_make_one(empty: Path, command: str):
    assert "there is no run in runs: train one with `tinyvae train`" in refused(command)


# What is there


def test_check_prints_a_row_for_every_op_and_finds_all_right():
    finished = tinyvae("check", "--seed", "5")
    rows = finished.out.splitlines()
    assert finished.code == 0
    assert rows[-1] == f"All {len(rows) - 3} are right."
    names = [row.split()[0] for row in rows[2:-1]]
    assert names[: len(gradients.CASES)] == list(gradients.CASES)
    kernels = ["bernoulli_cross_entropy", "kl_standard_normal", "mixture_log_likelihood"]
    assert names[len(gradients.CASES) :] == kernels
    assert all(row.split()[-1] == "right" for row in rows[2:-1])


def test_check_names_a_gradient_that_is_wrong(monkeypatch: pytest.MonkeyPatch):
    rows = [gradients.Row("exp", "op", 6, 0.5, 1e-7, False, 0.1)]
    monkeypatch.setattr(gradients, "check_all", lambda _: rows)
    finished = tinyvae("check")
    assert finished.code == 1
    assert finished.out.splitlines()[-1] == "WRONG: exp"


def test_data_lists_each_set_on_a_line_with_its_licence():
    head, *rows, last = tinyvae("data").out.splitlines()
    assert head.split() == ["name", "images", "licence", "where"]
    assert rows[0].split("  ")[0] == "digits"
    assert len(rows) == 6
    assert all(len(re.split(" {2,}", row.strip())) == 4 for row in rows)
    assert last == "One's own: --data images.npz, array.npy, or a folder of images."


def test_ctrl_c_before_anything_was_learnt_leaves_nothing(
    empty: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Config, "new_model", interrupt)
    before = set(chain(empty.rglob("*"), [empty / write_images()]))
    assert tinyvae("train", "--data", "tiny.npz", *SMALL).code == 130
    assert set(empty.rglob("*")) == before
