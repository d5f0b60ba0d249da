"""What can be had of a zip whose central directory is gone: its members one after the other, by their own headers.

The libraries that read a zip as a stream decompress all of it and tell no place of a member's bytes; this walk seeks over them.
A compressed member whose size stands after it is inflated to find its end; a stored one of that kind has no findable end.
"""

import logging
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from captionlake.lake.archives.local_header import LocalHeader, decoded, local_header
from captionlake.lake.archives.member import Member, Namer, lost
from captionlake.lake.reasons import FailureReason

_log = logging.getLogger(__name__)
_DIRECTORY = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08")
_CHUNK = 2**18
_MOST = 2**31  # bytes that one member may inflate to while its end is looked for
_SIZES_FOLLOW = 0x8
_DESCRIPTORS = ((b"PK\x07\x08", 4), (b"PK\x07\x08", 8), (b"", 4), (b"", 8))  # (signature, bytes of a size)


def salvage(archive: Path) -> Iterator[tuple[Member, LocalHeader]]:
    """Each member that is whole, then the one that is cut off and a Member for what came after it."""
    _log.warning("%s has no central directory of its own: its members are looked for one by one", archive)
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield from _walk(archive, descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _walk(archive: Path, descriptor: int, n_bytes: int) -> Iterator[tuple[Member, LocalHeader]]:
    namer, position = Namer(), 0
    while True:
        header = local_header(descriptor, position)
        if header is None:
            if os.pread(descriptor, 4, position) not in _DIRECTORY:
                detail = "the zip ends or is damaged here: what came after it is lost: download it again"
                yield lost(archive, position, detail), LocalHeader(b"", 0, 0, 0, 0, 0, position)
            return
        found, end = _whole(descriptor, header, n_bytes)
        reason, detail = _unusable(header, whole=found is not None)
        stored = header.method == zipfile.ZIP_STORED
        name = decoded(header.name, header.flags).replace("\\", "/")
        header = found or header
        if not name.endswith("/"):
            member = namer.member(
                name, header.body if stored else None, header.compress_size if stored else None, reason, detail
            )
            if member is not None:
                yield member, header
        position = end


def _unusable(header: LocalHeader, *, whole: bool) -> tuple[FailureReason | None, str]:
    if header.flags & 0x1:
        return FailureReason.BAD_ROW, "encrypted: unpack the zip with its password and give the folder"
    if header.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return FailureReason.BAD_ROW, f"compressed by method {header.method}, which is not read from a damaged zip"
    if not whole:
        return FailureReason.TRUNCATED, "cut off: the zip ends or is damaged within it"
    return None, ""


def _whole(descriptor: int, header: LocalHeader, n_bytes: int) -> tuple[LocalHeader | None, int]:
    """The header with its sizes, and where the member ends; None and the file's end where the member does not end in the file."""
    if not header.flags & _SIZES_FOLLOW or header.compress_size:
        end = header.body + header.compress_size
        if end > n_bytes:
            return None, n_bytes
        return header, _after_descriptor(descriptor, header, end) if header.flags & _SIZES_FOLLOW else end
    if header.method != zipfile.ZIP_DEFLATED or header.flags & 0x1:
        return None, n_bytes
    sized = _inflated(descriptor, header)
    if sized is None:
        return None, n_bytes
    return sized, _after_descriptor(descriptor, sized, sized.body + sized.compress_size)


def _after_descriptor(descriptor: int, header: LocalHeader, end: int) -> int:
    """Past the CRC and sizes that stand after the member, of which there are four forms."""
    block = os.pread(descriptor, 24, end)
    for signature, width in _DESCRIPTORS:
        stated = signature + header.crc.to_bytes(4, "little") + header.compress_size.to_bytes(width, "little")
        if block.startswith(stated):
            return end + len(stated) + width
    return end


def _inflated(descriptor: int, header: LocalHeader) -> LocalHeader | None:
    inflater, crc, size, position = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0, header.body
    waiting = b""
    while not inflater.eof:
        if not waiting:
            waiting = os.pread(descriptor, _CHUNK, position)
            position += len(waiting)
        if not waiting or size > _MOST:
            return None
        try:
            data = inflater.decompress(waiting, _CHUNK)
        except zlib.error:
            return None
        crc, size, waiting = zlib.crc32(data, crc), size + len(data), inflater.unconsumed_tail
    packed = position - len(inflater.unused_data) - header.body
    return replace(header, crc=crc, compress_size=packed, file_size=size)


def inflate(packed: bytes, max_bytes: int) -> bytes:
    """Deflated bytes undone, one byte more than ``max_bytes`` at most. Raises ``zlib.error`` where they are damaged."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(packed, max_bytes + 1)
    if not inflater.eof and len(data) <= max_bytes:
        raise zlib.error("the compressed bytes end too early")
    return data
