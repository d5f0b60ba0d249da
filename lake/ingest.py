"""``ingest``: list what a source's files name, leave out what the lake has, fetch or read the rest, store it batch by batch."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader, MemberError
from captionlake.lake.catalog import literal_glob
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.lake import Lake, insert_new
from captionlake.lake.progress import progress
from captionlake.lake.reasons import FailureReason
from captionlake.lake.runs import note_run
from captionlake.lake.shards import PICTURES_PER_SHARD
from captionlake.lake.sources import SOURCES, Source
from captionlake.lake.store import (
    CAPTIONS,
    FAILURES,
    Outcome,
    Store,
    Stored,
    caption_rows,
    forget_failures,
    write_failures,
)

log = logging.getLogger(__name__)

_REQUESTS_PER_FILE = 100_000
_BATCH_BYTES = 512 * 2**20
_MERGE_EVERY = 64  # batches


@dataclass(slots=True)
class IngestCounts:
    """What one ingest listed and did: ``listed`` is the sum of the six counts below, unless another process stored some rows."""

    source: str = ""
    collection: str = ""
    listed: int = 0
    present: int = 0  # in the lake already
    failed_before: int = 0  # and not tried again without --retry-failed
    repeated: int = 0  # the same key again in the same list
    images: int = 0  # new rows, fetched or read
    copied: int = 0  # new rows of URLs that the lake had fetched
    captions: int = 0
    failures: int = 0
    seconds: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, stored: Stored, rows: int) -> None:
        """Count what a batch of so many rows stored; another process may just have stored the rest of them."""
        self.present += rows - stored.images - stored.failures
        self.images += stored.images
        self.captions += stored.captions
        self.failures += stored.failures


def ingest(lake: Lake, config: IngestConfig) -> IngestCounts:
    """Bring the rows of a source's files into the lake. Can be killed and run again: it does only what is missing."""
    started = time.monotonic()
    source = SOURCES.get(config.source)
    if source is None:
        raise CaptionlakeError(f"no source {config.source!r}: choose one of {', '.join(sorted(SOURCES))}")
    collection = config.collection or source.collection
    name = source.name if collection == source.collection else f"{source.name}-{collection}"
    counts = IngestCounts(source=name, collection=collection)
    lake.sweep()
    store = Store(lake, name, collection)
    with lake.staging("ingest") as staging:
        try:
            job = _Job(lake, config, staging, store, counts)
            job.list_candidates(source)
            _register(lake, _described(source, config, name, collection))
            job.plan()
            job.run()
        finally:
            store.close()
    lake.merge_small_files()
    counts.reasons = dict(
        lake.rows("SELECT reason, count(*) FROM fetch_failures WHERE source = ? GROUP BY ALL ORDER BY ALL", [name])
    )
    counts.seconds = round(time.monotonic() - started, 3)
    listed = {"inputs": [Path(name).name for name in config.inputs], "subset": config.subset, "limit": config.limit}
    note_run(lake, "ingest", target=name, detail=listed, counts=asdict(counts))
    return counts


