"""Files that are whole or not there: weights as safetensors, and the folder of a run."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinyvae.errors import RunError

Spec: TypeAlias = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and dtype of every tensor that a file should hold, by name."""

FORMAT = "tinyvae 1"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then moved there.

    Raises
    ------
    RunError
        The disk is full or read-only, or the folder is not there; what was there stays.
    """
    part = path.with_name(f".{path.name}.part")  # one left by a crash is written over
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)  # noqa: PTH105 - the atomic step, under its usual name
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; what was saved before is untouched: "
            "free some space or choose another folder with --out"
        ) from error


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], state: Any = None) -> None:
    """Save arrays by name, with plain data beside them, in one safetensors file.

    A checksum over both goes into the header, so that `load_tensors` notices a change.
    """
    from safetensors.numpy import save

    text = json.dumps(state, allow_nan=False)
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    header = {"format": FORMAT, "state": text, "sha256": _digest(arrays, text)}
    # one entry, since safetensors writes several in no fixed order
    write_atomically(path, save(arrays, metadata={"tinyvae": json.dumps(header)}))


def load_tensors(path: Path, expected: Spec) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays and the plain data of `save_tensors`, checked before anything is loaded.

    Raises
    ------
    RunError
        The file is missing, truncated, altered, of another version, holds other tensors
        than ``expected``, or values that are not finite.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            raise RunError(f"there is no file {path}: check the path, or train first")
        with safe_open(path, framework="numpy") as file:
            header = _header(file.metadata())
            _check_header(path, header, {k: _spec(file, k) for k in file.keys()}, expected)  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in expected}
    except RunError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(
            f"{path} is damaged or no safetensors file ({error}); train again"
        ) from error
    text = str(header.get("state"))
    if _digest(tensors, text) != header.get("sha256"):
        raise RunError(f"{path} was altered: its checksum does not fit its content; train again")
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise RunError(f"{path}: {name} holds values that are not finite; train again")
    return tensors, _plain(text, path)


def _header(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        header = json.loads((metadata or {}).get("tinyvae", "{}"))
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _plain(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {error}; train again") from error


_DTYPES = {"F32": "float32", "F64": "float64"}


def _spec(file: Any, name: str) -> tuple[tuple[int, ...], str]:
    part = file.get_slice(name)
    return tuple(part.get_shape()), _DTYPES.get(part.get_dtype(), part.get_dtype())


def _check_header(path: Path, header: Mapping[str, Any], found: Spec, expected: Spec) -> None:
    if header.get("format") != FORMAT:
        raise RunError(
            f"{path} is of format {header.get('format')!r}, and this version reads {FORMAT!r}: "
            "use the version of tinyvae that wrote it, or train again"
        )
    for name in sorted(expected.keys() | found.keys()):
        want, got = expected.get(name, "nothing"), found.get(name, "nothing")
        if want != got:
            raise RunError(
                f"{path} does not fit this model: for {name} it has {got}, not {want}; make the "
                "model with the settings in the run's config.json, or train again"
            )


def _digest(tensors: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save_json(path: Path, content: Any) -> None:
    """Save plain data as indented JSON."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def load_json(path: Path) -> Any:
    """Plain data from a JSON file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    return _plain(text, path)


def save_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Save the epochs as a table, with one column for the KL of each latent dimension."""
    rows = [_flat(row) for row in history]
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [])
    table.writeheader()
    table.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    per_dimension = {f"kl_{k}": kl for k, kl in enumerate(row["kl_per_dimension"])}
    return {**{k: v for k, v in row.items() if k != "kl_per_dimension"}, **per_dimension}
