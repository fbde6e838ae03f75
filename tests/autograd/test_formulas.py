"""The formulas in the docstrings are the ones that SymPy derives from the definitions.

A formula is a chain of sides. Each is put in terms of the inputs and evaluated to 50 digits at
random points: sides that agree there to 40 are the same function. And the slopes that a
docstring gives are those that the op's pullback computes, at kinks and ties too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from formulas import SLOPE, Formula, formula, formulas
from symbolic import TRUTHS, E_q, Truth, alpha, n, slope, t, z
from symbolic_arrays import ARRAYS
from symbolic_densities import DENSITIES, uniform

from tinyvae.autograd import OPS, Tensor

DEFINED = TRUTHS | DENSITIES
WITHIN = ("uniform_log_likelihood",)  # where small positive numbers are
POSITIVE = ("power", "log", "sqrt", *WITHIN)
OPTIONS = {n: 2.5, slope: 0.3, alpha: 0.7}
SHAPES = ["reshape", "transpose", "broadcast_to", "astype", "getitem", "concatenate", "stack"]
IN_WORDS = ["max", *SHAPES]

# What a docstring says, in terms of the inputs


def definitions(found: list[Formula], truth: Truth) -> dict[Any, Any]:
    """New names and functions, each with the last side of the chain that it begins."""
    known = {*truth.inputs, named(truth.name)}
    return {
        side: chain.sides[-1]
        for chain in found
        for side in chain.sides[:-1]
        if side not in known and (is_name(side) or is_function(side))
    }


def named(name: str) -> Any:
    return sp.Symbol(name, real=True)


def is_name(side: Any) -> bool:
    return isinstance(side, sp.Symbol) and not re.fullmatch(SLOPE, side.name)


def is_function(side: Any) -> bool:
    applied = isinstance(side, sp.core.function.AppliedUndef) and side.func != E_q
    return applied and all(argument.is_Symbol for argument in side.args)


def meaning(side: Any, defined: dict[Any, Any], truth: Truth) -> Any:
    """A side in terms of the inputs alone."""
    for _ in range(4):  # a definition may rest on others
        for name, body in defined.items():
            side = side.replace(*by_its_body(name, body)) if name.args else side.subs(name, body)
    slopes = {s: of_and_by(s.name, defined, truth) for s in side.free_symbols if is_slope(s)}
    side = side.subs({s: sp.diff(*parts) for s, parts in slopes.items()})
    side = side.subs(named(truth.name), truth.value)
    for name, law in zip("qp", truth.densities, strict=False):
        side = side.replace(sp.Function(name), lambda at, law=law: law.subs(z, at))
    return side.replace(E_q, truth.under_q)


def by_its_body(name: Any, body: Any) -> tuple[Any, Any]:
    return name.func, sp.Lambda(name.args, body)


def is_slope(symbol: Any) -> bool:
    return bool(re.fullmatch(SLOPE, str(symbol)))


def of_and_by(slope: str, defined: dict[Any, Any], truth: Truth) -> list[Any]:
    """The two expressions in a slope's name, such as dKL/dlog v."""
    parts = re.fullmatch(r"d(\w+)/d(.+)", slope).groups()
    return [meaning(formula(f"{part},", {}).sides[0], defined, truth) for part in parts]


# Whether it is true


def points(name: str, symbols: list[Any]) -> Iterator[list[float]]:
    """Numbers of either sign, the first below 1; all positive where need be; as `placed`."""
    rng = np.random.default_rng(0)
    for k in range(6):
        sizes = rng.uniform(0.1, 3, len(symbols)) / (9 if name in WITHIN else 1 if k else 3)
        signs = [1 if name in POSITIVE else (-1) ** (k + j) for j in range(len(symbols))]
        values = zip(symbols, sizes, signs, strict=True)
        yield [placed(s, v, sign, k) for s, v, sign in values]


def placed(symbol: Any, size: float, sign: int, k: int) -> float:
    """A target below 1, uniform noise in the sixth k of [0, 1], another number of that sign."""
    if symbol == uniform:
        return (k + size / 3) / 6
    return size / 3 if symbol == t else size * sign


def at_points(side: Any, name: str) -> list[Any]:
    """Its values there, to 50 digits."""
    symbols = sorted(side.free_symbols, key=str)
    function = sp.lambdify(symbols, side, "mpmath")
    with mp.workdps(50):
        rows = [list(map(mp.mpf, at)) for at in points(name, symbols)]
        return [function(*row) for row in rows]


def wrong(name: str, found: list[Formula]) -> Iterator[str]:
    """The formulas of which two sides differ, or which are somewhere below their bound."""
    truth, defined = DEFINED[name], definitions(found, DEFINED[name])
    for chain in found:
        first, *others = (meaning(side, defined, truth) for side in chain.sides)
        errors = [abs(e) for side in others for e in at_points(first - side, name)]
        room = [0] if chain.bound is None else at_points(first - chain.bound, name)
        if max(errors) > 1e-40 or min(room) < 0:
            yield chain.text


