"""Conversations as LLaVA's and ShareGPT4V's JSON: one list, a row a line.

The database makes the text of each row, and its column of texts is what is written, so that no row passes through Python.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.durable import sync_folder
from captionlake.lake.exports.ordered import ordered_rows, ranges_of
from captionlake.lake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.sft.origins import ROW_OF, count_of, list_origins, of_origin
from captionlake.lake.sft.record import MARK


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    rows: int
    n_bytes: int


def export_origin(lake: Lake, origin: str, path: Path) -> Written:
    """All conversations of the file ``origin``, in its order. ``path`` appears whole or not at all."""
    count = count_of(lake, origin)
    if not count:
        known = [one.origin for one in list_origins(lake)]
        raise CaptionlakeError(
            f"the lake has no conversations of {origin}: "
            + (f"there are {', '.join(known[:10])}" if known else "import some with  captionlake conversations import")
        )
    query = f"SELECT {ROW_OF} AS position, {RECORD} AS record FROM lake.conversations WHERE {of_origin(origin)}"
    return write_json(lake, query, {}, path, count)


def write_json(
    lake: Lake, query: str, given: dict[str, Any], path: Path, rows: int | None = None, *, listed: str | None = None
) -> Written:
    """Write the texts of ``query`` (position, perhaps ordinal, record) as a list. A record ends with a comma and a line feed.

    ``rows``: how many there must be, where that is known. ``listed``: a cheaper query for the positions alone, where there is one.

    Raises where a text or a row is lacking, and leaves no file then.
    """
    path = path.expanduser().absolute()
    if path.exists():
        raise CaptionlakeError(f"{path} is there already: remove it, or name another file")
    partial = path.with_name(f".{path.name}.partial")
    ranges = ranges_of(lake, listed or query, given if listed is None else None)
    rows = sum(ranges.values()) if rows is None else rows
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file, progress(f"export {path.name}", rows) as advance:
            file.write(b"[\n")
            done = 0
            for table in ordered_rows(lake, query, given, ranges):
                _write(file, table.column("record"), last=done + table.num_rows == rows)
                done += table.num_rows
                advance(table.num_rows)
            if done != rows:
                raise CaptionlakeError(f"only {done:,} of {rows:,} rows are there: run  captionlake release verify")
            file.write(b"]\n")
        partial.rename(path)
        sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return Written(rows, path.stat().st_size)


def _write(file: BinaryIO, texts: pa.ChunkedArray, *, last: bool) -> None:
    if texts.null_count:
        raise CaptionlakeError("a row of the release is no longer in the lake: run  captionlake release verify")
    for number, chunk in enumerate(texts.chunks, 1):
        _, offsets, data = chunk.buffers()
        if data is None:
            continue
        at = memoryview(offsets).cast("q") if pa.types.is_large_string(chunk.type) else memoryview(offsets).cast("i")
        end = at[chunk.offset + len(chunk)]
        if last and number == texts.num_chunks:
            end -= 2  # the comma and its line feed
        file.write(memoryview(data)[at[chunk.offset] : end])
    if last:
        file.write(b"\n")


# SQL over ``conversations``: the row, a comma and a line feed, put to the short part, as the whole would have to be copied.
RECORD = f"""replace(record::VARCHAR || e',\\n', '{MARK}', '"conversations":' || turns::VARCHAR)"""
