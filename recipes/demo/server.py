"""Serves the demo's pictures on the loopback address, so that they are downloaded as from the web.

A few paths misbehave on purpose; everything else is a file of the folder, and folders are not listed.
"""

import argparse
import io
import os
import sys
import threading
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

HOST = "127.0.0.1"
PORT = 8976  # fixed: a URL is a picture's name, and another port would make them all new
FORBIDDEN = "/web/forbidden.jpg"
OPTED_OUT = "/web/opted-out.jpg"
REDIRECTS = {"/web/to-file.jpg": "file:///etc/hostname", "/web/loop.jpg": "/web/loop.jpg"}


class PortInUseError(Exception):
    """Something else listens at the port; the message says what to do."""


def base_url(port: int) -> str:
    return f"http://{HOST}:{port}"


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        path = self.path.partition("?")[0]
        if path in REDIRECTS:
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", REDIRECTS[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if path == FORBIDDEN:
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        return super().send_head()

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        if self.path.partition("?")[0] == OPTED_OUT:
            self.send_header("X-Robots-Tag", "noai, noimageai")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silent: what failed is in the lake's table ``fetch_failures``."""


class Site:
    """The server, as a context: it listens when the block begins and has stopped when it ends."""

    def __init__(self, folder: Path, port: int = PORT) -> None:
        def handler(*args: object) -> _Handler:
            return _Handler(*args, directory=str(folder))  # type: ignore[arg-type]

        try:
            self._server = ThreadingHTTPServer((HOST, port), handler)
        except OSError as error:
            raise PortInUseError(
                f"cannot listen at {base_url(port)} ({error.strerror}): stop what listens there, or choose another port"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self.url = base_url(self._server.server_address[1])

    def __enter__(self) -> "Site":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=PORT)
    options = parser.parse_args()
    try:
        with Site(options.folder, options.port) as site:
            print(f"{site.url} serves {options.folder}; Ctrl-C stops it")
            threading.Event().wait()
    except PortInUseError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
