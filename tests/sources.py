"""Where the source of the tests, and of the package, speaks of an op: read, not run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tinyvae.autograd import OPS

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"


class Entry(NamedTuple):
    """Where a table names an op, and what it has for it, if the op is a key."""

    path: Path
    line: int
    value: ast.expr | None = None

    @property
    def at(self) -> str:
        """The place, as a forge links to it from the root of the repository."""
        return at(self.path, self.line)


def at(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT).as_posix()}#L{line}"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in tree(path).body if isinstance(node, ast.FunctionDef)]


def names(*nodes: ast.AST) -> set[str]:
    parts = (part for node in nodes for part in ast.walk(node))
    return {part.id for part in parts if isinstance(part, ast.Name)}


# Tables: what a module binds to a name


@cache
def bindings(path: Path) -> dict[str, ast.expr]:
    """Everything that a module binds to a name by an equals sign."""
    found = {}
    for node in tree(path).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            found[ast.unparse(target)] = node.value
    return found


@cache
def tables(path: Path) -> dict[str, dict[str, Entry]]:
    """The dictionaries of a module that name ops."""
    return {
        name: entries
        for name, value in bindings(path).items()
        if any(isinstance(part, ast.Dict) for part in ast.walk(value))
        and (entries := entries_of(path, value))
    }


def entries_of(path: Path, table: ast.expr) -> dict[str, Entry]:
    """The ops that are keys, then those named further in, as in a comprehension."""
    found: dict[str, Entry] = {}
    for part in ast.walk(table):
        pairs = zip(part.keys, part.values, strict=True) if isinstance(part, ast.Dict) else ()
        for key, value in [*pairs, (part, None)]:
            if isinstance(key, ast.Constant) and key.value in OPS:
                found.setdefault(key.value, Entry(path, key.lineno, value))
    return found


def entry(name: str, paths: Iterable[Path]) -> Entry | None:
    """Of the tables that name the op, the entry of the one that names the most ops."""
    having = [table for path in paths for table in tables(path).values() if name in table]
    return max(having, key=len)[name] if having else None


# Tests that are run for an op


@cache
def taken_from(path: Path) -> dict[Path, set[str]]:
    """The other modules of the tests, with the names that this one takes from them."""
    found = {}
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            source = TESTS / f"{node.module.replace('.', '/')}.py"
            if source.exists():
                found[source] = {alias.name for alias in node.names}
    return found


@cache
def asked(path: Path) -> dict[str, str]:
    """For each op, the first test of a module that is run for it: over a table that has the op."""
    found: dict[str, str] = {}
    for test in functions(path):
        if test.name.startswith("test_"):
            ops = listed(path, names(*test.decorator_list))
            found |= dict.fromkeys(ops - found.keys(), test.name)
    return found


def listed(path: Path, used: set[str]) -> set[str]:
    """The ops in the tables that these names stand for, here or in the module they are from."""
    found = set()
    for name in used & bindings(path).keys():
        found |= tables(path).get(name, {}).keys()
        found |= listed(path, names(bindings(path)[name]) - used)
    for source, taken in taken_from(path).items():
        found |= listed(source, taken & used)
    return found


@cache
def imports(path: Path) -> set[str]:
    """The packages that a module imports, also those that it goes without where they are not."""
    return {package.partition(".")[0] for node in ast.walk(tree(path)) for package in _of(node)}


def _of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
        yield ast.literal_eval(node.args[0])
