"""What kind of archive a path is, told by its content; a file that is not what its suffix says is refused by name."""

import tarfile
import zipfile
from enum import StrEnum
from pathlib import Path

from captionlake.errors import CaptionlakeError


class Kind(StrEnum):
    """The archives that pictures are read from in place."""

    FOLDER = "folder"
    ZIP = "zip"
    TAR = "tar"
    PARQUET = "Parquet file"


_SUFFIXES = {".zip": Kind.ZIP, ".tar": Kind.TAR, ".parquet": Kind.PARQUET}
_COMPRESSED = {  # first bytes: (what it is, the command that undoes it)
    b"\x1f\x8b": ("gzip", "gunzip --keep"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "unzstd"),
    b"BZh": ("bzip2", "bunzip2 --keep"),
    b"\xfd7zXZ\x00": ("xz", "unxz --keep"),
}
_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
}
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")


def kind_of(path: Path) -> Kind:
    """The archive's kind. Raises where there is none, or where it is no archive or another one than its suffix says."""
    try:
        if path.is_dir():
            return Kind.FOLDER
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise CaptionlakeError(f"no archive {path}: check the path") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CaptionlakeError(f"{path} cannot be read ({why}): check its path and rights") from error
    said = _SUFFIXES.get(path.suffix.lower())
    if not head:
        raise CaptionlakeError(f"{path} is empty (0 bytes): download it again")
    found = _found(path, head, said)
    if found is None:
        expected = f"not a {said}" if said else "neither a folder nor a zip, tar or Parquet file"
        raise CaptionlakeError(f"{path} is {expected}: it looks like {_looks(head)}: download it again")
    if said not in (None, found):
        raise CaptionlakeError(
            f"{path} is not a {said}: it looks like a {found}: rename it to {path.stem}{_suffix(found)}"
        )
    return found


def is_archive(path: Path) -> bool:
    """Whether a path is meant as an archive: a folder, or a file whose suffix or first bytes say zip, tar or Parquet."""
    if path.is_dir() or path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except (OSError, ValueError):
        return False
    return head.startswith(tuple(_COMPRESSED)) or (head != b"" and _found(path, head, None) is not None)


def _found(path: Path, head: bytes, said: Kind | None) -> Kind | None:
    for mark, (what, command) in _COMPRESSED.items():
        if head.startswith(mark):
            raise CaptionlakeError(
                f"{path} is compressed ({what}) and cannot be read in place: decompress it first:  {command} '{path}'"
            )
    if head.startswith(_ZIP_MARKS):
        return Kind.ZIP
    if head.startswith(b"PAR1"):
        return Kind.PARQUET
    if is_tar_header(head[:512]) or (said is Kind.TAR and head[257:262] == b"ustar"):
        return Kind.TAR
    if said is Kind.TAR and len(head) >= 1024 and not any(head[:1024]):
        return Kind.TAR  # a tar without members
    if (said is Kind.ZIP or head.startswith((b"MZ", b"#!", b"\x7fELF"))) and zipfile.is_zipfile(path):
        return Kind.ZIP  # bytes before the first member, as of a program that unpacks itself
    return None


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are the header of a tar's member: their checksum agrees."""
    if len(block) < 512 or not any(block[148:156]):
        return False
    try:
        return int(tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size) >= 0
    except (tarfile.TarError, ValueError):
        return False


def _suffix(kind: Kind) -> str:
    return next(suffix for suffix, known in _SUFFIXES.items() if known is kind)


def _looks(head: bytes) -> str:
    for mark, what in _OTHERS.items():
        if head.startswith(mark):
            return what
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page"
    if text.startswith((b"{", b"[")):
        return "JSON"
    try:
        head[:-4].decode("utf-8")
    except UnicodeDecodeError:
        return "nothing known"
    return "nothing known" if b"\x00" in head else "text"
