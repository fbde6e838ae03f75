"""What every op's value must be, by the definition: ``ORACLES``, by the op's name.

An oracle calls a forward with host arrays, options by keyword, and raises AssertionError where a
value is wrong. Nothing in here knows the package's formulas: numbers come from mpmath in 50
digits, divergences from quadrature, arrays from loops over indices.
"""

from __future__ import annotations

from oracles.arrays import ARRAYS
from oracles.densities import DENSITIES
from oracles.distributions import DISTRIBUTIONS
from oracles.elementwise import ELEMENTWISE
from oracles.measure import Exact, Forward, Oracle
from oracles.reductions import ALONG_AN_AXIS
from oracles.whole_arrays import ARRAYS_OF_DENSITIES

ORACLES: dict[str, tuple[Oracle, ...]] = (
    ELEMENTWISE | ALONG_AN_AXIS | ARRAYS | DISTRIBUTIONS | DENSITIES | ARRAYS_OF_DENSITIES
)

__all__ = ["ORACLES", "Exact", "Forward", "Oracle"]
