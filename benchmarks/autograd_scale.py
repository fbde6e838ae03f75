"""How the backward pass grows with the graph, and how long drawing and checking take.

chain n     y = 1.00001 y, n times over, forward and backward, in us for each op: about the
            same for every n if the pass is linear, and no recursion that overflows. Python's
            garbage collector, which goes through what is alive again and again, is in it:
            up to a factor of 3 is put down to it; a quadratic pass would show one of 100
diamond     y = y + y, 60 levels: 2^60 paths through 60 nodes, in ms
faces       `tinyvae.data.load("faces")`: the images drawn, in s
gradcheck   `tinyvae.evaluation.gradients.check_all()`: every op checked, in s

Each gradient is compared with the one that is known. The rounds are in turn; median,
smallest and largest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from harness import Row, floor, in_turn, parser, ratios, report, run, seconds, spread

LEVELS, FACTOR = 60, 1.00001


def grow(step: Callable[..., object], times: int, expected: float) -> float:
    """Seconds to apply ``step`` so many times to 1, and to go back through all of it."""
    import tinyvae as tv

    x = tv.Tensor(1.0, dtype="float64", requires_grad=True)

    def there_and_back() -> None:
        y = x
        for _ in range(times):
            y = step(y)
        y.backward()

    passed = seconds(there_and_back)
    if abs(float(x.grad) / expected - 1) > 1e-9:
        raise SystemExit(f"the gradient is {x.grad}, and should be {expected}")
    return passed


def chain(length: int) -> float:
    """Microseconds for an op of the chain."""
    return grow(lambda y: y * FACTOR, length, FACTOR**length) / length * 1e6


def diamond() -> float:
    """Milliseconds for all levels."""
    return grow(lambda y: y + y, LEVELS, 2.0**LEVELS) * 1e3


def faces(count: int) -> float:
    """Seconds to draw them."""
    from tinyvae.data import load

    return seconds(lambda: load("faces", count=count))


def gradcheck() -> float:
    """Seconds to check every op."""
    from tinyvae.evaluation.gradients import check_all

    def check() -> None:
        if wrong := [row.name for row in check_all() if not row.passed]:
            raise SystemExit(f"the gradient check fails for {', '.join(wrong)}")

    return seconds(check)


def main() -> None:
    """Round by round, after one that is not counted."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--longest", type=int, default=100_000, help="ops of the longest chain")
    options.add_argument("--faces", type=int, default=20_000, help="faces to draw")
    chosen = options.parse_args()
    lengths = [chosen.longest // 100, chosen.longest // 10, chosen.longest]
    measures = {f"chain {n}, us/op": partial(chain, n) for n in lengths}
    short, *_, long = measures
    measures |= {"diamond, ms": diamond, "gradcheck, s": gradcheck}
    measures[f"{chosen.faces} faces, s"] = partial(faces, chosen.faces)
    diamond()
    found = in_turn(measures, chosen.rounds)
    rows: list[Row] = [{"what": name} | spread(values) for name, values in found.items()]
    floors = [
        floor("us/op, longest chain / shortest", ratios(found[long], found[short]), 3),
        floor("diamond, ms", found["diamond, ms"], 10),
    ]
    report("autograd_scale", chosen, rows=rows, floors=floors)


if __name__ == "__main__":
    run(main)
