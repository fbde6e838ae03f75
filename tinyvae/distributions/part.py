"""How a part of a model is called: by a name, with a number behind it where it takes one."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tinyvae.errors import OptionError


def made(kind: str, asked: Any, known: Mapping[str, Callable[..., Any]], *sizes: Any) -> Any:
    """The part that is asked for, made for these sizes.

    Parameters
    ----------
    kind : str
        What it is, for the message: ``"prior"``.
    asked : str or callable
        A name of ``known``, such as ``"normal"``, with a number behind a colon where the part
        takes one, such as ``"mixture:10"``; or what makes the part from the sizes.
    known : mapping
        The parts by their names.

    Raises
    ------
    OptionError
        No such name, or a number that it does not take.

    Examples
    --------
    >>> made("number", "twice:4", {"twice": lambda size, n=1.0: 2 * n + size}, 1)
    9.0
    """
    if callable(asked):
        return asked(*sizes)
    name, _, number = str(asked).partition(":")
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        raise OptionError(
            f"no {kind} is called {asked!r}; {guess}there are {', '.join(known)}, and a class of "
            "your own"
        )
    try:
        return known[name](*sizes, *_numbers(known[name], len(sizes), name, number))
    except (TypeError, ValueError) as error:
        raise OptionError(f"the {kind} {asked!r}: {error}") from None


def _numbers(make: Callable[..., Any], sizes: int, name: str, number: str) -> list[float]:
    """What stands behind the colon: one number, or none."""
    if not number:
        return []
    if len(inspect.signature(make).parameters) <= sizes:
        raise OptionError(f"{name} takes no number: leave out ':{number}'")
    try:
        return [float(number)]
    except ValueError:
        raise OptionError(
            f"{number!r} is no number; one stands behind the colon, as in '{name}:10'"
        ) from None


def whole(number: float, least: int = 1) -> int:
    """A number as a count.

    >>> whole(10.0)
    10

    Raises
    ------
    OptionError
        It is none, or too small.
    """
    if not float(number).is_integer() or number < least:
        raise OptionError(f"a whole number from {least} up, not {number:g}")
    return int(number)
