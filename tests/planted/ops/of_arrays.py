"""Wrong gradients of reductions and of changes of shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from planted.ops.pullbacks import Entry, first, one_way
from tinyvae.autograd import OPS


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """e^x over the sum of e^x."""
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def spread(g: Any, x: np.ndarray, axis: Any = None, keepdims: bool = False) -> np.ndarray:
    """The gradient of a reduction, repeated to the shape of its input."""
    if axis is not None and not keepdims:
        axes = axis if isinstance(axis, tuple) else (axis,)
        g = np.expand_dims(g, tuple(k % x.ndim for k in axes))
    return np.broadcast_to(g, x.shape)


def assigned(g: np.ndarray, x: np.ndarray, index: Any) -> np.ndarray:
    """Written to its place, and over what was there where an element was taken twice."""
    gradient = np.zeros_like(x)
    gradient[index] = g
    return gradient


def up_to(x: np.ndarray, top: Any, share: Any) -> np.ndarray:
    """``share`` where x is the largest of its axis."""
    return np.where(x == top, share, 0 * share)


REDUCTIONS: dict[str, list[Entry]] = {
    "sum": [
        (0, "the mean's", "factor", lambda g, x, **o: spread(g, x, **o) * np.size(g) / x.size),
        (0, "times x", "", lambda g, x, **o: spread(g, x, **o) * x),
        (0, "all of g to every element", "", lambda g, x, **o: np.full_like(x, np.sum(g))),
        (
            0,
            "in another order",
            "permuted",
            lambda g, x, **o: spread(g, x, **o)[..., ::-1][::-1],
        ),
    ],
    "mean": [
        (0, "the number of elements forgotten", "factor", lambda g, x, **o: spread(g, x, **o)),
        (
            0,
            "by the number of all elements",
            "factor",
            lambda g, x, **o: spread(g, x, **o) / x.size,
        ),
        (0, "by the number of rows", "factor", lambda g, x, **o: spread(g, x, **o) / len(x)),
        (
            0,
            "divided twice",
            "factor",
            lambda g, x, **o: spread(g, x, **o) * (np.size(g) / x.size) ** 2,
        ),
    ],
    "max": [
        (0, "to all elements", "", lambda g, x, **o: spread(g, x, **o)),
        (
            0,
            "to the smallest",
            "",
            lambda g, x, **o: up_to(x, x.min(**o | {"keepdims": True}), spread(g, x, **o)),
        ),
        (0, "to the largest of all", "", lambda g, x, **o: up_to(x, x.max(), spread(g, x, **o))),
        (0, "as the mean's", "", lambda g, x, **o: spread(g, x, **o) * np.size(g) / x.size),
        (
            0,
            "times the largest",
            "",
            lambda g, x, **o: up_to(x, x.max(**o | {"keepdims": True}), spread(g, x, **o)) * x,
        ),
    ],
    "logsumexp": [
        (0, "of the sum", "", lambda g, x, axis=-1, **o: spread(g, x, axis, **o)),
        (0, "not normalised", "", lambda g, x, axis=-1, **o: spread(g, x, axis, **o) * np.exp(x)),
        (
            0,
            "of the maximum",
            "",
            lambda g, x, axis=-1, **o: up_to(
                x, x.max(axis=axis, keepdims=True), spread(g, x, axis, **o)
            ),
        ),
        (
            0,
            "normalised over all axes",
            "",
            lambda g, x, axis=-1, **o: spread(g, x, axis, **o) * softmax(x, None),
        ),
    ],
    "softmax": [
        (
            0,
            "its diagonal only",
            "diagonal",
            lambda g, x, axis=-1: g * softmax(x, axis) * (1 - softmax(x, axis)),
        ),
        (0, "y g, without the sum", "", lambda g, x, axis=-1: g * softmax(x, axis)),
        (
            0,
            "the sum alone",
            "",
            lambda g, x, axis=-1: (
                -softmax(x, axis) * (g * softmax(x, axis)).sum(axis, keepdims=True)
            ),
        ),
        (
            0,
            "the sum of g for that of g y",
            "",
            lambda g, x, axis=-1: softmax(x, axis) * (g - g.sum(axis, keepdims=True)),
        ),
        (
            0,
            "the mean for the sum",
            "",
            lambda g, x, axis=-1: (
                softmax(x, axis) * (g - (g * softmax(x, axis)).mean(axis, keepdims=True))
            ),
        ),
        (
            0,
            "summed over all axes",
            "",
            lambda g, x, axis=-1: softmax(x, axis) * (g - (g * softmax(x, axis)).sum()),
        ),
        (
            0,
            "the log-softmax's",
            "",
            lambda g, x, axis=-1: g - softmax(x, axis) * g.sum(axis, keepdims=True),
        ),
        (
            0,
            "the row's mean taken off twice",
            "",
            lambda g, x, axis=-1: (
                softmax(x, axis) * (g - 2 * (g * softmax(x, axis)).sum(axis, keepdims=True))
            ),
        ),
    ],
    "log_softmax": [
        (0, "g alone", "", lambda g, x, axis=-1: g),
        (0, "the sum forgotten", "", lambda g, x, axis=-1: g - softmax(x, axis) * g),
        (0, "centred", "", lambda g, x, axis=-1: g - g.mean(axis, keepdims=True)),
        (
            0,
            "the value for its exponential",
            "",
            lambda g, x, axis=-1: g - np.log(softmax(x, axis)) * g.sum(axis, keepdims=True),
        ),
        (
            0,
            "the softmax's",
            "",
            lambda g, x, axis=-1: (
                softmax(x, axis) * (g - (g * softmax(x, axis)).sum(axis, keepdims=True))
            ),
        ),
        (0, "summed over all axes", "", lambda g, x, axis=-1: g - softmax(x, axis) * g.sum()),
    ],
}

SHAPES: dict[str, list[Entry]] = {
    "reshape": [
        (0, "in column-major order", "permuted", lambda g, x, shape: g.reshape(x.shape, order="F")),
        (0, "transposed", "", lambda g, x, shape: g.T.reshape(x.shape)),
        (0, "the shape left as it is", "error", lambda g, x, shape: g),
    ],
    "transpose": [
        (
            0,
            "forwards again",
            "",
            lambda g, x, axes=None: g.transpose(axes).reshape(x.shape),
        ),
        (0, "reshaped", "", lambda g, x, axes=None: g.reshape(x.shape)),
        (0, "in reverse order", "permuted", lambda g, x, axes=None: g.T.reshape(x.shape)[::-1]),
    ],
    "broadcast_to": [
        (0, "averaged", "factor", lambda g, x, shape: one_way(g, x, np.mean)),
        (0, "the first", "broadcast", lambda g, x, shape: one_way(g, x, first)),
        (0, "the largest", "linear", lambda g, x, shape: one_way(g, x, np.max)),
        (0, "not summed", "error", lambda g, x, shape: g),
    ],
    "astype": [
        (0, "through whole numbers", "", lambda g, x, dtype: g.astype("int64").astype("float64")),
        (0, "through float16", "", lambda g, x, dtype: g.astype("float16").astype("float64")),
        (0, "through float32", "", lambda g, x, dtype: g.astype("float32").astype("float64")),
    ],
    "getitem": [
        (0, "assigned where it is to be added", "", lambda g, x, index: assigned(g, x, index)),
        (0, "to the whole row", "", lambda g, x, index: np.full_like(x, np.sum(g))),
        (
            0,
            "one row further",
            "permuted",
            lambda g, x, index: np.roll(OPS["getitem"].bare(x, index=index)[1](g), 1, 0),
        ),
        (
            0,
            "in reverse",
            "permuted",
            lambda g, x, index: OPS["getitem"].bare(x, index=index)[1](g[::-1]),
        ),
    ],
    "concatenate": [
        (
            0,
            "the slice from the end",
            "permuted",
            lambda g, *xs, axis=0: np.flip(g, axis).take(range(xs[0].shape[axis]), axis),
        ),
        (
            1,
            "the first slice",
            "permuted",
            lambda g, *xs, axis=0: g.take(range(xs[1].shape[axis]), axis),
        ),
        (
            1,
            "one element too early",
            "permuted",
            lambda g, *xs, axis=0: np.roll(g, 1, axis).take(
                range(xs[0].shape[axis], xs[0].shape[axis] + xs[1].shape[axis]), axis
            ),
        ),
        (0, "all of it", "error", lambda g, *xs, axis=0: g),
    ],
    "stack": [
        (0, "the last layer", "swapped", lambda g, *xs, axis=0: g.take(-1, axis)),
        (1, "the first layer", "swapped", lambda g, *xs, axis=0: g.take(0, axis)),
        (0, "the layers added up", "", lambda g, *xs, axis=0: g.sum(axis=axis)),
        (1, "the layers averaged", "", lambda g, *xs, axis=0: g.mean(axis=axis)),
    ],
}
