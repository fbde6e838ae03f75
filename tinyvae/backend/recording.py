"""A computation on NumPy arrays, written down once and repeated in the same memory.

The tape of `tinyvae.autograd` makes the same calls of NumPy in every step: the shapes stay, and
nothing branches on a value. So the calls can be written down, with the memory that each reads
and writes. To repeat them is one flat loop, without tape, checks or fresh memory, and it gives
the same numbers to the last bit. CUDA calls the like a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np


class NotRecordableError(Exception):
    """The computation does what cannot be repeated blindly, such as to look at a value."""


class Call(NamedTuple):
    """One call, ``act(*inputs, out=out, **options)``; without ``out`` if that is None."""

    act: Callable[..., Any]
    inputs: tuple[Any, ...]
    out: np.ndarray | None
    options: dict[str, Any]

    def bind(self) -> Callable[[], Any]:
        """The call as a function of nothing."""
        out = {} if self.out is None else {"out": self.out}
        inputs = self._as_arrays() if type(self.act) is np.ufunc else self.inputs
        return partial(self.act, *inputs, **out, **self.options)

    def _as_arrays(self) -> Iterator[Any]:
        """Python's numbers as NumPy takes them beside arrays, so that it need not each time."""
        dtypes = [x.dtype for x in self.inputs if isinstance(x, np.ndarray)]
        for x in self.inputs:
            yield np.array(x, dtypes[0]) if dtypes and type(x) in (int, float) else x


class Recording:
    """What was computed from the arrays that `watch` has given out.

    >>> recording, x = Recording(), np.array([1.0, 2.0])
    >>> y = np.exp(recording.watch(x)) + 1
    >>> again = recording.finish()
    >>> x[:] = 0
    >>> again()
    >>> unwatched(y)
    array([2., 2.])
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def watch(self, array: np.ndarray) -> Watched:
        """A view of ``array``; what is computed from it is written down."""
        view = array.view(Watched)
        view.recording = self
        return view

    def note(self, act: Any, inputs: Any, out: Any, options: Any = None) -> Watched | None:
        """Write a call down, and watch its result."""
        self.calls.append(Call(act, inputs, out, options or {}))
        return None if out is None else self.watch(out)

    def note_copy(self, array: np.ndarray, make: Callable[[], np.ndarray]) -> Watched | None:
        """What ``make`` returns anew each time, copied to where it was the first time."""
        return self.note(_copy_made, (make,), array)

    def finish(self) -> Callable[[], None]:
        """The calls as one function, which repeats them."""
        bound = [call.bind() for call in self.calls]

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
        if method == "at":
            act(*inputs, **options)
            return recording.note(act, inputs, None, options)
        to = {} if out is None else {"out": unwatched(out[0])}
        made = np.asarray(act(*inputs, **to, **options))
        result = recording.note(act, inputs, made, options)
        return result if out is None else out[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in _MADE_OF_UFUNCS:
            return function._implementation(*args, **kwargs)
        if function not in _MAKING_ANEW | _CONSTANT | _NOT_COMPUTING:
            raise NotRecordableError(f"np.{function.__name__} is not written down")
        recording = _recording(*args, *kwargs.values())
        if function in _NOT_COMPUTING:
            return recording.watch(function(*unwatched(args), **unwatched(kwargs)))
        if function in _CONSTANT:
            made = function(*unwatched(args), **unwatched(kwargs))
            return recording.note(np.positive, (made.copy(),), made)
        make = partial(function, *unwatched(args), **unwatched(kwargs))
        return recording.note_copy(make(), make)

    # The methods that are no ufuncs

    def copy(self, order: Any = "C") -> Any:
        """As NumPy's."""
        plain = unwatched(self)
        return _recording(self).note(np.positive, (plain,), plain.copy(order))

    def astype(self, dtype: Any, **options: Any) -> Any:  # type: ignore[override]
        """As NumPy's."""
        make = partial(unwatched(self).astype, dtype, **options)
        return _recording(self).note_copy(make(), make)

    def reshape(self, *shape: Any) -> Any:  # type: ignore[override]
        """As NumPy's: a view where that can be, else a copy."""
        return self._view_or_copy(partial(unwatched(self).reshape, *shape))

    def __getitem__(self, index: Any) -> Any:
        plain, index = unwatched(self), unwatched(index)
        if not isinstance(plain[index], np.ndarray):  # of one element a view is wanted as well
            index = (*index, ...) if isinstance(index, tuple) else (index, ...)
        return self._view_or_copy(partial(plain.__getitem__, index))

    def _view_or_copy(self, make: Callable[[], np.ndarray]) -> Any:
        recording, made = _recording(self), make()
        if np.may_share_memory(made, unwatched(self)):
            return recording.watch(made)
        return recording.note_copy(made, make)

    def __setitem__(self, index: Any, value: Any) -> None:
        perform(unwatched(self).__setitem__, index, value, also=self)

    def __bool__(self) -> bool:
        raise NotRecordableError("the computation looks at a value")

    __float__ = __int__ = __index__ = item = tolist = __bool__  # type: ignore[assignment]


def perform(act: Callable[..., Any], *inputs: Any, also: Any = None) -> None:
    """``act(*inputs)`` on plain arrays; written down if one of them, or ``also``, is watched.

    So that a function which is none of NumPy's own, and writes into its arguments or raises an
    error, is called again when the calls are repeated.
    """
    plain = unwatched(inputs)
    act(*plain)
    if next(_watched_in((*inputs, also)), None) is not None:
        _recording(*inputs, also).note(act, plain, None)


def unwatched(value: Any) -> Any:
    """Arrays, also in tuples, lists and dicts, as NumPy's own."""
    if isinstance(value, Watched):
        return value.view(np.ndarray)
    if isinstance(value, dict):
        return {name: unwatched(part) for name, part in value.items()}
    return type(value)(map(unwatched, value)) if type(value) in (tuple, list) else value


def _recording(*values: Any) -> Recording:
    """The one that the first watched array among the values belongs to."""
    found = next((x.recording for x in _watched_in(values) if x.recording is not None), None)
    if found is None:
        raise NotRecordableError("no array among these is watched")
    return found


def _watched_in(values: Any) -> Iterator[Watched]:
    for value in values:
        if isinstance(value, Watched):
            yield value
        elif type(value) in (tuple, list):
            yield from _watched_in(value)


def _copy_made(make: Callable[[], np.ndarray], out: np.ndarray) -> None:
    np.copyto(out, make())


_MADE_OF_UFUNCS = {
    np.all, np.any, np.clip, np.max, np.mean, np.min, np.sum,
    np.expand_dims, np.moveaxis, np.squeeze, np.swapaxes, np.transpose,
}  # fmt: skip
_NOT_COMPUTING = {np.broadcast_to, np.empty_like}
_CONSTANT = {np.full_like, np.ones_like, np.zeros_like}
_MAKING_ANEW = {np.concatenate, np.stack, np.where}
