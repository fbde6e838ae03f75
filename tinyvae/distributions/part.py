"""How a part of a model is called: by a name, with a number behind it where it takes one."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tinyvae.errors import OptionError

MOST = 100_000  # components, maps or levels: more are a slip, and would fill the memory


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
    name, numbers = called(kind, str(asked), known, ", and a class of your own")
    if numbers and not _takes_number(known[name], len(sizes)):
        raise no_number(kind, asked)
    try:
        return known[name](*sizes, *numbers)
    except OptionError as error:
        raise OptionError(f"the {kind} {asked!r}: {error}") from None


def called(
    kind: str, asked: str, known: Collection[str], besides: str = ""
) -> tuple[str, list[float]]:
    """A name of ``known``, and the number behind its colon, if there is one.

    ``besides`` says what else may be asked for.

    Raises
    ------
    OptionError
        No such name, or no number behind the colon.

    Examples
    --------
    >>> called("prior", "mixture:10", ["normal", "mixture"])
    ('mixture', [10.0])
    """
    name, colon, number = asked.partition(":")
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        there = ", ".join(known) + besides
        raise OptionError(f"no {kind} is called {asked!r}; {guess}there are {there}")
    try:
        return name, [float(number)] if colon else []
    except ValueError:
        raise OptionError(
            f"the {kind} {asked!r}: a number stands behind the colon, as in 'mixture:10', not "
            f"{number!r}"
        ) from None


def no_number(kind: str, asked: str) -> OptionError:
    """What is said of a name with a number that it does not take."""
    number = asked[asked.index(":") :]
    return OptionError(f"the {kind} {asked!r} takes no number: leave out {number!r}")


def _takes_number(make: Callable[..., Any], sizes: int) -> bool:
    """Whether there is room for one more argument than the sizes."""
    try:
        inspect.signature(make).bind(*range(sizes + 1))
    except TypeError:
        return False
    return True


def whole(number: float, least: int = 1) -> int:
    """A number as a count.

    >>> whole(10.0)
    10

    Raises
    ------
    OptionError
        It is none, or too small.
    """
    if not float(number).is_integer() or not least <= number <= MOST:
        raise OptionError(f"a whole number from {least} to {MOST:,}, not {number:g}")
    return int(number)
