"""What a Parquet file's footer says of its column chunks, read by DuckDB.

PyArrow has the same facts (``RowGroupMetaData.column``), but lets a C++ exception through there that ends the whole process
where a footer is damaged (seen with 26.0.1: "Definition level histogram size mismatch").
"""

import functools
import threading
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import literal_glob

_FACTS = (
    "row_group_id, row_group_num_rows, num_values, total_compressed_size, total_uncompressed_size, stats_null_count"
)
_one = threading.Lock()


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column in one row group: rows, values (more than rows in lists), bytes, and how many are null where that is told."""

    rows: int
    values: int
    compressed: int
    uncompressed: int
    nulls: int | None


def chunks(path: Path, leaves: int) -> list[list[Chunk]]:
    """The chunks of each row group, in the order of the file's leaf columns, of which there are so many.

    Raises ``CaptionlakeError`` where the footer is damaged or contradicts itself.
    """
    try:
        with _one, _connection().cursor() as connection:
            found = connection.execute(f"SELECT {_FACTS} FROM parquet_metadata(?)", [literal_glob(path)]).fetchall()
    except (duckdb.Error, ValueError, OverflowError) as error:
        if isinstance(error, duckdb.FatalException | duckdb.InternalException):
            _connection.cache_clear()  # DuckDB answers nothing more after these
        why = " ".join(str(error).split())[:200]
        raise CaptionlakeError(f"{path}: a damaged Parquet file ({why}): download it again") from error
    groups = [[Chunk(*facts) for _, *facts in group] for _, group in groupby(found, key=lambda row: row[0])]
    for group in groups:
        odd = any(chunk.rows != group[0].rows or min(chunk.rows, chunk.values) < 0 for chunk in group)
        if odd or len(group) != leaves:
            raise CaptionlakeError(
                f"{path}: a damaged Parquet file (a row group is not as it must be): download it again"
            )
    return groups


@functools.cache
def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        config={"threads": "1", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
