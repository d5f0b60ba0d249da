"""What is to travel: the files here against those of a revision there, by hash."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from captionlake.cards.publishing.hub import RemoteFile
from captionlake.lake.progress import progress

KEPT = frozenset({".gitattributes"})  # the Hub's own; says what goes into large file storage


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to publish; ``blob_id`` is git's name of its content."""

    path: str
    source: Path
    size: int
    sha256: str
    blob_id: str

    def is_(self, remote: RemoteFile | None) -> bool:
        """Whether the remote file has the same content."""
        if remote is None or remote.size != self.size:
            return False
        return remote.sha256 == self.sha256 if remote.sha256 is not None else remote.blob_id == self.blob_id


@dataclass(frozen=True, slots=True)
class Plan:
    """``new`` files travel, ``same`` are there, ``gone`` are removed there."""

    new: list[LocalFile]
    same: list[LocalFile]
    gone: list[str]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.new and not self.gone

    @property
    def n_bytes(self) -> int:
        """Of the files that travel; less where the Hub's storage has some of them under other names."""
        return sum(file.size for file in self.new)


def local_files(folder: Path) -> list[LocalFile]:
    """Every file under ``folder``, hashed, in order of path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = []
    with progress("hash files", len(paths)) as advance:
        for path in paths:
            found.append(hashed(path.relative_to(folder).as_posix(), path))
            advance(1)
    return found


def hashed(name: str, path: Path) -> LocalFile:
    """A file with its hashes, read once."""
    size = path.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha256.update(block)
            git.update(block)
    return LocalFile(name, path, size, sha256.hexdigest(), git.hexdigest())


def difference(files: list[LocalFile], remote: Mapping[str, RemoteFile]) -> Plan:
    """What brings ``remote`` to the content of ``files``."""
    names = {file.path for file in files} | KEPT
    return Plan(
        new=[file for file in files if not file.is_(remote.get(file.path))],
        same=[file for file in files if file.is_(remote.get(file.path))],
        gone=sorted(path for path in remote if path not in names),
    )
