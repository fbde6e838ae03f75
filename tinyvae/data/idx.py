"""MNIST and Fashion-MNIST, from the idx files that were published."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from tinyvae.data.dataset import Dataset, Split
from tinyvae.data.download import locate, obtain
from tinyvae.errors import DataError

SHAPES: dict[str, tuple[int, ...]] = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
PIECE = 1 << 20  # bytes unpacked at a time, so that the images are in memory once only


@dataclass(frozen=True)
class Published:
    """A set of four idx files as it was published.

    Attributes
    ----------
    name, licence, source : str
        As in `Dataset`.
    mirrors : tuple of str
        Addresses of the folders that hold the four ``.gz`` files.
    packed_md5, unpacked_md5 : tuple of str
        Checksums of the ``.gz`` files and of what they hold, in the order of `SHAPES`.
    """

    name: str
    licence: str
    source: str
    mirrors: tuple[str, ...]
    packed_md5: tuple[str, ...]
    unpacked_md5: tuple[str, ...]


MNIST = Published(
    name="mnist",
    licence="CC BY-SA 3.0",
    source="http://yann.lecun.com/exdb/mnist/",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    packed_md5=(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    unpacked_md5=(
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
)

FASHION_MNIST = Published(
    name="fashion_mnist",
    licence="MIT",
    source="https://github.com/zalandoresearch/fashion-mnist",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    packed_md5=(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    unpacked_md5=(
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
)


def mnist() -> Dataset:
    """Handwritten digits in ten classes: 60,000 to train on and 10,000 to test, grey 28x28.

    The idx files, packed or not, are taken from ``$TINYVAE_DATA/mnist``, from
    ``$TINYVAE_DATA`` or from the user's cache, and otherwise downloaded into that cache.

    Returns
    -------
    Dataset
        Images are uint8 of shape (60000, 28, 28) and (10000, 28, 28), labels uint8 0 to 9;
        there is no validation part (see `Dataset.hold_out`).

    Raises
    ------
    DataError
        A file is damaged, or it is nowhere and cannot be downloaded.
    MissingExtraError
        A file has to be downloaded and pooch is not installed.

    Examples
    --------
    >>> mnist().train.images.shape  # doctest: +SKIP
    (60000, 28, 28)
    """
    return _load(MNIST)


def fashion_mnist() -> Dataset:
    """Articles of clothing in ten classes, in the form of MNIST: 60,000 and 10,000, grey 28x28.

    The idx files, packed or not, are taken from ``$TINYVAE_DATA/fashion_mnist`` or from the
    user's cache, and otherwise downloaded into that cache.

    Returns
    -------
    Dataset
        Shapes and types as for `mnist`.

    Raises
    ------
    DataError, MissingExtraError
        As for `mnist`.

    Examples
    --------
    >>> fashion_mnist().test.labels[:3]  # doctest: +SKIP
    array([9, 2, 1], dtype=uint8)
    """
    return _load(FASHION_MNIST)


def where(published: Published) -> Path | None:
    """The folder of the set where all four files are there, otherwise None.

    Examples
    --------
    >>> where(FASHION_MNIST)  # doctest: +SKIP
    PosixPath('.../fashion_mnist')
    """
    found = [locate(published.name, file, f"{file}.gz") for file in SHAPES]
    return found[0].parent if found[0] and all(found) else None


def read_idx(path: Path, shape: tuple[int, ...], md5: str) -> np.ndarray:
    """The bytes of an idx file whose shape and checksum are known, read into one array.

    Parameters
    ----------
    path : Path
        The file; a name that ends in ``.gz`` is unpacked on the way.
    shape : tuple of int
        What its header must say.
    md5 : str
        MD5 of the whole file, unpacked.

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    DataError
        It cannot be read, has another header, is too short or too long, or was altered.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "two-labels")
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2]) + bytes([7, 3]))
    >>> read_idx(path, (2,), hashlib.md5(path.read_bytes()).hexdigest())
    array([7, 3], dtype=uint8)
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read_open(cast("BinaryIO", file), path, shape, md5)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"cannot be read to its end ({error})") from error


def _read_open(file: BinaryIO, path: Path, shape: tuple[int, ...], md5: str) -> np.ndarray:
    header, values = _read_header(file, path, shape), np.empty(shape, np.uint8)
    got = _fill(values.reshape(-1), file)
    if got < values.size:
        raise _damaged(path, f"is cut short: {got:,} bytes after the header, not {values.size:,}")
    if file.read(1):
        raise _damaged(path, f"has bytes after the {values.size:,} that its header announces")
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(values.data)
    if digest.hexdigest() != md5:
        raise _damaged(path, f"was altered: its unpacked MD5 is {digest.hexdigest()}, not {md5}")
    return values


def _read_header(file: BinaryIO, path: Path, shape: tuple[int, ...]) -> bytes:
    """The header, if it is what was published: type 8 (bytes), the dimensions, big-endian."""
    expected = bytes([0, 0, 8, len(shape)])
    if (magic := file.read(4)) != expected:
        raise _damaged(path, f"begins with the bytes {magic.hex(' ')}, not {expected.hex(' ')}")
    sizes = file.read(4 * len(shape))
    found = tuple(int(size) for size in np.frombuffer(sizes[: len(sizes) // 4 * 4], ">u4"))
    if found != shape:
        raise _damaged(path, f"has a header for the shape {found}, not {shape}")
    return magic + sizes


def _fill(values: np.ndarray, file: BinaryIO) -> int:
    """Read into the array until it is full or the file ends; the number of bytes read."""
    view, got = values.data, 0
    while piece := file.read(min(PIECE, len(view) - got)):
        view[got : got + len(piece)] = piece
        got += len(piece)
    return got


def _damaged(path: Path, fault: str) -> DataError:
    return DataError(f"{path} {fault}; delete it and get the published file again")


def _load(published: Published) -> Dataset:
    arrays = []
    for file, packed, unpacked in zip(
        SHAPES, published.packed_md5, published.unpacked_md5, strict=True
    ):
        path = obtain(published.name, f"{file}.gz", published.mirrors, f"md5:{packed}")
        arrays.append(read_idx(path, SHAPES[file], unpacked))
    return Dataset(
        published.name,
        train=Split(arrays[0], arrays[1]),
        test=Split(arrays[2], arrays[3]),
        licence=published.licence,
        source=published.source,
    )
