"""What keeps the lake's tables tidy: snapshots expired, rows rewritten, files removed, the catalog packed.

Each step takes the write lock for itself, can be killed at any moment and run again, and leaves alone what a release pins. To remove
rows for good: delete them, ``rewrite`` their tables, pin releases to the snapshot that this made (the one of the delete still has the
rows in its files), then ``expire``, ``clean_files`` and ``vacuum_catalog``.
"""

import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake import vacuum
from captionlake.lake.catalog import CATALOG, first_line, quote
from captionlake.lake.lake import Lake
from captionlake.lake.locking import write_lock

_BUSY_SECONDS = 20.0  # as long as DuckLake's own connections wait


@dataclass(frozen=True, slots=True)
class Freed:
    """Files removed, and their bytes."""

    files: int
    n_bytes: int


def snapshots(lake: Lake) -> list[tuple[int, datetime]]:
    """Every snapshot that the lake has, oldest first, and when it was made."""
    return lake.rows("SELECT snapshot_id, snapshot_time FROM ducklake_snapshots('lake') ORDER BY snapshot_id")


def pinned(lake: Lake) -> set[int]:
    """The snapshots that releases are read at, and the newest one."""
    return {snapshot for (snapshot,) in lake.rows("SELECT DISTINCT snapshot_id FROM releases")} | {lake.snapshot()}


def expire(lake: Lake, keep: Collection[int] = ()) -> int:
    """Let go all snapshots but those that are pinned and those of ``keep``. Returns how many.

    The files that no other snapshot needs are scheduled for deletion, and stay until ``clean_files``.
    """
    with _writing(lake):
        kept = pinned(lake).union(keep)
        gone = [snapshot for snapshot, _ in snapshots(lake) if snapshot not in kept]
        if gone:
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


def clean_files(lake: Lake, *, older_than: timedelta = timedelta(), dry_run: bool = False) -> Freed:
    """Remove files of ``data/`` that no snapshot needs: scheduled for deletion, or orphaned by a killed writer, so long ago at least.

    Without an age, a query that is running may find its files gone and fail; run again, it reads the new ones. No writer can be
    caught, for it holds the lock from before its first file until its rows are committed.
    """
    before = f"TIMESTAMPTZ {quote((datetime.now(UTC) - older_than).isoformat())}"
    freed = Freed(0, 0)
    with _writing(lake):
        for function in ("ducklake_cleanup_old_files", "ducklake_delete_orphaned_files"):
            call = f"SELECT path FROM {function}('lake', older_than => {before}, dry_run => %s)"
            sizes = [_size(Path(path)) for (path,) in lake.rows(call % "true")]
            if not dry_run:
                lake.rows(call % "false")
            freed = Freed(freed.files + len(sizes), freed.n_bytes + sum(sizes))
    return freed


def vacuum_catalog(lake: Lake) -> bool:
    """Pack the catalog, so that nothing deleted stays in its free pages or its log. Returns whether all is on the disk.

    It is not while another process reads the catalog for longer than 20 seconds: then run it again.
    """
    path = lake.path / CATALOG
    program = [sys.executable, "-I", vacuum.__file__, str(path), str(_BUSY_SECONDS)]
    with write_lock(lake.path):
        done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise CaptionlakeError(
            f"{path} could not be packed ({done.stderr.strip()[-200:]}): make room on its disk, end what reads the lake, "
            "and run this again"
        )
    return done.returncode == 0


@contextmanager
def _writing(lake: Lake) -> Iterator[None]:
    with write_lock(lake.path):
        try:
            yield
        except duckdb.Error as error:
            raise CaptionlakeError(f"{lake.path} could not be tidied ({first_line(error)}): run this again") from error


def _size(path: Path) -> int:
    """Of a file that may be gone already, as after a kill."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
