"""``ingest``: the pictures of a source's files into the lake, each listed row accounted for."""

import logging
import time
from collections import Counter
from dataclasses import asdict

from captionlake.errors import CaptionlakeError
from captionlake.lake.archive_parts import archive_parts
from captionlake.lake.fetch_cluster import Fetchers
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.ingest_exported import export_of, ingest_exported
from captionlake.lake.ingest_job import DUCKDB_BYTES
from captionlake.lake.ingest_part import ingest_part, listed_of, register
from captionlake.lake.lake import Lake
from captionlake.lake.released_captions import join_released
from captionlake.lake.runs import note_run
from captionlake.lake.sources import SOURCES, Source
from captionlake.lake.sources.sharegpt4v import SHAREGPT4V
from captionlake.lake.store import Store

log = logging.getLogger(__name__)


def ingest(lake: Lake, config: IngestConfig, *, fetchers: Fetchers | None = None) -> IngestCounts:
    """Bring the rows of a source's files into the lake. Can be killed and run again: it does only what is missing.

    ``fetchers``: the machines that download what is listed by URL.
    """
    started = time.monotonic()
    source, counts = named(config)
    lake.sweep()
    with lake.memory_limit(DUCKDB_BYTES):
        if source is SHAREGPT4V:
            return _join(lake, config, counts)
        if (export := export_of(config)) is not None:
            return ingest_exported(lake, config, export)
        described = _described(source, config, counts.source, counts.collection)
        store = Store(lake, counts.source, counts.collection, nsfw=config.nsfw)
        try:
            for part in archive_parts(lake, config, counts):
                counts.add_part(ingest_part(lake, part, source, store, described, fetchers))
        finally:
            store.close()
        lake.merge_small_files()
    counts.reasons = dict(
        lake.rows(
            "SELECT reason, count(*) FROM fetch_failures WHERE source = ? GROUP BY ALL ORDER BY ALL", [counts.source]
        )
    )
    counts.seconds = round(time.monotonic() - started, 3)
    return counts


def named(config: IngestConfig) -> tuple[Source, IngestCounts]:
    """The source, and counts with the names under which its rows stand: another collection makes it a source of its own."""
    source = SOURCES.get(config.source)
    if source is None:
        raise CaptionlakeError(f"no source {config.source!r}: choose one of {', '.join(sorted(SOURCES))}")
    collection = config.collection or source.collection
    name = source.name if collection == source.collection else f"{source.name}-{collection}"
    return source, IngestCounts(source=name, collection=collection)


def _join(lake: Lake, config: IngestConfig, counts: IngestCounts) -> IngestCounts:
    """Released captions bring no pictures: they are joined onto those that the lake has."""
    with lake.staging("join") as staging:
        joined = join_released(lake, config, staging)
    register(lake, _described(SHAREGPT4V, config, counts.source, counts.collection))
    counts.listed, counts.matched, counts.failures = joined.listed, joined.matched, joined.unmatched
    counts.captions, counts.seconds = joined.captions, joined.seconds
    counts.reasons = dict(sum((Counter(why) for why in joined.reasons.values()), Counter()))
    lake.merge_small_files()
    note_run(
        lake,
        "list",
        target=counts.source,
        detail=listed_of(config),
        counts={"matched": joined.matched, "found": joined.found},
    )
    note_run(lake, "ingest", target=counts.source, detail=listed_of(config), counts=asdict(joined))
    return counts


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
