"""``name@version``: read, looked up, and told where it is unknown."""

import re

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import quote
from captionlake.lake.releases.semver import WANTED, is_version

_NAME = re.compile(r"[^@\s]+")
_SHOWN = 10


def parse_release(text: str) -> tuple[str, str]:
    """``name@version`` as (name, version). Raises where the version is none."""
    name, at, version = text.strip().partition("@")
    if not at or not _NAME.fullmatch(name) or not _NAME.fullmatch(version):
        raise CaptionlakeError(f"'{text}' names no release: write NAME@VERSION, such as sharegpt4v@1.0.0")
    if not is_version(version):
        raise CaptionlakeError(f"'{text}' names no release: {version} is not {WANTED}")
    return name, version


def release_row(connection: duckdb.DuckDBPyConnection, name: str, version: str, columns: str) -> tuple[object, ...]:
    """Columns of the row of ``lake.releases``. Raises with the releases that there are."""
    query = f"SELECT {columns} FROM lake.main.releases WHERE name = {quote(name)} AND version = {quote(version)}"
    row = connection.execute(query).fetchone()
    if row is not None:
        return row
    rows = connection.execute(
        "SELECT name || '@' || version FROM lake.main.releases ORDER BY created_at DESC"
    ).fetchall()
    known = ", ".join(release for (release,) in rows[:_SHOWN]) + (", …" if len(rows) > _SHOWN else "")
    hint = f"there are {known}" if rows else "the lake has no release yet: make one with  captionlake release create"
    raise CaptionlakeError(f"no release {name}@{version}: {hint}")
