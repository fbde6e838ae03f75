"""What the ops compute, by definition, as expressions of SymPy."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import sympy as sp


def numbers(names: str) -> Any:
    return sp.symbols(names, real=True)


a, b, x, z, n, slope, alpha, t = numbers("a b x z n slope alpha t")
mean, log_variance, noise = numbers("mean log_variance noise")
other_mean, other_log_variance = numbers("other_mean other_log_variance")
logit = numbers("l")

# Definitions


def density(at: Any, center: Any, log_of_variance: Any) -> Any:
    """Of the Gaussian."""
    v = sp.exp(log_of_variance)
    return sp.exp(-((at - center) ** 2) / (2 * v)) / sp.sqrt(2 * sp.pi * v)


q = density(z, mean, log_variance)
other = density(z, other_mean, other_log_variance)
standard = density(z, sp.Integer(0), sp.Integer(0))
E_q = sp.Function("E_q")  # the mean under q of a function of z


@cache
def moment(k: int) -> Any:
    """The integral of z^k under q."""
    return sp.simplify(sp.integrate(z**k * q, (z, -sp.oo, sp.oo)))


@cache
def mean_under_q(f: Any) -> Any:
    """The integral of a polynomial in z under q, term by term."""
    terms = sp.Poly(sp.expand(sp.expand_log(f, force=True)), z).terms()
    return sp.Add(*(coefficient * moment(k) for (k,), coefficient in terms))


class Truth(NamedTuple):
    """What an op computes, by definition, and what its docstring calls it."""

    value: Any
    inputs: tuple[Any, ...]
    name: str = "y"
    options: Any = {}  # noqa: RUF012 - an empty one, that nothing changes
    densities: Any = ()  # of what the docstring calls q(z) and p(z)
    under_q: Any = mean_under_q


u = sp.sqrt(2 / sp.pi) * (x + sp.Rational("0.044715") * x**3)
white = 1 / (1 + sp.exp(-logit))
TRUTHS = {
    "add": Truth(a + b, (a, b)),
    "subtract": Truth(a - b, (a, b)),
    "multiply": Truth(a * b, (a, b)),
    "divide": Truth(a / b, (a, b)),
    "negative": Truth(-x, (x,)),
    "power": Truth(sp.exp(n * sp.log(x)), (x,), options={"exponent": n}),
    "maximum": Truth(sp.Piecewise((a, a > b), (b, True)), (a, b)),
    "exp": Truth(sp.exp(x), (x,)),
    "log": Truth(sp.log(x), (x,)),
    "sqrt": Truth(sp.exp(sp.log(x) / 2), (x,)),
    "abs": Truth(sp.Piecewise((x, x > 0), (-x, True)), (x,)),
    "tanh": Truth((sp.exp(x) - sp.exp(-x)) / (sp.exp(x) + sp.exp(-x)), (x,)),
    "sigmoid": Truth(1 / (1 + sp.exp(-x)), (x,)),
    "softplus": Truth(sp.log(1 + sp.exp(x)), (x,)),
    "relu": Truth(sp.Piecewise((x, x > 0), (0, True)), (x,)),
    "leaky_relu": Truth(
        sp.Piecewise((x, x > 0), (slope * x, True)), (x,), options={"slope": slope}
    ),
    "elu": Truth(
        sp.Piecewise((x, x > 0), (alpha * (sp.exp(x) - 1), True)), (x,), options={"alpha": alpha}
    ),
    "gelu": Truth(x / 2 * (1 + sp.tanh(u)), (x,)),
    "bernoulli_cross_entropy": Truth(-sp.log(white**t * (1 - white) ** (1 - t)), (logit, t), "L"),
    "gaussian_sample": Truth(
        mean + sp.sqrt(sp.exp(log_variance)) * noise, (mean, log_variance, noise), "z"
    ),
    "kl_standard_normal": Truth(
        E_q(sp.log(q) - sp.log(standard)), (mean, log_variance), "KL", {}, (q, standard)
    ),
    "kl_gaussian": Truth(
        E_q(sp.log(q) - sp.log(other)),
        (mean, log_variance, other_mean, other_log_variance),
        "KL",
        {},
        (q, other),
    ),
    "gaussian_log_likelihood": Truth(
        sp.log(density(x, mean, log_variance)), (x, mean, log_variance), "L"
    ),
}
