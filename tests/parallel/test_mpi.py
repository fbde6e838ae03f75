"""Real processes, started by a real `mpiexec`: the same numbers, one voice, no one left over."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commandline import everything, write_images
from safetensors.numpy import load_file

pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install 'tinyvae[mpi]'")
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec: pip install mpich"),
]

CALL = """
from tinyvae import pictures
from tinyvae.cli import main
pictures.every = lambda *_: []  # which take longer than all the rest
main()
"""
TINYVAE = [sys.executable, "-c", CALL]
TRAIN = ["train", "--data", "tiny.npz", "--hidden", "8", "--batch", "8"]
MPI = ["--parallel", "mpi"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a small data set; one thread for each process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_images()
    return tmp_path


def start(n: int, *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [str(MPIEXEC), "-n", str(n), *words], stdout=pipe, stderr=pipe, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, out, " ".join(re.sub("[│╭╮╰╯─]", " ", err).split())


def train(n: int, *more: str, epochs: int = 2) -> str:
    """A run of ``n`` processes, or without `mpiexec` for 0, that goes well."""
    words = [*TINYVAE, *TRAIN, "--epochs", str(epochs), *more]
    if n == 0:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    code, out, err = ended(start(n, *words, *MPI))
    assert (code, err) == (0, "")
    return out


def curves(run: str) -> list[list[float]]:
    rows = csv.DictReader(Path(run, "history.csv").read_text().splitlines())
    return [[float(row[name]) for name in row if name != "active_units"] for row in rows]


def assert_same_curves(run: str, other: str) -> None:
    for row, wanted in zip(curves(run), curves(other), strict=True):
        assert row == pytest.approx(wanted, rel=1e-5)


def assert_files_are_whole(run: str) -> None:
    files = sorted(path.name for path in Path(run).glob("[!.]*"))  # a kill may leave a .part
    assert files == ["checkpoint.safetensors", "config.json"]
    assert load_file(Path(run, "checkpoint.safetensors"))


# The same numbers

GRADIENTS = """
import sys
import numpy as np
import tinyvae as tv
from tinyvae.data.dataset import Split
from tinyvae.parallel import Alone, joined
from tinyvae.training import Settings, Trainer

def gradient(group, dtype):
    images = Split(np.random.default_rng(0).integers(256, size=(64, 28, 28), dtype=np.uint8))
    model = tv.VAE((28, 28), 20, (400,)).to(dtype=dtype)
    trainer = Trainer(model, images, None, Settings(batch=64), group=group)
    trainer.train_step(*next(trainer._batches()))
    return trainer.state.optimiser.flat.gradients

with joined("mpi") as group:
    for dtype in ("float32", "float64"):
        shared, whole = gradient(group, dtype), gradient(Alone(), dtype)
        error = abs(shared - whole).max() / abs(whole).max()
        for rank, each in enumerate(group.gather(float(error))):
            if group.rank == 0:
                print(dtype, rank, each)
"""


@pytest.mark.parametrize("n", [2, 3])
def test_the_gradients_of_n_processes_are_those_of_one_on_the_whole_batch(n: int):
    code, out, err = ended(start(n, sys.executable, "-c", GRADIENTS))
    assert (code, err) == (0, "")
    found = [line.split() for line in out.splitlines()]
    assert [(dtype, rank) for dtype, rank, _ in found] == [
        (dtype, str(rank)) for dtype in ("float32", "float64") for rank in range(n)
    ]
    for dtype, _, error in found:
        assert float(error) <= {"float32": 1e-6, "float64": 1e-12}[dtype]


def test_a_run_of_two_processes_has_the_curves_of_one_and_writes_and_prints_once():
    alone = train(0, "--out", "alone")
    out = train(2, "--out", "two")
    assert_same_curves("two", "alone")
    assert {p.name for p in Path("two").iterdir()} == {p.name for p in Path("alone").iterdir()}
    introduced = out.splitlines()[5]  # after the five lines on what is trained
    assert re.match(
        r"2 processes share each batch: rank 0 is process \d+ on \S+, rank 1 is", introduced
    )
    assert re.sub(r"\d", "", out.replace(introduced + "\n", "").replace("two", "alone")) == re.sub(
        r"\d", "", alone
    )


def test_one_process_under_mpiexec_is_one_without_bit_for_bit():
    train(0, "--out", "alone")
    train(1, "--out", "one")
    for name in ("checkpoint.safetensors", "weights.safetensors", "history.csv", "config.json"):
        assert Path("one", name).read_bytes() == Path("alone", name).read_bytes()


FIT = """
import numpy as np
import tinyvae as tv

