"""The derivations against 50 digits of mpmath, in units in the last place (ULP).

Every input has a last axis of length 1, so that no sum over dimensions is involved. Where a
result is a difference of terms that truly cancel, no float formula is good to a few ULP of the
difference; the unit is then that of its largest term.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import NamedTuple

import exact_densities
import mpmath as mp
import numpy as np
import pytest
from exact_densities import Exact, Terms, excess, sigma
from hypothesis import given
from hypothesis import strategies as st
from symbolic_arrays import ARRAYS

from tinyvae.autograd import DERIVATIONS, OPS, Tensor

ULPS = {"float64": 4.0, "float32": 5.0}  # NumPy's exp of float32 alone is good to 2.5
WIDER = {"kl_logistic_standard_normal": 2.0}  # its log variance is a difference near its least


def cross_entropy(x: mp.mpf, t: mp.mpf) -> mp.mpf:
    """-t log sigma(x) - (1 - t) log sigma(-x)."""
    return t * mp.log1p(mp.exp(-x)) + (1 - t) * mp.log1p(mp.exp(x))


LOG_2_PI = mp.log(2 * mp.pi)
EXACT = {
    "bernoulli_cross_entropy": Exact(
        lambda x, t: (cross_entropy(x, t),),
        (lambda x, t: ((1 - t) * sigma(x), -t * sigma(-x)), lambda x, t: (-x,)),
    ),
    "gaussian_sample": Exact(
        lambda m, v, n: (m, mp.exp(v / 2) * n),
        (
            lambda m, v, n: (mp.mpf(1),),
            lambda m, v, n: (mp.exp(v / 2) * n / 2,),
            lambda m, v, n: (mp.exp(v / 2),),
        ),
    ),
    "kl_standard_normal": Exact(
        lambda m, v: ((m**2 + excess(v)) / 2,),
        (lambda m, v: (m,), lambda m, v: (mp.expm1(v) / 2,)),
    ),
    "kl_gaussian": Exact(
        lambda m, v, p, w: (((m - p) ** 2 * mp.exp(-w) + excess(v - w)) / 2,),
        (
            lambda m, v, p, w: ((m - p) * mp.exp(-w),),
            lambda m, v, p, w: (mp.expm1(v - w) / 2,),
            lambda m, v, p, w: ((p - m) * mp.exp(-w),),
            lambda m, v, p, w: (-mp.expm1(v - w) / 2, -((m - p) ** 2) * mp.exp(-w) / 2),
        ),
    ),
    "importance_bound": Exact(lambda w: (w,), (lambda w: (mp.mpf(1),),)),  # of one sample
    "gaussian_log_likelihood": Exact(
        lambda x, m, v: (-((x - m) ** 2) * mp.exp(-v) / 2, -v / 2, -LOG_2_PI / 2),
        (
            lambda x, m, v: ((m - x) * mp.exp(-v),),
            lambda x, m, v: ((x - m) * mp.exp(-v),),
            lambda x, m, v: ((x - m) ** 2 * mp.exp(-v) / 2, -mp.mpf(1) / 2),
        ),
    ),
    **exact_densities.DENSITIES,
}

# Where each kind of input is looked at by hand
LOGITS = (0.0, -0.0, 1e-300, -1e-300, 1e-5, 0.7, -3.2, 36.7, -36.7, 80.0, -80.0, 745.5, 1e4, -1e4)
TARGETS = (0.0, 1.0, 1 / 255, 127 / 255, 254 / 255, 1e-10, 1 - 1e-10, 0.5)
MEANS = (0.0, 1e-160, 1e-25, 1e-8, -0.3, -1e3)  # the squares of the tiny ones underflow
LOG_VARIANCES = (0.0, 1e-300, 1e-8, -1e-8, 0.9, -1.1, 2.1, -80.0, 80.0)
NOISE = (0.0, 1e-8, 1.0, -2.5)
BY_HAND = {
    "bernoulli_cross_entropy": (LOGITS, TARGETS),
    "gaussian_sample": (MEANS, LOG_VARIANCES, NOISE),
    "kl_standard_normal": (MEANS, LOG_VARIANCES),
    "kl_gaussian": (MEANS[1:], LOG_VARIANCES, (0.0, 1.0), LOG_VARIANCES),
    "gaussian_log_likelihood": (MEANS, MEANS, LOG_VARIANCES),
    "importance_bound": (LOGITS,),
    **exact_densities.BY_HAND,
}

logits = st.floats(-1e4, 1e4)
targets = st.sampled_from([0.0, 1.0]) | st.integers(0, 255).map(lambda k: k / 255) | st.floats(0, 1)
means = st.floats(-1e3, 1e3)
log_variances = st.floats(-80, 80) | st.floats(-3, 3)
INPUTS = {
    "bernoulli_cross_entropy": st.tuples(logits, targets),
    "gaussian_sample": st.tuples(means, log_variances, st.floats(-6, 6)),
    "kl_standard_normal": st.tuples(means, log_variances),
    "kl_gaussian": st.tuples(means, log_variances, means, log_variances),
    "gaussian_log_likelihood": st.tuples(means, means, log_variances),
    "importance_bound": st.tuples(logits),
    **exact_densities.INPUTS,
}


@cache
def drawn(name: str) -> tuple[tuple[float, ...], ...]:
    """Points where rounding bites: nearly equal Gaussians, log variances near 0, grey pixels."""
    rng, n = np.random.default_rng(0), 400
    log_variance = np.where(rng.random(n) < 0.5, rng.uniform(-3, 3, n), rng.uniform(-80, 80, n))
    log_variance *= np.where(rng.random(n) < 0.3, 10.0 ** rng.uniform(-12, 0, n), 1)
    mean = rng.normal(size=n) * 10.0 ** rng.uniform(-9, 3, n)
    near = np.where(rng.random(n) < 0.5, 1 + 1e-6 * rng.normal(size=n), rng.normal(size=n))
    other_log_variance = np.clip(
        log_variance + rng.normal(size=n) * rng.choice([1e-6, 2], n), -80, 80
    )
    columns = {
        "bernoulli_cross_entropy": (rng.normal(size=n) * 4, rng.integers(0, 256, n) / 255),
        "gaussian_sample": (mean, log_variance, rng.normal(size=n)),
        "kl_standard_normal": (mean, log_variance),
        "kl_gaussian": (mean, log_variance, mean * near, other_log_variance),
        "gaussian_log_likelihood": (mean * near, mean, log_variance),
        "importance_bound": (mean,),
        **exact_densities.columns(n),
    }[name]
    return tuple(zip(*(c.tolist() for c in columns), strict=True))


class Point(NamedTuple):
    """Inputs rounded to a dtype, with the exact terms of the value and of every gradient."""

    inputs: tuple[float, ...]
    results: tuple[Terms, ...]


@cache
def point(name: str, dtype: str, inputs: tuple[float, ...]) -> Point | None:
    """None where a true result, or twice one of its terms, is beyond the dtype's largest number."""
    rounded = tuple(float(np.dtype(dtype).type(x)) for x in inputs)
    exact = EXACT[name]
    with mp.workdps(50):
        numbers = [mp.mpf(x) for x in rounded]
        results = tuple(f(*numbers) for f in (exact.value, *exact.gradients))
    largest = max(abs(term) for terms in results for term in terms)
    return Point(rounded, results) if 4 * largest < np.finfo(dtype).max else None


