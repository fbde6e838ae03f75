"""The parts of `gpu.py`: what each asks of the contestants, and the rows that it makes of it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any

from cases import Case
from harness import Contestant, Row, in_turn, ratios, spread, table, write

Times = dict[str, list[float]]
PAUSE = 0.02  # seconds between two turns: the threads of none of them spin for long


@dataclass(frozen=True)
class Sizes:
    """What is measured on a device."""

    base: Case
    iwae: Case
    batches: tuple[int, ...]
    widths: tuple[int, ...]
    large: int
    """The batch at which products matter most."""
    images: int
    """Of an epoch of tinyvae's loop where it is timed."""
    product: int
    normals: int
    data: str
    epochs: int
    seeds: tuple[int, ...]
    precisions: tuple[str, ...]


SIZES = {
    "gpu": Sizes(
        base=Case(784, (400,), 20, 128),
        iwae=Case(784, (200, 200), 50, 20, k=50),
        batches=(32, 128, 512, 2048, 4096, 16384),
        widths=(100, 400, 1600, 6400),
        large=4096,
        images=60_000,
        product=8192,
        normals=1 << 22,
        data="mnist",
        epochs=10,
        seeds=(0, 1, 2),
        precisions=("float32", "tf32", "bfloat16"),
    ),
    "cpu": Sizes(
        base=Case(64, (16,), 4, 8),
        iwae=Case(64, (16,), 4, 5, k=3),
        batches=(8, 32),
        widths=(16, 32),
        large=32,
        images=64,
        product=64,
        normals=1 << 10,
        data="digits",
        epochs=1,
        seeds=(0, 1),
        precisions=("float32",),
    ),
}


class Crew:
    """Contestants, each in its process; one whose process ends is left out from then on."""

    def __init__(self, stack: ExitStack, players: Mapping[str, tuple[str, Row]]) -> None:
        self.failures: list[Row] = []
        self._ready = {
            name: stack.enter_context(Contestant(plays, **config))
            for name, (plays, config) in players.items()
        }

    @property
    def names(self) -> list[str]:
        """Of those that take part."""
        return list(self._ready)

    def leave_out(self, name: str) -> None:
        self._ready.pop(name, None)

    def ask(
        self, names: Sequence[str], do: str, own: Mapping[str, Row] | None = None, **question: Any
    ) -> dict[str, Any]:
        """The answers of these to one question, which they work on at the same time.

        Without those who fail: ``failures`` says why.
        """
        there = [name for name in names if name in self._ready]
        for name in there:
            self._ready[name].ask(do=do, **question, **(own or {}).get(name, {}))
        answers = {name: self._answer(name) for name in there}
        failed = [name for name, answer in answers.items() if _is_failure(answer)]
        self.failures += [{"contestant": name, "asked": do} | answers[name] for name in failed]
        return {name: answer for name, answer in answers.items() if name not in failed}

    def one(self, name: str, do: str, **question: Any) -> Any:
        """The answer of one; None if it fails, or takes no part."""
        return self.ask([name], do, **question).get(name)

    def _answer(self, name: str) -> Any:
        try:
            return self._ready[name].answer()
        except SystemExit as gone:
            self.leave_out(name)
            return {"failed": str(gone)}


def _is_failure(answer: Any) -> bool:
    return isinstance(answer, dict) and "failed" in answer


@dataclass
class Bench:
    """The run: what was asked for, who takes part, and what has been found."""

    options: argparse.Namespace
    crew: Crew
    sizes: Sizes
    tables: dict[str, list[Row]] = field(default_factory=lambda: {"rows": [], "floors": []})
    times: dict[tuple[Case, str], Times] = field(default_factory=dict)

    def save(self) -> Path:
        return write("gpu", self.options, **self.tables)

    def add(self, name: str, rows: list[Row]) -> None:
        """Keep rows of a table, and write all that there are."""
        self.tables[name] = self.tables.get(name, []) + rows
        self.save()

    def show(self, name: str, rows: list[Row]) -> None:
        """The same, and print them."""
        self.add(name, rows)
        if rows:
            print(table(rows), end="\n\n", flush=True)

    def race(self, case: Case, precision: str = "float32") -> Times:
        """Milliseconds a step of every contestant, round by round; what was raced is known."""
        if (case, precision) not in self.times:
            self.times[case, precision] = self._race(case, precision)
        return self.times[case, precision]

    def _race(self, case: Case, precision: str) -> Times:
        options = self.options
        print(f"{case}, {precision}", file=sys.stderr)
        about = {"seed": options.seed, "lasting": options.lasting, "images": self.sizes.images}
        ready = self.crew.ask(
            self.crew.names, "prepare", case=asdict(case), precision=precision, **about
        )
        blocks = {name: partial(self.crew.one, name, "block") for name in ready}
        found = in_turn(blocks, options.rounds, PAUSE)
        return {name: each for name, each in found.items() if None not in each}

    def rate(self, precision: str) -> float | None:
        """The quickest product that was measured, in 10^12 operations a second."""
        rows = [row for row in self.tables.get("rate", []) if row["precision"] == precision]
        return max((row["tflops"] for row in rows), default=None)


