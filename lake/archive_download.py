"""One large archive by URL: resumed where it broke off, checked for its length, put in its place whole.

The bytes go to ``NAME.part``; beside it ``NAME.part.json`` keeps what the server names that state of the file by
(``etag``, ``last_modified``) and its whole ``size`` where that is known. A second run, with a newer link to the same file
too, asks for the rest with ``Range`` and ``If-Range``; where the file changed or the server has no ranges, it starts from
the beginning. A lock on the ``.part`` keeps a second process out of it. The guard's checks of addresses hold at every
redirect. robots.txt is not asked: the link was handed out to be downloaded.
"""

import contextlib
import dataclasses
import errno
import fcntl
import http.client
import json
import logging
import math
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from captionlake.errors import CaptionlakeError
from captionlake.lake.addresses import clean_url
from captionlake.lake.durable import sync_folder
from captionlake.lake.fetch_errors import FetchError, explain, refusal
from captionlake.lake.fetch_policy import FetchPolicy
from captionlake.lake.reasons import FailureReason
from captionlake.lake.transport import Transport, Visit, redirect

CHUNK = 1 << 20  # bytes a read
SYNC = 256 << 20  # bytes after which what was written is put on the disk
PROGRESS = 16 << 20  # bytes that make a try a success: the count of failed tries starts again
BACK_OFF = 1.0  # seconds: the pause before the first retry is at most so long, doubled before each further one
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_UNSATISFIED = re.compile(r"bytes \*/(\d+)")

log = logging.getLogger(__name__)


