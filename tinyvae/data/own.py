"""One's own images, from an array that NumPy saved or from a folder of image files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tinyvae.data.dataset import Dataset, Split
from tinyvae.errors import DataError, MissingExtraError, OptionError
from tinyvae.noise import Noise

SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
GREY = ("1", "L", "LA")  # Pillow's modes of at most 8 bits without colour
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
ROWS = 4096  # looked through at a time, to leave a memory-mapped array on disk
Rows = TypeVar("Rows", np.ndarray, Sequence[Any])


def load(path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> Dataset:
    """A data set from a file that NumPy saved or from a folder of images.

    A tenth validates, a tenth tests, the rest trains. The order is drawn with a fixed seed,
    except for an ``.npy`` file: it stays on disk (memory-mapped), and the parts are its
    beginning, the tenth after it and the tenth at the end, so shuffle it before saving it.

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
        uint8 and float32 stay as they are; other floats are copied to float32.

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
        train, valid, test = _folder(path, _checked_size(size))
    elif kind(path) is None:
        raise DataError(f"{path} is not there, or may not be read")
    elif path.suffix not in (".npy", ".npz"):
        raise DataError(f"{path} is neither a folder of images nor an .npz or .npy file")
    elif size is not None:
        raise OptionError(f"size={size} is for a folder of images; {path} keeps its size")
    else:
        train, valid, test = _array_file(path)
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


def _cut(rows: Rows, path: Path) -> tuple[Rows, Rows, Rows]:
    """The first eight tenths, the next and the last; slices, so that nothing is copied."""
    if len(rows) < 3:
        raise DataError(f"{path} has {len(rows)} images; at least 3 are needed, one for each part")
    tenth = max(1, round(len(rows) / 10))
    return rows[: -2 * tenth], rows[-2 * tenth : -tenth], rows[-tenth:]


def _order(count: int) -> np.ndarray:
    return Noise(0, "own", backend="numpy").permutation(count)


def _array_file(path: Path) -> Iterator[Split]:
    """The three parts of an .npy or .npz file."""
    arrays = _read_arrays(path)
    images = _checked_images(arrays["images"], path)
    if path.suffix == ".npy":
        return map(Split, _cut(images, path))
    labels = _checked_labels(arrays.get("labels"), len(images), path)
    rows = _cut(_order(len(images)), path)
    return (Split(images[part], None if labels is None else labels[part]) for part in rows)


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


def _checked_images(images: np.ndarray, path: Path) -> np.ndarray:
    """uint8 or float32 images of shape (N, H, W) or (N, H, W, 3), if they are images at all."""
    images = _as_images(images, path)
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise DataError(
            f"{path} has images of dtype {images.dtype}; store uint8 (0 to 255) or floats in [0, 1]"
        )
    for start in range(0, len(images), ROWS):
        _check_floats(images[start : start + ROWS], start, path)
    return images.astype(np.float32, copy=False)


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


def _check_floats(images: np.ndarray, start: int, path: Path) -> None:
    """Refuse what is not in [0, 1]; `start` is the index of the first of these images."""
    finite = np.isfinite(images)
    if not finite.all():
        row, *pixel = (int(i) for i in np.argwhere(~finite)[0])
        index = (start + row, *pixel)
        raise DataError(f"{path} has {images[row, *pixel]} at index {index}; replace it")
    low, high = images.min(), images.max()
    if low < 0 or high > 1:
        raise DataError(
            f"{path} has values from {low:g} to {high:g} in images {start} to "
            f"{start + len(images) - 1}; floats must lie in [0, 1]: divide by 255, or store uint8"
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


def _folder(folder: Path, size: tuple[int, int] | None) -> Iterator[Split]:
    """The three parts of a folder; nothing but headers is read before all is known to fit."""
    pillow = _pillow()
    paths = _image_paths(folder)
    shape = _common_shape(pillow, paths, size)
    labels = _classes(folder, paths)
    rows = _cut(_order(len(paths)), folder)
    return (
        Split(
            _read_images(pillow, [paths[i] for i in part], shape),
            None if labels is None else labels[part],
        )
        for part in rows
    )


def _image_paths(folder: Path) -> list[Path]:
    try:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise DataError(f"cannot look through {folder}: {error}") from error
    if not paths:
        raise DataError(f"{folder} has no images in it; files that count: {' '.join(SUFFIXES)}")
    return paths


def _classes(folder: Path, paths: Sequence[Path]) -> np.ndarray | None:
    """The folder just below `folder` in which each image lies, as a number from 0."""
    if any(path.parent == folder for path in paths):
        return None
    return np.unique([path.relative_to(folder).parts[0] for path in paths], return_inverse=True)[1]


def _common_shape(
    pillow: Any, paths: Sequence[Path], size: tuple[int, int] | None
) -> tuple[int, ...]:
    """(H, W) or (H, W, 3): the shape that all of these images have, or will be given."""
    first, *_ = shapes = [_shape(pillow, path) for path in paths]
    for path, shape in zip(paths, shapes, strict=True):
        if size is None and shape[:2] != first[:2]:
            raise DataError(
                f"images of several sizes: {paths[0]} is {first[0]}x{first[1]}, {path} is "
                f"{shape[0]}x{shape[1]} (height x width); make them "
                "alike, or load them with tv.data.load(path, size=(H, W))"
            )
    return (*(size or first[:2]), *max(shape[2:] for shape in shapes))


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


def _read_images(pillow: Any, paths: Sequence[Path], shape: tuple[int, ...]) -> np.ndarray:
    images = np.empty((len(paths), *shape), np.uint8)
    for i, path in enumerate(paths):
        try:
            images[i] = _pixels(pillow, path, shape)
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            raise _broken(path, error) from error
    return images


def _pixels(pillow: Any, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    with pillow.open(path) as file:
        # A palette's transparency, where it has any, can only be dropped from RGBA.
        image = file.convert("RGBA") if file.mode == "P" else file
        image = image.convert("L" if len(shape) == 2 else "RGB")
    if image.size != (shape[1], shape[0]):
        image = image.resize((shape[1], shape[0]), pillow.Resampling.BILINEAR)
    return np.asarray(image)


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        f"cannot read the image {path}: {error}; mend it, or take it out of the folder"
    )


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            "a folder of images needs Pillow, which is not installed: pip install 'tinyvae[images]'"
        ) from error
    return Image
