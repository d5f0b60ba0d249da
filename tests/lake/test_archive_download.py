"""Large archives: broken off by the server, by a kill, changed in between, refused; from a real server with ranges."""

import hashlib
import io
import re
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake.archive_download import archive_size, fetch_archive
from captionlake.lake.fetch_errors import FetchError
from captionlake.lake.guard import FetchPolicy

from .image_server import wait_until

POLICY = FetchPolicy(allow_private_hosts=True, timeout=2, retries=2)


class TarServer:
    """One file at every path, with ranges; what it does wrong is set by its attributes."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.headers: dict[str, str] = {"ETag": '"one"', "Content-Type": "application/x-tar"}
        self.ranges = True
        self.statuses: list[tuple[int, dict[str, str]]] = []  # answered first, one for each request
        self.break_after: list[int] = []  # bytes after which the connection is lost, one for each answer
        self.pause = 0.0  # seconds after each 64 KiB
        self.claim: int | None = None  # a lie about the length
        self.head = 200
        self.sent = 0
        self.asked: list[str] = []  # the Range of each GET
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/sa_000000.tar?signature=abc"


class _Handler(BaseHTTPRequestHandler):
    owner: TarServer

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.send_response(self.owner.head)
        self.send_header("Content-Length", str(len(self.owner.body)))
        self.end_headers()

    def do_GET(self) -> None:
        owner, size = self.owner, len(self.owner.body)
        owner.asked.append(self.headers.get("Range", ""))
        if owner.statuses:
            status, headers = owner.statuses.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        names = (owner.headers.get("ETag"), owner.headers.get("Last-Modified"))
        start, end = 0, size
        if wanted and owner.ranges and self.headers.get("If-Range", names[0]) in names:
            start, end = int(wanted[1]), int(wanted[2] or size - 1) + 1
            if start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(owner.claim if owner.claim is not None else end - start))
        for name, value in owner.headers.items():
            self.send_header(name, value)
        self.end_headers()
        end = min(end, start + owner.break_after.pop(0)) if owner.break_after else end
        for at in range(start, end, 65536):
            piece = owner.body[at : min(end, at + 65536)]
            try:
                self.wfile.write(piece)
            except OSError:
                return
            owner.sent += len(piece)
            time.sleep(owner.pause)


@pytest.fixture(scope="module")
def body() -> bytes:
    """A tar of five members of noise, 3 MB."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(5):
            noise = np.random.default_rng(number).bytes(600_000)
            member = tarfile.TarInfo(f"sa_{number}.jpg")
            member.size = len(noise)
            tar.addfile(member, io.BytesIO(noise))
    return buffer.getvalue()


@pytest.fixture
def server(body: bytes) -> Iterator[TarServer]:
    running = TarServer(body)
    threading.Thread(target=running.server.serve_forever, args=(0.05,), daemon=True).start()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "sa_000000.tar"


def files(target: Path) -> list[str]:
    return sorted(file.name for file in target.parent.iterdir())


def failure(server: TarServer, target: Path, **policy: Any) -> tuple[str, FetchError]:
    given = {"allow_private_hosts": True, "timeout": 2, "retries": 0} | policy
    with pytest.raises(CaptionlakeError) as caught:
        fetch_archive(server.url, target, FetchPolicy(**given))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, FetchError)
    return str(caught.value), caught.value.__cause__


def test_an_archive_comes_whole(server: TarServer, target: Path, body: bytes) -> None:
    told: list[int] = []
    assert fetch_archive(server.url, target, POLICY, advance=told.append) == target
    assert target.read_bytes() == body
    assert sum(told) == len(body)
    assert files(target) == ["sa_000000.tar"]
    assert fetch_archive(server.url, target, POLICY) == target  # there already
    assert server.asked == [""]


def test_a_lost_connection_is_taken_up_where_it_broke(server: TarServer, target: Path, body: bytes) -> None:
    server.break_after = [1_000_000, 500_000]
    told: list[int] = []
    fetch_archive(server.url, target, POLICY, advance=told.append)
    assert target.read_bytes() == body
    assert sum(told) == len(body)
    assert server.sent == len(body)
    assert server.asked == ["", "bytes=1000000-", "bytes=1500000-"]


