"""One's own images, from an array that NumPy saved or from a folder of image files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyvae.data import folder
from tinyvae.data.dataset import Dataset, Split
from tinyvae.data.ondisk import OnDisk, blocks, check_floats, unmapped
from tinyvae.errors import DataError, OptionError
from tinyvae.noise import Noise


def load(path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> Dataset:
    """A data set from a file that NumPy saved or from a folder of images.

    A tenth validates, a tenth tests, the rest trains. The order is drawn with a fixed seed,
    except for an ``.npy`` file: it stays on disk, and the parts are its beginning, the tenth
    after it and the tenth at the end, so shuffle it before saving it. A folder stays on disk
    as well where its images would take more than 256 MB of memory. What is on disk is read
    batch by batch; a change of the file while it is in use is noticed, and refused.

    Parameters
    ----------
    path : str or path
        ``.npy``: images. ``.npz``: ``images`` (or the only array) and perhaps ``labels``.
        A folder: its images in sorted order, those in folders below it included; where all
        of them lie below it, the names of its own folders, sorted, become classes 0, 1, ...
        Grey stays grey; where one image has colour, all become RGB.
    size : (int, int), optional
        Height and width to which the images of a folder are resized.

    Returns
    -------
    Dataset
        Images of shape (N, H, W) or (N, H, W, 3). An array may also have the shape (N, D):
        its rows are read as squares if D is a square number, otherwise as (N, 1, D).
        uint8 and float32 stay as they are; other floats become float32.

    Raises
    ------
    DataError
        There is nothing, it cannot be read, or it is not images: another type or shape,
        floats outside [0, 1], NaN, several sizes, fewer than 3 images. Python objects are
        never unpickled.
    MissingExtraError
        It is a folder and Pillow is not installed.
    OptionError
        `size` is not two positive integers, or is given for an array.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "stripes.npy")
    >>> np.save(file, np.tile(np.array([0, 255], np.uint8), (30, 8, 4)))
    >>> stripes = load(file)
    >>> stripes.train.images.shape, len(stripes.valid), len(stripes.test)
    ((24, 8, 8), 3, 3)
    """
    path = Path(path).expanduser()
    if kind(path) == "folder":
        images = folder.load(path, _checked_size(size))
    elif kind(path) is None:
        raise DataError(f"{path} is not there, or may not be read")
    elif path.suffix not in (".npy", ".npz"):
        raise DataError(f"{path} is neither a folder of images nor an .npz or .npy file")
    elif size is not None:
        raise OptionError(f"size={size} is for a folder of images; {path} keeps its size")
    else:
        images = _array_file(path)
    train, valid, test = _cut(images, path)
    return Dataset(path.stem, train, test, valid, licence="your own", source=str(path))


def kind(path: Path) -> str | None:
    """Whether a path is a "folder" or a "file"; None if it is not there or may not be seen."""
    try:
        return "folder" if path.is_dir() else "file" if path.is_file() else None
    except OSError:
        return None


def _checked_size(size: Any) -> tuple[int, int] | None:
    pair = isinstance(size, (tuple, list)) and len(size) == 2
    if size is None or (pair and all(isinstance(length, int) and length > 0 for length in size)):
        return size and (size[0], size[1])
    raise OptionError(f"size is (height, width), two positive integers, not {size!r}")


def _cut(images: Split, path: Path) -> tuple[Split, Split, Split]:
    """The first eight tenths, the next and the last; nothing is copied."""
    if len(images) < 3:
        raise DataError(
            f"{path} has {len(images)} images; at least 3 are needed, one for each part"
        )
    tenth = max(1, round(len(images) / 10))
    return images[: -2 * tenth], images[-2 * tenth : -tenth], images[-tenth:]


def _array_file(path: Path) -> Split:
    """All images of an .npy file in its order, or of an .npz file in a fixed random one."""
    arrays = _read_arrays(path)
    images = _checked_images(arrays.pop("images"), path)
    if path.suffix == ".npy":
        return Split(images)
    labels = _checked_labels(arrays.get("labels"), len(images), path)
    order = Noise(0, "own", backend="numpy").permutation(len(images))
    return Split(images[order], None if labels is None else labels[order])


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, the images under that name; an .npy file is memory-mapped."""
    try:
        if path.suffix == ".npy":
            return {"images": np.lib.format.open_memmap(path, mode="r")}
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {"images": archive[_name_of_images(archive.files, path)]} | {
                name: archive[name] for name in archive.files if name == "labels"
            }
    except DataError:
        raise
    except Exception as error:  # a damaged file makes NumPy raise nearly anything
        raise DataError(
            f"cannot read {path}: {error}; save plain numbers with np.save or np.savez "
            "(Python objects are never unpickled)"
        ) from error


def _name_of_images(names: Sequence[str], path: Path) -> str:
    others = [name for name in names if name != "labels"]
    if "images" in names or len(others) == 1:
        return "images" if "images" in names else others[0]
    raise DataError(
        f"{path} has the arrays {', '.join(names) or '(none)'}; name the one with the images "
        "'images': np.savez(file, images=...)"
    )


def _checked_images(images: np.ndarray, path: Path) -> np.ndarray | OnDisk:
    """uint8 or float32 images of shape (N, H, W) or (N, H, W, 3), if they are images at all."""
    found = unmapped(_as_images(images, path))
    _check_bytes(found, path)
    if isinstance(found, OnDisk):
        found.check()
        return found
    if found.dtype != np.uint8 and found.dtype.kind != "f":
        raise DataError(
            f"{path} has images of dtype {images.dtype}; store uint8 (0 to 255) or floats in [0, 1]"
            f"{': (images * 255).astype(np.uint8)' * (found.dtype == bool)}"
        )
    check_floats(found, path)
    return np.ascontiguousarray(found, np.uint8 if found.dtype == np.uint8 else np.float32)


def _check_bytes(images: np.ndarray | OnDisk, path: Path) -> None:
    """Refuse black and white as 0 and 1, where 255 is white."""
    if images.dtype == np.uint8 and max(map(np.max, _until_grey(images))) == 1:
        raise DataError(
            f"{path} has bytes of 0 and 1 only, and a byte goes from 0 (black) to 255 (white): "
            "store images * 255"
        )


def _until_grey(images: np.ndarray | OnDisk) -> Iterator[np.ndarray]:
    for block in blocks(images):
        yield block
        if block.max() > 1:
            return


def _as_images(images: np.ndarray, path: Path) -> np.ndarray:
    if images.size == 0:
        raise DataError(f"{path} is empty: its images have the shape {images.shape}")
    if images.ndim == 2:
        side = math.isqrt(images.shape[1])
        height = side if side * side == images.shape[1] else 1
        return images.reshape(len(images), height, -1)
    if images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3):
        return images
    raise DataError(
        f"{path} has images of shape {images.shape}; they must be (N, H, W), (N, H, W, 3) or "
        "(N, D): drop an axis of length 1 (images[..., 0]), move colours to the end (np.moveaxis)"
    )


def _checked_labels(labels: np.ndarray | None, count: int, path: Path) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.ndim not in (1, 2) or len(labels) != count or labels.dtype.kind not in "biuf":
        raise DataError(
            f"{path} has labels of dtype {labels.dtype} and shape {labels.shape}; they must be "
            f"numbers of shape ({count},) or ({count}, F), a row an image"
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError(f"{path} has labels that are NaN or infinite; every image needs a number")
    return labels
