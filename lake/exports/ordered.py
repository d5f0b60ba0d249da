"""Rows of a query in order of their position, whatever their size: gathered by ranges of positions, and each range sorted.

The database's own sort holds wide rows in memory. Here a range goes on as soon as its rows have come; what has come too early waits in
memory, and in files where it is much.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from captionlake.lake.exports.ahead import ahead
from captionlake.lake.lake import Lake

ROWS_PER_RANGE = 8192  # positions of one range
_WAITING = 96 * 2**20  # bytes that wait in memory
_BATCH = 8192  # rows that the database hands over at once
_MEMORY = 512 * 2**20  # bytes that the database may take, and more for each row:
_PER_ROW = (
    300  # bytes: its ids, its path and its place in the tables by which captions find their rows, and room beside them
)


def ranges_of(lake: Lake, query: str, given: dict[str, Any] | None) -> dict[int, int]:
    """How many rows of a query fall into each range of positions."""
    counted = f"SELECT position // {ROWS_PER_RANGE}, count(*) FROM ({query}) GROUP BY 1"
    return dict(lake.connection.cursor().execute(counted, given).fetchall())


def ordered_rows(
    lake: Lake, query: str, given: dict[str, Any], ranges: dict[int, int] | None = None
) -> Iterator[pa.Table]:
    """The rows of a query in order of its column ``position``, in memory that grows with their number but not with their texts."""
    ranges = ranges_of(lake, query, given) if ranges is None else ranges
    memory = _MEMORY + _PER_ROW * sum(ranges.values())
    with lake.staging("export") as staging, lake.memory_limit(memory), lake.joins_as_written():
        reader = lake.connection.cursor().execute(query, given).to_arrow_reader(_BATCH)
        yield from in_order(ahead(reader), ranges, staging)


def in_order(batches: Iterable[pa.RecordBatch], ranges: Mapping[int, int], folder: Path) -> Iterator[pa.Table]:
    """Tables of consecutive rows by their column ``position``, and by ``ordinal`` where there is one.

    ``ranges``: how many rows each range has, by ``position // ROWS_PER_RANGE``. ``folder`` is for files that are gone at the end.
    """
    waiting = _Waiting(ranges, folder)
    order = iter(sorted(ranges))
    following = next(order, None)
    for batch in batches:
        waiting.take(batch)
        while following is not None and waiting.is_whole(following):
            yield waiting.give(following)
            following = next(order, None)
    while following is not None:  # rows are lacking, which the reader of these tables finds out
        if waiting.has(following):
            yield waiting.give(following)
        following = next(order, None)


class _Waiting:
    def __init__(self, ranges: Mapping[int, int], folder: Path) -> None:
        self._wanted = ranges
        self._folder = folder
        self._parts: dict[int, list[pa.RecordBatch]] = {}
        self._rows: dict[int, int] = {}
        self._n_bytes = 0
        self._spilled: dict[int, list[Path]] = {}

    def take(self, batch: pa.RecordBatch) -> None:
        """Part the rows by their ranges."""
        ranges = batch.column("position").to_numpy() // ROWS_PER_RANGE
        if np.any(ranges[1:] < ranges[:-1]):
            order = np.argsort(ranges, kind="stable")
            batch, ranges = batch.take(pa.array(order)), ranges[order]
        for start, end in pairwise([0, *(np.flatnonzero(np.diff(ranges)) + 1).tolist(), len(ranges)]):
            if end > start:
                number = int(ranges[start])
                self._parts.setdefault(number, []).append(batch.slice(start, end - start))
                self._rows[number] = self._rows.get(number, 0) + end - start
        self._n_bytes += batch.nbytes
        if self._n_bytes > _WAITING:
            self._spill()

    def has(self, number: int) -> bool:
        return number in self._rows

    def is_whole(self, number: int) -> bool:
        return self._rows.get(number, 0) >= self._wanted[number]

    def give(self, number: int) -> pa.Table:
        """The rows of one range, sorted; they are forgotten here."""
        parts = self._parts.pop(number, [])
        self._n_bytes -= sum(part.nbytes for part in parts)
        for path in self._spilled.pop(number, []):
            with pa.ipc.open_stream(path) as reader:
                parts += list(reader)
            path.unlink()
        table = pa.Table.from_batches(parts)
        keys = [(name, "ascending") for name in ("position", "ordinal") if name in table.column_names]
        return table.sort_by(keys).combine_chunks()

    def _spill(self) -> None:
        """Each range's rows into a file of its own."""
        for number, parts in self._parts.items():
            paths = self._spilled.setdefault(number, [])
            paths.append(self._folder / f"range-{number}-{len(paths)}.arrow")
            with pa.ipc.new_stream(paths[-1], parts[0].schema) as writer:
                for part in parts:
                    writer.write_batch(part)
        self._parts.clear()
        self._n_bytes = 0
