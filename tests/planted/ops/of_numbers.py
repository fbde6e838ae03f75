"""Wrong gradients of arithmetic, of matrix products and of functions of one number."""

from __future__ import annotations

import numpy as np

from planted.ops.pullbacks import Entry, first, one_way
from tinyvae.autograd.ops import fit, logistic


def gelu_inner(x: np.ndarray) -> np.ndarray:
    """The number whose tanh gelu takes."""
    return np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)


ARITHMETIC: dict[str, list[Entry]] = {
    "add": [
        (
            1,
            "averaged over the broadcast axes",
            "factor",
            lambda g, a, b: one_way(g, b, np.mean),
        ),
        (
            0,
            "the first along the broadcast axis",
            "broadcast",
            lambda g, a, b: one_way(g, a, first),
        ),
        (
            0,
            "the largest along the broadcast axes",
            "linear",
            lambda g, a, b: one_way(g, a, np.max),
        ),
        (0, "not summed over the broadcast axes", "error", lambda g, a, b: g),
        (0, "times the other", "input factor", lambda g, a, b: fit(g * b, a)),
    ],
    "subtract": [
        (1, "the minus forgotten", "sign", lambda g, a, b: fit(g, b)),
        (0, "a minus too many", "sign", lambda g, a, b: fit(-g, a)),
        (
            1,
            "averaged over the broadcast axes",
            "factor",
            lambda g, a, b: one_way(-g, b, np.mean),
        ),
    ],
    "multiply": [
        (0, "times itself", "swapped", lambda g, a, b: fit(g * a, a) if a.shape == g.shape else g),
        (1, "times itself", "swapped", lambda g, a, b: fit(g * b, b)),
        (0, "the other forgotten", "noise", lambda g, a, b: fit(g, a)),
        (
            1,
            "averaged over the broadcast axes",
            "factor",
            lambda g, a, b: one_way(g * a, b, np.mean),
        ),
        (1, "divided", "", lambda g, a, b: fit(g / a, b)),
    ],
    "divide": [
        (0, "multiplied", "", lambda g, a, b: fit(g * b, a)),
        (1, "the minus forgotten", "sign", lambda g, a, b: fit(g * a / b**2, b)),
        (1, "the square forgotten", "", lambda g, a, b: fit(-g * a / b, b)),
        (1, "the numerator forgotten", "noise", lambda g, a, b: fit(-g / b**2, b)),
        (1, "upside down", "swapped", lambda g, a, b: fit(-g * b / a**2, b)),
        (0, "of the other", "swapped", lambda g, a, b: fit(-g * a / b**2, a)),
    ],
    "negative": [(0, "the minus forgotten", "sign", lambda g, x: g)],
    "power": [
        (0, "the exponent forgotten", "factor", lambda g, x, exponent: g * x ** (exponent - 1)),
        (
            0,
            "the exponent not lowered",
            "",
            lambda g, x, exponent: g * exponent * np.abs(x) ** exponent,
        ),
        (0, "always of the square", "", lambda g, x, exponent: g * 2 * x),
        (0, "the exponential's", "", lambda g, x, exponent: g * np.abs(x) ** exponent),
        (
            0,
            "one less in front",
            "",
            lambda g, x, exponent: g * (exponent - 1) * x ** (exponent - 1),
        ),
    ],
    "maximum": [
        (0, "to the smaller", "swapped", lambda g, a, b: fit(g * (a < b), a)),
        (1, "to the smaller", "swapped", lambda g, a, b: fit(g * (b < a), b)),
        (0, "to both", "", lambda g, a, b: fit(g * np.ones_like(a), a)),
        (1, "half to both", "", lambda g, a, b: fit(g / 2, b)),
        (1, "of a rectifier, whatever the other", "", lambda g, a, b: fit(g * (b > 0), b)),
    ],
    "matmul": [
        (0, "b not transposed", "", lambda g, a, b: (g @ b.reshape(b.T.shape)).reshape(a.shape)),
        (0, "transposed, in the other's shape", "", lambda g, a, b: (b @ g.T).reshape(a.shape)),
        (1, "a not transposed", "", lambda g, a, b: (a.reshape(a.T.shape) @ g).reshape(b.shape)),
        (1, "transposed, in the other's shape", "", lambda g, a, b: (g.T @ a).reshape(b.shape)),
        (1, "averaged over the rows", "factor", lambda g, a, b: a.T @ g / len(a)),
        (1, "the last row forgotten", "", lambda g, a, b: a[:-1].T @ g[:-1]),
        (0, "element by element", "", lambda g, a, b: g[..., :1] * b.sum(-1) + 0 * a),
    ],
    "affine": [
        (
            0,
            "the weight not transposed",
            "",
            lambda g, x, w, b: (g @ w.reshape(w.T.shape)).reshape(x.shape),
        ),
        (1, "averaged over the batch", "factor", lambda g, x, w, b: x.T @ g / len(x)),
        (1, "of the first example", "", lambda g, x, w, b: np.outer(x[0], g[0])),
        (1, "the last example forgotten", "", lambda g, x, w, b: x[:-1].T @ g[:-1]),
        (
            1,
            "transposed, in the other's shape",
            "",
            lambda g, x, w, b: (g.T @ x).reshape(w.shape),
        ),
        (2, "averaged over the batch", "factor", lambda g, x, w, b: g.mean(axis=0)),
        (2, "of the first example", "broadcast", lambda g, x, w, b: g[0]),
        (2, "not summed over the batch", "error", lambda g, x, w, b: g),
        (2, "of the mean output", "", lambda g, x, w, b: np.full_like(b, g.mean())),
    ],
    "affine_relu": [
        (0, "not masked", "", lambda g, x, w, b: g @ w.T),
        (0, "masked by X", "", lambda g, x, w, b: (g @ w.T) * (x > 0)),
        (0, "the mask of the negative", "", lambda g, x, w, b: (g * (x @ w + b <= 0)) @ w.T),
        (0, "times Y", "", lambda g, x, w, b: (g * np.maximum(x @ w + b, 0)) @ w.T),
        (1, "not masked", "", lambda g, x, w, b: x.T @ g),
        (1, "masked by the first example", "", lambda g, x, w, b: x.T @ (g * (x @ w + b > 0)[0])),
        (1, "averaged over the batch", "", lambda g, x, w, b: x.T @ masked(g, x, w, b) / len(x)),
        (2, "not masked", "", lambda g, x, w, b: g.sum(axis=0)),
        (2, "masked after the sum", "", lambda g, x, w, b: np.maximum(g.sum(axis=0), 0)),
        (2, "the last example forgotten", "", lambda g, x, w, b: masked(g, x, w, b)[:-1].sum(0)),
    ],
}


