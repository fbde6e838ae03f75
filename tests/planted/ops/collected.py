"""All planted errors: by hand and from the source, less those that are no errors."""

from __future__ import annotations

from functools import cache

from planted.ops import mechanical
from planted.ops.equivalent import EQUIVALENT
from planted.ops.error import Planted
from planted.ops.forwards import wrong_forwards
from planted.ops.of_arrays import REDUCTIONS, SHAPES
from planted.ops.of_densities import DENSITIES
from planted.ops.of_derivations import DERIVATIONS
from planted.ops.of_numbers import ARITHMETIC, ONE_NUMBER
from planted.ops.of_whole_arrays import WHOLE_ARRAYS
from planted.ops.pullbacks import wrong_gradients
from planted.ops.slips import wrong_pullbacks

GRADIENTS = ARITHMETIC | ONE_NUMBER | REDUCTIONS | SHAPES
GRADIENTS |= DERIVATIONS | DENSITIES | WHOLE_ARRAYS


def by_hand(op: str) -> list[Planted]:
    """The usual slips, and those of this op."""
    entries = GRADIENTS.get(op, [])
    return [*wrong_pullbacks(op), *wrong_gradients(op, entries), *wrong_forwards(op)]


@cache
def planted(op: str) -> list[Planted]:
    """Every planted error of an op."""
    made = mechanical.planted(op)
    return by_hand(op) + [error for error in made if error.name not in EQUIVALENT]
