"""Parquet files as frames: columns of any type, in slices that fit in memory, with errors that name the file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives.parquet_chunks import Chunk, chunks
from captionlake.lake.sources.source import FRAME_ROWS
from captionlake.lake.sources.tables import unreadable, wrong_file

_SLICE_BYTES = 32 * 2**20
_FEW_ROWS = 64  # a slice of pictures' bytes, read only to see which are there


def parquet_files(inputs: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """Each Parquet file and its name in keys: the file's own, or its path in the folder where one name stands there twice.

    A folder is searched with all its subfolders, those that are hidden left out.
    """
    for path in map(Path, inputs):
        if not path.is_dir():
            yield path, path.name
            continue
        found = sorted(
            file
            for file in path.rglob("*.parquet")
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if not found:
            raise CaptionlakeError(f"{path} holds no .parquet file: give the Parquet files or their folder")
        names = [file.name for file in found]
        for file in found:
            yield file, file.relative_to(path).as_posix() if names.count(file.name) > 1 else file.name


@dataclass(frozen=True, slots=True)
class Table:
    """An open Parquet file, and its column chunks by row group."""

    file: pq.ParquetFile
    schema: pa.Schema
    leaves: list[str]  # the columns' paths, those of structs and lists down to their values: ``image.bytes``
    groups: list[list[Chunk]]
    n_rows: int


@contextmanager
def opened(path: Path) -> Iterator[Table]:
    """The Parquet file; what is found wrong with it while it is open becomes one plain error."""
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            leaves = [file.schema.column(index).path for index in range(len(file.schema.names))]
            groups = chunks(path, len(leaves))
            n_rows = sum(group[0].rows for group in groups)
            if n_rows != file.metadata.num_rows:
                raise CaptionlakeError(
                    f"{path}: a damaged Parquet file (its row groups have {n_rows:,} rows, where it should have "
                    f"{file.metadata.num_rows:,}): download it again"
                )
            yield Table(file, file.schema_arrow, leaves, groups, n_rows)
    except pa.ArrowInvalid as error:
        raise wrong_file(path, f"not a whole Parquet file ({_line(error)}), download it again if it is one") from error
    except (pa.ArrowException, EOFError, UnicodeDecodeError, MemoryError) as error:
        raise CaptionlakeError(f"{path}: a damaged Parquet file ({_line(error)}): download it again") from error
    except OSError as error:
        if error.errno is None:
            raise CaptionlakeError(f"{path}: a damaged Parquet file ({_line(error)}): download it again") from error
        raise unreadable(path, error) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def slices(table: Table, columns: list[str]) -> Iterator[tuple[int, pl.DataFrame]]:
    """(number of its first row, frame) of the columns; each slice has about ``FRAME_ROWS`` rows, fewer where rows are long."""
    if not columns:
        for start in range(0, table.n_rows, FRAME_ROWS):
            yield start, pl.DataFrame(height=min(FRAME_ROWS, table.n_rows - start))
        return
    for start, batch in batches(table, columns):
        yield start, frame_of(batch)


def batches(table: Table, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """As ``slices``, as Arrow has them."""
    start = 0
    for batch in table.file.iter_batches(batch_size=_slice_rows(table, columns), columns=columns):
        yield start, batch
        start += batch.num_rows


def _slice_rows(table: Table, columns: list[str]) -> int:
    wanted, longest = set(columns), 1.0
    taken = [index for index, leaf in enumerate(table.leaves) if not wanted.isdisjoint(_prefixes(leaf))]
    for group in table.groups:
        size = sum(group[index].uncompressed for index in taken)
        longest = max(longest, size / max(group[0].rows, 1))
    return max(_FEW_ROWS, min(FRAME_ROWS, int(_SLICE_BYTES / longest)))


def _prefixes(path: str) -> set[str]:
    parts = path.split(".")
    return {".".join(parts[: end + 1]) for end in range(len(parts))}


def frame_of(batch: pa.RecordBatch) -> pl.DataFrame:
    """The batch in Polars, whatever its types; bytes that are not UTF-8 in a column of text become U+FFFD."""
    columns: dict[str, pl.Series] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        columns[name if name not in columns else f"{name}_{len(columns)}"] = _series(name, array)
    return pl.DataFrame(columns) if columns else pl.DataFrame(height=batch.num_rows)


def _series(name: str, array: pa.Array) -> pl.Series:
    type = array.type
    if pa.types.is_dictionary(type):
        array, type = array.dictionary_decode(), type.value_type
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        array = _mended(array)
    if pa.types.is_binary(type) or pa.types.is_large_binary(type):
        array = pa.array([v if v is None else v.decode("utf-8", "replace") for v in array.to_pylist()], pa.string())
    elif not _plain(type):
        array = pa.array([None if v is None else str(v) for v in array.to_pylist()], pa.string())
    return pl.Series(name, array)


def _mended(array: pa.Array) -> pa.Array:
    """The array with U+FFFD for bytes that are not UTF-8, in structs and lists too."""
    type = array.type
    if pa.types.is_string(type) or pa.types.is_large_string(type):
        raw = array.cast(pa.large_binary(), safe=False).to_pylist()
        return pa.array([v if v is None else v.decode("utf-8", "replace") for v in raw], type)
    if pa.types.is_struct(type):
        fields = [_mended(array.field(index)) for index in range(type.num_fields)]
        names = [type.field(index).name for index in range(type.num_fields)]
        return pa.StructArray.from_arrays(fields, names, mask=array.is_null())
    if pa.types.is_list(type) or pa.types.is_large_list(type):
        ends = np.cumsum(pc.fill_null(pc.list_value_length(array), 0).to_numpy())
        missing = [*array.is_null().to_pylist(), False]
        offsets = pa.array([None if no else end for no, end in zip(missing, [0, *ends], strict=True)], pa.int64())
        return pa.LargeListArray.from_arrays(offsets, _mended(array.flatten()))
    return array


def _plain(type: pa.DataType) -> bool:
    """Types that Polars takes as they are."""
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_integer)
    if any(check(type) for check in checks) or type in (pa.float32(), pa.float64()):
        return True
    if pa.types.is_list(type) or pa.types.is_large_list(type):
        return _plain(type.value_type)
    if pa.types.is_struct(type):
        return type.num_fields > 0 and all(_plain(type.field(i).type) for i in range(type.num_fields))
    return False


def filled(table: Table, leaf: str) -> npt.NDArray[np.bool_]:
    """Which rows of a column of bytes (``image.bytes``, ``jpg``) are not null.

    The file's own statistics tell it mostly; where they do not, the column is read, some rows at a time.
    """
    parts: list[npt.NDArray[np.bool_]] = []
    column = table.leaves.index(leaf)
    for number, group in enumerate(table.groups):
        chunk = group[column]
        if chunk.nulls in (0, chunk.rows):
            parts.append(np.full(chunk.rows, chunk.nulls == 0))
            continue
        for batch in table.file.iter_batches(batch_size=_FEW_ROWS, row_groups=[number], columns=[leaf]):
            array = batch.column(0)
            for _ in leaf.split(".")[1:]:
                array = array.flatten()[0]
            parts.append(np.asarray(array.is_valid()))
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)
