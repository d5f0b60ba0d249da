"""Folders of pictures. A link that stays within the folder is followed, one that leads out of it is refused."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives.member import Member, MemberError, Namer
from captionlake.lake.reasons import FailureReason

_PARENTS_KEPT = 4096


def folder_members(folder: Path) -> Iterator[Member]:
    """A folder's files before its sub-folders', each sorted by name. No file is opened."""
    namer, root = Namer(on_disk=True), os.path.realpath(folder)
    waiting = [""]
    while waiting:
        within = waiting.pop()
        try:
            with os.scandir(folder / within) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if not within:
                raise CaptionlakeError(f"{folder} cannot be read ({error.strerror}): check its rights") from error
            if broken := namer.member(within.rstrip("/"), None, None, FailureReason.MISSING_MEMBER, _why(error)):
                yield broken
            continue
        below = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(f"{within}{entry.name}/")
            elif member := _entry(entry, f"{within}{entry.name}", root, namer):
                yield member
        waiting.extend(reversed(below))


def _entry(entry: os.DirEntry[str], name: str, root: str, namer: Namer) -> Member | None:
    if entry.is_file(follow_symlinks=False):
        return namer.member(name)
    if not entry.is_symlink():
        return namer.member(name, None, None, FailureReason.UNSAFE_MEMBER, "a device, pipe or socket")
    if not _inside(os.path.realpath(entry.path), root):
        return namer.member(name, None, None, FailureReason.UNSAFE_MEMBER, "a link that leads out of the folder")
    try:
        if entry.is_file():
            return namer.member(name)
        if entry.is_dir():
            return None  # its files are listed where they stand
    except OSError:
        pass
    return namer.member(name, None, None, FailureReason.MISSING_MEMBER, "a link to nothing")


class FolderReader:
    """Reads files of one folder. The real places of parent folders are remembered, so that a file costs two system calls more
    than its reading."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._root, self._max_bytes = os.fspath(folder), os.path.realpath(folder), max_bytes
        self._parents: dict[str, bool] = {}

    def read(self, member: str, offset: int | None, n_bytes: int | None) -> bytes:
        parts = member.split("/")
        if member.startswith("/") or ".." in parts or not member.strip("/."):
            raise MemberError(FailureReason.UNSAFE_MEMBER, "the path leads out of the folder")
        path = f"{self._folder}/{member}"
        try:
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                inside, found = _inside(os.path.realpath(path), self._root), Path(path).stat()
            else:
                inside = self._parent_inside(path.rpartition("/")[0])
            if not inside:
                raise MemberError(FailureReason.UNSAFE_MEMBER, "a link that leads out of the folder")
            if not stat.S_ISREG(found.st_mode):
                raise MemberError(FailureReason.MISSING_MEMBER, "not a file")
            if found.st_size > self._max_bytes:
                raise MemberError(FailureReason.TOO_LARGE, f"over {self._max_bytes:,} bytes")
            return _content(path, found.st_size)
        except (OSError, ValueError) as error:
            raise MemberError(FailureReason.MISSING_MEMBER, _why(error)) from error

    def close(self) -> None:
        self._parents.clear()

    def _parent_inside(self, parent: str) -> bool:
        if parent not in self._parents:
            if len(self._parents) >= _PARENTS_KEPT:
                self._parents.clear()
            self._parents[parent] = _inside(os.path.realpath(parent), self._root)
        return self._parents[parent]


def _content(path: str, n_bytes: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.pread(descriptor, n_bytes, 0)
    finally:
        os.close(descriptor)


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return (error.strerror if isinstance(error, OSError) else str(error)) or "cannot be read"
