"""MMBench's form of table: a TSV with a row a question, ``index``, and the picture in base64 in ``image``.

In the circular form a row's ``image`` can be the ``index`` of the row that has the picture.
"""

import base64
import binascii
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from captionlake.errors import CaptionlakeError

_LONGEST_INDEX = 64  # characters: no picture in base64 is so short
_FIELD = 64 * 2**20  # bytes of a picture in base64, at most
_HEAD_BYTES = 64 * 1024
_REFERENCE = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row at a ``line`` of the file: ``values`` by column, or None and what is the ``problem`` with it."""

    line: int
    values: dict[str, str] | None
    problem: str = ""


def table_columns(path: Path) -> list[str]:
    """The names in the header."""
    try:
        with path.open("rb") as file:
            first = file.readline(_HEAD_BYTES)
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check its path and rights") from error
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CaptionlakeError(f"{path} is UTF-16 text: save it as UTF-8")
    return [name.strip().strip('"') for name in first.decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")]


def table_rows(path: Path) -> Iterator[TableRow]:
    """Row by row. One that breaks the table's form has a problem, and the rows after it are read."""
    names = table_columns(path)
    before = csv.field_size_limit(_FIELD)
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.reader(file, delimiter="\t")
            next(rows, None)
            while True:
                line = rows.line_num + 1
                try:
                    row = next(rows)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield TableRow(line, None, str(error))
                    continue
                if row and len(row) != len(names):
                    yield TableRow(line, None, f"{len(row)} fields where the header has {len(names)}")
                elif row:
                    yield _row(line, dict(zip(names, row, strict=True)))
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check its path and rights") from error
    finally:
        csv.field_size_limit(before)


def _row(line: int, values: dict[str, str]) -> TableRow:
    number = plain_index(values.get("index", ""))
    if not number or "\ufffd" in number:
        return TableRow(line, None, "no index")
    return TableRow(line, values | {"index": number})


def picture_in(image: str) -> bytes | str:
    """What the column ``image`` holds: a picture, or the index of the row that has it. Raises ``ValueError``."""
    image = image.strip()
    if not image:
        raise ValueError("no picture")
    if len(image) <= _LONGEST_INDEX and _REFERENCE.fullmatch(plain_index(image)):
        return plain_index(image)
    try:
        return base64.b64decode("".join(image.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the picture is not base64 ({error})") from error


def plain_index(number: str) -> str:
    """An index as MMBench writes it, or as a table program does once a column has gaps: 241.0."""
    return number.strip().removesuffix(".0")
