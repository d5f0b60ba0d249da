"""``ingest --plan``: what an ingest would do, how much that is, and how long it takes at the rate measured in this lake."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files

from captionlake.lake.archive_parts import archives_to_download
from captionlake.lake.ingest import named
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.ingest_exported import export_of, sources_of
from captionlake.lake.ingest_job import DUCKDB_BYTES, Job
from captionlake.lake.lake import Lake
from captionlake.lake.options import printable
from captionlake.lake.sources import Source

_HOSTS = 10  # hosts that are named


@dataclass(slots=True)
class Preview:
    """What is listed and what would be done. Bytes and seconds are None where nothing measured says them.

    ``bytes_fetch`` is the rows to fetch times the mean size of the pictures that this source has by URL, or else all
    sources. ``bytes_read`` is exact for members whose size the archive tells, the mean for others. ``bytes_archives`` is what the
    server says of the archives to download. ``seconds`` are at the rate of earlier ingests into this lake, of this source
    where there are any. ``bytes_disk`` is what the lake grows by; archives downloaded lie on the disk one at a time.
    """

    source: str
    collection: str
    listed: int = 0
    present: int = 0
    failed_before: int = 0
    not_tried: int = 0
    repeated: int = 0
    bad: int = 0
    copy: int = 0  # of URLs that the lake has fetched
    read: int = 0
    fetch: int = 0
    hosts: dict[str, int] = field(default_factory=dict)  # the busiest, with the rows to fetch from each
    archives_to_download: list[str] = field(default_factory=list)
    bytes_archives: int | None = 0
    bytes_fetch: int | None = 0
    bytes_read: int | None = 0
    bytes_disk: int | None = 0
    bytes_free: int = 0
    seconds: int | None = 0


def preview(lake: Lake, config: IngestConfig) -> Preview:
    """What ``ingest`` would do now. Reads the lists; asks no server for more than the sizes of archives to download."""
    source, counts = named(config)
    found = Preview(counts.source, counts.collection, bytes_free=shutil.disk_usage(lake.path).free)
    sized = unsized = 0
    with lake.memory_limit(DUCKDB_BYTES), _parts(lake, config, source, counts) as parts:
        for part, part_counts in parts:
            with lake.staging("plan") as staging:
                job = Job(lake, config, staging, part_counts)
                job.list_candidates(part)
                job.plan()
            found.listed += part_counts.listed
            known, unknown = _count(found, lake)
            sized, unsized = sized + known, unsized + unknown
    sizes = dict(archives_to_download(lake, config, counts.source))
    found.archives_to_download = list(sizes)
    found.bytes_archives = _sum(*sizes.values())
    query = files("captionlake.lake").joinpath("sql/ingest_measured.sql").read_text()
    measured = lake.rows(query, {"source": counts.source})[0]
    mean_url, mean_archive, *seconds_each = measured
    found.bytes_fetch = _times(found.fetch, mean_url)
    found.bytes_read = _sum(sized, _times(unsized, mean_archive))
    found.bytes_disk = _sum(found.bytes_fetch, found.bytes_read, found.bytes_archives)
    work = (found.fetch, found.read, found.bytes_archives)
    found.seconds = _sum(*(_times(count, each) for count, each in zip(work, seconds_each, strict=True)))
    return found


@contextmanager
def _parts(
    lake: Lake, config: IngestConfig, source: Source, counts: IngestCounts
) -> Iterator[list[tuple[Source, IngestCounts]]]:
    """The source alone, or each source of an export."""
    export = export_of(config)
    if export is None:
        yield [(source, counts)]
        return
    with sources_of(lake, export, config.limit) as sources:
        yield [(part, IngestCounts(source=part.name, collection=part.collection)) for part, _ in sources]


def _count(found: Preview, lake: Lake) -> tuple[int, int]:
    """Add the counts of the plan; returns the bytes of the members to read whose size is known, and how many others there are."""
    todo = dict(lake.rows("SELECT todo, count(*) FROM ingest_plan GROUP BY 1"))
    for name in ("present", "failed_before", "not_tried", "repeated", "read", "fetch"):
        setattr(found, name, getattr(found, name) + todo.get(name, 0))
    found.bad += todo.get("bad", 0) + todo.get("clash", 0)
    found.copy += todo.get("copy", 0) + todo.get("copy_later", 0)
    hosts = (
        "SELECT regexp_extract(url, '^[a-zA-Z]+://([^/?#]+)', 1) AS host, count(*) FROM ingest_plan WHERE todo = 'fetch' "
        "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?"
    )
    busiest = Counter(found.hosts) + Counter(dict(lake.rows(hosts, [_HOSTS])))
    found.hosts = dict(busiest.most_common(_HOSTS))
    sized, unsized = lake.rows(
        "SELECT coalesce(sum(n_bytes), 0)::BIGINT, count(*) - count(n_bytes) FROM ingest_plan WHERE todo = 'read'"
    )[0]
    return sized, unsized


def _times(count: int | None, each: float | None) -> int | None:
    """The product, 0 of nothing; None where a factor is not known."""
    if count == 0:
        return 0
    return None if count is None or each is None else round(count * each)


def _sum(*parts: int | None) -> int | None:
    return None if None in parts else sum(part for part in parts if part is not None)


def preview_lines(found: Preview) -> str:
    """The plan for a person."""
    todo = {
        "to fetch": found.fetch,
        "to read": found.read,
        "of URLs that are in the lake": found.copy,
        "that cannot be used": found.bad,
        "present": found.present,
        "failed before": found.failed_before,
        "not tried": found.not_tried,
        "repeated": found.repeated,
    }
    lines = [
        f"{found.source}: {found.listed:,} listed: "
        + (", ".join(f"{n:,} {t}" for t, n in todo.items() if n) or "nothing")
    ]
    if found.archives_to_download:
        names = found.archives_to_download
        some = ", ".join(names[:3]) + (f" … {names[-1]}" if len(names) > 3 else "")
        lines.append(f"{len(names):,} archives to download, {_bytes(found.bytes_archives)}: {some}")
    if found.hosts:
        lines.append("hosts: " + ", ".join(f"{printable(host)} {count:,}" for host, count in found.hosts.items()))
    lines.append(
        f"about {_bytes(found.bytes_fetch)} to fetch and {_bytes(found.bytes_read)} to read; "
        f"the lake grows by about {_bytes(found.bytes_disk)}, {_bytes(found.bytes_free)} are free"
    )
    lines.append(
        f"about {timedelta(seconds=round(found.seconds))} (h:mm:ss) at the rate measured in this lake"
        if found.seconds is not None
        else "how long: not measured in this lake yet; ingest some with --limit 1000 and ask again"
    )
    return "\n".join(lines)


def _bytes(count: int | None) -> str:
    """A size for people, in powers of 1,000."""
    if count is None:
        return "an unknown amount"
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            break
    return f"{size:,.1f} {unit}"
