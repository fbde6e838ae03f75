"""A strict stand-in for a GPU backend: NumPy within, the manners of a device without.

It refuses what CuPy refuses, and some of what CuPy allows but a GPU pays for or leaves undefined:
a promotion between float dtypes, repeated indices in an assignment, an index out of range, a pickle
that only a machine with a GPU could read. It counts waits for the host, and notes what is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import standin_graphs as graphs
from standin_tables import (
    BINARY,
    BORROWED,
    CASTS,
    COMPARISONS,
    IN_PLACE,
    INDEXING,
    LINALG,
    METHODS,
    NOT_IN_CUPY,
    NOT_IN_CUPY_FOR,
    OF_AN_ARRAY,
    OF_ANYTHING,
    PROPERTIES,
    QUERIES,
    UFUNCS,
    UNARY,
    WAIT_FOR_A_SIZE,
    WAITING,
)

from tinyvae.backend import Backend, register
from tinyvae.backend.cupy_capture import streams_of

Function = Callable[..., Any]

SYNCS: list[str] = []  # every wait for the host so far, by the name of what waited
CALLS: Counter[str] = Counter()  # of from_host and synchronize, and lists sent as indices
_records: list[list[str]] = []
_made: list[list[str]] = []
AT_ONCE = 8  # arrays, of which CuPy copies one after the other into their concatenation


class PromotionError(TypeError):
    """Two float dtypes met, or a result took another float dtype than its operands have."""


class OutOfRangeError(RuntimeError):
    """An array of indices points outside; no IndexError, since on a GPU nothing is raised."""


def count_syncs() -> AbstractContextManager[list[str]]:
    """The waits for the host within the block, as a list that grows; its length is the count."""
    return _recorded_in(_records)


def record_made() -> AbstractContextManager[list[str]]:
    """The dtypes of the device arrays that are made within the block, as a list that grows."""
    return _recorded_in(_made)


@contextmanager
def _recorded_in(records: list[list[str]]) -> Iterator[list[str]]:
    record: list[str] = []
    records.append(record)
    try:
        yield record
    finally:
        records.pop()


@contextmanager
def protected(*arrays: DeviceArray) -> Iterator[None]:
    """Within the block a write into one of ``arrays``, or into a view made there, is an error."""
    before = [array.flags.writeable for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    try:
        yield
    finally:
        for array, writeable in zip(arrays, before, strict=True):
            array.flags.writeable = writeable


def _sync(name: str) -> None:
    graphs.refuse(f"{name} waits for the device")
    for record in (SYNCS, *_records):
        record.append(name)


class DeviceArray:
    """An array that only the functions of `xp`, and its own methods, can reach."""

    __slots__ = ("_host", "_memory")
    __array_ufunc__ = None  # makes NumPy's ufuncs and operators refuse it
    __hash__ = None  # type: ignore[assignment]
    T = property(lambda self: DeviceArray(self._host.T, self._memory))
    data = property(lambda self: SimpleNamespace(ptr=self._host.ctypes.data))

    def __init__(self, host: np.ndarray, memory: graphs.Memory | None = None) -> None:
        self._host = host
        self._memory = memory or graphs.get_allocator()(host.nbytes)
        for record in _made:
            record.append(str(host.dtype))

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("implicit conversion of a DeviceArray to NumPy; use backend.to_host(...)")

    def __array_function__(self, function: Function, *_: Any) -> NoReturn:
        raise TypeError(f"numpy.{function.__name__} of a DeviceArray; use the function of xp")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a pickle of a DeviceArray needs a GPU to be read; use backend.to_host(...)"
        )

    def __copy__(self) -> DeviceArray:
        return DeviceArray(self._host.copy())

    def __deepcopy__(self, _: Any) -> DeviceArray:
        return DeviceArray(self._host.copy())

    def __getitem__(self, index: Any) -> DeviceArray:
        _count_lists(index)
        if _indexed_by(index, "b"):
            _sync("boolean index")
        return _call("__getitem__", _view, (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        _count_lists(index)
        if isinstance(value, DeviceArray) and _indexed_by(index, "b"):
            _sync("boolean index")
        _call("__setitem__", np.ndarray.__setitem__, (self, index, value), {})
        if isinstance(value, DeviceArray) and _indexed_by(index, "iu"):
            _refuse_repeated(self, index)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[DeviceArray]:
        return (self[i] for i in range(len(self)))


def _view(host: np.ndarray, index: Any) -> np.ndarray:
    # NumPy answers host[i, j] with a scalar; a device, as host[i, j, ...], with a 0-d view.
    index = index if isinstance(index, tuple) else (index,)
    return host[index if any(i is Ellipsis for i in index) else (*index, ...)]


def _indexed_by(index: Any, kinds: str) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, DeviceArray) and part.dtype.kind in kinds for part in parts)


def _count_lists(index: Any) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    CALLS["list index"] += sum(isinstance(part, list) for part in parts)


def _picks(index: Any) -> bool:
    """Whether an index, or a part of it, is an array or a list: a GPU does not check its range."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, (DeviceArray, list)) for part in parts)


