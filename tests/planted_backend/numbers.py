"""Numbers of another kind: NumPy's scalars, float64 by default, and arrays without axes."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from planted_backend.planting import Planted, a_derivation, an_op, planted_in
from tinyvae.autograd.ops import logistic, namespace
from tinyvae.backend import Array

ERRORS: list[Planted] = []
planted = partial(planted_in, ERRORS)


# NumPy's scalars and arrays as operands


@planted(an_op("gelu"), "NumPy operand", "a NumPy float64 does not mix")
def constant_with_a_root_of_numpys(x: Array) -> Any:
    c, k = np.sqrt(2 / np.pi), 0.044715
    t = namespace(x).tanh(c * (x + k * x * x * x))
    slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (c * (1 + 3 * k * x * x))
    return 0.5 * x * (1 + t), lambda g: g * slope


@planted(an_op("leaky_relu", slope=0.01), "NumPy operand", "a NumPy float32 does not mix")
def slope_in_the_dtype_of_the_input(x: Array, slope: float) -> Any:
    xp, slope = namespace(x), x.dtype.type(slope)
    return xp.where(x > 0, x, slope * x), lambda g: xp.where(x > 0, g, slope * g)


@planted(
    an_op("gaussian_log_likelihood", (2, 5), (2, 5), (2, 5)), "NumPy operand", "a NumPy float32"
)
def log_two_pi_of_numpys(x: Array, mean: Array, log_variance: Array) -> Any:
    xp, r = namespace(x), x - mean
    square = r * r * xp.exp(-log_variance)
    value = -xp.sum(square + log_variance + np.log(2 * np.pi).astype("float32"), axis=-1) / 2
    pull = r * xp.exp(-log_variance)
    return value, (
        lambda g: -g[..., None] * pull,
        lambda g: g[..., None] * pull,
        lambda g: g[..., None] * ((square - 1) / 2),
    )


@planted(a_derivation("kl_standard_normal"), "NumPy operand", "a NumPy ndarray does not mix")
def divergence_with_a_table_on_the_host(mean: Array, log_variance: Array) -> Any:
    weights = np.full(mean.shape[-1:], 0.5, dtype="float32")
    surplus = namespace(mean).expm1(log_variance)
    value = ((mean * mean + surplus - log_variance) * weights).sum(axis=-1)
    return value, (lambda g: g[..., None] * mean, lambda g: g[..., None] * (surplus / 2))


def bounded(x: Array) -> Any:
    tiny = float(namespace(x).finfo(x.dtype).tiny)
    y = namespace(x).maximum(x, tiny)
    return y, lambda g: g * (x > tiny)


@planted(an_op(bounded), "NumPy operand", "a NumPy float32 does not mix")
def smallest_number_as_finfo_gives_it(x: Array) -> Any:
    tiny = namespace(x).finfo(x.dtype).tiny
    return namespace(x).maximum(x, tiny), lambda g: g * (x > tiny)


def last_row(x: Array) -> Any:
    def pullback(g: Array) -> Array:
        gx = namespace(x).zeros_like(x)
        gx[2] = g
        return gx

    return x[2].copy(), pullback


@planted(an_op(last_row), "NumPy operand", "a NumPy int64 does not mix")
def row_by_an_integer_of_numpys(x: Array) -> Any:
    row = np.arange(3).max()
    return x[row].copy(), last_row(x)[1]


def padded(x: Array) -> Any:
    xp = namespace(x)
    column = xp.zeros((len(x), 1), dtype=x.dtype)
    return xp.concatenate([x, column], axis=1), lambda g: g[:, :-1]


@planted(an_op(padded), "NumPy operand", "a NumPy ndarray does not mix")
def padded_with_zeros_of_the_host(x: Array) -> Any:
    column = np.zeros((len(x), 1), dtype="float32")
    return namespace(x).concatenate([x, column], axis=1), lambda g: g[:, :-1]


@planted(an_op("affine", (3, 4), (4, 2), (2,)), "NumPy operand", "does not mix")
def gradient_written_to_a_place_on_the_host(x: Array, weight: Array, bias: Array) -> Any:
    xp, place = namespace(x), np.empty(weight.shape, "float32")
    y = xp.matmul(x, weight) + bias
    return y, (
        lambda g: g @ weight.T,
        lambda g: xp.matmul(x.T, g, out=place),
        lambda g: g.sum(axis=0),
    )


# float64 by default


@planted(a_derivation("kl_standard_normal"), "float64", "float64.* cast with")
def sum_begun_from_zeros(mean: Array, log_variance: Array) -> Any:
    xp = namespace(mean)
    kl, surplus = xp.zeros(len(mean)), xp.expm1(log_variance)
    for k in range(mean.shape[1]):
        kl += (mean[:, k] * mean[:, k] + surplus[:, k] - log_variance[:, k]) / 2
    return kl, (lambda g: g[..., None] * mean, lambda g: g[..., None] * (surplus / 2))


def ramp(x: Array) -> Any:
    xp = namespace(x)
    weights = xp.linspace(0, 1, x.shape[-1], dtype=x.dtype)
    return x * weights, lambda g: g * weights


@planted(an_op(ramp), "float64", "float64.* cast with")
def weights_of_linspace(x: Array) -> Any:
    weights = namespace(x).linspace(0, 1, x.shape[-1])
    return x * weights, lambda g: g * weights


@planted(an_op(ramp), "float64", "float64.* cast with")
def weights_of_a_range_divided(x: Array) -> Any:
    weights = namespace(x).arange(x.shape[-1]) / (x.shape[-1] - 1)
    return x * weights, lambda g: g * weights


@planted(an_op("relu"), "float64", "float64.* cast with")
def mask_made_a_number_by_a_product(x: Array) -> Any:
    mask = (x > 0) * 1.0
    return x * mask, lambda g: g * mask


@planted(an_op("mean"), "float64", "float64.* cast with")
def mean_by_a_count_on_the_device(x: Array) -> Any:
    xp = namespace(x)
    count = xp.asarray(x.size)
    return xp.sum(x) / count, lambda g: xp.broadcast_to(g / count, x.shape)


@planted(an_op("softplus"), "float64", r"float64: \d+ arrays")
def sum_of_exponentials_in_float64_and_back(x: Array) -> Any:
    """The numbers are right; a GPU takes up to 64 times as long for them."""
    xp = namespace(x)
    y = xp.log1p(xp.exp(x.astype("float64"))).astype(x.dtype)
    return y, lambda g: g * logistic(x)


@planted(an_op("max", (3, 4), axis=1), "float64", "float64.* cast with")
def share_of_those_that_tie_from_a_count(x: Array, axis: int) -> Any:
    xp = namespace(x)
    y = xp.max(x, axis=axis)
    first = x == y[:, None]
    share = first / xp.sum(first, axis=axis, keepdims=True)
    return y, lambda g: g[:, None] * share


@planted(an_op("affine", (3, 4), (4, 2), (2,)), "float64", "float64.* cast with")
def gradient_written_to_a_place_of_float64(x: Array, weight: Array, bias: Array) -> Any:
    xp = namespace(x)
    place = xp.empty(weight.shape)
    return x @ weight + bias, (
        lambda g: g @ weight.T,
        lambda g: xp.matmul(x.T, g, out=place),
        lambda g: g.sum(axis=0),
    )


@planted(a_derivation("gaussian_sample"), "float64", "float64.* cast with")
def noise_scaled_by_a_half_on_the_device(mean: Array, log_variance: Array, noise: Array) -> Any:
    xp = namespace(mean)
    half = xp.full((), 0.5)
    sigma = xp.exp(half * log_variance)
    return mean + sigma * noise, (
        lambda g: g,
        lambda g: g * sigma * noise / 2,
        lambda g: g * sigma,
    )


# Arrays without axes, where NumPy gives scalars


def from_the_first(x: Array) -> Any:
    y = (x - x[0, 0]) / (1 + abs(x[0, 0]))

    def pullback(g: Array) -> Array:
        return g / (1 + abs(x[0, 0]))

    return y, pullback


@planted(an_op(from_the_first), "0-d", "other numbers")
def element_kept_while_its_array_changes(x: Array) -> Any:
    """NumPy gives a number; a GPU a view, which is 0 once it is subtracted."""
    y = x.copy()
    first = y[0, 0]
    y -= first
    y /= 1 + abs(first)
    return y, from_the_first(x)[1]


def row_sums_and_total(x: Array) -> Any:
    xp = namespace(x)
    sums = xp.sum(x, axis=1)
    y = xp.concatenate([sums, xp.sum(sums)[None]])
    return y, lambda g: xp.broadcast_to((g[:-1] + g[-1])[:, None], x.shape)


@planted(an_op(row_sums_and_total), "0-d", "other numbers")
def total_that_adds_to_its_first_term(x: Array) -> Any:
    """NumPy makes a new number of each sum; on a GPU the first row's is added to."""
    xp = namespace(x)
    sums = [row.sum() for row in x]
    total = sums[0]
    for term in sums[1:]:
        total += term
    return xp.stack([xp.asarray(s) for s in (*sums, total)]), row_sums_and_total(x)[1]