def fetch_archive(url: str, target: Path, policy: FetchPolicy, *, advance: Callable[[int], None] | None = None) -> Path:
    """Download to ``target``, which is left alone if it exists. ``advance`` is told of bytes as they come to lie on the disk.

    ``policy.timeout`` bounds one silence, ``policy.retries`` the tries in a row that bring less than 16 MiB;
    ``total_timeout`` bounds only a pause that the server asks for. Raises :class:`CaptionlakeError`; its ``__cause__``
    is a :class:`FetchError` with the reason where the server or the network is why.
    """
    if target.exists():
        return target
    with _part_of(target) as part:
        download = _Download(url, target, part, policy, advance or (lambda _: None))
        try:
            download.run()
        except FetchError as error:
            if not download.have:
                _part(target).unlink(missing_ok=True)
            raise CaptionlakeError(f"{target.name} was not downloaded: {_told(error)}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _no_room(target, download.left()) from error
            raise
        part.flush()
        os.fsync(part.fileno())
        _sidecar(target).unlink(missing_ok=True)
        _part(target).replace(target)
        sync_folder(target.parent)
    return target


def archive_size(url: str, policy: FetchPolicy) -> int | None:
    """Bytes of the file behind the link, None where the server does not say, or refuses it."""
    transport = Transport(policy)
    # Links that are signed for GET alone refuse HEAD.
    for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        try:
            with _ask(transport, clean_url(url), Visit(policy), policy.max_redirects, method, headers) as response:
                size = _size(response)
                if size is not None and not _is_page(response.headers.get("Content-Type")):
                    return size
        except Exception as error:
            log.debug("%s of the archive: %s", method, explain(error))
    return None


def _told(error: FetchError) -> str:
    if error.status == 403:
        return f"{error.detail}; links of the SA-1B list expire: fetch the list again"
    if error.status in (404, 410):
        return f"{error.detail}; the link leads nowhere: look for a newer list"
    return f"{error.detail}; what came is kept: run the same command again"


def _no_room(target: Path, needed: int) -> CaptionlakeError:
    return CaptionlakeError(
        f"no space for {target.name}: {needed:,} bytes more are needed on the disk of {target.parent}; "
        "free some and run it again"
    )


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _sidecar(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[BinaryIO]:
    """The ``.part`` file, locked. A process that ended its download renamed what another one waited for: hence the look."""
    with _part(target).open("a+b") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CaptionlakeError(f"another process is downloading {target}: wait for it, or end it") from None
        if not _part(target).exists() or not os.path.samestat(os.fstat(part.fileno()), _part(target).stat()):
            raise CaptionlakeError(f"another process has just downloaded {target}: run this again")
        yield part


@dataclasses.dataclass(frozen=True, slots=True)
class _State:
    """Which state of the file the bytes of a ``.part`` belong to."""

    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` may name: no weak ETag (RFC 9110, 13.1.5)."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.last_modified

    @classmethod
    def of(cls, response: http.client.HTTPResponse) -> "_State":
        return cls(response.headers.get("ETag"), response.headers.get("Last-Modified"), _size(response))

    @classmethod
    def load(cls, target: Path) -> "_State":
        try:
            return cls(**json.loads(_sidecar(target).read_text()))
        except (OSError, ValueError, TypeError):
            return cls()


class _Download:
    def __init__(
        self, url: str, target: Path, part: BinaryIO, policy: FetchPolicy, advance: Callable[[int], None]
    ) -> None:
        self._url, self._target, self._part, self._advance = url, target, part, advance
        self._policy = dataclasses.replace(policy, total_timeout=math.inf)
        self._longest_pause = policy.total_timeout
        self._transport = Transport(self._policy)
        self._state = _State.load(target)
        self._have = part.seek(0, os.SEEK_END)
        if self._have and self._state.validator is None:
            self._restart()
        self._advance(self._have)

    @property
    def have(self) -> int:
        """Bytes that lie on the disk."""
        return self._have

    def left(self) -> int:
        return max(0, (self._state.size or 0) - self._have)

    def run(self) -> None:
        """Try until the file is whole."""
        failed = 0
        while True:
            before = self._have
            try:
                self._try()
                return
            except FetchError as error:
                failure = error
            except (http.client.HTTPException, OSError) as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                failure = explain(error)
            failed = 1 if self._have - before >= PROGRESS else failed + 1
            if not (failure.again or failure.reason is FailureReason.TIMEOUT) or failed > self._policy.retries:
                raise failure
            pause = random.uniform(0.0, BACK_OFF * 2 ** (failed - 1)) + (failure.after or 0.0)
            if pause > self._longest_pause:
                raise FetchError(failure.reason, f"{failure.detail}; it asks for a pause of {pause:.0f} s")
            log.info("%s: %s; goes on from byte %d", self._target.name, failure.detail, self._have)
            time.sleep(pause)

    def _try(self) -> None:
        headers = {}
        if self._have and self._state.validator:
            headers = {"Range": f"bytes={self._have}-", "If-Range": self._state.validator}
        url = clean_url(self._url)
        with _ask(self._transport, url, Visit(self._policy), self._policy.max_redirects, "GET", headers) as response:
            if self._begin(response):
                self._copy(response)
        size = self._state.size
        if size is not None and self._have != size:
            if self._have > size:
                self._restart()
            raise FetchError(FailureReason.TRUNCATED, f"{self._have} bytes came of {size}", again=True)

    def _begin(self, response: http.client.HTTPResponse) -> bool:
        """Prepare for the answer's bytes; says whether there are any."""
        if response.status == 416:
            told = _UNSATISFIED.fullmatch(response.headers.get("Content-Range", "").strip())
            if told and int(told[1]) == self._have == self._state.size:
                return False
            self._restart()
            raise FetchError(FailureReason.SERVER_ERROR, "the server does not have the rest", again=True)
        if _is_page(response.headers.get("Content-Type")):
            raise _page()
        if response.status == 206:
            given = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
            if given is None or int(given[1]) != self._have or self._changed(response):
                self._restart()
                raise FetchError(FailureReason.SERVER_ERROR, "the server sent other bytes than asked for", again=True)
        else:
            if self._have:
                log.info("%s: changed, or its server has no ranges; starts again", self._target.name)
                self._restart()
            self._note(_State.of(response))
            if self._state.size is None and not response.chunked:
                raise FetchError(FailureReason.SERVER_ERROR, "the server does not say how long the file is")
        free = shutil.disk_usage(self._target.parent).free
        if self.left() > free:
            raise _no_room(self._target, self.left())
        return True

    def _changed(self, response: http.client.HTTPResponse) -> bool:
        now = _State.of(response)
        pairs = ((now.etag, self._state.etag), (now.size, self._state.size))
        return any(new is not None and old is not None and new != old for new, old in pairs)

    def _copy(self, response: http.client.HTTPResponse) -> None:
        unsynced = 0
        while chunk := response.read(CHUNK):
            if not self._have and _looks_like_page(chunk):
                raise _page()
            self._part.write(chunk)
            self._part.flush()  # what is on its way to the disk survives the end of this process
            self._have += len(chunk)
            self._advance(len(chunk))
            unsynced += len(chunk)
            if unsynced >= SYNC:
                os.fdatasync(self._part.fileno())
                unsynced = 0

    def _restart(self) -> None:
        self._part.truncate(0)
        if self._have:
            self._advance(-self._have)
        self._have = 0
        self._note(_State())

    def _note(self, state: _State) -> None:
        self._state = state
        sidecar = _sidecar(self._target)
        fresh = sidecar.with_name(f"{sidecar.name}.new")
        fresh.write_text(json.dumps(dataclasses.asdict(state)))
        fresh.replace(sidecar)


def _ask(
    transport: Transport, url: str, visit: Visit, redirects: int, method: str, headers: dict[str, str]
) -> http.client.HTTPResponse:
    """The answer behind the redirects: 2xx, or 416."""
    for _ in range(redirects + 1):
        # Ranges count bytes of the file itself, so no compression on the way.
        response = transport.ask(url, visit, method=method, headers={"Accept-Encoding": "identity", **headers})
        try:
            further = redirect(url, response)
            if further is None:
                if 200 <= response.status < 300 or response.status == 416:
                    return response
                raise refusal(response.status, response.reason, response.headers)
        except BaseException:
            response.close()
            raise
        response.close()
        url = clean_url(further)
    raise FetchError(FailureReason.REDIRECT_LOOP, f"more than {redirects} redirects")


def _size(response: http.client.HTTPResponse) -> int | None:
    """The whole file's size."""
    if response.status == 206:
        given = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        return int(given[2]) if given and given[2] != "*" else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and length.isascii() and response.status == 200 else None


def _is_page(content_type: str | None) -> bool:
    return (content_type or "").split(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


def _looks_like_page(start: bytes) -> bool:
    return start[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml"))


def _page() -> FetchError:
    return FetchError(FailureReason.NOT_AN_IMAGE, "a web page came in place of the archive")
