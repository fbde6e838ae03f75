"""What the commands share: arguments, runs, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeGuard

import typer
from rich.markup import escape

from tinyvae import console

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from tinyvae.runs import Run

RUNS = Path("runs")


def png(path: Path | None) -> Path | None:
    """A path that ends in .png, or none."""
    if path is not None and path.suffix.lower() != ".png":
        raise typer.BadParameter(f"'{path}' does not end in .png, the format of the pictures")
    return path


def png_or_gif(path: Path | None) -> Path | None:
    """A path that ends in .png or .gif, or none."""
    if path is not None and path.suffix.lower() not in (".png", ".gif"):
        raise typer.BadParameter(f"'{path}' does not end in .png or .gif, the formats of walks")
    return path


RunFolder = Annotated[
    Path | None,
    typer.Argument(metavar="RUN", help="The run's folder; the newest in runs/ if left out."),
]
Out = Annotated[
    Path | None,
    typer.Option(callback=png, help="The PNG file to write.", show_default="in the run's folder"),
]
Moving = Annotated[
    Path | None,
    typer.Option(
        callback=png_or_gif,
        help="The file to write: a PNG, or a GIF, in which the walks move.",
        show_default="a PNG in the run's folder",
    ),
]


def count_option(help: str, low: int = 1, high: int = 1000) -> Any:
    """An option that is a number of things."""
    return typer.Option(min=low, max=high, help=help)


def option(help: str, default: str, **more: Any) -> Any:
    """An option whose default is None, so that --resume sees which ones were given."""
    return typer.Option(help=f"{help} Default: {default}.", **more)


def opened_run(folder: Path | None) -> Run:
    """The run in that folder, or the newest one."""
    from tinyvae.runs import Run, newest

    return Run(folder) if folder else newest(RUNS)


def write(figure: Figure, path: Path) -> None:
    """Write a figure, and say where."""
    from tinyvae import plots

    plots.save(figure, path)
    console.say(f"wrote {escape(str(path))}")


def is_moving(out: Path | None) -> TypeGuard[Path]:
    """Whether the picture is to be an animation."""
    return out is not None and out.suffix.lower() == ".gif"


def write_moving(frames: np.ndarray, path: Path) -> None:
    """Write an animation, and say where."""
    from tinyvae import plots

    plots.animate(frames, path)
    console.say(f"wrote {escape(str(path))}")
