"""Copies a SQLite file that others use, as a program of its own: two SQLite libraries with one file open in one process undo each
other's locks.

``copy FILE DRAFT``: a consistent copy, looked through, without a log beside it, on the disk. ``replace DRAFT FILE``: the draft in the
place of a file that nobody uses, whose log goes. Exit 3: somebody uses it. Exit 4: the disk is full.
"""

import errno
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

_BUSY_SECONDS = 20.0


def copy(source: str, draft: str) -> None:
    """One reading transaction of the source, to a file with no log of its own."""
    there = f"file:{_quoted(source)}?mode=rw"
    with (
        closing(sqlite3.connect(there, uri=True, timeout=_BUSY_SECONDS)) as catalog,
        closing(sqlite3.connect(draft, isolation_level=None)) as made,
    ):
        catalog.backup(made)
        made.execute("PRAGMA journal_mode = DELETE")
        (said,) = made.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(said)
    with Path(draft).open("rb") as file:
        os.fsync(file.fileno())


def replace(draft: str, target: str) -> None:
    """Without its log the old file is whole until the rename, and the new one after it."""
    try:
        with closing(sqlite3.connect(target, timeout=1.0, isolation_level=None)) as catalog:
            catalog.execute("PRAGMA journal_mode = DELETE")  # fails where another process has it open
            catalog.execute("BEGIN EXCLUSIVE")
            Path(draft).replace(target)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise
        _replace_broken(draft, target)
    except sqlite3.DatabaseError:
        _replace_broken(draft, target)


def _replace_broken(draft: str, target: str) -> None:
    for end in ("-wal", "-shm", "-journal"):
        Path(target + end).unlink(missing_ok=True)
    Path(draft).replace(target)


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def main() -> int:
    what, first, second = sys.argv[1:]
    try:
        (copy if what == "copy" else replace)(first, second)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return 3
        if "full" in str(error) or "disk I/O" in str(error):
            return 4
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return 4
        raise
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (sqlite3.Error, OSError) as error:
        sys.exit(str(error))