@cache
def found_in(name: str) -> list[Formula]:
    return formulas(OPS[name].__doc__, {})


def slopes(name: str, found: list[Formula]) -> dict[Any, Any]:
    """The slope that is given for each input, in terms of the inputs."""
    truth, defined = DEFINED[name], definitions(found, DEFINED[name])
    given = {}
    for chain in found:
        parts = [side.as_coeff_Mul() for side in chain.sides]
        stated = [sign * side for sign, side in parts if not is_slope(side)]
        for sign, side in parts:
            if str(side).startswith(f"d{truth.name}/"):
                by = of_and_by(str(side), defined, truth)[1]
                given[by] = sign * meaning(stated[0], defined, truth)
    return given


def test_every_op_has_a_formula_or_is_of_those_that_words_describe():
    in_numbers, in_arrays = DEFINED.keys() | ROWS.keys(), MATRICES.keys() | ARRAYS.keys()
    assert OPS.keys() == in_numbers | in_arrays | {"affine_relu", *IN_WORDS}
    assert not any(found_in(name) for name in IN_WORDS)


@pytest.mark.parametrize("name", DEFINED)
def test_every_formula_is_the_one_that_follows_from_the_definition(name):
    assert not list(wrong(name, found_in(name)))


@pytest.mark.parametrize("name", DEFINED)
def test_the_value_and_a_slope_for_every_input_are_given(name):
    truth = DEFINED[name]
    assert any(chain.sides[0] == named(truth.name) for chain in found_in(name))
    assert slopes(name, found_in(name)).keys() >= set(truth.inputs)


# Whether the code does what the docstring says


def of_the_pullbacks(name: str, at: list[float]) -> list[float]:
    """The slopes by the op's own pullbacks."""
    inputs = [Tensor(np.array([v]), requires_grad=True) for v in at]
    options = {key: OPTIONS[symbol] for key, symbol in DEFINED[name].options.items()}
    OPS[name](*inputs, **options).sum().backward()
    return [float(x.grad[0]) for x in inputs]


def agrees_with_the_pullbacks(name: str, found: list[Formula]) -> bool:
    """At random points, where the inputs are equal and, for a function of one number, at 0."""
    inputs = DEFINED[name].inputs
    given = [slopes(name, found)[x].subs(OPTIONS) for x in inputs]
    functions = [sp.lambdify(inputs, slope, "mpmath") for slope in given]
    rows = [*points(name, list(inputs)), [0.5] * len(inputs)]
    rows += [[0.0]] * (len(inputs) == 1 and name not in POSITIVE)
    stated = [[float(f(*map(mp.mpf, row))) for f in functions] for row in rows]
    return np.allclose(stated, [of_the_pullbacks(name, row) for row in rows], 1e-12, 1e-14)


@pytest.mark.parametrize("name", DEFINED)
def test_the_slopes_given_are_those_that_the_pullbacks_compute(name):
    assert agrees_with_the_pullbacks(name, found_in(name))


# Ops along an axis, in three components, and products of matrices

XS, GS = sp.symbols("x:3", real=True), sp.symbols("g:3", real=True)
SUM = sp.Add(*map(sp.exp, XS))
ROWS = {
    "sum": [sp.Add(*XS)],
    "mean": [sp.Add(*XS) / 3],
    "logsumexp": [sp.log(SUM)],
    "importance_bound": [sp.log(SUM / 3)],
    "softmax": [sp.exp(x) / SUM for x in XS],
    "log_softmax": [sp.log(sp.exp(x) / SUM) for x in XS],
}


def in_components(side: Any, values: list[Any]) -> Any:
    """The first component of a side, of which x, y and g have each their own."""

    def at(part: Any, k: int) -> Any:
        own = k % len(values)
        return part.subs(
            dict(zip(map(named, "xygN"), (XS[k], values[own], GS[own], 3), strict=True))
        )

    summed = side.replace(sp.Function("sum"), lambda part: sp.Add(*(at(part, k) for k in range(3))))
    return at(summed, 0)


def wrong_in_components(name: str, found: list[Formula]) -> list[str]:
    values = ROWS[name]
    loss = sp.Add(*(g * y for g, y in zip(GS, values, strict=False)))
    true = {named("y"): values[0], named("dL/dx"): sp.diff(loss, XS[0])}
    return [
        chain.text
        for chain in found
        for side in chain.sides[1:]
        if max(map(abs, at_points(true[chain.sides[0]] - in_components(side, values), name)))
        > 1e-40
    ]


@pytest.mark.parametrize("name", ROWS)
def test_the_formulas_along_an_axis_follow_from_the_definition(name):
    assert [str(chain.sides[0]) for chain in found_in(name)] == ["y", "dL/dx"]
    assert not wrong_in_components(name, found_in(name))


def matrix(letter: str, rows: int, columns: int) -> Any:
    return sp.Matrix(rows, columns, sp.symbols(f"{letter}:{rows * columns}", real=True))


