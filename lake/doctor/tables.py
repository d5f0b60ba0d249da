"""The catalog and the tables: whether they open, which version, who writes, which files are missing, what can be given back."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from posixpath import normpath

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake import catalog, maintenance
from captionlake.lake.catalog import first_line
from captionlake.lake.data_place import DataPlace
from captionlake.lake.doctor.environment import clock
from captionlake.lake.doctor.finding import Finding, command, note, ok, problem, size
from captionlake.lake.lake import Lake
from captionlake.lake.place import catalog_of
from captionlake.lake.releases.gc import KEEP_DAYS, ORPHAN_SECONDS

_SHOWN = 5
_FREE_BYTES = 2**20  # of a catalog, which are worth a packing
#: path, and whether a snapshot needs it (else it is scheduled for deletion, and may be gone)
_FILES = (
    f"SELECT path, true, NULL FROM ({catalog.TABLE_FILES}) UNION ALL SELECT path, false, schedule_start::TIMESTAMPTZ "
    "FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion"
)


def open_lake(folder: Path) -> Lake:
    """The lake read-only, as it is: nothing is added, no lock is waited for. Raises where it does not open."""
    if not Lake.exists(folder):
        raise CaptionlakeError(f"no lake in {folder}: make one with  captionlake init {folder}")
    data_place = DataPlace.of(folder)
    connection = data_place.connect(catalog_of(folder))
    try:
        catalog.attach(connection, folder, data=data_place.data.url, read_only=True)
        catalog.check_schema(connection, folder)
        return Lake(folder, connection, data_place)
    except duckdb.Error as error:
        connection.close()
        raise CaptionlakeError(
            f"the lake {folder} is not whole ({first_line(error)}): restore what is missing from a backup"
        ) from error
    except BaseException:
        connection.close()
        raise


def schema(lake: Lake) -> Finding:
    """The version of the schema, and whether all that belongs to it is there."""
    version, name = lake.value("SELECT max(schema_version) FROM lake_info"), catalog_of(lake.path).name
    if version != catalog.SCHEMA_VERSION:
        what = f"schema version {version}, of before {catalog.SCHEMA_VERSION}"
        return note("catalog", what, name, command("captionlake", "upgrade", "--lake", lake.path))
    return ok("catalog", f"opens, schema version {version}, snapshot {lake.snapshot():,}", name)


def lock(lake: Lake) -> Finding:
    """Who holds the write lock."""
    place = catalog_of(lake.path)
    holder = place.holder()
    if holder is None:
        return ok("write lock", "nobody holds it", place.name)
    if holder.stuck:
        return problem(
            "write lock", f"{holder.who} holds it and does nothing, so nobody can write", place.name, holder.mend
        )
    return note("write lock", f"{holder.who} holds it", place.name)


def lake_clock(lake: Lake) -> Finding:
    """The clock is not behind the newest commit."""
    _, newest = maintenance.snapshots(lake)[-1]
    return clock(newest.timestamp(), "the newest commit of the lake")


def files(lake: Lake) -> Iterator[Finding]:
    """Files of ``data/``: those that a snapshot needs are there, and none is left over."""
    rows = [(normpath(path), is_needed, since) for path, is_needed, since in lake.rows(_FILES)]
    data, gc = lake.data_place.data, command("captionlake", "release", "gc", "--lake", lake.path)
    needed = {path for path, is_needed, _ in rows if is_needed}
    there = {one.name: one for one in data.entries()}
    if missing := sorted(needed - set(there)):
        what = f"{len(missing):,} files of tables are missing: {', '.join(missing[:_SHOWN])}"
        copy = f"cp -rn BACKUP/data {command(lake.path)}" if data.numbered else f"aws s3 sync BACKUP/data {data.url}"
        yield problem("table files", what, data.url, copy)
    else:
        yield ok("table files", f"all {len(needed):,} are there", data.url)
    known = {path for path, *_ in rows}
    before = time.time() - ORPHAN_SECONDS
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    given_up = {path for path, is_needed, since in rows if not is_needed and since < today}
    left = [
        one
        for name, one in there.items()
        if name in given_up or (name.endswith(".parquet") and name not in known and one.modified < before)
    ]
    if left:
        what = f"{len(left):,} files, {size(sum(one.n_bytes for one in left))}, that no snapshot needs"
        yield note("table files", what, data.url, gc)


def given_back(lake: Lake) -> Iterator[Finding]:
    """Snapshots that nothing needs, and free pages of the catalog."""
    place, gc = catalog_of(lake.path), command("captionlake", "release", "gc", "--lake", lake.path)
    there, pinned = maintenance.snapshots(lake), maintenance.pinned(lake)
    since = datetime.now(UTC) - timedelta(days=KEEP_DAYS)
    old = [snapshot for snapshot, made in there if made < since and snapshot not in pinned]
    if old:
        what = f"{len(old):,} of {len(there):,} snapshots are older than {KEEP_DAYS} days, and no release needs them"
        yield note("snapshots", what, place.name, gc)
    else:
        yield ok("snapshots", f"{len(there):,}, all needed or of the last {KEEP_DAYS} days", place.name)
    free, n_bytes = place.free_bytes(), place.n_bytes()
    if free > max(_FREE_BYTES, n_bytes / 4):
        yield note("catalog's size", f"{size(free)} of {size(n_bytes)} are free pages", place.name, gc)
    else:
        yield ok("catalog's size", size(n_bytes), place.name)
