"""A training step on a GPU: tinyvae, PyTorch and JAX, each at its best there, in one run.

First all must agree from the same weights and noise, in float64 to 1e-6 and in float32 to 1e-3:
loss, gradients, and how the weights move. Then they are timed, each in a process of its own, in
turn. A time is taken by the clock on the wall, from the first of many steps until the device has
done the last. Noise is drawn in every step, as the library does it.

tinyvae           every step through the tape anew
tinyvae_replayed  the loop of `tinyvae.fit`, which draws order, batch and noise as well, in
                  epochs of 60,000 images and at least 32 steps; for IWAE `tv.Replay`
torch             PyTorch, eager, with fused Adam
torch_compiled    the whole step in one function of `torch.compile`, ``mode="reduce-overhead"``,
                  which makes it one CUDA graph
jax               the whole step in one function of `jax.jit`, its memory donated; it is called
                  for each step, as the others are: an epoch in one `lax.scan` is not compared

rate       a large product at each precision, and a large block of normals, timed
steps      784-400-20 over the size of the batch
mnist      ten epochs at batch 128, seeds 0, 1, 2: seconds, test -ELBO; waits of the host
precision  batch 4096 in float32, TF32 and bfloat16
iwae       784-200-200-50 with k = 50, batch 20
widths     784-h-20, batch 128, over h
memory     of a process that has trained at batch 4096 and nothing before

ms         per step: median of the rounds, smallest and largest
ratio      of tinyvae_replayed's time to this contestant's, round by round: below 1 it is quicker
share      of the quickest product's rate at that precision, to which the step's products come
run        the first fit of a process also compiles what has to be compiled
gpu_mb     what the GPU says that is in use, less what was before the process; its context too
library_mb the most that the library's own pool held, by its own count

``--device cpu`` goes through the same at small sizes, to see that it runs where there is no GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from agreement import TOLERANCE, refuse
from gpu_parts import PARTS, SIZES, Bench, Crew
from gpu_play import LIBRARIES, play_compare, player
from gpu_report import draw, floors
from harness import Contestant, Row, parser, run

OF = {"gpu_tinyvae": "numpy", "gpu_torch": "torch", "gpu_jax": "jax"}
HERE = [name for name, module in LIBRARIES.items() if find_spec(OF[module])]
OURS = {"tinyvae", "tinyvae_replayed"}


def on_device(crew: Crew, device: str) -> list[Row]:
    """What each contestant runs on; the end, if it is not tinyvae's."""
    found = crew.ask(crew.names, "about")
    for name in set(crew.names) - set(found):
        crew.leave_out(name)
    if "tinyvae" not in found:
        raise SystemExit(
            f"tinyvae finds no {device} here: {crew.failures[0]['failed']}\nWith `--device cpu` "
            "the same program goes through small sizes on the CPU: that shows that it runs, and "
            "says nothing of a GPU."
        )
    return [{"contestant": name} | about for name, about in found.items()]


def checks(names: Sequence[str], options: argparse.Namespace) -> list[Row]:
    """How far apart they are in a step, and in one of IWAE; or the end of it."""
    players = {
        f"{name}, {dtype}": (name, {"device": options.device, "dtype": dtype})
        for name in names
        for dtype in TOLERANCE
    }
    found: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        crew, paths = Crew(stack, players), {each: {"path": str(folder / each)} for each in players}
        for case in (SIZES[options.device].base, SIZES[options.device].iwae):
            print(f"agreement, {case}", file=sys.stderr)
            crew.ask(crew.names, "agree", paths, case=asdict(case), seed=options.seed)
            if crew.failures:
                raise SystemExit(f"no agreement without an answer: {crew.failures}")
            for dtype in TOLERANCE:
                config = {"folder": str(folder), "names": names, "dtype": dtype}
                rows = stack.enter_context(Contestant("compare", **config))()
                refuse(rows)
                found += [{"k": case.k} | row for row in rows]
    return found


def asked() -> argparse.Namespace:
    """The command line."""
    options = parser(__doc__, rounds=7)
    options.add_argument("--device", choices=SIZES, default="gpu")
    options.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts")
    options.add_argument("--contestants", nargs="+", choices=HERE, default=HERE)
    options.add_argument("--lasting", type=float, default=0.1, help="seconds that a block takes")
    options.add_argument("--seed", type=int, default=0)
    return options.parse_args()


def main() -> None:
    """Check, then go part by part; what is done is written after each case."""
    chosen = asked()
    names = [name for name in HERE if name in {*OURS, *chosen.contestants}]
    with ExitStack() as stack:
        crew = Crew(stack, {name: (name, {"device": chosen.device}) for name in names})
        bench = Bench(chosen, crew, SIZES[chosen.device])
        bench.show("devices", on_device(crew, chosen.device))
        bench.show("checks", checks(crew.names, chosen))
        for part in (name for name in PARTS if name in chosen.only):
            print(part, file=sys.stderr)
            PARTS[part](bench)
        missed = crew.one("torch_compiled", "graphs_missed")
        bench.show("graphs", [] if missed is None else [{"compiled without a graph": missed}])
        bench.show("failures", crew.failures)
        bench.show("floors", floors(bench) if chosen.device == "gpu" else [])
        path = bench.save()
        device = bench.tables["devices"][0]["device"]
        draw(bench.tables["rows"], device, path.with_suffix(".png"))


CONTESTANTS = {name: player(name) for name in LIBRARIES} | {"compare": play_compare}

if __name__ == "__main__":
    run(main, CONTESTANTS)
