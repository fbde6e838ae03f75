"""`Tensor`: an array that remembers how it was made; and the backward pass over that memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from tinyvae import backend as backends
from tinyvae.autograd.node import USED, Node, check_finite, tracing
from tinyvae.backend import Array, Backend
from tinyvae.errors import DtypeError, GraphError, ShapeError

FLOATS = ("float32", "float64")
Operand: TypeAlias = Any
"""A Tensor, an array, or a Python number."""

OPS: dict[str, Callable[..., Tensor]] = {}
"""Every op by name, lifted to Tensors; ``OPS[name].bare`` is the function of arrays."""


class Tensor:
    """An array with a gradient.

    Parameters
    ----------
    data : array_like
        Numbers, nested lists or an array; it is copied. Python numbers become float32,
        float arrays keep their dtype. Host data go to the backend in use.
    dtype : {"float32", "float64"}, optional
        Another dtype than that of ``data``.
    requires_grad : bool
        Whether `backward` is to leave the gradient with respect to this tensor in `grad`.
    name : str
        Shown in error messages and pictures of the graph.

    Raises
    ------
    DtypeError
        ``data`` is an array of integers, booleans or any other dtype without a gradient.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4., 6.], dtype=float32)
    """

    __slots__ = (
        "__weakref__",
        "_array",
        "_grad",
        "_has_grad",
        "_node",
        "_snapshot",
        "_version",
        "name",
        "requires_grad",
    )
    __array_ufunc__ = None  # so that `array * tensor` asks the Tensor

    _array: Array
    _grad: Array | None
    _node: Node | None
    _snapshot: Array | None

    def __init__(
        self,
        data: Any,
        *,
        dtype: str | None = None,
        requires_grad: bool = False,
        name: str = "",
    ) -> None:
        if isinstance(data, Tensor):
            raise DtypeError("this is a Tensor already; use .detach() for one without history")
        self._set(_own_copy(data, dtype), requires_grad, name)

    def _set(self, array: Array, requires_grad: bool, name: str = "") -> None:
        self._array, self.requires_grad, self.name = array, requires_grad, name
        self._grad = self._node = self._snapshot = None
        self._has_grad, self._version = False, 0

    @staticmethod
    def wrap(array: Array, requires_grad: bool = False) -> Tensor:
        """A Tensor around an array of a backend, without a copy; the array is the Tensor's now."""
        tensor = Tensor.__new__(Tensor)
        tensor._set(array, requires_grad)
        return tensor

    # What it is

    shape = property(lambda self: self._array.shape, doc="The length of every axis.")
    ndim = property(lambda self: self._array.ndim, doc="The number of axes.")
    size = property(lambda self: self._array.size, doc="The number of elements.")

    @property
    def dtype(self) -> str:
        """``"float32"`` or ``"float64"``."""
        return str(self._array.dtype)

    @property
    def backend(self) -> Backend:
        """Where the array lives."""
        return backends.of(self._array)

    @property
    def label(self) -> str:
        """A name for messages: the given one, else the op that made it, and the shape."""
        made = f"result of {self._node.op}" if self._node else "tensor"
        return f"{self.name or made} {self.shape}"

    @property
    def node(self) -> Node | None:
        """The op that made this tensor; None for a leaf."""
        return self._node

    def __len__(self) -> int:
        return len(self._array)

    def __repr__(self) -> str:
        parts = [str(self.numpy().tolist()) if self.size <= 8 else f"shape={self.shape}"]
        parts += [f"dtype={self.dtype!r}"] if self.dtype != "float32" else []
        parts += [f"backend={self.backend.name!r}"] if self.backend.name != "numpy" else []
        parts += ["requires_grad=True"] if self.requires_grad else []
        parts += [f"name={self.name!r}"] if self.name else []
        return f"Tensor({', '.join(parts)})"

    # Its values

    @property
    def array(self) -> Array:
        """The array itself, only to be looked at: `data` is the one to write to."""
        return self._array

    @property
    def data(self) -> Array:
        """The array itself, to write to as well: a change before backward is noticed."""
        if self._snapshot is None:
            self._snapshot = self._array.copy()
        return self._array

    @data.setter
    def data(self, values: Array) -> None:
        if values is not self._array:
            if values.shape != self.shape or str(values.dtype) != self.dtype:
                raise ShapeError(
                    f"{self.label} of {self.dtype} cannot take values of shape {values.shape} "
                    f"and {values.dtype}"
                )
            self._array[...] = values
        self._version += 1

    @property
    def version(self) -> int:
        """A count of the changes to the values: those announced, and those found by comparing."""
        if self._snapshot is not None:
            xp = self.backend.xp
            if not bool(xp.array_equal(self._array, self._snapshot, equal_nan=True)):
                self._version += 1
                self._snapshot = self._array.copy()
        return self._version

    def numpy(self) -> Any:
        """A copy of the values in a NumPy array."""
        return backends.of(self._array).to_host(self._array.copy())

    def item(self) -> float:
        """The one value of a tensor of size 1 (it waits for the device)."""
        if self.size != 1:
            raise ShapeError(
                f"only a tensor of size 1 is a number; this is {self.label}: .numpy() has them all"
            )
        return float(self._array.reshape(()))

    def __float__(self) -> float:
        return self.item()

    def __bool__(self) -> bool:
        return self.item() != 0

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "a Tensor is not turned into an array silently: use .numpy(), or functions of tinyvae, "
            "such as tv.exp(x); tv.concatenate and tv.stack take the tensors one by one"
        )

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("a Tensor without axes cannot be gone through; it is one number")
        return (self[k] for k in range(len(self)))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    # Comparisons are of numbers: a tensor of size 1, such as a loss

    def __lt__(self, other: float) -> bool:
        return self.item() < float(other)

    def __gt__(self, other: float) -> bool:
        return self.item() > float(other)

    def __le__(self, other: float) -> bool:
        return self.item() <= float(other)

    def __ge__(self, other: float) -> bool:
        return self.item() >= float(other)

    def detach(self) -> Tensor:
        """The same values without history; a copy, so that changing one leaves the other."""
        copy = Tensor.wrap(self._array.copy())
        copy.name = self.name
        return copy

    def to(self, backend: str | Backend) -> Tensor:
        """A copy on another backend, without history."""
        moved = Tensor.wrap(backends.get(backend).asarray(self.numpy()), self.requires_grad)
        moved.name = self.name
        return moved

    # Its gradient

    @property
    def grad(self) -> Array | None:
        """The gradient that `backward` has left here, or None.

        It adds up over backward passes until `zero_grad`. The gradient of a parameter is
        a view into its model's gradient vector, which the next pass writes over: copy it
        to keep it.
        """
        return self._grad if self._has_grad else None

    @grad.setter
    def grad(self, values: Array | None) -> None:
        self._has_grad = values is not None
        if values is not None and values is not self._grad:
            self.buffer()[...] = values

    def zero_grad(self) -> None:
        """Forget the gradient: the next backward pass starts a new one."""
        self._has_grad = False

    def place(self, values: Array, gradient: Array) -> None:
        """Live from now on in ``values``, which hold them already, the gradient in ``gradient``."""
        self._array, self._grad = values, gradient
        self._snapshot, self._has_grad = None, False
        self._version += 1

    def lives_in(self, values: Array) -> bool:
        """Whether ``values`` is the very array of this tensor."""
        return self._array is values

    def buffer(self) -> Array:
        """The memory of the gradient, whether or not there is one."""
        if self._grad is None:
            self._grad = self.backend.xp.zeros_like(self._array)
        return self._grad

    def backward(self, upstream: Operand = None) -> None:
        """Leave the gradient of this tensor in `grad` of every leaf that requires one.

        Parameters
        ----------
        upstream : array_like, optional
            The gradient with respect to this tensor, of its shape; 1 for a single value.

        Raises
        ------
        GraphError
            Nothing to differentiate; a tensor of several values without an upstream; a
            second pass; or an array that was changed since the forward pass.

        Notes
        -----
        Linear in the number of recorded ops, without recursion. The graph is freed on the
        way, so that a second pass over any part of it is an error.
        """
        backward(self, upstream)

    # Arithmetic: each the op of that name

    def __add__(self, other: Operand) -> Tensor:
        return OPS["add"](self, other)

    def __sub__(self, other: Operand) -> Tensor:
        return OPS["subtract"](self, other)

    def __mul__(self, other: Operand) -> Tensor:
        return OPS["multiply"](self, other)

    def __truediv__(self, other: Operand) -> Tensor:
        return OPS["divide"](self, other)

    def __matmul__(self, other: Operand) -> Tensor:
        return OPS["matmul"](self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return OPS["subtract"](other, self)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return OPS["divide"](other, self)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return OPS["matmul"](other, self)

    def __neg__(self) -> Tensor:
        return OPS["negative"](self)

    def __abs__(self) -> Tensor:
        return OPS["abs"](self)

    def __pow__(self, exponent: float) -> Tensor:
        return OPS["power"](self, exponent=exponent)

    def __getitem__(self, index: Any) -> Tensor:
        return OPS["getitem"](self, index=index)

    __radd__ = __add__
    __rmul__ = __mul__

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The sum over ``axis``, or over everything."""
        return OPS["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The mean over ``axis``, or over everything."""
        return OPS["mean"](self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: int) -> Tensor:
        """The same elements in another shape."""
        return OPS["reshape"](self, shape=shape)

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The axes in reverse order."""
        return OPS["transpose"](self)


def _own_copy(data: Any, dtype: str | None) -> Array:
    if dtype not in (None, *FLOATS):
        raise DtypeError(f"a Tensor is of float32 or float64, not {dtype!r}")
    if data is None:
        raise DtypeError("a Tensor is made of numbers, not of None")
    if not hasattr(data, "dtype"):
        return backends.get().asarray(data, dtype or "float32")
    if str(data.dtype) not in FLOATS and dtype is None:
        raise DtypeError(
            f"an array of {data.dtype} has no gradient; a Tensor takes float32 or float64: "
            "say which, as in tv.Tensor(data, dtype='float32'), and divide bytes of pixels by 255"
        )
    owner = backends.of(data)
    if owner.host:
        plain = owner.xp.array(data, dtype=dtype or data.dtype)  # no subclass
        return backends.get().asarray(plain)
    owner.check(data)
    return data.astype(dtype or data.dtype, copy=True)


# The backward pass


def backward(root: Tensor, upstream: Operand = None) -> None:
    """See `Tensor.backward`."""
    uses = _count_uses(root)
    pending = {root: _upstream(root, upstream)}
    ready = [root]
    while ready:
        tensor = ready.pop()
        gradient, node = pending.pop(tensor), tensor._node
        del uses[tensor]
        if node is None:
            _accumulate(tensor, gradient)
            continue
        tensor._node = USED
        pulls = zip(node.inputs, node.pullbacks, strict=True)
        for x, pullback in sorted(pulls, key=_is_to_leaf) if node.in_place else pulls:
            if not (isinstance(x, Tensor) and x.requires_grad):
                continue
            uses[x] -= 1
            if x._node is None:
                _pull_to_leaf(node, x, pullback, gradient)
                continue
            got = _pulled(node, x, pullback, gradient)
            pending[x] = pending[x] + got if x in pending else got
            if uses[x] == 0:
                ready.append(x)
    root.backend.join()


def _is_to_leaf(pull: tuple[Any, Any]) -> bool:
    """Whether a pullback is to a leaf.

    Those come last: what they share with the others is then not worked out aside, where it
    would not be there in time for these.
    """
    return isinstance(pull[0], Tensor) and pull[0]._node is None


def _pull_to_leaf(node: Node, leaf: Tensor, pullback: Any, upstream: Array) -> None:
    """Write the gradient straight into the leaf's buffer where the op can, else add it there.

    No other gradient rests on a leaf's, so that it may be worked out beside them.
    """
    if node.in_place and not leaf._has_grad:
        with leaf.backend.aside():
            _pulled(node, leaf, pullback, upstream, out=leaf.buffer())
        leaf._has_grad = True
    else:
        leaf.backend.join()
        _accumulate(leaf, _pulled(node, leaf, pullback, upstream))


def _accumulate(leaf: Tensor, gradient: Array) -> None:
    buffer = leaf.buffer()
    if leaf._has_grad:
        buffer += gradient
    else:
        buffer[...] = gradient
    leaf._has_grad = True


def _pulled(node: Node, x: Tensor, pullback: Any, upstream: Array, **out: Array) -> Array:
    try:
        gradient = pullback(upstream, **out)
    except ValueError as error:
        raise ShapeError(
            f"the pullback of {node.op} for {x.label} failed, for an upstream gradient of shape "
            f"{upstream.shape}, which is that of the value: {error}"
        ) from error
    if not hasattr(gradient, "dtype"):
        raise GraphError(
            f"the pullback of {node.op} returned {gradient!r:.40} for {x.label}, and no array"
        )
    if gradient.shape != x._array.shape or gradient.dtype != x._array.dtype:
        raise GraphError(
            f"the pullback of {node.op} made a gradient of shape {gradient.shape} and "
            f"{gradient.dtype} for {x.label} of {x.dtype}"
        )
    if tracing.get():
        check_finite(f"the pullback of {node.op}", node.inputs, gradient, f"gradient for {x.label}")
    return gradient


def _count_uses(root: Tensor) -> dict[Tensor, int]:
    """How often each tensor under ``root`` goes into an op; checks that all is as recorded."""
    if not root.requires_grad:
        raise GraphError(
            f"{root.label} does not depend on a tensor that requires a gradient; make one with "
            "tv.Tensor(..., requires_grad=True), outside tv.no_grad()"
        )
    uses, stack = {root: 0}, [root]
    while stack:
        tensor = stack.pop()
        node = tensor._node
        if node is None:
            continue
        if node is USED:
            raise GraphError(
                f"backward has already gone through {tensor.name or 'a tensor'} {tensor.shape} and "
                "freed its graph; compute the loss again before a second backward"
            )
        node.check_unchanged(tensor)
        for x in node.inputs:
            if isinstance(x, Tensor) and x.requires_grad:
                if x not in uses:
                    uses[x] = 0
                    stack.append(x)
                uses[x] += 1
    return uses


def _upstream(root: Tensor, upstream: Operand) -> Array:
    xp = root.backend.xp
    if upstream is None:
        if root.size != 1:
            raise GraphError(
                f"{root.label} has {math.prod(root.shape)} values: sum or average it, or give "
                "backward(upstream) with a gradient of that shape"
            )
        return xp.ones_like(root._array)
    given = upstream
    if not isinstance(upstream, Tensor):
        with backends.use(root.backend):
            given = Tensor(upstream, dtype=root.dtype)
    if given.backend is not root.backend:
        raise backends.mixed(root.backend.name, given.backend.name, "backward(upstream)")
    text = (
        f"the upstream gradient of shape {given.shape} and {given.dtype} does not fit "
        f"{root.label} of {root.dtype}"
    )
    if given.shape != root.shape:
        raise ShapeError(text)
    if given.dtype != root.dtype:
        raise DtypeError(text)
    return given._array
