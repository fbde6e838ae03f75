"""What a backend is, which ones there are, and which one is chosen."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np

from tinyvae.errors import BackendError, ShapeError

Array: TypeAlias = Any
"""An array of whichever library is in use."""

Kernels: TypeAlias = Mapping[str, Callable[..., Any]]
"""One-pass versions of ops and optimiser rules, by the names of their references."""

PRECISIONS = ("float32", "tf32", "bfloat16")
"""What matrix products of float32 may be computed in; see `use`."""


@dataclass(frozen=True, eq=False)
class Backend:
    """An array library: its name, its namespace, and the way to it and back.

    Attributes
    ----------
    name : str
        ``"numpy"`` or ``"cupy"``.
    xp : module
        The namespace whose functions work on its arrays.
    array_type : type
        The type of its arrays.
    from_host, to_host : callable
        Copy a NumPy array to the device, and an array of the device to NumPy.
    synchronize : callable
        Wait until the device has done all it was asked.
    host : bool
        Whether its arrays are in the host's memory, where to look at a value costs nothing.
    adopts_host : bool
        Whether an op takes in arrays of the host beside its own, instead of refusing to mix.
    kernels : mapping of str to callable
        One-pass versions of ops, by the op's name; each is held to its reference by a test. One
        that is for some arrays only returns NotImplemented for the others.
    recording : callable, optional
        Makes what writes down the work on its arrays so that it can be repeated.
    generator : callable, optional
        Of a seed a stream of random numbers that are drawn on the device, with the methods
        ``standard_normal``, ``random`` and ``integers`` of NumPy's.
    free_memory : callable
        The bytes of its memory that are free; infinity where nobody counts.
    aside, join : callable
        A context whose work need not be done before what follows it is begun; and the end of
        that: what comes after waits for it.
    precisions : tuple of str
        What its matrix products of float32 can be computed in; see `use`.
    check : callable
        Refuses an array of its type that is on another device than the current one.
    is_full : callable
        Whether an exception says that the device has no memory left.
    about : callable
        What there is to say of the device, in lines.
    """

    name: str
    xp: Any
    array_type: type
    from_host: Callable[[np.ndarray], Array]
    to_host: Callable[[Array], np.ndarray]
    synchronize: Callable[[], None] = lambda: None
    host: bool = False
    adopts_host: bool = False
    kernels: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    recording: Callable[[], Any] | None = None
    generator: Callable[[int], Any] | None = None
    free_memory: Callable[[], float] = lambda: math.inf
    aside: Callable[[], AbstractContextManager[None]] = nullcontext
    join: Callable[[], None] = lambda: None
    precisions: tuple[str, ...] = ("float32",)
    check: Callable[[Array], None] = lambda _: None
    is_full: Callable[[BaseException], bool] = lambda _: False
    about: Callable[[], list[str]] = list

    def __repr__(self) -> str:
        return f"Backend({self.name!r})"

    def kernel(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        """The quickest version of ``reference``: compiled where `use` asked for it, or one-pass."""
        compiled = _compiled.get() if self.host else None
        return (compiled or self.kernels).get(name) or self.kernels.get(name, reference)

    def asarray(self, value: Any, dtype: Any = None) -> Array:
        """``value`` as an array of this backend; arrays of another one are refused.

        >>> get("numpy").asarray([1.0, 2.0], "float32")
        array([1., 2.], dtype=float32)
        """
        if isinstance(value, self.array_type):
            value = cast(Array, value)
            return value if dtype is None else value.astype(dtype, copy=False)
        owner = _owner(value)
        if owner not in (None, "numpy"):
            raise mixed(self.name, owner or "")
        return self.from_host(np.asarray(value, dtype))


_loaders: dict[str, Callable[[], Backend]] = {}
_loaded: dict[str, Backend] = {}
_by_type: dict[type, Backend] = {}
_current: ContextVar[Backend | None] = ContextVar("backend", default=None)
_compiled: ContextVar[Kernels | None] = ContextVar("kernels", default=None)
_precision: ContextVar[str] = ContextVar("precision", default=PRECISIONS[0])
_kernel_loaders: dict[str, Callable[[], Kernels]] = {}
_told: list[str] = []  # why there was no GPU, where that was said: once


def register(name: str, loader: Callable[[], Backend]) -> None:
    """Make ``loader`` the way to the backend called ``name``."""
    _loaders[name] = loader


def names() -> list[str]:
    """Every name that `get` knows.

    >>> names()[:2]
    ['cupy', 'numpy']
    """
    return sorted(_loaders)


def get(backend: str | Backend | None = None) -> Backend:
    """The backend of that name, loaded if need be; the one in use for None.

    ``"auto"`` is CuPy where a GPU answers and NumPy elsewhere; a warning says why, once.

    Raises
    ------
    BackendError
        The name is not known, or the library or its device is missing.

    >>> get("numpy")
    Backend('numpy')
    """
    if isinstance(backend, Backend):
        _by_type.setdefault(backend.array_type, backend)  # it need not have a name here
        return backend
    if backend is None:
        return _current.get() or get("numpy")
    if backend == "auto":
        chosen, reason = best()
        if reason and not _told:
            _told.append(reason)
            warnings.warn(f"no GPU is used, but NumPy: {reason}", stacklevel=3)
        return chosen
    if backend not in _loaders:
        raise BackendError(f"unknown backend {backend!r}; choose one of {names()} or 'auto'")
    if backend not in _loaded:
        loaded = _loaders[backend]()
        _loaded[backend] = _by_type[loaded.array_type] = loaded
    return _loaded[backend]


def best() -> tuple[Backend, str]:
    """What ``"auto"`` stands for here; and where that is not the GPU, the reason."""
    try:
        return get("cupy"), ""
    except BackendError as error:
        return get("numpy"), str(error)


def of(array: Array) -> Backend:
    """The backend that an array belongs to.

    >>> of(np.zeros(3))
    Backend('numpy')
    """
    found = _by_type.get(type(array))
    if found is not None:
        return found
    name = _owner(array)
    if name is None:
        raise BackendError(
            f"{type(array).__name__} is not an array of any backend in {names()}; "
            "make one with tv.Tensor(...)"
        )
    return get(name)


def _owner(value: Any) -> str | None:
    for name, backend in _loaded.items():
        if isinstance(value, backend.array_type):
            return name
    if isinstance(value, (np.ndarray, np.generic)):
        return "numpy"
    return "cupy" if type(value).__module__.startswith("cupy") else None


def same_shape(name: str, *arrays: Array) -> None:
    """Refuse arrays of several shapes, for what ``name`` does without broadcasting."""
    if any(a.shape != arrays[0].shape for a in arrays):
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ShapeError(f"{name} takes arrays of one shape, not {shapes}")


def mixture_shapes(z: Array, logits: Array, means: Array, log_variances: Array) -> None:
    """Refuse a mixture whose shapes do not fit, or one of no components."""
    same_shape("mixture_log_likelihood", means, log_variances)
    shapes = [a.shape for a in (z, logits, means)]
    if z.ndim != 2 or logits.ndim != 1 or shapes[2] != (len(logits), z.shape[1]) or not len(logits):
        raise ShapeError(
            "mixture_log_likelihood takes z (B, K), logits (M,), means and log_variances (M, K), "
            f"not {', '.join(map(str, shapes))}"
        )


def once(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """``function``, computed anew only for another array than the last: what pullbacks share.

    The pullbacks of an op are given the same upstream gradient one after another, and nobody
    changes it in between.

    >>> calls = []
    >>> doubled, g = once(lambda g: calls.append(g) or 2 * g), np.ones(3)
    >>> doubled(g) is doubled(g), len(calls)
    (True, 1)
    """
    last: list[Array] = []

    def kept(g: Array) -> Array:
        if not last or last[0] is not g:
            last[:] = g, function(g)
        return last[1]

    return kept


def mixed(first: str, second: str, where: str = "") -> BackendError:
    """The error for arrays of two backends in one place."""
    return BackendError(
        f"{where + ': ' if where else ''}arrays of {first!r} and {second!r} do not mix; "
        f"move one of them, for example with .to({first!r})"
    )


def register_kernels(name: str, loader: Callable[[], Kernels]) -> None:
    """Make ``loader`` the way to the compiled kernels called ``name``."""
    _kernel_loaders[name] = loader


def compiled_kernels(name: str) -> Kernels | None:
    """The compiled kernels of that name; None for ``"numpy"``, whose own need no compiler.

    Raises
    ------
    BackendError
        The name is not known, or the compiler is missing, or does not fit.
    """
    if name == "numpy":
        return None
    if name not in _kernel_loaders:
        names = ["numpy", *_kernel_loaders]
        raise BackendError(f"unknown kernels {name!r}; choose one of {names}")
    return _kernel_loaders[name]()


def precision() -> str:
    """What matrix products of float32 on a GPU are computed in: one of `PRECISIONS`.

    >>> precision()
    'float32'
    """
    return _precision.get()


def ways() -> tuple[Any, ...]:
    """What beside its arguments says how an op is computed: the kernels and the precision."""
    return id(_compiled.get()), _precision.get()


def _check_precision(name: str, backend: Backend) -> None:
    if name not in PRECISIONS:
        raise BackendError(f"unknown precision {name!r}; choose one of {list(PRECISIONS)}")
    if name not in backend.precisions:
        raise BackendError(
            f"backend {backend.name!r} has no precision {name!r}, only {list(backend.precisions)}: "
            "leave it out, or use a GPU with backend 'cupy'"
        )


class use:  # noqa: N801 - reads as a verb: tv.use("cupy"), with tv.use("cupy"): ...
    """Choose the backend of what is made from now on, or within a ``with`` block.

    Parameters
    ----------
    backend : str or Backend
        ``"numpy"``, ``"cupy"``, or ``"auto"``: CuPy where a GPU answers, else NumPy.
    kernels : {"numpy", "numba"}, optional
        Whether the one-pass kernels on the host are made of NumPy's functions or compiled by
        Numba (extra ``numba``): quicker, and other numbers in the last digits. As it was, if
        left out.
    precision : {"float32", "tf32", "bfloat16"}, optional
        What a GPU computes matrix products of float32 in: ``"tf32"`` rounds what is multiplied
        to 10 bits behind the point, ``"bfloat16"`` to 7; sums, parameters and all else stay
        float32, and float64 is not touched. As it was, if left out.

    Raises
    ------
    BackendError
        A name is not known, or a library or its device is missing; or the backend does not
        have that precision.

    Examples
    --------
    >>> with use("numpy") as backend:
    ...     backend.name
    'numpy'
    """

    def __init__(
        self, backend: str | Backend, kernels: str | None = None, precision: str | None = None
    ) -> None:
        self.backend = get(backend)
        compiled = _compiled.get() if kernels is None else compiled_kernels(kernels)
        if precision is None:
            precision = _precision.get()
        else:
            _check_precision(precision, self.backend)
        self._tokens = (
            _current.set(self.backend),
            _compiled.set(compiled),
            _precision.set(precision),
        )

    def __enter__(self) -> Backend:
        return self.backend

    def __exit__(self, *exception: object) -> None:
        current, compiled, precision = self._tokens
        _current.reset(current)
        _compiled.reset(compiled)
        _precision.reset(precision)
