"""Folders of image files: decoded whole where they are small, otherwise batch by batch."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from tinyvae.data.dataset import Split
from tinyvae.data.ondisk import OnDisk
from tinyvae.errors import DataError, MissingExtraError
from tinyvae.noise import Noise

SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
GREY = ("1", "L", "LA")  # Pillow's modes of at most 8 bits without colour
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
LARGEST = 1 << 28  # bytes of decoded images that are held in memory


def load(folder: Path, size: tuple[int, int] | None) -> Split:
    """The images of a folder, in an order drawn with a fixed seed, and their classes.

    Only headers are read before all images are known to fit. Where they take more than 256 MB
    when decoded they stay on disk, and each batch decodes its own.

    Parameters
    ----------
    folder : Path
        With images in it, or in folders below it.
    size : (int, int) or None
        Height and width to which they are resized.

    Returns
    -------
    Split
        Images are uint8 of shape (N, H, W), or (N, H, W, 3) if one has colour. Labels say the
        place in sorted order of the folder just below this one; there are none where an image
        lies in this one.

    Raises
    ------
    DataError
        There are no images, or one cannot be read, or has 16 bits a channel, or another size.
    MissingExtraError
        Pillow is not installed.
    """
    pillow, names = _pillow(), Names(_image_names(folder))
    if not len(names):
        raise DataError(f"{folder} has no images in it; files that count: {' '.join(SUFFIXES)}")
    shape = _common_shape(pillow, folder, names, size)
    order = Noise(0, "own", backend="numpy").permutation(len(names))
    images = OnDisk(ImageFiles(folder, names, order, shape, resize=size is not None))
    classes = _classes(names)
    return Split(
        np.asarray(images) if math.prod(images.shape) <= LARGEST else images,
        None if classes is None else classes[order],
    )


class ImageFiles:
    """Image files as a `tinyvae.data.ondisk.Source`: decoded when they are asked for."""

    dtype = np.dtype(np.uint8)

    def __init__(
        self, folder: Path, names: Names, order: np.ndarray, shape: tuple[int, ...], resize: bool
    ) -> None:
        self.shape = (len(order), *shape)
        self._folder, self._names, self._order, self._resize = folder, names, order, resize

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The images of these rows."""
        pillow = _pillow()
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for i, k in enumerate(self._order[rows].tolist()):
            path = self._folder / self._names[k]
            try:
                images[i] = _pixels(pillow, path, self.shape[1:], self._resize)
            except Exception as error:  # a damaged file makes Pillow raise nearly anything
                raise _broken(path, error) from error
        return images

    def check(self) -> None:
        """Bytes stand for values in [0, 1], whatever they are."""


class Names(Sequence[str]):
    """Names in one string of bytes: some 10 bytes each besides their letters."""

    def __init__(self, names: Iterable[str]) -> None:
        self._ends, self._bytes = array("Q", [0]), bytearray()
        for name in names:
            self._bytes += os.fsencode(name)
            self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, k: Any) -> Any:
        if not 0 <= k < len(self):
            raise IndexError(f"name {k} of {len(self)}")
        return os.fsdecode(bytes(self._bytes[self._ends[k] : self._ends[k + 1]]))


def _image_names(folder: Path, below: str = "") -> Iterator[str]:
    """The image files in a folder and in those below it, seen from there, in sorted order."""
    try:
        found = sorted(path.name for path in (folder / below).iterdir())
    except OSError as error:
        raise DataError(f"cannot look through {folder / below}: {error}") from error
    for name in found:
        path = folder / below / name
        if path.suffix.lower() in SUFFIXES:
            yield below + name
        elif path.is_dir() and not path.is_symlink():
            yield from _image_names(folder, f"{below}{name}/")


def _classes(names: Names) -> np.ndarray | None:
    """The folder in which each image lies, as a number from 0; they come sorted by it."""
    if any("/" not in name for name in names):
        return None
    groups = groupby(name.partition("/")[0] for name in names)
    sizes = [sum(1 for _ in group) for _, group in groups]
    return np.repeat(np.arange(len(sizes)), sizes)


def _common_shape(
    pillow: Any, folder: Path, names: Names, size: tuple[int, int] | None
) -> tuple[int, ...]:
    """(H, W) or (H, W, 3): the shape that all of these images have, or will be given."""
    first = _shape(pillow, folder / names[0])
    colour = first[2:]
    for name in names:
        shape = _shape(pillow, folder / name)
        if size is None and shape[:2] != first[:2]:
            raise DataError(
                f"images of several sizes: {folder / names[0]} is {first[0]}x{first[1]}, "
                f"{folder / name} is {shape[0]}x{shape[1]} (height x width); make them "
                "alike, or load them with tv.data.load(path, size=(H, W))"
            )
        colour = max(colour, shape[2:])
    return (*(size or first[:2]), *colour)


def _shape(pillow: Any, path: Path) -> tuple[int, ...]:
    """(H, W) or (H, W, 3), from the header of an image."""
    try:
        with pillow.open(path) as image:
            mode, (width, height) = image.mode, image.size
    except Exception as error:
        raise _broken(path, error) from error
    if mode not in GREY + COLOUR:
        raise DataError(f"{path} has pixels of mode {mode!r}; save it with 8 bits a channel")
    return (height, width) if mode in GREY else (height, width, 3)


def _pixels(pillow: Any, path: Path, shape: tuple[int, ...], resize: bool) -> np.ndarray:
    with pillow.open(path) as file:
        # A palette's transparency, where it has any, can only be dropped from RGBA.
        image = file.convert("RGBA") if file.mode == "P" else file
        image = image.convert("L" if len(shape) == 2 else "RGB")
    if (wanted := (shape[1], shape[0])) != image.size:
        if not resize:
            raise ValueError(f"it has become {image.size[1]}x{image.size[0]} (height x width)")
        image = image.resize(wanted, pillow.Resampling.BILINEAR)
    return np.asarray(image)


def _broken(path: Path, error: Exception) -> DataError:
    gone = isinstance(error, FileNotFoundError)
    mend = "put it back, or train anew" if gone else "mend it, or take it out of the folder"
    return DataError(f"cannot read the image {path}: {error}; {mend}")


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            "a folder of images needs Pillow, which is not installed: pip install 'tinyvae[images]'"
        ) from error
    return Image
