"""The Parquet files of one split of a release, in row groups that are read one after another."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.lake.releases.release import Release

_BYTES_PER_GROUP = 128 * 2**20
_BYTES_PER_FILE = 512 * 2**20


def described(schema: pa.Schema, features: dict[str, Any], release: Release) -> pa.Schema:
    """The schema with what the Hub is to know of its columns, and with what release the rows are of."""
    told = {"release": release.label, "content_sha256": release.content_sha256, "kind": release.kind}
    return schema.with_metadata(
        {"huggingface": json.dumps({"info": {"features": features}}), "captionlake": json.dumps(told)}
    )


class SplitWriter:
    """Writes rows in their order; the files get their final names, with their number, when all are written."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema, rows_per_group: int) -> None:
        self._folder = folder
        self._split = split
        self._schema = schema
        self._rows_per_group = rows_per_group
        self._files: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._group: list[dict[str, Any]] = []
        self._group_bytes = 0
        self._file_bytes = 0

    def add(self, row: dict[str, Any], n_bytes: int) -> None:
        """Append a row of about so many bytes."""
        full = len(self._group) == self._rows_per_group or self._group_bytes + n_bytes > _BYTES_PER_GROUP
        if self._group and full:
            self._flush()
        self._group.append(row)
        self._group_bytes += n_bytes

    def _flush(self) -> None:
        if self._writer is None or self._file_bytes > _BYTES_PER_FILE:
            if self._writer is not None:
                self._writer.close()
            self._files.append(self._folder / f"{self._split}-{len(self._files):05d}.parquet")
            self._writer = pq.ParquetWriter(self._files[-1], self._schema, compression="zstd", write_page_index=True)
            self._file_bytes = 0
        self._writer.write_table(pa.Table.from_pylist(self._group, self._schema))
        self._file_bytes += self._group_bytes
        self._group, self._group_bytes = [], 0

    def close(self) -> list[Path]:
        """Finish, and name the files."""
        if self._group:
            self._flush()
        if self._writer is not None:
            self._writer.close()
        total = len(self._files)
        return [
            path.rename(self._folder / f"{self._split}-{number:05d}-of-{total:05d}.parquet")
            for number, path in enumerate(self._files)
        ]
