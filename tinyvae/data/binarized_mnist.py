"""The fixed binarisation of MNIST on which log-likelihoods are compared in the literature."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tinyvae.data.dataset import Dataset, Split
from tinyvae.data.download import locate, obtain
from tinyvae.errors import DataError

NAME = "binarized_mnist"
LICENCE = "not stated; derived from MNIST (CC BY-SA 3.0)"
SOURCE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
PACKED = "binarized_mnist_packed.npz"
PIXELS = 784
ROWS = {"train": 50_000, "valid": 10_000, "test": 10_000}
TEXT_SHA256 = {
    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "valid": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}
BITS_SHA256 = {  # of the rows packed into 98 bytes each
    "train": "727146c35424b019f3e350e1e69faa05644a0abaf787e3f4e1a9632220a13906",
    "valid": "a256ac44ae26be720fad8616a05ed6ecfd1619930d9a208379bb2a4405df5b6d",
    "test": "9fcd8da6f0fdf09b2ba30fe63a0bb784042a0de82563172530229b983e294ff2",
}


def load() -> Dataset:
    """MNIST with every pixel drawn once as black or white: 50,000, 10,000 and 10,000.

    The files are taken from ``$TINYVAE_DATA/binarized_mnist`` or from the user's cache,
    either the three texts that Larochelle published, or one ``binarized_mnist_packed.npz``
    with 98 bytes a row; otherwise the texts (110 MB) are downloaded into that cache.

    Returns
    -------
    Dataset
        Images are uint8 of shape (N, 28, 28), each pixel 0 or 255; there are no labels.

    Raises
    ------
    DataError
        A file is damaged, or it is nowhere and cannot be downloaded.
    MissingExtraError
        A file has to be downloaded and pooch is not installed.

    References
    ----------
    Salakhutdinov and Murray, On the quantitative analysis of deep belief networks, 2008;
    Larochelle and Murray, The neural autoregressive distribution estimator, 2011.

    Examples
    --------
    >>> load().valid.images.shape  # doctest: +SKIP
    (10000, 28, 28)
    """
    packed = locate(NAME, PACKED)
    parts = {part: _read_packed(packed, part) if packed else _obtain(part) for part in ROWS}
    return Dataset(NAME, parts["train"], parts["test"], parts["valid"], (), LICENCE, SOURCE)


def where() -> Path | None:
    """The folder of the set where its files are there, otherwise None.

    Examples
    --------
    >>> where()  # doctest: +SKIP
    PosixPath('.../binarized_mnist')
    """
    packed, texts = locate(NAME, PACKED), [locate(NAME, _text(part)) for part in ROWS]
    found = [packed] if packed else texts
    return found[0].parent if found[0] and all(found) else None


def _text(part: str) -> str:
    return f"binarized_mnist_{part}.amat"


def _obtain(part: str) -> Split:
    path = obtain(NAME, _text(part), (SOURCE,), f"sha256:{TEXT_SHA256[part]}")
    return read_text(path, part)


def read_text(path: Path, part: str) -> Split:
    """One part from a text of zeros and ones, 784 in a row, with white space between.

    Parameters
    ----------
    path : Path
        The text.
    part : {"train", "valid", "test"}
        Which part it must be.

    Returns
    -------
    Split
        Images are uint8 of shape (N, 28, 28), each pixel 0 or 255.

    Raises
    ------
    DataError
        It cannot be read, is too short or too long, or is not what was published.

    Examples
    --------
    >>> read_text(Path("binarized_mnist_test.amat"), "test")  # doctest: +SKIP
    Split(images=array(...), labels=None)
    """
    bits = _read_bits(path)
    if bits.size != ROWS[part] * PIXELS or bits.max() > 1:
        raise _damaged(path, f"has {bits.size:,} signs, not {ROWS[part] * PIXELS:,} zeros and ones")
    return _checked(np.packbits(bits).reshape(ROWS[part], -1), path, part)


def _read_bits(path: Path) -> np.ndarray:
    """Every sign that is not white space, less the sign 0; in pieces, to spare memory."""
    pieces = []
    try:
        with path.open("rb") as file:
            while text := file.read(1 << 22):
                signs = np.frombuffer(text, np.uint8)
                pieces.append(signs[signs > ord(" ")] - np.uint8(ord("0")))
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    return np.concatenate([np.empty(0, np.uint8), *pieces])


def _read_packed(path: Path, part: str) -> Split:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            packed = archive[part]
    except Exception as error:  # a damaged file makes NumPy raise nearly anything
        raise _damaged(path, f"has no part {part!r} that can be read ({error})") from error
    return _checked(packed, path, part)


def _checked(packed: np.ndarray, path: Path, part: str) -> Split:
    """The images of rows packed into 98 bytes, if they are the ones that were published."""
    digest = hashlib.sha256(packed.tobytes()).hexdigest()
    if digest != BITS_SHA256[part]:
        raise _damaged(
            path,
            f"was altered: the packed bits of its part {part!r} have the sha256 {digest}, "
            f"not {BITS_SHA256[part]}",
        )
    images = np.unpackbits(packed).reshape(-1, 28, 28)
    images *= 255
    return Split(images)


def _damaged(path: Path, fault: str) -> DataError:
    return DataError(f"{path} {fault}; delete it and get the published file again")
