"""Short-lived folders in ``LAKE/staging``: each is locked by the process that uses it, so one without a holder is stale."""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from captionlake.lake.freed import Freed

_STALE_SECONDS = 24 * 3600


@contextmanager
def staging_folder(lake: Path, name: str) -> Iterator[Path]:
    """A new folder ``LAKE/staging/NAME-…``, removed at the end. Its lock file stands beside it while it is in use."""
    root = lake / "staging"
    root.mkdir(exist_ok=True)
    folder = root / f"{name}-{uuid.uuid4().hex[:12]}"
    lock = FileLock(folder.with_suffix(".lock"))
    with lock:
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".lock").unlink(missing_ok=True)


def sweep_staging(lake: Path, *, dry_run: bool = False) -> Freed:
    """Remove the folders of processes that ended without removing them. Returns how many, and their bytes."""
    swept = Freed()
    root = lake / "staging"
    for lock_file in sorted(root.glob("*.lock")) if root.is_dir() else []:
        folder = lock_file.with_suffix("")
        try:
            with FileLock(lock_file, timeout=0):
                found = Freed.of([folder])
                if dry_run or _remove(folder):
                    swept += found
                    if not dry_run:
                        lock_file.unlink(missing_ok=True)
        except Timeout:
            continue
    # What queries spilled has no lock; DuckDB removes it unless it was killed.
    for folder in [path for path in root.glob("*") if path.is_dir() and not path.with_suffix(".lock").exists()]:
        found = Freed.of([folder])
        if time.time() - _last_touched(folder) > _STALE_SECONDS and (dry_run or _remove(folder)):
            swept += found
    return swept


def _remove(folder: Path) -> bool:
    """Whether the folder is gone. A dead process's downloads end a moment after it, and may write until then."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return True
        time.sleep(0.05)
    return False


def _last_touched(folder: Path) -> float:
    """When something in a folder was written last; now, where another process has just removed it."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except FileNotFoundError:
        return time.time()
