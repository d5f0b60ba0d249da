"""The pictures that lie beside a benchmark's list: in its folder, in folders below, or in zips and tars that lie there."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from captionlake.lake.archives import ArchiveReader, Member, MemberError, members
from captionlake.lake.reasons import FailureReason

_ARCHIVES = (".zip", ".tar")
Place = tuple[Path, Member]


class PictureFiles:
    """Finds a picture by the name that a list gives it. No name is ever joined to a path: it is looked up in a listing."""

    def __init__(self, root: Path) -> None:
        self._reader = ArchiveReader()
        self._by_path: dict[str, Place] = {}
        self._by_name: dict[str, Place] = {}
        self._by_stem: dict[str, Place] = {}
        for archive, member in _listed(root):
            path = PurePosixPath(member.name)
            self._by_path.setdefault(member.name, (archive, member))
            self._by_name.setdefault(path.name, (archive, member))
            self._by_stem.setdefault(path.stem, (archive, member))

    def __enter__(self) -> "PictureFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the archives."""
        self._reader.close()

    def find(self, picture: str) -> Place | None:
        """The file of that path, of that name, or of that name with a suffix."""
        base = PurePosixPath(picture.replace("\\", "/")).name
        return self._by_path.get(picture) or self._by_name.get(base) or self._by_stem.get(base)

    def read(self, picture: str) -> bytes:
        """The bytes of the file that ``find`` finds. Raises ``MemberError`` where there is none or it cannot be read."""
        place = self.find(picture)
        if place is None:
            raise MemberError(FailureReason.MISSING_MEMBER, f"no picture {picture[:200]}")
        return read_member(self._reader, *place)


def read_member(reader: ArchiveReader, archive: Path, member: Member) -> bytes:
    """The member's bytes. Raises ``MemberError`` where the listing or the reading says that it cannot be used."""
    if member.reason is not None:
        raise MemberError(member.reason, member.detail)
    return reader.read(str(archive), member.name, member.offset, member.n_bytes)


def _listed(root: Path) -> Iterator[Place]:
    archives = []
    for member in members(root):
        yield root, member
        if root.is_dir() and member.reason is None and member.name.lower().endswith(_ARCHIVES):
            archives.append(root / member.name)
    for archive in archives:
        for member in members(archive):
            yield archive, member
