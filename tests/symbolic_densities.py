"""What the densities beside the Gaussian's compute, by definition, as expressions of SymPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp
from symbolic import Truth, logit, mean, numbers, standard, t, x, z

log_scale, log_width, uniform = numbers("log_scale log_width uniform")
b, w, h = sp.exp(log_scale), sp.exp(log_width), sp.Rational(1, 510)
E_q = sp.Function("E_q")
unit = sp.Symbol("unit", positive=True)  # a draw at scale 1, where it is positive
bend = sp.log(1 + sp.exp(-unit))

# Densities


def laplace(at: Any) -> Any:
    return sp.exp(-abs(at - mean) / b) / (2 * b)


def logistic(at: Any) -> Any:
    """The slope of the distribution function."""
    below = sp.Function("F")
    slope = sp.diff(below(x), x).subs(below(x), 1 / (1 + sp.exp(-(x - mean) / b))).doit()
    return slope.subs(x, at)


def within(at: Any) -> Any:
    """The uniform density where it is not 0."""
    return 1 / w + 0 * at


# Means under them, of polynomials in z and log q


def polynomial(f: Any, place: Any) -> Any:
    """The terms of a function of z in a draw at scale 1, where z is that place."""
    at = sp.expand_log(sp.expand(sp.expand_log(f.subs(z, place), force=True)), force=True)
    return sp.Poly(sp.expand(at), unit, bend).terms()


def under_laplace(f: Any) -> Any:
    """Over both halves, each an exponential distribution, whose moments are factorials."""
    halves = [polynomial(f, mean + sign * b * unit) for sign in (1, -1)]
    terms = [(k, c) for half in halves for (k, bent), c in half if refuse(bent == 0)]
    return sp.Add(*(c * sp.factorial(k) / 2 for k, c in terms))


def under_uniform(f: Any) -> Any:
    """By the moments of the uniform distribution of [0, 1]."""
    terms = polynomial(f, mean + w * (unit - sp.Rational(1, 2)))
    return sp.Add(*(c / (k + 1) for (k, bent), c in terms if refuse(bent == 0)))


LOGISTIC = {(0, 0): 1, (1, 0): 0, (2, 0): sp.pi**2 / 3, (3, 0): 0, (0, 1): 1}
"""The means of unit^k bend^n under the logistic distribution."""


def under_logistic(f: Any) -> Any:
    terms = polynomial(f, mean + b * unit)
    return sp.Add(*(c * LOGISTIC[powers] for powers, c in terms if refuse(powers in LOGISTIC)))


def refuse(known: bool) -> bool:
    """True; an error where the mean of a term is not known."""
    if not known:
        raise sp.PolynomialError("no integral that one can do by moments")
    return known


def divergence(q: Any, under: Callable[[Any], Any], scale: Any) -> Truth:
    """KL(q || N(0, 1))."""
    kl = E_q(sp.log(q) - sp.log(standard))
    return Truth(kl, (mean, scale), "KL", {}, (q, standard), under)


# Pixels

white = 1 / (1 + sp.exp(-logit))
whole = (sp.exp(logit) - 1) / (logit * (1 + sp.exp(logit)))  # of p^t (1 - p)^(1 - t) over [0, 1]


def below(at: Any) -> Any:
    """The distribution function of the logistic distribution."""
    return 1 / (1 + sp.exp(-(at - mean) / b))


half = sp.Rational(1, 2)
DENSITIES = {
    "laplace_log_likelihood": Truth(sp.log(laplace(x)), (x, mean, log_scale), "L"),
    "laplace_sample": Truth(
        sp.Piecewise(
            (mean + b * sp.log(2 * uniform), uniform < half),
            (mean - b * sp.log(2 * (1 - uniform)), True),
        ),
        (mean, log_scale, uniform),
        "z",
    ),
    "kl_laplace_standard_normal": divergence(laplace(z), under_laplace, log_scale),
    "logistic_log_likelihood": Truth(sp.log(logistic(x)), (x, mean, log_scale), "L"),
    "logistic_sample": Truth(mean - b * sp.log(1 / uniform - 1), (mean, log_scale, uniform), "z"),
    "kl_logistic_standard_normal": divergence(
        sp.exp(-(z - mean) / b) / (1 + sp.exp(-(z - mean) / b)) ** 2 / b, under_logistic, log_scale
    ),
    "uniform_log_likelihood": Truth(sp.log(within(x)), (x, mean, log_width), "L"),
    "uniform_sample": Truth(mean - w / 2 + w * uniform, (mean, log_width, uniform), "z"),
    "kl_uniform_standard_normal": divergence(within(z), under_uniform, log_width),
    "continuous_bernoulli_cross_entropy": Truth(
        -sp.log(white**t * (1 - white) ** (1 - t) / whole), (logit, t), "L"
    ),
    "discretised_logistic_cross_entropy": Truth(
        -sp.log(below(t + h) - below(t - h)), (mean, log_scale, t), "L"
    ),
}
