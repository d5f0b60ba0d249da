"""The Parquet files of one split of a release, in row groups that are read one after another.

Pages end where the content says so (content-defined chunking), so that a store which keeps equal pieces once, as the Hub's does, takes
in of a new version only what changed. Pictures are compressed already and are stored as they are; texts are compressed.
"""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.lake.durable import sync_file
from captionlake.lake.lake import Lake
from captionlake.lake.releases.redacted import IS_REDACTED
from captionlake.lake.releases.release import Release

BYTES_PER_GROUP = 64 * 2**20
ROWS_PER_GROUP = 1024
_BYTES_PER_FILE = 512 * 2**20
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # as the Hub has it


def described(schema: pa.Schema, release: Release, **told: Any) -> pa.Schema:
    """The schema with the Hub's types of its columns, and with what release the rows are of, and ``told`` beside."""
    features = {field.name: _feature(field.type) for field in schema}
    told = {"release": release.label, "content_sha256": release.content_sha256, "kind": release.kind, **told}
    told["content_defined_chunks"] = True  # nothing else in a file says so
    return schema.with_metadata(
        {"huggingface": json.dumps({"info": {"features": features}}), "captionlake": json.dumps(told)}
    )


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == PICTURE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    named = {pa.timestamp("us", tz="UTC"): "timestamp[us, tz=UTC]"}
    return {"_type": "Value", "dtype": named.get(kind, str(kind))}


def told_of(lake: Lake, release: Release) -> dict[str, Any]:
    """What of a release no row says: its recipe, and [position, row_sha256, split] of each row whose picture was taken down."""
    given = [release.name, release.version]
    recipe = lake.value("SELECT recipe FROM releases WHERE name = ? AND version = ?", given)
    holes = lake.rows(
        f'SELECT "position", row_sha256, split FROM release_items WHERE name = ? AND version = ? AND {IS_REDACTED} ORDER BY 1',
        given,
    )
    return {"recipe": recipe, "redacted": holes}


class SplitWriter:
    """Writes row groups in their order; the files get their final names, with their number, when all are written.

    ``stored``: the column that is not compressed, by its path in the file.
    """

    def __init__(self, folder: Path, split: str, schema: pa.Schema, stored: str) -> None:
        self._folder = folder
        self._split = split
        self._schema = schema
        self._stored = stored
        self._leaves = _leaves(schema)
        self._files: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._file_bytes = 0
        self._syncing = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._synced: Future[None] | None = None

    def write(self, group: pa.Table) -> None:
        """Append a row group."""
        if self._writer is None or self._file_bytes > _BYTES_PER_FILE:
            if self._writer is not None:
                self._writer.close()
            self._files.append(self._folder / f"{self._split}-{len(self._files):05d}.parquet")
            small = [path for path in self._leaves if path != self._stored]
            self._writer = pq.ParquetWriter(
                self._files[-1],
                self._schema,
                compression={path: "ZSTD" if path in small else "NONE" for path in self._leaves},
                use_dictionary=small,
                write_statistics=small,
                write_page_index=True,
                use_content_defined_chunking=True,
            )
            self._file_bytes = 0
        self._writer.write_table(group, row_group_size=max(1, group.num_rows))
        self._file_bytes += group.nbytes
        if self._synced is None or self._synced.done():  # the disk works while the next group is made
            self._synced = self._syncing.submit(sync_file, self._files[-1])

    def close(self) -> list[Path]:
        """Finish, name the files, and have them on the disk."""
        if self._writer is not None:
            self._writer.close()
        self._syncing.shutdown()
        for path in self._files:
            sync_file(path)
        total = len(self._files)
        return [
            path.rename(self._folder / f"{self._split}-{number:05d}-of-{total:05d}.parquet")
            for number, path in enumerate(self._files)
        ]


def _leaves(schema: pa.Schema) -> list[str]:
    """The paths of the columns as Parquet has them."""
    empty = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), empty)
    found = pq.ParquetFile(pa.BufferReader(empty.getvalue())).schema
    return [found.column(number).path for number in range(len(found))]
