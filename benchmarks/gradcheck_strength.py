"""How strong the gradient check is: planted errors caught, false alarms, and what it names.

checkers  each of them on the same planted errors, wrong pullbacks and wrong values apart, as
          they are and times 1/(64*784), as a pixel of a mean over a batch. A competitor counts
          where it passes the right op at the same inputs, else "not run". A wrong value whose
          gradient agrees with it no checker can see: that is for the oracles of the value
batches   the same for losses summed, and averaged, over a real batch. The slow mode of PyTorch
          takes their whole Jacobian, minutes for each error, and is left out
rows      op by op: how many errors are planted, and how many the check and the oracles catch
missed    those that nothing catches; without any there is no such table
systems   errors of whole systems, which no gradient check sees, and the oracle that does
named     the share of wrong pullbacks whose argument, elements and usual slip the report names
right     right ops at many seeds, their values times 1e-8, 1 and 1e8: how many do not pass; and
          the order test of those that are smooth and not linear, whose slope is to be 2
alarms    those that do not pass; without any there is no such table

The errors are those of `tests/planted/ops`, thought of by people or made from the source.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from harness import FOLDER, Contestant, Row, floor, parser, report, run, seconds, spread

sys.path.insert(0, str(FOLDER.parent / "tests"))
CHECKERS = {"tinyvae": "tinyvae", "torch, slow": "torch", "torch, fast": "torch", "jax": "jax"}
AT_HAND = [name for name, package in CHECKERS.items() if find_spec(package)]
PIXEL = 1 / (64 * 784)
TIMES = {"1": 1.0, "1/(64*784)": PIXEL}
SCALES = (1e-8, 1.0, 1e8)
WRONG = {"pullback": "pullback", "forward": "value"}
PROCESSES = 2
BATCHED = (
    "bernoulli_cross_entropy",
    "gaussian_log_likelihood",
    "kl_standard_normal",
    "kl_gaussian",
)
STRETCH = 50  # seeds in one question
TO_BE_NAMED = ("argument", "element", "usual slip")
Found = list[tuple[str, str]]


def player(name: str) -> Callable[..., Any]:
    """A contestant, imported where it plays."""

    def play(**config: Any) -> Any:
        import strength_contestants

        return getattr(strength_contestants, name)(**config)

    return play


NAMES = ("checking", "checking_batches", "catching", "naming", "right_ones", "systems")
CONTESTANTS = {name: player(name) for name in NAMES}


def answers(name: str, questions: Sequence[Row], **config: Any) -> list[Any]:
    """Answers in the order of the questions, by processes side by side."""
    with ExitStack() as stack, ThreadPoolExecutor(PROCESSES) as pool:
        players = [stack.enter_context(Contestant(name, **config)) for _ in range(PROCESSES)]
        shares = [questions[k::PROCESSES] for k in range(PROCESSES)]
        made = list(pool.map(lambda play, own: [play(**q) for q in own], players, shares))
    return [made[k % PROCESSES][k // PROCESSES] for k in range(len(questions))]


# The tables


def contestants() -> list[Row]:
    """The checkers and the versions they are of."""
    return [
        {"checker": name, "version": metadata.version(p) if find_spec(p) else "not installed"}
        for name, p in CHECKERS.items()
    ]


def compared(contestant: str, names: list[str], ops: list[str]) -> list[Row]:
    """How many errors every checker catches, at both scales, by their kind."""
    asked = [(label, {"op": op, "scale": scale}) for label, scale in TIMES.items() for op in ops]
    rows: list[Row] = []
    for name in names if ops else []:
        made: list[Found] = answers(contestant, [question for _, question in asked], checker=name)
        pairs = zip(asked, made, strict=True)
        counts = Counter((label, *error) for (label, _), found in pairs for error in found)
        for label, kind in dict.fromkeys((label, kind) for label, kind, _ in counts):
            verdicts = {v: counts[label, kind, v] for v in ("caught", "missed", "not run")}
            planted = {"planted": sum(verdicts.values())}
            first = {"checker": name, "wrong": WRONG[kind], "times": label}
            rows.append(first | planted | verdicts)
    return rows


def by_op(ops: list[str]) -> tuple[list[Row], list[Row]]:
    """What catches the errors of each op; and those that nothing catches."""
    rows, missed = [], []
    for op, found in zip(ops, answers("catching", [{"op": op} for op in ops]), strict=True):
        kinds = Counter(kind for _, kind, *_ in found)
        check = Counter(by for *_, by, _ in found)
        unseen = [name for name, _, *by in found if by == ["missed", "missed"]]
        planted = {"pullbacks": kinds["pullback"], "values": kinds["forward"]}
        caught = {"check": check["gradient check"], "error": check["error"]}
        rows.append({"op": op} | planted | caught | {"oracle alone": check["missed"] - len(unseen)})
        missed += [{"missed": name} for name in unseen]
    return rows, missed


def system_rows() -> tuple[list[Row], list[Row]]:
    """What catches each error of a system; and those that nothing catches."""
    found = answers("systems", [{}])[0]
    rows = [{"system": name, "seen in": source, "caught by": by} for name, source, by in found]
    return rows, [{"missed": row["system"]} for row in rows if row["caught by"] == "nothing"]


def shares(ops: list[str]) -> list[Row]:
    """Of all there are to be named, how many are."""
    found = [named for part in answers("naming", [{"op": op} for op in ops]) for named in part]
    told = {what: [n[what] for n in found if what in n] for what in TO_BE_NAMED}
    return [{"named": what, "of": len(are), "right": sum(are)} for what, are in told.items()]


def right_ops(ops: list[str], seeds: int) -> tuple[list[Row], list[Row]]:
    """How many right ones there are by op, with their slopes; and the false alarms."""
    spans = [[k, min(k + STRETCH, seeds)] for k in range(0, seeds, STRETCH)]
    questions = [{"op": op, "seeds": span, "scales": SCALES} for op in ops for span in spans]
    made = answers("right_ones", questions)
    rows, alarms = [], []
    for k, op in enumerate(ops):
        own = made[k * len(spans) : (k + 1) * len(spans)]
        slopes = [slope for answer in own for slope in answer["slopes"]]
        named = [alarm for answer in own for alarm in answer["alarms"]]
        checks = {"checks": sum(answer["checks"] for answer in own), "alarms": len(named)}
        found = spread(slopes) if slopes else dict.fromkeys(("median", "low", "high"), "linear")
        rows.append({"op": op} | checks | {f"slope, {key}": s for key, s in found.items()})
        alarms += [{"false alarm": name} for name in named]
    return rows, alarms


def promises(
    missed: list[Row], named: list[Row], alarms: list[Row], right: list[Row], check: float
) -> list[Row]:
    """What is promised of all these."""
    share = {row["named"]: row["right"] / row["of"] for row in named}
    slopes = [row["slope, median"] for row in right if row["slope, median"] != "linear"]
    furthest = max((abs(slope - 2) for slope in slopes), default=0.0)
    return [
        floor("planted errors that nothing catches", [len(missed)], 0),
        *(floor(f"{what} named", [share[what]], 1, 0.95) for what in ("argument", "element")),
        floor("usual slip named", [share["usual slip"]], 1, 0.85),
        floor("false alarms", [len(alarms)], 0),
        floor("Taylor slope of an op, furthest from 2", [furthest], 0.1),
        floor("check_all, s", [check], 15),
    ]


def main() -> None:
    """Planted errors first; right ops last, which take longest."""
    from tinyvae.autograd import OPS
    from tinyvae.evaluation.gradients import check_all

    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=1000, help="for each right op")
    options.add_argument("--ops", nargs="+", choices=OPS, default=list(OPS), help="only these")
    chosen = options.parse_args()
    batched = [op for op in BATCHED if op in chosen.ops]
    swift = [name for name in AT_HAND if name != "torch, slow"]
    rows, missed_ops = by_op(chosen.ops)
    systems, missed_systems = system_rows()
    missed = missed_ops + missed_systems
    named = shares(chosen.ops)
    right, alarms = right_ops(chosen.ops, chosen.seeds)
    report(
        "gradcheck_strength",
        chosen,
        contestants=contestants(),
        checkers=compared("checking", AT_HAND, chosen.ops),
        batches=compared("checking_batches", swift, batched),
        rows=rows,
        systems=systems,
        missed=missed,
        named=named,
        right=right,
        alarms=alarms,
        floors=promises(missed, named, alarms, right, seconds(check_all)),
    )


if __name__ == "__main__":
    run(main, CONTESTANTS)
