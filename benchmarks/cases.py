"""What the contestants train: the shapes of a model, its first weights, its batch and its rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8  # Adam's


@dataclass(frozen=True)
class Case:
    """A VAE: pixels - hidden - latent - hidden reversed - pixels, and the size of its batch.

    The loss is the negative ELBO or, with ``k`` samples an image, the negative IWAE bound.
    """

    pixels: int
    hidden: tuple[int, ...]
    latent: int
    batch: int
    k: int = 0

    @property
    def encoder(self) -> tuple[int, ...]:
        """Its widths; the last layer gives mean and log variance."""
        return (self.pixels, *self.hidden, 2 * self.latent)

    @property
    def decoder(self) -> tuple[int, ...]:
        """Its widths; the last layer gives logits."""
        return (self.latent, *reversed(self.hidden), self.pixels)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(B, K), or (B, k, K)."""
        return (self.batch, self.k, self.latent) if self.k else (self.batch, self.latent)

    @property
    def products(self) -> list[tuple[int, int, int]]:
        """Of every layer: the rows that go through it, its fan-in and its fan-out."""
        through = {self.encoder: self.batch, self.decoder: self.batch * max(1, self.k)}
        return [(rows, *pair) for widths, rows in through.items() for pair in pairwise(widths)]

    @property
    def operations(self) -> int:
        """Additions and multiplications of all products of a step: the input wants no gradient."""
        forward = [2 * math.prod(product) for product in self.products]
        return 3 * sum(forward) - forward[0]

    def draw(self, seed: int) -> tuple[list[Any], Any, Any]:
        """The same for all, in float64: weights (I, O) and biases in turn, grey pixels, noise."""
        import numpy as np

        random = np.random.default_rng(seed)
        weights = []
        for _, fan_in, fan_out in self.products:
            bound = 1 / math.sqrt(fan_in)
            weights += [
                random.uniform(-bound, bound, shape) for shape in ((fan_in, fan_out), fan_out)
            ]
        x = random.integers(256, size=(self.batch, self.pixels)) / 255
        return weights, x, random.standard_normal(self.noise_shape)


class Step(Protocol):
    """A contestant that is ready: what it is, and how it is asked what it has done."""

    keeps_gradients: bool
    """Whether `gradients` are those of the last step, and not of the first alone."""

    steps: int
    """How many steps a call without noise makes."""

    def __call__(self, noise: Any = None) -> Any:
        """A step of training, with noise of its own unless given: the loss."""

    def wait(self) -> object:
        """Return when all that was begun is done."""

    def set_parameters(self, weights: list[Any]) -> None:
        """Take these weights; only for those that keep their gradients."""

    def gradients(self) -> list[Any]:
        """Those of the first step at least, as NumPy arrays in the order of the weights."""

    def parameters(self) -> list[Any]:
        """Those of now, likewise."""


Maker = Callable[[Case, list[Any], Any, str], Step]
"""Of a case, weights, pixels and a dtype a step that begins from them."""
