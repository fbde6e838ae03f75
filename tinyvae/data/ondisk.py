"""Images that stay on disk: read by the row when they are asked for, and looked at like an array.

Rows are read, not mapped: the pages of a mapped file count as memory of the process, random
reads of them are slow where the file is not cached, and a file that shrinks under a map kills
Python without a word.
"""

from __future__ import annotations

import math
import os
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from tinyvae.errors import DataError

BLOCK = 1 << 20  # pixels of the images that are looked through at once


class Source(Protocol):
    """Where images on disk come from: a file of rows, or a folder of image files."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W) or (N, H, W, 3)."""

    @property
    def dtype(self) -> np.dtype:
        """uint8 or float32."""

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The images of these rows, each from 0 to N - 1; DataError where they cannot be had."""

    def check(self) -> None:
        """Refuse floats outside [0, 1]."""


class OnDisk:
    """Images on disk, of which a slice is again on disk, and chosen rows are an array.

    Parameters
    ----------
    source : Source
        Where they come from.
    rows : range, optional
        Which of its rows these are; all of them if None.

    Raises
    ------
    DataError
        When rows are read: the file has changed, or it cannot be read.

    Examples
    --------
    >>> path = Path(tempfile.mkdtemp(), "images")
    >>> _ = path.write_bytes(bytes(range(12)))
    >>> images = OnDisk(RowFile(path, (3, 2, 2), "uint8"))
    >>> images[np.array([2, 0])][:, 0, 0]
    array([8, 0], dtype=uint8)
    >>> images[1:].shape, np.asarray(images[1:]).sum()
    ((2, 2, 2), np.uint64(60))
    """

    def __init__(self, source: Source, rows: range | None = None) -> None:
        self.source = source
        self.rows = range(source.shape[0]) if rows is None else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W) or (N, H, W, 3)."""
        return (len(self.rows), *self.source.shape[1:])

    @property
    def ndim(self) -> int:
        """3 for grey images, 4 for colour."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of the images as they are read: uint8 or float32."""
        return self.source.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return OnDisk(self.source, self.rows[key])
        if isinstance(key, (int, np.integer)):
            return self.source.read(np.array([self.rows[int(key)]]))[0]
        if isinstance(key, tuple):
            raise IndexError("images on disk are chosen by row: np.asarray(images[rows]) first")
        return self.source.read(self._in_source(np.asarray(key)))

    def _in_source(self, rows: np.ndarray) -> np.ndarray:
        count = len(self)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise IndexError(
                "images on disk are chosen by a slice or by whole numbers of shape (B,), not by "
                f"{rows.dtype} of shape {rows.shape}"
            )
        if rows.size and not (-count <= rows.min() and rows.max() < count):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {count} images on disk")
        rows = rows.astype(np.int64)
        return self.rows.start + self.rows.step * np.where(rows < 0, rows + count, rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("images on disk become an array by copying them")
        images = self.source.read(np.array(self.rows, np.int64))
        return images if dtype is None else images.astype(dtype, copy=False)

    def check(self) -> None:
        """Refuse floats outside [0, 1], in one pass over the source, made once."""
        self.source.check()


def blocks(images: np.ndarray | OnDisk) -> Iterator[np.ndarray]:
    """All images in their order, some at a time, so that those on disk stay there."""
    size = max(1, BLOCK // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), size):
        yield np.asarray(images[start : start + size])


# A file of rows


class RowFile:
    """Images one behind the other in a file, as in an ``.npy`` file after its header.

    Parameters
    ----------
    path : Path
        What the file is called in messages, and where it is opened unless ``file`` is given.
    shape : tuple of int
        (N, H, W) or (N, H, W, 3).
    stored : dtype
        Of the pixels in the file; floats of any kind are read as float32.
    offset : int
        Bytes before the first image.
    file : binary file, optional
        To be closed when nobody holds the images any more.

    Raises
    ------
    DataError
        The file cannot be opened, or is too short.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        stored: Any,
        offset: int = 0,
        file: BinaryIO | None = None,
    ) -> None:
        self.path, self.shape, self.stored, self.offset = path, shape, np.dtype(stored), offset
        self.dtype = np.dtype(np.uint8 if self.stored == np.uint8 else np.float32)
        self._stride = math.prod(shape[1:]) * self.stored.itemsize  # bytes of a row
        self._file = file or _opened(path)
        weakref.finalize(self, self._file.close)
        self._lock, self._checked, self._stamp = threading.Lock(), False, self._now()
        if self._stamp[0] < (needed := offset + shape[0] * self._stride):
            raise DataError(
                f"{path} is too short: {self._stamp[0]:,} bytes, where its {shape[0]:,} images "
                f"take {needed:,}; write it again"
            )

    def _now(self) -> tuple[int, int]:
        stat = os.fstat(self._file.fileno())
        return stat.st_size, stat.st_mtime_ns

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The images of these rows; neighbours that follow each other in one go."""
        images = np.empty((len(rows), *self.shape[1:]), self.stored)
        view, stride = images.reshape(-1).view(np.uint8).data, self._stride
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        ends = np.append(starts, len(rows))[1:]
        for start, end, row in np.stack([starts, ends, rows[starts]], axis=1).tolist():
            self._fill(view[start * stride : end * stride], row)
        if len(rows) and self._now() != self._stamp:
            raise self._changed(rows[0])
        return images.astype(self.dtype, copy=False)

    def _fill(self, view: memoryview, row: int) -> None:
        position = self.offset + row * self._stride
        while view:
            try:
                got = self._read_at(view, position)
            except OSError as error:
                raise DataError(f"cannot read row {row:,} of {self.path}: {error}") from error
            if got == 0:
                raise self._changed(row)
            view, position = view[got:], position + got

    def _read_at(self, view: memoryview, position: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], position)
        with self._lock:  # a thread that reads ahead has the same place in the file
            self._file.seek(position)
            return self._file.readinto(view)  # type: ignore[attr-defined,no-any-return]

    def _changed(self, row: int) -> DataError:
        before, now = self._stamp[0], self._now()[0]
        sizes = f"it had {before:,} bytes and has {now:,}" if now != before else "it was written to"
        return DataError(
            f"{self.path} has changed since it was opened, found at row {row:,}: {sizes}; what was "
            "saved before is untouched: put the file back as it was and resume, or start anew"
        )

    def check(self) -> None:
        """Refuse floats outside [0, 1]; once for the whole file, as a change is noticed."""
        if not self._checked:
            check_floats(OnDisk(self), self.path)
        self._checked = True


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}; check the path and its rights") from error


