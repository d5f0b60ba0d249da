"""Archives that a source's list of links names, one at a time: downloaded, ingested, and removed again.

SA-1B comes as a list of some thousand tars of about 11 GB. Each becomes a part of the ingest; a tar that was done is not
downloaded again, and one that cannot be had is a row of ``fetch_failures`` under the tar's own name.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.fetch_errors import FetchError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.reasons import FailureReason
from captionlake.lake.runs import note_run
from captionlake.lake.store import FAILURES, write_failures

if TYPE_CHECKING:
    from captionlake.lake.sources.sam import TarLink

log = logging.getLogger(__name__)


def archive_parts(lake: Lake, config: IngestConfig, counts: IngestCounts) -> Iterator[IngestConfig]:
    """The ingest in parts: as it is, but for a source whose inputs name archives to download, which come one by one.

    Adds to ``counts`` what is known of archives that are done, and of those that cannot be had.
    """
    if config.source != "sam":
        yield config
        return
    at_hand, wanted = _split(config)
    if at_hand.inputs or at_hand.archives or not wanted:
        yield at_hand
    for link in wanted:
        left = None if config.limit is None else config.limit - counts.listed
        if left is not None and left <= 0:
            return
        if not _done(lake, config, link.file_name, counts):
            yield from _fetched(lake, replace(config, limit=left), link, counts)


def archives_to_download(lake: Lake, config: IngestConfig, source: str) -> Iterator[tuple[str, int | None]]:
    """Name and size in bytes of the archives that an ingest would download; the size is None where the server does not tell it."""
    if config.source != "sam":
        return
    from captionlake.lake.archive_download import archive_size

    policy = replace(config.fetch, allow_private_hosts=config.allow_private_hosts)
    for link in _split(config)[1]:
        if not _done(lake, config, link.file_name, IngestCounts(source=source)):
            yield link.file_name, archive_size(link.url, policy)


def _split(config: IngestConfig) -> tuple[IngestConfig, list["TarLink"]]:
    """The ingest of what is at hand, and the archives that the lists of links name beyond it."""
    from captionlake.lake.sources.sam import is_link_list, links

    lists = [name for name in config.inputs if is_link_list(Path(name))]
    at_hand = replace(config, inputs=[name for name in config.inputs if name not in lists])
    have = {Path(name).name for name in (*at_hand.inputs, *at_hand.archives)}
    return at_hand, [link for name in lists for link in links(Path(name)) if link.file_name not in have]


def _done(lake: Lake, config: IngestConfig, archive: str, counts: IngestCounts) -> bool:
    """Whether there is nothing to try of the archive: it was ingested whole, or could not be had. If so, counts its rows."""
    failed: dict[str, int] = dict(
        lake.rows(
            "SELECT reason, count(*) FROM fetch_failures WHERE source = ? AND (archive = ? OR source_key = ?) GROUP BY 1",
            [counts.source, archive, archive],
        )
    )
    if config.retry_failed:
        wanted = {reason.value for reason in config.retry_reasons} or failed.keys()
        return not wanted & failed.keys()
    known = (
        "SELECT (SELECT count(*) FROM runs WHERE step = 'ingest' AND target = $1 AND (detail->>'limit') IS NULL "
        "AND (detail->'inputs')::VARCHAR = json_array($2)::VARCHAR) "
        "+ (SELECT count(*) FROM fetch_failures WHERE source = $1 AND source_key = $2)"
    )
    if not lake.value(known, [counts.source, archive]):
        return False
    present = "SELECT count(*) FROM images WHERE source = ? AND archive = ?"
    counts.present += (n := int(lake.value(present, [counts.source, archive])))
    counts.failed_before += (n_failed := sum(failed.values()))
    counts.listed += n + n_failed
    return True


def _fetched(lake: Lake, config: IngestConfig, link: "TarLink", counts: IngestCounts) -> Iterator[IngestConfig]:
    from captionlake.lake.archive_download import fetch_archive

    folder = lake.path / "downloads"
    folder.mkdir(exist_ok=True)
    policy = replace(config.fetch, allow_private_hosts=config.allow_private_hosts)
    target = folder / link.file_name
    try:
        if not target.exists():
            started = time.monotonic()
            with progress(f"download {link.file_name}", None) as advance:
                fetch_archive(link.url, target, policy, advance=advance)
            took = {"n_bytes": target.stat().st_size, "seconds": round(time.monotonic() - started, 3)}
            note_run(lake, "download", target=counts.source, detail={"archive": link.file_name}, counts=took)
    except CaptionlakeError as error:
        if not isinstance(error.__cause__, FetchError):  # no room on the disk, and the like
            raise
        _note_failure(lake, counts, link, error.__cause__.reason, str(error))
        return
    if _forget_failure(lake, counts.source, link.file_name):
        config = replace(config, retry_failed=False, retry_reasons=[])  # none of its rows was tried yet
    yield replace(config, inputs=[str(target)])
    if not config.keep_archives:
        target.unlink()


def _note_failure(lake: Lake, counts: IngestCounts, link: "TarLink", reason: FailureReason, detail: str) -> None:
    row = {
        "source": counts.source,
        "source_key": link.file_name,
        "collection": counts.collection,
        "subset": Path(link.file_name).stem,
        "archive": link.file_name,
        "reason": reason.value,
        "detail": detail[:500],
        "attempts": 1,
        "failed_at": datetime.now(UTC),
    }
    log.warning("%s: %s", link.file_name, detail)
    failures = pa.Table.from_pylist([row], FAILURES)
    counts.failures += lake.commit(lambda connection: write_failures(connection, "_failures"), _failures=failures)
    counts.listed += 1


def _forget_failure(lake: Lake, source: str, archive: str) -> bool:
    """Remove the archive's own failure; returns whether there was one."""
    own = "FROM fetch_failures WHERE source = ? AND source_key = ?"
    if not lake.value(f"SELECT count(*) {own}", [source, archive]):
        return False

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(f"DELETE {own}", [source, archive])

    lake.commit(change)
    return True