def _refuse_repeated(array: DeviceArray, index: Any) -> None:
    writes = np.zeros(array.shape, int)
    np.add.at(writes, _on_host("__setitem__", index, []), 1)
    if (writes > 1).any():
        raise ValueError("__setitem__: an index occurs twice; on a GPU either value may win")


def _on_host(name: str, value: Any, operands: list[DeviceArray]) -> Any:
    """What NumPy can work on in the place of ``value``; device arrays are noted as operands."""
    if isinstance(value, DeviceArray):
        operands.append(value)
        return value._host
    if isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"{name}: a NumPy {type(value).__name__} does not mix with device arrays")
    if isinstance(value, (list, tuple)):
        return type(value)([_on_host(name, part, operands) for part in value])
    plain = (bool, int, float, str, slice, type, np.dtype, type(None), type(Ellipsis))
    if not isinstance(value, plain):
        raise TypeError(f"{name}: a device cannot work on a {type(value).__name__}")
    return value


def _on_device(name: str, result: Any, operands: list[DeviceArray], explicit: bool) -> Any:
    """``result`` as device arrays, and never as scalars; one of ``operands`` if it is its array."""
    if result is None:
        return None
    if isinstance(result, (list, tuple)):
        parts = [_on_device(name, part, operands, explicit) for part in result]
        return parts if isinstance(result, list) else tuple(parts)
    for operand in operands:
        if operand._host is result:
            return operand
    array = np.asarray(result)
    if not explicit:
        _refuse_promotion(name, operands, array)
    of = (operand for operand in operands if np.may_share_memory(array, operand._host))
    return DeviceArray(array, next((operand._memory for operand in of), None))


def _refuse_promotion(name: str, operands: list[DeviceArray], *results: np.ndarray) -> None:
    floats = {operand.dtype for operand in operands if operand.dtype.kind == "f"}
    found = floats | {result.dtype for result in results if result.dtype.kind == "f"}
    if floats and len(found) > 1:
        given = ", ".join(str(operand.dtype) for operand in operands)
        became = "".join(f" became {result.dtype}" for result in results)
        raise PromotionError(f"{name}: {given}{became}; cast with .astype where it is meant")


