"""Densities of whole arrays, and their pullbacks, are what SymPy derives from the definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp
from symbolic_arrays import ARRAYS

from tinyvae.autograd import OPS, Tensor

everywhere = pytest.mark.parametrize("name", ARRAYS)


def point(name: str, seed: int) -> list[np.ndarray]:
    """Random numbers in the place of symbols, and numbers as they are."""
    rng, (inputs, _) = np.random.default_rng(seed), ARRAYS[name]
    fixed = [not array.free_symbols for array in inputs]
    return [
        np.array(array.tolist(), float) if still else rng.normal(size=array.shape)
        for array, still in zip(inputs, fixed, strict=True)
    ]


def by_definition(name: str, upstream: np.ndarray, at: list[np.ndarray]) -> list[Any]:
    """The value, and the slopes of its product with the upstream gradient."""
    inputs, value = ARRAYS[name]
    loss = sp.Add(*(g * y for g, y in zip(upstream.flat, np.ravel(value), strict=True)))
    slopes = [[sp.diff(loss, s) if s.is_Symbol else 0 for s in sp.flatten(a)] for a in inputs]
    names = [s for array in inputs for s in sp.flatten(array) if s.is_Symbol]
    numbers = [
        float(v)
        for array, values in zip(inputs, at, strict=True)
        for s, v in zip(sp.flatten(array), values.flat, strict=True)
        if s.is_Symbol
    ]
    found = sp.lambdify(names, [value, *slopes], "mpmath")(*numbers)
    return [np.array(part, float) for part in found]


@everywhere
def test_the_value_and_the_pullbacks_follow_from_the_definition(name):
    for seed in range(3):
        at = point(name, seed)
        tensors = [Tensor(a, requires_grad=True) for a in at]
        value = OPS[name](*tensors)
        upstream = np.random.default_rng(seed).normal(size=value.shape)
        value.backward(upstream if upstream.ndim else float(upstream))
        true, *slopes = by_definition(name, np.asarray(upstream), at)
        np.testing.assert_allclose(value.numpy(), true, 1e-12, 1e-13)
        for tensor, slope in zip(tensors, slopes, strict=True):
            np.testing.assert_allclose(tensor.grad, slope.reshape(tensor.shape), 1e-11, 1e-12)


@everywhere
def test_another_definition_is_found_out(name, monkeypatch):
    wrong = [1.001 * part for part in np.ravel(ARRAYS[name].value)]
    monkeypatch.setitem(ARRAYS, name, ARRAYS[name]._replace(value=wrong))
    with pytest.raises(AssertionError):
        test_the_value_and_the_pullbacks_follow_from_the_definition(name)
