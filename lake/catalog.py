"""The DuckLake catalog: the extensions, the attach, the schema and its version.

DuckDB's extensions come from Python packages and are loaded by path, so nothing is downloaded and no home folder is used.
"""

import importlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.place import Place, catalog_of
from captionlake.lake.postgres_place import without_user

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2  # with it, a file in lake/migrations
# Rows of a row group of the tables of long texts: a reader holds the texts of one of each file at a time, and of DuckDB's own
# 122,880 rows that is 100 MB and more.
_ROW_GROUP, _ROWS_PER_GROUP = "parquet_row_group_size", 8192
_LONG_TEXTS = ("captions", "conversations")
_FREE_BYTES = 2**20  # with less, SQLite cannot lay its side files
#: Of each file that a snapshot needs, its path in ``data``: of rows, and of marks of deleted rows.
TABLE_FILES = (
    "SELECT concat_ws('/', s.path || t.path, f.path) AS path FROM (SELECT table_id, path FROM __ducklake_metadata_lake.ducklake_data_file "
    "UNION ALL SELECT table_id, path FROM __ducklake_metadata_lake.ducklake_delete_file) f "
    "JOIN __ducklake_metadata_lake.ducklake_table t USING (table_id) JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id)"
)
_checked: set[Path] = set()  # extensions whose signature this process has seen DuckDB check


def extension_path(name: str) -> Path:
    """The file of a DuckDB extension, from its Python package ``duckdb_extension_NAME``."""
    try:
        package = importlib.import_module(f"duckdb_extension_{name}")
    except ImportError as error:
        raise CaptionlakeError(
            f"DuckDB's extension {name} is not installed: run  pip install duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
        ) from error
    found = sorted(Path(package.__path__[0]).glob(f"extensions/v{duckdb.__version__}/{name}.duckdb_extension"))
    if not found:
        raise CaptionlakeError(
            f"duckdb {duckdb.__version__} and its extension {name} {version(f'duckdb-extension-{name}')} do not match: "
            f"run  pip install --force-reinstall captionlake"
        )
    return found[0]


def quote(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def literal_glob(folder: Path | str) -> str:
    """A folder's path with the characters that DuckDB's file patterns would read otherwise escaped."""
    return re.sub(r"([\[*?])", r"[\1]", str(folder))


def connect(place: Place, more: Sequence[str] = ()) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in memory with the extensions for a catalog, and ``more``, loaded and nothing installed or loaded by itself.

    DuckDB checks the signature of a file of 35 MB in 0.1 s: once a process is enough. Nothing unsigned loads afterwards.
    """
    paths = [extension_path(name) for name in ("ducklake", place.extension, *more)]
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_unsigned_extensions": _checked.issuperset(paths),
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    if place.shared:  # DuckDB would take a stored secret for its server, and show it in errors
        connection.execute(f"SET secret_directory = {quote(f'{os.devnull}/none')}")
    for path in paths:
        connection.execute(f"LOAD {quote(str(path))}")
        _checked.add(path)
    connection.execute("SET allow_unsigned_extensions = false")  # which DuckDB lets nobody take back
    return connection


def attach(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    *,
    data: str | None = None,
    read_only: bool = False,
    place: Place | None = None,
) -> None:
    """Attach the lake in folder ``lake`` as ``lake`` and make it the default schema. ``data``: where its tables' files lie (default:
    its folder ``data``).

    The data path is given each time, so that a moved lake opens. ``place``: another catalog than the lake's own, such as its backup.
    """
    place = place or catalog_of(lake)
    target, options = place.attachment()
    options += [f"DATA_PATH {quote(data or str(lake / 'data'))}", "OVERRIDE_DATA_PATH true"]
    options += ["READ_ONLY"] if read_only else []
    try:
        connection.execute(f"ATTACH {quote(f'ducklake:{target}')} AS lake ({', '.join(options)})")
        connection.execute("USE lake")
    except duckdb.Error as error:
        if place.shared:
            why = without_user(str(error).rpartition('": ')[2])
            advice = "see that the server is up, and that PGUSER and PGPASSWORD, ~/.pgpass or a service file let you in"
        else:
            why, full = first_line(error), shutil.disk_usage(lake).free < _FREE_BYTES
            advice = "make room on its disk" if full else "restore it from a backup, or make a new lake"
            if lake.is_dir() and not os.access(lake, os.W_OK):
                advice = (
                    "its folder cannot be written, and readers too keep notes there: open it where it can, or copy it"
                )
        raise CaptionlakeError(f"{place.name} does not open as a lake's catalog ({why}): {advice}") from error


def create_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """All tables of an empty catalog, in one transaction."""
    connection.execute("BEGIN")
    connection.execute(files("captionlake.lake").joinpath("sql/schema.sql").read_text())
    connection.execute(
        "INSERT INTO lake_info VALUES (?, now(), ?)", [SCHEMA_VERSION, f"captionlake {version('captionlake')}"]
    )
    connection.execute("COMMIT")


def set_options(connection: duckdb.DuckDBPyConnection) -> None:
    """How the files of tables are written; not in the transaction that makes the tables, which DuckLake refuses."""
    for table in _LONG_TEXTS:
        connection.execute(
            f"CALL lake.set_option('{_ROW_GROUP}', {_ROWS_PER_GROUP}, table_name => '{table}')"
        ).fetchall()


def check_schema(connection: duckdb.DuckDBPyConnection, lake: Path) -> int:
    """The schema version of a lake. Refuses one written by a newer captionlake, and a catalog that is not a lake's."""
    try:
        row = connection.execute("SELECT max(schema_version) FROM lake_info").fetchone()
    except duckdb.Error as error:
        raise CaptionlakeError(
            f"{catalog_of(lake).name} is a DuckLake catalog but not captionlake's: choose another folder"
        ) from error
    found = row[0] if row else None
    if found is None or found > SCHEMA_VERSION:
        raise CaptionlakeError(
            f"the lake {lake} has schema version {found}, this captionlake reads up to {SCHEMA_VERSION}: "
            "run  pip install --upgrade captionlake"
        )
    return int(found)


def first_line(error: BaseException) -> str:
    """The message of an error as one line."""
    return " ".join(str(error).split())[:300]
