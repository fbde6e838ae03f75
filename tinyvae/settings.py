"""How to train, and what is told of it while it goes on."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, TypeAlias, get_type_hints

from tinyvae.data.dataset import BINARISE, Binarise
from tinyvae.errors import OptionError
from tinyvae.objectives import OBJECTIVES

NOISE = ("host", "device")
SCHEDULES = ("constant", "threefold")
MOST = 10**9  # epochs, or images in a batch
Row: TypeAlias = dict[str, Any]
"""What is logged of an epoch; see `tinyvae.training.fit`."""


@dataclass(frozen=True)
class Settings:
    """How to train; the parameters of `fit`."""

    epochs: int = 10
    batch: int = 128
    learning_rate: float = 1e-3
    beta: float = 1.0
    warm_up: int = 0
    free_bits: float = 0.0
    patience: int = 0
    clip: float = 0.0
    binarise: Binarise = "none"
    seed: int = 0
    noise: str = "host"
    schedule: str = "constant"
    objective: str = "elbo"
    samples: int = 1

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Settings).items():
            if kind in (int, float):
                object.__setattr__(self, name, _number(name, kind, getattr(self, name)))
        for name in ("epochs", "batch", "samples"):
            if not 1 <= getattr(self, name) <= MOST:
                raise OptionError(f"{name} is a number from 1 up, not {getattr(self, name)}")
        for name in ("beta", "warm_up", "free_bits", "patience", "clip", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"{name} is a number from 0 up, not {getattr(self, name)}")
        if self.binarise not in BINARISE:
            raise OptionError(f"binarise is one of {BINARISE}, not {self.binarise!r}")
        if self.noise not in NOISE:
            raise OptionError(f"noise is drawn on one of {NOISE}, not on {self.noise!r}")
        if self.objective not in OBJECTIVES:
            raise OptionError(
                f"no objective is called {self.objective!r}; there are {', '.join(OBJECTIVES)}"
            )
        if self.schedule not in SCHEDULES:
            raise OptionError(f"schedule is one of {SCHEDULES}, not {self.schedule!r}")


def _number(name: str, kind: type, value: Any) -> Any:
    """``value`` as a plain number that JSON can hold; NumPy's numbers are welcome."""
    try:
        return operator.index(value) if kind is int else float(value)
    except TypeError:
        wanted = "a whole number" if kind is int else "a number"
        raise OptionError(f"{name} is {wanted}, not {value!r}") from None


@dataclass(frozen=True)
class Progress:
    """Where a run stands: told to every callback after each step and after each epoch.

    Attributes
    ----------
    epoch, step : int
        Of ``settings.epochs`` and ``steps``, counted from 1.
    row : dict or None
        The log of the epoch, once it is complete.
    """

    settings: Settings
    epoch: int
    step: int
    steps: int
    row: Row | None = None
