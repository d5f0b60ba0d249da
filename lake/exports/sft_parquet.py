"""Conversations as Parquet that ``datasets`` reads: id, path of the picture, turns, and the whole row as JSON."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.lake.export import ExportCounts
from captionlake.lake.exports.json_files import ordered_rows
from captionlake.lake.lake import Lake

_ROWS_PER_FILE = 20 * 8192
_TURN = pa.struct([("from", pa.string()), ("value", pa.string())])
SCHEMA = pa.schema(
    [("id", pa.string()), ("image", pa.string()), ("conversations", pa.list_(_TURN)), ("record", pa.string())]
)


def write_sft_parquet(lake: Lake, query: str, given: dict[str, Any], folder: Path) -> ExportCounts:
    """``data/train-00000.parquet`` and so on. ``record`` is the row as JSON, with what no other column holds."""
    (folder / "data").mkdir()
    counts = ExportCounts()
    tables = ordered_rows(lake, query, given)
    for number in count():
        first = next(tables, None)
        if first is None:
            break
        path = folder / "data" / f"train-{number:05d}.parquet"
        with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
            written = 0
            for table in _until(first, tables, _ROWS_PER_FILE):
                writer.write_table(_columns(table))
                written += table.num_rows
        counts.rows += written
    return counts


def _until(first: pa.Table, tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    table: pa.Table | None = first
    while table is not None:
        yield table
        rows -= table.num_rows
        table = next(tables, None) if rows > 0 else None


def _columns(table: pa.Table) -> pa.Table:
    texts = [text.removesuffix(",\n") for text in table.column("record").to_pylist()]
    rows = []
    for text in texts:
        record = json.loads(text)
        id, image = record.get("id"), record.get("image")
        rows.append(
            {
                "id": None if id is None else str(id),
                "image": image if isinstance(image, str | None) else image[0] if image else None,
                "conversations": [{"from": turn["from"], "value": turn["value"]} for turn in record["conversations"]],
                "record": text,
            }
        )
    return pa.Table.from_pylist(rows, SCHEMA)
