"""The numbers of published works beside tinyvae's: each row is trained by a command of its own.

    python benchmarks/papers.py --list              what there is, and how far it is
    python benchmarks/papers.py --row iwae          train what is not finished yet of a row
    python benchmarks/papers.py --row iwae --torch  the same by PyTorch
    python benchmarks/papers.py --table             the table, printed and put into README.md

Ctrl-C saves, and the same command goes on from there. What is finished is kept in
results/papers/, a file for each model. A row that takes days at the published schedule is trained
at a shortened one, which the table names; ``--full`` trains it at the published one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from papers_rows import ROWS, Run
from papers_run import FOLDER, finished, play
from papers_table import put, table, where


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked for; 130 after Ctrl-C."""
    chosen = parser().parse_args(arguments)
    if chosen.list:
        print(status(chosen.folder))
    for run in wanted(chosen):
        try:
            found = finished(run, chosen.folder) or play(run, chosen.folder, chosen.backend)
        except KeyboardInterrupt:
            print(f"{run.stem} is saved; the same command goes on with it", file=sys.stderr)
            return 130
        print(f"{run.stem}: {found['figure']:.2f} nats in {found['seconds']:.0f} s", flush=True)
    if chosen.table:
        made = table(chosen.folder)
        print(made)
        put(made, chosen.readme)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    made.add_argument("--list", action="store_true", help="all rows, and how far each is")
    made.add_argument("--row", nargs="+", choices=ROWS, default=[], help="the rows to train")
    made.add_argument("--torch", action="store_true", help="train them by PyTorch")
    made.add_argument("--full", action="store_true", help="at the published schedule")
    made.add_argument("--table", action="store_true", help="print the table, and put it into")
    made.add_argument("--readme", type=Path, default=where(), help="this file (%(default)s)")
    made.add_argument("--backend", default="numpy", help="cupy for a GPU (default: %(default)s)")
    made.add_argument("--folder", type=Path, default=FOLDER, help="where results are kept")
    return made


def wanted(chosen: argparse.Namespace) -> list[Run]:
    """The runs that are asked for."""
    by = "torch" if chosen.torch else "tinyvae"
    return [run for name in chosen.row for run in ROWS[name].runs(chosen.full, by)]


def status(folder: Path) -> str:
    """A line for each row and schedule: how many of its models are finished."""
    return "\n".join(
        f"{name:8} {length:6} {by:8} {sum(finished(run, folder) is not None for run in runs)} of "
        f"{len(runs)}, {runs[0].fit['epochs']} epochs: {row.work}"
        for name, row in ROWS.items()
        for length in ("short", "full")
        for by in ("tinyvae", "torch")
        if (runs := [r for r in row.runs(length == "full", by) if r.length == length])
    )


if __name__ == "__main__":
    raise SystemExit(main())
