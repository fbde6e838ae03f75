"""`tinyvae train`."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tinyvae import console
from tinyvae.cli.shared import RUNS, opened_run, option
from tinyvae.errors import OptionError
from tinyvae.parallel.launch import is_launched, processes

if TYPE_CHECKING:
    from tinyvae.config import Config
    from tinyvae.parallel import Communicator
    from tinyvae.runs import Run

ACTIVATIONS = ("relu", "tanh", "softplus", "sigmoid", "leaky_relu", "elu", "gelu")
EPOCHS = "about 6,000 steps, in 10 to 300 epochs"


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not widths such as 256 or 256,128") from None


def train(
    data: Annotated[
        str | None,
        option("A name that `tinyvae data` lists; or an .npz, an .npy, an image folder.", "digits"),
    ] = None,
    binarise: Annotated[
        str | None,
        option(
            "Pixels: grey (none), black or white once (static), or anew in each epoch (dynamic).",
            "none",
        ),
    ] = None,
    model: Annotated[
        str | None, option("What is trained; `tinyvae models` lists them.", "vae")
    ] = None,
    likelihood: Annotated[
        str | None, option("p(x | z), such as gaussian:0.1.", "bernoulli")
    ] = None,
    posterior: Annotated[str | None, option("q(z | x), such as iaf:2.", "gaussian")] = None,
    prior: Annotated[
        str | None, option("p(z), of `tinyvae models`, such as mixture:10.", "normal")
    ] = None,
    latent: Annotated[int | None, option("Latent dimensions.", "2")] = None,
    hidden: Annotated[
        Any,
        option(
            "Widths of the encoder's hidden layers; the decoder has them in reverse.",
            "256,128",
            parser=_widths,
            metavar="WIDTHS",
        ),
    ] = None,
    activation: Annotated[
        str | None, option(f"Between the layers: {', '.join(ACTIVATIONS)}.", "relu")
    ] = None,
    epochs: Annotated[int | None, option("Passes over the training images.", EPOCHS)] = None,
    batch: Annotated[int | None, option("Images in one step.", "64")] = None,
    learning_rate: Annotated[float | None, option("Of Adam.", "0.001")] = None,
    schedule: Annotated[
        str | None,
        option(
            "Of the learning rate: constant, or threefold: the stairs of the IWAE paper.",
            "constant",
        ),
    ] = None,
    objective: Annotated[
        str | None, option("What is minimised; `tinyvae models` lists them.", "elbo")
    ] = None,
    samples: Annotated[int | None, option("Codes drawn for an image in a step.", "1")] = None,
    beta: Annotated[float | None, option("Weight of the KL in the loss.", "1.0")] = None,
    normalised_beta: Annotated[
        float | None,
        option("In place of --beta: beta K / D (dimensions, pixels).", "0.0"),
    ] = None,
    warm_up: Annotated[
        int | None, option("Epochs in which the weight of the KL rises to beta.", "0")
    ] = None,
    free_bits: Annotated[
        float | None, option("Nats that each latent dimension may use for free.", "0.0")
    ] = None,
    seed: Annotated[int | None, option("Of all that is random.", "0")] = None,
    backend: Annotated[str | None, option("numpy, cupy (GPU), or auto.", "numpy")] = None,
    kernels: Annotated[
        str | None, option("On the CPU: NumPy's, or those that numba compiles.", "numpy")
    ] = None,
    precision: Annotated[
        str | None, option("Of matrix products on the GPU: float32, tf32, bfloat16.", "float32")
    ] = None,
    out: Annotated[Path | None, option("The run's folder.", "a new one in runs/")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or with the newest.")
    ] = False,
    parallel: Annotated[
        str | None,
        option("mpi: the processes that mpiexec starts share each batch.", "one process"),
    ] = None,
) -> None:
    """Train a VAE, and write its weights, log and pictures into a folder."""
    from tinyvae.config import Config
    from tinyvae.parallel import joined

    given = {
        name: value
        for name, value in locals().items()
        if name in Config.__dataclass_fields__ and value is not None
    }
    if parallel is None and (count := processes()) > 1:
        raise OptionError(
            f"mpiexec started {count} processes, and each would train by itself: add --parallel mpi"
        )
    with joined(parallel) as group:
        group.agree({f"--{name.replace('_', '-')}": value for name, value in given.items()})
        group.agree({"--out": str(out), "--resume": resume})
        run, config = group.once(lambda: _asked_for(given, out, resume))
        _train(run, config, resume, epochs is None and not resume, group)


def _asked_for(given: dict[str, Any], out: Path | None, resume: bool) -> tuple[Run, Config]:
    from tinyvae.config import Config
    from tinyvae.runs import Run, free_folder

    if resume:
        run = opened_run(out)
        return run, replace(run.config, **given)
    config = Config(**given)
    return Run(out or free_folder(RUNS, Path(config.data).resolve().stem or "run")), config


def _train(
    run: Run, config: Config, resume: bool, choose_epochs: bool, group: Communicator
) -> None:
    from tinyvae import backend, pictures, plots

    if config.backend == "auto":
        config = group.once(lambda: _settled(config))
    with backend.use(config.backend, config.kernels, config.precision) as chosen:
        on_device = not chosen.host  # known before anything is read
    if on_device and group.size > 1:
        from tinyvae.parallel.nccl import take_device

        take_device(group.local_rank)
    group.once(lambda: run.check(config, resume))
    dataset = group.in_turn(config.dataset)
    if choose_epochs:
        config = config.with_enough_epochs(len(dataset.train))
    for line in config.describe(dataset.image_shape, len(dataset.train)):
        console.say(escape(line))
    console.say(f"Seed {config.seed}, into {escape(str(run.path))}")
    if group.size > 1:
        _introduce(group)
    with _to_go_on(run, group), console.Display() as display:
        history = run.train(config, dataset, resume=resume, callbacks=(display,), group=group)
    if group.rank:
        return
    if not display.told:
        console.say(
            f"All {config.epochs} epochs were done already; more of them: --resume --epochs N"
        )
    model = run.model()
    names = []
    for name, figure in pictures.every(model, dataset, history):
        plots.save(figure, run / f"{name}.png")
        names.append(f"{name}.png")
    result = run.elbo(model, dataset)
    figures = console.nats(result.loss, result.reconstruction, result.kl)
    console.say(f"test images:  {figures} nats per image")
    console.say(f"Look at them: [bold]{escape(str(run.path))}[/] has {', '.join(names)}")


def _settled(config: Config) -> Config:
    """Say which backend ``auto`` has chosen, and if it is not the GPU, why."""
    from tinyvae import backend

    chosen, reason = backend.best()
    console.say(f"backend: {chosen.name}" + (f" (no GPU: {escape(reason)})" if reason else ""))
    return replace(config, backend=chosen.name)


def _introduce(group: Communicator) -> None:
    """Say which process is which rank: `mpiexec` names one that is lost by its number."""
    named = enumerate(group.gather((os.getpid(), platform.node())))
    ranks = (f"rank {rank} is process {number} on {node}" for rank, (number, node) in named)
    console.say(
        f"{group.size} processes share each batch: {escape(', '.join(ranks))}. If one is lost, "
        "mpiexec ends the run, and --resume goes on from its last epoch"
    )


@contextlib.contextmanager
def _to_go_on(run: Run, group: Communicator) -> Iterator[None]:
    """Say, when a run is broken off, by which command it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if not (group.rank or run.has_state):
            raise
        program = "tinyvae" if shutil.which("tinyvae") else sys.argv[0]
        words = [program, "train", "--resume", "--out", str(run.path)]
        if is_launched():
            words = ["mpiexec", "-n", str(group.size), *words, "--parallel", "mpi"]
        command = shlex.join(words)
        console.say(f"Stopped and saved. To go on, to the same numbers: {escape(command)}")
        raise typer.Exit(130) from None
