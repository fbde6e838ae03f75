"""`tinyvae` as a person calls it, but within the process of the tests."""

from __future__ import annotations

import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import numpy as np

from tinyvae.cli import main

SMALL = ("--hidden", "8", "--epochs", "2", "--batch", "8")


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it said, with line breaks and frames taken out."""

    code: int
    out: str
    err: str


def tinyvae(*arguments: object) -> Finished:
    """Run a command; an exception that `main` lets through fails the test."""
    out, err, code = StringIO(), StringIO(), 0
    argv = patch.object(sys, "argv", ["tinyvae", *map(str, arguments)])
    with argv, redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Finished(code, out.getvalue(), _words(err.getvalue()))


def _words(text: str) -> str:
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


def refused(*arguments: object) -> str:
    """What `tinyvae` says of a command that it does not carry out; it leaves no file behind."""
    before = everything()
    finished = tinyvae(*arguments)
    assert finished.code not in (0, 130)
    assert "Traceback" not in finished.err
    assert everything() == before
    return finished.err


def everything() -> list[tuple[str, int]]:
    """All files in the working directory, hidden ones too, and when they were written."""
    files = (path for path in Path().rglob("*") if path.is_file())
    return sorted((str(path), path.stat().st_mtime_ns) for path in files)


def write_images(path: str = "tiny.npz", count: int = 30) -> str:
    """A file of 4x4 images, of which eight tenths are trained on."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, 4, 4), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(count) % 3)
    return path