def _rows(bench: Bench, part: str, size: int, case: Case, precision: str = "float32") -> list[Row]:
    """One row a contestant."""
    times, rate = bench.race(case, precision), bench.rate(precision)
    ours, made = times.get("tinyvae_replayed"), []
    for name, each in times.items():
        row = {"part": part, "size": size, "precision": precision, "contestant": name}
        row |= {f"ms_{key}": value for key, value in spread(each).items()}
        found = spread(ratios(ours, each)) if ours else dict.fromkeys(("median", "low", "high"))
        row |= {f"ratio_{key}": value for key, value in found.items()}
        tflops = 1e-9 * case.operations / row["ms_median"]
        made.append(row | {"share": rate and tflops / rate})
    return made


def _raced(bench: Bench, part: str, cases: Iterable[tuple[int, Case, str]]) -> None:
    rows: list[Row] = []
    for size, case, precision in cases:
        made = _rows(bench, part, size, case, precision)
        bench.add("rows", made)
        rows += made
    print(table(rows), end="\n\n", flush=True)


# The parts


def steps(bench: Bench) -> None:
    base = bench.sizes.base
    _raced(bench, "steps", [(n, replace(base, batch=n), "float32") for n in bench.sizes.batches])


def widths(bench: Bench) -> None:
    base = bench.sizes.base
    _raced(
        bench, "widths", [(n, replace(base, hidden=(n,)), "float32") for n in bench.sizes.widths]
    )


def iwae(bench: Bench) -> None:
    case = bench.sizes.iwae
    _raced(bench, "iwae", [(case.k, case, "float32")])


def precision(bench: Bench) -> None:
    large = replace(bench.sizes.base, batch=bench.sizes.large)
    _raced(bench, "precision", [(large.batch, large, kind) for kind in bench.sizes.precisions])


def rate(bench: Bench) -> None:
    """Of one contestant of each library."""
    sizes = bench.sizes
    about = {"n": sizes.product, "normals": sizes.normals, "lasting": bench.options.lasting}
    rows = []
    for kind in sizes.precisions:
        for name in ("tinyvae_replayed", "torch", "jax"):
            found = bench.crew.one(name, "rate", precision=kind, **about)
            rows += [{"contestant": name, "precision": kind} | found] if found else []
    bench.show("rate", rows)


def mnist(bench: Bench) -> None:
    """All contestants but the taped one in float32; in other precisions tinyvae alone."""
    sizes, crew, rows = bench.sizes, bench.crew, []
    case = asdict(replace(sizes.base, batch=128))
    for kind in sizes.precisions:
        names = [name for name in crew.names if name != "tinyvae"]
        names = names if kind == "float32" else ["tinyvae_replayed"]
        ready = crew.ask(names, "read", case=case, data=sizes.data, precision=kind)
        for k, seed in enumerate(sizes.seeds):
            for name in ready:
                found = crew.one(name, "fit", seed=seed, epochs=sizes.epochs)
                about = {"contestant": name, "precision": kind, "seed": seed, "run": k + 1}
                rows += [about | found] if found else []
    bench.show("mnist", rows)
    found = crew.one("tinyvae_replayed", "syncs", case=case, data=sizes.data)
    bench.show("syncs", [found] if found else [])


def memory(bench: Bench) -> None:
    """Each contestant in a fresh process, the only one at work."""
    case = asdict(replace(bench.sizes.base, batch=bench.sizes.large))
    about = {"seed": 0, "lasting": 0.0, "precision": "float32", "images": bench.sizes.images}
    rows = []
    for name in bench.crew.names:
        with ExitStack() as stack:
            before = used_mb()
            fresh = Crew(stack, {name: (name, {"device": bench.options.device})})
            fresh.one(name, "prepare", case=case, **about)
            fresh.one(name, "block")
            found, after = fresh.one(name, "held"), used_mb()
        if found:
            used = after - before if before is not None and after is not None else None
            rows.append({"contestant": name, "gpu_mb": used} | found)
        bench.crew.failures.extend(fresh.failures)
    bench.show("memory", rows)


def used_mb() -> float | None:
    """What all processes use of the GPU, in 10^6 bytes; None where nobody can tell."""
    if which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout) * 1.048576 if done.returncode == 0 else None


PARTS: dict[str, Callable[[Bench], None]] = {
    "rate": rate,
    "steps": steps,
    "mnist": mnist,
    "precision": precision,
    "iwae": iwae,
    "widths": widths,
    "memory": memory,
}
