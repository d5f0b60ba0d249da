"""``publications``: which version went where, as which commit."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from captionlake.lake import Lake


def publications(lake: Lake, name: str | None = None, version: str | None = None) -> list[dict[str, Any]]:
    """The rows of ``publications``, oldest first, ``detail`` as a dictionary; of one name or version where given."""
    rows = lake.rows(
        "SELECT name, version, repo_id, revision, detail::VARCHAR, created_at FROM publications "
        "WHERE ($name::VARCHAR IS NULL OR name = $name) AND ($version::VARCHAR IS NULL OR version = $version) "
        "ORDER BY created_at",
        {"name": name, "version": version},
    )
    names = ("name", "version", "repo_id", "revision", "detail", "created_at")
    return [
        dict(zip(names, row, strict=True)) | {"detail": json.loads(row[4]) if row[4] is not None else {}}
        for row in rows
    ]


def note_publication(lake: Lake, name: str, version: str, repo_id: str, revision: str, detail: dict[str, Any]) -> None:
    """Add a row, once a revision."""
    row = {
        "name": name,
        "version": version,
        "repo_id": repo_id,
        "revision": revision,
        "detail": json.dumps(detail, ensure_ascii=False, default=str),
        "created_at": datetime.now(UTC),
    }
    lake.append("publications", pa.Table.from_pylist([row]), ["name", "version", "repo_id", "revision"])
