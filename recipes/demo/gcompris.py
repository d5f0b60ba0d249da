"""Reads the photographs, texts and credits of gcompris-qt-data out of its Qt resource files (.rcc).

A resource file starts with ``qres`` and four big-endian numbers: version and the offsets of the tree, the data and the
names. A node of the tree has 14 bytes in version 1 and 22 after it: offset of its name, flags, then for a folder the
number and index of its children, for a file its locale and the offset of its data.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

COMPRESSED_ZLIB, FOLDER, COMPRESSED_ZSTD = 1, 2, 4
LARGEST = 2**28  # bytes of one file; a picture has some 100,000
PICTURES = (".webp", ".jpg", ".jpeg", ".png")


class BadResourceError(Exception):
    """The file is not a Qt resource file that we can read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credit:
    """What a README of the package says of one picture."""

    author: str
    license: str
    source_url: str
    comment: str


def read_resources(path: Path) -> dict[str, bytes]:
    """Every file in a .rcc, by its path inside."""
    blob = path.read_bytes()
    if blob[:4] != b"qres":
        raise BadResourceError(f"{path} is not a Qt resource file")
    try:
        version, tree, data, names = struct.unpack_from(">iiii", blob, 4)
    except struct.error as error:
        raise BadResourceError(f"{path} is cut off") from error
    node_size = 14 if version == 1 else 22

    def name_at(offset: int) -> str:
        (length,) = struct.unpack_from(">H", blob, names + offset)  # then a hash of 4 bytes, then UTF-16
        return blob[names + offset + 6 : names + offset + 6 + 2 * length].decode("utf-16-be")

    def body_at(offset: int, flags: int) -> bytes:
        (size,) = struct.unpack_from(">i", blob, data + offset)
        body = blob[data + offset + 4 : data + offset + 4 + size]
        if flags & COMPRESSED_ZLIB:
            return zlib.decompress(body[4:])  # Qt puts the length before it
        if flags & COMPRESSED_ZSTD:
            import zstandard

            try:
                return zstandard.ZstdDecompressor().decompress(body, max_output_size=LARGEST)
            except zstandard.ZstdError as error:
                raise BadResourceError(f"{path} is damaged: {error}") from error
        return body

    def walk(index: int, parent: PurePosixPath) -> Iterator[tuple[str, bytes]]:
        at = tree + index * node_size
        name, flags = struct.unpack_from(">iH", blob, at)
        here = parent / name_at(name) if index else parent  # the root's name is empty
        if flags & FOLDER:
            count, first = struct.unpack_from(">ii", blob, at + 6)
            for child in range(first, first + count):
                yield from walk(child, here)
        else:
            (offset,) = struct.unpack_from(">i", blob, at + 10)
            yield str(here), body_at(offset, flags)

    try:
        return dict(walk(0, PurePosixPath()))
    except (struct.error, UnicodeDecodeError, zlib.error, RecursionError) as error:
        raise BadResourceError(f"{path} is damaged: {error}") from error


def parse_credits(readme: str) -> dict[str, Credit]:
    """The credit of each picture that a README names, by its path beside that README.

    A README is made of blocks with an empty line between them. A block has the lines ``Copyright:``, ``License:``,
    ``Source:``, ``Comment:`` and ``Files:`` in any order; files follow on the same line or on lines of their own.
    """
    found: dict[str, Credit] = {}
    for block in re.split(r"\n\s*\n", readme):
        fields: dict[str, list[str]] = {}
        files: list[str] = []
        key = ""
        for line in block.splitlines():
            field = re.match(r"(Copyright|Licen[cs]e|Source|Comments?|Files):\s*(.*)", line)
            if field:
                key = field[1].lower().rstrip("s").replace("licence", "license")
            text = (field[2] if field else line).strip()
            if text.lower().endswith(PICTURES) and (key == "file" or not field) and "://" not in text:
                files.append(text)  # some blocks list their files without the word
            elif text and key:
                fields.setdefault(key, []).append(text)
        if not (fields.get("copyright") and fields.get("license")):
            continue
        credit = Credit(
            author=re.sub(r"^©\s*(\d{4}\s+)?", "", " ".join(fields["copyright"])),
            license=plain_license(" ".join(fields["license"])),
            source_url=" ".join(fields.get("source", [])),
            comment=" ".join(fields.get("comment", [])),
        )
        found.update(dict.fromkeys(files, credit))
    return found


def plain_license(name: str) -> str:
    """One spelling of a licence's name: SPDX's, where there is one.

    >>> plain_license("CC-BY-SA 4.0")
    'CC-BY-SA-4.0'
    """
    if name.lower() == "public domain":
        return "Public domain"
    return re.sub(r"^(CC-BY(?:-SA)?) (?=\d)", r"\1-", name)


def read_texts(qml: str) -> dict[str, tuple[str, str]]:
    """Title and English text of each picture that a QML board describes, by the picture's path in the resources."""
    texts: dict[str, tuple[str, str]] = {}
    for entry in re.findall(r"\{[^{}]*\}", qml):
        found = re.findall(r'"(\w+)"\s*:\s*(?:qsTr\()?"((?:[^"\\]|\\.)*)"', entry)
        fields = {key: " ".join(re.sub(r"\\(.)", _unescape, value).split()) for key, value in found}
        if {"title", "text", "image2"} <= fields.keys():
            picture = fields["image2"].removeprefix("qrc:").lstrip("/")
            texts[picture] = (fields["title"], fields["text"])
    return texts


def _unescape(match: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t"}.get(match[1], match[1])


def credits_by_path(resources: dict[str, bytes]) -> dict[str, Credit]:
    """The credit of every picture that some README among the resources names, by its whole path."""
    found: dict[str, Credit] = {}
    for path, body in resources.items():
        if PurePosixPath(path).name == "README":
            folder = PurePosixPath(path).parent
            for name, credit in parse_credits(body.decode("utf-8")).items():
                found[str(folder / name)] = credit
    return found
