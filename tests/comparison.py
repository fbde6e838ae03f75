"""Every op with every option, inputs of several scales, and how close another library must come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinyvae.autograd import OPS, Tensor
from tinyvae.backend import Backend

Draw = Callable[[np.random.Generator, tuple[int, ...], float], np.ndarray]
SCALES = (1e-3, 1.0, 30.0)


class On(NamedTuple):
    """The shapes of an op's inputs, a number for one that is a number, and its options."""

    shapes: tuple[Any, ...]
    options: dict[str, Any]


def on(*shapes: Any, **options: Any) -> On:
    return On(shapes, options)


MATRIX, CUBE = (3, 4), (2, 3, 4)
ONE = [on(MATRIX), on(())]
BROADCAST = [
    *(on(MATRIX, MATRIX), on((3, 1), (2, 1, 4)), on((), MATRIX), on(CUBE, (4,))),
    *(on(MATRIX, 0.5), on(2.0, MATRIX)),
]
REDUCE = [
    *(on(CUBE), on(CUBE, axis=0), on(CUBE, axis=-1), on(CUBE, axis=(0, -1)), on(CUBE, axis=None)),
    *(on(CUBE, keepdims=True), on(CUBE, axis=1, keepdims=True)),
]
NORMALISE = [on(CUBE), on(CUBE, axis=0), on(CUBE, axis=-2)]
INDICES: list[Any] = [
    *(1, np.s_[1:, ::2], np.s_[:, ::-2], np.s_[..., None, -1], [2, 0, 2, 2]),
    *(([0, 0, 1], [1, 1, 2]), np.s_[:, np.array([[1, 1], [0, -1]])], np.array([True, False, True])),
]
OF_TWO, OF_THREE = ([on(*[s] * n) for s in (MATRIX, CUBE, (4,))] for n in (2, 3))
OF_SCALES = [on(MATRIX, MATRIX, logs) for logs in (MATRIX, (1,), (), (3, 1), -1.5)]
TABLE: dict[str, list[On]] = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "maximum"), BROADCAST),
    **dict.fromkeys(("negative", "exp", "log", "sqrt", "abs", "tanh", "sigmoid", "softplus"), ONE),
    **dict.fromkeys(("relu", "gelu"), ONE),
    "leaky_relu": [*ONE, on(MATRIX, slope=0.2)],
    "elu": [*ONE, on(MATRIX, alpha=0.5)],
    "power": [on(MATRIX, exponent=n) for n in (0, 0.5, 1, 2, 2.5, 3, -1, -1.5)],
    "matmul": [
        *(on(MATRIX, (4, 2)), on((3,), (3,)), on((3,), MATRIX), on(MATRIX, (4,))),
        *(on((5, 2, 3), (5, 3, 4)), on((2, 1, 2, 3), (3, 3, 2)), on((5, 2, 3), (3, 4))),
        *(on((4, 2, 3), (3,)), on((3,), (4, 3, 2))),
    ],
    "affine": [on((5, 3), MATRIX, (4,)), on((1, 3), (3, 1), (1,))],
    "affine_relu": [on((5, 3), MATRIX, (4,)), on((1, 3), (3, 1), (1,))],
    **dict.fromkeys(("sum", "mean", "max", "logsumexp"), REDUCE),
    **dict.fromkeys(("softmax", "log_softmax"), NORMALISE),
    "reshape": [on(MATRIX, shape=(2, -1)), on(MATRIX, shape=((2, 6),))],
    "transpose": [on(CUBE), on(CUBE, axes=(2, 0, 1)), on(CUBE, axes=(-1, 0, -2))],
    "broadcast_to": [on(shape, shape=CUBE) for shape in ((3, 1), (), CUBE)],
    "astype": [on(MATRIX, dtype="float32"), on(MATRIX, dtype="float64")],
    "getitem": [on(MATRIX, index=index) for index in INDICES],
    "concatenate": [on(MATRIX, (2, 4), (1, 4)), on(MATRIX, (3, 2), axis=-1)],
    "stack": [on(MATRIX, MATRIX, MATRIX), on(MATRIX, MATRIX, axis=-1)],
    **dict.fromkeys(("bernoulli_cross_entropy", "continuous_bernoulli_cross_entropy"), OF_TWO),
    **dict.fromkeys(("gaussian_sample", "laplace_sample", "logistic_sample"), OF_THREE),
    **dict.fromkeys(("uniform_sample", "uniform_log_likelihood"), OF_THREE),
    **dict.fromkeys(("kl_standard_normal", "kl_laplace_standard_normal"), OF_TWO),
    **dict.fromkeys(("kl_logistic_standard_normal", "kl_uniform_standard_normal"), OF_TWO),
    "kl_gaussian": [on(*(shape,) * 4) for shape in (MATRIX, CUBE, (4,))],
    "importance_bound": [on(CUBE), on((5,)), on((4, 1))],
    "gaussian_log_likelihood": OF_SCALES,
    **dict.fromkeys(("laplace_log_likelihood", "logistic_log_likelihood"), OF_SCALES),
    "discretised_logistic_cross_entropy": [
        on(MATRIX, logs, MATRIX) for logs in (MATRIX, (1,), (3, 1), -1.5)
    ],
    "cholesky_sample": [on((3, 4), (3, 4), (3, 6), (3, 4)), on((2,), (2,), (1,), (2,))],
    "cholesky_log_likelihood": [on((3, 4), (3, 4), (3, 4), (3, 6)), on((2,), (2,), (2,), (1,))],
    "kl_cholesky_standard_normal": [on((3, 4), (3, 4), (3, 6)), on((2,), (2,), (1,))],
    "mixture_log_likelihood": [on((5, 2), (3,), (3, 2), (3, 2)), on((1, 3), (1,), (1, 3), (1, 3))],
    "categorical_cross_entropy": [on((2, 3, 4), (2, 3)), on((3, 4), (3,))],
}
CASES = {f"{name}-{k}": (name, case) for name in TABLE for k, case in enumerate(TABLE[name])}


def normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    return np.asarray(scale * rng.standard_normal(shape))


def positive(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    return np.asarray(scale * 10 ** rng.uniform(-1, 1, shape))


def central(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Within [-4, 4]: far from 0 a derivative that is had from 1 - y has no digits left."""
    return np.asarray(rng.uniform(-4, 4, shape) * min(scale, 1))


def spread(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Not all near 0: the textbook's KL of Gaussians that are nearly equal has no digits left."""
    return normal(rng, shape, max(scale, 0.1))


def logits(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Where a normaliser by the textbook has its digits: neither near 0 nor far from it."""
    return np.asarray(rng.choice([-1, 1], shape) * rng.uniform(0.5, 4, shape))


def pixels(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """Half of them black or white, the others grey; in [0, 1] at every scale."""
    return np.where(rng.random(shape) < 0.5, rng.integers(2, size=shape), rng.random(shape))


def noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """From (0, 1)."""
    return rng.uniform(0.001, 0.999, shape)


def narrow(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """The log of a scale that leaves two grey levels apart something to differ by."""
    return rng.uniform(-2, 2, shape)


def wide(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """The log of a width that has all of (0, 1) within half of it, whatever the middle there."""
    return rng.uniform(1, 2, shape)


def round_(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """Of a covariance that is not so long and thin that its inverse has no digits left."""
    return rng.uniform(-1, 1, shape)


def levels(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """Of four."""
    return rng.integers(0, 4, shape).astype(float)


DRAWS: dict[str, tuple[Draw, ...]] = {
    **dict.fromkeys(("log", "sqrt", "power"), (positive,)),
    **dict.fromkeys(("tanh", "sigmoid", "elu", "gelu", "softmax"), (central,)),
    "bernoulli_cross_entropy": (normal, pixels),
    "kl_standard_normal": (spread, spread),
    "kl_gaussian": (spread,) * 4,
    **dict.fromkeys(
        ("laplace_sample", "logistic_sample", "uniform_sample"), (normal, central, noise)
    ),
    "logistic_log_likelihood": (normal, normal, central),
    "uniform_log_likelihood": (noise, noise, wide),
    "kl_uniform_standard_normal": (normal, central),
    "continuous_bernoulli_cross_entropy": (logits, pixels),
    "discretised_logistic_cross_entropy": (noise, narrow, pixels),
    "cholesky_log_likelihood": (spread, spread, round_, round_),
    "kl_cholesky_standard_normal": (spread, central, normal),
    "cholesky_sample": (normal, central, normal, normal),
    "mixture_log_likelihood": (central, central, central, central),
    "categorical_cross_entropy": (central, levels),
}


KINKS: list[tuple[str, list[list[float]], dict[str, Any]]] = [
    ("relu", [[0.0, -0.0, 1.0]], {}),
    ("elu", [[0.0, -0.0, 1.0]], {"alpha": 0.5}),
    ("maximum", [[1.0, 2.0, 0.0], [1.0, 1.0, -0.0]], {}),
    ("max", [[2.0, 1.0, 2.0, 2.0]], {}),
    ("abs", [[0.0, -0.0, 1.0]], {}),
    ("leaky_relu", [[0.0, -0.0, 1.0]], {"slope": 0.2}),
    ("power", [[0.0, -0.0, 1.0]], {"exponent": 0}),
]
"""Where an op has no gradient, or more than one could be said to be right; its options last."""


def inputs_of(name: str, case: On, scale: float, seed: int) -> list[Any]:
    """What a case is given: float64 arrays, and the numbers that it names."""
    rng = np.random.default_rng(seed)
    draws = zip(DRAWS.get(name, (normal,) * len(case.shapes)), case.shapes, strict=True)
    return [draw(rng, s, scale) if isinstance(s, tuple) else s for draw, s in draws]


class Result(NamedTuple):
    """The value of an op, and the gradient of each input that is no number."""

    value: np.ndarray
    upstream: np.ndarray
    gradients: list[np.ndarray]


def run(backend: Backend, name: str, inputs: Sequence[Any], options: dict[str, Any]) -> Result:
    """An op of the package, with an upstream gradient of all sizes and both signs."""
    operands = [x if isinstance(x, float) else Tensor(x, requires_grad=True) for x in inputs]
    value = OPS[name](*operands, **options)
    upstream = np.asarray(np.random.default_rng(0).standard_normal(value.shape), value.dtype)
    value.backward(backend.from_host(upstream))
    gradients = [backend.to_host(x.grad) for x in operands if isinstance(x, Tensor)]
    return Result(value.numpy(), upstream, gradients)


def assert_close(got: Any, wanted: Any, tolerance: float = 1e-10) -> None:
    """Each element to the tolerance of itself, or to a thousandth of that of the largest one.

    Where terms cancel in an element, what is left of it has the round-off of the terms.
    """
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape
    assert np.isfinite(wanted).all()
    floor = 1e-3 * tolerance * np.abs(wanted).max()
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=floor)
