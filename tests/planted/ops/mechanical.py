"""Errors made from the source of the ops and derivations, by one small change each.

A sign or a comparison is flipped, a factor, a term or a sum is dropped, a constant or an axis
is another, two arguments are swapped, a function is replaced by its neighbour.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

from planted.ops.error import Op, Planted, calls, wrong_parts
from tinyvae.autograd import derivations, ops
from tinyvae.autograd.densities import (
    cholesky,
    laplace,
    logistic,
    mixture,
    pixels,
    shared,
    uniform,
)

SIGNS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
FLIPPED = {ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
NEIGHBOURS = {
    "maximum": "minimum",
    "minimum": "maximum",
    "max": "min",
    "sum": "mean",
    "exp": "expm1",
    "expm1": "exp",
    "log": "log1p",
    "log1p": "log",
    "sqrt": "square",
    "tanh": "sinh",
    "sign": "abs",
}
COMMUTE = {"maximum", "minimum", "swapaxes", "isinstance", "namespace"}
FUNCTIONS_OF_ONE_NUMBER = {"exp", "expm1", "logistic", "tanh", "log1p"}
LEFT_OUT = {"fit", "sum", "swapaxes", "transpose", "reshape", "_kept", "abs", "logistic", "squeeze"}


# The changes of each kind of node


def _of_binary(node: ast.BinOp) -> Iterator[ast.AST]:
    if type(node.op) in SIGNS:
        yield ast.BinOp(node.left, SIGNS[type(node.op)](), node.right)
    if isinstance(node.op, ast.Pow | ast.MatMult):
        yield ast.BinOp(node.right, node.op, node.left)
    yield node.left
    yield node.right


def _of_unary(node: ast.UnaryOp) -> Iterator[ast.AST]:
    if isinstance(node.op, ast.USub):
        yield node.operand


def _of_constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant({2: 1, 0.5: 1, 1: 2}.get(node.value, node.value + 1))


def _of_comparison(node: ast.Compare) -> Iterator[ast.AST]:
    for kind, flipped in FLIPPED.items():
        if isinstance(node.ops[0], kind):
            yield ast.Compare(node.left, [flipped(), *node.ops[1:]], node.comparators)


def _of_choice(node: ast.IfExp) -> Iterator[ast.AST]:
    yield ast.IfExp(node.test, node.orelse, node.body)


def _of_call(node: ast.Call) -> Iterator[ast.AST]:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if (
        len(node.args) > 1
        and name not in COMMUTE
        and all(not isinstance(a, ast.Starred) for a in node.args[-2:])
    ):
        yield ast.Call(node.func, [*node.args[:-2], *reversed(node.args[-2:])], node.keywords)
    if isinstance(node.func, ast.Attribute) and name in NEIGHBOURS:
        neighbour = ast.Attribute(node.func.value, NEIGHBOURS[name], ast.Load())
        yield ast.Call(neighbour, node.args, node.keywords)
    if name in FUNCTIONS_OF_ONE_NUMBER:
        yield ast.Call(node.func, [ast.UnaryOp(ast.USub(), node.args[0])], node.keywords)
    if name in LEFT_OUT:
        of_array = isinstance(node.func, ast.Attribute) and not _is_library(node.func.value)
        yield node.func.value if of_array else node.args[0]
    for keyword in node.keywords:
        if keyword.arg in ("axis", "keepdims"):
            yield ast.Call(node.func, node.args, [k for k in node.keywords if k is not keyword])


def _is_library(node: ast.AST) -> bool:
    return ast.unparse(node).startswith(("xp", "namespace"))


def _is_choice_of_library(node: ast.AST) -> bool:
    """Whether a node asks for the array library, which is that of any of the inputs."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "namespace"


def _of_attribute(node: ast.Attribute) -> Iterator[ast.AST]:
    if node.attr == "T":
        yield node.value


def _of_in_place(node: ast.AugAssign) -> Iterator[ast.AST]:
    yield ast.AugAssign(node.target, SIGNS[type(node.op)](), node.value)
    yield ast.Pass()


