"""MMBench's TSV, and others of its form: a row a question, with ``index`` and the picture in base64 in ``image``.

In the circular form a row's ``image`` can be the ``index`` of the row that has the picture.
"""

import base64
import binascii
import csv
import re
from collections.abc import Iterator
from pathlib import Path

from captionlake.curation.benchmarks.benchmark import Benchmark, Item, bad_row, item_name
from captionlake.errors import CaptionlakeError

_LONGEST_INDEX = 64  # characters: no picture in base64 is so short
_FIELD = 64 * 2**20  # bytes of a picture in base64, at most
_HEAD_BYTES = 64 * 1024
_REFERENCE = re.compile(r"[0-9]{1,20}")


def found(root: Path) -> list[Benchmark]:
    """The benchmarks of the TSV files in the folder, or of the one given; all files of MMBench are one benchmark."""
    paths = sorted(root.glob("*.tsv")) if root.is_dir() else [root] if root.suffix.lower() == ".tsv" else []
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        if path.is_file() and {"index", "image"} <= set(_header(path)):
            stem = path.stem.lower()
            by_name.setdefault("mmbench" if stem.startswith("mmbench") else stem, []).append(path)
    return [_benchmark(name, tuple(files)) for name, files in by_name.items()]


def _benchmark(name: str, files: tuple[Path, ...]) -> Benchmark:
    def items() -> Iterator[Item]:
        for path in files:
            yield from _items(path)

    return Benchmark(name=name, form="a TSV as MMBench's", files=files, items=items)


def _header(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            first = file.readline(_HEAD_BYTES)
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check its path and rights") from error
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CaptionlakeError(f"{path} is UTF-16 text: save it as UTF-8")
    return [name.strip().strip('"') for name in first.decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")]


def _items(path: Path) -> Iterator[Item]:
    """An item a row. A row that breaks the table's form is an item too, named by its line, and the rows after it are read."""
    names = _header(path)
    index, image = names.index("index"), names.index("image")
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
                    yield bad_row(item_name(path.name, f"line {line}"), str(error))
                    continue
                if row:
                    yield _item(path, line, row, index, image, len(names))
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check its path and rights") from error
    finally:
        csv.field_size_limit(before)


def _item(path: Path, line: int, row: list[str], index: int, image: int, columns: int) -> Item:
    if len(row) != columns:
        detail = f"{len(row)} fields where the header has {columns}"
        return bad_row(item_name(path.name, f"line {line}"), detail)
    number, picture = _plain(row[index]), row[image].strip()
    if not number or "\ufffd" in number:
        return bad_row(item_name(path.name, f"line {line}"), "no index")
    name = item_name(path.name, f"index {number}")
    if not picture:
        return bad_row(name, "no picture")
    if len(picture) <= _LONGEST_INDEX and _REFERENCE.fullmatch(_plain(picture)):
        return Item(name=name, same_as=item_name(path.name, f"index {_plain(picture)}"))
    try:
        return Item(name=name, data=base64.b64decode("".join(picture.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        return bad_row(name, f"the picture is not base64 ({error})")


def _plain(number: str) -> str:
    """An index as MMBench writes it, or as a table program does once a column has gaps: 241.0."""
    return number.strip().removesuffix(".0")
