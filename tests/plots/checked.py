"""Gradient checks of every kind of outcome, to draw."""

from __future__ import annotations

import numpy as np

import tinyvae as tv

RNG = np.random.default_rng(1)
X, W = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 4))


def square(factor):
    return lambda x: (x**2, lambda g: factor * x * g)


def transposed(a, w):
    return a @ w, (lambda g: g @ w.T, lambda g: g.T @ a)


def product(*wrong):
    """Of all inputs, the gradient of those that are named three times too large."""

    def op(*xs):
        y = np.prod(xs, axis=0)
        factors = [3.0 if k in wrong else 1.0 for k in range(len(xs))]
        pairs = zip(xs, factors, strict=True)
        return y, tuple(lambda g, x=x, factor=factor: factor * g * y / x for x, factor in pairs)

    return op


def noisy(x):
    noise = np.random.default_rng().normal(size=x.shape)
    return x * noise, lambda g: g * noise


def relu(slope_at_0):
    return lambda x: (np.maximum(x, 0), lambda g: g * np.where(x == 0, slope_at_0, x > 0))


def factors(count):
    return np.random.default_rng(count).uniform(1, 2, (count, 5))


def one_wrong(x):
    return np.exp(x), lambda g: g * np.exp(x) * (1 + 0.01 * (x == x[1, 2]))


CASES = {
    "right": lambda: tv.gradcheck(square(2), X),
    "by a factor": lambda: tv.gradcheck(square(4), X),
    "one element": lambda: tv.gradcheck(one_wrong, X),
    "transposed": lambda: tv.gradcheck(transposed, X, W),
    "at a kink": lambda: tv.gradcheck(relu(0), np.array([0.7, 0.0, -0.2, 1.0])),
    "wrong at a kink": lambda: tv.gradcheck(relu(2), np.array([0.7, 0.0, -0.2, 1.0])),
    "not deterministic": lambda: tv.gradcheck(noisy, X),
    "sum": lambda: tv.gradcheck(lambda x: ((x**2).sum(1), lambda g: 3 * x * g[:, None]), X),
    "large": lambda: tv.gradcheck(product(1), *np.random.default_rng(4).uniform(1, 2, (4, 11, 10))),
    "a number": lambda: tv.gradcheck(square(3), np.array(0.3)),
    "g ignored": lambda: tv.gradcheck(lambda x: ((x**2).sum(), lambda g: 2 * x), X),
    "g changed": lambda: tv.gradcheck(
        lambda x: (np.exp(x), lambda g: np.multiply(g, np.exp(x), g)), X
    ),
    "linear": lambda: tv.gradcheck(lambda x: (3 * x, lambda g: 3 * g), X),
    "three": lambda: tv.gradcheck(product(), *factors(3)),
    "many": lambda: tv.gradcheck(product(1, 3, 4, 6, 7), *factors(8)),
    "zero": lambda: tv.gradcheck(square(2), np.zeros(2)),
}
