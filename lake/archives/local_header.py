"""The header that stands before each member of a zip (APPNOTE 4.3.7)."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"PK\x03\x04"
FIXED = 30  # bytes before the name
_FIELDS = struct.Struct("<4s2xHH4xIIIHH")
_MOSTLY = 256  # bytes that hold nearly every header with its name and extra field
_ZIP64 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class LocalHeader:
    """Flags, method, CRC-32 and sizes as the header states them (zero where bit 3 of the flags puts them after the member)."""

    name: bytes
    flags: int
    method: int
    crc: int
    compress_size: int
    file_size: int
    body: int  # where the member's bytes begin


def local_header(descriptor: int, position: int) -> LocalHeader | None:
    """The header at a place in the file; None where there is none that is whole."""
    if position < 0:
        return None
    block = os.pread(descriptor, _MOSTLY, position)
    if len(block) < FIXED or not block.startswith(SIGNATURE):
        return None
    _, flags, method, crc, compress_size, file_size, name_length, extra_length = _FIELDS.unpack_from(block)
    length = FIXED + name_length + extra_length
    if length > len(block):
        block = os.pread(descriptor, length, position)
        if len(block) < length:
            return None
    name = block[FIXED : FIXED + name_length]
    if _ZIP64 in (compress_size, file_size):
        long = _zip64(block[FIXED + name_length : length])
        file_size = next(long, file_size) if file_size == _ZIP64 else file_size
        compress_size = next(long, compress_size) if compress_size == _ZIP64 else compress_size
    return LocalHeader(name, flags, method, crc, compress_size, file_size, position + length)


def stored_crc(window: bytes, body: int, name: bytes, n_bytes: int) -> int | None:
    """The CRC-32 that the header ending at ``body`` in ``window`` states of a stored member; None where it does not tell.

    The header is found backwards by its signature, and is the one whose name and extra field end just where the member begins.
    """
    at = window.rfind(SIGNATURE, 0, body)
    while at >= 0:
        if at + FIXED <= body:
            _, flags, method, crc, size, _, name_length, extra_length = _FIELDS.unpack_from(window, at)
            if at + FIXED + name_length + extra_length == body:
                same = window[at + FIXED : at + FIXED + name_length] == name
                return crc if same and not flags & 0x9 and method == 0 and size == n_bytes else None
        at = window.rfind(SIGNATURE, 0, at + 3)
    return None


def decoded(name: bytes, flags: int) -> str:
    """A member's name. Many archivers write UTF-8 without saying so (bit 11 of the flags)."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("utf-8", "surrogateescape") if flags & 0x800 else name.decode("cp437")


def _zip64(extra: bytes) -> Iterator[int]:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            yield from struct.unpack_from(f"<{min(size, len(extra) - at - 4) // 8}Q", extra, at + 4)
            return
        at += 4 + size
