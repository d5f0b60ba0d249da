"""What no release, no row of today and no running process needs, removed: old snapshots, files, shards, leftovers, copies."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from captionlake.errors import CaptionlakeError
from captionlake.lake import maintenance
from captionlake.lake.freed import Freed
from captionlake.lake.lake import Lake
from captionlake.lake.leftovers import committed_replies, unused_copies
from captionlake.lake.locking import write_lock
from captionlake.lake.place import catalog_of
from captionlake.lake.shards import remove_shards
from captionlake.lake.staging import sweep_staging

KEEP_DAYS = 7
READER_SECONDS = 3600  # for which a query that is running may still read files that were replaced
ORPHAN_SECONDS = 24 * 3600  # from which age on files without a row are a killed writer's


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """``snapshots`` were let go and ``kept`` stay. ``freed``: what was removed, by kind. ``waiting``: files that only snapshots let go
    had needed, still there for queries that are at them; a ``collect`` from tomorrow on removes them. A dry run removes nothing and
    tells what would be."""

    dry_run: bool
    snapshots: int
    kept: int
    freed: dict[str, Freed]
    waiting: Freed

    @property
    def n_bytes(self) -> int:
        """All that was freed."""
        return sum(one.n_bytes for one in self.freed.values())


def collect(lake: Lake, *, keep_days: float = KEEP_DAYS, dry_run: bool = False) -> Collected:
    """Tidy the lake. Can be killed at any moment and run again.

    Snapshots of the last ``keep_days`` days stay, beside the newest one and those that releases pin. Files that were replaced stay
    for an hour, and until the next day (UTC), since queries may be at them.
    """
    readers, orphans = timedelta(seconds=READER_SECONDS), timedelta(seconds=ORPHAN_SECONDS)
    if not 0 <= keep_days < 36_500:
        raise CaptionlakeError(f"snapshots cannot be kept for {keep_days:g} days: give a number from 0 on")
    since = datetime.now(UTC) - timedelta(days=keep_days)
    there = maintenance.snapshots(lake)
    keep = {snapshot for snapshot, made in there if made >= since} | maintenance.pinned(lake)
    gone = [snapshot for snapshot, _ in there if snapshot not in keep]
    if not dry_run:
        maintenance.expire(lake, keep)
    freed = {
        "table files": maintenance.remove_scheduled(lake, readers, dry_run=dry_run),
        "orphaned table files": maintenance.remove_orphans(lake, orphans, dry_run=dry_run),
        "picture shards": _shards(lake, dry_run),
        "uploads": Freed(lake.data_place.abort_uploads(orphans, dry_run=dry_run)),
        "staging": sweep_staging(lake.path, dry_run=dry_run),
        "spool": _spool(lake, dry_run),
        "cache": _cache(lake, timedelta(days=max(1.0, keep_days)), dry_run),
        "catalog": _catalog(lake, dry_run),
    }
    waiting = maintenance.waiting(lake, gone)
    if dry_run:  # what would be removed first is among them
        first = freed["table files"]
        waiting = Freed(waiting.files - first.files, waiting.n_bytes - first.n_bytes)
    return Collected(dry_run=dry_run, snapshots=len(gone), kept=len(there) - len(gone), freed=freed, waiting=waiting)


def _shards(lake: Lake, dry_run: bool) -> Freed:
    with write_lock(lake.path):
        needless = lake.needless_shards()
        freed = lake.images.freed(sorted(needless))
        if not dry_run:
            remove_shards(lake.images, needless)
    return freed


def _spool(lake: Lake, dry_run: bool) -> Freed:
    freed = Freed.of(committed_replies(lake, remove=False))
    if freed.files and not dry_run:
        committed_replies(lake, remove=True)
    return freed


def _cache(lake: Lake, age: timedelta, dry_run: bool) -> Freed:
    unused = unused_copies(lake, age)
    freed = Freed.of(unused)
    for path in [] if dry_run else unused:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return freed


def _catalog(lake: Lake, dry_run: bool) -> Freed:
    """What its packing gives back; in a dry run, what is free already."""
    place = catalog_of(lake.path)
    if dry_run:
        free = place.free_bytes()
        return Freed(int(free > 0), free)
    before = place.n_bytes()
    maintenance.vacuum_catalog(lake)
    less = max(0, before - place.n_bytes())
    return Freed(int(less > 0), less)
