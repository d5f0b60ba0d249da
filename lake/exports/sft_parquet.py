"""Conversations as Parquet that ``datasets`` reads: id, path of the picture, turns, the whole row as JSON, and the pictures themselves,
with all that another lake needs to have the same rows (``captionlake.lake.sources.exported_conversations``)."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa

from captionlake.lake.exports.image_parquet import ExportCounts
from captionlake.lake.exports.ordered import ordered_rows
from captionlake.lake.exports.split_writer import (
    BYTES_PER_GROUP,
    PICTURE,
    ROWS_PER_GROUP,
    SplitWriter,
    described,
    told_of,
)
from captionlake.lake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.releases.redacted import redacted_rows
from captionlake.lake.releases.release import Release
from captionlake.lake.shards import Locator

_PICTURES = "pictures.list.element.bytes"
_TURN = pa.struct([("from", pa.string()), ("value", pa.string())])
_SOURCE = pa.struct(
    [
        (name, pa.string())
        for name in (
            *("image_id", "source", "source_key", "collection", "subset"),
            *("url", "license", "author", "redistribute"),
        )
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("conversations", pa.list_(_TURN)),
        ("record", pa.string()),
        ("pictures", pa.list_(PICTURE)),
        ("picture_ids", pa.list_(pa.string())),
        ("image_id", pa.string()),
        ("row_sha256", pa.string()),
        ("position", pa.int64()),
        ("split", pa.string()),
        *((name, pa.string()) for name in ("conversation_id", "origin", "caption_id")),
        ("picture_sources", pa.list_(_SOURCE)),
    ]
)


def write_sft_parquet(
    lake: Lake, release: Release, query: str, given: dict[str, Any], folder: Path, *, own_use: bool
) -> ExportCounts:
    """``data/SPLIT-00000-of-0000N.parquet``. ``record`` is the row as JSON, with what no other column holds.

    ``pictures``: bytes and path (``IMAGE_ID.jpeg``) of each picture of the row; null where the lake has none, and where its sources
    allow no copies, unless they are for ``own_use``. ``picture_ids``: the SHA-256 of each; null only where the lake has none.
    ``picture_sources``: the rows of ``images`` that the pictures are, the URL only where the source lets it be passed on.
    """
    (folder / "data").mkdir()
    gone = redacted_rows(lake, release)
    counts = ExportCounts(redacted=len(gone))
    schema = described(SCHEMA, release, sources=_sources(lake, release), **told_of(lake, release))
    groups: dict[str, _Groups] = {}
    with progress(f"export {release.label}", release.n_items) as advance:
        for table in ordered_rows(lake, query, given):
            known = _known(lake, release, table)
            for position, text in zip(table["position"].to_pylist(), table["record"].to_pylist(), strict=True):
                row = known[position]
                ids = [picture and picture["image_id"] for picture in row["pictures"]]
                pictures = [picture and _picture(lake, picture, own_use) for picture in row["pictures"]]
                counts.rows += 1
                counts.withheld += any(id and not picture for id, picture in zip(ids, pictures, strict=True))
                split = row["split"]
                if split not in groups:
                    groups[split] = _Groups(SplitWriter(folder / "data", split, schema, _PICTURES), schema)
                n_bytes = len(text) + sum(len(p["bytes"]) for p in pictures if p)
                known_by = {picture["image_id"]: picture["sources"] for picture in row["pictures"] if picture}
                more = row | {"pictures": pictures, "picture_ids": ids}
                more["picture_sources"] = [one for some in known_by.values() for one in some]
                groups[split].add(_row(text.removesuffix(",\n")) | more, n_bytes)
                advance(1)
    for group in groups.values():
        group.close()
    counts.check(release)
    return counts


class _Groups:
    """Rows gathered into row groups."""

    def __init__(self, writer: SplitWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._n_bytes = 0

    def add(self, row: dict[str, Any], n_bytes: int) -> None:
        """Append a row of about so many bytes."""
        if self._rows and (len(self._rows) == ROWS_PER_GROUP or self._n_bytes + n_bytes > BYTES_PER_GROUP):
            self._flush()
        self._rows.append(row)
        self._n_bytes += n_bytes

    def _flush(self) -> None:
        self._writer.write(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._n_bytes = [], 0

    def close(self) -> None:
        """Write what is left."""
        if self._rows:
            self._flush()
        self._writer.close()


def _known(lake: Lake, release: Release, table: pa.Table) -> dict[int, dict[str, Any]]:
    """Split, hash and pictures of the rows of a table by position."""
    query = files("captionlake.lake").joinpath("sql/export_sft_pictures.sql").read_text()
    first, last = table["position"][0].as_py(), table["position"][-1].as_py()
    given = {"name": release.name, "version": release.version, "first": first, "last": last}
    cursor = lake.connection.cursor().execute(query.replace(":snapshot", str(release.snapshot_id)), given)
    names = [column[0] for column in cursor.description or []]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}


def _picture(lake: Lake, picture: dict[str, Any], own_use: bool) -> dict[str, Any] | None:
    if not (own_use or picture["allowed"]):
        return None
    place = picture["place"]
    path = f"{picture['image_id']}.{place.pop('format').lower()}"
    return {"bytes": lake.picture_at(picture["image_id"], Locator(**place)), "path": path}


def _row(text: str) -> dict[str, Any]:
    record = json.loads(text)
    id, image = record.get("id"), record.get("image")
    return {
        "id": None if id is None else str(id),
        "image": image if isinstance(image, str | None) else image[0] if image else None,
        "conversations": [{"from": turn["from"], "value": turn["value"]} for turn in record["conversations"]],
        "record": text,
    }


def _sources(lake: Lake, release: Release) -> list[dict[str, Any]]:
    """What the lake says of the sources of the release's pictures."""
    query = files("captionlake.lake").joinpath("sql/export_sft_sources.sql").read_text()
    given = {"name": release.name, "version": release.version}
    found: list[dict[str, Any]] = lake.arrow(query.replace(":snapshot", str(release.snapshot_id)), given).to_pylist()
    return found
