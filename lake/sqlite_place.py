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
from captionlake.lake import sqlite_copy, vacuum
from captionlake.lake.durable import sync_folder
from captionlake.lake.freed import Freed
from captionlake.lake.holder import Holder, holder_of

CATALOG = "catalog.sqlite"
BACKUPS = "backups"
_SPARE = 2**20  # bytes left over beside a backup
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

    def __init__(self, lake: Path, path: Path | None = None) -> None:
        self.lake = lake
        self.path = path or lake / CATALOG

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
            for part in self.path.parent.glob(f"{self.path.name}*"):
                shutil.copyfile(part, Path(folder) / part.name)
            command = [sys.executable, "-I", "-c", _DUMP, str(Path(folder) / self.path.name)]
            dumped = subprocess.run(command, capture_output=True, check=True).stdout
            for number, line in enumerate(dumped.splitlines()):
                yield f"{self.path.relative_to(self.lake)}, statement {number}", line

    def back_up(self, name: str) -> str:
        """A file in ``backups/``, made by a process of its own; under the write lock, so that it is the newest state."""
        folder = self.lake / BACKUPS
        path = folder / f"catalog-{name}.sqlite"
        draft = path.with_name(f"{path.name}.draft")
        try:
            folder.mkdir(exist_ok=True)
            for left in folder.glob("*.draft*"):  # of killed processes
                left.unlink()
            if shutil.disk_usage(folder).free < self.n_bytes() + _SPARE:
                raise self._no_room(path)
            self._copy("copy", self.path, draft, self._no_room(path))
            draft.replace(path)
            sync_folder(folder)
            sync_folder(self.lake)
        except BaseException:
            for left in folder.glob(f"{draft.name}*"):
                left.unlink()
            raise
        return str(path)

    def backups(self) -> list[str]:
        """Paths, the oldest first."""
        found = (self.lake / BACKUPS).glob("catalog-v*.sqlite")
        return [str(path) for path in sorted(found, key=lambda path: path.stem.rpartition("-")[2])]

    def backup(self, name: str) -> "SqlitePlace":
        """A backup as a place; any file of that form will do."""
        if not Path(name).is_file():
            raise CaptionlakeError(f"there is no backup {name}: there are {', '.join(self.backups()) or 'none'}")
        return SqlitePlace(self.lake, Path(name).absolute())

    def remove_backups(self) -> int:
        """All of them, for good."""
        found = [path for path in (self.lake / BACKUPS).glob("catalog-*") if path.is_file()]
        for path in found:
            path.unlink()
        if found:
            sync_folder(self.lake / BACKUPS)
        return len(found)

    def draft_of(self, name: str, folder: Path) -> "SqlitePlace":
        """A copy of a backup in ``folder``, to look at and to ``put``."""
        source = self.backup(name)
        draft = SqlitePlace(self.lake, folder / CATALOG)
        full = CaptionlakeError(f"there is no room in {self.lake} for {name}: make room, and run this again")
        self._copy("copy", source.path, draft.path, full)
        return draft

    def put(self, draft: "SqlitePlace") -> None:
        """The draft becomes the catalog; whole before and whole after, under the write lock."""
        used = CaptionlakeError(f"another process uses {self.path}: end it, and run this again")
        self._copy("replace", draft.path, self.path, used)
        sync_folder(self.lake)

    def _copy(self, what: str, first: Path, second: Path, refused: CaptionlakeError) -> None:
        program = [sys.executable, "-I", sqlite_copy.__file__, what, str(first), str(second)]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        if done.returncode in (3, 4):
            raise refused
        if done.returncode:
            raise CaptionlakeError(
                f"{first} could not be copied ({done.stderr.strip()[-200:]}): is it whole, and readable?"
            )

    def _no_room(self, path: Path) -> CaptionlakeError:
        return CaptionlakeError(
            f"{path} has no room, and nothing was changed: free {self.n_bytes() + _SPARE:,} bytes on its disk, and run this again"
        )
