"""From formula to proof: how an op is derived, its check live, and what the tests hold it to.

The last stands in ``proofs.json``, since the package goes without the tests; it is written by
``python tests/make_proofs.py``.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

from tinyvae import backend as backends
from tinyvae.autograd import DERIVATIONS, OPS
from tinyvae.checker import GradientReport
from tinyvae.evaluation.cases import CASES
from tinyvae.evaluation.gradients import reports, without_kernel

FILE = Path(__file__).with_name("proofs.json")
SECTION = re.compile(r"\n\n(\w+)\n-+\n")  # of a numpydoc docstring
CAUGHT = {"gradient check": "the gradient check", "oracle": "an oracle", "error": "an error raised"}


class Explanation(NamedTuple):
    """Titles, each with a text, and whether every gradient was found right."""

    sections: list[tuple[str, str]]
    passed: bool


def explain(name: str, seed: int = 0) -> Explanation:
    """The way of one op from its formula to its proof, with its gradient checked on the spot.

    >>> explanation = explain("tanh")
    >>> explanation.passed
    True
    >>> for title, text in explanation.sections[:2]:
    ...     print(title, "-", text)
    tanh, an op - The hyperbolic tangent, y = tanh(x); dy/dx = 1 - y^2.
    Code - ...tinyvae/autograd/ops.py:...
    """
    (file, line), known = place(name), records().get(name)
    checks = list(_checks(name, seed))
    return Explanation(
        [
            (f"{name}, {kind(name)}", formula(name)),
            ("Code", f"{file}:{line}"),
            *((title, _table(reports)) for title, reports in checks),
            ("Order test", _order_test(checks[0][1])),
            *(_beside_the_gradient(known) if known else ()),
        ],
        all(all(reports) for _, reports in checks),
    )


def records() -> dict[str, Any]:
    """What the tests hold each op to, as it was when ``proofs.json`` was written."""
    return dict(json.loads(FILE.read_text("utf-8")))


def unknown(name: str) -> str:
    """What to say of a name that no op has; nothing of one that is known."""
    if name in CASES:
        return ""
    near = [known for known in CASES if name and name.lower() in known]
    near = near or difflib.get_close_matches(name.lower(), CASES)
    guess = f"did you mean {' or '.join(map(repr, near[:3]))}? " if near else ""
    return f"no derivation or op is called {name!r}; {guess}`tinyvae check` lists them all"


def kind(name: str) -> str:
    """Whether it is one of the derivations that the project is about."""
    return "a derivation" if name in DERIVATIONS else "an op"


def formula(name: str) -> str:
    """The formula of an op: of its docstring, the summary and the notes."""
    summary, *sections = SECTION.split(inspect.getdoc(OPS[name]) or "")
    notes = dict(zip(sections[::2], sections[1::2], strict=True)).get("Notes", "")
    return f"{summary}\n\n{notes}".strip()


def place(name: str) -> tuple[Path, int]:
    """The file of an op, and the line on which its definition begins."""
    function = OPS[name].bare  # type: ignore[attr-defined]
    lines, first = inspect.getsourcelines(function)
    decorators = itertools.takewhile(lambda line: not line.startswith("def "), lines)
    return Path(inspect.getfile(function)), first + len(list(decorators))


# The gradient check


def _checks(name: str, seed: int) -> Iterator[tuple[str, list[GradientReport]]]:
    """Of the formula, and of the kernel that NumPy has in its place, if it has one."""
    if name in backends.get("numpy").kernels:
        with without_kernel(name):
            yield f"Gradient check of the formula, seed {seed}", reports(name, seed)
        yield "Gradient check of the one-pass kernel that NumPy runs", reports(name, seed)
    else:
        yield f"Gradient check, seed {seed}", reports(name, seed)


HEAD = ("case", "argument", "verdict", "worst at", "pullback", "oracles", "off by", "allowed")
WIDTHS = (4, 22, 11, 9, 11, 11, 7, 7)


def _table(reports: list[GradientReport]) -> str:
    """The worst element of every argument, by the pullback and by the oracles."""
    oracles = "against central differences and, where it is analytic, the complex step:"
    lines = [line for case, report in enumerate(reports, 1) for line in _case(case, report)]
    return "\n".join([oracles, _row(*HEAD), *lines])


def _case(case: int, report: GradientReport) -> Iterator[str]:
    yield from (f"WRONG: {problem}" for problem in report.problems)
    for found in report.arguments:
        label, index = found.label.removeprefix("argument "), found.index
        figures = [f"{x:.6g}" for x in (found.pullback, found.oracle)]
        errors = [f"{x:.0e}" for x in (found.error, found.allowed)]
        yield _row(case, label, found.verdict, index, *figures, *errors)
        yield from (f"      {remark}" for remark in found.remarks)


def _row(*cells: object) -> str:
    return "  ".join(f"{cell!s:<{n}}" for cell, n in zip(cells, WIDTHS, strict=True)).rstrip()


def _order_test(reports: list[GradientReport]) -> str:
    """Of the first case that is bent; a linear one leaves nothing over but round-off."""
    tests = [report.taylor for report in reports if report.taylor]
    bent = [str(test) for test in tests if not math.isnan(test.slope)]
    return (bent or [test.verdict for test in tests] or ["none: there is a kink"])[0]


# What no gradient check can see


def _beside_the_gradient(known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The oracles of the value, other libraries, and the errors that were planted."""
    oracles, others = known["oracles"], known["comparisons"].items()
    definitions = [f"  {d['name']} ({_line(d)}): {d['says']}" for d in oracles["definitions"]]
    text = [f"{_line(oracles)}", indent(oracles["entry"], "  "), *definitions]
    yield f"Its value, against {oracles['count']} oracles", "\n".join(text)
    tests = [f"{library} ({_line(found)}): {found['test']}" for library, found in others]
    yield "Formula, value and gradients, against other libraries", "\n".join(tests)
    yield "Errors planted in it", caught(known["planted"])


def _line(found: dict[str, str]) -> str:
    return found["at"].replace("#L", ":")


def caught(planted: dict[str, int]) -> str:
    """How many planted errors were caught, and by what.

    >>> caught({"gradient check": 40, "oracle": 20, "error": 9})
    '69 of 69 caught: 40 by the gradient check, 20 by an oracle, 9 by an error raised'
    """
    shares = {who: planted[catcher] for catcher, who in CAUGHT.items() if catcher in planted}
    how = ", ".join(f"{count} by {who}" for who, count in shares.items())
    return f"{sum(shares.values())} of {sum(planted.values())} caught: {how}"
