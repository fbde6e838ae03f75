"""Who answers in `gradcheck_strength.py`: each in a process of its own, op by op."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from checkers import CHECKERS
from planted.ops.catch import by_gradient_check, by_oracle, raises, showing
from planted.ops.collected import GRADIENTS, planted
from planted.ops.error import Call, Op, Planted, added_up, calls, outcome, same, scaled
from planted.ops.named import named
from planted.ops.pullbacks import wrong_gradients
from planted.systems import PLANTED, PlantedSystem

from tinyvae import Noise, gradcheck
from tinyvae import backend as backends
from tinyvae.autograd import OPS
from tinyvae.checker import GradientReport
from tinyvae.errors import TinyvaeError
from tinyvae.evaluation.cases import CASES

BATCHES = {
    "bernoulli_cross_entropy": [(64, 784)] * 2,
    "gaussian_log_likelihood": [(64, 784)] * 3,
    "kl_standard_normal": [(64, 20)] * 2,
    "kl_gaussian": [(64, 20)] * 4,
}
Answer = Callable[..., Any]
np.seterr(all="ignore")  # wrong ops divide by zero and overflow as they like


def checking(checker: str) -> Answer:
    """For an op and a scale: what a checker makes of each planted error, by its kind."""
    check = CHECKERS[checker]()

    def passes(op: Op, call: Call, scale: float) -> bool:
        return check(call.of(op) if scale == 1 else scaled(call.of(op), scale), call.copies())

    @cache
    def fair(op: str, call: Call, scale: float) -> bool:
        return passes(OPS[op].bare, call, scale)

    def verdict(error: Planted, scale: float) -> str:
        where = [call for call in showing(error) if fair(error.op, call, scale)]
        if any(raises(error, c) or not passes(error.function, c, scale) for c in where):
            return "caught"
        return "missed" if where else "not run"

    def answer(op: str, scale: float) -> list[tuple[str, str]]:
        vanishes = "upstream changed in place"  # by a scale it is multiplied into a new array
        errors = [e for e in planted(op) if scale == 1 or vanishes not in e.name]
        return [(error.kind, verdict(error, scale)) for error in errors]

    return answer


def checking_batches(checker: str) -> Answer:
    """For a loss and a factor of its sum over a batch: what becomes of each wrong gradient."""
    check = CHECKERS[checker]()

    def answer(op: str, scale: float) -> list[tuple[str, str]]:
        rng = np.random.default_rng(0)
        call = Call(tuple(rng.uniform(0.1, 0.9, shape) for shape in BATCHES[op]), {})
        right = added_up(OPS[op].bare, scale)
        if not check(right, call.copies()):
            return []
        wrong = [added_up(e.function, scale) for e in wrong_gradients(op, GRADIENTS[op])]
        differ = (f for f in wrong if not all(map(same, outcome(f, call), outcome(right, call))))
        return [("pullback", "missed" if check(f, call.copies()) else "caught") for f in differ]

    return answer


def catching() -> Answer:
    """For an op: of each planted error its name, its kind, and whether check and oracle see it."""
    return lambda op: [(e.name, e.kind, by_gradient_check(e), by_oracle(e)) for e in planted(op)]


def naming() -> Answer:
    """For an op: of each wrong pullback whether its argument, elements and slip are named."""
    return lambda op: [named(error) for error in planted(op) if error.kind == "pullback"]


def systems() -> Answer:
    """The errors of whole systems: what each is, where it was seen, and the oracle that sees it."""

    def catcher(system: PlantedSystem) -> str:
        try:
            system.oracle(system.wrong)
        except AssertionError:
            return system.oracle.__name__
        return "nothing"

    return lambda: [(s.name, s.source, catcher(s)) for s in PLANTED]


def right_ones() -> Answer:
    """For an op, seeds and scales: how many checks there are, those that do not pass, slopes."""
    kernels = backends.get("numpy").kernels

    def cases(op: str, seed: int, scale: float) -> Iterable[tuple[Any, Sequence[Any]]]:
        noise = Noise(seed, op, backend="numpy")
        for function, *draws in CASES[op]:
            yield lambda *xs, f=function: f(*xs) * scale, [draw(noise) for draw in draws]
        for call in calls(op, seed) if op in kernels else ():
            yield scaled(call.of(OPS[op].bare), scale), call.inputs

    def checked(function: Any, inputs: Sequence[Any], seed: int) -> GradientReport:
        try:
            return gradcheck(function, *inputs, seed=seed)
        except TinyvaeError as error:
            return GradientReport((), (str(error),))

    def answer(op: str, seeds: list[int], scales: list[float]) -> dict[str, Any]:
        made = [
            (f"{op}, seed {seed}, times {scale:g}", checked(function, inputs, seed))
            for seed in range(*seeds)
            for scale in scales
            for function, inputs in cases(op, seed, scale)
        ]
        slopes = [report.taylor.slope for _, report in made if report.taylor]
        return {
            "checks": len(made),
            "alarms": [name for name, report in made if not report],
            "slopes": [slope for slope in slopes if not np.isnan(slope)],  # NaN: it is linear
        }

    return answer
