"""What the tests hold every op to: its gradient check, oracles, other libraries, planted errors."""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeAlias

from oracles import ORACLES
from planted.ops.catch import MISSED, caught_by
from planted.ops.collected import planted
from sources import ROOT, TESTS, asked, at, entry, functions, imports, names, taken_from

from tinyvae.evaluation import cases, proofs
from tinyvae.evaluation.cases import CASES

LIBRARIES = {"sympy": "SymPy", "torch": "PyTorch", "jax": "JAX"}

Record: TypeAlias = dict[str, Any]


def record(name: str, counted: dict[str, int] | None = None) -> Record:
    """All of it, with the planted errors as counted before, or caught now."""
    return {
        "check": check(name),
        "oracles": oracles(name),
        "comparisons": comparisons(name),
        "planted": counted or count(name),
    }


def lacking(name: str, found: Record) -> list[str]:
    """What there is none of on the way from the formula to the proof."""
    wanted = r"\bd\w+/d\w+ = " if proofs.kind(name) == "a derivation" else r"\w"
    return [
        *([] if re.search(wanted, proofs.formula(name)) else ["formula"]),
        *(part for part, value in found.items() if not value),
        *(["catch of every planted error"] if MISSED in found["planted"] else []),
    ]


def check(name: str) -> Record | None:
    where = entry(name, [Path(cases.__file__)])
    return {"at": where.at, "cases": len(CASES[name])} if where and CASES.get(name) else None


def oracles(name: str) -> Record | None:
    """The entry of the op among the oracles, and the functions that it is made of."""
    where = entry(name, sorted(TESTS.glob("oracles/*.py")))
    if not where or not where.value or not ORACLES.get(name):
        return None
    lines = where.path.read_text("utf-8").splitlines()
    text = dedent("\n".join(lines[where.line - 1 : where.value.end_lineno]))
    used = names(where.value)
    at_hand = {where.path: used, **taken_from(where.path)}
    said = [d for path in at_hand for d in definitions(path) if d["name"] in used & at_hand[path]]
    return {
        "at": where.at,
        "count": len(ORACLES[name]),
        "entry": text,
        "definitions": sorted(said, key=lambda d: re.search(rf"\b{d['name']}\b", text).start()),
    }


def definitions(path: Path) -> Iterator[Record]:
    """The functions of a module that say what they are."""
    for node in functions(path):
        if doc := ast.get_docstring(node):
            yield {"name": node.name, "at": at(path, node.lineno), "says": doc.splitlines()[0]}


def comparisons(name: str) -> Record:
    """For each library, the test that asks it, and the entry of the op in the table it asks by."""
    found = {}
    tests = sorted(TESTS.rglob("test_*.py"))
    for package, library in LIBRARIES.items():
        paths = (path for path in tests if package in imports(path) and name in asked(path))
        path = next(paths, None)
        if path and (where := entry(name, [path, *taken_from(path)])):
            test = f"{path.relative_to(ROOT).as_posix()}::{asked(path)[name]}"
            found[library] = {"at": where.at, "test": test}
    return found


def count(name: str) -> dict[str, int]:
    """How many planted errors of an op are caught by what."""
    with warnings.catch_warnings(action="ignore"):  # of numbers that a wrong op cannot have
        by = Counter(caught_by(error) for error in planted(name)) if name in CASES else Counter()
    return {catcher: by[catcher] for catcher in (*proofs.CAUGHT, MISSED) if catcher in by}


def recount(name: str, counted: dict[str, int]) -> dict[str, int]:
    """The counts of before; others where one was missed, or where as many are planted no more."""
    current = MISSED not in counted and sum(counted.values()) == len(planted(name))
    return counted if current else count(name)
