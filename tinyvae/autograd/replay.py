"""A loss and its gradients, taped once for each shape, then replayed without the tape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any, TypeAlias

from tinyvae import backend as backends
from tinyvae.autograd.lift import is_recording
from tinyvae.autograd.node import tracing
from tinyvae.autograd.tensor import Tensor
from tinyvae.backend import Array, unwatched
from tinyvae.errors import GraphError, NotRecordableError, OptionError

Result: TypeAlias = Any
"""A Tensor, the loss; or a tuple of Tensors, the loss first."""

CHANGED = (
    "the loss is no longer what was recorded: something that it depends on has changed, beside its "
    "arguments and the parameters; make it an argument, or make a new tv.Replay; for tv.fit let it "
    "be a number that the model has as an attribute, or in a list"
)
MOST = 4  # plans that are kept: each holds the memory of one step


class Replay:
    """A loss whose values and gradients are replayed where they can be, to save time.

    It takes the place of the loss and its `backward` in a loop of one's own: `zero_grad`, the
    call, `Adam.step`. On a CPU a small model's step takes half of the time or less, a large one's
    about a tenth less.

    The first call for arrays of certain shapes goes through the tape, and the calls of NumPy
    that it makes are written down; on a GPU the loss is called once more, and becomes a CUDA
    graph. From then on these are repeated, which gives the same bits.
    That is not taken on trust: the second, third and fourth call go both ways, and so do the
    eighth, the sixteenth, ... A loss that cannot be repeated, since it branches on a value,
    picks by a mask, or draws from a `Noise`, is taped each time; so is a call that adds to
    gradients which are there. ``print(replay)`` tells how many were.

    What else the loss depends on, an array of NumPy's own, a number or a list, is taken as it
    was: after it changes the results are wrong, until the next call that goes both ways says so.

    Parameters
    ----------
    loss : callable
        Takes arrays, and numbers or other options, each value of which gets a plan of its own.
        Returns a Tensor, the loss, or a tuple of Tensors, the loss first. It depends on nothing
        else that changes, except for the values of the parameters.
    parameters : sequence of Tensor
        Those whose gradients are wanted.

    Attributes
    ----------
    is_due : bool
        Set it, and the next call goes both ways too.

    Raises
    ------
    GraphError
        From a call that goes both ways: something changed that is no argument.

    Examples
    --------
    >>> weight = Tensor([3.0], requires_grad=True)
    >>> square = Replay(lambda x: (weight * Tensor.wrap(x)).sum() ** 2, [weight])
    >>> x = Tensor([2.0]).array
    >>> for _ in range(5):  # taped, three times compared, replayed
    ...     weight.zero_grad()
    ...     loss = square(x)
    >>> loss.item(), weight.grad
    (36.0, array([24.], dtype=float32))
    """

    def __init__(self, loss: Callable[..., Result], parameters: Sequence[Tensor]) -> None:
        self.loss, self.parameters = loss, list(parameters)
        if not (self.parameters and all(isinstance(p, Tensor) for p in self.parameters)):
            raise OptionError(
                "the gradients that are replayed are those of Tensors, and of one at least: give "
                "model.parameters()"
            )
        self._taped = self._replayed = 0
        self.is_due = False
        self._plans: dict[Any, Plan | None] = {}

    def __call__(self, *inputs: Any) -> Result:
        """The loss for these arrays; its gradients are left with the parameters.

        What it returns is written over by later calls.
        """
        recording = self.parameters[0].backend.recording
        fresh = all(parameter.grad is None for parameter in self.parameters)
        if recording is None or not fresh or tracing.get() or not is_recording():
            return self.tape(*inputs)
        key = (backends.ways(), *map(_kind, inputs))
        if key not in self._plans:
            return self._first(key, recording(), inputs)
        plan = self._plans[key] = self._plans.pop(key)  # the last to be forgotten
        if plan is None or not plan.fits():
            return self.tape(*inputs)
        plan.calls += 1
        both = plan.calls < 4 or plan.calls & (plan.calls - 1) == 0  # a power of two
        if both or self.is_due:
            self.is_due = False
            return self._both(key, plan, inputs)
        self._replayed += 1
        return plan.replay(inputs)

    def __repr__(self) -> str:
        return f"Replay({self._taped} taped, {self._replayed} replayed)"

    def tape(self, *inputs: Any) -> Result:
        """The same through the tape, whatever can be replayed."""
        result = self._forward(*inputs)
        parts(result)[0].backward()
        return result

    def _forward(self, *inputs: Any) -> Result:
        result, self._taped = self.loss(*inputs), self._taped + 1
        if not all(isinstance(part, Tensor) for part in parts(result)):
            raise OptionError(
                f"the loss returned {result!r:.40}; it returns a Tensor, or a tuple of Tensors, "
                "the loss first"
            )
        return result

    def _first(self, key: Any, recording: Any, inputs: Sequence[Any]) -> Result:
        while len(self._plans) >= MOST:
            del self._plans[next(iter(self._plans))]
        plan = Plan(self.parameters, inputs)
        try:
            result = plan.record(self._forward, recording)
        except NotRecordableError:
            self._plans[key] = None
            return self.tape(*inputs)
        self._plans[key] = plan
        return result

    def _both(self, key: Any, plan: Plan, inputs: Sequence[Any]) -> Result:
        """Replay, then tape: the replay is believed only if both agree."""
        replayed = _copies(plan.replay(inputs), self.parameters)
        for parameter in self.parameters:
            parameter.zero_grad()
        result = self.tape(*inputs)
        if all(map(agree, replayed, _copies(result, self.parameters))):
            return result
        self._plans[key] = None
        if plan.calls > 4:
            raise GraphError(CHANGED)
        return result


class Plan:
    """The calls of one step, with the memory that they use."""

    def __init__(self, parameters: list[Tensor], inputs: Sequence[Any]) -> None:
        self.calls = 1
        self.inputs = [x.copy(order="K") if _is_array(x) else x for x in inputs]
        self.places = [(p, p.array, p.buffer()) for p in parameters]
        self.wanted = [p.requires_grad for p in parameters]
        self.held: list[Array] = []  # which a CUDA graph reads, and does not hold itself

    def record(self, forward: Callable[..., Result], recording: Any) -> Result:
        """Go through the tape once, and write the calls down."""
        watch = recording.watch
        for parameter, values, gradient in self.places:
            parameter.place(watch(values), watch(gradient))
        try:
            inputs = [watch(x) if _is_array(x) else x for x in self.inputs]
            if not recording.executes:
                with recording.rehearsal():
                    parts(forward(*inputs))[0].backward()
                for parameter, *_ in self.places:
                    parameter.zero_grad()
            with recording:
                result = forward(*inputs)
                if not recording.executes:
                    self.held = operands(parts(result)[0])
                parts(result)[0].backward()
            self.reached = [p for p, *_ in self.places if p.grad is not None]
        finally:
            for parameter, values, gradient in self.places:
                parameter.place(values, gradient)
        self.result = _plain(result)
        self.again = recording.finish([part.array for part in parts(self.result)])
        if not recording.executes:
            self.again()
        self._mark()
        return self.result

    def fits(self) -> bool:
        """Whether the parameters are still where they were, and want gradients as they did."""
        moved = any(p.array is not v or p.buffer() is not g for p, v, g in self.places)
        return not moved and self.wanted == [p.requires_grad for p, *_ in self.places]

    def replay(self, inputs: Sequence[Any]) -> Result:
        """The same calls on other values."""
        for mine, x in zip(self.inputs, inputs, strict=True):
            if _is_array(x):
                mine[...] = x
        self.again()
        self._mark()
        return self.result

    def _mark(self) -> None:
        for parameter in self.reached:
            parameter.grad = parameter.buffer()


def operands(loss: Tensor) -> list[Array]:
    """The arrays of all that the loss is made from."""
    found, stack = {loss}, [loss]
    while stack:
        node = stack.pop().node
        new = {x for x in (node.inputs if node else ()) if isinstance(x, Tensor)} - found
        found |= new
        stack += new
    return [tensor.array for tensor in found]


def _is_array(x: Any) -> bool:
    return hasattr(x, "strides") and not isinstance(x, Number)


def _kind(x: Any) -> Any:
    """What of an argument a plan is made for: of an array all but its values."""
    if isinstance(x, Number | str | None):
        return type(x), repr(x)  # since 1 == True, and no NaN is another
    if not _is_array(x) or isinstance(x, Tensor):
        raise OptionError(
            f"a loss that is replayed takes arrays, numbers and words, not a {type(x).__name__}; "
            "of a Tensor give its .array, and wrap it in the loss with tv.Tensor.wrap"
        )
    return x.shape, x.dtype, x.strides


def parts(result: Result) -> tuple[Tensor, ...]:
    """The tensors of a result, the loss first."""
    return result if isinstance(result, tuple) else (result,)


def _plain(result: Result) -> Result:
    tensors = [Tensor.wrap(unwatched(part.array)) for part in parts(result)]
    if not isinstance(result, tuple):
        return tensors[0]
    return result._make(tensors) if hasattr(result, "_make") else tuple(tensors)


def _copies(result: Result, parameters: Sequence[Tensor]) -> list[Array | None]:
    arrays = [part.array for part in parts(result)] + [p.grad for p in parameters]
    return [None if array is None else array.copy() for array in arrays]


def agree(a: Array | None, b: Array | None) -> Any:
    """Whether they are alike but for round-off; mostly they are alike to the last bit.

    Of arrays it is told by an array of the device, for which nobody waits.
    """
    if a is None or b is None or not a.size:
        return a is b or (a is not None and b is not None)
    xp = backends.of(a).xp
    finite, zero = xp.isfinite(a) & xp.isfinite(b), xp.zeros_like(a)
    p, q = (xp.where(finite, x, zero) for x in (a, b))
    allowed = 1000 * float(xp.finfo(a.dtype).eps) * xp.abs(p).max()
    same = (a == b) | ((a != a) & (b != b))  # infinities, and NaN
    return (same | (finite & (xp.abs(p - q) <= allowed))).all()
