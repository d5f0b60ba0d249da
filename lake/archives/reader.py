"""The one way into every kind of archive: its members listed, and single members read."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives.folders import FolderReader, folder_members
from captionlake.lake.archives.kinds import Kind, kind_of
from captionlake.lake.archives.member import Member
from captionlake.lake.archives.parquet_files import ParquetReader
from captionlake.lake.archives.tars import TarReader, tar_members
from captionlake.lake.archives.zips import ZipReader, zip_members

MAX_BYTES = 20_000_000  # of one member, as of a download
_MOST_OPEN = 64  # archives at once, a descriptor or two each


class _Reader(Protocol):
    def read(self, member: str, offset: int | None, n_bytes: int | None) -> bytes: ...
    def close(self) -> None: ...


_READERS: dict[Kind, Callable[[Path, int], _Reader]] = {
    Kind.FOLDER: FolderReader,
    Kind.ZIP: ZipReader,
    Kind.TAR: TarReader,
    Kind.PARQUET: ParquetReader,
}
_LISTED = {Kind.FOLDER: folder_members, Kind.ZIP: zip_members, Kind.TAR: tar_members}


def members(archive: Path) -> Iterator[Member]:
    """The files of a folder, zip or tar, none of them hidden, each under a name of its own.

    A member that cannot be used has a ``reason``. A damaged archive lists what is whole, and then Members for what is cut off or
    lost. Raises ``CaptionlakeError`` where the file is no such archive.
    """
    kind = kind_of(archive)
    if kind not in _LISTED:
        raise CaptionlakeError(f"{archive} is a {kind}, whose pictures lie in columns: ingest it with the source hf")
    try:
        yield from _LISTED[kind](archive)
    except OSError as error:
        raise CaptionlakeError(f"{archive} cannot be read ({error.strerror or error}): check the disk") from error


class ArchiveReader:
    """Reads single members; the archives used last stay open until ``close``. For one thread at a time.

    A member larger than ``max_bytes`` is refused before it is in memory, compressed ones while they are decompressed.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._open: OrderedDict[str, _Reader] = OrderedDict()
        self._latest: tuple[str, _Reader] | None = None

    def __enter__(self) -> "ArchiveReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._latest = None
        while self._open:
            self._open.popitem()[1].close()

    def read(self, archive: str, member: str, offset: int | None = None, n_bytes: int | None = None) -> bytes:
        """The member's bytes; with ``offset`` and ``n_bytes``, as ``members`` told them, by one read at that place.

        Raises ``MemberError`` where the member is missing, unsafe, damaged or larger than ``max_bytes``, and ``CaptionlakeError``
        where the archive is none.
        """
        if self._latest is None or self._latest[0] != archive:
            self._latest = archive, self._opened(archive)
        return self._latest[1].read(member, offset, n_bytes)

    def _opened(self, archive: str) -> _Reader:
        if archive in self._open:
            self._open.move_to_end(archive)
            return self._open[archive]
        path = Path(archive)
        kind = kind_of(path)
        try:
            reader = _READERS[kind](path, self._max_bytes)
        except OSError as error:
            raise CaptionlakeError(f"{archive} cannot be read ({error.strerror or error}): check its rights") from error
        self._open[archive] = reader
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        return reader
