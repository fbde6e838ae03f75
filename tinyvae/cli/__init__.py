"""The command line: parse, call, print."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

import typer
from rich.markup import escape

from tinyvae import console
from tinyvae.cli import pictures, tables, training
from tinyvae.errors import TinyvaeError
from tinyvae.parallel.launch import is_launched, processes

__all__ = ["app", "main"]

app = typer.Typer(
    name="tinyvae",
    help="Variational autoencoders from scratch: train one, look at it, check its gradients.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    training.train,
    pictures.sample,
    pictures.reconstruct,
    pictures.interpolate,
    pictures.traverse,
    pictures.walk,
    pictures.latent,
    tables.evaluate,
    tables.check,
    tables.models,
    tables.data,
    tables.info,
):
    app.command()(command)


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
