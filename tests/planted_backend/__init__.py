"""Code that is right on NumPy and wrong on a GPU, beside the same code without the error."""

from planted_backend import numbers, ops, reports, rules, steps
from planted_backend.planting import Planted, verdict

PLANTED: tuple[Planted, ...] = (
    *ops.ERRORS,
    *numbers.ERRORS,
    *rules.ERRORS,
    *steps.ERRORS,
    *reports.ERRORS,
)

__all__ = ["PLANTED", "Planted", "verdict"]
