"""The complex twin of NumPy, on which a function's derivative is the imaginary part of its value.

f(x + ih) = f(x) + ih f'(x) + O(h^2) for an analytic f, without a difference that cancels
(Squire and Trapp, 1998). Functions with branches are analytic on each side only, so that the
twin compares, takes absolute values, maxima and the like by the real part alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.exceptions import ComplexWarning

from tinyvae import backend as backends
from tinyvae.backend import Backend

STEP = 1e-100  # its square is nothing beside it, and still no denormal


class Twin(np.ndarray):
    """Complex numbers that branch by their real part."""

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any
    ) -> Any:
        plain = [_plain(x) for x in inputs]
        options |= {"out": tuple(map(_plain, out))} if out else {}
        if method == "__call__" and ufunc in _BY_REAL_PART:
            result = _BY_REAL_PART[ufunc](*plain)
            if out:
                out[0][...] = result
        else:
            result = getattr(ufunc, method)(*plain, **options)
        return out[0] if out else as_twin(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return as_twin(super().__array_function__(function, types, args, kwargs))

    def __getitem__(self, index: Any) -> Any:
        return as_twin(super().__getitem__(index))

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """As it is for a float dtype: a real one would lose the derivative."""
        if np.dtype(dtype).kind in "fc":
            return self.copy()
        return self.real.view(np.ndarray).astype(dtype, *args, **kwargs)


def as_twin(value: Any) -> Any:
    """Floats and complex numbers as a `Twin`; anything else as it is, also within a list."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(as_twin, value))
    if getattr(value, "dtype", None) is None or value.dtype.kind not in "fc":
        return value
    return np.asarray(value, dtype=np.complex128).view(Twin)


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, Twin) else x


def _compared(ufunc: np.ufunc) -> Callable[..., Any]:
    return lambda *xs: ufunc(*map(np.real, xs))


def _maximum(a: Any, b: Any) -> Any:
    return np.where(np.real(a) >= np.real(b), a, b)


def _minimum(a: Any, b: Any) -> Any:
    return np.where(np.real(a) <= np.real(b), a, b)


def _absolute(x: Any) -> Any:
    return np.where(np.real(x) < 0, -x, x)


def _log1p(x: Any) -> Any:
    """With a real part as good as NumPy's for real numbers."""
    y = np.array(np.log1p(x))
    y.real = np.log1p(np.real(x))
    return y


_COMPARISONS = (np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal)
_BY_REAL_PART: dict[Any, Callable[..., Any]] = {
    **{ufunc: _compared(ufunc) for ufunc in (*_COMPARISONS, np.sign, np.signbit)},
    np.maximum: _maximum,
    np.minimum: _minimum,
    np.absolute: _absolute,
    np.fabs: _absolute,
    np.log1p: _log1p,
    np.logaddexp: lambda a, b: _maximum(a, b) + _log1p(np.exp(-_absolute(a - b))),
    np.hypot: lambda a, b: np.sqrt(a * a + b * b),
}


class _Namespace:
    """NumPy, whose functions make twins."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *args, **kwargs: as_twin(found(*args, **kwargs))

    @staticmethod
    def asarray(value: Any, dtype: Any = None) -> Any:
        """Of floats, of whichever dtype, a twin; of integers, as for an index, an array."""
        return as_twin(np.asarray(value) if isinstance(value, Twin) else np.asarray(value, dtype))

    @staticmethod
    def clip(x: Any, low: Any, high: Any) -> Any:
        """By the real part."""
        return as_twin(_minimum(_maximum(_plain(x), low), high))


TWIN = Backend("twin", _Namespace(), Twin, _Namespace.asarray, np.asarray, adopts_host=True)


@contextmanager
def in_use() -> Iterator[None]:
    """Within the block new tensors are twins, and to lose an imaginary part is an error."""
    with backends.use(TWIN), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("error", ComplexWarning)
        yield
