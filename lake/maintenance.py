"""What keeps the lake's tables tidy: snapshots expired, rows rewritten, files removed, the catalog packed.

Each step takes the write lock for itself, can be killed at any moment and run again, and leaves alone what a release pins. To remove
rows for good: delete them, ``rewrite`` their tables, pin releases to the snapshot that this made (the one of the delete still has the
rows in its files), then ``expire``, ``clean_files`` and ``vacuum_catalog``.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import first_line, quote
from captionlake.lake.freed import Freed
from captionlake.lake.lake import Lake
from captionlake.lake.locking import write_lock
from captionlake.lake.place import catalog_of

_SETTLE_SECONDS = 1.0


def snapshots(lake: Lake) -> list[tuple[int, datetime]]:
    """Every snapshot that the lake has, oldest first, and when it was made."""
    return lake.rows("SELECT snapshot_id, snapshot_time FROM ducklake_snapshots('lake') ORDER BY snapshot_id")


def pinned(lake: Lake) -> set[int]:
    """The snapshots that releases are read at, and the newest one."""
    return {snapshot for (snapshot,) in lake.rows("SELECT DISTINCT snapshot_id FROM releases")} | {lake.snapshot()}


def expire(lake: Lake, keep: Collection[int] = ()) -> int:
    """Let go all snapshots but those that are pinned and those of ``keep``. Returns how many.

    The files that no other snapshot needs are scheduled for deletion, and stay until ``clean_files``. A snapshot that was the newest
    until a moment ago is given that moment: a query asks the catalog for the snapshot first and then for its files, by another
    connection where the catalog is SQLite, and would miss rows in silence where it was let go in between.
    """
    with _writing(lake):
        kept = pinned(lake).union(keep)
        there = snapshots(lake)
        gone = [snapshot for snapshot, _ in there if snapshot not in kept]
        if gone:
            followed = max(after for (snapshot, _), (_, after) in pairwise(there) if snapshot in gone)
            age = (datetime.now(UTC) - followed).total_seconds()
            time.sleep(min(_SETTLE_SECONDS, max(0.0, _SETTLE_SECONDS - age)))
            lake.connection.execute(f"CALL ducklake_expire_snapshots('lake', versions => {gone})").fetchall()
    return len(gone)


def rewrite(lake: Lake, tables: Collection[str]) -> None:
    """Write the tables' files anew without the rows that were deleted, rows inlined in the catalog too.

    Older snapshots keep the files that they had: to be rid of the rows, let go those snapshots.
    """
    with _writing(lake):
        for table in tables:
            for call in (
                f"ducklake_flush_inlined_data('lake', table_name => {quote(table)})",
                f"ducklake_rewrite_data_files('lake', {quote(table)}, delete_threshold => 0)",
            ):
                lake.connection.execute(f"CALL {call}").fetchall()


def clean_files(lake: Lake, *, older_than: timedelta = timedelta()) -> Freed:
    """Remove files of ``data/`` that no snapshot needs: scheduled for deletion, or orphaned by a killed writer, so long ago at least.

    Without an age, a query that is running may find its files gone and fail; run again, it reads the new ones. No writer can be
    caught, for it holds the lock from before its first file until its rows are committed.
    """
    return remove_scheduled(lake, older_than) + remove_orphans(lake, older_than)


def remove_scheduled(lake: Lake, older_than: timedelta, *, dry_run: bool = False) -> Freed:
    """Remove the files that were scheduled for deletion so long ago, on an earlier day (UTC) where it is not at once.

    DuckLake compares times in a SQLite catalog as text, in two forms that tell days apart alone: asked for an hour, it takes all of
    the day.
    """
    before = datetime.now(UTC) - older_than
    if older_than:
        before = before.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=1)
    return _remove(lake, "ducklake_cleanup_old_files", before, dry_run)


def remove_orphans(lake: Lake, older_than: timedelta, *, dry_run: bool = False) -> Freed:
    """Remove the files of that age that the catalog does not know."""
    return _remove(lake, "ducklake_delete_orphaned_files", datetime.now(UTC) - older_than, dry_run)


def _remove(lake: Lake, function: str, before: datetime, dry_run: bool) -> Freed:
    call = f"SELECT path FROM {function}('lake', older_than => TIMESTAMPTZ {quote(before.isoformat())}, dry_run => %s)"
    root = f"{lake.data_place.data.url}/"
    with _writing(lake):
        freed = lake.data_place.data.freed(path.removeprefix(root) for (path,) in lake.rows(call % "true"))
        if not dry_run:
            lake.rows(call % "false")
    return freed


def waiting(lake: Lake, gone: Collection[int] = ()) -> Freed:
    """The files that are scheduled for deletion and still there, with those that would be if the snapshots ``gone`` were let go."""
    query = (
        "SELECT path FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion UNION ALL "
        "SELECT concat_ws('/', s.path || t.path, f.path) FROM (SELECT table_id, path, begin_snapshot, end_snapshot FROM "
        "__ducklake_metadata_lake.ducklake_data_file UNION ALL SELECT table_id, path, begin_snapshot, end_snapshot FROM "
        "__ducklake_metadata_lake.ducklake_delete_file) f JOIN __ducklake_metadata_lake.ducklake_table t USING (table_id) "
        "JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id) "
        "WHERE f.end_snapshot IS NOT NULL AND NOT EXISTS (SELECT 1 FROM __ducklake_metadata_lake.ducklake_snapshot k "
        "WHERE NOT list_contains(?::BIGINT[], k.snapshot_id) AND k.snapshot_id >= f.begin_snapshot AND k.snapshot_id < f.end_snapshot)"
    )
    return lake.data_place.data.freed(path for (path,) in lake.rows(query, [list(gone)]))


def vacuum_catalog(lake: Lake) -> bool:
    """Pack the catalog, so that nothing deleted stays in its free pages or its log. Returns whether all is on the disk.

    It is not while another process reads the catalog for longer than 20 seconds: then run it again.
    """
    with write_lock(lake.path):
        return catalog_of(lake.path).pack()


@contextmanager
def _writing(lake: Lake) -> Iterator[None]:
    with write_lock(lake.path):
        try:
            yield
        except duckdb.Error as error:
            raise CaptionlakeError(f"{lake.path} could not be tidied ({first_line(error)}): run this again") from error
