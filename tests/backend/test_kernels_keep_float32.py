"""No NumPy kernel makes a float64 array, or scalar, anywhere inside a float32 call.

Two watchers. The arrays that a kernel is given are of a subclass that notes the dtype of every
array made from them, by functions, operators and methods alike; and the name ``np`` in the
kernels' module is a proxy that notes what its functions return, also for arrays made of nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyvae.backend import numpy_kernels
from tinyvae.backend.numpy_kernels import BLOCK, KERNELS
from tinyvae.optim import adam_constants

RNG = np.random.default_rng(0)
Give = Callable[[Any], Any]


class Recorder:
    """A function, a ufunc with its methods, or all of NumPy; notes the float64 results."""

    def __init__(self, name: str, meant: Any, found: list[str]) -> None:
        self._name, self._meant, self._found = name, meant, found

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._meant, name)
        if isinstance(value, type) or not callable(value):
            return value
        return Recorder(f"{self._name}.{name}", value, self._found)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._meant(*args, **kwargs)
        for part in result if isinstance(result, tuple) else (result,):
            if getattr(part, "dtype", None) == np.float64:
                self._found.append(self._name)
        return result


def watched(found: list[str]) -> Give:
    """What makes an array of a subclass that notes each float64 array made from it."""

    class Watched(np.ndarray):
        def __array_finalize__(self, _: Any) -> None:
            if self.dtype == np.float64:
                found.append("an array")

    return lambda array: np.array(array, "float32").view(Watched)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The float64 arrays and scalars that were made in the kernels' module."""
    noted: list[str] = []
    monkeypatch.setattr(numpy_kernels, "np", Recorder("np", np, noted))
    return noted


def run_loss(name: str, give: Give) -> None:
    for shape in ((9,), (5, 4), (2, 3, 4)):
        second = RNG.random(shape) if "cross" in name else 3 * RNG.standard_normal(shape)
        arrays = [give(4 * RNG.standard_normal(shape)), give(second)]
        value, pullbacks = KERNELS[name](*arrays)
        assert value.dtype == np.float32
        for pullback in pullbacks:
            assert pullback(give(RNG.standard_normal(shape[:-1]))).dtype == np.float32


def run_adam(name: str, give: Give) -> None:
    betas = {"beta1": 0.9, "beta2": 0.999}
    p, first, second = (give(np.zeros(BLOCK + 3)) for _ in range(3))
    for decay in (0.0, 0.1):
        for t in range(1, 4):
            g = give(RNG.standard_normal(BLOCK + 3))
            constants = adam_constants(t, 1e-2, epsilon=1e-8, decay=decay, **betas)
            KERNELS[name](p, g, first, second, give(constants), decay=decay, **betas)
    assert {a.dtype for a in (p, first, second)} == {np.dtype("float32")}
    assert (p != 0).any()


def run_mixture(name: str, give: Give) -> None:
    z, logits, means, logs = (RNG.normal(size=s) for s in ((7, 3), (4,), (4, 3), (4, 3)))
    value, pullbacks = KERNELS[name](*map(give, (z, logits, means, logs)))
    assert value.dtype == np.float32
    for pullback in pullbacks:
        assert pullback(give(RNG.standard_normal(7))).dtype == np.float32


RUN = {
    "bernoulli_cross_entropy": run_loss,
    "kl_standard_normal": run_loss,
    "mixture_log_likelihood": run_mixture,
    "adam": run_adam,
}


def test_every_kernel_is_watched() -> None:
    assert RUN.keys() == KERNELS.keys()


@pytest.mark.parametrize("name", RUN)
def test_a_kernel_makes_no_float64_in_a_float32_call(name: str, found: list[str]) -> None:
    give = watched(found)
    RUN[name](name, give)
    assert found == []


@pytest.mark.parametrize("name", RUN)
def test_a_kernel_makes_no_float64_of_plain_arrays_either(name: str, found: list[str]) -> None:
    RUN[name](name, lambda array: np.array(array, "float32"))
    assert found == []


def exponential_in_float64(x: Any) -> Any:
    return numpy_kernels.np.exp(x, dtype="float64").astype("float32")


PLANTED: dict[str, Callable[[Any], Any]] = {
    "an exponential": exponential_in_float64,
    "a cast": lambda x: x.astype("float64").astype("float32"),
    "an operator": lambda x: (x * np.float64(2)).astype("float32"),
    "an operator in place": lambda x: x.__imul__(x + np.zeros(len(x))),
    "a sum": lambda x: np.float32(numpy_kernels.np.add.reduce(x, dtype="float64")),
    "a method": lambda x: np.float32(x.sum(dtype="float64")),
    "an array of nothing": lambda x: x + numpy_kernels.np.zeros(len(x)).astype("float32"),
    "a root of a count": lambda x: x * np.float32(numpy_kernels.np.sqrt(len(x))),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_float64_is_noted(name: str, found: list[str]) -> None:
    give = watched(found)
    x = give(np.arange(1, 4))
    assert found == []
    assert PLANTED[name](x).dtype == np.float32
    assert found != []


def test_an_exponential_in_float64_is_noted_even_of_a_plain_array(found: list[str]) -> None:
    exponential_in_float64(np.ones(3, "float32"))
    assert found == ["np.exp"]
