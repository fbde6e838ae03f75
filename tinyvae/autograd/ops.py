"""Everyday ops. Each is a function of arrays that returns its value and its pullback.

Shapes follow NumPy's broadcasting. ``g`` is the upstream gradient, of the value's shape;
a pullback returns the gradient of its input, of that input's shape. Where an op has a kink
or a tie, the gradient is a subgradient that its line states.
"""

from __future__ import annotations

import itertools
import math
from numbers import Integral, Real
from typing import Any

from tinyvae import backend as backends
from tinyvae.autograd.lift import ValueAndPullback, core_op
from tinyvae.autograd.tensor import Operand, Tensor
from tinyvae.backend import Array, once
from tinyvae.errors import DtypeError, OptionError, ShapeError


def namespace(*arrays: Any) -> Any:
    """The array library of the first array among the arguments."""
    return backends.of(next(a for a in arrays if hasattr(a, "dtype"))).xp


def fit(g: Array, like: Array) -> Array:
    """Sum ``g`` over the axes along which ``like`` was broadcast: broadcasting's pullback."""
    if g.shape == like.shape:
        return g
    extra = g.ndim - like.ndim
    stretched = (k + extra for k, n in enumerate(like.shape) if n == 1 and g.shape[k + extra] != 1)
    return g.sum(axis=(*range(extra), *stretched)).reshape(like.shape)


# Arithmetic


@core_op()
def add(a: Array, b: Array) -> ValueAndPullback:
    """The sum, y = a + b; dy/da = 1, dy/db = 1."""
    return a + b, (lambda g: fit(g, a), lambda g: fit(g, b))


@core_op()
def subtract(a: Array, b: Array) -> ValueAndPullback:
    """The difference, y = a - b; dy/da = 1, dy/db = -1."""
    return a - b, (lambda g: fit(g, a), lambda g: fit(-g, b))


@core_op()
def multiply(a: Array, b: Array) -> ValueAndPullback:
    """The product element by element, y = a b; dy/da = b, dy/db = a."""
    return a * b, (lambda g: fit(g * b, a), lambda g: fit(g * a, b))


@core_op()
def divide(a: Array, b: Array) -> ValueAndPullback:
    """The quotient element by element, y = a / b; dy/da = 1 / b, dy/db = -y / b."""
    y = a / b
    return y, (lambda g: fit(g / b, a), lambda g: fit(-g * y / b, b))


@core_op()
def negative(x: Array) -> ValueAndPullback:
    """The negative, y = -x; dy/dx = -1."""
    return -x, lambda g: -g


@core_op()
def power(x: Array, *, exponent: float) -> ValueAndPullback:
    """The power of a number n, y = x^n; dy/dx = n x^(n-1), which for n = 0 is 0 everywhere."""
    if not isinstance(exponent, Real):
        raise DtypeError(
            f"the exponent is a number, not {type(exponent).__name__}; for a tensor b, "
            "a to the power of b is tv.exp(b * tv.log(a))"
        )
    n = float(exponent)
    return x**n, lambda g: g * (n * x ** (n - 1)) if n else g * 0


@core_op()
def maximum(a: Array, b: Array) -> ValueAndPullback:
    """The larger, y = max(a, b).

    dy/da = 1 for a > b, 1/2 for a = b, else 0; dy/db = 1 for b > a, 1/2 for a = b, else 0.
    """
    xp = namespace(a, b)

    def share(g: Array, mine: Array, other: Array) -> Array:
        return fit(xp.where(mine == other, g / 2, xp.where(mine > other, g, g * 0)), mine)

    return xp.maximum(a, b), (lambda g: share(g, a, b), lambda g: share(g, b, a))


@core_op()
def matmul(a: Array, b: Array) -> ValueAndPullback:
    """The matrix product of the last two axes, Y = A B; dL/dA = G B^T, dL/dB = A^T G.

    A vector counts as one row or one column.
    """
    rows = a[None, :] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    y = rows @ columns
    shape = y.shape[: -2 + (a.ndim > 1)] if b.ndim == 1 else y.shape
    shape = (*y.shape[:-2], y.shape[-1]) if a.ndim == 1 < b.ndim else shape

    def to_a(g: Array) -> Array:
        return fit(g.reshape(y.shape) @ columns.swapaxes(-1, -2), rows).reshape(a.shape)

    def to_b(g: Array) -> Array:
        return fit(rows.swapaxes(-1, -2) @ g.reshape(y.shape), columns).reshape(b.shape)

    return y.reshape(shape), (to_a, to_b)


