"""Tables that users bring: CSV, TSV and JSON Lines, row by row with line numbers."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.sources.looks_like import looks_like

csv.field_size_limit(16 * 2**20)


def read_rows(path: Path, *, required: Iterable[str] = ()) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of a ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson`` file.

    ``required`` are alternatives: at least one of these columns must be there. Raises with file and line where the file is not
    what its name says.
    """
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        looks = looks_like(path)
        hint = f" (it looks like {looks})" if looks else ""
        raise CaptionlakeError(f"{path} is not a table{hint}: give a .csv, .tsv or .jsonl file")
    try:
        yield from reader(path, tuple(required))
    except UnicodeDecodeError as error:
        raise CaptionlakeError(f"{path} line {_broken_line(path)}: not UTF-8: save the file as UTF-8") from error
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check its path and rights") from error


def _broken_line(path: Path) -> int:
    """The first line that is not UTF-8; the decoder's own position counts within a part of the file."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _csv(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise CaptionlakeError(f"{path} is empty: it needs a header line and rows")
            names = [name.strip() for name in header]
            _check_columns(path, 1, names, required)
            if len(set(names)) < len(names):
                raise CaptionlakeError(f"{path} line 1: a column stands twice in {_shown(names)}: rename one")
            for values in reader:
                if not values:
                    continue
                if len(values) != len(names):
                    raise CaptionlakeError(
                        f"{path} line {reader.line_num}: {len(values)} fields where the header has {len(names)}: "
                        "quote fields that hold the separator"
                    )
                yield reader.line_num, dict(zip(names, values, strict=True))
        except csv.Error as error:
            raise CaptionlakeError(f"{path} line {reader.line_num}: {error}: mend the line") from error


def _json_lines(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        empty = True
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CaptionlakeError(
                    f"{path} line {number}: not JSON ({error}): one object a line is expected"
                ) from error
            if not isinstance(row, dict):
                raise CaptionlakeError(f"{path} line {number}: not a JSON object: one object a line is expected")
            if empty:
                _check_columns(path, number, list(row), required)
            empty = False
            yield number, row
        if empty:
            raise CaptionlakeError(f"{path} is empty: it needs one JSON object a line")


def _check_columns(path: Path, line: int, names: list[str], required: tuple[str, ...]) -> None:
    if required and not set(required) & set(names):
        wanted = " or ".join(f"`{name}`" for name in required)
        looks = looks_like(path)
        hint = f"; it looks like {looks}" if looks else ""
        raise CaptionlakeError(
            f"{path} line {line}: no column {wanted} (columns: {_shown(names)}{hint}): rename the column"
        )


def _shown(names: list[str]) -> str:
    """Names of columns on one line, whatever is in them."""
    return "".join(c if c.isprintable() else " " for c in ", ".join(names))[:200]
