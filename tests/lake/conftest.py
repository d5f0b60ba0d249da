"""A lake with pictures, captions and a release, for the tests of read-only SQL, and a file outside it that no query may read."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from captionlake.lake import Lake
from captionlake.lake.locking import write_lock
from captionlake.lake.query_child import open_read_only
from captionlake.lake.shards import ShardWriter, place_shard

CANARY = "canary-7c1e-secret"
N_IMAGES = 24
NOW = datetime(2024, 5, 17, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SqlLake:
    """The lake's folder, the canary file beside it, and the snapshot its release pins."""

    path: Path
    canary: Path
    pinned: int

    def state(self) -> dict[str, str]:
        """Hash of each file of the lake and of the canary's folder; SQLite's own two side files come and go with readers."""
        return {
            str(file): hashlib.sha256(file.read_bytes()).hexdigest()
            for root in (self.path, self.canary.parent)
            for file in sorted(root.rglob("*"))
            if file.is_file() and not file.name.endswith(("-shm", "-wal"))
        }


@pytest.fixture(scope="session")
def sql_lake(tmp_path_factory: pytest.TempPathFactory, tiles: Callable[[int], list[bytes]]) -> SqlLake:
    """24 pictures of two collections, 2 captions each; release demo@1.0.0 of the first 10 pictures, then 4 more pictures."""
    root = tmp_path_factory.mktemp("sql")
    canary = root / "outside" / "canary.csv"
    canary.parent.mkdir()
    canary.write_text(f"secret\n{CANARY}\n")
    pictures = tiles(N_IMAGES + 4)
    with Lake.init(root / "lake") as lake:
        ingest_pictures(lake, pictures[:N_IMAGES], 0)
        pinned = lake.snapshot()
        lake.commit(lambda connection: _release(connection, pinned))
        ingest_pictures(lake, pictures[N_IMAGES:], N_IMAGES)
    return SqlLake(root / "lake", canary, pinned)


@pytest.fixture(scope="session")
def reader(sql_lake: SqlLake) -> Iterator[duckdb.DuckDBPyConnection]:
    """The connection a query gets, before its settings are locked."""
    connection = open_read_only(sql_lake.path)
    yield connection
    connection.close()


def ingest_pictures(lake: Lake, pictures: list[bytes], first: int) -> None:
    ids = [hashlib.sha256(data).hexdigest() for data in pictures]
    with lake.staging("test") as staging:
        writer = ShardWriter(staging / "new.parquet")
        for image_id, data in zip(ids, pictures, strict=True):
            writer.add(image_id, data)
        located = writer.finish()
        with write_lock(lake.path):
            shard = place_shard(staging / "new.parquet", lake.images)
    numbers = range(first, first + len(ids))
    images = pa.table(
        {
            "source": ["web" if n % 3 else "coco" for n in numbers],
            "source_key": [f"{n:03d}" for n in numbers],
            "collection": ["web" if n % 3 else "coco" for n in numbers],
            "image_id": ids,
            "width": pa.array([64 + n for n in numbers], pa.int32()),
            "height": pa.array([64] * len(ids), pa.int32()),
            "format": ["JPEG"] * len(ids),
            "orientation": pa.array([1] * len(ids), pa.int32()),
            "n_bytes": [len(data) for data in pictures],
            "phash": pa.array(numbers, pa.uint64()),
            "shard": [shard] * len(ids),
            "row": pa.array([place.row for place in located], pa.int32()),
            "offset": [place.offset for place in located],
            "meta": [json.dumps({"mood": n % 4, "tags": ["a", f"t{n}"]}) for n in numbers],
            "ingested_at": [NOW] * len(ids),
        }
    )
    texts = [f"Tile {n} of a photograph, in words." for n in numbers]
    captions = pa.table(
        {
            "caption_id": [f"c{n:03d}" for n in numbers],
            "image_id": ids,
            "kind": ["human" if n % 2 else "alt" for n in numbers],
            "producer": ["source"] * len(ids),
            "text": texts,
            "chars": pa.array([len(text) for text in texts], pa.int32()),
            "words": pa.array([len(text.split()) for text in texts], pa.int32()),
            "created_at": [NOW] * len(ids),
        }
    )
    lake.append("images", images, ["source", "source_key"])
    lake.append("captions", captions, ["caption_id"])


def _release(connection: duckdb.DuckDBPyConnection, pinned: int) -> None:
    connection.execute(
        f"INSERT INTO releases VALUES ('demo', '1.0.0', 'images', {pinned}, '', '', '', 10, NULL, 'valid', TIMESTAMPTZ '{NOW}')"
    )
    connection.execute(
        "INSERT INTO release_items SELECT 'demo', '1.0.0', row_number() OVER (ORDER BY source_key) - 1, source, source_key, "
        "image_id, NULL, 'train', 'hash of ' || source_key FROM images WHERE source_key < '010'"
    )
    connection.execute(
        "INSERT INTO release_captions SELECT 'demo', '1.0.0', position, 0, caption_id, 'caption' "
        "FROM release_items JOIN captions USING (image_id) WHERE name = 'demo'"
    )
    connection.execute(
        "INSERT INTO exclusions SELECT 'demo', '1.0.0', source, source_key, 'over_quota', NULL, NULL, NULL, NULL "
        "FROM images WHERE source_key >= '010'"
    )
