"""Training by several processes: a step of 1 and of 2, the sum alone, and where it would stop.

step          of 784-400-20, forward, backward, sum over the processes, Adam; each with one thread
sum           the all-reduce alone, of a vector as long as that model's gradient
prediction    of a step by n processes, on paper, from what was measured here:

                  serial + shared / n + 2 (n - 1) / n bytes / bandwidth + 2 (n - 1) latency

              The step by one process takes a + b rows; a (Adam, and what Python does) is serial
              and b rows is shared. Of a sum in a ring each process sends and receives
              2 (n - 1) / n of the vector, in 2 (n - 1) messages. Between machines each has a link
              of its own. Within one, all of them share its memory: its bandwidth is what the sum
              of 2 processes reaches here, 1 / n of it for each; n cores are taken for granted
efficiency    time of one process / (n times that of n): how well n processes are used
least         the quickest step of all: what a machine that others use takes least from; the
              predictions rest on it
last          the most processes that are still used to a half, by the prediction
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness import Row, in_turn, parser, report, spread

SIZES = {"pixels": 784, "hidden": 400, "latent": 20}
LINKS = {  # bytes a second, and seconds a message; None for memory, as measured and shared
    "memory": (None, 1e-6),
    "100 Gbit/s": (12.5e9, 2e-6),
    "10 Gbit/s": (1.25e9, 20e-6),
}
MOST = 4096


# In a process that mpiexec starts


def measure(batch: int, steps: int, **sizes: int) -> None:
    """Print, as rank 0, the milliseconds of a step and of the sum, and the bytes of the vector."""
    from tinyvae.parallel import joined

    with joined("mpi") as group:
        step, flat = shared_step(group, batch, **sizes)
        each = milliseconds(group, step, steps)
        added = milliseconds(group, lambda: group.sum(flat.exchanged), steps)
        found = {
            "step": statistics.median(each),
            "least": min(each),
            "sum": statistics.median(added),
            "least_sum": min(added),
            "bytes": flat.exchanged.nbytes,
        }
        if group.rank == 0:
            print(json.dumps(found))


def shared_step(group: Any, batch: int, pixels: int, hidden: int, latent: int) -> tuple[Any, Any]:
    """A step of the training loop, with a share of the batch that is there already."""
    import tinyvae as tv
    from tinyvae.data.dataset import Split
    from tinyvae.training import Settings, Trainer

    images = Split(tv.Noise(0, "pixels").uniform((batch, 1, pixels)))
    model = tv.VAE((1, pixels), latent, (hidden,))
    trainer = Trainer(model, images, None, Settings(batch=batch), group=group)
    x, noise = next(trainer._batches())
    return lambda: trainer.train_step(x, noise), trainer.state.optimiser.flat


def milliseconds(group: Any, act: Callable[[], object], times: int) -> list[float]:
    """What each of some takes, begun by all together."""
    each = []
    for _ in range(times + 3):
        group.gather(None)
        start = time.perf_counter()
        act()
        each.append(1000 * (time.perf_counter() - start))
    return each[3:]  # the first ones set up and warm up


# The benchmark


def started(processes: int, **config: int) -> dict[str, float]:
    """What `measure` prints in so many processes, each with one thread."""
    script = [sys.executable, __file__, "--measure", json.dumps(config)]
    command = [mpiexec(), "-n", str(processes), *script]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def mpiexec() -> str:
    """The one beside Python, where `pip install mpich` puts it, or else the system's."""
    beside = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    if found := beside or shutil.which("mpiexec"):
        return found
    raise SystemExit("there is no mpiexec here: pip install 'tinyvae[mpi]' mpich")


def measured(batches: Sequence[int], rounds: int, steps: int) -> dict[tuple[int, int], list[Any]]:
    """What 1 and 2 processes take for each batch, in turn, round by round."""
    cases = [(batch, n) for batch in batches for n in (1, 2)]
    measures = {
        (batch, n): partial(started, n, batch=batch, steps=steps, **SIZES) for batch, n in cases
    }
    return in_turn(measures, rounds)  # type: ignore[arg-type,return-value]


def rows(found: dict[tuple[int, int], list[Any]]) -> list[Row]:
    """One row a batch and number of processes."""
    made = []
    for (batch, n), each in found.items():
        ms = spread([one["step"] for one in each])
        alone = [one["step"] for one in found[batch, 1]]
        used = spread([a / (n * b["step"]) for a, b in zip(alone, each, strict=True)])
        least = min(one["least"] for one in each)
        added = spread([one["sum"] for one in each])["median"]
        made.append(
            {"batch": batch, "processes": n}
            | {f"step_ms_{name}": value for name, value in ms.items()}
            | {"least_ms": least, "sum_ms": added, "efficiency": used["median"]}
            | {"of_least": min(one["least"] for one in found[batch, 1]) / (n * least)}
        )
    return made


def fit_line(found: dict[tuple[int, int], list[Any]]) -> tuple[float, float]:
    """Milliseconds of a step that no share makes smaller, and those a row, by one process."""
    best = {batch: min(one["least"] for one in found[batch, n]) for batch, n in found if n == 1}
    (few, quick), *_, (many, slow) = sorted(best.items())
    each = (slow - quick) / (many - few)
    return max(0.0, quick - few * each), each


def predicted(n: int, batch: int, ms: tuple[float, float], size: float, link: Any) -> float:
    """Milliseconds of a step by ``n`` processes; see the formula above."""
    (serial, each), (bandwidth, latency, is_shared) = ms, link
    own = bandwidth / n if is_shared else bandwidth
    return serial + each * batch / n + 1000 * 2 * (n - 1) * (size / n / own + latency)


def predictions(found: dict[tuple[int, int], list[Any]]) -> list[Row]:
    """One row a batch and link: the steps of 8 and 64 processes, and where it stops to scale."""
    ms, made = fit_line(found), []
    two = [one for (_, n), each in found.items() if n == 2 for one in each]
    size = two[0]["bytes"]
    memory = 2 * size / min(one["least_sum"] for one in two) * 1000  # of both together
    for batch in sorted({batch for batch, _ in found}):
        for name, (bandwidth, latency) in LINKS.items():
            link = bandwidth or memory, latency, bandwidth is None
            step = partial(predicted, batch=batch, ms=ms, size=size, link=link)
            used = {n: step(1) / (n * step(n)) for n in range(1, MOST + 1)}
            made.append(
                {"batch": batch, "link": name, "GB/s": link[0] / 1e9}
                | {f"step_ms_{n}": step(n) for n in (1, 2, 8, 64)}
                | {f"efficiency_{n}": used[n] for n in (2, 8, 64)}
                | {"last": max(n for n in used if used[n] >= 0.5)}
            )
    return made


def main() -> None:
    """Measure 1 and 2 processes, and predict the rest."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--batches", type=int, nargs="+", default=[128, 1024])
    options.add_argument("--steps", type=int, default=50, help="of a measurement")
    chosen = options.parse_args()
    if len(set(chosen.batches)) < 2:
        options.error("two batches at least, since one does not tell what the serial part takes")
    found = measured(chosen.batches, chosen.rounds, chosen.steps)
    report("parallel", chosen, rows=rows(found), predictions=predictions(found), floors=[])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(**json.loads(sys.argv[2]))
    else:
        main()