@core_op(in_place=True)
def affine(x: Array, weight: Array, bias: Array) -> ValueAndPullback:
    """The affine map, Y = X W + b; dL/dX = G W^T, dL/dW = X^T G, and b gets the sum of G's rows.

    Rows x (B, I), weight (I, O), bias (O,), result (B, O).
    """
    if x.ndim != 2 or weight.ndim != 2 or bias.shape != weight.shape[1:]:
        raise ShapeError("affine takes x (B, I), weight (I, O) and bias (O,)")
    xp = namespace(x)
    y = x @ weight
    y += bias
    return y, (
        lambda g, out=None: xp.matmul(g, weight.T, out=out),  # (B, I)
        lambda g, out=None: xp.matmul(x.T, g, out=out),  # (I, O)
        lambda g, out=None: xp.sum(g, axis=0, out=out),  # (O,)
    )


@core_op(in_place=True)
def affine_relu(x: Array, weight: Array, bias: Array) -> ValueAndPullback:
    """The affine map and the rectifier behind it, Y = max(X W + b, 0); rows as for `affine`.

    With H = G for Y > 0, else 0: dL/dX = H W^T, dL/dW = X^T H, and b gets the sum of H's rows.
    """
    if x.ndim != 2 or weight.ndim != 2 or bias.shape != weight.shape[1:]:
        raise ShapeError("affine_relu takes x (B, I), weight (I, O) and bias (O,)")
    xp = namespace(x)
    y = x @ weight
    y += bias
    xp.maximum(y, 0, out=y)
    h = once(lambda g: g * (y > 0))  # (B, O)
    return y, (
        lambda g, out=None: xp.matmul(h(g), weight.T, out=out),  # (B, I)
        lambda g, out=None: xp.matmul(x.T, h(g), out=out),  # (I, O)
        lambda g, out=None: xp.sum(h(g), axis=0, out=out),  # (O,)
    )


# Functions of one number


@core_op()
def exp(x: Array) -> ValueAndPullback:
    """The exponential, y = e^x; dy/dx = y."""
    y = namespace(x).exp(x)
    return y, lambda g: g * y


@core_op()
def log(x: Array) -> ValueAndPullback:
    """The natural logarithm, y = log x; dy/dx = 1 / x."""
    return namespace(x).log(x), lambda g: g / x


@core_op()
def sqrt(x: Array) -> ValueAndPullback:
    """The square root, y = sqrt(x); dy/dx = 1 / (2 y)."""
    y = namespace(x).sqrt(x)
    return y, lambda g: g / (2 * y)


@core_op()
def abs(x: Array) -> ValueAndPullback:
    """The absolute value, y = |x|; dy/dx = sign(x), which is 0 at 0."""
    xp = namespace(x)
    return xp.abs(x), lambda g: g * xp.sign(x)


@core_op()
def tanh(x: Array) -> ValueAndPullback:
    """The hyperbolic tangent, y = tanh(x); dy/dx = 1 - y^2."""
    y = namespace(x).tanh(x)
    return y, lambda g: g * (1 - y * y)


def logistic(x: Array) -> Array:
    """1 / (1 + e^-x) of an array, without overflow: e^min(x, 0) / (1 + e^-|x|)."""
    xp = namespace(x)
    return xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(-xp.abs(x)))


@core_op()
def sigmoid(x: Array) -> ValueAndPullback:
    """The logistic function, y = 1 / (1 + e^-x); dy/dx = y (1 - y), where 1 - y is that of -x."""
    y = logistic(x)
    return y, lambda g: g * y * logistic(-x)


