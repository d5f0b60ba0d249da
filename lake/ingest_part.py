"""One list of one source: planned, registered, worked off, and noted among the runs."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb

from captionlake.lake.fetch_cluster import Fetchers
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.ingest_job import Job
from captionlake.lake.lake import Lake
from captionlake.lake.runs import note_run
from captionlake.lake.sources import Source
from captionlake.lake.store import Store


def ingest_part(
    lake: Lake,
    config: IngestConfig,
    source: Source,
    store: Store,
    described: dict[str, Any],
    fetchers: Fetchers | None = None,
) -> IngestCounts:
    """Bring in what ``source`` lists, under the names of ``store``; ``described`` is its row of ``sources``."""
    started = time.monotonic()
    counts = IngestCounts(source=store.source, collection=store.collection)
    with lake.staging("ingest") as staging:
        job = Job(lake, config, staging, counts)
        job.list_candidates(source)
        job.plan()
        store.expect(job.pictures())
        register(lake, described)
        note_run(lake, "list", target=counts.source, detail=listed_of(config), counts=job.expected())
        job.run(store, fetchers)
    counts.seconds = round(time.monotonic() - started, 3)
    note_run(lake, "ingest", target=counts.source, detail=listed_of(config), counts=asdict(counts))
    return counts


def listed_of(config: IngestConfig) -> dict[str, object]:
    """What tells one list from another: the newest run with the same is what the list says now."""
    names = [Path(name).name for name in config.inputs or config.archives]
    return {"inputs": names, "subset": config.subset, "limit": config.limit}


def register(lake: Lake, row: dict[str, Any]) -> None:
    """Note the source, or what is now said of it."""
    names = ", ".join(row)
    if lake.rows(f"SELECT {names} FROM sources WHERE source = ?", [row["source"]]) == [tuple(row.values())]:
        return

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("DELETE FROM sources WHERE source = ?", [row["source"]])
        connection.execute(f"INSERT INTO sources ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))

    lake.commit(change)
