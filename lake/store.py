"""The one way in for pictures: decode, shard, and one transaction of rows for a batch of listed rows and what came of each."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake, insert_new
from captionlake.lake.locking import write_lock
from captionlake.lake.pictures import Picture, PictureError, inspect
from captionlake.lake.reasons import FailureReason
from captionlake.lake.shards import ShardWriter, place_shard

IMAGES = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("source", "source_key", "collection", "subset", "image_id", "url", "archive")
        ),
        *((name, pa.string()) for name in ("member", "license", "author")),
        *((name, pa.int32()) for name in ("width", "height")),
        ("format", pa.string()),
        ("orientation", pa.int32()),
        ("n_bytes", pa.int64()),
        ("phash", pa.uint64()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("offset", pa.int64()),
        ("meta", pa.string()),
        ("ingested_at", pa.timestamp("us", "UTC")),
    ]
)
CAPTIONS = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("caption_id", "image_id", "source", "source_key", "kind", "producer", "text")
        ),
        *((name, pa.int32()) for name in ("chars", "words")),
        ("params", pa.string()),
        ("license", pa.string()),
        ("created_at", pa.timestamp("us", "UTC")),
    ]
)
FAILURES = pa.schema(
    [
        *((name, pa.string()) for name in ("source", "source_key", "collection", "subset", "url", "archive", "member")),
        *((name, pa.string()) for name in ("reason", "detail")),
        ("attempts", pa.int32()),
        ("failed_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one listed row: bytes, or a reason."""

    row: dict[str, Any]  # a row of ``captionlake.lake.sources.source.SCHEMA``
    data: bytes | None
    reason: FailureReason | None = None
    detail: str = ""
    verdict: str | None = None  # JSON: what the host says of its pictures' use, of fetched pictures


@dataclass(slots=True)
class Stored:
    """Rows added by a batch."""

    images: int = 0
    failures: int = 0
    captions: int = 0


class Store:
    """Stores batches of outcomes for one source."""

    def __init__(self, lake: Lake, source: str, collection: str) -> None:
        self._lake = lake
        self._source = source
        self._collection = collection
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")

    def close(self) -> None:
        """End the decoding threads."""
        self._pool.shutdown(cancel_futures=True)

    def store(self, outcomes: Iterable[Outcome], staging: Path) -> Stored:
        """Decode, write new pictures as one shard, and commit all rows together: after a kill, all of them are there or none."""
        outcomes = list(outcomes)
        now = datetime.now(UTC)
        images: list[dict[str, Any]] = []
        captions: list[dict[str, Any]] = []
        failures: list[dict[str, Any]] = []
        fresh: dict[str, bytes] = {}
        for outcome, seen in zip(outcomes, self._pool.map(self._inspect, outcomes), strict=True):
            base = self._keys(outcome.row)
            if isinstance(seen, PictureError):
                detail = " ".join(seen.detail.split())[:500]
                failures.append(base | {"reason": seen.reason.value, "detail": detail, "attempts": 1, "failed_at": now})
                continue
            image_id, picture = seen
            if outcome.data is not None:
                fresh[image_id] = outcome.data
            images.append(base | _image(outcome.row, image_id, picture) | {"ingested_at": now})
            captions += caption_rows(outcome.row, self._source, image_id, now)
        shard = self._write_shard(fresh, staging)
        tables = {
            "_images": pa.Table.from_pylist(images, IMAGES),
            "_captions": pa.Table.from_pylist(captions, CAPTIONS),
            "_failures": pa.Table.from_pylist(failures, FAILURES),
            "_shard": shard.rows,
        }
        try:
            with self._lake.registered(**tables):
                return self._lake.commit(lambda connection: _write(connection, shard, self._lake.path / "images"))
        except BaseException:
            self._unplace(shard)
            raise

    def _unplace(self, shard: "_Shard") -> None:
        """Remove the shard of a commit that failed, unless a row names it after all."""
        if shard.name is None:
            return
        # An error here must not stand in the place of the one that is on its way; what stays is swept in time.
        with suppress(CaptionlakeError, duckdb.Error), write_lock(self._lake.path):
            if not self._lake.value("SELECT count(*) FROM images WHERE shard = ?", [shard.name]):
                (self._lake.path / "images" / shard.name).unlink(missing_ok=True)

    def _inspect(self, outcome: Outcome) -> tuple[str, Picture] | PictureError:
        if outcome.data is None:
            return PictureError(outcome.reason or FailureReason.CONNECTION, outcome.detail)
        try:
            picture = inspect(outcome.data)
        except PictureError as error:
            return error
        return hashlib.sha256(outcome.data).hexdigest(), picture

    def _keys(self, row: dict[str, Any]) -> dict[str, Any]:
        keys = {name: row.get(name) for name in ("source_key", "subset", "url", "member")}
        archive = Path(row["archive"]).name if row.get("archive") else None
        return keys | {"source": self._source, "collection": self._collection, "archive": archive}

    def _write_shard(self, fresh: dict[str, bytes], staging: Path) -> "_Shard":
        wanted = pa.table({"image_id": pa.array(list(fresh), pa.string())})
        with self._lake.registered(_wanted=wanted):
            known = {
                row[0] for row in self._lake.rows("SELECT DISTINCT image_id FROM images JOIN _wanted USING (image_id)")
            }
        new = [image_id for image_id in fresh if image_id not in known]
        if not new:
            return _Shard(None, _shard_rows([], []))
        writer = ShardWriter(staging / "shard.parquet")
        try:
            for image_id in new:
                writer.add(image_id, fresh[image_id])
            locators = writer.finish()
        except BaseException:
            writer.abort()
            raise
        return _Shard(writer.path, _shard_rows(new, [(at.row, at.offset) for at in locators]))


