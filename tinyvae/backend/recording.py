"""A computation on NumPy arrays, written down once and repeated in the same memory.

The tape of `tinyvae.autograd` makes the same calls of NumPy in every step: the shapes stay, and
nothing branches on a value. So the calls can be written down, with the memory that each reads
and writes. To repeat them is one flat loop, without tape, checks or fresh memory, and it gives
the same numbers to the last bit. CUDA calls the like a graph.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Self

import numpy as np

from tinyvae.backend.memory import Call, owner, shared
from tinyvae.errors import NotRecordableError

_recording_now: ContextVar[bool] = ContextVar("recording now", default=False)


@contextmanager
def being_recorded() -> Iterator[None]:
    """Within the block `refuse_to_record` refuses."""
    token = _recording_now.set(True)
    try:
        yield
    finally:
        _recording_now.reset(token)


def refuse_to_record(what: str) -> None:
    """Raise NotRecordableError where a computation is written down, to be repeated."""
    if _recording_now.get():
        raise NotRecordableError(
            f"a step that is replayed cannot go on {what}: give it to the loss"
        )


class Recording:
    """What was computed from the arrays that `watch` has given out.

    >>> recording, x = Recording(), np.array([1.0, 2.0])
    >>> y = np.exp(recording.watch(x)) + 1
    >>> again = recording.finish([unwatched(y)])
    >>> x[:] = 0
    >>> again()
    >>> unwatched(y)
    array([2., 2.])
    """

    executes = True
    """Whether its ``with`` block also does what is written down."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.is_open = True
        self._made: list[np.ndarray] = []

    def __enter__(self) -> Self:
        self._exit = ExitStack()
        self._exit.enter_context(being_recorded())
        return self

    def __exit__(self, *exception: object) -> None:
        self._exit.close()
        self.is_open = False

    def watch(self, array: np.ndarray) -> Watched:
        """A view of ``array``; what is computed from it is written down."""
        view = array.view(Watched)
        view.recording = self
        return view

    def watch_new(self, array: np.ndarray) -> Watched:
        """The same of an array that the computation has made for itself."""
        self._made.append(owner(array))
        return self.watch(array)

    def note(self, act: Any, inputs: Any, out: Any = None, options: Any = None) -> None:
        """Write a call down."""
        self.calls.append(Call(act, inputs, out, options or {}))

    def note_copy(self, act: Any, inputs: Any, options: Any) -> Watched:
        """What ``act`` returns anew each time, copied to where it was the first time."""
        made = act(*inputs, **options)
        self.note(partial(_copy, act), inputs, made, options)
        return self.watch_new(made)

    def finish(self, results: Sequence[np.ndarray] = ()) -> Callable[[], None]:
        """The calls as one function, which repeats them.

        What the computation has made on its way is moved into as little memory as will do; the
        ``results``, and what was given to `watch`, stay where they are.
        """
        kept = {id(owner(array)) for array in results}
        fleeting = [array for array in self._made if id(array) not in kept]
        bound = [_bound(call) for call in shared(self.calls, fleeting)]
        self.calls, self._made, self.is_open = [], [], False

        def again() -> None:
            for call in bound:
                call()

        return again