def test_a_killed_download_goes_on(server: TarServer, target: Path, body: bytes) -> None:
    server.pause = 0.02
    program = f"""
        from pathlib import Path
        from captionlake.lake.archive_download import fetch_archive
        from captionlake.lake.guard import FetchPolicy
        fetch_archive({server.url!r}, Path({str(target)!r}), FetchPolicy(allow_private_hosts=True))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    part = target.with_name("sa_000000.tar.part")
    assert wait_until(lambda: part.exists() and part.stat().st_size > 1_500_000, 20)
    with pytest.raises(CaptionlakeError, match="another process is downloading"):
        fetch_archive(server.url, target, POLICY)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    server.pause = 0.0
    fetch_archive(server.url + "&newer=link", target, POLICY)
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(body).digest()
    assert files(target) == ["sa_000000.tar"]
    assert server.sent < 1.3 * len(body) + 1_000_000  # what lay in the sockets of the killed process counts as sent
    assert int(server.asked[-1].removeprefix("bytes=").removesuffix("-")) > 1_500_000


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_a_changed_file_starts_again(server: TarServer, target: Path, body: bytes, name: str) -> None:
    server.headers = {name: '"one"' if name == "ETag" else "Fri, 01 Jan 2021 00:00:00 GMT"}
    server.break_after = [1_000_000]
    failure(server, target)
    server.body = bytes(reversed(body))
    server.headers = {name: '"two"' if name == "ETag" else "Sat, 02 Jan 2021 00:00:00 GMT"}
    fetch_archive(server.url, target, POLICY)
    assert target.read_bytes() == server.body


def test_a_server_that_ignores_if_range_is_seen_through(server: TarServer, target: Path, body: bytes) -> None:
    server.break_after = [1_000_000]
    failure(server, target)
    sidecar = target.with_name("sa_000000.tar.part.json")
    sidecar.write_text(sidecar.read_text().replace(str(len(body)), "4000000"))  # as if the file had been longer
    fetch_archive(server.url, target, POLICY)
    assert target.read_bytes() == body


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}], ids=["nameless", "weak"])
def test_bytes_that_nothing_names_are_not_taken_up(
    server: TarServer, target: Path, body: bytes, headers: dict[str, str]
) -> None:
    server.headers, server.break_after = headers, [1_000_000]
    failure(server, target)
    fetch_archive(server.url, target, POLICY)
    assert target.read_bytes() == body
    assert server.asked == ["", ""]


def test_a_server_without_ranges_starts_again(server: TarServer, target: Path, body: bytes) -> None:
    server.ranges, server.break_after = False, [1_000_000]
    told: list[int] = []
    fetch_archive(server.url, target, POLICY, advance=told.append)
    assert target.read_bytes() == body
    assert sum(told) == len(body)


def test_a_download_killed_after_its_last_byte_is_whole(server: TarServer, target: Path, body: bytes) -> None:
    server.break_after = [len(body) - 1]
    failure(server, target)
    with target.with_name("sa_000000.tar.part").open("ab") as part:
        part.write(body[-1:])
    fetch_archive(server.url, target, POLICY)
    assert target.read_bytes() == body
    assert server.asked[-1] == f"bytes={len(body)}-"


@pytest.mark.parametrize(
    ("spoil", "words", "reason"),
    [
        (lambda s: s.statuses.append((403, {})), "links of the SA-1B list expire: fetch the list again", "forbidden"),
        (lambda s: s.statuses.append((404, {})), "HTTP 404", "not_found"),
        (lambda s: s.statuses.append((500, {})), "HTTP 500", "server_error"),
        (lambda s: s.statuses.append((429, {"Retry-After": "9999"})), "HTTP 429", "rate_limited"),
        (lambda s: s.headers.update({"Content-Type": "text/html; charset=utf-8"}), "web page", "not_an_image"),
        (lambda s: setattr(s, "body", b"\n<!DOCTYPE html><html>sign in</html>"), "web page", "not_an_image"),
        (lambda s: setattr(s, "body", b"<?xml version='1.0'?><Error/>"), "web page", "not_an_image"),
        (lambda s: setattr(s, "claim", 4_000_000), "bytes came of 4000000", "truncated"),
        (lambda s: s.statuses.append((302, {"Location": "file:///etc/passwd"})), "neither http", "blocked_scheme"),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line(
    server: TarServer, target: Path, spoil: Callable[[TarServer], None], words: str, reason: str
) -> None:
    spoil(server)
    message, cause = failure(server, target)
    assert words in message
    assert cause.reason == reason
    assert not target.exists()


def test_a_server_that_asks_for_patience_gets_it(server: TarServer, target: Path, body: bytes) -> None:
    server.statuses = [(503, {}), (429, {"Retry-After": "1"})]
    began = time.monotonic()
    fetch_archive(server.url, target, POLICY)
    assert target.read_bytes() == body
    assert time.monotonic() - began >= 1


def test_tries_end(server: TarServer, target: Path) -> None:
    server.break_after = [1000] * 9
    failure(server, target, retries=2)
    assert len(server.asked) == 3


def test_a_private_address_is_not_asked(server: TarServer, target: Path) -> None:
    assert failure(server, target, allow_private_hosts=False)[1].reason == "blocked_address"
    assert archive_size(server.url, FetchPolicy()) is None
    assert server.asked == []


def test_a_full_disk_is_seen_before(server: TarServer, target: Path) -> None:
    server.claim = 10**18
    with pytest.raises(CaptionlakeError, match=r"no space for sa_000000.tar: [0-9,]+ bytes more are needed") as caught:
        fetch_archive(server.url, target, POLICY)
    assert caught.value.__cause__ is None
    assert server.sent < 3_000_000


def test_the_size_is_told_before(server: TarServer, body: bytes) -> None:
    assert archive_size(server.url, POLICY) == len(body)
    assert server.asked == []
    server.head = 403  # a link that is signed for GET alone
    assert archive_size(server.url, POLICY) == len(body)
    assert server.asked == ["bytes=0-0"]
    server.statuses = [(403, {})]
    assert archive_size(server.url, POLICY) is None
