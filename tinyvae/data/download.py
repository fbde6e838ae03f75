"""Where published files are looked for, and how they are fetched when they are nowhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinyvae.errors import DataError, MissingExtraError


def folders(name: str) -> Iterator[Path]:
    """Where the files of a data set may lie, in the order in which they are looked for.

    Parameters
    ----------
    name : str
        Name of the data set.

    Yields
    ------
    Path
        ``$TINYVAE_DATA/<name>``, for MNIST ``$TINYVAE_DATA`` as well, then the user's cache.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> with patch.dict("os.environ", TINYVAE_DATA="files"):
    ...     [folder.as_posix() for folder in folders("mnist")][:2]
    ['files/mnist', 'files']
    """
    if root := os.environ.get("TINYVAE_DATA"):
        yield Path(root).expanduser() / name
        if name == "mnist":  # Fashion-MNIST has the same file names, so only one may do this
            yield Path(root).expanduser()
    if find_spec("pooch"):
        yield cache_folder(name)


def cache_folder(name: str) -> Path:
    """The folder of a data set in the user's cache; MissingExtraError without pooch."""
    return Path(_pooch().os_cache("tinyvae")) / name


def locate(name: str, *files: str) -> Path | None:
    """The first file that is there, folder by folder, or None.

    Parameters
    ----------
    name : str
        Name of the data set.
    *files : str
        Names that will do, the most welcome first.

    Raises
    ------
    DataError
        A folder that may not be looked into.

    Examples
    --------
    >>> locate("mnist", "a file that nobody has") is None
    True
    """
    candidates = (folder / file for folder in folders(name) for file in files)
    try:
        return next((path for path in candidates if path.is_file()), None)
    except OSError as error:
        raise DataError(f"cannot look for the files of {name!r}: {error}") from error


def fetch(
    file: str, mirrors: Sequence[str], checksum: str, folder: Path, timeout: float = 30.0
) -> Path:
    """Download a file from the first mirror that has it whole, and check it.

    Parameters
    ----------
    file : str
        Its name, which is added to the address of a mirror.
    mirrors : sequence of str
        Addresses that end in a slash, tried in turn.
    checksum : str
        What the file must have, such as ``"md5:..."`` or ``"sha256:..."``.
    folder : Path
        Where it is put, under its name, once it has passed; half a file is never left there.
    timeout : float
        Seconds of silence after which a server is given up.

    Returns
    -------
    Path
        The file in `folder`.

    Raises
    ------
    DataError
        No mirror gave the file; the message lists what went wrong at each.
    MissingExtraError
        pooch or tqdm is not installed.

    Examples
    --------
    >>> import tempfile
    >>> fetch("a.gz", ["http://127.0.0.1:9/"], "md5:0", Path(tempfile.mkdtemp()))
    Traceback (most recent call last):
    ...
    tinyvae.errors.DataError: cannot download a.gz:
      http://127.0.0.1:9/a.gz: ConnectionError: ...
    """
    pooch, failures = _pooch(), []
    for mirror in mirrors:
        try:
            return _fetch_from(pooch, mirror + file, checksum, folder / file, timeout)
        except (OSError, ValueError) as error:  # those of requests are OSErrors
            failures.append(f"  {mirror}{file}: {type(error).__name__}: {_cause(error)}")
    raise DataError(
        "\n".join([f"cannot download {file}:", *failures])
        + f"\nMend the connection and try again, or get the file by hand and put it into a folder "
        f"{folder.name}/ inside the folder that the environment variable TINYVAE_DATA names."
    )


def _cause(error: Exception) -> object:
    """What went wrong in the words of the socket, which requests wraps in a report of retries."""
    return getattr(error.args[0] if error.args else error, "reason", error)


def _fetch_from(pooch: Any, url: str, checksum: str, path: Path, timeout: float) -> Path:
    """Stream one address into a temporary file, which takes its name if the checksum is right."""
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=timeout, chunk_size=1 << 16)
    found = pooch.retrieve(url, checksum, fname=path.name, path=path.parent, downloader=downloader)
    return Path(found)


def obtain(name: str, file: str, mirrors: Sequence[str], checksum: str) -> Path:
    """The file where it lies, unpacked or as published, otherwise downloaded to the user's cache.

    Parameters
    ----------
    name, file : str
        The data set and the name of its file as published.
    mirrors, checksum
        As for `fetch`.

    Raises
    ------
    DataError, MissingExtraError
        As `fetch` and `locate`.

    Examples
    --------
    >>> obtain("mnist", "t10k-labels-idx1-ubyte.gz", mirrors, checksum)  # doctest: +SKIP
    PosixPath('.../mnist/t10k-labels-idx1-ubyte.gz')
    """
    found = locate(name, file.removesuffix(".gz"), file)
    return found or fetch(file, mirrors, checksum, cache_folder(name))


def _pooch() -> Any:
    """The package that downloads, when it and its progress bar are installed."""
    if not (find_spec("pooch") and find_spec("tqdm")):
        raise MissingExtraError(
            "downloading needs pooch and tqdm, which are not installed: "
            "pip install 'tinyvae[download]'"
        )
    import pooch

    return pooch