class Watched(np.ndarray):
    """An array from which a `Recording` comes; a view of it is another one."""

    recording: Recording | None

    def __array_finalize__(self, source: Any) -> None:
        self.recording = getattr(source, "recording", None)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        recording = _recording(*inputs, *(out or ()))
        act = ufunc if method == "__call__" else getattr(ufunc, method)
        inputs, options = unwatched(inputs), unwatched(options)
        if out is None and method != "at":
            made = np.asarray(act(*inputs, **options))
            recording.note(act, inputs, made, options)
            return recording.watch_new(made)
        to = {} if out is None else {"out": unwatched(out[0])}
        act(*inputs, **to, **options)
        recording.note(act, inputs, to.get("out"), options)
        return out and out[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in _MADE_OF_UFUNCS:
            return function._implementation(*args, **kwargs)
        if function not in _MAKING_ANEW | _LIKE:
            raise NotRecordableError(f"np.{function.__name__} is not written down")
        if function is np.full_like and len([*_watched_in((*args, *kwargs.values()))]) > 1:
            raise NotRecordableError("np.full_like with a number of the computation")
        recording = _recording(*args, *kwargs.values())
        args, kwargs = unwatched(args), unwatched(kwargs)
        if function in _MAKING_ANEW:
            return recording.note_copy(function, args, kwargs)
        made = function(*args, **kwargs)
        if function is np.broadcast_to:
            return recording.watch(made)
        if function is not np.empty_like:
            recording.note(np.positive, (made.copy(),), made)
        return recording.watch_new(made)

    # The methods that are no ufuncs, as NumPy's

    def copy(self, order: Any = "C") -> Any:  # noqa: D102
        plain, recording = unwatched(self), _recording(self)
        made = plain.copy(order)
        recording.note(np.positive, (plain,), made)
        return recording.watch_new(made)

    def astype(self, dtype: Any, **options: Any) -> Any:  # type: ignore[override]  # noqa: D102
        return self._view_or_copy(np.ndarray.astype, (unwatched(self), dtype), options)

    def reshape(self, *shape: Any) -> Any:  # type: ignore[override]  # noqa: D102
        return self._view_or_copy(np.ndarray.reshape, (unwatched(self), *shape), {})

    def __getitem__(self, index: Any) -> Any:
        plain, index = unwatched(self), _checked(unwatched(index))
        if not isinstance(plain[index], np.ndarray):  # of one element a view is wanted as well
            index = (*index, ...) if isinstance(index, tuple) else (index, ...)
        return self._view_or_copy(operator.getitem, (plain, index), {})

    def _view_or_copy(self, act: Any, inputs: Any, options: Any) -> Any:
        made = act(*inputs, **options)
        if not made.size or np.may_share_memory(made, unwatched(self)):
            return _recording(self).watch(made)
        return _recording(self).note_copy(act, inputs, options)

    def __setitem__(self, index: Any, value: Any) -> None:
        plain, index, value = unwatched((self, index, value))
        plain[_checked(index)] = value
        _recording(self).note(operator.setitem, (plain, index, value))

    def _refused(self, *_: Any, **__: Any) -> Any:
        raise NotRecordableError(
            "a step that is replayed does what cannot be repeated blindly, such as to look at a "
            "value; what is to be looked at, let the loss return"
        )

    # Looks at values, and methods of NumPy that are written down by no other way
    __bool__ = __float__ = __int__ = __index__ = __complex__ = _refused
    item = tolist = tobytes = tofile = dump = dumps = byteswap = _refused
    argmax = argmin = argpartition = argsort = searchsorted = nonzero = _refused
    choose = compress = cumprod = cumsum = diagonal = dot = fill = flatten = _refused
    getfield = partition = put = ravel = repeat = resize = setfield = sort = _refused
    take = trace = view = _refused
    flat = data = property(_refused)


def perform(act: Callable[..., Any], *inputs: Any) -> None:
    """``act(*inputs)`` on plain arrays; written down if one of them is watched.

    So that a function which is none of NumPy's own, and writes into its arguments or raises an
    error, is called again when the calls are repeated.
    """
    plain = unwatched(inputs)
    act(*plain)
    if next(_watched_in(inputs), None) is not None:
        _recording(*inputs).note(act, plain)


def unwatched(value: Any) -> Any:
    """Arrays, also in tuples, lists and dicts, as NumPy's own."""
    if isinstance(value, Watched):
        return np.ndarray.view(value, np.ndarray)
    if isinstance(value, dict):
        return {name: unwatched(part) for name, part in value.items()}
    return type(value)(map(unwatched, value)) if type(value) in (tuple, list) else value


def _recording(*values: Any) -> Recording:
    """The one that the first watched array among the values belongs to."""
    found = next((x.recording for x in _watched_in(values) if x.recording is not None), None)
    if found is None or not found.is_open:
        raise NotRecordableError(
            "this array belongs to a step that is replayed, and is old: let the loss return it"
        )
    return found


def _checked(index: Any) -> Any:
    """The index, unless it is a mask, which picks as many elements as it happens to."""
    if any(isinstance(x, np.ndarray) and x.dtype == bool for x in _parts(index)):
        raise NotRecordableError("a mask picks another number of elements each time")
    return index


def _parts(index: Any) -> Iterator[Any]:
    yield from index if isinstance(index, tuple) else (index,)


def host_array(array: Any) -> np.ndarray:
    """An array of NumPy for the host to look at."""
    return array._refused() if isinstance(array, Watched) else np.asarray(array)


def _watched_in(values: Any) -> Iterator[Watched]:
    for value in values:
        if isinstance(value, Watched):
            yield value
        elif type(value) in (tuple, list):
            yield from _watched_in(value)


def _copy(act: Callable[..., Any], *inputs: Any, out: np.ndarray, **options: Any) -> None:
    out[...] = act(*inputs, **options)


def _bound(call: Call) -> Callable[[], Any]:
    """A call as a function of nothing."""
    out = {} if call.out is None else {"out": call.out}
    inputs = _as_arrays(call.inputs) if type(call.act) is np.ufunc else call.inputs
    return partial(call.act, *inputs, **out, **call.options)


def _as_arrays(inputs: Sequence[Any]) -> Iterator[Any]:
    """Python's numbers as NumPy takes them beside arrays, so that it need not each time."""
    dtypes = {x.dtype for x in inputs if isinstance(x, np.ndarray)}
    known = len(dtypes) == 1 and all(dtype.kind == "f" for dtype in dtypes)
    for x in inputs:
        yield np.array(x, *dtypes) if known and type(x) in (int, float) else x


_MADE_OF_UFUNCS = {
    np.all, np.any, np.clip, np.max, np.mean, np.min, np.sum,
    np.expand_dims, np.moveaxis, np.squeeze, np.swapaxes, np.transpose,
}  # fmt: skip
_MAKING_ANEW = {np.concatenate, np.stack, np.where}
_LIKE = {np.broadcast_to, np.empty_like, np.full_like, np.ones_like, np.zeros_like}
