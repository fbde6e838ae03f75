"""The table of `papers.py`, made from what is finished."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from harness import half_interval
from papers_rows import ROWS, Line, Row, Run
from papers_run import finished, per_image

HEAD = ("work", "line", "paper", "ours", "PyTorch", "how", "seeds", "seconds", "hardware")
BEGIN, END = "<!-- papers: begin -->", "<!-- papers: end -->"
Found = dict[str, Any]


def where() -> Path:
    """The README of the repository."""
    return Path(__file__).resolve().parents[1] / "README.md"


def put(made: str, readme: Path) -> None:
    """Write what was made between the two marks of the file."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{readme} needs a line {BEGIN} and below it a line {END}, once each")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


def table(folder: Path) -> str:
    """The table, what it leaves to say, and the comparisons image by image, as Markdown."""
    lines = [_cells(HEAD), _cells(["---"] * len(HEAD))]
    for row in ROWS.values():
        lines += [_cells(_line(row, name, folder)) for name in row.lines]
    notes = [f"- **{row.work}.** {note}" for row in ROWS.values() if (note := _note(row, folder))]
    return "\n".join([*lines, "", *notes])


def _cells(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def chosen(row: Row, folder: Path, by: str = "tinyvae") -> list[tuple[Run, Found]]:
    """What is finished: at the published schedule if there is any, else at the shortened one."""
    for full in (True, False):
        runs = [(run, finished(run, folder)) for run in row.runs(full, by)]
        if found := [(run, result) for run, result in runs if result]:
            return found
    return []


def _line(row: Row, name: str, folder: Path) -> list[str]:
    line = row.lines[name]
    ours = [(run, found) for run, found in chosen(row, folder) if run.line == name]
    theirs = [(run, found) for run, found in chosen(row, folder, "torch") if run.line == name]
    if ours:
        theirs = [(run, found) for run, found in theirs if run.length == ours[0][0].length]
    return [
        f"{row.work} ({row.source})" if name == next(iter(row.lines)) else "",
        line.what,
        line.published,
        figures(ours) or "not run yet",
        figures(theirs),
        _how(row, line, ours),
        ", ".join(str(run.seed) for run, _ in ours),
        ", ".join(_seconds(found) for _, found in ours),
        _hardware(ours),
    ]


def figures(found: list[tuple[Run, Found]]) -> str:
    """All of them, in the order of the seeds."""
    return ", ".join(f"{result['figure']:.2f}" for _, result in found)


def _how(row: Row, line: Line, found: list[tuple[Run, Found]]) -> str:
    """The settings in words, and whether the schedule is the published one."""
    fit = found[0][1]["fit"] if found else row.fit | line.fit | {"epochs": row.full.epochs}
    epochs = f"{'at most ' * ('patience' in fit)}{fit['epochs']} epochs"
    if found and found[0][0].length == "short":
        epochs = f"**shortened: {fit['epochs']} of {row.full.epochs} epochs**"
    rate = f"Adam {fit['learning_rate']:g}" + (" in stairs" if "schedule" in fit else "")
    words = [epochs, f"batch {fit['batch']}", rate]
    if row.samples:
        words.append(f"{row.samples} importance samples")
    if found and found[0][0].every > 1:
        words.append(f"every {found[0][0].every}th test image")
    return ", ".join(words)


def _seconds(found: Found) -> str:
    """Of the processor, or by the clock where they are not known."""
    seconds = found["processor_seconds"]
    return f"{found['seconds']:.0f} by the clock" if seconds is None else f"{seconds:.0f}"


def _hardware(found: list[tuple[Run, Found]]) -> str:
    return ", ".join(sorted({_machine(result["machine"]) for _, result in found}))


def _machine(about: Found) -> str:
    threads = about["threads"].get("OMP_NUM_THREADS", about["cores"])
    return f"{threads} core{'s' * (str(threads) != '1')} of {about['cpu']}"


def _note(row: Row, folder: Path) -> str:
    differs = f"Not as published: {row.differs}." if row.differs else ""
    return " ".join(part for part in (differs, *compared(row, folder)) if part)


# Image by image


def compared(row: Row, folder: Path) -> list[str]:
    """A sentence for each pair of lines of which the first should be better."""
    runs = {(run.line, run.seed): run for run, _ in chosen(row, folder)}
    seeds = sorted({seed for _, seed in runs})
    return [
        sentence(row, pair, [_difference(runs[pair[0], s], runs[pair[1], s], folder) for s in both])
        for pair in row.better
        if (both := [s for s in seeds if all((name, s) in runs for name in pair)])
    ]


def _difference(better: Run, worse: Run, folder: Path) -> tuple[float, float]:
    return interval(per_image(better, folder) - per_image(worse, folder))


def interval(gains: np.ndarray) -> tuple[float, float]:
    """The mean, and 1.96 times its standard error: what other images would give.

    >>> interval(np.array([1.0, 3.0]))
    (2.0, 1.96)
    """
    return float(gains.mean()), 1.96 * float(gains.std(ddof=1)) / math.sqrt(len(gains))


def sentence(row: Row, pair: tuple[str, str], gains: list[tuple[float, float]]) -> str:
    """By how much the first is better, seed by seed, and over the seeds."""
    first, second = (row.lines[name].what for name in pair)
    each = ", ".join(f"{mean:.2f} ± {half:.2f}" for mean, half in gains)
    holds = sum(mean - half > 0 for mean, half in gains)
    over = f"; {_over_seeds([mean for mean, _ in gains])}" if len(gains) > 1 else ""
    return (
        f"{first} above {second} in log p, nats, 95% interval over the images: {each}{over}; "
        f"above 0 with {holds} of {len(gains)} seeds."
    )


def _over_seeds(means: list[float]) -> str:
    return f"over the seeds {statistics.mean(means):.2f} ± {half_interval(means):.2f}"
