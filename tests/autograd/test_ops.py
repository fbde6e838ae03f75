"""The value of every op against its definition in NumPy or, in 30 digits, in mpmath."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from tinyvae.autograd import OPS, Tensor, ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4)) * 2
Y = RNG.normal(size=(2, 3, 4)) * 2
POSITIVE = RNG.uniform(0.1, 5, (2, 3, 4))


def exactly(function):
    """A function of numbers in 30 digits, element by element."""

    def of_array(x):
        with mp.workdps(30):
            return np.array([float(function(mp.mpf(v))) for v in x.ravel()]).reshape(x.shape)

    return of_array


def by_rows(function, axis=-1):
    """A function of a list of exact numbers along one axis."""

    def of_row(row):
        with mp.workdps(30):
            return np.array([float(v) for v in function([mp.mpf(v) for v in row])])

    return lambda x: np.apply_along_axis(of_row, axis, x)


def _log_sum(row):
    return mp.log(mp.fsum(mp.exp(mp.mpf(v)) for v in row))


def _softmax(row):
    return [mp.exp(v - _log_sum(row)) for v in row]


def _log_softmax(row):
    return [v - _log_sum(row) for v in row]


def _matmul(a, b):
    return np.einsum("bij,bjk->bik", a, b)


def _by_column(x):
    return np.einsum("ijk->j", x)


def _in_pairs(a, b):
    return np.array([*zip(a.flat, b.flat, strict=True)]).reshape(*a.shape, 2)


# The name, inputs and options of an op, and the same by NumPy or mpmath
VALUES = [
    ("add", (X, Y), {}, lambda a, b: a + b),
    ("subtract", (X, Y[0]), {}, lambda a, b: a - b),
    ("multiply", (X, Y[:, :1]), {}, lambda a, b: a * b),
    ("divide", (X, POSITIVE), {}, lambda a, b: a / b),
    ("negative", (X,), {}, lambda x: -x),
    ("power", (X,), {"exponent": 3}, lambda x: x * x * x),
    ("power", (POSITIVE,), {"exponent": 0.5}, np.sqrt),
    ("power", (POSITIVE,), {"exponent": -1}, lambda x: 1 / x),
    ("maximum", (X, Y), {}, lambda a, b: np.where(a > b, a, b)),
    ("matmul", (X, Y.swapaxes(1, 2)), {}, _matmul),
    ("matmul", (X[0, 0], Y[0, 0]), {}, np.dot),
    ("matmul", (X[0, 0], Y[0].T), {}, lambda a, b: (a[:, None] * b).sum(0)),
    ("matmul", (X, Y[0, 0]), {}, lambda a, b: (a * b).sum(-1)),
    ("affine", (X[0], Y[0].T, X[1, :, 0]), {}, lambda x, w, b: np.einsum("bi,io->bo", x, w) + b),
    ("exp", (X,), {}, exactly(mp.exp)),
    ("log", (POSITIVE,), {}, exactly(mp.log)),
    ("sqrt", (POSITIVE,), {}, exactly(mp.sqrt)),
    ("abs", (X,), {}, lambda x: np.where(x < 0, -x, x)),
    ("tanh", (X,), {}, exactly(mp.tanh)),
    ("sigmoid", (X,), {}, exactly(lambda v: 1 / (1 + mp.exp(-v)))),
    ("softplus", (X,), {}, exactly(lambda v: mp.log(1 + mp.exp(v)))),
    ("relu", (X,), {}, lambda x: np.where(x > 0, x, 0)),
    ("leaky_relu", (X,), {}, lambda x: np.where(x > 0, x, x / 100)),
    ("leaky_relu", (X,), {"slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    ("elu", (X,), {}, exactly(lambda v: v if v > 0 else mp.exp(v) - 1)),
    ("elu", (X,), {"alpha": 0.5}, exactly(lambda v: v if v > 0 else (mp.exp(v) - 1) / 2)),
    (
        "gelu",
        (X,),
        {},
        exactly(lambda v: v / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (v + 0.044715 * v**3)))),
    ),
    ("sum", (X,), {}, lambda x: math.fsum(x.ravel())),
    ("sum", (X,), {"axis": 1}, lambda x: x[:, 0] + x[:, 1] + x[:, 2]),
    ("sum", (X,), {"axis": (0, 2), "keepdims": True}, lambda x: _by_column(x)[None, :, None]),
    ("mean", (X,), {"axis": (-1, 0)}, lambda x: _by_column(x) / 8),
    ("mean", (X,), {}, lambda x: math.fsum(x.ravel()) / 24),
    ("max", (X,), {"axis": 1}, lambda x: np.sort(x, axis=1)[:, -1]),
    ("max", (X,), {"keepdims": True}, lambda x: np.sort(x.ravel())[-1:].reshape(1, 1, 1)),
    ("logsumexp", (X,), {"keepdims": True}, by_rows(lambda row: [_log_sum(row)])),
    ("logsumexp", (X,), {"axis": 1}, lambda x: by_rows(lambda row: [_log_sum(row)], 1)(x)[:, 0]),
    ("logsumexp", (X,), {"axis": (0, 1, 2)}, lambda x: float(_log_sum(x.ravel()))),
    ("softmax", (X,), {}, by_rows(_softmax)),
    ("softmax", (X,), {"axis": 0}, by_rows(_softmax, axis=0)),
    ("log_softmax", (X,), {}, by_rows(_log_softmax)),
    ("log_softmax", (X,), {"axis": 1}, by_rows(_log_softmax, axis=1)),
    ("reshape", (X,), {"shape": (4, -1)}, lambda x: np.array([*x.flat]).reshape(4, 6)),
    ("transpose", (X,), {}, lambda x: np.einsum("ijk->kji", x)),
    ("transpose", (X,), {"axes": (1, -1, 0)}, lambda x: np.einsum("ijk->jki", x)),
    ("broadcast_to", (X[:, :1],), {"shape": (5, 2, 3, 4)}, lambda x: x + np.zeros((5, 2, 3, 4))),
    ("astype", (X,), {"dtype": "float32"}, lambda x: x.astype("float32")),
    ("getitem", (X,), {"index": (slice(None), -1)}, lambda x: x[:, 2]),
    ("getitem", (X,), {"index": [1, 0, 1]}, lambda x: np.stack([x[1], x[0], x[1]])),
    ("getitem", (X,), {"index": X > 0}, lambda x: np.array([v for v in x.flat if v > 0])),
    ("concatenate", (X, Y), {"axis": 1}, lambda a, b: np.array([[*a[0], *b[0]], [*a[1], *b[1]]])),
    ("stack", (X, Y), {"axis": -1}, _in_pairs),
]


@pytest.mark.parametrize(
    ("name", "inputs", "options", "oracle"), VALUES, ids=[f"{v[0]}-{v[2]}" for v in VALUES]
)
def test_the_value_is_that_of_the_definition(backend, name, inputs, options, oracle):
    got = OPS[name](*map(Tensor, inputs), **options).numpy()
    expected = np.asarray(oracle(*inputs))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14)


def test_every_op_has_its_value_tested():
    measured_elsewhere = {name for name in OPS if not hasattr(ops, name)}
    assert {v[0] for v in VALUES} == OPS.keys() - measured_elsewhere
