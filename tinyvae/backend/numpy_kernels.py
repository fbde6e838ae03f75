"""One-pass versions of ops and optimisers for NumPy, each under the name of its reference.

The formulas, and why they hold, are beside the references, in `tinyvae.autograd.derivations`
and `tinyvae.optim`; here stands only what makes each quicker. A result is written over a
temporary with ``out=`` wherever one is at hand: a pass over memory costs more than a product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
BLOCK = 1 << 14
"""How many numbers of a vector are worked on at a time: all arrays of a rule fit the cache."""


def bernoulli_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Any]:
    """With step = 1 for l >= 0, else 0: L = (step - t) l + log(1 + e), e = e^-|l|.

    One exponential serves forward and backward: sigma(-|l|) = e / (1 + e) = q, so that
    dL/dl = step - t - q for l >= 0 and step - t + q below.
    """
    e = np.abs(logits)
    np.negative(e, out=e)
    np.exp(e, out=e)
    loss = (logits >= 0) - targets
    loss *= logits
    loss += np.log1p(e)

    def to_logits(g: Array) -> Array:
        q = e + 1
        np.divide(e, q, out=q)
        np.copysign(q, logits, out=q)
        slope = (logits >= 0) - targets
        slope -= q
        slope *= g[..., None]
        return slope

    return np.add.reduce(loss, axis=-1), (to_logits, lambda g: -g[..., None] * logits)


# Optimisers: block by block, so that what a pass has read the next one finds in the cache


def sgd(p: Array, g: Array, velocity: Array, *, rate: float, momentum: float) -> None:
    for p, g, v, scratch in _blocks(p, g, velocity):
        v *= momentum
        v += g
        p -= np.multiply(v, rate, out=scratch)


def adam(
    p: Array,
    g: Array,
    first: Array,
    second: Array,
    *,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    decay: float,
    t: int,
) -> None:
    to_sigma = math.sqrt((1 - beta2) / (1 - beta2**t))
    scale = rate * (1 - beta1) / (1 - beta1**t) / to_sigma
    for p, g, m, v, scratch in _blocks(p, g, first, second):
        m *= beta1
        m += g
        v *= beta2
        v += np.multiply(g, g, out=scratch)
        if decay:
            p -= np.multiply(p, rate * decay, out=scratch)
        np.sqrt(v, out=scratch)
        scratch += epsilon / to_sigma
        np.divide(m, scratch, out=scratch)
        scratch *= scale
        p -= scratch


def _blocks(*vectors: Array) -> Iterator[tuple[Array, ...]]:
    """The vectors piece by piece, and as the last a scratch of the same length."""
    scratch = np.empty(BLOCK, vectors[0].dtype)
    for start in range(0, len(vectors[0]), BLOCK):
        pieces = [v[start : start + BLOCK] for v in vectors]
        yield (*pieces, scratch[: len(pieces[0])])


KERNELS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (bernoulli_cross_entropy, sgd, adam)
}
