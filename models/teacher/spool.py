"""``Spool``: replies of a paid endpoint, on the disk before anything else is done.

One JSON object a line, appended to ``LAKE/spool/PRODUCER-000001.jsonl``. One thread writes what has arrived in the same
moment together and fsyncs once; ``append`` ends when that is done. A torn last line, which a kill leaves, is skipped.
"""

import asyncio
import fcntl
import json
import logging
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.durable import sync_folder
from captionlake.models.captions.table import Line, commit_lines

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    data: bytes
    done: "asyncio.Future[None]"


class Spool:
    """Writes within one event loop; ``start`` and ``close`` frame it."""

    def __init__(self, folder: Path, producer: str) -> None:
        self._folder = folder
        self._producer = producer
        self._name = spool_name(producer)
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # of the file and its number
        self._number = max((_number(path) for path in spool_files(folder, producer)), default=0)
        self._file: int | None = None
        self._failed: OSError | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.syncs = 0

    def start(self) -> None:
        """Start the thread that writes."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="spool", daemon=True)
        self._thread.start()

    async def append(self, line: Line) -> None:
        """Returns once the line is on the disk. Raises where it could not be written."""
        assert self._loop is not None
        done: asyncio.Future[None] = self._loop.create_future()
        self._entries.put(_Entry(json.dumps(line, ensure_ascii=False).encode() + b"\n", done))
        await asyncio.shield(done)

    def rotate(self) -> list[Path]:
        """What comes from now on goes into a new file; those that are returned are whole, to be committed and removed."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            return spool_files(self._folder, self._producer)

    def close(self) -> None:
        """Write what is waiting, and end the thread."""
        if self._thread is not None:
            self._entries.put(None)
            self._thread.join()
            self._thread = None
        self.rotate()

    def _write(self) -> None:
        while (first := self._entries.get()) is not None:
            entries, last = [first], False
            while not self._entries.empty():
                following = self._entries.get()
                if following is None:
                    last = True
                    break
                entries.append(following)
            try:
                self._store(b"".join(entry.data for entry in entries))
            except OSError as error:
                self._failed = error
            self._tell(entries)
            if last:
                return

    def _store(self, data: bytes) -> None:
        if self._failed is not None:
            raise self._failed
        with self._lock:
            if self._file is None:
                self._number += 1
                path = self._folder / f"{self._name}-{self._number:06d}.jsonl"
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
                sync_folder(self._folder)
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
            self.syncs += 1

    def _tell(self, entries: Sequence[_Entry]) -> None:
        assert self._loop is not None
        failed = self._failed
        try:
            self._loop.call_soon_threadsafe(_resolve, entries, failed)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("%d replies were written after the end of the run", len(entries))


def _resolve(entries: Sequence[_Entry], failed: OSError | None) -> None:
    for entry in entries:
        if entry.done.done():
            continue
        if failed is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(
                CaptionlakeError(
                    f"a reply could not be kept in the spool ({failed.strerror}): make room and run this again"
                )
            )


def spool_name(producer: str) -> str:
    """What the files of a producer begin with."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in producer)[:40]
    return f"{plain}-{sha256(producer.encode()).hexdigest()[:8]}"


def spool_files(folder: Path, producer: str) -> list[Path]:
    """The files of a producer, oldest first."""
    return sorted(folder.glob(f"{spool_name(producer)}-[0-9]*.jsonl"), key=_number)


def _number(path: Path) -> int:
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def read_spool(path: Path) -> Iterator[Line]:
    """The whole lines of a file."""
    with path.open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            try:
                line = json.loads(raw)
            except ValueError:
                log.warning("%s has a line that is no JSON: it is left out", path.name)
                continue
            if isinstance(line, dict) and "caption_id" in line:
                yield line


def remove_files(paths: Sequence[Path]) -> None:
    """Remove files whose replies are committed, for good."""
    for path in paths:
        path.unlink(missing_ok=True)
    if paths:
        sync_folder(paths[0].parent)


def commit_files(lake: Lake, paths: Sequence[Path]) -> int:
    """The replies of spool files into ``captions`` in one transaction; then the files are removed. Returns how many were new."""
    lines = [line for path in paths for line in read_spool(path)]
    added = commit_lines(lake, lines)
    remove_files(paths)
    return added


@contextmanager
def spool_lock(folder: Path, producer: str) -> Iterator[None]:
    """One process at a time asks for a producer's captions, else both would pay for the same ones."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{spool_name(producer)}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CaptionlakeError(
                f"another process is asking {producer} for captions of this lake: wait for it, or end it, and run this again"
            ) from error
        yield
    finally:
        os.close(descriptor)
