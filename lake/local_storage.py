"""A folder of this machine as a storage."""

import os
import stat
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.durable import sync_file, sync_folder
from captionlake.lake.freed import Freed
from captionlake.lake.storage import Entry, RangeReader, Storage

_OPEN_FILES = 64


class LocalReader(RangeReader):
    """Reads by offset; keeps up to 64 files open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, int] = OrderedDict()

    def read(self, name: str, offset: int, n_bytes: int) -> bytes:
        return os.pread(self._descriptor(name), n_bytes, offset)

    def read_into(self, name: str, offset: int, target: memoryview) -> None:
        os.preadv(self._descriptor(name), [target], offset)

    def _descriptor(self, name: str) -> int:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY)
        except OSError as error:
            raise CaptionlakeError(
                f"{self._folder / name} cannot be read ({error.strerror}): restore it from a backup"
            ) from error
        self._open[name] = descriptor
        if len(self._open) > _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])


class LocalStorage(Storage):
    """``folder``, which must be on the disk of the lake."""

    numbered = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder)

    def reader(self) -> LocalReader:
        return LocalReader(self.folder)

    def size(self, name: str) -> int | None:
        try:
            return (self.folder / name).stat().st_size
        except OSError:
            return None

    def entries(self) -> Iterator[Entry]:
        for path in sorted(self.folder.rglob("*")):
            with suppress(FileNotFoundError):  # removed since it was listed
                found = path.stat()
                if not stat.S_ISREG(found.st_mode):
                    continue
                yield Entry(str(path.relative_to(self.folder)), found.st_size, found.st_mtime)

    def names(self) -> list[str]:
        """Of those in the folder itself."""
        return os.listdir(self.folder)

    def put(self, path: Path, name: str) -> None:
        path.rename(self.folder / name)
        sync_folder(self.folder)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def changing(self, name: str, staging: Path) -> Iterator[Path]:
        """In place: the same blocks of the disk."""
        path = self.folder / name
        yield path
        sync_file(path)

    def freed(self, names: Iterable[str]) -> Freed:
        return Freed.of(self.folder / name for name in names)
