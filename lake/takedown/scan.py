"""Proof that nothing of a takedown is left: every file of the lake decoded and looked through.

Two questions. Do the tables, shards and copies still hold a picture of the takedown, or rows of it? That follows from its hashes alone. And
do the bytes of a picture, its URL or its key stand anywhere, in any form? That needs them, so whoever asks brings them.
"""

import gzip
import hashlib
import mmap
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.lake.lake import Lake
from captionlake.lake.place import catalog_of, is_of_catalog
from captionlake.lake.s3_storage import S3Storage
from captionlake.lake.takedown.needles import Needle
from captionlake.lake.takedown.targets import CHANGED, DELETED, list_targets
from captionlake.lake.takedown.tombstone import Hashes, tombstones
from captionlake.lake.upgrade import made_at

_BATCH = 256  # rows of a Parquet file at once


@dataclass(slots=True)
class Scan:
    """What was looked at, and where something is left."""

    files: dict[str, int] = field(default_factory=dict)  # by kind
    n_bytes: int = 0
    values: int = 0  # texts and pictures decoded from Parquet, the catalog and archives
    left: list[str] = field(default_factory=list)


def scan(lake: Lake, hashes: Hashes, needles: Iterable[Needle] = ()) -> Scan:
    """Look through all of a lake. ``left`` is empty where nothing of the takedown is there."""
    found = Scan()
    found.left += _rows_left(lake, hashes)
    if lake.data_place.bucket is not None:
        found.left += [
            f"{key}: a former version, {version}" for key, version in lake.data_place.bucket.former_versions()
        ]
    wanted = list(needles)
    for name, path in _files(lake):
        kind = _kind(path)
        found.files[kind] = found.files.get(kind, 0) + 1
        found.n_bytes += path.stat().st_size
        problems = [f"{name}: {what}" for what in _raw(path, wanted)]
        for where, value in _decoded(path, kind):
            found.values += 1
            problems += [f"{name}, {where}: {one.name}" for one in wanted if any(p in value for p in one.patterns)]
            if kind == "picture shard" and hashlib.sha256(value).hexdigest() in hashes.image_ids:
                problems.append(f"{name}, {where}: the picture itself")
        if kind in ("spool or staging", "copy"):
            problems += [f"{name}: {image_id}" for image_id in hashes.image_ids if _holds(path, image_id.encode())]
        found.left += problems
    catalog = catalog_of(lake.path)
    for place in [catalog, *map(catalog.backup, catalog.backups())]:
        for where, value in place.dump():
            found.values += 1
            found.left += [
                f"{where}: {one.name}" for one in wanted if any(pattern in value for pattern in one.patterns)
            ]
    found.left += _older_backups(lake, catalog.backups(), hashes)
    return found


def _files(lake: Lake) -> Iterator[tuple[str, Path]]:
    """(name, path) of all files of the lake; of those in a bucket a copy, for as long as it is looked at."""
    for path in sorted(path for path in lake.path.rglob("*") if path.is_file()):
        yield str(path.relative_to(lake.path)), path
    if lake.data_place.bucket is None:
        return
    stored = S3Storage(lake.data_place.bucket, "")
    with tempfile.TemporaryDirectory(prefix="captionlake-") as folder:
        for entry in stored.entries():
            copy = Path(folder) / entry.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            stored.fetch(entry.name, copy)
            yield f"{stored.url}/{entry.name}", copy
            copy.unlink()


def _rows_left(lake: Lake, hashes: Hashes) -> Iterator[str]:
    """Rows of the takedown in the tables, now and at every snapshot that is left."""
    for (snapshot,) in lake.rows("SELECT snapshot_id FROM ducklake_snapshots('lake') ORDER BY 1"):
        for table in ("images", "captions", "embeddings", "contamination"):
            if not _had(lake, table, snapshot):
                continue
            query = (
                f"SELECT count(*) FROM lake.{table} AT (VERSION => {snapshot:d}) WHERE list_contains($ids, image_id)"
            )
            if count := lake.value(query, {"ids": hashes.image_ids}):
                yield f"table {table} at snapshot {snapshot}: {count:,} rows"
    list_targets(lake, lake.connection, hashes)
    for table, where in DELETED.items():
        if count := lake.value(f"SELECT count(*) FROM lake.{table} WHERE {where}"):
            yield f"table {table}: {count:,} rows"
    for table, (where, _) in CHANGED.items():
        if count := lake.value(f"SELECT count(*) FROM lake.{table} WHERE {where}"):
            yield f"table {table}: {count:,} rows"


def _older_backups(lake: Lake, names: Iterable[str], hashes: Hashes) -> Iterator[str]:
    """Backups of the catalog from before the takedown, which it removes."""
    since = [f"{one.created_at:%Y%m%dT%H%M%SZ}" for one in tombstones(lake) if one.hashes == hashes]
    yield from (f"{name}: a backup from before it" for name in names if made_at(name) < max(since, default=""))


def _had(lake: Lake, table: str, snapshot: int) -> bool:
    return bool(
        lake.value(
            "SELECT count(*) FROM __ducklake_metadata_lake.ducklake_table WHERE table_name = ? AND begin_snapshot <= ? "
            "AND (end_snapshot IS NULL OR end_snapshot > ?)",
            [table, snapshot, snapshot],
        )
    )


def _kind(path: Path) -> str:
    parts = set(path.parts)
    if is_of_catalog(path):
        return "catalog"
    if path.suffix == ".parquet":
        return "picture shard" if path.parent.name == "images" else "table"
    if "cache" in parts:
        return "copy"
    return "spool or staging" if parts & {"spool", "staging", "downloads"} else "other"


def _raw(path: Path, needles: list[Needle]) -> Iterator[str]:
    """Needles in the bytes of a file as they lie there."""
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from (one.name for one in needles if any(data.find(pattern) >= 0 for pattern in one.patterns))


def _holds(path: Path, text: bytes) -> bool:
    return bool(list(_raw(path, [Needle("", (text,))])))


def _decoded(path: Path, kind: str) -> Iterator[tuple[str, bytes]]:
    """(place, value) of what a file holds compressed or encoded."""
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".gz":
        yield "unpacked", gzip.decompress(path.read_bytes())
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)


def _parquet(path: Path) -> Iterator[tuple[str, bytes]]:
    with pq.ParquetFile(path) as file:
        for key, value in (file.metadata.metadata or {}).items():
            yield f"metadata {key.decode(errors='replace')}", value
        row = 0
        for batch in file.iter_batches(_BATCH):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                for number, value in _values(column):
                    yield f"row {row + number}, {name}", value
            row += batch.num_rows


def _values(column: pa.Array) -> Iterator[tuple[int, bytes]]:
    """Texts and bytes of a column, however deep they are nested, with the row of the batch."""
    kind = column.type
    if (
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    ):
        for number, value in enumerate(column.cast(pa.large_binary()).to_pylist()):
            if value is not None:
                yield number, value
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if pa.types.is_string(kind.value_type) or pa.types.is_nested(kind.value_type):
            parents = column.flatten()
            yield from ((0, value) for _, value in _values(parents))
    elif pa.types.is_struct(kind):
        for part in column.flatten():
            yield from _values(part)
    elif pa.types.is_dictionary(kind):
        yield from _values(column.dictionary_decode())
