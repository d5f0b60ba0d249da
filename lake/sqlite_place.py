"""A catalog in a SQLite file in the lake's folder, with a write-ahead log: for writers of one machine."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from captionlake.errors import CaptionlakeError
from captionlake.lake import vacuum
from captionlake.lake.freed import Freed
from captionlake.lake.holder import Holder, holder_of

CATALOG = "catalog.sqlite"
_BUSY_MS = 20_000  # a reader or writer of the file waits this long before it fails
_DUMP = """
import sqlite3, sys
for line in sqlite3.connect(sys.argv[1]).iterdump():
    sys.stdout.buffer.write(line.encode(errors="surrogateescape") + b"\\n")
"""


class SqlitePlace:
    """See ``captionlake.lake.place``."""

    extension = "sqlite_scanner"
    shared = False

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.path = lake / CATALOG

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.path)

    def attachment(self) -> tuple[str, list[str]]:
        """The write-ahead log lets readers go on beside a writer."""
        return f"sqlite:{self.path}", ["META_JOURNAL_MODE 'WAL'", f"META_BUSY_TIMEOUT {_BUSY_MS}"]

    @contextmanager
    def lock(self, wait: float) -> Iterator[Callable[[], None]]:
        """``lake.lock``, held by the operating system and so let go by a killed process."""
        lock = FileLock(self.lake / "lake.lock", timeout=wait)
        try:
            lock.acquire()
        except Timeout as error:
            raise CaptionlakeError(
                f"another process has been writing to {self.lake} for over {wait:.0f} s: wait for it, or end it, and run this again"
            ) from error
        try:
            yield lambda: None
        finally:
            lock.release()

    def holder(self) -> Holder | None:
        """As the system's own list of locks has it."""
        return holder_of(self.lake / "lake.lock")

    def pack(self) -> bool:
        """VACUUM, and the log emptied, by a process of its own."""
        program = [sys.executable, "-I", vacuum.__file__, str(self.path), str(_BUSY_MS / 1000)]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 3):
            raise CaptionlakeError(
                f"{self.path} could not be packed ({done.stderr.strip()[-200:]}): make room on its disk, end what reads the lake, "
                "and run this again"
            )
        return done.returncode == 0

    def n_bytes(self) -> int:
        """Of the file and its log."""
        return Freed.of(Path(f"{self.path}{end}") for end in ("", "-wal")).n_bytes

    def free_bytes(self) -> int:
        """Of the free pages."""
        program = (
            "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\n"
            "print(*(c.execute(f'PRAGMA {n}').fetchone()[0] for n in ('freelist_count', 'page_size')))"
        )
        told = subprocess.run(
            [sys.executable, "-I", "-c", program, str(self.path)], capture_output=True, text=True, check=True
        )
        pages, size = map(int, told.stdout.split())
        return pages * size

    def remains(self) -> str | None:
        """Nothing."""
        return None

    def dump(self) -> Iterator[tuple[str, bytes]]:
        """Every statement that would make it again, of a copy: a second SQLite in this process would break the first one's locks."""
        with tempfile.TemporaryDirectory(prefix="captionlake-") as folder:
            for part in self.lake.glob(f"{CATALOG}*"):
                shutil.copyfile(part, Path(folder) / part.name)
            command = [sys.executable, "-I", "-c", _DUMP, str(Path(folder) / CATALOG)]
            dumped = subprocess.run(command, capture_output=True, check=True).stdout
            for number, line in enumerate(dumped.splitlines()):
                yield f"{CATALOG}, statement {number}", line