@planted(an_op("mean"), "0-d", "of unsized object")
def mean_of_what_is_a_scalar_or_else_rows(x: Array) -> Any:
    xp = namespace(x)
    total = xp.sum(x)
    total = total if isinstance(total, np.floating) else sum(row for row in total)
    return xp.asarray(total / x.size), lambda g: xp.broadcast_to(g / x.size, x.shape)


@planted(an_op("mean"), "0-d", "DeviceArray doesn't define __round__")
def mean_rounded_by_python(x: Array) -> Any:
    xp = namespace(x)
    y = xp.asarray(round(xp.sum(x) / x.size, 6))
    return y, lambda g: xp.broadcast_to(g / x.size, x.shape)


# Waits for the host


@planted(an_op("sigmoid"), "wait", "waits: bool")
def branch_for_large_numbers(x: Array) -> Any:
    xp = namespace(x)
    y = xp.exp(x) / (1 + xp.exp(x)) if x.max() < 80 else logistic(x)
    return y, lambda g: g * y * (1 - y)


@planted(an_op("logsumexp"), "wait", "waits: bool")
def finite_or_not_asked_of_all(x: Array) -> Any:
    xp = namespace(x)
    top = xp.max(x, axis=-1, keepdims=True)
    if not xp.isfinite(top).all():
        top = xp.zeros_like(top)
    y = xp.log(xp.sum(xp.exp(x - top), axis=-1, keepdims=True)) + top
    return y[..., 0], lambda g: g[..., None] * xp.exp(x - y)


