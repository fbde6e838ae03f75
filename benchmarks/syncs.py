"""How often the host waits for a GPU: a count of the calls of CuPy that wait.

Counted are looks at values (`get`, `item`, `float`, `bool` and the like, `asnumpy`) and
`synchronize` of a stream or an event, wherever Python calls them; one within another does not
count. Copies to the GPU are not counted, nor a wait for the whole device or one of compiled code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LOOKS = ("get", "item", "tolist", "__bool__", "__complex__", "__float__", "__int__")


def waiting(cupy: Any) -> list[tuple[type, str]]:
    """The methods of CuPy that wait."""
    cuda = cupy.cuda
    kinds = (cuda.Stream, cuda.ExternalStream, cuda.Event)
    return [*((cupy.ndarray, name) for name in LOOKS), *((kind, "synchronize") for kind in kinds)]


@contextmanager
def counted(methods: Sequence[tuple[type, str]]) -> Iterator[Counter[str]]:
    """The calls of these methods within the block, by their names."""
    found: Counter[str] = Counter()
    inside: list[str] = []
    own = [(kind, name, vars(kind).get(name)) for kind, name in methods]
    for kind, name, _ in own:
        setattr(kind, name, _noted(getattr(kind, name), name, found, inside))
    try:
        yield found
    finally:
        for kind, name, method in own:
            if method is None:
                delattr(kind, name)  # it is a base class's
            else:
                setattr(kind, name, method)


def _noted(
    method: Callable[..., Any], name: str, found: Counter[str], inside: list[str]
) -> Callable[..., Any]:
    def call(*given: Any, **options: Any) -> Any:
        if not inside and options.get("blocking", True):
            found[name] += 1
        inside.append(name)
        try:
            return method(*given, **options)
        finally:
            inside.pop()

    return call
