"""What a data set is: images with labels, in named parts, kept as bytes until a batch is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from tinyvae.data.ondisk import OnDisk, blocks, spooled, unmapped
from tinyvae.data.pixels import as_floats, draws
from tinyvae.errors import DataError, OptionError
from tinyvae.noise import Noise
from tinyvae.objectives.elbo import check_pixels

Binarise: TypeAlias = Literal["none", "static", "dynamic"]
BINARISE: tuple[Binarise, ...] = ("none", "static", "dynamic")


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes
    ----------
    images : ndarray or OnDisk, of uint8 or float32
        Shape (N, H, W) for grey and (N, H, W, 3) for colour. Bytes stand for 0 to 1 in steps of
        1/255; floats lie in [0, 1]. A memory-mapped file is read by the row (see
        `tinyvae.data.ondisk`), and its floats of any size become float32 then.
    labels : ndarray or None
        Classes, shape (N,), or factors, shape (N, F).
    """

    images: np.ndarray | OnDisk
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        if isinstance(self.images, np.memmap):
            object.__setattr__(self, "images", unmapped(self.images))
        grey_or_colour = self.images.ndim == 3 or self.images.shape[3:] == (3,)
        if self.images.dtype not in (np.uint8, np.float32) or not grey_or_colour:
            raise DataError(
                "images are uint8 or float32 of shape (N, H, W) or (N, H, W, 3), not "
                f"{self.images.dtype} of shape {self.images.shape}"
            )
        if self.labels is not None and len(self.labels) != len(self.images):
            raise DataError(f"{len(self.images)} images but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> Split:
        return Split(self.images[rows], None if self.labels is None else self.labels[rows])

    def batch(
        self, rows: np.ndarray | slice, binarise: Noise | None = None, dtype: str = "float32"
    ) -> np.ndarray:
        """The chosen images as rows of floats in [0, 1], shape (B, D).

        With ``binarise``, each pixel is drawn as 1 with its grey value for probability
        (dynamic binarisation: new draws at each call).

        >>> split = Split(np.full((2, 1, 2), 255, dtype=np.uint8))
        >>> split.batch(np.array([1]))
        array([[1., 1.]], dtype=float32)
        """
        pixels = self.stored(rows)
        drawn = None if binarise is None else draws(pixels.shape, pixels.dtype, binarise)
        return as_floats(pixels, drawn, dtype)

    def stored(self, rows: np.ndarray | slice) -> np.ndarray:
        """The chosen images as rows of what is stored, shape (B, D)."""
        chosen: np.ndarray = np.asarray(self.images[rows])
        return chosen.reshape(-1, self.pixels)

    def check(self) -> None:
        """Refuse floats outside [0, 1], with DataError."""
        if isinstance(self.images, OnDisk):
            self.images.check()
        else:
            check_pixels(self.images)

    @property
    def pixels(self) -> int:
        """Numbers in one image, D."""
        return int(np.prod(self.images.shape[1:]))

    def binarised(self, noise: Noise) -> Split:
        """The same images with every pixel drawn once and for all (static binarisation).

        Those of images on disk are in a temporary file, with a byte for each pixel.
        """
        parts = (_black_and_white(block, noise) for block in blocks(self.images))
        if isinstance(self.images, OnDisk):
            return Split(spooled(parts, self.images.shape), self.labels)
        images, start = np.empty(self.images.shape, np.uint8), 0
        for part in parts:
            images[start : start + len(part)] = part
            start += len(part)
        return Split(images, self.labels)


def _black_and_white(images: np.ndarray, noise: Noise) -> np.ndarray:
    drawn: np.ndarray = draws(images.shape, images.dtype, noise) < images
    return drawn.view(np.uint8) * np.uint8(255)


def as_split(images: Any) -> Split:
    """A Split, or an array or images on disk as the images of one.

    Raises
    ------
    DataError
        It is neither: a Dataset, say, of which a part is wanted.
    """
    if isinstance(images, Split):
        return images
    if isinstance(images, np.ndarray | OnDisk):
        return Split(images)
    raise DataError(
        f"images are wanted, not a {type(images).__name__}: give a part of a data set, such as "
        "digits.train, or an array of shape (N, H, W)"
    )


@dataclass(frozen=True)
class Dataset:
    """A named set of images in parts: to train on, to watch while training, to judge by.

    Attributes
    ----------
    name, licence, source : str
        What it is called, how it may be used, where it comes from.
    train, test : Split
    valid : Split or None
        None where the published set has none; `hold_out` makes one.
    factor_names : tuple of str
        The columns of the labels where they are factors, otherwise empty.
    """

    name: str
    train: Split
    test: Split
    valid: Split | None = None
    factor_names: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, 3)."""
        return self.train.images.shape[1:]

    def hold_out(self, fraction: float = 0.1) -> Dataset:
        """The same set, with the last part of its training images as the validation part.

        A set that has a validation part is returned as it is.
        """
        if not 0 < fraction < 1:
            raise OptionError(f"the fraction held out lies between 0 and 1, not {fraction}")
        if self.valid is not None:
            return self
        kept = len(self.train) - max(1, round(fraction * len(self.train)))
        if kept < 1:
            raise DataError(f"{len(self.train)} training images are too few to hold some out")
        return replace(self, train=self.train[:kept], valid=self.train[kept:])

    def binarised(self, seed: int) -> Dataset:
        """Static binarisation of every part, each from a noise stream of its own."""
        parts = {
            part: split.binarised(Noise(seed, "binarise", part, backend="numpy"))
            for part in ("train", "valid", "test")
            if (split := getattr(self, part)) is not None
        }
        return replace(self, **parts)
