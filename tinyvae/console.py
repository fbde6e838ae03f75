"""What the command line prints with: lines, tables, and the progress of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

if TYPE_CHECKING:
    from tinyvae.training import Progress

LINES = 10  # that a run prints where there is no terminal
WIDE = 200  # letters of a line there, so that no row of a table is broken


def console(stderr: bool = False) -> Console:
    """Where to print: as wide as the terminal; where there is none, a line is not broken."""
    found = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not found.is_terminal:
        found.width = WIDE
    return found


def say(text: str) -> None:
    """Print a line, with rich's markup."""
    console().print(text)


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table without lines."""
    empty = Table(*columns, title=title, title_justify="left", box=None, header_style="bold")
    empty.pad_edge = False
    return empty


class Display:
    """A bar and the newest figures in a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(20), TimeRemainingColumn())
        self.terminal, self.told = console().is_terminal, False
        self.bar = Bar(*columns, TextColumn("{task.description}"), console=console())
        self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> Self:
        if self.terminal:
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.terminal:
            self.bar.stop()

    def __call__(self, now: Progress) -> None:
        """Show where the run stands: a callback of `fit`."""
        self.told, total = True, now.settings.epochs
        if self.terminal:
            done = now.epoch - 1 + (1 if now.row else now.step / now.steps)
            text = f"-ELBO {now.row['train_loss']:.2f}" if now.row else None
            self.bar.update(self.task, total=total, completed=done, description=text)
        elif now.row and (now.epoch * LINES % total < LINES or now.epoch == 1):
            say(f"epoch {now.epoch} of {total}: {_row(now.row)}")


def _row(row: dict[str, Any]) -> str:
    train = nats(row["train_loss"], row["train_reconstruction"], row["train_kl"])
    return train + (f", validation {row['valid_loss']:.2f}" if "valid_loss" in row else "")


def nats(loss: float, reconstruction: float, kl: float) -> str:
    """The negative ELBO and its two parts, in nats."""
    return f"-ELBO {loss:.2f} = reconstruction {reconstruction:.2f} + KL {kl:.2f}"
