"""Conversations that ``captionlake release export --to parquet`` wrote: each row with its pictures, and the rows of sources that these are.

A row is taken only where its hash, over its first picture, its split and its text, is what the file says of it.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.sft.record import BadRecord, joined, read_record
from captionlake.lake.sources.exported import ID, SHA256, SPLIT, Exported, Row, check_key
from captionlake.lake.sources.parquet_rows import Table, batches, opened

_TEXTS = ("conversation_id", "origin", "caption_id", "image_id", "record", "row_sha256", "split")
_COLUMNS = (*_TEXTS, "position", "picture_ids", "picture_sources")


def conversation_rows(export: Exported) -> Iterator[list[Row]]:
    """Some rows at a time, without the bytes of pictures: the columns of the export, with ``turns``, ``record`` and ``image_paths`` as in
    the table ``conversations`` and the whole row as ``text``; ``there``, the members that hold the pictures by image_id.

    Raises where a row is not what its hash says.
    """
    for path, name in export.files:
        split = SPLIT.fullmatch(path.name)
        with opened(path) as table:
            leaf = _bytes_of(table, path)
            names = [column for column in _COLUMNS if column in table.schema.names]
            for first, batch in batches(table, [*names, f"{leaf.removesuffix('.bytes')}.path"]):
                rows = batch.to_pylist()
                for number, row in enumerate(rows, first):
                    row |= {"path": path, "row": number, "name": name}
                    row["split"] = row.get("split") or (split["split"] if split else None)
                    row["there"] = _check(row, f"{name} row {number}", f"{leaf}/{number}")
                yield rows


def pictures_of(rows: list[Row]) -> list[Row]:
    """The rows of sources that the pictures of some conversations are, as ``released_rows`` has them."""
    return [
        one
        | {"path": row["path"], "row": row["row"], "name": row["name"], "captions": []}
        | {"has": one["image_id"] in row["there"], "member": row["there"].get(one["image_id"])}
        for row in rows
        for one in row["picture_sources"]
    ]


def _bytes_of(table: Table, path: Path) -> str:
    """The column of the pictures' bytes, as the file's footer has it."""
    for leaf in table.leaves:
        if (
            leaf.startswith("pictures.")
            and leaf.endswith(".bytes")
            and f"{leaf.removesuffix('.bytes')}.path" in table.leaves
        ):
            return leaf
    raise CaptionlakeError(f"{path}: the column pictures is no list of bytes and paths: download the export again")


def _check(row: Row, where: str, member: str) -> dict[str, str]:
    """The members of the pictures that are there. Raises where the row is none that was exported, or was changed since."""
    try:
        there = _pictures(row, where, member)
        text = row["text"] = row["record"]
        found = read_record(json.loads(text))
        if not (
            ID.fullmatch(row["conversation_id"])
            and row["conversation_id"]
            and joined(found.record, found.turns) == text
        ):
            raise ValueError
        if "\x00" in f"{row.get('origin')}{row.get('caption_id')}":
            raise ValueError
        same = _hash(row) == row["row_sha256"]
    except (BadRecord, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CaptionlakeError(
            f"{where} is no conversation as every row of an export is one: download it again"
        ) from error
    if not same:
        raise CaptionlakeError(
            f"{where} ({row['conversation_id']}) is not what its hash says: its text, split or picture was changed since the export; "
            "download it again"
        )
    row |= {"record": found.record, "turns": found.turns, "image_paths": found.image_paths}
    return there


def _hash(row: Row) -> str:
    """``row_sha256`` of what the row says (``captionlake.lake.releases.content``)."""
    image_id = json.dumps(row["image_id"])
    return hashlib.sha256(
        f"[{image_id},{json.dumps(row['split'], ensure_ascii=False)},{row['text']}]".encode()
    ).hexdigest()


def _pictures(row: Row, where: str, member: str) -> dict[str, str]:
    ids: list[str | None] = row["picture_ids"] or []
    pictures: list[dict[str, Any] | None] = row.pop("pictures") or []
    row |= {"picture_ids": ids, "picture_sources": row["picture_sources"] or []}
    for one in row["picture_sources"]:
        check_key(one, where)
    known = {one["image_id"] for one in row["picture_sources"]}
    wanted = {one for one in ids if one is not None}
    if len(ids) != len(pictures) or known != wanted or not all(map(SHA256.fullmatch, wanted)):
        raise ValueError
    if row["image_id"] not in (None, *ids[:1]) or not row["split"]:
        raise ValueError
    return {
        image_id: f"{member}/{number}"
        for number, (image_id, picture) in enumerate(zip(ids, pictures, strict=True))
        if image_id is not None and picture is not None and picture["path"] is not None
    }