class _Job:
    """One ingest: the candidates on disk, the plan in a temporary table, the steps that work it off."""

    def __init__(self, lake: Lake, config: IngestConfig, staging: Path, store: Store, counts: IngestCounts) -> None:
        self.lake = lake
        self.config = config
        self.staging = staging
        self.store = store
        self.counts = counts
        self._stored = 0
        self.listed = f"{literal_glob(staging)}/listed/*.parquet"

    def list_candidates(self, source: Source) -> None:
        """The source's rows as Parquet in staging, numbered; a list of any length passes through a fixed amount of memory."""
        (self.staging / "listed").mkdir()
        for number, frame in enumerate(_limited(source.read(self.config), self.config.limit)):
            numbered = frame.with_row_index("row_id", offset=self.counts.listed).cast({"row_id": pl.Int64})
            # By PyArrow, whose error on a full disk is an OSError.
            pq.write_table(numbered.to_arrow(), self.staging / "listed" / f"{number:06d}.parquet")
            self.counts.listed += len(frame)

    def plan(self) -> None:
        """Decide once, by one query, what each listed row needs."""
        if not self.counts.listed:
            self.lake.connection.execute(
                "CREATE OR REPLACE TEMP TABLE ingest_plan (row_id BIGINT, url VARCHAR, todo VARCHAR)"
            )
            return
        parameters = {"listed": self.listed, "source": self.counts.source, "retry": self.config.retry_failed}
        self.lake.connection.execute(_sql("ingest_plan"), parameters)
        found = dict(self.lake.rows("SELECT todo, count(*) FROM ingest_plan GROUP BY 1"))
        self.counts.present = found.get("present", 0)
        self.counts.failed_before = found.get("failed_before", 0)
        self.counts.repeated = found.get("repeated", 0)
        self._check_same_pictures()

    def run(self) -> None:
        """Bad rows, then those that need no fetch, archives, downloads, and at last the rows that shared a URL with a download."""
        todo = self._count("bad", "copy", "read", "fetch", "copy_later")
        with progress(f"ingest {self.counts.source}", todo) as advance:
            self._store((Outcome(row, None, FailureReason.BAD_ROW, row["bad"]) for row in self._rows("bad")), advance)
            self._copy("copy", advance)
            self._read(advance)
            self._fetch(advance)
            self._copy("copy_later", advance)
        self._new_captions()

    def _check_same_pictures(self) -> None:
        """A folder's file under a key that the lake has must be the picture that the lake has: its size tells."""
        query = (
            "SELECT l.archive, l.member, i.n_bytes FROM ingest_plan p JOIN read_parquet(?) l USING (row_id) "
            "JOIN images i ON i.source = ? AND i.source_key = l.source_key "
            "WHERE p.todo = 'present' AND l.archive IS NOT NULL AND i.archive IS NOT NULL ORDER BY row_id"
        )
        rows = self.lake.connection.execute(query, [self.listed, self.counts.source])
        while chunk := rows.fetchmany(_REQUESTS_PER_FILE):
            for archive, member, n_bytes in chunk:
                path = Path(archive) / member
                if path.is_file() and path.stat().st_size != n_bytes:
                    raise CaptionlakeError(
                        f"{path} is not the picture that the lake has as {self.counts.source}:{member}: "
                        "keys are paths within the folder, so give each folder a --collection of its own"
                    )

    def _new_captions(self) -> None:
        """Texts that are new for pictures that the lake had before, or that stand in further rows of the same picture."""
        if not self.counts.present and not self.counts.repeated:
            return
        self.lake.connection.execute(_sql("ingest_new_captions"), {"listed": self.listed, "source": self.counts.source})
        last, query = -1, "SELECT * FROM ingest_new_captions WHERE row_id > ? ORDER BY row_id LIMIT ?"
        while found := dict(self.lake.rows(query, [last, PICTURES_PER_SHARD])):
            now, last = datetime.now(UTC), max(found)
            rows = [
                item
                for row in self._candidates(list(found))
                for item in caption_rows(row, self.counts.source, found[row["row_id"]], now)
            ]
            self.counts.captions += self.lake.append("captions", pa.Table.from_pylist(rows, CAPTIONS), ["caption_id"])

    def _count(self, *todo: str) -> int:
        return int(self.lake.value("SELECT count(*) FROM ingest_plan WHERE list_contains(?, todo)", [list(todo)]))

    def _rows(self, todo: str) -> Iterator[dict[str, Any]]:
        """The listed rows that the plan has ``todo`` for, by number."""
        last = -1
        query = "SELECT row_id FROM ingest_plan WHERE todo = ? AND row_id > ? ORDER BY row_id LIMIT ?"
        while ids := [row_id for (row_id,) in self.lake.rows(query, [todo, last, PICTURES_PER_SHARD])]:
            yield from self._candidates(ids)
            last = ids[-1]

    def _candidates(self, row_ids: list[int]) -> list[dict[str, Any]]:
        """The listed rows of these numbers, ordered by number."""
        wanted = pa.table({"row_id": pa.array(row_ids, pa.int64())})
        with self.lake.registered(_wanted=wanted):
            query = (
                "SELECT * FROM read_parquet(?) JOIN _wanted USING (row_id) WHERE row_id BETWEEN ? AND ? ORDER BY row_id"
            )
            rows: list[dict[str, Any]] = self.lake.arrow(query, [self.listed, min(row_ids), max(row_ids)]).to_pylist()
        for row in rows:
            row["author"] = row["author"] or self.config.author
            if self.config.caption_license is not None:
                row["captions"] = [item | {"license": self.config.caption_license} for item in row["captions"] or []]
        return rows

    def _store(self, outcomes: Iterable[Outcome], advance: Callable[[int], None]) -> None:
        for batch in _batches(outcomes):
            self.counts.add(self.store.store(batch, self.staging), len(batch))
            self._stored += 1
            if self._stored % _MERGE_EVERY == 0:
                self.lake.merge_small_files()
            advance(len(batch))

    def _read(self, advance: Callable[[int], None]) -> None:
        def outcome(row: dict[str, Any]) -> Outcome:
            try:
                return Outcome(row, reader.read(row["archive"], row["member"] or ""))
            except MemberError as error:
                return Outcome(row, None, error.reason, error.detail)

        with ArchiveReader(max_bytes=self.config.fetch.max_bytes) as reader:
            self._store(map(outcome, self._rows("read")), advance)

    def _fetch(self, advance: Callable[[int], None]) -> None:
        if not self._count("fetch"):
            return
        from captionlake.lake.download import download

        requests, work = self.staging / "requests", self.staging / "download"
        requests.mkdir()
        work.mkdir()
        query = "SELECT row_id, url FROM ingest_plan WHERE todo = 'fetch' ORDER BY row_id"
        reader = self.lake.connection.execute(query).to_arrow_reader(_REQUESTS_PER_FILE)
        for number, batch in enumerate(reader):
            pq.write_table(pa.Table.from_batches([batch]), requests / f"{number:06d}.parquet")
        policy = replace(self.config.fetch, allow_private_hosts=self.config.allow_private_hosts)
        for fetched in download(requests, work, policy, shard_size=PICTURES_PER_SHARD):
            by_id = {item.row_id: item for item in fetched}
            outcomes = (
                Outcome(row, by_id[row["row_id"]].data, by_id[row["row_id"]].reason, by_id[row["row_id"]].detail)
                for row in self._candidates(list(by_id))
            )
            self._store(outcomes, advance)

    def _copy(self, todo: str, advance: Callable[[int], None]) -> None:
        """Rows whose URL was fetched already, for this source or another, take its picture or its failure."""
        if not self._count(todo):
            return
        self.lake.connection.execute(_sql("ingest_copy_images"), {"listed": self.listed, "todo": todo})
        rows = self._rows(todo)
        while chunk := list(islice(rows, PICTURES_PER_SHARD)):
            self._copy_chunk(chunk)
            advance(len(chunk))

    def _copy_chunk(self, rows: list[dict[str, Any]]) -> None:
        now = datetime.now(UTC)
        ids = [row["row_id"] for row in rows]
        copied = self.lake.rows(
            "SELECT row_id, image_id FROM ingest_copied WHERE row_id BETWEEN ? AND ?", [min(ids), max(ids)]
        )
        image_of = dict(copied)
        captions = [
            item
            for row in rows
            if row["row_id"] in image_of
            for item in caption_rows(row, self.counts.source, image_of[row["row_id"]], now)
        ]
        chosen = [row | {"source": self.counts.source, "collection": self.counts.collection, "at": now} for row in rows]
        for row in chosen:
            row["archive"] = None
        tables = {
            "_rows": pa.Table.from_pylist(chosen),
            "_captions": pa.Table.from_pylist(captions, CAPTIONS),
            "_failures": pa.Table.from_pylist([], FAILURES),
        }
        with self.lake.registered(**tables):
            stored = self.lake.commit(_copy_rows)
        self.counts.copied += stored.images
        self.counts.captions += stored.captions
        self.counts.failures += stored.failures


