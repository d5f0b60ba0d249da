"""An export of conversations into a lake: its conversations as they were, and the release that it is of."""

import hashlib
from collections.abc import Iterator
from importlib.resources import files

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake, insert_new
from captionlake.lake.progress import progress
from captionlake.lake.releases.exported_release import config_of, content_of, holes_of, lacks_pictures, note_taken_over
from captionlake.lake.releases.release import Release, release_row_of, write_release
from captionlake.lake.sources.exported import Exported, Row
from captionlake.lake.sources.exported_conversations import conversation_rows
from captionlake.lake.takedown.tombstone import Hashes, barred, key_hash, url_hash

_TEXTS = pa.list_(pa.string())
_ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("conversation_id", "origin", "caption_id", "record", "turns")),
        *((name, _TEXTS) for name in ("picture_ids", "image_paths")),
    ]
)
_ITEMS = pa.schema(
    [
        ("position", pa.int64()),
        *((name, pa.string()) for name in ("conversation_id", "image_id", "split", "row_sha256")),
    ]
)
_SAID = pa.schema([("conversation_id", pa.string()), ("text_sha256", pa.string()), ("picture_ids", _TEXTS)])
# The pictures that a row has already stay; those that it lacked are filled in.
_FILLED = "list_transform(list_zip(old.image_ids, new.image_ids), lambda pair: coalesce(pair[1], pair[2]))"
_SAME = f"new.conversation_id = old.conversation_id AND {_FILLED} IS DISTINCT FROM old.image_ids"


def take_conversations(lake: Lake, parts: Iterator[list[Row]]) -> int:
    """Add the conversations of ``conversation_rows``, linked to the pictures that the lake has. Returns how many are new.

    Can be killed and run again. What shows a picture that was taken down here stays out. Raises where the lake has another
    conversation as the same row of the same file.
    """
    kept_out, added = barred(lake), 0
    with progress("conversations", None) as advance:
        for rows in parts:
            taken = [row for row in rows if not _is_barred(row, kept_out)]
            added += lake.commit(_add, _rows=pa.Table.from_pylist(taken, _ROWS))
            advance(len(rows))
    return added


def _is_barred(row: Row, hashes: Hashes) -> bool:
    if not hashes:
        return False
    return any(
        one["image_id"] in hashes.image_ids
        or key_hash(one["source"], one["source_key"]) in hashes.keys
        or (one["url"] is not None and url_hash(one["url"]) in hashes.urls)
        for one in row["picture_sources"]
    )


def _add(connection: duckdb.DuckDBPyConnection) -> int:
    connection.execute(_sql("exported_conversations"))
    other = connection.execute(
        "SELECT min(origin) FROM conversations old JOIN exported_conversations new USING (origin) "
        "WHERE old.conversation_id <> new.conversation_id"
    ).fetchone()
    if other is not None and other[0] is not None:
        raise CaptionlakeError(
            f"the lake has another conversation as {other[0]} than the export has: bring the export into a lake without that file"
        )
    if connection.execute(
        f"SELECT 1 FROM conversations old JOIN exported_conversations new ON {_SAME} LIMIT 1"
    ).fetchone():
        connection.execute(
            f"UPDATE conversations old SET image_ids = {_FILLED} FROM exported_conversations new WHERE {_SAME}"
        )
    added = insert_new(connection, "conversations", "exported_conversations", ["conversation_id"])
    connection.execute("DROP TABLE exported_conversations")
    return added


def sft_release_from_export(lake: Lake, export: Exported, label: str) -> tuple[Release, bool]:
    """As ``release_from_export``, of an export of conversations, which must be in the lake with all their pictures."""
    config = config_of(label)
    snapshot = lake.snapshot()
    items, said = _read(export)
    holes = holes_of(export)
    items = pa.concat_tables([items, pa.Table.from_pylist(holes, _ITEMS)]).sort_by("position")
    content = content_of(export, items)
    _check(lake, said, items.num_rows, snapshot)
    header = release_row_of(
        config,
        kind="sft",
        recipe=export.told.get("recipe") or "",
        snapshot=snapshot,
        content=content,
        n_items=items.num_rows,
    )
    header["state"] = "redacted" if holes else "valid"
    tables = {"release_items": _sql("exported_items").replace(":snapshot", str(snapshot))}
    release, new = write_release(lake, header, tables, _items=items)
    if new:
        note_taken_over(lake, release, export, {"items": items.num_rows, "redacted": len(holes)})
    return release, new


def _read(export: Exported) -> tuple[pa.Table, pa.Table]:
    """The rows as ``_ITEMS``, and as ``_SAID``: what the lake must have of each."""
    items, said = [_ITEMS.empty_table()], [_SAID.empty_table()]
    with progress("release", None) as advance:
        for rows in conversation_rows(export):
            items.append(pa.Table.from_pylist(rows, _ITEMS))
            hashes = [hashlib.sha256(row["text"].encode()).hexdigest() for row in rows]
            columns = [[row["conversation_id"] for row in rows], hashes, [row["picture_ids"] for row in rows]]
            said.append(pa.table([pa.array(c, f.type) for c, f in zip(columns, _SAID, strict=True)], _SAID))
            advance(len(rows))
    return pa.concat_tables(items), pa.concat_tables(said)


def _check(lake: Lake, said: pa.Table, n_rows: int, snapshot: int) -> None:
    """Raise where the lake lacks a picture or a conversation, or has another one in its place."""
    lacking = (
        "SELECT count(DISTINCT conversation_id), min(image_id) FROM (SELECT conversation_id, unnest(picture_ids) AS image_id FROM _said) "
        f"WHERE image_id IS NOT NULL AND image_id NOT IN (SELECT image_id FROM images AT (VERSION => {snapshot:d}))"
    )
    differ = _sql("exported_differ").replace(":snapshot", str(snapshot))
    with lake.registered(_said=said):
        count, first = lake.rows(lacking)[0]
        if count:
            raise lacks_pictures(count, n_rows, first)
        count, first = lake.rows(differ)[0]
    if count:
        raise CaptionlakeError(
            f"the lake lacks {count:,} of the conversations of the export, or has others in their place, {first} is the first: bring it in "
            "again with  captionlake ingest hf"
        )


def _sql(name: str) -> str:
    return files("captionlake.lake").joinpath(f"sql/{name}.sql").read_text()