def _of_tuple(node: ast.Tuple) -> Iterator[ast.AST]:
    pullbacks = [
        isinstance(part, ast.Lambda) or ast.unparse(part)[:3] == "to_" for part in node.elts
    ]
    if len(node.elts) > 1 and all(pullbacks):
        yield ast.Tuple([node.elts[1], node.elts[0], *node.elts[2:]], ast.Load())


CHANGES: dict[type, Callable[[Any], Iterator[Any]]] = {
    ast.BinOp: _of_binary,
    ast.UnaryOp: _of_unary,
    ast.Constant: _of_constant,
    ast.Compare: _of_comparison,
    ast.IfExp: _of_choice,
    ast.Call: _of_call,
    ast.Attribute: _of_attribute,
    ast.AugAssign: _of_in_place,
    ast.Tuple: _of_tuple,
}


def _changes(node: ast.AST, parameters: list[str]) -> Iterator[Any]:
    if isinstance(node, ast.Name) and node.id in parameters[1:] + parameters[:1]:
        other = parameters[(parameters.index(node.id) + 1) % len(parameters)]
        if other != node.id and isinstance(node.ctx, ast.Load):
            yield ast.Name(other, ast.Load())
    yield from CHANGES.get(type(node), lambda _: iter(()))(node)


# From a change to an op


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All that computes something: no docstrings, and no checks of what is given."""
    is_check = isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)
    if isinstance(node, ast.Expr | ast.arguments) or is_check or _is_choice_of_library(node):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _nodes(child)


def _variants(function: ast.FunctionDef) -> dict[str, ast.FunctionDef]:
    """The function with each change, by what was changed into what."""
    parameters = [a.arg for a in function.args.args]
    found = {}
    for node in _nodes(function):
        for new in _changes(node, parameters):
            label = f"{ast.unparse(node)} -> {ast.unparse(new)}"
            label += "'" * sum(known.rstrip("'") == label for known in found)
            found[label] = copy.deepcopy(function, {id(node): new})
    return found


MODULES = (ops, derivations, shared, laplace, logistic, uniform, cholesky, mixture, pixels)


@cache
def _functions() -> dict[str, tuple[ast.FunctionDef, ModuleType]]:
    """Every function of the ops and derivations, without its decorator, and its module."""
    found = {}
    for module in MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.FunctionDef):
                node.decorator_list = []
                found[node.name] = (node, module)
    return found


def _compiled(function: ast.FunctionDef, module: ModuleType, **others: Any) -> Any:
    """The function in a copy of its module, where ``others`` have taken their names."""
    names = vars(module) | others
    tree = ast.fix_missing_locations(ast.Module([function], []))
    exec(compile(tree, f"<{function.name}>", "exec"), names)
    return names[function.name]


HELPERS = {
    "add": "fit",
    "sigmoid": "logistic",
    "softplus": "smooth_hinge",
    "sum": "_kept",
    "kl_standard_normal": "excess",
    "gaussian_log_likelihood": "scale_for",
    "laplace_sample": "folded",
    "kl_laplace_standard_normal": "kl_of_moments",
    "cholesky_sample": "factor_of",
    "continuous_bernoulli_cross_entropy": "_sinch_less_one",
}
"""The functions that several ops call; the errors in each are planted in one of these."""


def variants(op: str) -> Iterator[tuple[str, Op]]:
    """The op with each change, in itself or in a helper, and what was changed into what."""
    function, module = _functions()[op]
    for label, changed in _variants(function).items():
        yield f"{op}: {label}", _compiled(changed, module)
    if helper := HELPERS.get(op):
        for label, changed in _variants(_functions()[helper][0]).items():
            planted = {helper: _compiled(changed, _functions()[helper][1])}
            yield f"{op}: in {helper}: {label}", _compiled(function, module, **planted)


def planted(op: str) -> list[Planted]:
    """The op with each change: an error in a pullback if no value shows it, but a gradient does."""
    return [Planted(name, op, _kind(op, function), function) for name, function in variants(op)]


def _kind(op: str, function: Op) -> str:
    parts = {part for call in calls(op) for part in wrong_parts(op, function, call)}
    return "forward" if -1 in parts or not parts else "pullback"
