"""The command line: parse, call, print."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.markup import escape

from tinyvae import __version__, console
from tinyvae.errors import OptionError, TinyvaeError
from tinyvae.parallel.launch import is_launched, processes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tinyvae.config import Config
    from tinyvae.parallel import Communicator
    from tinyvae.runs import Run

RUNS = Path("runs")
PACKAGES = (
    "numpy", "matplotlib", "scikit-learn", "safetensors", "pooch", "networkx", "numba", "mpi4py",
    "cupy", "cupy-cuda12x", "cupy-cuda13x", "nvmath-python",
)  # fmt: skip

app = typer.Typer(
    name="tinyvae",
    help="Variational autoencoders from scratch: train one, look at it, check its gradients.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not widths such as 256 or 256,128") from None


def _png(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".png":
        raise typer.BadParameter(f"'{path}' does not end in .png, the format of the pictures")
    return path


def _op(name: str | None) -> str | None:
    if name is not None:
        from tinyvae.evaluation.proofs import unknown

        if message := unknown(name):
            raise typer.BadParameter(message)
    return name


ACTIVATIONS = ("relu", "tanh", "softplus", "sigmoid", "leaky_relu", "elu", "gelu")
EPOCHS = "about 6,000 steps, in 10 to 300 epochs"

RunFolder = Annotated[
    Path | None,
    typer.Argument(metavar="RUN", help="The run's folder; the newest in runs/ if left out."),
]
Out = Annotated[
    Path | None,
    typer.Option(callback=_png, help="The PNG file to write.", show_default="in the run's folder"),
]


def _count(help: str, low: int = 1, high: int = 1000) -> Any:
    return typer.Option(min=low, max=high, help=help)


def _option(help: str, default: str, **more: Any) -> Any:
    """An option whose default is None, so that --resume sees which ones were given."""
    return typer.Option(help=f"{help} Default: {default}.", **more)


@app.command()
def train(
    data: Annotated[
        str | None,
        _option(
            "A name that `tinyvae data` lists; or an .npz, an .npy, an image folder.", "digits"
        ),
    ] = None,
    binarise: Annotated[
        str | None,
        _option(
            "Pixels: grey (none), black or white once (static), or anew in each epoch (dynamic).",
            "none",
        ),
    ] = None,
    model: Annotated[
        str | None, _option("What is trained; `tinyvae models` lists them.", "vae")
    ] = None,
    likelihood: Annotated[
        str | None, _option("p(x | z), of `tinyvae models`.", "bernoulli")
    ] = None,
    posterior: Annotated[str | None, _option("q(z | x), of `tinyvae models`.", "gaussian")] = None,
    prior: Annotated[
        str | None, _option("p(z), of `tinyvae models`, such as mixture:10.", "normal")
    ] = None,
    latent: Annotated[int | None, _option("Latent dimensions.", "2")] = None,
    hidden: Annotated[
        Any,
        _option(
            "Widths of the encoder's hidden layers; the decoder has them in reverse.",
            "256,128",
            parser=_widths,
            metavar="WIDTHS",
        ),
    ] = None,
    activation: Annotated[
        str | None, _option(f"Between the layers: {', '.join(ACTIVATIONS)}.", "relu")
    ] = None,
    epochs: Annotated[int | None, _option("Passes over the training images.", EPOCHS)] = None,
    batch: Annotated[int | None, _option("Images in one step.", "64")] = None,
    learning_rate: Annotated[float | None, _option("Of Adam.", "0.001")] = None,
    schedule: Annotated[
        str | None,
        _option(
            "Of the learning rate: constant, or threefold: the stairs of the IWAE paper.",
            "constant",
        ),
    ] = None,
    objective: Annotated[
        str | None, _option("What is minimised; `tinyvae models` lists them.", "elbo")
    ] = None,
    samples: Annotated[int | None, _option("Codes drawn for an image in a step.", "1")] = None,
    beta: Annotated[float | None, _option("Weight of the KL in the loss.", "1.0")] = None,
    normalised_beta: Annotated[
        float | None, _option("In its place beta K / D, K latent dimensions, D pixels.", "0.0")
    ] = None,
    warm_up: Annotated[
        int | None, _option("Epochs in which the weight of the KL rises to beta.", "0")
    ] = None,
    free_bits: Annotated[
        float | None, _option("Nats that each latent dimension may use for free.", "0.0")
    ] = None,
    seed: Annotated[int | None, _option("Of all that is random.", "0")] = None,
    backend: Annotated[str | None, _option("numpy, cupy (GPU), or auto.", "numpy")] = None,
    kernels: Annotated[
        str | None, _option("On the CPU: NumPy's, or those that numba compiles.", "numpy")
    ] = None,
    precision: Annotated[
        str | None, _option("Of matrix products on the GPU: float32, tf32, bfloat16.", "float32")
    ] = None,
    out: Annotated[Path | None, _option("The run's folder.", "a new one in runs/")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or with the newest.")
    ] = False,
    parallel: Annotated[
        str | None,
        _option("mpi: the processes that mpiexec starts share each batch.", "one process"),
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
        run = _open(out)
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
    result = run.evaluate(model, dataset)
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


@app.command()
def sample(
    run: RunFolder = None,
    count: Annotated[int, _count("How many images.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    out: Out = None,
) -> None:
    """Draw images from the prior."""
    from tinyvae import pictures

    opened = _open(run)
    _write(pictures.samples(opened.model(), count, seed), out or opened / "samples.png")


@app.command()
def reconstruct(
    run: RunFolder = None,
    count: Annotated[int, _count("How many test images.")] = 20,
    out: Out = None,
) -> None:
    """Show test images beside what the model makes of them."""
    from tinyvae import pictures

    opened = _open(run)
    figure = pictures.reconstructions(opened.model(), opened.config.dataset(), count)
    _write(figure, out or opened / "reconstructions.png")


@app.command()
def interpolate(
    run: RunFolder = None,
    rows: Annotated[int, _count("How many walks.", high=100)] = 6,
    steps: Annotated[int, _count("Images in a walk.", low=2, high=100)] = 11,
    out: Out = None,
) -> None:
    """Walk in the latent space, from one test image to another."""
    from tinyvae import pictures

    opened = _open(run)
    figure = pictures.interpolation(opened.model(), opened.config.dataset(), rows, steps)
    _write(figure, out or opened / "interpolation.png")


@app.command()
def latent(run: RunFolder = None, out: Out = None) -> None:
    """Show where the images lie in the latent space."""
    from tinyvae import pictures

    opened = _open(run)
    figure = pictures.latent(opened.model(), opened.config.dataset())
    _write(figure, out or opened / "latent.png")


@app.command()
def evaluate(run: RunFolder = None) -> None:
    """Measure the negative ELBO on the test images."""
    opened = _open(run)
    model, dataset = opened.model(), opened.config.dataset()
    result = opened.evaluate(model, dataset)
    table = console.table(
        "test images", "-ELBO", "reconstruction", "KL", "active units", title="nats per image"
    )
    figures = (f"{x:.3f}" for x in (result.loss, result.reconstruction, result.kl))
    active = f"{result.active_units} of {model.latent}"
    table.add_row(f"{len(dataset.test):,}", *figures, active)
    console.console().print(table)


@app.command()
def check(
    explain: Annotated[
        str | None,
        typer.Option(
            callback=_op,
            metavar="NAME",
            help="Show one derivation or op from its formula to its proof instead.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the points and the upstream gradients.")] = 0,
) -> None:
    """Check the gradient of every derivation and op against differences of its value."""
    if explain is not None:
        _explain(explain, seed)
    from tinyvae.evaluation.gradients import check_all

    table = console.table(
        "what", "kind", "elements", "worst error", "allowed", "", title="Gradients"
    )
    rows = check_all(seed)
    for row in rows:
        verdict = "[green]right[/]" if row.passed else "[bold red]WRONG[/]"
        error, allowed = f"{row.error:.1e}", f"{row.allowed:.1e}"
        table.add_row(row.name, row.kind, str(row.elements), error, allowed, verdict)
    console.console().print(table)
    wrong = [row.name for row in rows if not row.passed]
    console.say(
        f"[bold red]WRONG: {', '.join(wrong)}[/]" if wrong else f"All {len(rows)} are right."
    )
    raise typer.Exit(1 if wrong else 0)


def _explain(name: str, seed: int) -> NoReturn:
    from tinyvae.evaluation.proofs import explain

    sections, passed = explain(name, seed)
    for title, text in sections:
        console.say(f"[bold]{escape(title)}[/]\n{escape(text)}\n")
    raise typer.Exit(0 if passed else 1)


@app.command()
def data() -> None:
    """List the data sets, their sizes and licences, and where they are."""
    from tinyvae.data import cards

    table = console.table("name", "images", "licence", "where")
    for card in cards():
        table.add_row(card.name, card.size, card.licence, escape(card.where))
    console.console().print(table)
    console.say("One's own: --data images.npz, array.npy, or a folder of images.")


@app.command()
def models() -> None:
    """List the models, likelihoods, posteriors, priors and objectives, with a line for each."""
    from tinyvae.config import choices

    for option, rows in choices().items():
        table = console.table("name", "what it is", title=f"--{option}")
        for name, line in rows:
            table.add_row(name, escape(line))
        console.console().print(table)
        console.say("")


@app.command()
def info() -> None:
    """Say which versions and backends there are."""
    from tinyvae import backend as backends
    from tinyvae.errors import BackendError

    console.say(f"tinyvae {__version__}, Python {platform.python_version()}, {platform.machine()}")
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            console.say(f"{package} {version(package)}")
    for name in backends.names():
        try:
            found = backends.get(name)
        except BackendError as error:
            console.say(f"backend {name}: {escape(str(error))}")
            continue
        console.say(f"backend {name}: ready")
        for line in found.about():
            console.say(f"    {escape(line)}")


def _open(folder: Path | None) -> Run:
    from tinyvae.runs import Run, newest

    return Run(folder) if folder else newest(RUNS)


def _write(figure: Figure, path: Path) -> None:
    from tinyvae import plots

    plots.save(figure, path)
    console.say(f"wrote {escape(str(path))}")


def _fail(message: str) -> NoReturn:
    console.console(stderr=True).print(f"[bold red]Error:[/] {escape(message)}")
    sys.exit(1)


def _run() -> None:
    """Carry out the command; what a person can mend is one message, without a traceback."""
    try:
        app()
    except TinyvaeError as error:
        _fail(str(error))
    except MemoryError:
        _fail("there is not enough memory for this: choose a smaller --batch, --hidden or --latent")
    except OSError as error:
        _fail(f"the system says: {error}")


def _run_as_one() -> None:
    """Carry out the command as one of the processes of `mpiexec`, of which one speaks."""
    from tinyvae.parallel.mpi import one_voice, world

    try:
        group = world()
    except TinyvaeError as error:
        _fail(str(error))
    with one_voice(group):
        _run()


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):  # a letter that the terminal lacks stops nothing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ["MPLBACKEND"] = "agg"  # no picture is ever shown, so none needs a display
    together = processes() > 1 or (is_launched() and any("--parallel" in a for a in sys.argv))
    (_run_as_one if together else _run)()
