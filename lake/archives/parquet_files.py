"""Pictures in the cells of a Parquet file: member ``COLUMN/ROW``, rows counted from 0 through the whole file; of a column of lists,
``COLUMN/ROW/NUMBER``, numbers from 0 too.

``COLUMN`` is the path of a binary column, such as ``jpg`` or ``image.bytes`` (the field ``bytes`` of the struct ``image``, the
Hub's form). Rows read in ascending order are decoded once, some megabytes at a time; going back begins the row group anew.
Arrow takes a page whole into memory, so one page is the least that is held.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives.member import MemberError
from captionlake.lake.archives.parquet_chunks import chunks
from captionlake.lake.reasons import FailureReason

_BATCH_BYTES = 2**22  # of cells that are decoded at once
_BATCH_ROWS = 1024
_BUFFER = 2**20  # bytes of a column that are read from the file at once
_BOMB_RATIO, _BOMB_BYTES = 200, 2**28  # a column of pictures is never compressed so far


@dataclass(slots=True)
class _Cursor:
    """Where the reading of one column stands: the batch at hand begins at row ``start`` of its row group."""

    group: int
    batches: Iterator[Any]
    start: int
    cells: Any


class ParquetReader:
    """Reads cells of one Parquet file."""

    def __init__(self, archive: Path, max_bytes: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._damage = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
        self._max_bytes = max_bytes
        try:
            self._file = pq.ParquetFile(archive, buffer_size=_BUFFER, page_checksum_verification=True)
            schema = self._file.metadata.schema
            self._columns = {schema.column(index).path: index for index in range(len(schema))}
        except self._damage as error:
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CaptionlakeError(f"{archive} is not a whole Parquet file ({what}): download it again") from error
        self._groups = chunks(archive, len(schema))
        self._ends = list(accumulate(group[0].rows for group in self._groups))
        self._cursors: dict[str, _Cursor] = {}

    def read(self, member: str, offset: int | None, n_bytes: int | None) -> bytes:
        column, row, number = self._parsed(member)
        if column not in self._columns or not 0 <= row < (self._ends[-1] if self._ends else 0):
            raise MemberError(FailureReason.MISSING_MEMBER, "no such column and row in the Parquet file")
        group = bisect_right(self._ends, row)
        try:
            cell = self._cell(column, group, row - (self._ends[group - 1] if group else 0))
            if number is not None:
                cell = _within(cell, number)
            buffer = cell.as_buffer() if cell.is_valid else None
        except (*self._damage, AttributeError, StopIteration) as error:
            self._cursors.pop(column, None)
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MemberError(
                FailureReason.TRUNCATED, f"the row group {group} is damaged or not binary: {what}"
            ) from error
        if buffer is None:
            raise MemberError(FailureReason.MISSING_MEMBER, "the cell is null")
        if buffer.size > self._max_bytes:
            raise MemberError(FailureReason.TOO_LARGE, f"{buffer.size:,} bytes, over {self._max_bytes:,}")
        return bytes(buffer.to_pybytes())

    def close(self) -> None:
        self._cursors.clear()
        self._file.close()

    def _parsed(self, member: str) -> tuple[str, int, int | None]:
        """Column, row and number within the row's list; the row is -1 where it is none."""
        column, _, last = member.rpartition("/")
        if column in self._columns:
            return column, _number(last), None
        column, _, row = column.rpartition("/")
        return column, _number(row), _number(last)

    def _cell(self, column: str, group: int, row: int) -> Any:
        cursor = self._cursors.get(column)
        if cursor is None or cursor.group != group or row < cursor.start:
            cursor = self._cursors[column] = self._cursor(column, group)
        while row >= cursor.start + len(cursor.cells):
            cursor.start += len(cursor.cells)
            cursor.cells = ()
            cursor.cells = _leaf(next(cursor.batches))
        return cursor.cells[row - cursor.start]

    def _cursor(self, column: str, group: int) -> _Cursor:
        chunk = self._groups[group][self._columns[column]]
        swollen = chunk.uncompressed
        if swollen > _BOMB_BYTES and swollen > _BOMB_RATIO * max(chunk.compressed, 1):
            raise MemberError(FailureReason.BOMB, f"a column that swells to {swollen:,} bytes")
        rows = max(min(chunk.rows, chunk.values), 1)
        batch = max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows // max(swollen, 1)))
        batches = self._file.iter_batches(batch, row_groups=[group], columns=[column], use_threads=False)
        return _Cursor(group, batches, 0, ())


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else -1


def _within(cell: Any, number: int) -> Any:
    """The value of a list in a cell."""
    values: Any = _out_of_structs(cell.values) if cell.is_valid else ()
    if not 0 <= number < len(values):
        raise MemberError(FailureReason.MISSING_MEMBER, "no such picture in the row's list")
    return values[number]


def _leaf(batch: Any) -> Any:
    """The column's values, out of the structs it lies in."""
    return _out_of_structs(batch.column(0))


def _out_of_structs(values: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    while pa.types.is_struct(values.type):
        values = pc.struct_field(values, [0])
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values
