"""Uncompressed tars (ustar, GNU, PAX): listed by their headers alone, read by one pread.

Written from POSIX.1-2001 (pax) and the GNU tar manual. ``tarfile`` decodes each 512-byte header; the walk over them is our
own, because ``tarfile`` takes a damaged header for the end of the archive without a word, reads extended headers of any length
into memory, and keeps every member it has met. A tar has no checksum over contents: what a flipped byte does to a
picture is for the picture's decoder to find.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from captionlake.lake.archives.kinds import is_tar_header
from captionlake.lake.archives.member import Member, MemberError, Namer, lost, missing
from captionlake.lake.reasons import FailureReason

_BLOCK = 512
_HEADERS = 2**12  # read at once where one is: small members, such as captions, mostly lie with the next headers in it
_WINDOW = 2**20  # read at once where a header is looked for
_LONGEST_EXTENSION = 2**20  # bytes of one extended header: names and attributes, nothing long
_LONGEST_CHAIN = 16  # extended headers before one member
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LINKS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, *_PAX)
_PASSED_OVER = (tarfile.DIRTYPE, b"D", b"V")  # folders, GNU's folder dumps and volume labels
_END = "the archive's end, which a whole tar marks, is missing: what came after it is lost: download it again"


class _Header(NamedTuple):
    name: str
    type: bytes
    size: int


@dataclass(slots=True)
class _Extended:
    """What extended headers say of the member after them."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False
    damaged: bool = False


