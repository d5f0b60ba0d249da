"""Pictures at hand: folders and zip files, read in place. Members that would lead out of the archive are refused."""

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from captionlake.errors import CaptionlakeError
from captionlake.lake.reasons import FailureReason


class MemberError(Exception):
    """One member cannot be read: ``reason`` of the closed set and a detail."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: where its bytes lie as they are, if they do; or why it cannot be used."""

    name: str
    offset: int | None = None
    n_bytes: int | None = None
    reason: FailureReason | None = None
    detail: str = ""


def row_for(archive: Path, member: Member) -> dict[str, object]:
    """What a source's row says of a member."""
    return {
        "archive": str(archive),
        "member": member.name,
        "offset": member.offset,
        "n_bytes": member.n_bytes,
        "bad": member.detail or member.reason if member.reason else None,
        "reason": member.reason,
    }


def members(archive: Path) -> Iterator[Member]:
    """The files of a folder (sorted, recursively, none that is hidden) or of a zip, as POSIX paths."""
    if archive.is_dir():
        for root, folders, names in os.walk(archive):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith(".") and Path(root, name).is_file():
                    yield Member(Path(root, name).relative_to(archive).as_posix())
        return
    with _zip(archive) as file:
        yield from (Member(info.filename) for info in file.infolist() if not info.is_dir())


class ArchiveReader:
    """Reads members of folders and zips; zips stay open until ``close``."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._zips: dict[str, zipfile.ZipFile] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "ArchiveReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, archive: str, member: str, offset: int | None = None, n_bytes: int | None = None) -> bytes:
        """The member's bytes. Raises ``MemberError`` where it is missing, unsafe or larger than ``max_bytes``."""
        folder = Path(archive).is_dir()
        parts = PurePosixPath(member if folder else member.replace("\\", "/"))
        drive = not folder and bool(parts.parts) and ":" in parts.parts[0]
        if parts.is_absolute() or ".." in parts.parts or not parts.parts or drive:
            raise MemberError(FailureReason.UNSAFE_MEMBER, "the path leads out of the archive")
        if folder:
            return self._from_folder(Path(archive), parts)
        return self._from_zip(archive, str(parts))

    def _from_folder(self, folder: Path, member: PurePosixPath) -> bytes:
        path = folder / member
        try:
            if not path.resolve().is_relative_to(folder.resolve()):
                raise MemberError(FailureReason.UNSAFE_MEMBER, "a link that leads out of the folder")
            if not path.is_file():
                raise MemberError(FailureReason.MISSING_MEMBER, "no such file")
            if path.stat().st_size > self._max_bytes:
                raise MemberError(FailureReason.TOO_LARGE, f"over {self._max_bytes:,} bytes")
            return path.read_bytes()
        except (OSError, ValueError) as error:
            detail = error.strerror if isinstance(error, OSError) else str(error)
            raise MemberError(FailureReason.MISSING_MEMBER, detail or "cannot be read") from error

    def _from_zip(self, archive: str, member: str) -> bytes:
        if archive not in self._zips:
            self._zips[archive] = self._stack.enter_context(_zip(Path(archive)))
        try:
            info = self._zips[archive].getinfo(member)
            if info.file_size > self._max_bytes:
                raise MemberError(FailureReason.TOO_LARGE, f"over {self._max_bytes:,} bytes")
            return self._zips[archive].read(info)
        except KeyError as error:
            raise MemberError(FailureReason.MISSING_MEMBER, "not in the zip") from error
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError) as error:
            raise MemberError(FailureReason.TRUNCATED, f"the zip's member is damaged: {error}") from error


def _zip(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except FileNotFoundError as error:
        raise CaptionlakeError(f"no archive {archive}: check the path") from error
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CaptionlakeError(f"{archive} is neither a folder nor a whole zip ({error}): download it again") from error
