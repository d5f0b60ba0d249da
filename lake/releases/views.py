"""The lake as a release saw it, or as it was at a snapshot: temporary views under the tables' own names.

A release's rows are written after the snapshot that it pins, so the release tables are read as they are now, and what they point at
as it was then.
"""

from importlib.resources import files

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import quote
from captionlake.lake.releases.names import release_row

# Written after the snapshot a release pins: read as they are now. What is counted of a caption depends on its text alone.
_LATER = frozenset(
    {"releases", "release_items", "release_captions", "exclusions", "takedowns", "publications", "caption_words"}
)
_POINTED_AT = ("images", "captions", "conversations")
_COLUMNS_NOW = "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = 'lake' AND table_name = ?"
_OWN = ("items", "captions", "exclusions")


def create_release_views(connection: duckdb.DuckDBPyConnection, name: str, version: str) -> list[str]:
    """Views of one release on a connection with the lake attached as ``lake``; returns their names.

    ``items``, ``captions`` and ``exclusions`` hold the release's own rows, and of a release of conversations ``conversations`` too; the
    other tables are whole, at its snapshot. The views stand
    before the tables of the same names until ``drop_views``, so use a connection that does not write.
    """
    pinned, kind = release_row(connection, name, version, "snapshot_id, kind")
    snapshot = int(str(pinned))
    tables = _tables_at(connection, snapshot)
    if not tables:
        raise CaptionlakeError(
            f"the release {name}@{version} pins snapshot {snapshot}, which the lake no longer has: restore the lake from a backup"
        )
    values = {"name": quote(name), "version": quote(version)}
    values |= {table: f"({_then(connection, table, snapshot)})" for table in _POINTED_AT if table in tables}
    own = [*_OWN, "conversations"] if kind == "sft" else [*_OWN]
    for view in own:
        connection.execute(
            files("captionlake.lake.releases").joinpath(f"sql/release_{view}.sql").read_text().format(**values)
        )
    others = [table for table in tables if table not in own and table not in _LATER]
    _pin(connection, others, snapshot)
    return [*own, *others]


def create_snapshot_views(connection: duckdb.DuckDBPyConnection, snapshot: int) -> list[str]:
    """Views of all tables as they were at a snapshot; returns their names."""
    tables = _tables_at(connection, snapshot)
    if not tables:
        row = connection.execute(
            "SELECT min(snapshot_id), max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot WHERE schema_version > 0"
        ).fetchone()
        first, last = row or (None, None)
        raise CaptionlakeError(f"the lake has no snapshot {snapshot}: choose one from {first} to {last}")
    _pin(connection, tables, snapshot)
    return tables


def drop_views(connection: duckdb.DuckDBPyConnection, views: list[str]) -> None:
    """Let the names mean the lake's tables again."""
    for view in views:
        connection.execute(f'DROP VIEW IF EXISTS temp.main."{view}"')


def _tables_at(connection: duckdb.DuckDBPyConnection, snapshot: int) -> list[str]:
    """The tables that a snapshot had; none where there is no such snapshot."""
    rows = connection.execute(
        "SELECT t.table_name FROM __ducklake_metadata_lake.ducklake_snapshot AS s "
        "JOIN __ducklake_metadata_lake.ducklake_table AS t "
        "ON t.begin_snapshot <= s.snapshot_id AND (t.end_snapshot IS NULL OR s.snapshot_id < t.end_snapshot) "
        f"WHERE s.snapshot_id = {int(snapshot)} ORDER BY t.table_name"
    ).fetchall()
    return [name for (name,) in rows]


def _pin(connection: duckdb.DuckDBPyConnection, tables: list[str], snapshot: int) -> None:
    for table in tables:
        connection.execute(f'CREATE OR REPLACE TEMP VIEW "{table}" AS {_then(connection, table, snapshot)}')


def _then(connection: duckdb.DuckDBPyConnection, table: str, snapshot: int) -> str:
    """SQL for a table's rows at a snapshot, with NULL in the columns that came later (see ``captionlake.lake.upgrade``)."""
    at = f'FROM lake.main."{table}" AT (VERSION => {int(snapshot)})'
    had = {name for name, *_ in connection.execute(f"DESCRIBE {at}").fetchall()}
    now = connection.execute(_COLUMNS_NOW, [table]).fetchall()
    later = [f', NULL::{kind} AS "{name}"' for name, kind in now if name not in had]
    return f"SELECT *{''.join(later)} {at}"
