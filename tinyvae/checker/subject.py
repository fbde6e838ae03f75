"""The function under check, of whichever form: host arrays in, host arrays out, all looked at."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyvae import backend as backends
from tinyvae.autograd.tensor import Tensor
from tinyvae.backend import Backend
from tinyvae.checker.forms import Arrays, Form, Pair, find_form, kind_of
from tinyvae.errors import DtypeError, GraphError, NonFiniteError, ShapeError


class Subject:
    """A function under check, from host arrays to host arrays.

    It hands over copies, looks at what comes back, and notes in `problems` what should not
    happen: an input or an upstream gradient that was changed.
    """

    def __init__(
        self, form: Form, points: Sequence[np.ndarray], labels: Sequence[str], backend: Backend
    ) -> None:
        self.form, self.points, self.labels = form, list(points), list(labels)
        self.backend, self.problems = backend, list[str]()

    def value(self, points: Sequence[np.ndarray]) -> np.ndarray:
        """The value at some point near the one to check: it may be infinite or NaN."""
        made = self.form.value([self.backend.from_host(x.copy()) for x in points])
        return self._host(made, "float64")

    def gradients(
        self,
        upstream: np.ndarray,
        wanted: Sequence[bool] | None = None,
        dtype: str = "float64",
    ) -> tuple[np.ndarray, list[Any]]:
        """The value, and the gradient of each input at the point to check, computed in a dtype."""
        arrays = [self.backend.from_host(x.astype(dtype)) for x in self.points]
        wanted = wanted or [True] * len(arrays)
        made, back = self.form.record(arrays, wanted, self.labels)
        value = self._host(made, dtype).copy()
        self._note_changes(arrays, "the function")
        g = self.backend.from_host(upstream.astype(dtype))
        gradients = [
            None if not want else self._gradient(k, got, dtype)
            for k, (want, got) in enumerate(zip(wanted, back(g), strict=True))
        ]
        if not any("the function changed" in problem for problem in self.problems):
            self._note_changes(arrays, "the pullback")
        if not np.array_equal(self.backend.to_host(g), upstream.astype(dtype)):
            self.note("the pullback changed the upstream gradient g that it was handed")
        if not np.array_equal(self._host(made, dtype), value, equal_nan=True):
            self.note("the pullback changed the value that the function had returned")
        return value, gradients

    def at(self, points: Sequence[np.ndarray]) -> Subject:
        """The same function at another point."""
        return Subject(self.form, points, self.labels, self.backend)

    def note(self, problem: str) -> None:
        """Remember a problem, once."""
        if problem not in self.problems:
            self.problems.append(problem)

    def _note_changes(self, arrays: Arrays, who: str) -> None:
        for x, array, label in zip(self.points, arrays, self.labels, strict=True):
            now = self.backend.to_host(array)
            if not np.array_equal(now, x.astype(now.dtype), equal_nan=True):
                self.note(f"{who} changed {label} in place: compute a new array instead")

    def _host(self, value: Any, dtype: str) -> np.ndarray:
        if value is None or isinstance(value, (Tensor, str, dict)):
            raise GraphError(f"the function returned {kind_of(value)}, not an array of numbers")
        if isinstance(value, float):
            return np.asarray(value)
        if str(getattr(value, "dtype", "")) != dtype:
            raise DtypeError(
                f"the function returned {kind_of(value)} for inputs of {dtype}; an op keeps the "
                "dtype of its inputs"
            )
        return np.array(self.backend.to_host(value) if hasattr(value, "ndim") else value)

    def _gradient(self, k: int, gradient: Any, dtype: str) -> np.ndarray:
        """A gradient on the host, if it is an array as it should be."""
        label, shape = self.labels[k], self.points[k].shape
        if isinstance(gradient, float) and not shape:
            gradient = np.asarray(gradient)
        if not hasattr(gradient, "dtype"):
            raise GraphError(f"the pullback returned {kind_of(gradient)} for {label}, and no array")
        if gradient.shape != shape:
            raise GraphError(
                f"the pullback made a gradient of shape {gradient.shape} for {label} {shape}"
                + _shape_hint(gradient.shape, shape)
            )
        if str(gradient.dtype) != dtype:
            raise DtypeError(
                f"the pullback made a gradient of {gradient.dtype} for {label} of {dtype}: "
                "a gradient has the dtype of its input"
            )
        host = np.array(self.backend.to_host(gradient))
        if not np.isfinite(host).all():
            raise NonFiniteError(
                f"the gradient of {label} is not finite at this point{_in_float32(dtype)}: "
                f"element {_first(~np.isfinite(host))} is {host[~np.isfinite(host)][0]}"
            )
        return host


def _in_float32(dtype: str) -> str:
    return " in float32" if dtype == "float32" else ""


def _shape_hint(got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if sorted(got) == sorted(wanted) and len(got) > 1:
        return ": is it transposed?"
    try:
        stretched = np.broadcast_shapes(got, wanted) == got
    except ValueError:
        stretched = False
    return ": sum it over the axes along which the input was broadcast" if stretched else ""


def _first(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


def make_subject(
    function: Callable[..., Any], inputs: Sequence[Any], pullback: Callable[..., Any] | None
) -> Subject:
    """The subject, its inputs copied and looked at, its form found out.

    Raises
    ------
    DtypeError, ShapeError, NonFiniteError
        An input is not float64, is empty, or is not finite.
    GraphError
        There is no function or no input, or the function or the pullback takes others.
    """
    if not callable(function):
        raise GraphError(
            f"gradcheck takes a function first, and then its inputs, not {kind_of(function)}"
        )
    if not inputs:
        raise GraphError(
            "gradcheck takes the inputs after the function: where is it to be checked?"
        )
    labels = _labels(function, inputs)
    _must_take(function, inputs, f"the function is given {', '.join(labels)}")
    if pullback is not None:
        _must_take(pullback, (None, *inputs), f"the pullback is given g, {', '.join(labels)}")
    points = [_checked_input(x, label) for x, label in zip(inputs, labels, strict=True)]
    backend = next((x.backend for x in inputs if isinstance(x, Tensor)), backends.get())
    with backends.use(backend):
        form = Pair(function, pullback) if pullback else find_form(function, points, backend)
    return Subject(form, points, labels, backend)


def _must_take(function: Any, arguments: Sequence[Any], what: str) -> None:
    if not callable(function):
        raise GraphError(f"{what}, but is {kind_of(function)} and no function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # as for what is written in C
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise GraphError(f"{what}, but takes ({takes}): {error}") from error


def _labels(function: Callable[..., Any], inputs: Sequence[Any]) -> list[str]:
    """``argument 0 (logits)``, with a name where the tensor or the function has one for it."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [""] * (len(inputs) - len(names))
    named = [getattr(x, "name", "") or name for x, name in zip(inputs, names, strict=False)]
    return [f"argument {k}" + f" ({name})" * bool(name) for k, name in enumerate(named)]


def _checked_input(x: Any, label: str) -> np.ndarray:
    array = x.numpy() if isinstance(x, Tensor) else x
    dtype = getattr(array, "dtype", None)
    if dtype is not None and str(dtype) != "float64":
        raise DtypeError(
            f"{label} is of {dtype}; gradients are checked in float64: "
            "pass it as .astype('float64')"
        )
    if x is None:  # of which NumPy would make a NaN
        raise DtypeError(f"{label} is None, and no array of numbers")
    try:
        host = np.array(array if dtype is None else backends.of(array).to_host(array), "float64")
    except (TypeError, ValueError) as error:
        raise DtypeError(f"{label} is {kind_of(x)}, and no array of numbers: {error}") from error
    if not host.size:
        raise ShapeError(f"{label} of shape {host.shape} is empty: nothing to check")
    if not np.isfinite(host).all():
        where = _first(~np.isfinite(host))
        raise NonFiniteError(f"{label} is {host[where]} in element {where}: check at finite points")
    return host


def stream(seed: int, use: str) -> np.random.Generator:
    """Random numbers for one use, unlike those of ``default_rng(seed)``.

    Inputs are often made with those: an upstream equal to an input hides errors.
    """
    return np.random.default_rng((seed, zlib.crc32(use.encode())))
