"""Zips: listed from the central directory and each member's own header; stored members are read by one pread.

Written from PKWARE's APPNOTE. Names are UTF-8 where they say so or where their bytes are, else code page 437, as the note
has it. A stored member is read together with the header before it, whose checksum it must match; compressed ones are read
through ``zipfile``. A zip without its directory is salvaged (``zip_salvage``).
"""

import bisect
import lzma
import os
import stat
import struct
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives.local_header import FIXED, SIGNATURE, LocalHeader, decoded, local_header, stored_crc
from captionlake.lake.archives.member import Member, MemberError, Namer, missing
from captionlake.lake.archives.zip_salvage import inflate, salvage
from captionlake.lake.reasons import FailureReason

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_EXTRA = 128  # bytes that hold nearly every header's extra field
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, ValueError, OverflowError)

_CHUNK = 2**16
_Info = zipfile.ZipInfo | LocalHeader


def zip_members(archive: Path) -> Iterator[Member]:
    """The files of a zip; stored ones with the place of their bytes."""
    opened = _open(archive)
    if opened is None:
        yield from (member for member, _ in salvage(archive))
        return
    with opened:
        yield from (member for member, _ in _listed(archive, opened))


def _open(archive: Path) -> zipfile.ZipFile | None:
    """The zip by its central directory; None where that is lost or is another zip's, which lies in this one."""
    try:
        opened = zipfile.ZipFile(archive)
    except NotImplementedError as error:
        raise CaptionlakeError(f"{archive} cannot be read ({error}): unpack it and give the folder") from error
    except _DAMAGE as error:
        with archive.open("rb") as file:
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return None
        raise CaptionlakeError(f"{archive} is not a whole zip ({error}): download it again") from error
    first = min((info.header_offset for info in opened.infolist()), default=0)
    with archive.open("rb") as file:
        begins = file.read(len(SIGNATURE)) == SIGNATURE
    if first < 0 or (begins and (first > 0 or not opened.infolist())):
        opened.close()
        return None
    return opened


def _listed(archive: Path, opened: zipfile.ZipFile) -> Iterator[tuple[Member, zipfile.ZipInfo]]:
    """In the directory's order. Two members never share bytes: that is how a small zip is made to swell beyond measure."""
    namer = Namer()
    starts = array("q", sorted(info.header_offset for info in opened.infolist()))
    starts.append(opened.start_dir)
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for info in opened.infolist():
            if info.orig_filename.endswith(("/", "\\")):
                continue
            header = local_header(descriptor, info.header_offset)
            reason, detail = _unusable(info, header)
            if reason is None and header is not None:
                follows = starts[bisect.bisect_left(starts, info.header_offset) + 1]
                if header.body + info.compress_size > follows:
                    reason, detail = FailureReason.BOMB, "its bytes overlap another member's"
            stored = header is not None and info.compress_type == zipfile.ZIP_STORED
            member = namer.member(
                decoded(_raw_name(info), info.flag_bits).replace("\\", "/"),
                header.body if stored and header else None,
                info.compress_size if stored else None,
                reason,
                detail,
            )
            if member is not None:
                yield member, info
    finally:
        os.close(descriptor)


def _unusable(info: zipfile.ZipInfo, header: LocalHeader | None) -> tuple[FailureReason | None, str]:
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode) if info.create_system == 3 else 0  # 3: made on Unix, so the upper half is a file's mode
    if kind not in (0, stat.S_IFREG):
        what = "a symbolic link" if kind == stat.S_IFLNK else "a device or pipe"
        return FailureReason.UNSAFE_MEMBER, f"{what}, not a file"
    if info.flag_bits & 0x1:
        return FailureReason.BAD_ROW, "encrypted: unpack the zip with its password and give the folder"
    if info.compress_type not in _METHODS:
        return (
            FailureReason.BAD_ROW,
            f"compressed by method {info.compress_type}, which is not read here: unpack the zip",
        )
    if header is None:
        return FailureReason.TRUNCATED, "its own header is damaged"
    if header.name != _raw_name(info) or header.method != info.compress_type:
        return FailureReason.TRUNCATED, "its own header and the zip's directory disagree"
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        return FailureReason.TRUNCATED, "stored, with two different sizes"
    return None, ""


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")


class ZipReader:
    """Reads members of one zip. The directory is read only when a member comes without its place or its header asks for it."""

    def __init__(self, archive: Path, max_bytes: int) -> None:
        self._archive, self._max_bytes = archive, max_bytes
        self._descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
        self._zip: zipfile.ZipFile | None = None
        self._index: dict[str, tuple[Member, _Info]] | None = None

    def read(self, member: str, offset: int | None, n_bytes: int | None) -> bytes:
        if offset is not None and n_bytes is not None:
            self._check_size(n_bytes)
            if (data := self._stored(member, offset, n_bytes)) is not None:
                return data
        return self._by_name(member)

    def close(self) -> None:
        os.close(self._descriptor)
        if self._zip is not None:
            self._zip.close()
        self._index = None

    def _stored(self, member: str, offset: int, n_bytes: int) -> bytes | None:
        """The bytes, checked by the header before them; None where that header does not tell enough."""
        name = member.encode("utf-8", "replace")
        before = min(offset, FIXED + len(name) + _EXTRA)
        try:
            window = os.pread(self._descriptor, before + n_bytes, offset - before)
        except (OSError, ValueError, OverflowError) as error:
            raise MemberError(FailureReason.TRUNCATED, f"cannot be read: {error}") from error
        crc = stored_crc(window, before, name, n_bytes)
        if crc is None:
            return None
        data = window[before:]
        if len(data) < n_bytes:
            raise MemberError(FailureReason.TRUNCATED, f"the zip ends after {len(data):,} of its {n_bytes:,} bytes")
        _check(data, crc)
        return data

    def _by_name(self, name: str) -> bytes:
        if self._index is None:
            self._index = self._indexed()
        member, info = self._index.get(name) or self._index.get(name.replace("\\", "/")) or (missing(name), None)
        if member.reason is not None or info is None:
            raise MemberError(member.reason or FailureReason.MISSING_MEMBER, member.detail)
        self._check_size(info.file_size)
        try:
            if isinstance(info, LocalHeader):
                return self._salvaged(info)
            assert self._zip is not None  # what is not salvaged was listed from it
            with self._zip.open(info) as file:
                data = file.read(self._max_bytes + 1)
                self._check_size(len(data))
                return data
        except (*_DAMAGE, NotImplementedError, RuntimeError) as error:
            raise MemberError(FailureReason.TRUNCATED, f"the zip's member is damaged: {error}") from error

    def _salvaged(self, header: LocalHeader) -> bytes:
        packed = os.pread(self._descriptor, min(header.compress_size, self._max_bytes + _CHUNK), header.body)
        data = packed if header.method == zipfile.ZIP_STORED else inflate(packed, self._max_bytes)
        self._check_size(len(data))
        _check(data, header.crc)
        return data

    def _indexed(self) -> dict[str, tuple[Member, _Info]]:
        self._zip = _open(self._archive)
        found = salvage(self._archive) if self._zip is None else _listed(self._archive, self._zip)
        return {member.name: (member, info) for member, info in found}

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self._max_bytes:
            raise MemberError(FailureReason.TOO_LARGE, f"over {self._max_bytes:,} bytes")


def _check(data: bytes, crc: int) -> None:
    if zlib.crc32(data) != crc:
        raise MemberError(FailureReason.TRUNCATED, "the zip's member is damaged: its checksum differs")