def tar_members(archive: Path) -> Iterator[Member]:
    """The files of a tar with the place of their bytes. After damage, what can be found again is listed too."""
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield from _walk(archive, descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _walk(archive: Path, descriptor: int, n_bytes: int) -> Iterator[Member]:
    namer, position = Namer(), 0
    extended, chain = _Extended(), 0
    window, start = b"", 0
    while True:
        block = window[position - start : position - start + _BLOCK]
        if len(block) < _BLOCK:
            window, start = os.pread(descriptor, _HEADERS, position), position
            block = window[:_BLOCK]
        if len(block) < _BLOCK:
            yield lost(archive, position, _END)
            return
        if block.count(0) == _BLOCK:
            following = _after_zeros(descriptor, position)
            if following is None:
                if n_bytes - position > _WINDOW:
                    yield lost(archive, position, "zeros where members are expected: what comes after them is not read")
                return
            position = following
            continue
        header = _plain(block) or _header(block)
        body = position + _BLOCK
        if header is None or chain > _LONGEST_CHAIN:
            yield lost(archive, position, "not a member's header: the archive is damaged here: download it again")
            following = _next_header(descriptor, body)
            if following is None:
                return
            position, extended, chain = following, _Extended(), 0
            continue
        if header.type in _EXTENSIONS:
            chain += 1
            _extend(extended, header.type, descriptor, body, header.size)
            position = _rounded(body + header.size)
            continue
        size = header.size if extended.size is None else extended.size
        holds = header.type not in _LINKS and header.type != tarfile.DIRTYPE
        whole = not holds or body + size <= n_bytes
        if header.type not in _PASSED_OVER:
            name = header.name if extended.name is None else extended.name
            reason, detail = _unusable(header.type, extended, whole)
            if member := namer.member(name, body, size, reason, detail):
                yield member
        if not whole:
            yield lost(archive, n_bytes, _END)
            return
        position = _rounded(body + size) if holds else body
        extended, chain = _Extended(), 0


def _unusable(kind: bytes, extended: _Extended, whole: bool) -> tuple[FailureReason | None, str]:
    if kind in _LINKS:
        return FailureReason.UNSAFE_MEMBER, f"{_LINKS[kind]}, not a file"
    if extended.sparse or kind == tarfile.GNUTYPE_SPARSE:
        return FailureReason.BAD_ROW, "a sparse file, whose bytes do not lie as they are"
    if kind not in _FILES:
        return FailureReason.BAD_ROW, f"a member of the unknown type {kind!r}"
    if extended.damaged:
        return FailureReason.TRUNCATED, "its extended header, with its name or size, is damaged"
    if not whole:
        return FailureReason.TRUNCATED, "cut off: the archive ends within it"
    return None, ""


def _plain(block: bytes) -> _Header | None:
    """A regular file's ustar header, which nearly all are: several times quicker than ``tarfile`` decodes it."""
    if block[156] != 0x30 or block[257:262] != b"ustar" or block[345]:
        return None
    size, checksum = block[124:136].strip(b" \0"), block[148:156].strip(b" \0")
    if not (size.isdigit() and checksum.isdigit()):
        return None
    try:
        if sum(block) - sum(block[148:156]) + 8 * 0x20 != int(checksum, 8):
            return None
        name = block[: block.find(0, 0, 100)] if 0 in block[:100] else block[:100]
        return _Header(name.decode("utf-8", "surrogateescape"), tarfile.REGTYPE, int(size, 8))
    except ValueError:
        return None


def _header(block: bytes) -> _Header | None:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return None
    return _Header(header.name, header.type, header.size) if 0 <= header.size < 2**62 else None


def _extend(extended: _Extended, kind: bytes, descriptor: int, body: int, size: int) -> None:
    """Take in an extended header."""
    data = os.pread(descriptor, min(size, _LONGEST_EXTENSION), body)
    records = _pax_records(data) if kind in _PAX else []
    if len(data) < size or records is None:
        extended.damaged = True
    elif kind == tarfile.GNUTYPE_LONGNAME:
        extended.name = data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    for key, value in records or []:
        if key == b"path":
            extended.name = value.decode("utf-8", "surrogateescape")
        elif key == b"size" and value.isdigit() and len(value) <= 18:
            extended.size = int(value)
        elif key == b"size":
            extended.damaged = True
        elif key.startswith(b"GNU.sparse."):
            extended.sparse = True


def _pax_records(data: bytes) -> list[tuple[bytes, bytes]] | None:
    r"""Records ``LENGTH KEY=VALUE\n``, whose length counts the whole record; None where one is broken."""
    records, at = [], 0
    while at < len(data) and data[at] != 0:
        length, space, _ = data[at : at + 20].partition(b" ")
        if not space or not length.isdigit():
            return None
        end = at + int(length)
        key, equals, value = data[at + len(length) + 1 : end - 1].partition(b"=")
        if end > len(data) or not equals or data[end - 1] != 0x0A:
            return None
        records.append((key, value))
        at = end
    return records


def _rounded(position: int) -> int:
    return -(-position // _BLOCK) * _BLOCK


def _after_zeros(descriptor: int, position: int) -> int | None:
    """The block after the end's zeros, as of tars that were joined with ``cat``; None where zeros alone follow."""
    window = os.pread(descriptor, _WINDOW, position)
    rest = window.lstrip(b"\0")
    return position + (len(window) - len(rest)) // _BLOCK * _BLOCK if len(rest) >= _BLOCK else None


def _next_header(descriptor: int, position: int) -> int | None:
    """The next block that is a ustar header by its mark and its checksum."""
    while len(window := os.pread(descriptor, _WINDOW, position)) >= _BLOCK:
        at = window.find(b"ustar")
        while at >= 0:
            start = at - 257
            if start >= 0 and start % _BLOCK == 0 and is_tar_header(window[start : start + _BLOCK]):
                return position + start
            at = window.find(b"ustar", at + 1)
        position += len(window) // _BLOCK * _BLOCK
    return None


class TarReader:
    """Reads members of one tar: by place, or by name from an index that is made when a name first comes without its place."""

    def __init__(self, archive: Path, max_bytes: int) -> None:
        self._archive, self._max_bytes = archive, max_bytes
        self._descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
        self._index: dict[str, Member] | None = None

    def read(self, member: str, offset: int | None, n_bytes: int | None) -> bytes:
        if offset is None or n_bytes is None:
            found = self._find(member)
            offset, n_bytes = found.offset or 0, found.n_bytes or 0
        if n_bytes > self._max_bytes:
            raise MemberError(FailureReason.TOO_LARGE, f"{n_bytes:,} bytes, over {self._max_bytes:,}")
        try:
            data = os.pread(self._descriptor, n_bytes, offset)
        except (OSError, ValueError, OverflowError) as error:
            raise MemberError(FailureReason.TRUNCATED, f"cannot be read: {error}") from error
        if len(data) < n_bytes:
            raise MemberError(FailureReason.TRUNCATED, f"the tar ends after {len(data):,} of its {n_bytes:,} bytes")
        return data

    def close(self) -> None:
        os.close(self._descriptor)

    def _find(self, name: str) -> Member:
        if self._index is None:
            self._index = {member.name: member for member in tar_members(self._archive)}
        member = self._index.get(name) or missing(name)
        if member.reason is not None:
            raise MemberError(member.reason, member.detail)
        return member
