"""The commands that print what there is, and what was measured."""

from __future__ import annotations

import contextlib
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from tinyvae import __version__, console
from tinyvae.cli.shared import RunFolder, opened_run

PACKAGES = (
    "numpy", "matplotlib", "scikit-learn", "safetensors", "pooch", "networkx", "numba", "mpi4py",
    "cupy", "cupy-cuda12x", "cupy-cuda13x", "nvmath-python",
)  # fmt: skip


def _op(name: str | None) -> str | None:
    if name is not None:
        from tinyvae.evaluation.proofs import unknown

        if message := unknown(name):
            raise typer.BadParameter(message)
    return name


def evaluate(
    run: RunFolder = None,
    samples: Annotated[
        int,
        typer.Option(min=0, help="Codes for each image, for log p(x); papers take 5,000."),
    ] = 0,
    quality: Annotated[
        bool,
        typer.Option("--quality", help="Measure the samples, too, in the features of a network."),
    ] = False,
) -> None:
    """Measure the model on the test images: the ELBO and its parts, log p(x), the samples."""
    opened = opened_run(run)
    model, dataset = opened.model(), opened.config.dataset()
    result = opened.evaluate(model, dataset, samples, quality)
    table = console.table("what", "value", "", title="nats per image, ± a standard error")
    for name, value, about in result.rows():
        table.add_row(name, value, escape(about))
    console.console().print(table)
    if result.kl_per_dimension:
        spread = ", ".join(f"{kl:.2f}" for kl in sorted(result.kl_per_dimension, reverse=True))
        console.say(f"KL of each dimension, sorted: {spread}")
    for note in result.notes:
        console.say(escape(f"{note[0].upper()}{note[1:]}."))


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


def data() -> None:
    """List the data sets, their sizes and licences, and where they are."""
    from tinyvae.data import cards

    table = console.table("name", "images", "licence", "where")
    for card in cards():
        table.add_row(card.name, card.size, card.licence, escape(card.where))
    console.console().print(table)
    console.say("One's own: --data images.npz, array.npy, or a folder of images.")


def models() -> None:
    """List the models, likelihoods, posteriors, priors and objectives, with a line for each."""
    from tinyvae.config import choices

    for option, rows in choices().items():
        table = console.table("name", "what it is", title=f"--{option}")
        for name, line in rows:
            table.add_row(name, escape(line))
        console.console().print(table)
        console.say("")


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