def _copy_rows(connection: duckdb.DuckDBPyConnection) -> Stored:
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW copied_images AS SELECT r.source, r.source_key, r.collection, r.subset, r.url, "
        "r.license, r.author, r.meta, r.at AS ingested_at, c.* EXCLUDE (row_id, source_key) "
        "FROM _rows r JOIN ingest_copied c USING (row_id)"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW copied_failures AS SELECT r.source, r.source_key, r.collection, r.subset, r.url, "
        "NULL::VARCHAR AS archive, NULL::VARCHAR AS member, f.reason, f.detail, f.attempts, f.failed_at "
        "FROM _rows r JOIN fetch_failures f USING (url) WHERE f.archive IS NULL AND r.row_id NOT IN (SELECT row_id FROM ingest_copied) "
        "QUALIFY row_number() OVER (PARTITION BY r.row_id ORDER BY f.failed_at DESC) = 1"
    )
    stored = Stored()
    stored.images = insert_new(connection, "images", "copied_images", ["source", "source_key"])
    stored.captions = insert_new(connection, "captions", "_captions", ["caption_id"])
    stored.failures = write_failures(connection, "copied_failures")
    forget_failures(connection, "copied_images")
    return stored


def _limited(frames: Iterator[pl.DataFrame], limit: int | None) -> Iterator[pl.DataFrame]:
    """The first ``limit`` rows; nothing more is read than they need."""
    left = limit
    for frame in frames:
        if left is not None and len(frame) >= left:
            yield frame.head(left)
            return
        yield frame
        left = None if left is None else left - len(frame)


def _batches(outcomes: Iterable[Outcome]) -> Iterator[list[Outcome]]:
    """Batches of a shard's pictures, cut earlier where the bytes are many."""
    batch: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        batch.append(outcome)
        size += len(outcome.data or b"")
        if len(batch) == PICTURES_PER_SHARD or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sql(name: str) -> str:
    return files("captionlake.lake").joinpath(f"sql/{name}.sql").read_text()


def _described(source: Source, config: IngestConfig, name: str, collection: str) -> dict[str, str | None]:
    """The row of ``sources``: what the recipe or the command says of it, else what the source itself says."""
    return {
        "source": name,
        "collection": collection,
        "title": config.title or source.title,
        "homepage": config.homepage or source.homepage,
        "license": config.license or source.license,
        "license_url": config.license_url or source.license_url,
        "redistribute": config.redistribute or source.redistribute,
        "citation": config.citation or source.citation,
    }


def _register(lake: Lake, row: dict[str, str | None]) -> None:
    """Note the source, or what is now said of it."""
    names = ", ".join(row)
    if lake.rows(f"SELECT {names} FROM sources WHERE source = ?", [row["source"]]) == [tuple(row.values())]:
        return

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("DELETE FROM sources WHERE source = ?", [row["source"]])
        connection.execute(f"INSERT INTO sources ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))

    lake.commit(change)
