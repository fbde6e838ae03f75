"""What the benchmarks share: contestants in processes of their own, rounds in turn, the report.

A benchmark's own process imports neither NumPy nor PyTorch: Linux counts the memory of the
process that starts another one in the other's peak.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

Row = dict[str, Any]
FOLDER = Path(__file__).resolve().parent
HAS_TORCH = find_spec("torch") is not None
NOBODY: Mapping[str, Callable[..., Any]] = MappingProxyType({})
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


# Contestants


class Contestant:
    """A process of its own of the script that runs, playing ``name``; called, it answers by pipe.

    The process calls ``CONTESTANTS[name](**config)`` of the script, once; what that returns
    is called with each question.
    """

    def __init__(self, name: str, **config: Any) -> None:
        command = [sys.executable, sys.argv[0], "--play", name, json.dumps(config)]
        pipe = subprocess.PIPE
        self.name = name
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __call__(self, **question: Any) -> Any:
        """The answer to a question, waited for."""
        self.ask(**question)
        return self.answer()

    def ask(self, **question: Any) -> None:
        """Let it begin, without waiting: others may be asked meanwhile."""
        with suppress(BrokenPipeError):  # it is gone, and has no answer either
            print(json.dumps(question), file=self.process.stdin, flush=True)

    def answer(self) -> Any:
        """What it answers to the question before, waited for."""
        if answer := self.process.stdout.readline():
            return json.loads(answer)
        raise SystemExit(f"{self.name} broke off; what it said stands above")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def run(main: Callable[[], None], contestants: Mapping[str, Callable[..., Any]] = NOBODY) -> None:
    """Be the benchmark, or the contestant that the command line names."""
    if sys.argv[1:2] != ["--play"]:
        return main()
    answer = contestants[sys.argv[2]](**json.loads(sys.argv[3]))
    for question in sys.stdin:
        print(json.dumps(answer(**json.loads(question))), flush=True)
    return None


# Measuring


def in_turn(
    measures: Mapping[str, Callable[[], Any]], rounds: int, pause: float = 0.25
) -> dict[str, list[Any]]:
    """What each measures, round by round, A B A B: a slow spell of the machine meets all.

    The pause, in seconds, lets the threads of the one before, which spin for a while, fall asleep.
    """
    found: dict[str, list[Any]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            time.sleep(pause)
            found[name].append(measure())
    return found


def seconds_each(act: Callable[[], object], lasting: float) -> float:
    """Seconds that ``act`` takes: the median of as many as fit into ``lasting`` seconds."""
    each, begun = [], time.perf_counter()
    while not each or time.perf_counter() - begun < lasting:
        start = time.perf_counter()
        act()
        each.append(time.perf_counter() - start)
    return statistics.median(each)


def seconds(act: Callable[[], object]) -> float:
    """Seconds that ``act`` takes, once."""
    return seconds_each(act, 0)


def spread(values: Sequence[float], scale: float = 1) -> dict[str, float]:
    """Median, smallest and largest, times ``scale``."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return {"median": middle * scale, "low": low * scale, "high": high * scale}


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """One ratio a round."""
    return [value / other for value, other in zip(values, others, strict=True)]


def peak_mb() -> float:
    """The most memory that this process has held so far, in 10^6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def half_interval(values: list[float]) -> float:
    """Half the width of the 95 % interval of their mean, by Student's t.

    >>> round(half_interval([0.0, 1.0, 2.0]), 3)  # 4.303 / sqrt(3)
    2.484
    """
    from scipy.stats import t

    if len(values) < 2:
        return math.nan
    return float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def floor(what: str, values: Sequence[float], at_most: float, at_least: float = 0) -> Row:
    """A promise about the median of ``values``."""
    found = spread(values)
    kept = "yes" if at_least <= found["median"] <= at_most else "NO"
    wanted = f"{at_least:g} to {at_most:g}"
    return {"floor": what} | found | {"wanted": wanted, "kept": kept}


# The report


def parser(doc: str | None, rounds: int | None = None) -> argparse.ArgumentParser:
    """The options that benchmarks share; ``rounds`` is the default, None where there are none."""
    style = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(description=doc, formatter_class=style)
    made.add_argument("--out", type=_json, help="the JSON file (default: results/ beside this)")
    if rounds:
        made.add_argument("--rounds", type=_rounds, default=rounds, help="default: %(default)s")
    return made


def _json(text: str) -> Path:
    if Path(text).suffix != ".json":  # a picture may be written beside it
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .json")
    return Path(text)


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def report(name: str, options: argparse.Namespace, **tables: list[Row]) -> Path:
    """Print the tables, write them as JSON with all that they depend on, and say where."""
    print("\n\n".join(table(rows) for rows in tables.values() if rows))
    return write(name, options, **tables)


def write(name: str, options: argparse.Namespace, **tables: list[Row]) -> Path:
    """Write the tables as JSON with all that they depend on, and say where."""
    config = {key: value for key, value in vars(options).items() if key != "out"}
    result = {"name": name, "config": config, "versions": versions(), "machine": machine()}
    path = options.out or FOLDER / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result | tables, indent=1) + "\n")
    return path


def table(rows: Sequence[Row]) -> str:
    """Plain text, one column a key of the first row."""
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else textwrap.shorten(str(value), 60)


def versions() -> dict[str, str]:
    """Of Python, and of what is installed of the contestants."""
    packages = ["tinyvae", "numpy", *(name for name in ("torch", "jax") if find_spec(name))]
    return {"python": platform.python_version()} | {p: metadata.version(p) for p in packages}


def machine() -> Row:
    """The processor, the cores that may be used, and the limits on threads that are in force."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    limits = {name: os.environ[name] for name in THREADS if name in os.environ}
    model = models[0] if models else platform.processor()
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {"cpu": model, "cores": cores, "system": platform.system(), "threads": limits}
