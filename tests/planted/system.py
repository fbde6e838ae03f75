"""What a planted error in a whole system is: a loss, an optimiser, an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest import mock


@dataclass(frozen=True)
class PlantedSystem:
    """An error in a system, and what must catch it.

    Attributes
    ----------
    name : str
        What is wrong.
    source : str
        Where such an error has been seen.
    wrong, right : callable
        The system with the error, and without.
    oracle : callable
        Called with a system, it raises AssertionError where that is wrong.
    """

    name: str
    source: str
    wrong: Callable[..., Any]
    right: Callable[..., Any]
    oracle: Callable[[Callable[..., Any]], None]


def where(target: Any, name: str, wrong: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` in a world where ``name`` of ``target`` is ``wrong``."""

    @wraps(function)
    def misled(*inputs: Any, **options: Any) -> Any:
        with mock.patch.object(target, name, wrong):
            return function(*inputs, **options)

    return misled
