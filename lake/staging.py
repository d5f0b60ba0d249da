"""Short-lived folders in ``LAKE/staging``: each is locked by the process that uses it, so one without a holder is stale."""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

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


def sweep_staging(lake: Path) -> int:
    """Remove the folders of processes that ended without removing them. Returns how many."""
    swept = 0
    root = lake / "staging"
    for lock_file in sorted(root.glob("*.lock")) if root.is_dir() else []:
        try:
            with FileLock(lock_file, timeout=0):
                shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
                lock_file.unlink(missing_ok=True)
                swept += 1
        except Timeout:
            continue
    for folder in root.glob("duckdb-*"):  # what queries spilled; DuckDB removes it unless it was killed
        if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
    return swept