A, B, X, W, G = (
    matrix(*shape) for shape in (("A", 2, 3), ("B", 3, 4), ("X", 2, 3), ("W", 3, 4), ("G", 2, 4))
)
BIAS = sp.ones(2, 1) * matrix("b", 1, 4)
MATRICES = {"matmul": {"A": A, "B": B, "G": G}, "affine": {"X": X, "W": W, "b": BIAS, "G": G}}


def times(left: Any, right: Any) -> Any:
    """By its definition: row by column."""
    cell = lambda i, j: sp.Add(*(left[i, k] * right[k, j] for k in range(left.cols)))  # noqa: E731
    return sp.Matrix(left.rows, right.cols, cell)


@pytest.mark.parametrize("name", MATRICES)
def test_the_formulas_of_matrices_follow_from_row_by_column(name):
    names = MATRICES[name]
    first, second = list(names.values())[:2]
    value = times(first, second) + (BIAS if name == "affine" else sp.zeros(2, 4))
    loss = sp.Add(*(g * y for g, y in zip(G, value, strict=True)))
    true = {"Y": value}
    true |= {
        f"dL/d{key}": of.applyfunc(lambda one: sp.diff(loss, one))
        for key, of in list(names.items())[:2]
    }
    stated = {str(c.sides[0]): c.sides[1] for c in formulas(OPS[name].__doc__, names)}
    assert stated.keys() == true.keys()
    assert all((stated[key] - true[key]).expand().is_zero_matrix for key in true)


Y, H = matrix("Y", 2, 4), matrix("H", 2, 4)


def follow_from_the_definition(chains: list[Formula]) -> bool:
    """Whether those of `affine_relu` do, at points with numbers of either sign."""
    sum_ = times(X, W) + BIAS
    loss = sp.Add(*(g * sp.Piecewise((v, v > 0), (0, True)) for g, v in zip(G, sum_, strict=True)))
    value, h, by_x, by_w = (chain.sides[1] for chain in chains)
    h = h.subs(dict(zip(Y, value, strict=True)), simultaneous=True)
    found = [value, *(by.subs(dict(zip(H, h, strict=True))) for by in (by_x, by_w))]
    true = [sum_.applyfunc(lambda v: sp.Max(v, 0))]
    true += [of.applyfunc(lambda one: sp.diff(loss, one)) for of in (X, W)]
    rng = np.random.default_rng(0)
    symbols = [*X, *W, *BIAS[0, :], *G]
    points = [
        dict(zip(symbols, map(int, row), strict=True)) for row in rng.integers(-9, 9, (4, 30))
    ]
    return all(
        (f - t).subs(at).is_zero_matrix for f, t in zip(found, true, strict=True) for at in points
    )


@pytest.mark.slow
def test_the_formulas_of_the_affine_map_and_the_rectifier_follow_from_the_definition():
    names = {"X": X, "W": W, "b": BIAS, "G": G, "Y": Y, "H": H}
    doc = OPS["affine_relu"].__doc__
    assert [str(c.sides[0]) for c in formulas(doc, names)[2:]] == ["dL/dX", "dL/dW"]
    assert follow_from_the_definition(formulas(doc, names))
    for right, wrong_ in (("0);", "1);"), ("Y > 0", "Y < 0"), ("H W", "G W"), ("^T H", "^T G")):
        assert right in doc
        assert not follow_from_the_definition(formulas(doc.replace(right, wrong_), names)), wrong_


# That a wrong formula is found out


def spoiled(text: str) -> Iterator[str]:
    """Every formula that differs by a sign, a number, a quotient, a relation or a function."""
    for m in re.finditer(rf"{SLOPE}|(\d+(?:\.\d+)?|[-+/]|[<>](?!=)|log|sqrt|max|tanh|sign)", text):
        if m[1]:
            yield (
                text[: m.start()]
                + instead(m[1], text[m.start() - 1 : m.end() + 1])
                + text[m.end() :]
            )


def instead(part: str, around: str) -> str:
    swaps = {"+": "-", "-": "+" if around == " - " else "", "/": " ", "<": ">", ">": "<"}
    swaps |= {"log": "sqrt", "sqrt": "exp", "max": "min", "tanh": "log", "sign": "abs"}
    return swaps[part] if part in swaps else str(sp.Rational(part) + 1)


LONG = ("bernoulli_cross_entropy", "kl_standard_normal", "kl_gaussian", *DENSITIES)
MANY = [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in DEFINED]


def is_found_out(name: str, k: int, text: str) -> bool:
    """Whether a docstring with this in the place of its formula k is called wrong."""
    found = found_in(name)
    try:
        found = [*found[:k], formula(f"{text},", {}), *found[k + 1 :]]
        if name in ROWS:
            return bool(wrong_in_components(name, found))
        return any(wrong(name, found)) or not agrees_with_the_pullbacks(name, found)
    except (sp.PolynomialError, KeyError):  # no integral that one can do by moments, or infinite
        return True


@pytest.mark.parametrize("name", [*MANY, *ROWS])
def test_a_docstring_with_a_wrong_formula_is_found_out(name):
    for k, chain in enumerate(found_in(name)):
        for text in spoiled(chain.text):
            assert is_found_out(name, k, text), text
