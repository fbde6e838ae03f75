"""The commands that draw what a trained model shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tinyvae import console
from tinyvae.cli.shared import (
    Moving,
    Out,
    RunFolder,
    count_option,
    is_moving,
    opened_run,
    write,
    write_moving,
)

if TYPE_CHECKING:
    import numpy as np

    from tinyvae.latent.readers import Leakage
    from tinyvae.latent.walks import Smooth


def sample(
    run: RunFolder = None,
    count: Annotated[int, count_option("How many images.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    out: Out = None,
) -> None:
    """Draw images from the prior."""
    from tinyvae import pictures

    opened = opened_run(run)
    write(pictures.samples(opened.model(), count, seed), out or opened / "samples.png")


def reconstruct(
    run: RunFolder = None,
    count: Annotated[int, count_option("How many test images.")] = 20,
    out: Out = None,
) -> None:
    """Show test images beside what the model makes of them."""
    from tinyvae import pictures

    opened = opened_run(run)
    figure = pictures.reconstructions(opened.model(), opened.config.dataset(), count)
    write(figure, out or opened / "reconstructions.png")


def interpolate(
    run: RunFolder = None,
    rows: Annotated[int, count_option("How many walks.", high=100)] = 6,
    steps: Annotated[int, count_option("Images in a walk.", low=2, high=100)] = 11,
    path: Annotated[
        str, typer.Option(help="linear, spherical, fade (of the pixels), or each, measured.")
    ] = "linear",
    out: Moving = None,
) -> None:
    """Walk in the latent space, from one test image to another."""
    from tinyvae import pictures

    opened = opened_run(run)
    model, dataset = opened.model(), opened.config.dataset()
    if is_moving(out):
        write_moving(pictures.walks(model, dataset, rows, steps, path), out)
    else:
        figure = pictures.interpolation(model, dataset, rows, steps, path)
        write(figure, out or opened / "interpolation.png")
    if path == "each" and steps > 2:
        _measure(pictures.smoothness_of_walks(model, dataset, rows, steps))


def traverse(
    run: RunFolder = None,
    rows: Annotated[int, count_option("How many latent dimensions.")] = 12,
    steps: Annotated[int, count_option("Images in a row.", low=2, high=100)] = 11,
    out: Out = None,
) -> None:
    """Walk along each latent dimension by itself, from a test image."""
    from tinyvae import pictures

    opened = opened_run(run)
    figure = pictures.traversals(opened.model(), opened.config.dataset(), rows, steps)
    write(figure, out or opened / "traversals.png")


def walk(
    attribute: Annotated[str, typer.Argument(help="A factor of the data, or a class.")],
    run: RunFolder = None,
    rows: Annotated[int, count_option("How many test images.", high=100)] = 6,
    steps: Annotated[int, count_option("Images in a walk.", low=2, high=100)] = 9,
    leakage: Annotated[
        bool, typer.Option("--leakage", help="Measure how much every other factor moves.")
    ] = False,
    out: Moving = None,
) -> None:
    """Change one attribute of test images, and leave the others, as far as the model can."""
    from tinyvae import pictures

    opened = opened_run(run)
    model, dataset = opened.model(), opened.config.dataset()
    figure, frames = pictures.attribute(model, dataset, attribute, rows, steps)
    if is_moving(out):
        write_moving(frames, out)
    else:
        write(figure, out or opened / f"walk-{attribute}.png")
    if leakage:
        _leaks(dataset.factor_names, *pictures.leakage_of_walk(model, dataset, attribute))


def _leaks(names: tuple[str, ...], found: Leakage, read: np.ndarray) -> None:
    """How much each factor moves, as a share of the one that is walked."""
    columns = ("each walk", "on average", "read from images, R^2")
    table = console.table("factor", *columns, title="Moves, as a share of the walked factor's")
    for name, each, interval, mean, r2 in zip(
        names, found.each, found.each_interval, found.mean, read, strict=True
    ):
        table.add_row(name, f"{each:.1%} ± {interval:.1%}", f"{mean:.1%}", f"{r2:.2f}")
    console.console().print(table)


def latent(run: RunFolder = None, out: Out = None) -> None:
    """Show where the images lie in the latent space."""
    from tinyvae import pictures

    opened = opened_run(run)
    figure = pictures.latent(opened.model(), opened.config.dataset())
    write(figure, out or opened / "latent.png")


def _measure(found: dict[str, Smooth]) -> None:
    """The measures of walks, a row for each kind."""
    columns = ("detour", "unevenness", "nearest image", "unlikeness")
    table = console.table("path", *columns, title="Means over the walks")
    for kind, measures in found.items():
        table.add_row(kind, *(f"{value:.3f}" for value in measures))
    console.console().print(table)
