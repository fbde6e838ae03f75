"""How a function of arrays becomes an op on Tensors, and when ops are recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from typing import Any, TypeAlias

from tinyvae import backend as backends
from tinyvae.autograd.node import Node, check_finite, tracing
from tinyvae.autograd.tensor import OPS, Operand, Tensor
from tinyvae.backend import Array, Backend
from tinyvae.errors import DtypeError, GraphError, ShapeError, TinyvaeError

ValueAndPullback: TypeAlias = tuple[Array, Any]
"""What an op returns: its value, and its pullback or a tuple of them, one for each input."""

_recording: ContextVar[bool] = ContextVar("recording", default=True)


def op(function: Callable[..., ValueAndPullback]) -> Callable[..., Tensor]:
    """Lift a function of arrays that returns its value and its pullback to Tensors.

    The positional arguments are the inputs; options are given by keyword. The pullback
    takes the upstream gradient and returns the gradient for the input; where there are
    several inputs it is a tuple of such functions, of which only those wanted are called.

    >>> @op
    ... def cube(x):
    ...     return x**3, lambda g: g * 3 * x**2
    >>> x = Tensor([2.0], requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    array([12.], dtype=float32)
    """
    return _lift(function, lambda _: function, in_place=False)


def core_op(
    in_place: bool = False,
) -> Callable[[Callable[..., ValueAndPullback]], Callable[..., Tensor]]:
    """`op` for the package's own: listed in ``OPS``, and replaced by a backend's kernel.

    With ``in_place`` its pullbacks take ``out=``, where a parameter's gradient is written.
    """

    def decorate(function: Callable[..., ValueAndPullback]) -> Callable[..., Tensor]:
        name = function.__name__
        OPS[name] = _lift(function, lambda backend: backend.kernel(name, function), in_place)
        return OPS[name]

    return decorate


def _lift(
    function: Callable[..., Any], implementation: Callable[[Backend], Any], in_place: bool
) -> Callable[..., Tensor]:
    name = function.__name__

    @functools.wraps(function)
    def lifted(*inputs: Operand, **options: Any) -> Tensor:
        operands = [x if type(x) in _AS_THEY_ARE else _operand(x) for x in inputs]
        arrays = [x._array if isinstance(x, Tensor) else x for x in operands]
        first = _common_kind(name, arrays)
        backend = backends.of(first)
        try:
            made = implementation(backend)(*arrays, **options)
            if made is NotImplemented:  # by a kernel that is for other arrays
                made = function(*arrays, **options)
        except TinyvaeError:
            raise
        except TypeError as error:
            if "positional argument" not in str(error):
                raise
            raise TypeError(f"{error}; options go by keyword, as in axis=1") from error
        except ValueError as error:
            shapes = ", ".join(str(getattr(a, "shape", a)) for a in arrays)
            raise ShapeError(f"{name}: shapes {shapes} do not fit: {error}") from error
        if not isinstance(made, tuple) or len(made) != 2:
            raise GraphError(f"{name} must return its value and its pullback, not {made!r:.60}")
        value, pullbacks = backend.asarray(made[0]), made[1]
        _check_dtype(name, first.dtype, value)
        return _record(name, operands, value, pullbacks, in_place)

    lifted.bare = function  # type: ignore[attr-defined]
    return lifted


_AS_THEY_ARE = (Tensor, int, float)


def _operand(x: Operand) -> Operand:
    if isinstance(x, Tensor):
        return x
    return float(x) if isinstance(x, Real) else Tensor(x)


def _common_kind(name: str, arrays: list[Any]) -> Array:
    """The first array, whose backend and dtype are those of all the others."""
    tensors = [a for a in arrays if not isinstance(a, (int, float))]
    if not tensors:
        raise DtypeError(f"{name}: at least one input must be a Tensor or an array")
    first = tensors[0]
    for other in tensors[1:]:
        if type(other) is not type(first) and backends.of(other) is not backends.of(first):
            if _adopted(arrays):
                return _common_kind(name, arrays)
            raise backends.mixed(backends.of(first).name, backends.of(other).name, name)
        if other.dtype != first.dtype:
            raise DtypeError(
                f"{name}: {first.dtype} of shape {first.shape} meets {other.dtype} of shape "
                f"{other.shape}; nothing is promoted silently: convert one with tv.astype"
            )
    return first


def _adopted(arrays: list[Any]) -> bool:
    """Whether one of the arrays is of a backend that takes in the host's; then it has done so."""
    kinds = [None if isinstance(a, (int, float)) else backends.of(a) for a in arrays]
    host = next((kind for kind in kinds if kind and kind.adopts_host), None)
    if host is None or not all(kind is None or kind.host or kind is host for kind in kinds):
        return False
    arrays[:] = [
        a if kind is None else host.asarray(a) for a, kind in zip(arrays, kinds, strict=True)
    ]
    return True


def _check_dtype(name: str, wanted: Any, value: Array) -> None:
    if value.dtype != wanted and name != "astype":
        raise DtypeError(
            f"{name} made {value.dtype} of {wanted}; an option may be a NumPy scalar, which "
            "promotes: give a Python number"
        )


def _record(name: str, operands: list[Any], value: Array, pullbacks: Any, out: bool) -> Tensor:
    if tracing.get():
        check_finite(name, operands, value)
    wanted = _recording.get() and any(isinstance(x, Tensor) and x.requires_grad for x in operands)
    result = Tensor.wrap(value, wanted)
    if wanted:
        result._node = Node(name, operands, pullbacks, out)
    return result


def is_recording() -> bool:
    """Whether ops are recorded, as outside `no_grad`."""
    return _recording.get()


@contextmanager
def no_grad() -> Iterator[None]:
    """Within the block nothing is recorded: results are values without history.

    >>> x = Tensor(2.0, requires_grad=True)
    >>> with no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


@contextmanager
def trace_non_finite() -> Iterator[None]:
    """Within the block the first op that makes a NaN or an infinity raises NonFiniteError.

    It looks at every value and every gradient, so it is for finding a fault, not for speed.
    """
    token = tracing.set(True)
    try:
        yield
    finally:
        tracing.reset(token)
