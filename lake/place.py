"""Where a lake's catalog lies: a SQLite file in its folder, or a PostgreSQL database that several machines share.

This is the one place that knows which of the two it is: a folder with ``catalog.json`` has the latter. All else asks its ``Place``.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from captionlake.lake.holder import Holder
from captionlake.lake.postgres_place import PLACE_FILE, PostgresPlace
from captionlake.lake.sqlite_place import BACKUPS, CATALOG, SqlitePlace


class Place(Protocol):
    """What the two kinds of catalog do each in its own way."""

    extension: str  # of DuckDB, that reads it
    shared: bool  # whether a server keeps it, which may go away and come back

    @property
    def name(self) -> str:
        """For messages: without user name and password."""

    def attachment(self) -> tuple[str, list[str]]:
        """What follows ``ducklake:`` in ATTACH, and the options that go with it."""

    def lock(self, wait: float) -> AbstractContextManager[Callable[[], None]]:
        """The write lock; what it yields raises once the lock is lost. Raises when another process holds it for ``wait`` seconds."""

    def holder(self) -> Holder | None:
        """Who holds the write lock at this moment; None where nobody does."""

    def pack(self) -> bool:
        """Leave nothing deleted in free pages; under the write lock. False while a reader that began before keeps it from it."""

    def n_bytes(self) -> int:
        """The size of the catalog."""

    def free_bytes(self) -> int:
        """About how many bytes ``pack`` would give back."""

    def remains(self) -> str | None:
        """What keeps deleted values after ``pack``, for whoever has to see to it; None where nothing does."""

    def dump(self) -> Iterator[tuple[str, bytes]]:
        """(where, value) of all that the catalog holds, as text."""

    def back_up(self, name: str) -> str:
        """Copy the catalog as it is, under the write lock. Whole or not at all; returns what the others call the backup."""

    def backups(self) -> list[str]:
        """The backups that lie by the lake, the oldest first."""

    def backup(self, name: str) -> "Place":
        """A backup as a place. Raises where there is no such."""

    def remove_backups(self) -> int:
        """Remove all of them for good. Returns how many."""

    def draft_of(self, name: str, folder: Path) -> "Place":
        """A copy of a backup that can be attached, in ``folder`` where it is a file."""

    def put(self, draft: Any) -> None:
        """A draft of the same kind becomes the catalog, under the write lock; a kill leaves the old one or the new one whole."""


def catalog_of(lake: Path) -> Place:
    """The place of the catalog of the lake in a folder, by what the folder itself says."""
    return PostgresPlace.read(lake) if (lake / PLACE_FILE).exists() else SqlitePlace(lake)


def has_catalog(lake: Path) -> bool:
    """Whether a folder names or holds a catalog."""
    return (lake / PLACE_FILE).is_file() or (lake / CATALOG).is_file()


def is_of_catalog(path: Path) -> bool:
    """Whether a file of a lake's folder is its catalog, one of the catalog's side files, a backup of it, or names it."""
    return path.name == PLACE_FILE or path.name.startswith(CATALOG) or path.parent.name == BACKUPS