def _call(name: str, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    not_there = NOT_IN_CUPY - ({"where"} if name == "copyto" else set())
    if unknown := kwargs.keys() & (not_there | NOT_IN_CUPY_FOR.get(name, set())):
        raise TypeError(f"{name}: CuPy takes no {sorted(unknown)}")
    if isinstance(function, np.ufunc) and any(isinstance(arg, (list, tuple)) for arg in args):
        raise TypeError(f"{name}: CuPy takes no list here; make it an array with xp.asarray")
    if name in WAIT_FOR_A_SIZE or (name == "where" and len(args) == 1):
        _sync(name)
    operands: list[DeviceArray] = []
    host_args = [_on_host(name, arg, operands) for arg in args]
    host_kwargs = {key: _on_host(name, value, operands) for key, value in kwargs.items()}
    if name not in CASTS:
        _refuse_promotion(name, operands)

    def act() -> Any:
        with np.errstate(all="ignore"):  # a GPU overflows without a word
            return function(*host_args, **host_kwargs)

    try:
        if graphs.captured() and (name in IN_PLACE or kwargs.get("out") is not None):
            graphs.captured().add(act, [operand._memory for operand in operands])
            return kwargs.get("out")
        result = act()
    except IndexError as error:
        if name in INDEXING and "out of bounds" in str(error) and _picks(args[1]):
            raise OutOfRangeError(f"{name}: {error}; a GPU wraps it in silence") from error
        raise
    if name in ("asarray", "array") and not operands:
        graphs.refuse(f"{name} copies from the host")
    if name in ("concatenate", "stack") and len(args[0]) > AT_ONCE:
        graphs.refuse(f"{name} of so many copies their addresses from the host")
    made = _on_device(name, result, operands, explicit=name in CASTS or "dtype" in kwargs)
    if graphs.captured() and all(made._memory is not operand._memory for operand in operands):
        _write_down(act, made, operands)
    return made


def _write_down(act: Function, made: DeviceArray, operands: list[DeviceArray]) -> None:
    """Under capture a call makes an array of rubbish, which a launch fills."""
    made._host = host = np.array(made._host)
    host.fill(np.nan if host.dtype.kind == "f" else 0)
    memory = [array._memory for array in (made, *operands)]
    graphs.captured().add(lambda: np.copyto(host, act()), memory)


def _function(name: str, function: Function, of_an_array: bool = False) -> Any:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if of_an_array and not (args and isinstance(args[0], DeviceArray)):
            raise TypeError(f"{name}: CuPy takes an array of the device as the first argument")
        return _call(name, function, args, kwargs)

    return wrapped


def _query(name: str, function: Function) -> Function:
    return lambda *args: function(*_on_host(name, args, []))


def _operator(name: str, function: np.ufunc, flip: bool = False) -> Function:
    def operator(self: DeviceArray, *others: Any) -> Any:
        known = (DeviceArray, bool, int, float, list, tuple, np.ndarray, np.generic)
        if not all(isinstance(other, known) for other in others):
            return NotImplemented
        return _call(name, function, (*others, self) if flip else (self, *others), {})

    return operator


def _waiting(name: str, function: Function) -> Function:
    def wait(self: DeviceArray, *args: int) -> Any:
        _sync(name.strip("_"))
        return function(self._host, *args)

    return wait


def _in_place(name: str, function: np.ufunc) -> Function:
    return lambda self, other: _call(name, function, (self, other), {"out": self})


for _name, _ufunc in BINARY.items():
    for _prefix in ("", "r"):
        _dunder = f"__{_prefix}{_name}__"
        setattr(DeviceArray, _dunder, _operator(_dunder, getattr(np, _ufunc), _prefix == "r"))
    if _name != "matmul":  # CuPy has none in place: a @= b makes a new array
        setattr(DeviceArray, f"__i{_name}__", _in_place(f"__i{_name}__", getattr(np, _ufunc)))
for _name, _ufunc in (COMPARISONS | UNARY).items():
    setattr(DeviceArray, f"__{_name}__", _operator(f"__{_name}__", getattr(np, _ufunc)))
for _name in METHODS:
    setattr(DeviceArray, _name, _function(_name, getattr(np.ndarray, _name), of_an_array=True))
for _name, _meaning in WAITING.items():
    setattr(DeviceArray, _name, _waiting(_name, _meaning))
for _name in PROPERTIES:
    setattr(DeviceArray, _name, property(lambda self, name=_name: getattr(self._host, name)))


class Namespace:
    """Functions by their NumPy names, and a plain refusal of every other name."""

    def __init__(self, path: str, **members: Any) -> None:
        self.__dict__.update(members, _path=path)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"the stand-in has no {self._path}.{name}; see standin_tables")


def _namespace() -> Namespace:
    members = {name: getattr(np, name) for name in BORROWED}
    members |= {name: _query(name, getattr(np, name)) for name in QUERIES}
    members |= {name: _function(name, getattr(np, name)) for name in UFUNCS + OF_ANYTHING}
    members |= {name: _function(name, getattr(np, name), True) for name in OF_AN_ARRAY}
    members["add"].at = _function("add.at", np.add.at, True)
    members["add"].reduce = _function("add.reduce", np.add.reduce, True)
    linalg = {name: _function(name, getattr(np.linalg, name), True) for name in LINALG}
    return Namespace("xp", ndarray=DeviceArray, linalg=Namespace("xp.linalg", **linalg), **members)


xp = _namespace()


def from_host(value: Any) -> DeviceArray:
    graphs.refuse("a copy from the host")
    CALLS["from_host"] += 1
    host = np.array(value)
    if host.dtype.kind not in "biuf":
        raise TypeError(f"from_host: a device has no dtype {host.dtype}")
    return DeviceArray(host)


def to_host(array: DeviceArray) -> np.ndarray:
    if not isinstance(array, DeviceArray):
        raise TypeError(f"to_host: a {type(array).__name__} is not an array of the device")
    _sync("to_host")
    return array._host.copy()


def synchronize() -> None:
    CALLS["synchronize"] += 1


class Generator:
    """CuPy's class of that name: NumPy's draws, on the device."""

    def __init__(self, seed: int) -> None:
        self._host = np.random.default_rng(seed)

    def __getattr__(self, method: str) -> Function:
        graphs.refuse("drawing by a generator whose state is on the host")
        return lambda *args, **kwargs: DeviceArray(getattr(self._host, method)(*args, **kwargs))


def load() -> Backend:
    """The stand-in as a backend, without kernels."""
    streams = streams_of(Namespace("cupy", cuda=graphs, asarray=from_host))
    return Backend(
        "standin",
        xp,
        DeviceArray,
        lambda array: streams().from_host(array),
        to_host,
        synchronize,
        recording=lambda: streams().recording(),
        generator=Generator,
        aside=lambda: streams().aside(),
        join=lambda: streams().join(),
    )


register("standin", load)
