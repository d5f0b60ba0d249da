"""A release forgotten: its rows leave, the lake's pictures and captions stay."""

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake
from captionlake.lake.releases.release import Release, find_release

_TABLES = ("release_items", "release_captions", "exclusions", "releases")


def delete_release(lake: Lake, label: str, *, force: bool = False) -> Release:
    """Remove ``name@version`` in one transaction; what it alone needed goes with ``collect``. Returns what it was.

    Raises where it was published, unless ``force``: others may name it.
    """
    release = find_release(lake, label)
    of_it = "name = ? AND version = ?"
    given = [release.name, release.version]

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        where = connection.execute(
            f"SELECT string_agg(DISTINCT repo_id, ', ' ORDER BY repo_id) FROM publications WHERE {of_it}", given
        ).fetchone()
        if where and where[0] and not force:
            raise CaptionlakeError(
                f"{release.label} was published as {where[0]} and others may name it: keep it, or give --force"
            )
        for table in _TABLES:
            connection.execute(f"DELETE FROM {table} WHERE {of_it}", given)

    lake.commit(change)
    return release
