"""``ingest hf`` of what ``captionlake release export`` wrote: each row comes back under its own source and key, with its captions
as they were made; conversations with the pictures that they are about."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.ingest_part import ingest_part
from captionlake.lake.lake import Lake
from captionlake.lake.releases.exported_release import release_from_export
from captionlake.lake.releases.names import parse_release
from captionlake.lake.releases.release import Release
from captionlake.lake.sft.exported_sft import sft_release_from_export, take_conversations
from captionlake.lake.sources import Source
from captionlake.lake.sources.exported import Exported, Group, by_source, exported, limited, released_rows
from captionlake.lake.sources.exported_conversations import conversation_rows, pictures_of
from captionlake.lake.sources.hf import HF
from captionlake.lake.store import Store

_SAID_BY_FILES = (
    *("collection", "subset", "license", "license_url", "caption_license"),
    *("redistribute", "title", "homepage", "citation", "author"),
)
_COLUMNS = ("source", "collection", "title", "homepage", "license", "license_url", "redistribute", "citation")


def export_of(config: IngestConfig) -> Exported | None:
    """The export that the inputs of an ingest are, if they are one. Raises where the config says what an export says itself."""
    found = exported([*config.inputs, *config.archives]) if config.source == HF.name else None
    told = [name for name in _SAID_BY_FILES if getattr(config, name) is not None]
    if found is not None and told:
        raise CaptionlakeError(
            f"{found.files[0][0]} is an export of captionlake, which says of itself what its sources are: leave out {', '.join(told)}"
        )
    return found


@contextmanager
def sources_of(lake: Lake, export: Exported, limit: int | None) -> Iterator[list[tuple[Source, dict[str, Any]]]]:
    """Each source of the export, which reads the rows that it has there, and its row of ``sources``."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM sources"
    known = {row[0]: dict(zip(_COLUMNS, row, strict=True)) for row in lake.rows(query)}
    told = export.sources()
    with lake.staging("exported") as staging:
        found = []
        rows = limited(conversation_rows(export) if export.kind == "sft" else released_rows(export), limit)
        for group in by_source(map(pictures_of, rows) if export.kind == "sft" else rows, staging):
            source = replace(HF, name=group.source, collection=group.collection, read=_reader(group))
            said = known.get(group.source) or told.get(group.source) or _unsaid(group)
            found.append((source, {column: said.get(column) for column in _COLUMNS}))
        yield found


def _reader(group: Group) -> Callable[[IngestConfig], Iterator[pl.DataFrame]]:
    return lambda _: group.frames()


def _unsaid(group: Group) -> dict[str, Any]:
    """Of a source whose description was lost, what its rows say."""
    return {"source": group.source, "collection": group.collection, "redistribute": group.redistribute}


def ingest_exported(lake: Lake, config: IngestConfig, export: Exported) -> IngestCounts:
    """Bring in the sources of an export one after another, then its conversations. What the lake says of a source that it has already
    stays so."""
    started = time.monotonic()
    counts = IngestCounts(source=config.source, collection=HF.collection)
    with sources_of(lake, export, config.limit) as sources:
        for source, described in sources:
            store = Store(lake, source.name, source.collection, nsfw=config.nsfw)
            try:
                counts.add_part(ingest_part(lake, config, source, store, described))
            finally:
                store.close()
        names = [source.name for source, _ in sources]
    if export.kind == "sft":
        counts.conversations = take_conversations(lake, limited(conversation_rows(export), config.limit))
    lake.merge_small_files()
    failed = "SELECT reason, count(*) FROM fetch_failures WHERE list_contains(?, source) GROUP BY ALL ORDER BY ALL"
    counts.reasons = dict(lake.rows(failed, [names]))
    counts.seconds = round(time.monotonic() - started, 3)
    return counts


def check_label(config: IngestConfig, label: str) -> None:
    """Raise where a release of that name cannot come of the ingest, before anything is brought in."""
    parse_release(label)
    if export_of(config) is None:
        raise CaptionlakeError(
            "--release is for what  captionlake release export --to parquet  wrote: leave it out, and choose rows with a recipe"
        )
    if config.limit is not None:
        raise CaptionlakeError("--release takes all rows of an export: leave out --limit")


def release_of_ingest(lake: Lake, config: IngestConfig, label: str) -> tuple[Release, bool]:
    """The release of the export that was ingested, under the name ``label``; and whether it is new."""
    export = export_of(config)
    assert export is not None
    return (sft_release_from_export if export.kind == "sft" else release_from_export)(lake, export, label)
