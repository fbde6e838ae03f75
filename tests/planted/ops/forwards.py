"""Wrong values: slips that any op can have, and what makes an op of a wrong model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from planted.ops.error import Op, Planted, many
from planted.ops.models import MODELS
from planted.ops.models_of_densities import MODELS as OF_DENSITIES
from planted.ops.slips import one_changed, spoiled
from tinyvae import Tensor
from tinyvae.autograd import OPS

Model: TypeAlias = Callable[..., Tensor]
"""A function of Tensors, with the op's options."""


# Slips in the value alone: its pullbacks are the right op's, and so wrong for it

VALUES: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "the sign flipped": lambda y, x: -y,
    "twice the value": lambda y, x: 2 * y,
    "one element 0.1% off": lambda y, x: one_changed(y, 1.001),
    "the elements in reverse": lambda y, x: np.ravel(y)[::-1].reshape(np.shape(y)),
    "its input changed": lambda y, x: spoiled(x, y),
    "a little noise": lambda y, x: y + 1e-6 * np.random.default_rng().normal(size=np.shape(y)),
    "of two decimals": lambda y, x: np.round(y, 2),
    "in float32": lambda y, x: np.asarray(y, "float32"),
    "with an axis too many": lambda y, x: np.asarray(y)[None],
    "not a number": lambda y, x: y * np.nan,
}

# The same in the value and in its pullbacks: both agree, and no gradient check can see it

AGREEING: dict[str, float] = {
    "the sign flipped in both": -1.0,
    "twice both": 2.0,
    "0.1% more of both": 1.001,
}


def with_value(op: str, change: Callable[[Any, Any], Any]) -> Op:
    """The op with its value changed, and its pullbacks as they are."""

    def function(*inputs: np.ndarray, **options: Any) -> tuple[Any, Any]:
        value, pullbacks = OPS[op].bare(*inputs, **options)
        return change(value, inputs[0]), pullbacks

    return function


def multiplied(op: str, factor: float) -> Op:
    """The op and its pullbacks times a number."""

    def function(*inputs: np.ndarray, **options: Any) -> tuple[Any, Any]:
        value, pullbacks = OPS[op].bare(*inputs, **options)
        return value * factor, tuple(lambda g, p=p: factor * p(g) for p in many(pullbacks))

    return function


def shifted(op: str) -> Op:
    """The op plus a constant, whose gradient is zero."""
    return with_value(op, lambda y, x: y + 0.001)


def of_model(model: Model) -> Op:
    """The op that a function of Tensors is: its gradients are right, whatever it computes."""

    def function(*inputs: np.ndarray, **options: Any) -> tuple[Any, Any]:
        def pullback(g: np.ndarray, k: int) -> Any:
            tensors = [Tensor(x, requires_grad=True) for x in inputs]
            model(*tensors, **options).backward(g if np.ndim(g) else float(g))
            grad = tensors[k].grad
            return np.zeros_like(inputs[k]) if grad is None else grad

        value = model(*map(Tensor, inputs), **options).numpy()
        return value, tuple(lambda g, k=k: pullback(g, k) for k in range(len(inputs)))

    return function


def wrong_forwards(op: str) -> Iterator[Planted]:
    """The slips in the value, those in value and pullbacks alike, and the wrong models."""
    for label, change in VALUES.items():
        yield Planted(f"{op}: value {label}", op, "forward", with_value(op, change))
    for label, factor in AGREEING.items():
        yield Planted(f"{op}: {label}", op, "forward", multiplied(op, factor))
    yield Planted(f"{op}: a constant added to the value", op, "forward", shifted(op))
    for label, model in (MODELS | OF_DENSITIES).get(op, {}).items():
        yield Planted(f"{op}: the value {label}", op, "forward", of_model(model))