def smooth_hinge(x: Array) -> Array:
    """log(1 + e^x) of an array, without overflow: max(x, 0) + log(1 + e^-|x|)."""
    xp = namespace(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


@core_op()
def softplus(x: Array) -> ValueAndPullback:
    """The smooth rectifier, y = log(1 + e^x) = max(x, 0) + log(1 + e^-|x|).

    Its slope is the logistic function, dy/dx = 1 / (1 + e^-x).
    """
    return smooth_hinge(x), lambda g: g * logistic(x)


# Activations with a kink at 0, or nearly one


@core_op()
def relu(x: Array) -> ValueAndPullback:
    """The rectifier, y = max(x, 0); dy/dx = 1 for x > 0, else 0."""
    return namespace(x).maximum(x, 0), lambda g: g * (x > 0)


@core_op()
def leaky_relu(x: Array, *, slope: float = 0.01) -> ValueAndPullback:
    """The leaky rectifier, y = x for x > 0, else slope x; dy/dx = 1 for x > 0, else slope."""
    xp = namespace(x)
    return xp.where(x > 0, x, slope * x), lambda g: xp.where(x > 0, g, slope * g)


@core_op()
def elu(x: Array, *, alpha: float = 1.0) -> ValueAndPullback:
    """The exponential linear unit (Clevert et al., 2015).

    Above 0 the identity: y = x for x > 0, else alpha (e^x - 1); dy/dx = 1 for x > 0, else
    alpha e^x.
    """
    xp = namespace(x)
    low = xp.minimum(x, 0)  # so that the branch not taken cannot overflow
    y = xp.where(x > 0, x, alpha * xp.expm1(low))
    return y, lambda g: xp.where(x > 0, g, g * alpha * xp.exp(low))


@core_op()
def gelu(x: Array) -> ValueAndPullback:
    """The Gaussian error linear unit, by its tanh (Hendrycks and Gimpel, 2016).

        y = x/2 (1 + t),    t = tanh(u),    u = sqrt(2/pi) (x + 0.044715 x^3),

        dy/dx = (1 + t)/2 + x/2 (1 - t^2) du/dx,    du/dx = sqrt(2/pi) (1 + 0.134145 x^2).

    This is their approximation of x Phi(x), Phi the normal's distribution; it is off by up
    to 5e-4, and PyTorch calls it ``approximate="tanh"``.
    """
    c, k = math.sqrt(2 / math.pi), 0.044715
    t = namespace(x).tanh(c * (x + k * x * x * x))
    slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (c * (1 + 3 * k * x * x))
    return 0.5 * x * (1 + t), lambda g: g * slope


# Reductions


def _kept(g: Array, x: Array, axis: Any) -> Array:
    """``g`` with the axes back that a reduction of ``x`` took away, each of length 1."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    gone = {k % x.ndim for k in axes}
    return g.reshape(tuple(1 if k in gone else n for k, n in enumerate(x.shape)))


@core_op()
def sum(x: Array, *, axis: Any = None, keepdims: bool = False) -> ValueAndPullback:
    """The sum over ``axis`` (all axes for None), y = sum(x); dL/dx = g, the same for every term."""
    xp = namespace(x)
    y = xp.sum(x, axis=axis, keepdims=keepdims)
    return y, lambda g: xp.broadcast_to(_kept(g, x, axis), x.shape)


@core_op()
def mean(x: Array, *, axis: Any = None, keepdims: bool = False) -> ValueAndPullback:
    """The mean over ``axis``, y = sum(x) / N, with N their number; dL/dx = g / N."""
    if not x.size:
        raise ShapeError("there is no mean of nothing")
    xp = namespace(x)
    total = xp.sum(x, axis=axis, keepdims=keepdims)
    share = total.size / x.size
    return total * share, lambda g: xp.broadcast_to(_kept(g, x, axis) * share, x.shape)


@core_op()
def max(x: Array, *, axis: Any = None, keepdims: bool = False) -> ValueAndPullback:
    """The largest over ``axis``; those that tie for it share the gradient equally."""
    xp = namespace(x)
    y = xp.max(x, axis=axis, keepdims=keepdims)

    def pullback(g: Array) -> Array:
        first = (x == _kept(y, x, axis)).astype(x.dtype)
        return _kept(g, x, axis) * first / xp.sum(first, axis=axis, keepdims=True)

    return y, pullback


@core_op()
def logsumexp(x: Array, *, axis: Any = -1, keepdims: bool = False) -> ValueAndPullback:
    """The log of the sum over ``axis`` of e^x, y = log sum(e^x); dL/dx = g e^x / sum(e^x).

    The largest x is taken out first, so that nothing overflows. The slope is the softmax.
    """
    xp = namespace(x)
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    total = xp.sum(xp.exp(x - top), axis=axis, keepdims=True)
    y = xp.log(total) + top  # with the reduced axes kept
    value = y if keepdims else xp.squeeze(y, axis=axis)
    return value, lambda g: _kept(g, x, axis) * xp.exp(x - y)


@core_op()
def softmax(x: Array, *, axis: int = -1) -> ValueAndPullback:
    """The softmax along ``axis``, y = e^x / sum(e^x); dL/dx = y (g - sum(g y))."""
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    y = e / xp.sum(e, axis=axis, keepdims=True)
    return y, lambda g: y * (g - xp.sum(g * y, axis=axis, keepdims=True))


@core_op()
def log_softmax(x: Array, *, axis: int = -1) -> ValueAndPullback:
    """The log of the softmax along ``axis``, y = x - log sum(e^x); dL/dx = g - e^y sum(g)."""
    xp = namespace(x)
    low = x - xp.max(x, axis=axis, keepdims=True)
    y = low - xp.log(xp.sum(xp.exp(low), axis=axis, keepdims=True))
    return y, lambda g: g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True)


# Shapes: each value is a copy, since a view would change with its base unnoticed


@core_op()
def reshape(x: Array, *, shape: Any) -> ValueAndPullback:
    """The same elements in another shape, in row-major order."""
    flat = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
    return x.reshape(flat).copy(), lambda g: g.reshape(x.shape)


@core_op()
def transpose(x: Array, *, axes: tuple[int, ...] | None = None) -> ValueAndPullback:
    """The axes in another order, in reverse for None; the gradient goes back the same way."""
    order = tuple(k % x.ndim for k in axes) if axes else tuple(reversed(range(x.ndim)))
    back = tuple(order.index(k) for k in range(x.ndim))
    return x.transpose(order).copy(), lambda g: g.transpose(back)


@core_op()
def broadcast_to(x: Array, *, shape: tuple[int, ...]) -> ValueAndPullback:
    """``x`` repeated to ``shape`` as broadcasting does; the sum over what was repeated."""
    return namespace(x).broadcast_to(x, shape).copy(), lambda g: fit(g, x)


@core_op()
def astype(x: Array, *, dtype: str) -> ValueAndPullback:
    """``x`` in float32 or float64, the one way from one to the other."""
    if dtype not in ("float32", "float64"):
        raise OptionError(f"a Tensor is of float32 or float64, not {dtype!r}")
    return x.astype(dtype), lambda g: g.astype(x.dtype)


@core_op()
def getitem(x: Array, *, index: Any) -> ValueAndPullback:
    """``x[index]`` by NumPy's rules; the gradient adds up where an element was taken twice."""
    index = index if isinstance(index, tuple) else (index,)
    picks = any(not (i is None or i is ... or isinstance(i, (Integral, slice))) for i in index)
    where = _on_backend(index, x) if picks else index

    def pullback(g: Array) -> Array:
        xp = namespace(x)
        gx = xp.zeros_like(x)
        if picks:
            xp.add.at(gx, where, g)
        else:
            gx[where] = g
        return gx

    return (x[where] if picks else x[where].copy()), pullback


def _on_backend(index: tuple[Any, ...], x: Array) -> tuple[Any, ...]:
    """The index with its lists and host arrays copied beside ``x``.

    They are tried on the host first, since a GPU wraps an index out of range in silence.
    """
    backend, host = backends.of(x), backends.get("numpy")
    moved = [isinstance(i, (list, host.array_type)) for i in index]
    if all(is_moved or not hasattr(i, "dtype") for i, is_moved in zip(index, moved, strict=True)):
        host.xp.broadcast_to(0, x.shape)[index]
    copies = (host.xp.array(i) if m else i for i, m in zip(index, moved, strict=True))
    return tuple(backend.asarray(i) if m else i for i, m in zip(copies, moved, strict=True))


@core_op()
def concatenate(*xs: Array, axis: int = 0) -> ValueAndPullback:
    """The inputs one behind the other along ``axis``; each gets its slice of the gradient."""
    y = namespace(*xs).concatenate(xs, axis=axis)
    lead = (slice(None),) * (axis % y.ndim)
    ends = [0]
    for x in xs:
        ends.append(ends[-1] + x.shape[axis])
    places = [(*lead, slice(*span)) for span in itertools.pairwise(ends)]
    return y, tuple(lambda g, place=place: g[place] for place in places)


@core_op()
def stack(*xs: Array, axis: int = 0) -> ValueAndPullback:
    """The inputs side by side along a new axis; each gets its layer of the gradient."""
    xp = namespace(*xs)
    y = xp.stack(xs, axis=axis)
    return y, tuple(lambda g, k=k: xp.moveaxis(g, axis, 0)[k] for k in range(len(xs)))


def split(x: Operand, parts: int, axis: int = -1) -> list[Tensor]:
    """``x`` cut along ``axis`` into equal parts, for example a head into mean and log variance.

    >>> [part.shape for part in split(Tensor([[1.0, 2.0, 3.0, 4.0]]), 2)]
    [(1, 2), (1, 2)]
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"split: shape {x.shape} has no axis {axis}")
    axis %= x.ndim
    if parts < 1 or x.shape[axis] % parts:
        raise ShapeError(f"split: axis {axis} of shape {x.shape} is no multiple of {parts}")
    length, lead = x.shape[axis] // parts, (slice(None),) * axis
    return [x[(*lead, slice(k * length, (k + 1) * length))] for k in range(parts)]