def stop(progress):
    if {fails}:
        raise ValueError("a callback of the user's")

images = np.random.default_rng(0).integers(256, size=(22, 3, 4), dtype=np.uint8)
model = tv.VAE((3, 4), hidden=(6,))
history = tv.fit(model, images, epochs=2, batch=8, callbacks=[stop], parallel={parallel!r})
lines = [f"{{row['epoch']}} {{row['train_loss']}}" for row in history]
print("\\n".join(lines) + "\\n", end="", flush=True)  # at once, so that no rank is within another
"""


def test_fit_shares_the_batches_and_gives_every_rank_the_history():
    words = [sys.executable, "-c", FIT.format(fails=False, parallel=None)]
    alone = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    code, out, err = ended(start(2, sys.executable, "-c", FIT.format(fails=False, parallel="mpi")))
    assert (code, err) == (0, "")
    found = sorted(float(line.split()[1]) for line in out.splitlines())
    wanted = sorted(float(line.split()[1]) for line in alone.splitlines() * 2)
    assert found == pytest.approx(wanted, rel=1e-5)


def test_what_a_callback_raises_is_shown_once_and_ends_all():
    process = start(2, sys.executable, "-c", FIT.format(fails=True, parallel="mpi"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.count("ValueError: a callback of the user's") == 1


# Broken off, and gone on with


def begun(n: int, epochs: int = 4000, code: str = "") -> tuple[subprocess.Popen[str], list[int]]:
    """A run that has come to an epoch of its own, and the numbers of its processes by rank."""
    words = [sys.executable, "-c", code + CALL, *TRAIN, "--epochs", str(epochs)]
    process = start(n, *words, *MPI, "--out", "run")
    lines = []
    for line in iter(process.stdout.readline, ""):
        lines.append(line)
        if line.startswith("epoch 1 of"):
            break
    numbers = re.findall(r"is process (\d+)", "".join(lines))
    assert len(numbers) == n, (lines, process.stderr.read())
    return process, [int(number) for number in numbers]


def done(run: str = "run") -> int:
    from tinyvae.checkpoint import load_tensors

    path = Path(run, "checkpoint.safetensors")
    expected = {name: (t.shape, str(t.dtype)) for name, t in load_file(path).items()}
    return len(load_tensors(path, expected)[1]["history"])


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_with_its_number_and_another_count_goes_on(rank: int):
    process, numbers = begun(2)
    os.kill(numbers[rank], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in err
    assert str(numbers[rank]) in out + err  # mpiexec's own words; the run has said whose it is
    assert_files_are_whole("run")
    more = done() + 2
    shutil.copytree("run", "again")
    train(3, "--resume", "--out", "run", epochs=more)
    train(0, "--resume", "--out", "again", epochs=more)
    assert_same_curves("run", "again")


@pytest.mark.parametrize("who", ["mpiexec", "rank 1"])
def test_ctrl_c_stops_all_saves_and_prints_once_what_goes_on(who: str):
    process, numbers = begun(2)
    os.kill(process.pid if who == "mpiexec" else numbers[1], signal.SIGINT)
    code, out, err = ended(process)
    assert code == 130
    assert not err or who == "mpiexec"  # which may say that it passes it on
    stopped = [line for line in out.splitlines() if line.startswith("Stopped and saved.")]
    words = shlex.split(stopped[0].split(": ")[1])
    assert len(stopped) == 1
    assert [words[0], *words[1:3], *words[4:]] == shlex.split(
        "mpiexec -n 2 train --resume --out run --parallel mpi"
    )
    assert_files_are_whole("run")
    assert "epoch 1 of" not in train(1, *words[5:-2], epochs=done() + 1)


def test_a_process_that_hangs_is_noticed_and_named_after_a_while():
    process, numbers = begun(2, code="from tinyvae.parallel import mpi; mpi.PATIENCE = 6\n")
    os.kill(numbers[1], signal.SIGSTOP)
    code, _, err = ended(process)
    assert code != 0
    assert "Error: rank 0: the other processes have not answered for 6 s" in err
    assert_files_are_whole("run")


FAILING = """
from tinyvae import training
step = training.Trainer.train_step
def train_step(self, *inputs):
    if self.group.rank == {rank} and self.state.epoch == 2:
        raise OSError(28, "no space left on this rank's disk")
    return step(self, *inputs)