def check_floats(images: np.ndarray | OnDisk, path: Path) -> None:
    """Refuse floats outside [0, 1] and NaN; bytes are as they should be.

    Raises
    ------
    DataError
        It names the file and the place of the first number that is not finite, or the range.
    """
    start = 0
    for block in blocks(images) if images.dtype != np.uint8 else ():
        _check_block(block, start, path)
        start += len(block)


def _check_block(images: np.ndarray, start: int, path: Path) -> None:
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


def unmapped(images: np.ndarray) -> np.ndarray | OnDisk:
    """The images of a file that is mapped into memory, on disk; others as they are.

    A map stays where its rows are not one behind the other, or where it can be written to.

    Raises
    ------
    DataError
        The file at its path is no longer the one that is mapped.
    """
    pixels = images.dtype == np.uint8 or images.dtype.kind == "f"
    whole_rows = images.flags.c_contiguous and images.size > 0 and images.ndim > 1
    if not (isinstance(images, np.memmap) and pixels and whole_rows):
        return images
    whole = images
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    if whole.filename is None or whole.mode != "r":
        return images
    path, offset = Path(whole.filename), whole.offset + images.ctypes.data - whole.ctypes.data
    found = OnDisk(RowFile(path, images.shape, images.dtype, offset))
    for row in (0, -1):
        if found[row].tobytes() != images[row].astype(found.dtype).tobytes():
            raise DataError(f"{path} is not the file that is mapped: map it again")
    return found


def spooled(parts: Iterable[np.ndarray], shape: tuple[int, ...]) -> OnDisk:
    """Bytes in a temporary file without a name, which goes when nobody holds the images.

    Raises
    ------
    DataError
        There is no room for it; the environment variable TMPDIR says where it is.
    """
    folder = Path(tempfile.gettempdir())
    with ExitStack() as on_failure:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - RowFile closes it
        on_failure.callback(file.close)
        try:
            for part in parts:
                file.write(part.data)
            file.flush()
        except OSError as error:
            raise DataError(
                f"no room in {folder} for {math.prod(shape):,} bytes of drawn images ({error}): "
                "name another folder in the environment variable TMPDIR"
            ) from error
        on_failure.pop_all()
    return OnDisk(RowFile(folder / "(drawn images)", shape, np.uint8, file=file))
