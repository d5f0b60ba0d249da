"""A real HTTP server on loopback for tests: pictures, and every way in which a server can misbehave.

::

    with ImageServer() as server:
        server.add("/a.jpg", jpeg(1))
        urlopen(server.url("/a.jpg"))
        assert server.requests["/a.jpg"] == 1

Paths it knows without being told are the methods of ``_Behaviour``: ``/limited/3`` calls ``limited("3")``.
"""

import io
import socket
import threading
import time
from collections import Counter
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image


@lru_cache(maxsize=4096)
def jpeg(seed: int, width: int = 64, height: int = 48) -> bytes:
    """A made-up picture: smooth random blobs, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class ImageServer:
    """``requests`` counts by path, ``connections`` counts what was accepted, ``peak`` the most that waited
    for an answer at one time."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}  # of the latest request to each path
        self.moved: dict[str, str] = {}  # path -> where it redirects to
        self.connections = 0
        self.peak = 0
        self._now = 0
        self._lock = threading.Lock()
        self._files: dict[str, tuple[bytes, str, dict[str, str]]] = {}
        self._stopping = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.owner = self

    def add(self, path: str, body: bytes, kind: str = "image/jpeg", **headers: str) -> str:
        """Serve ``body`` at ``path``; underscores in the names of headers become hyphens. Returns the address."""
        self._files[path] = (body, kind, {name.replace("_", "-"): value for name, value in headers.items()})
        return self.url(path)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> "ImageServer":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    owner: ImageServer
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def process_request(self, request: Any, client_address: Any) -> None:
        self.owner.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up here on purpose: no traceback for that."""


class _Behaviour(BaseHTTPRequestHandler):
    owner: ImageServer

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        owner, path = self.owner, urlsplit(self.path).path
        with owner._lock:
            owner.requests[path] += 1
            owner.headers[path] = dict(self.headers)
            owner._now += 1
            owner.peak = max(owner.peak, owner._now)
            self.waiting = True
        try:
            if path in owner.moved:
                self.answer(302, b"", "text/plain", {"Location": owner.moved[path]})
                return
            if path in owner._files:
                self.answer(200, *owner._files[path])
                return
            name, _, argument = path.strip("/").partition("/")
            behaviour = getattr(type(self), name.replace("-", "_"), None)
            if behaviour is None or name not in _PATHS:
                self.answer(404, b"nothing here", "text/plain")
            else:
                behaviour(self, argument)
        finally:
            self._no_longer_waiting()

    def _no_longer_waiting(self) -> None:
        with self.owner._lock:
            self.owner._now -= self.waiting
            self.waiting = False

    def answer(self, status: int, body: bytes, kind: str = "image/jpeg", headers: dict[str, str] | None = None) -> None:
        self.begin(status, kind, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def begin(self, status: int, kind: str, headers: dict[str, str]) -> None:
        self._no_longer_waiting()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def nap(self, seconds: float) -> bool:
        """Sleep, unless the server stops; says whether to go on."""
        return not self.owner._stopping.wait(seconds)

    # The paths

    def image(self, seed: str) -> None:
        """``/image/7``: picture number 7."""
        self.answer(200, jpeg(int(seed)))

    def slow(self, seconds: str) -> None:
        """``/slow/0.2``: a picture, after that many seconds."""
        self.nap(float(seconds))
        self.answer(200, jpeg(0))

    def gated(self, _: str) -> None:
        """``/gated?7``: picture number 7, once the server's ``gate`` is open."""
        self.owner.gate.wait(600)
        self.answer(200, jpeg(int(urlsplit(self.path).query)))

    def page(self, _: str) -> None:
        self.answer(200, b"<!DOCTYPE html><html><body>no picture</body></html>", "text/html")

    def empty(self, _: str) -> None:
        self.answer(200, b"")

    def status(self, code: str) -> None:
        """``/status/451``: that status, whenever asked."""
        self.answer(int(code), b"", "text/plain")

    def limited(self, times: str) -> None:
        """``/limited/2``: twice 429 with ``Retry-After: 1``, then a picture."""
        if self.owner.requests[self.path] <= int(times):
            self.answer(429, b"", "text/plain", {"Retry-After": "1"})
        else:
            self.answer(200, jpeg(0))

    def busy(self, times: str) -> None:
        """``/busy/1``: once 503, then a picture."""
        if self.owner.requests[self.path] <= int(times):
            self.answer(503, b"", "text/plain")
        else:
            self.answer(200, jpeg(0))

    def patience(self, seconds: str) -> None:
        """``/patience/9999``: always 429, asking for that pause."""
        self.answer(429, b"", "text/plain", {"Retry-After": seconds})

    def hang_up(self, times: str) -> None:
        """``/hang-up/1``: once the connection is closed without a word, then a picture."""
        if self.owner.requests[self.path] <= int(times):
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.answer(200, jpeg(0))

    def silent(self, _: str) -> None:
        self.nap(60)

    def drip(self, argument: str) -> None:
        """A byte now and then, never silent for long, for a minute."""
        self.begin(200, "image/jpeg", {"Content-Length": "600"})
        for _ in range(600):
            if not self.nap(0.1):
                return
            self.wfile.write(b"x")

    def drip_headers(self, argument: str) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
        for _ in range(600):
            if not self.nap(0.1):
                return
            self.wfile.write(b"x")

    def endless(self, _: str) -> None:
        """A body without end and without a length."""
        self.begin(200, "image/jpeg", {})
        while not self.owner._stopping.is_set():
            self.wfile.write(b"\0" * 65536)

    def endless_chunks(self, _: str) -> None:
        self.protocol_version = "HTTP/1.1"
        self.begin(200, "image/jpeg", {"Transfer-Encoding": "chunked"})
        while not self.owner._stopping.is_set():
            self.wfile.write(b"10000\r\n" + b"\0" * 65536 + b"\r\n")

    def huge(self, _: str) -> None:
        """Announces a terabyte."""
        self.begin(200, "image/jpeg", {"Content-Length": str(10**12)})
        self.nap(60)

    def garbage(self, _: str) -> None:
        """An answer that is no HTTP."""
        self.wfile.write(b"\x16\x03\x01 220 ready\r\n\r\n")

    def many_headers(self, count: str) -> None:
        """``/many-headers/500``: a picture behind so many lines."""
        self.begin(200, "image/jpeg", {f"X-{number}": "x" for number in range(int(count))})
        self.wfile.write(jpeg(0))

    def long_header(self, length: str) -> None:
        """``/long-header/99999``: a picture behind one line so long."""
        self.begin(200, "image/jpeg", {"X-Long": "x" * int(length)})
        self.wfile.write(jpeg(0))

    def short(self, _: str) -> None:
        """Announces its whole picture and sends half of it."""
        whole = jpeg(0)
        self.begin(200, "image/jpeg", {"Content-Length": str(len(whole))})
        self.wfile.write(whole[: len(whole) // 2])

    def to(self, _: str) -> None:
        """``/to?url=…``: a redirect there, letters outside ASCII as raw UTF-8."""
        where = parse_qs(urlsplit(self.path).query)["url"][0]
        self.answer(302, b"", "text/plain", {"Location": where.encode().decode("latin-1")})

    def loop(self, _: str) -> None:
        self.answer(301, b"", "text/plain", {"Location": "/loop"})

    def hops(self, left: str) -> None:
        """``/hops/3``: a picture after three redirects."""
        if left == "0":
            self.answer(200, jpeg(0))
        else:
            self.answer(307, b"", "text/plain", {"Location": f"/hops/{int(left) - 1}"})

    def robots(self, directive: str) -> None:
        """``/robots/noai``: a picture with that ``X-Robots-Tag``."""
        self.answer(200, jpeg(0), headers={"X-Robots-Tag": directive})


_PATHS = {
    *("image", "slow", "page", "empty", "status", "limited", "busy", "patience", "hang-up", "silent", "drip", "huge"),
    *("drip-headers", "endless", "endless-chunks", "short", "to", "loop", "hops", "robots", "gated"),
    *("garbage", "many-headers", "long-header"),
}


def _handler(server: ImageServer) -> type[_Behaviour]:
    return type("Handler", (_Behaviour,), {"owner": server})


def wait_until(condition: Any, seconds: float = 10.0) -> bool:
    """Whether the condition came true in that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
