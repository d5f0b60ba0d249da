"""The one way in for pictures: decode, shard, and one transaction of rows for a batch of listed rows and what came of each."""

import functools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.caption_rows import caption_rows
from captionlake.lake.catalog import quote
from captionlake.lake.decoders import Decoders
from captionlake.lake.lake import Lake, insert_new
from captionlake.lake.locking import write_lock
from captionlake.lake.measures import alt_text
from captionlake.lake.pictures import PictureError
from captionlake.lake.reasons import FailureReason
from captionlake.lake.seen import Seen
from captionlake.lake.shards import PICTURES_PER_SHARD, ShardWriter, place_shard
from captionlake.lake.takedown.tombstone import barred

BATCH_BYTES = 128 * 2**20  # a batch is cut here: two of them, and what is decoded meanwhile, lie in memory at once
_PICTURES_PER_TASK = 8  # of a decoding thread

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
        ("aspect_ratio", pa.float32()),
        *((name, pa.bool_()) for name in ("is_gray", "is_blank")),
        ("nsfw_score", pa.float32()),
        *((name, pa.string()) for name in ("alt_language", "verdict")),
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
        *((name, pa.string()) for name in ("producer_revision", "prompt_id", "prompt_sha256")),
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


@dataclass(slots=True)
class _Batch:
    """Outcomes in their order, and the decoding threads' tasks for them, each of some that follow one another."""

    outcomes: list[Outcome] = field(default_factory=list)
    tasks: list[Future[list[Seen | PictureError]]] = field(default_factory=list)
    n_bytes: int = 0

    def seen(self) -> Iterator[Seen | PictureError]:
        """In the order of the outcomes; of one without bytes, why it has none."""
        looked = chain.from_iterable(task.result() for task in self.tasks)
        for outcome in self.outcomes:
            if outcome.data is None:
                yield PictureError(outcome.reason or FailureReason.CONNECTION, outcome.detail)
            else:
                yield next(looked)


class Store:
    """Stores batches of outcomes for one source. ``nsfw``: score each picture too, which takes some 30 times the decode.

    Everything but decoding, hashing and scoring runs in the caller's thread: the lake's connection is not for two.
    """

    def __init__(self, lake: Lake, source: str, collection: str, *, nsfw: bool = False) -> None:
        self._lake = lake
        self.source = source
        self.collection = collection
        self._decoders = Decoders(nsfw=nsfw)
        self._barred = frozenset(barred(lake).image_ids)

    def expect(self, pictures: int) -> None:
        """So many pictures may come; many are decoded by processes, which start now."""
        self._decoders.expect(pictures)

    def close(self) -> None:
        """End the decoding threads and processes."""
        self._decoders.close()

    def store(self, outcomes: Iterable[Outcome], staging: Path) -> Stored:
        """Decode, write new pictures as one shard, and commit all rows together: after a kill, all of them are there or none."""
        (batch,) = self._batches(outcomes, None, None)
        return self._finish(batch, staging)

    def run(
        self, outcomes: Iterable[Outcome], staging: Path, *, pictures: int | None = None
    ) -> Iterator[tuple[Stored, int]]:
        """Store all outcomes, batch by batch, in order; of each batch, what was stored and of how many rows.

        One batch is read ahead: its pictures are decoded while the one before is written and committed. A batch has
        ``pictures`` rows (a shard's), or fewer where their bytes exceed ``BATCH_BYTES``. Where reading fails, the
        batches that were read whole are stored before the error goes on.
        """
        batches = self._batches(outcomes, pictures or PICTURES_PER_SHARD, BATCH_BYTES)
        before: _Batch | None = None
        failure: Exception | None = None
        while failure is None:
            batch: _Batch | None = None
            try:
                batch = next(batches, None)
            except Exception as error:
                failure = error
            if before is not None and before.outcomes:
                yield self._finish(before, staging), len(before.outcomes)
            before = batch
            if batch is None:
                break
        if failure is not None:
            raise failure

    def _batches(self, outcomes: Iterable[Outcome], rows: int | None, n_bytes: int | None) -> Iterator[_Batch]:
        """Outcomes gathered into batches of so many rows or bytes, handed to the decoding threads as they come."""
        batch, task = _Batch(), list[tuple[bytes, str | None]]()
        for outcome in outcomes:
            batch.outcomes.append(outcome)
            if outcome.data is not None:
                batch.n_bytes += len(outcome.data)
                task.append((outcome.data, alt_text(outcome.row.get("captions") or [])))
            full = len(batch.outcomes) == rows or (n_bytes is not None and batch.n_bytes >= n_bytes)
            if full or len(task) == _PICTURES_PER_TASK:
                batch.tasks.append(self._decoders.submit(task))
                task = []
            if full:
                yield batch
                batch = _Batch()
        if task:
            batch.tasks.append(self._decoders.submit(task))
        yield batch

    def _finish(self, batch: _Batch, staging: Path) -> Stored:
        """Write and commit a batch."""
        now = datetime.now(UTC)
        images: list[dict[str, Any]] = []
        captions: list[dict[str, Any]] = []
        failures: list[dict[str, Any]] = []
        fresh: dict[str, bytes] = {}
        for outcome, seen in zip(batch.outcomes, batch.seen(), strict=True):
            base = self._keys(outcome.row)
            if isinstance(seen, PictureError):
                detail = " ".join(seen.detail.split())[:500]
                failures.append(base | {"reason": seen.reason.value, "detail": detail, "attempts": 1, "failed_at": now})
                continue
            if seen.image_id in self._barred:
                kept = base | {
                    "url": None,
                    "reason": FailureReason.TAKEN_DOWN.value,
                    "detail": "the same bytes as a picture taken down",
                }
                failures.append(kept | {"attempts": 1, "failed_at": now})
                continue
            if outcome.row.get("image_id") not in (None, seen.image_id):
                detail = f"the picture has other bytes now, of SHA-256 {seen.image_id}"
                changed = {"reason": FailureReason.CHANGED.value, "detail": detail, "attempts": 1, "failed_at": now}
                failures.append(base | changed)
                continue
            if outcome.data is not None:
                fresh[seen.image_id] = outcome.data
            images.append(base | _image(outcome, seen) | {"ingested_at": now})
            captions += caption_rows(outcome.row, self.source, seen.image_id, now)
        shard = self._write_shard(fresh, staging)
        if shard.path is not None and not self._lake.images.numbered:  # an upload would hold the lock for long
            shard.name = place_shard(shard.path, self._lake.images)
        for row in images:
            row["row"], row["offset"] = shard.places.get(row["image_id"], (None, None))
        tables = {
            "_images": _table(images, IMAGES),
            "_captions": _table(captions, CAPTIONS),
            "_failures": _table(failures, FAILURES),
        }
        try:
            return self._lake.commit(lambda _: _write(self._lake, shard), **tables)
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
                self._lake.images.remove(shard.name)

    def _keys(self, row: dict[str, Any]) -> dict[str, Any]:
        keys = {name: row.get(name) for name in ("source_key", "subset", "url", "member")}
        archive = _name(row["archive"]) if row.get("archive") else None
        return keys | {"source": self.source, "collection": self.collection, "archive": archive}

    def _write_shard(self, fresh: dict[str, bytes], staging: Path) -> "_Shard":
        snapshot = self._lake.snapshot()
        query = f"SELECT DISTINCT image_id FROM images AT (VERSION => {snapshot:d}) WHERE image_id IN (SELECT unnest(?::VARCHAR[]))"
        known = {image_id for (image_id,) in self._lake.rows(query, [list(fresh)])}
        new = [image_id for image_id in fresh if image_id not in known]
        if not new:
            return _Shard(None, {}, snapshot, known=True)
        writer = ShardWriter(staging / "shard.parquet")
        try:
            for image_id in new:
                writer.add(image_id, fresh[image_id])
            locators = writer.finish()
        except BaseException:
            writer.abort()
            raise
        places = {image_id: (at.row, at.offset) for image_id, at in zip(new, locators, strict=True)}
        return _Shard(writer.path, places, snapshot, known=bool(known))


