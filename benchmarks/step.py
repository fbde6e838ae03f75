"""One training step of a dense VAE: tinyvae, PyTorch, JAX, and the bare matrix products.

A step is noise, forward, backward and Adam, in float32, on a batch that stays. Before any is
timed, all get the same weights and noise in float64, and must agree in loss, gradients and
in how the weights move to 1e-6. Then each contestant, in a process of its own, warms up and
times a block of steps whenever its turn comes.

tinyvae         the step of `tinyvae.fit`; for IWAE `log_weights`, `Replay` and `Adam`
tinyvae_numba   the same with ``--kernels numba``
torch           PyTorch, eager, with `torch.optim.Adam` as it comes
torch_fused     the same with ``fused=True``, its quickest Adam on a CPU
torch_compiled  the whole step in one function of `torch.compile`, called from C++
jax             the whole step in one function of `jax.jit`, its memory donated
products        the matrix products of the step in NumPy, into arrays that are there already:
                what no NumPy code can beat

ms              per step: median of the rounds, smallest and largest
ratio           of tinyvae's time to this contestant's, round by round: below 1 tinyvae is quicker
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from typing import Any

from agreement import compare, refuse
from cases import Case, Maker
from harness import (
    Contestant,
    Row,
    floor,
    in_turn,
    parser,
    ratios,
    report,
    run,
    seconds_each,
    spread,
)

CASES = {
    "784-400-20, batch 128": Case(784, (400,), 20, 128),
    "784-400-20, batch 1024": Case(784, (400,), 20, 1024),
    "784-500-500-50, batch 128": Case(784, (500, 500), 50, 128),
    "3072-400-32, batch 128": Case(3072, (400,), 32, 128),
    "64-32-2, batch 32": Case(64, (32,), 2, 32),
    "IWAE k 50, 784-200-200-50, batch 20": Case(784, (200, 200), 50, 20, k=50),
}
FLOORS = {
    ("784-400-20, batch 128", "products"): 1.7,
    ("784-400-20, batch 128", "torch"): 0.7,
    ("784-400-20, batch 128", "torch_compiled"): 0.95,
    ("784-400-20, batch 128", "jax"): 1.1,
    ("64-32-2, batch 32", "torch"): 0.3,
    ("64-32-2, batch 32", "jax"): 0.8,
    ("IWAE k 50, 784-200-200-50, batch 20", "torch"): 0.9,
}
CHUNK = 0.01  # seconds of steps between two looks at the clock


# The contestants


def load(module: str, name: str) -> Maker:
    """Imported in the process that plays it alone."""
    return getattr(importlib.import_module(module), name)


def load_fused() -> Maker:
    """Eager PyTorch with another Adam."""
    return partial(load("torch_vae", "TorchStep"), fused=True)


LOADS: dict[str, Callable[[], Maker]] = {"tinyvae": partial(load, "tinyvae_vae", "TinyvaeStep")}
if find_spec("numba"):
    LOADS["tinyvae_numba"] = partial(load, "tinyvae_vae", "NumbaStep")
if find_spec("torch"):
    LOADS |= {"torch": partial(load, "torch_vae", "TorchStep"), "torch_fused": load_fused}
    LOADS["torch_compiled"] = partial(load, "torch_vae", "CompiledStep")
if find_spec("jax"):
    LOADS["jax"] = partial(load, "jax_vae", "JaxStep")
LOADS["products"] = partial(load, "products", "Products")


def as_case(case: Mapping[str, Any]) -> Case:
    """Back from JSON, which knows no tuples."""
    return Case(**{**case, "hidden": tuple(case["hidden"])})


def play(name: str, lasting: float, seed: int, **case: Any) -> Callable[[], float]:
    """Warmed up, and ready to time a block of steps: milliseconds a step."""
    sizes = as_case(case)
    weights, x, _ = sizes.draw(seed)
    step = LOADS[name]()(sizes, weights, x, "float32")

    def chunk(steps: int = 1) -> None:
        for _ in range(steps):
            step()
        step.wait()

    chunk()
    steps = max(1, int(CHUNK / seconds_each(chunk, lasting)))

    def block() -> float:
        seconds_each(chunk, lasting / 10)  # the last one's threads may still spin
        return 1000 * seconds_each(partial(chunk, steps), lasting) / steps

    return block


def play_check(names: Sequence[str], seed: int, dtype: str, **case: Any) -> Callable[[], list[Row]]:
    """All but the products, which have no loss."""
    rows = compare({name: LOADS[name] for name in names}, as_case(case), seed, dtype)
    return lambda: rows


CONTESTANTS = {name: partial(play, name) for name in LOADS} | {"check": play_check}


# The benchmark


def check(name: str, case: Case, names: Sequence[str], seed: int) -> list[Row]:
    """How far apart they are, or the end of it."""
    playing = [contestant for contestant in names if contestant != "products"]
    found: list[Row] = []
    for dtype in ("float64", "float32"):
        config = {"names": playing, "seed": seed, "dtype": dtype} | asdict(case)
        with Contestant("check", **config) as contestant:
            found += contestant()
    refuse(found)
    return [{"case": name} | row for row in found]


def race(
    case: Case, names: Sequence[str], lasting: float, rounds: int, seed: int
) -> dict[str, list[float]]:
    """Milliseconds a step of every contestant, round by round."""
    config = asdict(case) | {"lasting": lasting, "seed": seed}
    with ExitStack() as stack:
        ready = {name: stack.enter_context(Contestant(name, **config)) for name in names}
        return in_turn(ready, rounds)


def rows(about: Row, times: Mapping[str, Sequence[float]]) -> list[Row]:
    """One row a contestant."""
    made = []
    for contestant, each in times.items():
        ms = {f"ms_{key}": value for key, value in spread(each).items()}
        ratio = {f"ratio_{k}": value for k, value in spread(ratios(times["tinyvae"], each)).items()}
        made.append(about | {"contestant": contestant} | ms | ratio)
    return made


def promises(case: str, times: Mapping[str, Sequence[float]]) -> list[Row]:
    """Of the default install; and the same ratios with Numba's kernels."""
    ours = [name for name in times if name.startswith("tinyvae")]
    return [
        floor(f"{case}, {mine} / {other}", ratios(times[mine], each), FLOORS[case, other])
        for mine in ours
        for other, each in times.items()
        if (case, other) in FLOORS
    ]


def main() -> None:
    """Check every case, and race it."""
    options = parser(__doc__, rounds=21)
    options.add_argument("--lasting", type=float, default=0.25, help="seconds that a block takes")
    options.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options.add_argument("--contestants", nargs="+", choices=LOADS, default=list(LOADS))
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    names = [name for name in LOADS if name in {"tinyvae", *chosen.contestants}]
    checks, found, floors = [], [], []
    for name in chosen.cases:
        print(name, file=sys.stderr)
        checks += check(name, CASES[name], names, chosen.seed)
        times = race(CASES[name], names, chosen.lasting, chosen.rounds, chosen.seed)
        found += rows({"case": name}, times)
        floors += promises(name, times)
    report("step", chosen, checks=checks, rows=found, floors=floors)


if __name__ == "__main__":
    run(main, CONTESTANTS)
