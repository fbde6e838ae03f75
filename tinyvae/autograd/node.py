"""What is remembered of an op until the backward pass, and the checks on it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tinyvae import backend as backends
from tinyvae.backend import Array
from tinyvae.errors import GraphError, NonFiniteError

if TYPE_CHECKING:
    from tinyvae.autograd.tensor import Tensor

tracing: ContextVar[bool] = ContextVar("tracing", default=False)


class Node:
    """One recorded op: what went in, in which version, and the pullback to each input."""

    __slots__ = ("in_place", "inputs", "op", "pullbacks", "versions")

    def __init__(self, op: str, inputs: Any, pullbacks: Any, in_place: bool) -> None:
        self.op, self.inputs, self.in_place = op, inputs, in_place
        self.pullbacks = pullbacks if isinstance(pullbacks, tuple) else (pullbacks,)
        if len(self.pullbacks) != len(inputs):
            raise GraphError(
                f"{op} has {len(inputs)} inputs but {len(self.pullbacks)} pullbacks: it returns "
                "its value and a tuple with one for each input"
            )
        if not all(map(callable, self.pullbacks)):
            raise GraphError(
                f"{op} returned a value where its pullback is wanted: a function that takes the "
                "upstream gradient g and returns the gradient, such as lambda g: g * 2 * x"
            )
        self.versions = tuple(x.version if hasattr(x, "version") else 0 for x in inputs)

    def check_unchanged(self, output: Tensor) -> None:
        """Refuse to differentiate with values that are no longer those of the forward pass."""
        for k, (x, version) in enumerate(zip(self.inputs, self.versions, strict=True)):
            if hasattr(x, "version") and x.version != version:
                raise _changed(self.op, f"input {k}, {x.label}")
        if output.version:
            raise _changed(self.op, f"its result, {output.label}")


USED = Node("used", (), (), False)


def _changed(op_name: str, what: str) -> GraphError:
    return GraphError(
        f"{what}, was changed after {op_name} used it and before backward; the gradient would "
        "be wrong: change it after backward, or compute the loss again"
    )


def check_finite(name: str, operands: list[Any], array: Array, what: str = "value") -> None:
    """Raise NonFiniteError with the first element of ``array`` that is no number."""
    xp = backends.of(array).xp
    finite = xp.isfinite(array)
    if bool(finite.all()):
        return
    flat = int((~finite).reshape(-1).argmax())
    index: list[int] = []
    rest = flat
    for length in reversed(array.shape):
        rest, k = divmod(rest, length)
        index.insert(0, k)
    labels = [x.label if hasattr(x, "label") else repr(x) for x in operands]
    raise NonFiniteError(
        f"{name} made {float(array.reshape(-1)[flat])} first, in element {tuple(index)} of its "
        f"{what} of shape {array.shape}, from {', '.join(labels)}"
    )