training.Trainer.train_step = train_step
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_says_so_and_ends_all(rank: int):
    process, _ = begun(2, code=FAILING.format(rank=rank))
    code, _, err = ended(process)
    assert code == 1
    said = "Error: the system says: [Errno 28] no space left on this rank's disk"
    assert err.startswith(said if rank == 0 else f"rank 1: {said}")
    assert err.count("Error:") == 1
    assert done() == 1


# What is refused: by all, with one message


def refused(*words: str, n: int = 2) -> str:
    before = everything()
    code, _, err = ended(start(n, *words))
    assert code not in (0, 130)
    assert everything() == before
    return err


ONE = [*TINYVAE, *TRAIN, "--epochs", "2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*ONE], "Error: mpiexec started 2 processes, and each would train by itself: add"),
        ([*ONE, *MPI, "--latent", "0"], "Error: latent and hidden are sizes from 1 up, not 0"),
        ([*ONE, *MPI, "--latent", "many"], "Invalid value for '--latent'"),
        ([*ONE, *MPI, "--data", "nowhere.npz"], "Error: nowhere.npz is not there"),
        ([*ONE, *MPI, "--out", "full"], "Error: full holds precious: give --resume"),
        ([*ONE, *MPI, "--resume", "--out", "none"], "Error: none is not a run folder"),
        ([*ONE, *MPI, "--learning-rate", "1e30"], "Error: epoch 1, step 2: gaussian_sample made"),
    ],
)
def test_what_every_process_refuses_is_said_once(words: list[str], said: str):
    Path("full").mkdir()
    Path("full", "precious").touch()
    err = refused(*words)
    assert said in err
    assert err.count("Error") == 1


def test_processes_started_with_different_options_are_refused_with_both():
    err = refused(*ONE, *MPI, ":", "-n", "1", *ONE, *MPI, "--seed", "1", n=1)
    assert "the processes differ in --seed: None on rank 0, and 1 on rank 1; start all of" in err
    assert err.count("Error") == 1


def test_processes_that_find_different_data_are_refused():
    write_images("other.npz", count=31)
    Path("other").mkdir()
    Path("other.npz").rename("other/tiny.npz")
    there = "import os; os.chdir('other')\n"
    other = [sys.executable, "-c", there + CALL, *TRAIN, "--epochs", "2", *MPI]
    err = refused(*ONE, *MPI, ":", "-n", "1", *other, n=1)
    assert "the processes differ in the training images: [24, 4, 4, " in err
    assert "] on rank 0, and [" in err


@pytest.mark.parametrize(
    ("mine", "other"), [(["--seed", "many"], MPI), ([], MPI), (MPI, []), (MPI, ["--seed", "x"])]
)
def test_one_process_that_refuses_ends_the_others(mine: list[str], other: list[str]):
    err = refused(*ONE, *mine, ":", "-n", "1", *ONE, *other, n=1)
    assert ("add --parallel mpi" in err) != ("Invalid value for '--seed'" in err)


# Without mpiexec, without MPI


def by_itself(code: str = "", **environment: str) -> str:
    words: list[Any] = [sys.executable, "-c", code + CALL, *TRAIN, *MPI]
    process = subprocess.run(
        words, capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert not Path("runs").exists()
    return process.stderr


def test_without_mpiexec_the_command_that_starts_it_is_said():
    assert by_itself() == (
        "Error: parallel 'mpi' was asked for, but mpiexec did not start this process: "
        "mpiexec -n 4 tinyvae train --parallel mpi, or mpiexec -n 4 python -m mpi4py script.py\n"
    )


def test_without_mpi4py_the_install_command_is_said():
    message = by_itself("import sys; sys.modules['mpi4py'] = None\n")
    assert "Error: --parallel mpi needs mpi4py, and it cannot be imported (" in message
    assert "pip install 'tinyvae[mpi]' mpich" in message


def test_without_an_mpi_library_that_is_said():
    message = by_itself("import mpi4py; mpi4py.rc.initialize = False\n", MPI4PY_LIBMPI="/none")
    assert "Error: --parallel mpi needs an MPI beside mpi4py, and it finds none (" in message
    assert "pip install 'tinyvae[mpi]' mpich" in message


def test_the_mpiexec_of_another_mpi_is_recognised():
    message = by_itself(OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK="0")
    assert "mpiexec started 4 processes, but each sees 1: it belongs to another MPI" in message
