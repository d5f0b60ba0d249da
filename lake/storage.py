"""Files of a lake, wherever they lie: in a folder of this machine, or under a prefix of a bucket.

What is put in appears whole or not at all. Names are relative, with ``/`` between their parts.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from captionlake.lake.freed import Freed


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its name, its bytes, and when it was written last, in seconds since 1970."""

    name: str
    n_bytes: int
    modified: float


class RangeReader(ABC):
    """Reads ranges of files; for one thread. ``gap``: so many bytes are cheaper read along than left out by a second read."""

    gap = 0

    @abstractmethod
    def read(self, name: str, offset: int, n_bytes: int) -> bytes:
        """Fewer bytes where the file ends before. Raises where there is no such file."""

    def read_into(self, name: str, offset: int, target: memoryview) -> None:
        """As ``read``, as many bytes as ``target`` is long, laid into it."""
        data = self.read(name, offset, len(target))
        target[: len(data)] = data

    @abstractmethod
    def close(self) -> None:
        """Let go what is open."""


class Storage(ABC):
    """One folder of files. ``url`` is what DuckDB reads it by. Can be handed to other processes."""

    url: str
    numbered: bool  # shards get their number under the write lock; else a name of their own before it

    @abstractmethod
    def reader(self) -> RangeReader:
        """A reader of its files, with what it opens its own."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """All files, those of inner folders too."""

    def names(self) -> Iterable[str]:
        """Of all files."""
        return (one.name for one in self.entries())

    @abstractmethod
    def put(self, path: Path, name: str) -> None:
        """Take a finished file of this machine in, and away from where it was."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file; none there is no error."""

    @abstractmethod
    def changing(self, name: str, staging: Path) -> AbstractContextManager[Path]:
        """A path at which the bytes of a file can be changed. At the end of the ``with`` nothing is left of the former ones."""

    @abstractmethod
    def freed(self, names: Iterable[str]) -> Freed:
        """How many files these are, and their bytes."""

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Bytes of the files that are there, of those asked for."""
        return {name: size for name in names if (size := self.size(name)) is not None}
