"""What `tinyvae train` is asked for: checked, saved beside the weights, and read back."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

from tinyvae.backend import best, get
from tinyvae.data import Dataset, load
from tinyvae.data.dataset import Binarise
from tinyvae.errors import OptionError
from tinyvae.models.vae import VAE
from tinyvae.training import Settings

BYTES = 64  # a parameter in training: value, gradient, Adam's two, the best, and their copies


@dataclass(frozen=True)
class Config:
    """What `tinyvae train` is asked for; with the seed it determines the run.

    Attributes
    ----------
    data : str
        A name of `tinyvae data`, or a path.
    binarise : {"none", "static", "dynamic"}
    latent : int
    hidden : tuple of int
    epochs, batch : int
    learning_rate, beta : float
    seed : int
    backend : {"numpy", "cupy", "auto"}
    kernels : {"numpy", "numba"}
    precision : {"float32", "tf32", "bfloat16"}
        See `tinyvae.backend.use`.

    Raises
    ------
    OptionError
        A value outside its range.

    Examples
    --------
    >>> Config(latent=0)
    Traceback (most recent call last):
    ...
    tinyvae.errors.OptionError: latent and hidden are sizes from 1 up, not 0 and (256, 128)
    """

    data: str = "digits"
    binarise: Binarise = "none"
    latent: int = 2
    hidden: tuple[int, ...] = (256, 128)
    epochs: int = 300
    batch: int = 64
    learning_rate: float = 1e-3
    beta: float = 1.0
    seed: int = 0
    backend: str = "numpy"
    kernels: str = "numpy"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not all(1 <= n <= 10**15 for n in (self.latent, *self.hidden)):
            raise OptionError(
                f"latent and hidden are sizes from 1 up, not {self.latent} and {self.hidden}"
            )
        if not 0 < self.learning_rate < math.inf:
            raise OptionError(f"a learning rate is a number above 0, not {self.learning_rate}")
        _ = self.settings  # which checks the rest

    @property
    def settings(self) -> Settings:
        """What of it says how to train."""
        names = ("epochs", "batch", "learning_rate", "beta", "binarise", "seed")
        return Settings(**{name: getattr(self, name) for name in names})

    def with_enough_epochs(self, images: int) -> Config:
        """The same with the epochs that make about 6,000 steps, from 10 to 300.

        >>> Config().with_enough_epochs(54_000).epochs
        10
        """
        steps = math.ceil(images / self.batch)
        return replace(self, epochs=min(300, max(10, round(6000 / steps))))

    def settled(self) -> Config:
        """The same with the backend that ``"auto"`` stands for here."""
        return replace(self, backend=best()[0].name) if self.backend == "auto" else self

    def dataset(self) -> Dataset:
        """The data, with a validation part, binarised if that is static."""
        dataset = load(self.data).hold_out()
        return dataset.binarised(self.seed) if self.binarise == "static" else dataset

    def model(self, image_shape: tuple[int, ...]) -> VAE:
        """A new VAE of these sizes, on the backend in use.

        Raises
        ------
        OptionError
            To train it would take more memory than the machine, or its GPU, has.
        """
        count = self.parameters(image_shape)
        memories = {"this machine has": _memory(), "its GPU has free": get().free_memory()}
        for whose, there in memories.items():
            if count * BYTES > there:
                raise OptionError(
                    f"a model with latent = {self.latent} and hidden = {self.hidden} has "
                    f"{count:,} parameters; to train it takes about {count * BYTES / 2**30:,.0f} "
                    f"GB, and {whose} {there / 2**30:,.0f} GB: choose smaller sizes"
                )
        return VAE(image_shape, self.latent, self.hidden, seed=self.seed)

    def parameters(self, image_shape: tuple[int, ...]) -> int:
        """How many numbers the VAE has to learn.

        >>> Config(latent=1, hidden=(3,)).parameters((2, 2))  # 4 -> 3 -> 2, and 1 -> 3 -> 4
        45
        """
        pixels = math.prod(image_shape)
        encoder = (pixels, *self.hidden, 2 * self.latent)
        decoder = (self.latent, *reversed(self.hidden), pixels)
        return sum((a + 1) * b for widths in (encoder, decoder) for a, b in pairwise(widths))


def _memory() -> float:
    """The machine's memory in bytes, where the system tells it."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def parse(content: dict[str, Any]) -> Config:
    """The configuration from plain data, as JSON gives them back; OptionError names what is wrong.

    >>> from dataclasses import asdict
    >>> parse(asdict(Config()) | {"hidden": [256, 128]}) == Config()
    True
    """
    content = {"kernels": "numpy", "precision": "float32"} | content  # older runs had no choice
    values: dict[str, Any] = {"hidden": tuple(_sizes(content, "hidden"))}
    for field in fields(Config):
        value = content.get(field.name)
        if field.name != "hidden" and type(value) is not type(field.default):
            raise OptionError(f"{field.name} is {value!r}, not of type {field.type}")
        values.setdefault(field.name, value)
    return Config(**values)


def parse_image_shape(content: dict[str, Any]) -> tuple[int, ...]:
    """The shape of the images, which stands beside it."""
    shape = tuple(_sizes(content, "image_shape"))
    if len(shape) not in (2, 3):
        raise OptionError(f"image_shape is {shape}, not (H, W) or (H, W, 3)")
    return shape


def _sizes(content: dict[str, Any], name: str) -> list[int]:
    value = content.get(name)
    if not isinstance(value, list) or not all(type(n) is int and n > 0 for n in value):
        raise OptionError(f"{name} is {value!r}, not a list of sizes from 1 up")
    return value
