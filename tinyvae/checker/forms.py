"""The three ways to write a function with its gradient, and which of them one is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tinyvae.autograd.lift import no_grad
from tinyvae.autograd.tensor import Tensor
from tinyvae.backend import Array, Backend
from tinyvae.errors import GraphError, TinyvaeError

Arrays = Sequence[Array]
Back = Callable[[Array], Sequence[Any]]
"""From the upstream gradient to that of every input, None for one that is not wanted."""


class Form(Protocol):
    """One of the three ways to write a function with its gradient."""

    def value(self, arrays: Arrays) -> Any:
        """The value alone."""

    def record(self, arrays: Arrays, wanted: Sequence[bool], labels: Sequence[str]) -> Any:
        """The value, and the way back from it."""


@dataclass(frozen=True)
class TensorFunction:
    """A function of Tensors that returns a Tensor; `backward` is its way back."""

    function: Callable[..., Any]

    def value(self, arrays: Arrays) -> Any:
        """The value, without a record."""
        with no_grad():
            return self._called(map(Tensor.wrap, arrays)).array

    def record(
        self, arrays: Arrays, wanted: Sequence[bool], labels: Sequence[str]
    ) -> tuple[Any, Back]:
        """The value, and backward from it."""
        tensors = [Tensor.wrap(a, want) for a, want in zip(arrays, wanted, strict=True)]
        for tensor, label in zip(tensors, labels, strict=True):
            tensor.name = label
        value = self._called(tensors)

        def back(upstream: Array) -> list[Any]:
            if value.requires_grad or all(wanted):
                with _frozen(_independent_of(tensors, value)):
                    value.backward(Tensor.wrap(upstream))
            return [_grad(x) if want else None for x, want in zip(tensors, wanted, strict=True)]

        return value.array, back

    def _called(self, tensors: Any) -> Tensor:
        value = self.function(*tensors)
        if isinstance(value, Tensor):
            return value
        raise GraphError(
            f"the function returned {kind_of(value)}, not a Tensor: compute with functions of "
            "tinyvae and return the result, or hand in the gradient with pullback="
        )


def _independent_of(inputs: Sequence[Tensor], value: Tensor) -> list[Tensor]:
    """What else went into the value and requires a gradient, such as a model's parameters."""
    depends, done, stack = set(inputs), set[Tensor](), [(value, False)]
    while stack:
        tensor, operands_done = stack.pop()
        operands = [x for x in _operands(tensor) if x.requires_grad]
        if operands_done and not depends.isdisjoint(operands):
            depends.add(tensor)
        if tensor not in done:
            done.add(tensor)
            stack += [(tensor, True), *((x, False) for x in operands)]
    return [tensor for tensor in done - depends if tensor.requires_grad]


def _operands(tensor: Tensor) -> list[Tensor]:
    return [x for x in tensor.node.inputs if isinstance(x, Tensor)] if tensor.node else []


@contextmanager
def _frozen(tensors: list[Tensor]) -> Iterator[None]:
    """Within the block they are constants, so that their gradients and graph stay as they are."""
    for tensor in tensors:
        tensor.requires_grad = False
    try:
        yield
    finally:
        for tensor in tensors:
            tensor.requires_grad = True


def _grad(x: Tensor) -> Array:
    return x.backend.xp.zeros_like(x.array) if x.grad is None else x.grad


@dataclass(frozen=True)
class BareOp:
    """A function of arrays that returns its value and its pullback, or a tuple of them."""

    function: Callable[..., Any]

    def value(self, arrays: Arrays) -> Any:
        """The first of the two."""
        return self._called(arrays)[0]

    def record(
        self, arrays: Arrays, wanted: Sequence[bool], labels: Sequence[str]
    ) -> tuple[Any, Back]:
        """The value, and a call of every pullback that is wanted."""
        value, pullbacks = self._called(arrays)
        pullbacks = pullbacks if isinstance(pullbacks, tuple) else (pullbacks,)
        if len(pullbacks) != len(arrays):
            raise GraphError(
                f"the function has {len(arrays)} inputs but {len(pullbacks)} pullbacks: it "
                "returns its value and a tuple with one pullback for each input"
            )
        for pullback, label in zip(pullbacks, labels, strict=True):
            if not callable(pullback):
                raise GraphError(
                    f"the function returned {kind_of(pullback)} where the pullback of {label} is "
                    "wanted: a function that takes the upstream gradient g and returns the "
                    "gradient, such as lambda g: g * 2 * x"
                )
        return value, lambda upstream: [
            p(upstream) if want else None for p, want in zip(pullbacks, wanted, strict=True)
        ]

    def _called(self, arrays: Arrays) -> tuple[Any, Any]:
        made = self.function(*arrays)
        if isinstance(made, tuple) and len(made) == 2:
            return made
        raise GraphError(
            f"the function returned {kind_of(made)}; a function of arrays returns its value and "
            "its pullback, or its pullback is handed in with pullback="
        )


@dataclass(frozen=True)
class Pair:
    """A function of arrays, and its pullback beside it: p(g, *inputs) returns the gradients."""

    function: Callable[..., Any]
    pullback: Callable[..., Any]

    def value(self, arrays: Arrays) -> Any:
        """What the function returns."""
        return self.function(*arrays)

    def record(
        self, arrays: Arrays, wanted: Sequence[bool], labels: Sequence[str]
    ) -> tuple[Any, Back]:
        """The value, and the pullback at these inputs."""

        def back(upstream: Array) -> list[Any]:
            made = self.pullback(upstream, *arrays)
            gradients = list(made) if isinstance(made, (tuple, list)) else [made]
            if len(gradients) != len(arrays):
                raise GraphError(
                    f"the pullback returned {len(gradients)} gradients for {len(arrays)} inputs, "
                    f"{', '.join(labels)}: it takes (g, *inputs) and returns one for each"
                )
            return [g if want else None for g, want in zip(gradients, wanted, strict=True)]

        return self.value(arrays), back


def kind_of(value: Any) -> str:
    """What a thing is, in a few words."""
    if value is None:
        return "None"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
    return f"{type(value).__name__}{dtype}"


def find_form(function: Callable[..., Any], points: Sequence[np.ndarray], backend: Backend) -> Form:
    """A bare op if it says so, by what it returns for Tensors or, failing that, for arrays."""

    def arrays() -> list[Array]:
        return [backend.from_host(x.copy()) for x in points]

    try:
        with no_grad():
            made = function(*map(Tensor.wrap, arrays()))
    except Exception as error:  # as when a function of arrays is given Tensors
        return _form_of_arrays(function, arrays, error, points)
    return BareOp(function) if isinstance(made, tuple) else TensorFunction(function)


def _form_of_arrays(
    function: Callable[..., Any],
    arrays: Callable[[], Arrays],
    error: Exception,
    points: Sequence[np.ndarray],
) -> Form:
    try:
        made = function(*arrays())
    except Exception as second:  # then it works on neither
        shapes = ", ".join(str(x.shape) for x in points)
        error.add_note(
            f"raised by the function under check, for Tensors of shapes {shapes}; "
            f"for arrays it raised {type(second).__name__}: {second}"
        )
        raise error from None
    if isinstance(made, tuple):
        return BareOp(function)
    if isinstance(error, TinyvaeError) or not hasattr(made, "dtype"):
        raise error
    raise GraphError(
        f"the function works on arrays and returned {kind_of(made)} alone: let it return its value "
        "and its pullback, or hand the pullback in with pullback="
    ) from error
