"""A file that cannot be written stays what it was, and nothing is left beside it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tinyvae.checkpoint import write_atomically
from tinyvae.errors import RunError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    write_atomically(path, b"first")
    return path


def test_what_is_written_is_there_and_what_a_crash_has_left_is_not(file: Path) -> None:
    file.with_name(f".{file.name}.part").write_bytes(b"half of a file")
    write_atomically(file, b"second")
    assert [path.read_bytes() for path in file.parent.iterdir()] == [b"second"]


@pytest.mark.parametrize(
    ("module", "function", "code"),
    [(os, "fsync", errno.ENOSPC), (os, "replace", errno.ENOSPC), (Path, "open", errno.EACCES)]
    + [(Path, "open", errno.EROFS), (Path, "mkdir", errno.EROFS), (os, "fsync", errno.EIO)],
)
def test_a_failure_to_write_leaves_what_was_there(
    file: Path, monkeypatch: pytest.MonkeyPatch, module: Any, function: str, code: int
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(module, function, fail)
        with pytest.raises(RunError, match=os.strerror(code)) as caught:
            write_atomically(file, b"second")
    assert str(file) in str(caught.value)
    assert "choose another folder" in str(caught.value)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == b"first"


def test_an_interruption_while_writing_leaves_what_was_there(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, b"other")
    assert [path.read_bytes() for path in file.parent.iterdir()] == [b"first"]


FULL = """
import resource, signal, sys
from pathlib import Path
from tinyvae.checkpoint import write_atomically
from tinyvae.errors import RunError
path = Path(sys.argv[1])
write_atomically(path, b"first")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(path, b"2" * 1_000_000)
except RunError as error:
    print(error)
"""


def test_a_write_that_the_system_cuts_short_leaves_what_was_there(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    command = [sys.executable, "-c", FULL, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"cannot write {tmp_path / 'file'}: File too large" in done.stdout
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no folder")
    with pytest.raises(RunError, match="cannot write"):
        write_atomically(tmp_path / "file" / "below", b"")
