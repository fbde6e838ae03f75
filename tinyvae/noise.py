"""The explicit stream of randomness: everything random in the project is drawn here."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinyvae.backend import Array, Backend, refuse_to_record
from tinyvae.backend import get as get_backend
from tinyvae.errors import OptionError

BLOCK = 1 << 16


class Noise:
    """A stream of random numbers with a seed, drawn on the host in blocks.

    The same seed gives the same numbers on every backend, and a stream that is saved
    with `state` and put back with `restore` goes on bit for bit.

    Parameters
    ----------
    seed : int
        Any integer from 0.
    *path : str
        Names of the sub-stream; streams of different paths are independent.
    backend : str or Backend, optional
        Where `normal` and `uniform` put their numbers; the backend in use if None.

    Raises
    ------
    OptionError
        The seed is negative or not an integer.

    Examples
    --------
    >>> Noise(0).normal((2, 3)).shape
    (2, 3)
    >>> a, b = Noise(0, "shuffle"), Noise(0).stream("shuffle")
    >>> bool((a.permutation(5) == b.permutation(5)).all())
    True
    """

    def __init__(self, seed: int, *path: str, backend: str | Backend | None = None) -> None:
        self.seed, self.path = _checked(seed), path
        self.backend = get_backend(backend)
        key = tuple(zlib.crc32(name.encode()) for name in path)
        sequence = np.random.SeedSequence(self.seed, spawn_key=key)
        self._generator = np.random.Generator(np.random.PCG64DXSM(sequence))
        self._block: Array = None
        self._kind: tuple[str, str] | None = None  # method and dtype of the block
        self._before: Mapping[str, Any] = {}  # the generator's state before the block was drawn
        self._used = 0

    def stream(self, name: str) -> Noise:
        """An independent stream of that name under this one; this one does not move."""
        return Noise(self.seed, *self.path, name, backend=self.backend)

    def normal(self, shape: tuple[int, ...], dtype: str = "float32") -> Array:
        """Draws from the standard normal, in an array of the stream's backend."""
        return self._take("standard_normal", shape, dtype)

    def uniform(self, shape: tuple[int, ...], dtype: str = "float32") -> Array:
        """Draws from [0, 1), in an array of the stream's backend."""
        return self._take("random", shape, dtype)

    def integers(self, high: int, shape: tuple[int, ...], dtype: str = "int64") -> np.ndarray:
        """Draws from 0, ..., high - 1, on the host."""
        refuse_to_record("drawing noise")
        return self._generator.integers(high, size=shape, dtype=np.dtype(dtype).type)

    def permutation(self, n: int) -> np.ndarray:
        """A random order of 0, ..., n - 1, on the host."""
        refuse_to_record("drawing noise")
        return self._generator.permutation(n)

    def _take(self, method: str, shape: tuple[int, ...], dtype: str) -> Array:
        refuse_to_record("drawing noise")
        size, dtype = math.prod(shape), np.dtype(dtype).name
        if self._kind != (method, dtype) or self._used + size > len(self._block):
            self._draw(method, dtype, size)
        start, self._used = self._used, self._used + size
        return self._block[start : self._used].reshape(shape)

    def _draw(self, method: str, dtype: str, size: int) -> None:
        before = self._generator.bit_generator.state
        drawn = getattr(self._generator, method)(max(size, BLOCK), dtype=np.dtype(dtype))
        self._block, self._before = self.backend.from_host(drawn), before
        self._kind, self._used = (method, dtype), 0

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as plain data that JSON can hold.

        >>> noise = Noise(0)
        >>> saved = noise.state()
        >>> first = noise.normal((4,))
        >>> noise.restore(saved)
        >>> bool((noise.normal((4,)) == first).all())
        True
        """
        return {
            "generator": self._generator.bit_generator.state,
            "block": self._kind
            and {
                "kind": list(self._kind),
                "size": len(self._block),
                "used": self._used,
                "before": self._before,
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self._kind, self._used = None, 0
        if block := state["block"]:
            self._generator.bit_generator.state = block["before"]
            method, dtype = block["kind"]
            self._draw(method, dtype, block["size"])
            self._used = block["used"]
        self._generator.bit_generator.state = state["generator"]


def _checked(seed: Any) -> int:
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0:
        return int(seed)
    raise OptionError(f"a seed is an integer from 0, not {seed!r}; for example Noise(0)")