def computed(name: str, dtype: str, points: list[Point]) -> list[np.ndarray]:
    """The value and every gradient at all points in one go, each of shape (N,)."""
    columns = np.array([p.inputs for p in points], dtype).T[..., None]  # (inputs, N, 1)
    xs = [Tensor(np.ascontiguousarray(c), requires_grad=True) for c in columns]
    value = OPS[name](*xs)
    value.backward(np.ones(value.shape, dtype))
    return [value.numpy().reshape(-1), *(Tensor(x.grad).numpy()[:, 0] for x in xs)]


def ulps(got: float, terms: Terms, dtype: str) -> float:
    """The error in units in the last place of the largest of the terms and their sum."""
    with mp.workdps(50):
        true = mp.fsum(terms)
        largest = max(abs(true), *map(abs, terms))
        unit = float(np.spacing(np.dtype(dtype).type(float(largest))))
        return float(abs(mp.mpf(float(got)) - true) / mp.mpf(unit))


def worst(name: str, dtype: str, inputs: list[tuple[float, ...]]) -> list[tuple[float, Point]]:
    """For the value and each gradient the largest error, and where."""
    points = [p for p in (point(name, dtype, x) for x in inputs) if p is not None]
    results = computed(name, dtype, points)
    assert all(np.isfinite(r).all() and str(r.dtype) == dtype for r in results)
    return [
        max(((ulps(g, p.results[k], dtype), p) for g, p in zip(got, points, strict=True)))
        for k, got in enumerate(results)
    ]


@pytest.mark.parametrize("dtype", ULPS)
@pytest.mark.parametrize("name", EXACT)
def test_values_and_gradients_are_exact_to_a_few_ulp_at_points_chosen_by_hand(backend, name, dtype):
    inputs = list(itertools.product(*BY_HAND[name]))
    for error, where in worst(name, dtype, inputs):
        assert error <= ULPS[dtype] * WIDER.get(name, 1), where


@pytest.mark.parametrize("dtype", ULPS)
@pytest.mark.parametrize("name", EXACT)
def test_values_and_gradients_are_exact_to_a_few_ulp_where_rounding_bites(backend, name, dtype):
    for error, where in worst(name, dtype, list(drawn(name))):
        assert error <= ULPS[dtype] * WIDER.get(name, 1), where


@pytest.mark.parametrize("dtype", ULPS)
@pytest.mark.parametrize("name", EXACT)
def test_values_and_gradients_are_exact_to_a_few_ulp_at_any_point(backend, name, dtype):
    @given(INPUTS[name])
    def holds(inputs):
        if point(name, dtype, inputs) is not None:
            for error, where in worst(name, dtype, [inputs]):
                assert error <= ULPS[dtype] * WIDER.get(name, 1), where

    holds()


@pytest.mark.parametrize("name", EXACT)
def test_the_exact_gradients_are_the_derivatives_of_the_exact_values(name):
    inputs = {"bernoulli_cross_entropy": (1.3, 0.3), "kl_standard_normal": (0.4, -0.7)}
    at = [mp.mpf(x) for x in inputs.get(name, (0.4, -0.7, 1.1, 0.6)[: len(BY_HAND[name])])]
    exact = EXACT[name]
    with mp.workdps(50):
        for k, gradient in enumerate(exact.gradients):
            order = tuple(int(j == k) for j in range(len(at)))
            slope = mp.diff(lambda *x: mp.fsum(exact.value(*x)), at, order)
            assert abs(slope - mp.fsum(gradient(*at))) < mp.mpf("1e-20")


def test_every_derivation_of_single_dimensions_is_measured():
    assert DERIVATIONS.keys() == EXACT.keys() | ARRAYS.keys()