def masked(g: np.ndarray, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The upstream gradient where the rectifier is open."""
    return g * (x @ w + b > 0)


ONE_NUMBER: dict[str, list[Entry]] = {
    "exp": [
        (0, "1", "", lambda g, x: g),
        (0, "of -x", "", lambda g, x: g * np.exp(-x)),
        (0, "as of a power", "", lambda g, x: g * x * np.exp(x - 1)),
    ],
    "log": [
        (0, "of the base 10", "factor", lambda g, x: g / (x * np.log(10))),
        (0, "1 over the value", "", lambda g, x: g / np.log(x)),
        (0, "1 over the square", "", lambda g, x: g / x**2),
        (0, "x", "", lambda g, x: g * x),
    ],
    "sqrt": [
        (0, "the 2 forgotten", "factor", lambda g, x: g / np.sqrt(x)),
        (0, "x for its root", "", lambda g, x: g / (2 * x)),
        (0, "half the root", "", lambda g, x: g * np.sqrt(x) / 2),
    ],
    "abs": [
        (0, "1 everywhere", "branch", lambda g, x: g),
        (0, "x itself", "", lambda g, x: g * x),
        (0, "0 for negative x", "branch", lambda g, x: g * (x > 0)),
    ],
    "tanh": [
        (0, "the square forgotten", "", lambda g, x: g * (1 - np.tanh(x))),
        (0, "x for the value", "", lambda g, x: g * (1 - x**2)),
        (0, "plus for minus", "", lambda g, x: g * (1 + np.tanh(x) ** 2)),
        (0, "the sigmoid's", "", lambda g, x: g * np.tanh(x) * (1 - np.tanh(x))),
    ],
    "sigmoid": [
        (0, "the value", "", lambda g, x: g * logistic(x)),
        (0, "1 less the value", "", lambda g, x: g * logistic(-x)),
        (0, "x for the value", "", lambda g, x: g * x * (1 - x)),
        (0, "the tangent's", "", lambda g, x: g * (1 - logistic(x) ** 2)),
        (0, "y - 1 for 1 - y", "sign", lambda g, x: g * logistic(x) * (logistic(x) - 1)),
    ],
    "softplus": [
        (0, "the rectifier's", "", lambda g, x: g * (x > 0)),
        (0, "of -x", "", lambda g, x: g * logistic(-x)),
        (0, "the sigmoid's own slope", "", lambda g, x: g * logistic(x) * logistic(-x)),
    ],
    "relu": [
        (0, "1 everywhere", "branch", lambda g, x: g),
        (0, "the other branch", "", lambda g, x: g * (x < 0)),
        (0, "x where it is positive", "", lambda g, x: g * np.maximum(x, 0)),
        (0, "of the upstream's sign", "upstream", lambda g, x: np.maximum(g, 0)),
        (0, "also for negative upstream cut", "upstream", lambda g, x: np.maximum(g, 0) * (x > 0)),
    ],
    "leaky_relu": [
        (0, "the slope forgotten", "branch", lambda g, x, slope=0.01: g * (x > 0)),
        (
            0,
            "the slope of another run",
            "branch",
            lambda g, x, slope=0.01: np.where(x > 0, g, 0.02 * g),
        ),
        (0, "the branches swapped", "", lambda g, x, slope=0.01: np.where(x > 0, slope * g, g)),
        (
            0,
            "the slope's sign flipped",
            "",
            lambda g, x, slope=0.01: np.where(x > 0, g, -slope * g),
        ),
    ],
    "elu": [
        (
            0,
            "alpha forgotten",
            "branch",
            lambda g, x, alpha=1: np.where(x > 0, g, g * np.exp(np.minimum(x, 0))),
        ),
        (
            0,
            "the value for the slope",
            "",
            lambda g, x, alpha=1: np.where(x > 0, g, g * alpha * np.expm1(x)),
        ),
        (0, "the exponential everywhere", "", lambda g, x, alpha=1: g * alpha * np.exp(x)),
        (0, "the rectifier's", "", lambda g, x, alpha=1: g * (x > 0)),
    ],
    "gelu": [
        (
            0,
            "x Phi(x) without its second term",
            "",
            lambda g, x: g * (1 + np.tanh(gelu_inner(x))) / 2,
        ),
        (
            0,
            "x logistic(1.702 x)",
            "",
            lambda g, x: g * (logistic(1.702 * x) * (1 + 1.702 * x * logistic(-1.702 * x))),
        ),
        (
            0,
            "the inner slope forgotten",
            "",
            lambda g, x: (
                g * ((1 + np.tanh(gelu_inner(x))) / 2 + x / 2 * (1 - np.tanh(gelu_inner(x)) ** 2))
            ),
        ),
        (0, "the rectifier's", "", lambda g, x: g * (x > 0)),
    ],
}
