"""Memory that the arrays of a repeated computation share: one begins where another has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Call(NamedTuple):
    """One call, ``act(*inputs, out=out, **options)``; without ``out`` if that is None."""

    act: Callable[..., Any]
    inputs: tuple[Any, ...]
    out: np.ndarray | None
    options: dict[str, Any]

    def arrays(self) -> Iterator[np.ndarray]:
        """Those that it reads or writes."""
        yield from _arrays((self.inputs, self.out, self.options))


def shared(calls: Sequence[Call], fleeting: Sequence[np.ndarray]) -> list[Call]:
    """The same calls, with as little memory for the ``fleeting`` arrays as will do.

    Parameters
    ----------
    calls : sequence of Call
        In their order; their arrays may be views of the fleeting ones.
    fleeting : sequence of ndarray
        Arrays that own their memory, and that nobody looks at before their first call or
        after their last.

    Examples
    --------
    >>> a, b, c, x = (np.empty(4) for _ in range(4))
    >>> chain = [Call(np.exp, (p,), q, {}) for p, q in ((x, a), (a, b), (b, c), (c, x))]
    >>> len({id(owner(call.out)) for call in shared(chain, [a, b, c])})  # two of them, and x
    3
    """
    spans = _spans(calls, {id(array) for array in fleeting})
    ends: dict[int, list[int]] = {}
    for key, (_, last) in spans.items():
        ends.setdefault(last, []).append(key)
    sizes = {id(array): array.nbytes for array in fleeting}
    free: list[np.ndarray] = []
    homes: dict[int, np.ndarray] = {}
    moved = []
    for k, call in enumerate(calls):
        for key in dict.fromkeys(id(owner(x)) for x in call.arrays()):
            if key in spans and key not in homes:
                homes[key] = _taken(free, sizes[key])
        moved.append(Call(*_moved(tuple(call), homes)))
        free += [homes[key] for key in ends.get(k, ())]
    return moved


def _spans(calls: Sequence[Call], keys: set[int]) -> dict[int, tuple[int, int]]:
    """The first and the last call that each of these arrays is used in."""
    spans: dict[int, tuple[int, int]] = {}
    for k, call in enumerate(calls):
        for key in {id(owner(x)) for x in call.arrays()} & keys:
            spans[key] = spans.get(key, (k, k))[0], k
    return spans


def _taken(free: list[np.ndarray], size: int) -> np.ndarray:
    """The smallest of the free pieces of memory that is large enough, or a new one."""
    fitting = [k for k, piece in enumerate(free) if piece.nbytes >= size]
    if not fitting:
        return np.empty(size, np.uint8)
    return free.pop(min(fitting, key=lambda k: free[k].nbytes))


def _moved(value: Any, homes: Mapping[int, np.ndarray]) -> Any:
    """What is in a call, with its arrays where they live now."""
    if isinstance(value, np.ndarray):
        return _view(value, homes.get(id(owner(value))))
    if isinstance(value, dict):
        return {name: _moved(part, homes) for name, part in value.items()}
    return type(value)(_moved(x, homes) for x in value) if type(value) in (tuple, list) else value


def _view(x: np.ndarray, home: np.ndarray | None) -> np.ndarray:
    """The same view of other memory."""
    if home is None:
        return x
    offset = _address(x) - _address(owner(x))
    return np.ndarray(x.shape, x.dtype, buffer=home, offset=offset, strides=x.strides)


def _address(x: np.ndarray) -> int:
    return int(x.__array_interface__["data"][0])


def owner(x: np.ndarray) -> np.ndarray:
    """The array whose memory ``x`` is a view of."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def _arrays(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        yield from _arrays([*value.values()])
    elif type(value) in (tuple, list):
        for part in value:
            yield from _arrays(part)
