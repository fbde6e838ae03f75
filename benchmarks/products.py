"""The bare matrix products of a step, in NumPy, into arrays that are there already."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Case


class Products:
    """Of every layer: forward, the weight's gradient, and the input's where it is wanted."""

    steps = 1

    def __init__(self, case: Case, weights: list[Any], _x: Any, dtype: str) -> None:
        random, self.layers = np.random.default_rng(0), []
        for (rows, fan_in, fan_out), weight in zip(case.products, weights[::2], strict=True):
            x, g = (random.standard_normal((rows, n)).astype(dtype) for n in (fan_in, fan_out))
            given = x, weight.astype(dtype), g
            self.layers.append((*given, *(np.empty_like(array) for array in given)))

    def __call__(self, _noise: Any = None) -> None:
        for k, (x, weight, g, to_x, to_weight, y) in enumerate(self.layers):
            np.matmul(x, weight, out=y)
            np.matmul(x.T, g, out=to_weight)
            if k:
                np.matmul(g, weight.T, out=to_x)

    def wait(self) -> None:
        """NumPy is done when it returns."""
