"""Every op has the values of its oracles, on every backend; and every oracle can say no."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import slips_of_densities
from oracles import ORACLES
from oracles.distributions import expected
from oracles.measure import rounded

from tinyvae.autograd import OPS, Tensor
from tinyvae.backend.numpy_kernels import KERNELS

WITH_KERNELS = sorted(KERNELS.keys() & OPS.keys())
everywhere = pytest.mark.parametrize("name", ORACLES)


def on_tensors(name: str) -> Callable[..., np.ndarray]:
    """The op as a user calls it, on the backend in use."""

    def forward(*inputs: Any, **options: Any) -> np.ndarray:
        operands = (Tensor(x) if isinstance(x, np.ndarray) else x for x in inputs)
        return OPS[name](*operands, **options).numpy()

    return forward


def value_alone(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda *inputs, **options: np.asarray(function(*inputs, **options)[0])


def test_every_op_has_oracles():
    assert ORACLES.keys() == OPS.keys()
    assert all(ORACLES.values())


@everywhere
def test_the_value_is_that_of_the_definition(backend, name):
    for oracle in ORACLES[name]:
        oracle(on_tensors(name))


@everywhere
def test_the_formula_behind_a_kernel_has_the_same_values(name):
    for oracle in ORACLES[name]:
        oracle(value_alone(OPS[name].bare))


@pytest.mark.parametrize("name", WITH_KERNELS)
def test_a_kernel_has_the_value_of_the_definition(name):
    for oracle in ORACLES[name]:
        oracle(value_alone(KERNELS[name]))


# The oracles themselves


def test_the_quadrature_gives_the_moments_of_a_gaussian():
    with mp.workdps(50):
        mean, log_variance = mp.mpf("-1.7"), mp.mpf("2.3")
        moments = [expected(lambda z, k=k: z**k, mean, log_variance) for k in range(5)]
        v, m = mp.exp(log_variance), mean
        true = [1, m, m**2 + v, m**3 + 3 * m * v, m**4 + 6 * m**2 * v + 3 * v**2]
        errors = [abs(a - b) for a, b in zip(moments, true, strict=True)]
    assert max(errors) < mp.mpf("1e-45")


def test_terms_that_cancel_are_added_before_they_are_rounded():
    with mp.workdps(50):
        exact = rounded([(mp.mpf(1), mp.mpf("1e-30"), mp.mpf(-1))], (1,))
    assert exact.values.tolist() == [1e-30]
    assert exact.units.tolist() == [2]


def refused(name: str, wrong: Callable[..., Any]) -> list[bool]:
    """For every oracle of an op whether it says that a forward is wrong."""
    return [says_no(oracle, wrong) for oracle in ORACLES[name]]


def says_no(oracle: Callable[..., None], wrong: Callable[..., Any]) -> bool:
    try:
        with np.errstate(all="ignore"):
            oracle(wrong)
    except AssertionError:
        return True
    except ValueError:  # of arrays that the wrong forward cannot take
        return False
    return False


def nothing(*_: Any, **__: Any) -> np.ndarray:
    return np.array(math.nan)


@everywhere
def test_every_oracle_refuses_what_is_no_number(name):
    assert all(refused(name, nothing))


@everywhere
def test_an_error_of_a_billionth_is_seen(name):
    right = value_alone(OPS[name].bare)

    def wrong(*inputs: Any, **options: Any) -> np.ndarray:
        value = right(*inputs, **options)
        return (value * (1 + 4e-6 if value.dtype == "float32" else 1 + 1e-9)).astype(value.dtype)

    assert sum(refused(name, wrong)) >= 2


def normal_cdf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda v: math.erfc(-v / math.sqrt(2)) / 2)(x)


def sigma(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def clipped_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    p = np.clip(sigma(logits), 1e-7, 1 - 1e-7)
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(axis=-1)


# Slips that one has seen or made: they run, they look right, and some have a right gradient
SLIPS: dict[str, tuple[Callable[..., Any], ...]] = {
    "add": (lambda a, b: a - b,),
    "subtract": (lambda a, b: b - a,),
    "multiply": (lambda a, b: a * abs(b),),
    "divide": (lambda a, b: b / a, lambda a, b: a / (b + 1e-8)),
    "maximum": (np.minimum, lambda a, b: np.maximum(a, 0 * b)),
    "negative": (lambda x: x,),
    "power": (lambda x, exponent: x * exponent, lambda x, exponent: abs(x) ** exponent),
    "matmul": (np.dot, lambda a, b: a @ abs(b)),
    "affine": (lambda x, w, b: x @ w, lambda x, w, b: x @ w - b),
    "affine_relu": (lambda x, w, b: x @ w + b, lambda x, w, b: np.maximum(x @ w, 0) + b),
    "exp": (np.expm1, np.exp2),
    "log": (np.log1p, np.log2, lambda x: np.log(x + 1e-8)),
    "sqrt": (lambda x: np.sqrt(x + 1e-12),),
    "abs": (lambda x: x, lambda x: np.sqrt(x * x)),
    "tanh": (sigma, lambda x: np.clip(x, -1, 1), lambda x: 1 - 2 / (np.exp(2 * x) + 1)),
    "sigmoid": (sigma, lambda x: (1 + np.tanh(x / 2)) / 2),
    "softplus": (
        lambda x: np.log(1 + np.exp(x)),
        lambda x: np.where(x > 20, x, np.log1p(np.exp(x))),
    ),
    "relu": (lambda x: np.minimum(x, 0), lambda x: np.clip(x, 0, 6)),
    "leaky_relu": (
        lambda x, slope=0.01: np.maximum(x, 0.01 * x),
        lambda x, slope=0.01: np.maximum(x, slope * x),
    ),
    "elu": (lambda x, alpha=1.0: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),),
    "gelu": (lambda x: x * normal_cdf(x), lambda x: x * sigma(1.702 * x)),
    "sum": (
        lambda x, axis=None, keepdims=False: x.sum(),
        lambda x, axis=None, keepdims=False: x.mean(axis, keepdims=keepdims),
    ),
    "mean": (lambda x, axis=None, keepdims=False: x.sum(axis, keepdims=keepdims) / x.size,),
    "max": (
        lambda x, axis=None, keepdims=False: x.max(axis),
        lambda x, axis=None, keepdims=False: abs(x).max(axis, keepdims=keepdims),
    ),
    "logsumexp": (
        lambda x, axis=-1, keepdims=False: np.log(np.exp(x).sum(axis, keepdims=keepdims)),
    ),
    "importance_bound": (
        lambda x: np.log(np.exp(x).mean(axis=-1)),
        lambda x: np.logaddexp.reduce(x, axis=-1),
        lambda x: x.mean(axis=-1),
    ),
    "softmax": (
        lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis, keepdims=True),
        lambda x, axis=-1: OPS["softmax"].bare(x)[0],
    ),
    "log_softmax": (lambda x, axis=-1: np.log(OPS["softmax"].bare(x, axis=axis)[0]),),
    "reshape": (
        lambda x, shape: OPS["reshape"].bare(x.T, shape=shape)[0],
        lambda x, shape: x.reshape(-1).reshape(shape[0] if isinstance(shape[0], tuple) else shape),
    ),
    "transpose": (
        lambda x, axes=None: x.T.copy(),
        lambda x, axes=None: x.transpose(np.argsort(axes) if axes else None).copy(),
    ),
    "broadcast_to": (
        lambda x, shape: np.broadcast_to(x, shape),
        lambda x, shape: np.resize(x, shape),
    ),
    "astype": (lambda x, dtype: x.copy(), lambda x, dtype: x.astype("float32").astype(dtype)),
    "getitem": (lambda x, index: x[index], lambda x, index: np.roll(x, 1)[index].copy()),
    "concatenate": (lambda *xs, axis=0: np.concatenate(xs[::-1], axis),),
    "stack": (lambda *xs, axis=0: np.stack(xs), lambda *xs, axis=0: np.stack(xs[::-1], axis)),
    "bernoulli_cross_entropy": (
        clipped_cross_entropy,
        lambda logits, t: (np.logaddexp(0, logits) - (1 - t) * logits).sum(axis=-1),
        lambda logits, t: (np.logaddexp(0, logits) - t * logits).mean(axis=-1),
        lambda logits, t: (t * logits - np.logaddexp(0, logits)).sum(axis=-1),
        lambda logits, t: (np.maximum(logits, 0) - t * logits).sum(axis=-1),
    ),
    "gaussian_sample": (
        lambda m, v, n: m + np.exp(v) * n,
        lambda m, v, n: m + v * n,
        lambda m, v, n: m + np.exp(v / 2),
        lambda m, v, n: m + np.exp(-v / 2) * n,
        lambda m, v, n: m + 0.01 * np.exp(v / 2) * n,
    ),
    "kl_standard_normal": (
        lambda m, v: ((m * m + np.exp(v) - v) / 2).sum(axis=-1),
        lambda m, v: (m * m + np.exp(v) - 1 - v).sum(axis=-1),
        lambda m, v: ((1 + v - m * m - np.exp(v)) / 2).sum(axis=-1),
        lambda m, v: ((m * m + np.exp(v / 2) - 1 - v / 2) / 2).sum(axis=-1),
        lambda m, v: ((m * m + np.exp(v) - 1 - v) / 2).mean(axis=-1),
        lambda m, v: ((m * m + np.exp(v) - 1 - v) / 2).sum(axis=0),
    ),
    "kl_gaussian": (
        lambda m, v, p, w: ((m - p) ** 2 * np.exp(-v) + np.exp(w - v) - 1 - w + v).sum(axis=-1) / 2,
        lambda m, v, p, w: ((m - p) ** 2 + np.exp(v - w) - 1 - v + w).sum(axis=-1) / 2,
        lambda m, v, p, w: ((m - p) ** 2 * np.exp(-w) + np.exp(v - w) - 1 - v + w).sum(axis=-1) / 2,
    ),
    "gaussian_log_likelihood": (
        lambda x, m, v: -((x - m) ** 2 * np.exp(-v) + v).sum(axis=-1) / 2,
        lambda x, m, v: -((x - m) ** 2 * np.exp(-v) + v / 2 + np.log(2 * np.pi)).sum(axis=-1) / 2,
        lambda x, m, v: -((x - m) ** 2 * np.exp(-v / 2) + v + np.log(2 * np.pi)).sum(axis=-1) / 2,
        lambda x, m, v: -((x - m) ** 2).sum(axis=-1),
    ),
    **slips_of_densities.DENSITIES,
}


@everywhere
def test_a_usual_slip_is_seen(name):
    for k, wrong in enumerate(SLIPS[name]):
        assert any(refused(name, wrong)), f"slip {k}"


@everywhere
def test_a_forward_that_changes_its_input_is_seen(name):
    right = value_alone(OPS[name].bare)

    def wrong(x: np.ndarray, *others: Any, **options: Any) -> np.ndarray:
        value = right(x, *others, **options)
        x += 1
        return value

    assert sum(refused(name, wrong)) >= 2
