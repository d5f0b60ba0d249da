"""One list worked off: its rows to Parquet, a plan by one query, then copies, archives and downloads, batch by batch."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader, MemberError
from captionlake.lake.caption_rows import caption_rows
from captionlake.lake.catalog import literal_glob
from captionlake.lake.fetch_cluster import Fetchers
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.lake import Lake
from captionlake.lake.measures import alt_language
from captionlake.lake.progress import progress
from captionlake.lake.reasons import FailureReason
from captionlake.lake.shards import PICTURES_PER_SHARD
from captionlake.lake.sources import Source
from captionlake.lake.store import (
    CAPTIONS,
    FAILURES,
    Outcome,
    Store,
    Stored,
    write_rows,
)
from captionlake.lake.takedown.tombstone import barred

if TYPE_CHECKING:
    from captionlake.lake.download import Fetched

DUCKDB_BYTES = 512 * 2**20  # a list of millions of rows is planned on the disk
_REQUESTS_PER_FILE = 100_000
_PICTURES_PER_DOWNLOAD = 1000  # of img2dataset: what a kill may have to fetch again
_MERGE_EVERY = 64  # batches
_WORK = ("bad", "clash", "copy", "read", "fetch", "copy_later")


class Job:
    """The candidates on disk, the plan in a temporary table, the steps that work it off. Used in this order."""

    def __init__(self, lake: Lake, config: IngestConfig, staging: Path, counts: IngestCounts) -> None:
        self.lake = lake
        self.config = config
        self.staging = staging
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
                "CREATE OR REPLACE TEMP TABLE ingest_plan "
                "(row_id BIGINT, source_key VARCHAR, url VARCHAR, archive VARCHAR, n_bytes BIGINT, todo VARCHAR)"
            )
            return
        parameters = {
            "listed": self.listed,
            "source": self.counts.source,
            "retry": self.config.retry_failed,
            "reasons": [reason.value for reason in self.config.retry_reasons],
            "barred": [*(known := barred(self.lake)).keys, *known.urls],
        }
        self.lake.connection.execute(_sql("ingest_plan"), parameters)
        found = dict(self.lake.rows("SELECT todo, count(*) FROM ingest_plan GROUP BY 1"))
        self.counts.present = found.get("present", 0)
        self.counts.failed_before = found.get("failed_before", 0)
        self.counts.not_tried = found.get("not_tried", 0)
        self.counts.repeated = found.get("repeated", 0)
        self.counts.taken_down = found.get("taken_down", 0)
        by_archive = "SELECT parse_filename(archive), count(*) FROM ingest_plan WHERE archive IS NOT NULL AND todo <> 'repeated' GROUP BY 1"
        self.counts.archives = dict(self.lake.rows(f"{by_archive} ORDER BY 1"))
        self._check_same_pictures()

    def expected(self) -> dict[str, Any]:
        """How many rows the source will have, with a picture or a failure, once this list is done; and each archive of the list."""
        have = "SELECT count(*) FROM images WHERE source = $1 UNION ALL SELECT count(*) FROM fetch_failures WHERE source = $1"
        known = sum(count for (count,) in self.lake.rows(have, [self.counts.source]))
        new = 0 if self.config.retry_failed else self._count(*_WORK)
        return {"expected": known + new, "archives": self.counts.archives}

    def pictures(self) -> int:
        """How many the plan has to read or fetch."""
        return self._count("read", "fetch")

    def run(self, store: Store, fetchers: Fetchers | None = None) -> None:
        """Bad rows, then those that need no fetch, archives, downloads, and at last the rows that shared a URL with a download."""
        self._storage = store
        todo = self._count(*_WORK)
        with progress(f"ingest {self.counts.source}", todo) as advance:
            self._store(map(_bad, self._rows("bad")), advance)
            self._store(map(_clash, self._rows("clash")), advance)
            self._copy("copy", advance)
            self._read(advance)
            self._fetch(advance, fetchers)
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
        query = (
            "SELECT l.* REPLACE (p.source_key AS source_key) FROM read_parquet(?) l JOIN temp.ingest_plan p USING (row_id) "
            "WHERE row_id BETWEEN ? AND ? AND row_id IN (SELECT unnest(?::BIGINT[])) ORDER BY row_id"
        )
        told = [self.listed, min(row_ids), max(row_ids), row_ids]
        rows: list[dict[str, Any]] = self.lake.arrow(query, told).to_pylist()
        for row in rows:
            if row["author"] is None:
                row["author"] = self.config.author
            if self.config.caption_license is not None:
                row["captions"] = [item | {"license": self.config.caption_license} for item in row["captions"] or []]
        return rows

    def _store(self, outcomes: Iterable[Outcome], advance: Callable[[int], None]) -> None:
        for stored, rows in self._storage.run(outcomes, self.staging, pictures=PICTURES_PER_SHARD):
            self.counts.add(stored, rows)
            self._stored += 1
            if self._stored % _MERGE_EVERY == 0:
                self.lake.merge_small_files()
            advance(rows)

    def _read(self, advance: Callable[[int], None]) -> None:
        def outcome(row: dict[str, Any]) -> Outcome:
            try:
                return Outcome(row, reader.read(row["archive"], row["member"] or "", row["offset"], row["n_bytes"]))
            except MemberError as error:
                return Outcome(row, None, error.reason, error.detail)

        with ArchiveReader(max_bytes=self.config.fetch.max_bytes) as reader:
            self._store(map(outcome, self._rows("read")), advance)

    def _fetch(self, advance: Callable[[int], None], fetchers: Fetchers | None) -> None:
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
        started, before = time.monotonic(), self.counts.images
        # Each shard is stored as it comes: to read one ahead would keep what has come waiting for a slow host.
        shard_size = min(PICTURES_PER_SHARD, _PICTURES_PER_DOWNLOAD)
        for fetched in download(requests, work, policy, shard_size=shard_size, fetchers=fetchers):
            self._store(self._outcomes(fetched), advance)
        self.counts.fetched = self.counts.images - before
        self.counts.fetch_seconds = round(time.monotonic() - started, 3)

    def _outcomes(self, fetched: list["Fetched"]) -> Iterator[Outcome]:
        by_id = {item.row_id: item for item in fetched}
        for row in self._candidates(list(by_id)):
            came = by_id[row["row_id"]]
            yield Outcome(row, came.data, came.reason, came.detail, came.verdict)

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
            row["alt_language"] = alt_language(row["captions"] or [])
        tables = {
            "_rows": pa.Table.from_pylist(chosen),
            "_captions": pa.Table.from_pylist(captions, CAPTIONS),
            "_failures": pa.Table.from_pylist([], FAILURES),
        }
        stored = self.lake.commit(_copy_rows, **tables)
        self.counts.copied += stored.images
        self.counts.captions += stored.captions
        self.counts.failures += stored.failures


def _bad(row: dict[str, Any]) -> Outcome:
    return Outcome(row, None, FailureReason(row["reason"] or FailureReason.BAD_ROW), row["bad"])


def _clash(row: dict[str, Any]) -> Outcome:
    key = row["source_key"].rpartition("#")[0]
    return Outcome(row, None, FailureReason.BAD_ROW, f"another picture under the name of {key}, which was taken")


def _copy_rows(connection: duckdb.DuckDBPyConnection) -> Stored:
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW copied_images AS SELECT r.source, r.source_key, r.collection, r.subset, r.url, "
        "r.license, r.author, r.meta, r.alt_language, r.at AS ingested_at, c.* EXCLUDE (row_id, source_key) "
        "FROM _rows r JOIN ingest_copied c USING (row_id)"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW copied_failures AS SELECT r.source, r.source_key, r.collection, r.subset, r.url, "
        "NULL::VARCHAR AS archive, NULL::VARCHAR AS member, f.reason, f.detail, f.attempts, f.failed_at "
        "FROM _rows r JOIN fetch_failures f USING (url) WHERE f.archive IS NULL AND r.row_id NOT IN (SELECT row_id FROM ingest_copied) "
        "QUALIFY row_number() OVER (PARTITION BY r.row_id ORDER BY f.failed_at DESC) = 1"
    )
    return write_rows(connection, "copied_images", "copied_failures")


def _limited(frames: Iterator[pl.DataFrame], limit: int | None) -> Iterator[pl.DataFrame]:
    """The first ``limit`` rows; nothing more is read than they need."""
    left = limit
    for frame in frames:
        if left is not None and len(frame) >= left:
            yield frame.head(left)
            return
        yield frame
        left = None if left is None else left - len(frame)


def _sql(name: str) -> str:
    return files("captionlake.lake").joinpath(f"sql/{name}.sql").read_text()
