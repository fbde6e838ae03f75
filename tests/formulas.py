"""The formulas of a docstring, read as a person reads them, as expressions of SymPy.

A space multiplies, from left to right: ``x/2 (1 + t)`` is half of x times (1 + t). ``log v`` is
a logarithm, ``e^-|l|`` a power, ``1 for x > 0, else 0`` a choice of cases, ``B^T`` a transpose
and ``dy/dx`` a name. Behind a formula a comma or a full stop begins words again.
"""

from __future__ import annotations

import inspect
import itertools
import re
from typing import Any, NamedTuple, TypeAlias

import sympy as sp

Names: TypeAlias = dict[str, Any]
Tokens: TypeAlias = list[str]  # the last one is the next

KNOWN: Names = {"e": sp.E, "pi": sp.pi}
FUNCTIONS: Names = {"log": sp.log, "exp": sp.exp, "sqrt": sp.sqrt, "tanh": sp.tanh}
FUNCTIONS |= {"max": sp.Max, "min": sp.Min, "abs": sp.Abs, "sign": sp.sign}
RELATIONS: Names = {">": sp.Gt, "<": sp.Lt, ">=": sp.Ge, "<=": sp.Le, "=": sp.Eq}

SLOPE = r"d\w+/d(?:log )?\w+"
TOKEN = re.compile(rf"\s*({SLOPE}|\d+(?:\.\d+)?|[^\W\d]\w*[(\[]?|[><]=|[-+*/^()\],=><]|\S)")
A_SIDE = rf"(?:{SLOPE}|\w+)"  # what a formula in a sentence begins with


class Formula(NamedTuple):
    """Sides that are said to be equal, and at least ``bound``; and the text that says so."""

    sides: tuple[Any, ...]
    bound: Any
    text: str


# From a docstring to the texts of its formulas


def formulas(doc: str, names: Names) -> list[Formula]:
    """The formulas of a docstring's sentences, and those set off in lines of their own.

    Where there are notes, these hold the theory, and of the sentences only the first is read.
    """
    summary, _, rest = inspect.cleandoc(doc).partition("\n")
    theory = (rest.partition("Notes\n-----\n")[2] or rest).partition("Examples\n----")[0]
    lines = theory.splitlines()
    words = [summary] if "Notes\n-----\n" in rest else [summary, *filter(is_prose, lines)]
    set_off = [line for line in lines if line and not is_prose(line)]
    texts = [*in_sentences(" ".join(words)), *in_lines(set_off)]
    return [formula(text, names) for text in texts]


def is_prose(line: str) -> bool:
    return not line.startswith("    ")


def in_lines(lines: list[str]) -> list[str]:
    """Columns three spaces apart; a line that begins with an equals sign goes on with the last."""
    texts: list[str] = []
    beside: list[str] = []
    for line in lines:
        first, *others = re.split(r" {3,}", line.strip())
        if first.startswith("="):
            texts[-1] += " " + first
        else:
            texts.append(first)
        beside += others
    return [re.sub("^(where|since) ", "", text) for text in texts + beside]


def in_sentences(words: str) -> list[str]:
    """From each ``name =`` to the next one, but for those of a case and of a chain's middle."""
    starts = [m.start() for m in re.finditer(rf"(?<!for )(?<!= )(?<!\S){A_SIDE} = ", words)]
    return [words[a:b] for a, b in itertools.pairwise([*starts, len(words)])]


# From a text to sides


def formula(text: str, names: Names) -> Formula:
    """The sides of one formula, up to the words that follow it."""
    text = re.sub(r"\|([^|]+)\|", r"abs(\1)", text)
    found = list(TOKEN.finditer(text))
    tokens = [".", *(token[1] for token in reversed(found))]
    names = KNOWN | names
    sides = [cases(tokens, names)]
    while take(tokens, "="):
        sides.append(cases(tokens, names))
    bound = total(tokens, names) if take(tokens, ">=") else None
    if tokens[-1] not in (",", ".", ";", ":"):
        raise ValueError(f"no formula can be read at {' '.join(tokens[::-1])!r}")
    return Formula(tuple(sides), bound, text[: found[-len(tokens)].end()])


def take(tokens: Tokens, *wanted: str) -> bool:
    """Whether the next token is one of these, which is then gone."""
    return tokens[-1] in wanted and bool(tokens.pop())


def cases(tokens: Tokens, names: Names) -> Any:
    """``1 for x > 0, else 0``, or what is so in every case."""
    value, branches = total(tokens, names), []
    while take(tokens, "for"):
        left, relation = total(tokens, names), RELATIONS[tokens.pop()]
        branches.append((value, relation, left, total(tokens, names)))
        tokens.pop()  # the comma
        take(tokens, "else")
        value = total(tokens, names)
    return chosen(branches, value)


def chosen(branches: list[tuple[Any, Any, Any, Any]], otherwise: Any) -> Any:
    """The first value whose relation holds, of matrices element by element."""
    if any(isinstance(left, sp.MatrixBase) for _, _, left, _ in branches):
        ((value, relation, left, right),) = branches
        pick = lambda i, j: sp.Piecewise(  # noqa: E731
            (value[i, j], relation(left[i, j], right)), (otherwise, True)
        )
        return sp.Matrix(*left.shape, pick)
    cases = [(value, relation(left, right)) for value, relation, left, right in branches]
    return sp.Piecewise(*cases, (otherwise, True)) if cases else otherwise


def total(tokens: Tokens, names: Names) -> Any:
    value = product(tokens, names)
    while tokens[-1] in ("+", "-"):
        sign = 1 if tokens.pop() == "+" else -1
        value = value + sign * product(tokens, names)
    return value


def product(tokens: Tokens, names: Names) -> Any:
    if take(tokens, "-"):
        return -product(tokens, names)
    value = power(tokens, names)
    while re.match(r"[\w/(]", tokens[-1]) and tokens[-1] not in ("for", "else"):
        value = value / power(tokens, names) if take(tokens, "/") else value * power(tokens, names)
    return value


def power(tokens: Tokens, names: Names) -> Any:
    base = atom(tokens, names)
    if not take(tokens, "^"):
        return base
    if take(tokens, "T"):
        return base.T
    return base ** (-power(tokens, names) if take(tokens, "-") else power(tokens, names))


def atom(tokens: Tokens, names: Names) -> Any:
    token = tokens.pop()
    if token == "(":
        return inside(tokens, names)[0]
    if token[-1] in "([":
        return called(token[:-1], inside(tokens, names))
    if token in FUNCTIONS:  # log v
        return called(token, [power(tokens, names)])
    if re.match(r"\d", token):
        return sp.Rational(token)
    if not re.match(r"\w", token):
        raise ValueError(f"no formula can be read at {token!r}")
    return names[token] if token in names else sp.Symbol(token, real=True)


def inside(tokens: Tokens, names: Names) -> list[Any]:
    """What stands between brackets, of which the first is gone."""
    values = [total(tokens, names)]
    while take(tokens, ","):
        values.append(total(tokens, names))
    if not take(tokens, ")", "]"):
        raise ValueError("a bracket is not closed")
    return values


def called(name: str, values: list[Any]) -> Any:
    function = FUNCTIONS.get(name, sp.Function(name))
    if isinstance(values[0], sp.MatrixBase):  # element by element
        return values[0].applyfunc(lambda one: function(one, *values[1:]))
    return function(*values)