@dataclass(slots=True)
class _Shard:
    path: Path | None
    rows: pa.Table
    name: str | None = None  # once placed


def _shard_rows(image_ids: list[str], places: list[tuple[int, int]]) -> pa.Table:
    rows = [
        {"image_id": image_id, "row": row, "offset": offset}
        for image_id, (row, offset) in zip(image_ids, places, strict=True)
    ]
    return pa.Table.from_pylist(
        rows, pa.schema([("image_id", pa.string()), ("row", pa.int32()), ("offset", pa.int64())])
    )


def _image(row: dict[str, Any], image_id: str, picture: Picture) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "license": row.get("license"),
        "author": row.get("author"),
        "meta": row.get("meta"),
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "orientation": picture.orientation,
        "n_bytes": picture.n_bytes,
        "phash": picture.phash,
    }


def caption_rows(row: dict[str, Any], source: str, image_id: str, now: datetime) -> list[dict[str, Any]]:
    """The source's own texts as rows of ``captions``; the id is a hash of what the row says, so that a rerun makes the same."""
    rows = []
    again: Counter[tuple[str, str]] = Counter()
    for ordinal, item in enumerate(row.get("captions") or []):
        said = (item["kind"], item["text"])
        named = json.dumps([source, row["source_key"], *said, again[said]], ensure_ascii=False)
        again[said] += 1
        rows.append(
            {
                "caption_id": hashlib.sha256(named.encode()).hexdigest()[:32],
                "image_id": image_id,
                "source": source,
                "source_key": row["source_key"],
                "kind": item["kind"],
                "producer": "source",
                "text": item["text"],
                "chars": len(item["text"]),
                "words": len(item["text"].split()),
                "params": json.dumps({"ordinal": ordinal}),
                "license": item["license"],
                "created_at": now,
            }
        )
    return rows


def _write(connection: duckdb.DuckDBPyConnection, shard: _Shard, images: Path) -> Stored:
    """The transaction: place the shard, add image rows with the place of their bytes, captions, failures."""
    if shard.path is not None and shard.name is None:  # a second attempt finds it placed
        shard.name = place_shard(shard.path, images)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE located AS "
        'SELECT image_id, shard, "row", "offset" FROM ('
        'SELECT image_id, shard, "row", "offset", 0 AS rank FROM images JOIN (SELECT DISTINCT image_id FROM _images) USING (image_id) '
        'UNION ALL SELECT image_id, ?, "row", "offset", 1 FROM _shard) '
        "QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY rank) = 1",
        [shard.name],
    )
    connection.execute(
        'CREATE OR REPLACE TEMP VIEW located_images AS SELECT i.* REPLACE (l.shard AS shard, l."row" AS "row", l."offset" AS "offset") '
        "FROM _images i JOIN located l USING (image_id)"
    )
    stored = Stored()
    stored.images = insert_new(connection, "images", "located_images", ["source", "source_key"])
    stored.captions = insert_new(connection, "captions", "_captions", ["caption_id"])
    stored.failures = write_failures(connection, "_failures")
    forget_failures(connection, "_images")
    return stored


def forget_failures(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
    """Remove the failures of keys that have a picture now: those of view ``rows``."""
    connection.execute(
        "DELETE FROM fetch_failures f WHERE EXISTS "
        f"(SELECT 1 FROM {rows} i WHERE i.source = f.source AND i.source_key = f.source_key)"
    )


def write_failures(connection: duckdb.DuckDBPyConnection, rows: str) -> int:
    """Note failures: one row a key, attempts counted up, none for a key that has a picture. Returns how many were noted."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE failed AS SELECT new.* REPLACE (new.attempts + coalesce(old.attempts, 0) AS attempts) "
        f"FROM {rows} new LEFT JOIN fetch_failures old USING (source, source_key) "
        "WHERE NOT EXISTS (SELECT 1 FROM images i WHERE i.source = new.source AND i.source_key = new.source_key) "
        "QUALIFY row_number() OVER (PARTITION BY new.source, new.source_key) = 1"
    )
    connection.execute(
        "DELETE FROM fetch_failures f WHERE EXISTS "
        "(SELECT 1 FROM failed n WHERE n.source = f.source AND n.source_key = f.source_key)"
    )
    found = connection.execute("INSERT INTO fetch_failures BY NAME FROM failed").fetchone()
    return int(found[0]) if found else 0
