"""Formulas are read as a person reads them, and the integrals they are held to are right."""

from __future__ import annotations

import pytest
import sympy as sp
from formulas import formula, formulas
from symbolic import log_variance, mean, mean_under_q, moment, other, q, standard, z

a, b, v, x = sp.symbols("a b v x", real=True)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a b", a * b),
        ("-a b^2", -a * b**2),
        ("a/2 (1 + b)", a * (1 + b) / 2),
        ("a / (2 b)", a / (2 * b)),
        ("a - b - x", a - b - x),
        ("a/b/x", a / b / x),
        ("-log(v)/2", -sp.log(v) / 2),
        ("log v - log b", sp.log(v) - sp.log(b)),
        ("log f(v)", sp.log(sp.Function("f")(v))),
        ("e^-|x|", sp.exp(-abs(x))),
        ("2 x^(a - 1) b", 2 * x ** (a - 1) * b),
        ("max(a, 0) - |a - b|", sp.Max(a, 0) - abs(a - b)),
        ("0.25 pi", sp.pi / 4),
        ("E_q[x^2]", sp.Function("E_q")(x**2)),
        (
            "1 for x > 0, 1/2 for x = 0, else a",
            sp.Piecewise((1, x > 0), (0.5, sp.Eq(x, 0)), (a, 1)),
        ),
        ("-dL/dlog v x", -sp.Symbol("dL/dlog v", real=True) * x),
    ],
)
def test_a_formula_means_what_it_says(text, meant):
    read = formula(f"a = {text}, in words.", {}).sides[1]
    assert sp.simplify(sp.nsimplify(read) - sp.nsimplify(meant)) == 0


@pytest.mark.parametrize("text", ["a + , b.", "a b) / 2.", "(a b / 2.", "a ** b.", "a | b."])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(ValueError, match=r"no formula|bracket"):
        formula(text, {})


def test_a_docstring_gives_the_formulas_of_its_lines_and_of_its_first_sentence():
    doc = """The product, y = a b, in words.

    Notes
    -----
    Here a = 1 is but an example:

        y = a b                            where b = 2 v
          = 2 a v,    dy/da = b.

    Examples
    --------
    >>> y = 3
    """
    texts = [found.text for found in formulas(doc, {})]
    assert texts == ["y = a b", "y = a b = 2 a v", "b = 2 v", "dy/da = b"]


def test_the_moments_under_q_are_the_integrals_that_they_should_be():
    assert moment(0) == 1
    assert sp.simplify(moment(1) - mean) == 0
    assert sp.simplify(moment(2) - mean**2 - sp.exp(log_variance)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("p", [standard, other])
def test_term_by_term_the_divergence_is_the_integral_of_its_definition(p):
    log_ratio = sp.expand_log(sp.log(q) - sp.log(p), force=True)
    whole = sp.integrate(sp.expand(log_ratio) * q, (z, -sp.oo, sp.oo))
    assert sp.simplify(whole - mean_under_q(log_ratio)) == 0
