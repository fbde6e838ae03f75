from __future__ import annotations

import hashlib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinyvae.data import download
from tinyvae.errors import DataError, MissingExtraError

CONTENT = bytes(range(256)) * 1000
CHECKSUM = "md5:" + hashlib.md5(CONTENT).hexdigest()
OFFLINE = "http://127.0.0.1:9/"


class Handler(BaseHTTPRequestHandler):
    """Behaves as the first part of the path says."""

    def do_GET(self):
        getattr(self, self.path.split("/")[1])()

    def good(self):
        self.answer(CONTENT, len(CONTENT))

    def altered(self):
        self.answer(CONTENT[:-1] + b"\x00", len(CONTENT))

    def cut(self):
        self.answer(CONTENT[: len(CONTENT) // 2], len(CONTENT))

    def missing(self):
        self.send_error(404)

    def hanging(self):
        self.server.released.wait(20)

    def stalled(self):
        self.answer(CONTENT[:1000], len(CONTENT))
        self.wfile.flush()
        self.server.released.wait(20)

    def answer(self, content: bytes, announced: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.released = True, threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield lambda behaviour: f"http://127.0.0.1:{server.server_port}/{behaviour}/"
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(folder: Path, *mirrors: str, timeout: float = 5.0) -> Path:
    return download.fetch("digits.gz", mirrors, CHECKSUM, folder, timeout)


def refusal(folder: Path, *mirrors: str, timeout: float = 5.0) -> str:
    with pytest.raises(DataError) as refused:
        fetch(folder, *mirrors, timeout=timeout)
    assert list(folder.glob("*")) == [], "half a file was left in the cache"
    return str(refused.value)


def test_a_good_file_is_put_into_the_folder_under_its_name(tmp_path, mirror):
    path = fetch(tmp_path / "new" / "mnist", mirror("good"))
    assert path == tmp_path / "new" / "mnist" / "digits.gz"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_a_progress_bar_is_shown(tmp_path, mirror, capsys):
    fetch(tmp_path, mirror("good"))
    assert "100%" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_downloaded_again(tmp_path):
    (tmp_path / "digits.gz").write_bytes(CONTENT)
    assert fetch(tmp_path, OFFLINE).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_with_the_address(tmp_path, mirror):
    message = refusal(tmp_path, mirror("altered"))
    assert f"{mirror('altered')}digits.gz: ValueError" in message
    assert CHECKSUM.removeprefix("md5:") in message


def test_a_file_cut_off_half_way_is_refused(tmp_path, mirror):
    assert f"{mirror('cut')}digits.gz" in refusal(tmp_path, mirror("cut"))


def test_a_file_that_is_not_on_the_server_is_refused_with_404(tmp_path, mirror):
    assert "404" in refusal(tmp_path, mirror("missing"))


@pytest.mark.parametrize("behaviour", ["hanging", "stalled"])
def test_a_server_that_falls_silent_is_given_up(tmp_path, mirror, behaviour):
    start = time.monotonic()
    message = refusal(tmp_path, mirror(behaviour), timeout=0.3)
    assert "timed out" in message
    assert time.monotonic() - start < 3


def test_offline_the_error_says_where_to_put_the_file_by_hand(tmp_path):
    message = refusal(tmp_path / "mnist", OFFLINE)
    assert message.startswith("cannot download digits.gz:\n")
    assert f"{OFFLINE}digits.gz: ConnectionError" in message
    assert "put it into a folder mnist/" in message
    assert "TINYVAE_DATA" in message


@pytest.mark.parametrize("bad", ["altered", "cut", "missing", "hanging"])
def test_the_second_mirror_is_tried_when_the_first_is_bad(tmp_path, mirror, bad):
    path = fetch(tmp_path, mirror(bad), mirror("good"), timeout=0.3)
    assert path.read_bytes() == CONTENT


def test_when_every_mirror_fails_each_is_listed_with_its_own_fault(tmp_path, mirror):
    lines = refusal(tmp_path, mirror("missing"), mirror("altered"), OFFLINE).splitlines()
    assert "404" in lines[1]
    assert "ValueError" in lines[2]
    assert "ConnectionError" in lines[3]


@pytest.mark.parametrize("package", ["pooch", "tqdm"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinyvae\[download\]'"):
        fetch(tmp_path, OFFLINE)


def test_a_file_by_hand_is_preferred_to_the_cache_and_to_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYVAE_DATA", str(tmp_path / "by_hand"))
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    for place in ("cache/tinyvae/letters", "by_hand/letters"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.gz").write_bytes(b"")
        found = download.obtain("letters", "a.gz", [OFFLINE], CHECKSUM)
        assert found == tmp_path / place / "a.gz"


def test_what_is_nowhere_is_downloaded_into_the_cache(tmp_path, monkeypatch, mirror):
    monkeypatch.delenv("TINYVAE_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / project)
    found = download.obtain("letters", "digits.gz", [mirror("good")], CHECKSUM)
    assert found == tmp_path / "tinyvae" / "letters" / "digits.gz"


def test_a_folder_that_cannot_be_looked_into_is_refused(monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(DataError, match="Permission denied"):
        download.locate("mnist", "a.gz")
