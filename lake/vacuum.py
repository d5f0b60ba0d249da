"""Packs a SQLite file, as a program of its own: two SQLite libraries with one file open in one process undo each other's locks.

Run with the file and the seconds to wait for others. Exit 0: all is on the disk. Exit 3: a reader kept the log from being emptied.
"""

import sqlite3
import sys
from contextlib import closing


def main() -> int:
    path, seconds = sys.argv[1:]
    with closing(sqlite3.connect(path, timeout=float(seconds), isolation_level=None)) as catalog:
        catalog.execute("VACUUM")
        busy, *_ = catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return 3 if busy else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except sqlite3.Error as error:
        sys.exit(str(error))
