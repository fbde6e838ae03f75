"""The list of data sets, and the one door to all of them."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinyvae.data import binarized_mnist, digits, idx, own
from tinyvae.data.dataset import Dataset
from tinyvae.errors import DataError, OptionError

LOADERS = {
    "digits": "tinyvae.data.digits.load",
    "mnist": "tinyvae.data.idx.mnist",
    "fashion_mnist": "tinyvae.data.idx.fashion_mnist",
    "binarized_mnist": "tinyvae.data.binarized_mnist.load",
    "faces": "tinyvae.data.faces.load",
    "sprites": "tinyvae.data.sprites.load",
}


@dataclass(frozen=True)
class Card:
    """What a list of data sets says of one of them.

    Attributes
    ----------
    name, size, licence : str
        What `load` calls it, its size in words, how it may be used.
    loader : str
        The dotted name of the function that loads it.
    where : str
        Where it is, or how it will be got.
    there : bool
        Whether `load` needs no download.
    """

    name: str
    size: str
    licence: str
    loader: str
    where: str
    there: bool


def load(name: str | os.PathLike[str], **options: Any) -> Dataset:
    """A data set of the list, or one's own.

    Parameters
    ----------
    name : str or path
        A name of `cards`, or the path of an ``.npz`` or ``.npy`` file or of a folder of
        images; a name of the list wins over a folder of that name.
    **options
        What the loader of that set takes: ``count``, ``size`` and ``seed`` for what is
        drawn (faces, sprites), ``size`` for a folder of images.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        The name is not on the list, or the data cannot be found, read or trusted.
    MissingExtraError
        A package that this set needs is not installed.
    OptionError
        An option that this set does not take, or a value out of its range.

    Examples
    --------
    >>> load("digits").train.images.shape
    (1297, 8, 8)
    >>> load("digit")
    Traceback (most recent call last):
    ...
    tinyvae.errors.DataError: no data set is called 'digit'; did you mean 'digits'? ...
    """
    if name in LOADERS:
        module, _, function = LOADERS[str(name)].rpartition(".")
        return _call(getattr(import_module(module), function), str(name), options)
    if os.fspath(name) and _is_path(name):
        return _call(own.load, str(name), {"path": name} | options)
    raise DataError(_unknown(str(name)))


def _is_path(name: str | os.PathLike[str]) -> bool:
    path, text = Path(name), os.fspath(name)
    return (
        not isinstance(name, str)
        or "/" in text
        or os.sep in text
        or path.suffix in (".npy", ".npz")
        or own.kind(path) == "folder"
    )


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, LOADERS, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"no data set is called {name!r}; {guess}the list: {', '.join(LOADERS)}; "
        "one's own data are the path of an .npz or .npy file or of a folder of images"
    )


def _call(loader: Callable[..., Dataset], name: str, options: dict[str, Any]) -> Dataset:
    taken = inspect.signature(loader).parameters
    if unknown := [option for option in options if option not in taken]:
        known = ", ".join(option for option in taken if option != "path") or "none"
        raise OptionError(f"data set {name!r} takes no option {unknown[0]!r}; its options: {known}")
    return loader(**options)


def cards() -> list[Card]:
    """What there is: a card for each data set of the list, in its order.

    Raises
    ------
    DataError
        A folder that may not be looked into.

    Examples
    --------
    >>> cards()[0].name, cards()[0].size
    ('digits', '1,797 grey 8x8')
    """
    drawn, sklearn = "MIT, drawn by tinyvae", find_spec("sklearn") is not None
    return [
        _card("digits", "1,797 grey 8x8", digits.LICENCE, "in scikit-learn", sklearn),
        _idx_card(idx.MNIST, 12),
        _idx_card(idx.FASHION_MNIST, 31),
        _downloaded(
            "binarized_mnist",
            "70,000 black and white 28x28",
            binarized_mnist.LICENCE,
            binarized_mnist.where(),
            110,
        ),
        _card("faces", "20,000 colour 32x32", drawn, "drawn when loaded", True),
        _card("sprites", "20,000 grey 64x64", drawn, "drawn when loaded", True),
    ]


def _card(name: str, size: str, licence: str, where: str, there: bool) -> Card:
    return Card(name, size, licence, LOADERS[name], where, there)


def _idx_card(published: idx.Published, megabytes: int) -> Card:
    name, licence, where = published.name, published.licence, idx.where(published)
    return _downloaded(name, "70,000 grey 28x28", licence, where, megabytes)


def _downloaded(name: str, size: str, licence: str, where: Path | None, megabytes: int) -> Card:
    there = str(where or f"to be downloaded, {megabytes} MB")
    return _card(name, size, licence, there, where is not None)
