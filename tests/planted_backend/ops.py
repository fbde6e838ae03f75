"""Ops and derivations that reach for NumPy, ask for too much, or write where they must not."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from planted_backend.planting import Planted, a_derivation, an_op, planted_in
from tinyvae.autograd.ops import fit, logistic, namespace
from tinyvae.backend import Array, numpy_kernels

ERRORS: list[Planted] = []
planted = partial(planted_in, ERRORS)
UFUNC, FUNCTION = "does not support ufuncs", "use the function of xp"


# NumPy's functions


@planted(an_op("relu"), "NumPy call", UFUNC)
def relu_by_numpys_maximum(x: Array) -> Any:
    return np.maximum(x, 0), lambda g: g * (x > 0)


@planted(an_op("softmax"), "NumPy call", FUNCTION)
def softmax_with_numpys_largest(x: Array, axis: int = -1) -> Any:
    xp = namespace(x)
    e = xp.exp(x - np.max(x, axis=axis, keepdims=True))
    y = e / xp.sum(e, axis=axis, keepdims=True)
    return y, lambda g: y * (g - xp.sum(g * y, axis=axis, keepdims=True))


@planted(an_op("max"), "NumPy call", FUNCTION)
def ties_counted_by_numpy_in_the_pullback_only(x: Array) -> Any:
    xp = namespace(x)
    y = xp.max(x)

    def pullback(g: Array) -> Array:
        first = (x == y).astype(x.dtype)
        return g * first / np.sum(first)

    return y, pullback


@planted(an_op("concatenate", (3, 4), (3, 2), axis=1), "NumPy call", FUNCTION)
def joined_by_numpy(a: Array, b: Array, axis: int) -> Any:
    return np.concatenate([a, b], axis=axis), (lambda g: g[:, :4], lambda g: g[:, 4:])


@planted(a_derivation("bernoulli_cross_entropy"), "NumPy call", UFUNC)
def cross_entropy_with_one_logarithm_of_numpys(logits: Array, targets: Array) -> Any:
    loss = (logits.clip(0, None) - targets * logits + np.log1p(np.exp(-abs(logits)))).sum(axis=-1)
    return loss, (
        lambda g: g[..., None] * (logistic(logits) - targets),
        lambda g: -g[..., None] * logits,
    )


@planted(a_derivation("kl_standard_normal"), "NumPy call", UFUNC)
def divergence_by_the_kernel_for_numpy(mean: Array, log_variance: Array) -> Any:
    return numpy_kernels.KERNELS["kl_standard_normal"](mean, log_variance)


def pick(x: Array) -> Any:
    where = namespace(x).asarray([0, 2, 2, 1])

    def pullback(g: Array) -> Array:
        gx = namespace(x).zeros_like(x)
        namespace(x).add.at(gx, where, g)
        return gx

    return x[where], pullback


@planted(an_op(pick), "NumPy call", UFUNC)
def gradient_added_up_by_numpy(x: Array) -> Any:
    gx, where = namespace(x).zeros_like(x), namespace(x).asarray([0, 2, 2, 1])
    return x[where], lambda g: np.add.at(gx, where, g) or gx


@planted(an_op("abs"), "implicit", "implicit conversion of a DeviceArray")
def input_made_an_array_to_be_sure(x: Array) -> Any:
    x = np.asarray(x)
    return abs(x), lambda g: g * np.sign(x)


@planted(an_op("mean"), "implicit", "implicit conversion of a DeviceArray")
def mean_cast_to_a_float32_of_numpys(x: Array) -> Any:
    xp = namespace(x)
    y = xp.asarray(np.float32(xp.sum(x))) / x.size
    return y, lambda g: xp.broadcast_to(g / x.size, x.shape)


@planted(an_op("affine", (3, 4), (4, 2), (2,)), "implicit", "implicit conversion")
def device_arrays_gathered_in_a_numpy_array(x: Array, weight: Array, bias: Array) -> Any:
    y = x @ weight + np.array([bias])[0]
    return y, (lambda g: g @ weight.T, lambda g: x.T @ g, lambda g: g.sum(axis=0))


# What CuPy has not, or does otherwise


@planted(an_op("exp"), "CuPy has not", r"exp: CuPy takes no \['where'\]")
def exponential_where_it_cannot_overflow(x: Array) -> Any:
    y = namespace(x).exp(x, out=namespace(x).zeros_like(x), where=x < 80)
    return y, lambda g: g * y


@planted(an_op("max"), "CuPy has not", r"max: CuPy takes no \['initial'\]")
def largest_with_an_initial_value(x: Array) -> Any:
    y = namespace(x).max(x, initial=-math.inf)
    return y, lambda g: g * (x == y)


@planted(an_op("matmul", (3, 4), (4, 2)), "CuPy has not", r"einsum: CuPy takes no \['out'\]")
def einsum_into_a_place(a: Array, b: Array) -> Any:
    out = namespace(a).empty((3, 2), dtype=a.dtype)
    y = namespace(a).einsum("ij,jk->ik", a, b, out=out)
    return y, (lambda g: g @ b.T, lambda g: a.T @ g)


@planted(a_derivation("kl_standard_normal"), "CuPy has not", r"no xp\.vecdot")
def rows_multiplied_by_vecdot(mean: Array, log_variance: Array) -> Any:
    xp = namespace(mean)
    spread = xp.sum(xp.expm1(log_variance) - log_variance, axis=-1)
    return (xp.vecdot(mean, mean) + spread) / 2, (
        lambda g: g[..., None] * mean,
        lambda g: g[..., None] * (xp.expm1(log_variance) / 2),
    )


@planted(an_op("sigmoid"), "CuPy has not", r"no xp\.errstate")
def warnings_silenced_on_the_device(x: Array) -> Any:
    with namespace(x).errstate(over="ignore"):
        y = 1 / (1 + namespace(x).exp(-x))
    return y, lambda g: g * y * (1 - y)


def exponential_that_overflows(x: Array) -> Any:
    y = namespace(x).exp(namespace(x).minimum(100 * x, 80))
    return y, lambda g: g * 100 * y * (100 * x < 80)


@planted(an_op(exponential_that_overflows), "CuPy has not", "other numbers")
def overflow_waited_for(x: Array) -> Any:
    """On a GPU nothing is raised: there is an infinity instead."""
    xp = namespace(x)
    try:
        with np.errstate(over="raise"):
            y = xp.exp(100 * x)
    except FloatingPointError:
        y = xp.exp(xp.minimum(100 * x, 80))
    return y, lambda g: g * 100 * y * (100 * x < 80)


def next_rows(x: Array) -> Any:
    where = namespace(x).asarray([1, 2, 2])

    def pullback(g: Array) -> Array:
        gx = namespace(x).zeros_like(x)
        namespace(x).add.at(gx, where, g)
        return gx

    return x[where], pullback


@planted(an_op(next_rows), "CuPy has not", "OutOfRangeError.*a GPU wraps it in silence")
def index_error_waited_for(x: Array) -> Any:
    """On a GPU nothing is raised: the index goes round to the first row."""
    try:
        rows = x[namespace(x).asarray([1, 2, 3])]
    except IndexError:
        rows = x[namespace(x).asarray([1, 2, 2])]
    return rows, next_rows(x)[1]


@planted(an_op(pick), "CuPy has not", "an index occurs twice")
def gradient_added_up_by_an_index(x: Array) -> Any:
    """Also on NumPy an element that was taken twice gets one of its two gradients."""
    gx, where = namespace(x).zeros_like(x), namespace(x).asarray([0, 2, 2, 1])

    def pullback(g: Array) -> Array:
        gx[where] += g
        return gx

    return x[where], pullback


# Writes into what belongs to others


@planted(an_op("relu"), "view", "read-only")
def relu_in_place(x: Array) -> Any:
    x *= x > 0
    return x, lambda g: g * (x > 0)


@planted(an_op("tanh"), "view", "read-only")
def pullback_that_scales_its_upstream(x: Array) -> Any:
    y = namespace(x).tanh(x)

    def pullback(g: Array) -> Array:
        g *= 1 - y * y
        return g

    return y, pullback


@planted(an_op("sigmoid"), "view", "read-only")
def pullback_that_works_in_the_value(x: Array) -> Any:
    y = logistic(x)

    def pullback(g: Array) -> Array:
        slope = y.reshape(-1)
        slope *= 1 - slope
        return g * slope.reshape(y.shape)

    return y, pullback


def shifted_rows(x: Array) -> Any:
    return x.reshape(-1) + 1, lambda g: g.reshape(x.shape)


@planted(an_op(shifted_rows), "view", "read-only")
def reshaped_and_shifted_in_place(x: Array) -> Any:
    """A reshape is a view: it is the input that is shifted."""
    y = x.reshape(-1)
    y += 1
    return y, lambda g: g.reshape(x.shape)


@planted(an_op("transpose"), "view", "read-only")
def upstream_turned_and_clipped_in_place(x: Array) -> Any:
    def pullback(g: Array) -> Array:
        turned = g.T
        return namespace(x).clip(turned, -1e3, 1e3, out=turned)

    return x.T.copy(), pullback


@planted(an_op("mean"), "view", "read-only")
def gradient_scaled_in_a_broadcast_view(x: Array) -> Any:
    """All the elements of the view are one; NumPy refuses too, and CuPy writes."""
    xp = namespace(x)

    def pullback(g: Array) -> Array:
        spread = xp.broadcast_to(g, x.shape)
        spread /= x.size
        return spread

    return xp.sum(x) / x.size, pullback


@planted(an_op("add", (3, 4), (4,)), "view", "read-only")
def broadcast_sum_that_is_the_upstream_itself(a: Array, b: Array) -> Any:
    def to_b(g: Array) -> Array:
        g[0] += g[1:].sum(axis=0)
        return g[0]

    return a + b, (lambda g: fit(g, a), to_b)
