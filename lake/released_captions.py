"""ShareGPT4V's released captions onto the pictures of the lake: what matches becomes captions, what does not is told and why."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from captionlake.lake.catalog import literal_glob
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.lake import Lake, insert_new
from captionlake.lake.progress import progress
from captionlake.lake.sources.sharegpt4v import LICENSE, SHAREGPT4V, released

_ROWS_PER_COMMIT = 50_000
_SOURCE = SHAREGPT4V.name


@dataclass(slots=True)
class ReleasedCounts:
    """What one join found. ``listed`` is the sum of ``matched`` and ``unmatched``, and ``matched`` of ``captions`` and ``repeated``."""

    source: str = _SOURCE
    listed: int = 0
    matched: int = 0
    unmatched: int = 0  # ambiguous and unusable rows among them
    ambiguous: int = 0
    bad: int = 0  # rows that cannot be used
    captions: int = 0  # added
    repeated: int = 0  # matched rows whose caption the lake has already
    failures: int = 0  # rows of fetch_failures that are new or changed
    found: dict[str, int] = field(default_factory=dict)  # matched rows by collection
    # Unmatched rows by collection and why: not_in_lake, ambiguous, bad_row, or the reason for which the picture's own source failed.
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: float = 0.0


def join_released(lake: Lake, config: IngestConfig, staging: Path) -> ReleasedCounts:
    """Join the released files onto the lake. Can be killed and run again: a caption that is there is not added twice.

    A released path means the picture of its collection with that very key, else the one with that file name (suffix and case aside),
    or for web pictures that subject's name. Where pictures of different bytes fit, none is taken. Unmatched paths are
    rows of ``fetch_failures`` of the source ``sharegpt4v``, which leave when a later run matches them.
    """
    started = time.monotonic()
    counts = ReleasedCounts()
    listed = _stage(config, staging, counts)
    for name in ("released_names", "released_found", "released_missing"):
        text = _sql(name)
        given = {"listed": listed, "source": _SOURCE}
        lake.connection.execute(text, {key: value for key, value in given.items() if f"${key}" in text})
    _count(lake, listed, counts)
    with progress(f"ingest {_SOURCE}", counts.listed) as advance:
        for first in range(0, counts.listed, _ROWS_PER_COMMIT):
            last = min(first + _ROWS_PER_COMMIT, counts.listed) - 1
            captions, failures = lake.commit(_Chunk(listed, first, last))
            counts.captions += captions
            counts.failures += failures
            advance(last - first + 1)
    counts.repeated = counts.matched - counts.captions
    counts.seconds = round(time.monotonic() - started, 3)
    return counts


def _stage(config: IngestConfig, staging: Path, counts: ReleasedCounts) -> str:
    """The released rows as Parquet; returns their glob. Nothing is written to the lake before the files were read to their ends."""
    folder = staging / "released"
    folder.mkdir()
    for number, frame in enumerate(released(config)):
        # By PyArrow, whose error on a full disk is an OSError.
        pq.write_table(frame.to_arrow(), folder / f"{number:06d}.parquet")
        counts.listed += len(frame)
    return f"{literal_glob(staging)}/released/*.parquet"


def _count(lake: Lake, listed: str, counts: ReleasedCounts) -> None:
    query = (
        "SELECT r.collection, CASE WHEN r.bad IS NOT NULL THEN 'bad_row' WHEN f.n = 1 THEN '' ELSE m.why END AS why, count(*) "
        "FROM read_parquet(?) r LEFT JOIN released_found f ON f.image = r.image "
        "LEFT JOIN released_missing m ON m.image = r.image GROUP BY ALL ORDER BY ALL"
    )
    for collection, why, n in lake.rows(query, [listed]):
        if not why:
            counts.matched += n
            counts.found[collection] = n
            continue
        counts.unmatched += n
        counts.ambiguous += n if why == "ambiguous" else 0
        counts.bad += n if why == "bad_row" else 0
        counts.reasons.setdefault(collection, {})[why] = n


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One transaction: the captions and failures of a range of rows, and the end of failures whose picture has come."""

    listed: str
    first: int
    last: int

    def __call__(self, connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
        given = {
            "source": _SOURCE,
            "listed": self.listed,
            "license": LICENSE,
            "now": datetime.now(UTC),
            "first": self.first,
            "last": self.last,
        }
        for name in ("released_captions", "released_failures"):
            text = _sql(name)
            connection.execute(text, {key: value for key, value in given.items() if f"${key}" in text})
        captions = insert_new(connection, "captions", "released_captions", ["caption_id"])
        connection.execute(
            "DELETE FROM fetch_failures WHERE source = ? AND source_key IN (SELECT source_key FROM released_failures "
            "UNION ALL SELECT image FROM released_found WHERE n = 1 AND first_row BETWEEN ? AND ?)",
            [_SOURCE, self.first, self.last],
        )
        found = connection.execute("INSERT INTO fetch_failures BY NAME FROM released_failures").fetchone()
        return captions, int(found[0]) if found else 0


def _sql(name: str) -> str:
    return files("captionlake.lake").joinpath(f"sql/{name}.sql").read_text()
