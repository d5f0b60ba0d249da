"""Files beside the tables that nothing needs any more: replies that are committed, copies that nobody has used for long."""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from captionlake.lake.cache import cache_folder
from captionlake.lake.lake import Lake

_SPOOL = re.compile(r".+-[0-9]+\.jsonl")  # PRODUCER-000001.jsonl; not what belongs to a batch
_OF_RELEASES = "releases"  # in the cache, with files for each release


def committed_replies(lake: Lake, *, remove: bool) -> list[Path]:
    """The files of ``spool/`` whose replies are all among the captions: what a run that was killed after its commit left.

    A file that a running process may be writing is left alone, as is one with a line that cannot be read: it was paid for.
    """
    found = []
    spool = lake.path / "spool"
    for path in sorted(path for path in spool.iterdir() if _SPOOL.fullmatch(path.name)) if spool.is_dir() else []:
        with _unused(path) as unused:
            if unused and _is_committed(lake, path):
                found.append(path)
                if remove:
                    path.unlink()
    return found


@contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Whether no run of the file's producer is going on; none begins meanwhile."""
    lock = path.with_name(f"{path.stem.rpartition('-')[0]}.lock")  # as the runs name it
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _is_committed(lake: Lake, path: Path) -> bool:
    ids = []
    try:
        for raw in path.read_bytes().splitlines(keepends=True):
            if raw.endswith(b"\n"):  # else torn by a kill: such a reply was not acted on
                ids.append(json.loads(raw)["caption_id"])
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        return False
    with lake.registered(_spooled=pa.table({"caption_id": pa.array(ids, pa.string())})):
        return not lake.value("SELECT count(*) FROM _spooled ANTI JOIN captions USING (caption_id)")


def unused_copies(lake: Lake, age: timedelta) -> list[Path]:
    """Files and folders of ``cache/`` that were neither read nor written for so long. All of them can be made again.

    A file system that notes no reads makes the age that of the writing: then copies in use are made again more often.
    """
    cache = cache_folder(lake.path)
    if not cache.is_dir():
        return []
    entries = [path for path in cache.iterdir() if path.name != _OF_RELEASES]
    entries += (cache / _OF_RELEASES).iterdir() if (cache / _OF_RELEASES).is_dir() else []
    before = time.time() - age.total_seconds()
    return sorted(path for path in entries if path.suffix != ".lock" and _last_used(path) < before)


def _last_used(path: Path) -> float:
    """Of a folder, the latest of what is in it; now, where another process has just removed it."""
    try:
        if path.is_dir():
            return max([path.stat().st_mtime, *map(_last_used, path.iterdir())])
        found = path.stat()
        return max(found.st_mtime, found.st_atime)
    except OSError:
        return time.time()
