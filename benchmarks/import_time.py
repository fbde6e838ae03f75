"""`import tinyvae` beside `import numpy`, each in a fresh interpreter, in turn.

numpy       import numpy
tinyvae     import tinyvae; its rooms, and NumPy with them, load when they are first used
training    import tinyvae, and all that `tinyvae.fit` and `tinyvae.VAE` load

ms          of the import alone: median of the rounds, smallest and largest
process_ms  of the interpreter from its start to its end, median
ratio       of the import to that of NumPy, round by round, median
beyond      how many modules it loads that `import numpy` does not; the JSON lists them all
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

from harness import Row, floor, in_turn, parser, ratios, report, run, spread

STATEMENTS = {
    "numpy": "import numpy",
    "tinyvae": "import tinyvae",
    "training": "import tinyvae; tinyvae.fit, tinyvae.VAE",
}
TIMED = "from time import perf_counter as t; s = t(); {}; print(1000 * (t() - s))"
LISTED = "{}; import sys; print(*sys.modules)"


def interpreter(program: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def measure(statement: str) -> tuple[float, float]:
    """Milliseconds of the import, and of the process."""
    start = time.perf_counter()
    ms = float(interpreter(TIMED.format(statement)))
    return ms, 1000 * (time.perf_counter() - start)


def loaded(name: str) -> set[str]:
    """The modules that are there after a statement."""
    return set(interpreter(LISTED.format(STATEMENTS[name])).split())


def main() -> None:
    """Round by round; the first, which may compile and read the disk, is not counted."""
    chosen = parser(__doc__, rounds=21).parse_args()
    measures = {name: partial(measure, statement) for name, statement in STATEMENTS.items()}
    in_turn(measures, 1)
    times = {
        name: list(zip(*each, strict=True))
        for name, each in in_turn(measures, chosen.rounds).items()
    }
    to_numpy = {name: ratios(ms, times["numpy"][0]) for name, (ms, _) in times.items()}
    beyond = {name: sorted(loaded(name) - loaded("numpy")) for name in STATEMENTS}
    rows = [
        {"import": name}
        | {f"ms_{key}": value for key, value in spread(ms).items()}
        | {"process_ms": spread(process_ms)["median"], "ratio": spread(to_numpy[name])["median"]}
        | {"beyond": len(beyond[name])}
        for name, (ms, process_ms) in times.items()
    ]
    modules: list[Row] = [{"import": name, "beyond": " ".join(beyond[name])} for name in beyond]
    floors = [floor("import tinyvae / import numpy", to_numpy["tinyvae"], 1.2)]
    report("import_time", chosen, rows=rows, modules=modules[1:], floors=floors)


if __name__ == "__main__":
    run(main)