@planted(an_op("leaky_relu"), "wait", "waits: boolean index")
def negative_elements_picked_by_a_mask(x: Array) -> Any:
    y = x.copy()
    y[x < 0] = 0.01 * x[x < 0]
    return y, lambda g: namespace(x).where(x > 0, g, 0.01 * g)


@planted(an_op("softmax"), "wait", "waits: bool")
def sums_to_one_asserted(x: Array) -> Any:
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    y = e / xp.sum(e, axis=-1, keepdims=True)
    assert xp.allclose(xp.sum(y, axis=-1), 1)
    return y, lambda g: y * (g - xp.sum(g * y, axis=-1, keepdims=True))


def to_unit_length(x: Array) -> Any:
    length = namespace(x).sqrt((x * x).sum())
    y = x / length
    return y, lambda g: (g - y * (g * y).sum()) / length


@planted(an_op(to_unit_length), "wait", "waits: float")
def length_by_the_root_of_math(x: Array) -> Any:
    length = math.sqrt((x * x).sum())
    y = x / length
    return y, lambda g: (g - y * (g * y).sum()) / length


@planted(an_op("max", (7,)), "wait", "waits: bool")
def largest_by_python(x: Array) -> Any:
    y = max(x)
    return namespace(x).asarray(y), lambda g: g * (x == y)
