"""A query's result for people, programs and files: an aligned table, JSON, CSV, Parquet; batch by batch.

Text from the lake is hostile: control characters and bidirectional overrides reach a terminal as escapes only. Bytes are shown by
their length and first bytes, and stand whole in Parquet alone.
"""

import csv
import json
import math
import os
import re
import uuid
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import printable, table

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_ROWS = 1000  # rows that the table format shows
_CELL = 120  # characters of a value that the table format shows
_HEX_BYTES = 8
_EXPLAINED = ["explain_key", "explain_value"]


def write_file(reader: "pa.RecordBatchReader", path: Path, form: str) -> int:
    """Write the rows to ``path``, whole or not at all; a file that stands there is replaced. Returns how many rows."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        if form == "parquet":
            rows = _parquet(reader, partial)
        else:
            with partial.open("x", encoding="utf-8", newline="") as file:
                rows = write_text(reader, file, form)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be written ({error.strerror or error}): choose another file") from error
    finally:
        partial.unlink(missing_ok=True)
    return rows


def write_text(reader: "pa.RecordBatchReader", out: IO[str], form: str, *, terminal: bool = False) -> int:
    """Write the rows as ``table``, ``json`` or ``csv``. On a terminal CSV is escaped too; JSON always is, and stays the same data."""
    if form == "table":
        return _table(reader, out)
    return _json(reader, out) if form == "json" else _csv(reader, out, terminal)


def _parquet(reader: "pa.RecordBatchReader", path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    try:
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += len(batch)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise CaptionlakeError(f"Parquet does not hold this result ({error}): cast the column to VARCHAR") from error
    return rows


def _json(reader: "pa.RecordBatchReader", out: IO[str]) -> int:
    """One object: ``columns``, ``rows`` (an object each), ``n_rows``."""
    names, rows = reader.schema.names, 0
    out.write(f'{{"columns": {_json_text(names)}, "rows": [')
    for row in _rows(reader):
        out.write(f"{',' if rows else ''}\n{_json_text(dict(zip(names, row, strict=True)))}")
        rows += 1
    out.write(f'], "n_rows": {rows}}}\n')
    return rows


def _json_text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return re.sub(r"[^ -~]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def _csv(reader: "pa.RecordBatchReader", out: IO[str], terminal: bool) -> int:
    shown = printable if terminal else str
    writer, rows = csv.writer(out, lineterminator="\n"), 0
    writer.writerow([shown(name) for name in reader.schema.names])
    for batch in reader:
        columns = [_plain_values(column) for column in batch.columns]
        for number, field in enumerate(batch.schema):
            if terminal or not _as_it_is(field.type):
                columns[number] = [None if value is None else shown(_text(value)) for value in columns[number]]
        writer.writerows(zip(*columns, strict=True))
        rows += len(batch)
    return rows


def _table(reader: "pa.RecordBatchReader", out: IO[str]) -> int:
    names, rows = reader.schema.names, list(_rows(reader))
    if names == _EXPLAINED:
        for _, plan in rows:
            out.writelines(f"{printable(line)}\n" for line in str(plan).splitlines())
        return len(rows)
    out.write(table([printable(name) for name in names], [[_cell(value) for value in row] for row in rows]) + "\n")
    return len(rows)


def _cell(value: Any) -> object:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    text = _text(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rows(reader: "pa.RecordBatchReader") -> Iterator[tuple[Any, ...]]:
    """The rows, of values that JSON has."""
    for batch in reader:
        yield from zip(*map(_plain_values, batch.columns), strict=True)


def _as_it_is(kind: "pa.DataType") -> bool:
    """Whether ``plain`` leaves a column's values alone and CSV writes them as they are."""
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind))


def _plain_values(column: "pa.Array") -> list[Any]:
    values = _values(column)
    return values if _as_it_is(column.type) else [plain(value) for value in values]


def _values(column: "pa.Array") -> list[Any]:
    """Python values; where Python has none for them (a year past 9999, nanoseconds), their text."""
    import pyarrow as pa

    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, ImportError):
        values = column.cast(pa.string()).to_pylist()
    return values


def plain(value: Any) -> Any:
    """A value as JSON has it: times in ISO 8601, bytes by length and first bytes, a number that is none as null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        head = value[:_HEX_BYTES].hex()
        return f"<{len(value):,} bytes: {head}{'…' if len(value) > _HEX_BYTES else ''}>"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if type(value).__name__ == "MonthDayNano":  # Arrow's interval, a named tuple
        return f"{value[0]} months {value[1]} days {value[2] / 1e9:g} s"
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)