@functools.lru_cache(maxsize=64)
def _name(archive: str) -> str:
    return Path(archive).name


@dataclass(slots=True)
class _Shard:
    path: Path | None
    places: dict[str, tuple[int, int]]  # row and offset of each picture
    snapshot: int  # of the lake, to which its pictures were new
    known: bool  # whether the batch has pictures that the lake had
    name: str | None = None  # once placed


def _image(outcome: Outcome, seen: Seen) -> dict[str, Any]:
    picture = seen.picture
    return {
        "image_id": seen.image_id,
        "license": outcome.row.get("license"),
        "author": outcome.row.get("author"),
        "meta": outcome.row.get("meta"),
        "verdict": outcome.verdict,
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "orientation": picture.orientation,
        "aspect_ratio": picture.aspect_ratio,
        "is_gray": picture.is_gray,
        "is_blank": picture.is_blank,
        "nsfw_score": seen.nsfw_score,
        "alt_language": seen.alt_language,
        "n_bytes": picture.n_bytes,
        "phash": picture.phash,
    }


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Column by column, which is quicker than from a list of dictionaries; what a row lacks is null."""
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _write(lake: Lake, shard: _Shard) -> Stored:
    """The transaction: place the shard, add image rows with the place of their bytes, captions, failures."""
    if shard.path is not None and shard.name is None:  # a second attempt finds it placed
        shard.name = place_shard(shard.path, lake.images)
    placed = f"SELECT * REPLACE ({quote(shard.name or '')} AS shard) FROM _images"
    if shard.known or lake.snapshot() != shard.snapshot:  # a picture that the lake has stays where it is
        lake.connection.execute(
            'CREATE OR REPLACE TEMP TABLE located AS SELECT image_id, shard, "row", "offset" FROM images '
            'SEMI JOIN _images USING (image_id) QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY shard, "row") = 1'
        )
        placed = (
            "SELECT i.* REPLACE (coalesce(l.shard, i.shard) AS shard, "
            'CASE WHEN l.shard IS NULL THEN i."row" ELSE l."row" END AS "row", '
            'CASE WHEN l.shard IS NULL THEN i."offset" ELSE l."offset" END AS "offset") '
            f"FROM ({placed}) i LEFT JOIN located l USING (image_id)"
        )
    lake.connection.execute(f"CREATE OR REPLACE TEMP VIEW located_images AS {placed}")
    return write_rows(lake.connection, "located_images", "_failures")


def write_rows(connection: duckdb.DuckDBPyConnection, images: str, failures: str) -> Stored:
    """Add the new rows of the views ``images``, ``_captions`` and ``failures``; a key that has a picture now has no failure."""
    stored = Stored()
    stored.images = insert_new(connection, "images", images, ["source", "source_key"])
    if _has_rows(connection, "_captions"):
        stored.captions = insert_new(connection, "captions", "_captions", ["caption_id"])
    if _has_rows(connection, failures):
        stored.failures = write_failures(connection, failures)
    if _has_rows(connection, "fetch_failures"):
        forget_failures(connection, images)
    return stored


def _has_rows(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Of a table or view."""
    return connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() is not None


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
