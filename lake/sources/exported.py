"""Parquet files that ``captionlake release export`` wrote, read as what they are: rows of the sources that they name.

Those of images are read here, those of conversations in ``exported_conversations.py``.

A file is known by its columns, so that one which ``datasets`` or another program wrote anew is known too. What the export said of
the release and its sources stands in the schema's metadata ``captionlake``, where that was kept.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.sources.parquet_rows import Table, batches, filled, opened, parquet_files
from captionlake.lake.sources.source import frames

_TEXTS = ("source", "source_key", "collection", "subset", "url", "license", "author", "redistribute", "image_id")
_RELEASED = ("row_sha256", "position", "split")
_MARKS = {
    "image",
    "captions",
    "image_id",
    "source",
    "source_key",
    "collection",
    "redistribute",
    "row_sha256",
    "position",
}
_SFT_MARKS = {"record", "conversations", "pictures", "picture_ids", "row_sha256", "position"}
_SFT_LATER = {"picture_sources", "conversation_id", "image_id"}  # exports were without these at first
_PROVENANCE = ("caption_id", "producer", "producer_revision", "prompt_id", "prompt_sha256", "params")
SHA256 = re.compile("[0-9a-f]{64}")
ID = re.compile("[0-9A-Za-z_.:-]{0,64}")  # none in older exports
SPLIT = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}\.parquet")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of an export with the names that they have in messages; ``told``: what they say of their release, empty where
    that was lost; ``kind``: ``images`` or ``sft``."""

    files: list[tuple[Path, str]]
    told: dict[str, Any]
    kind: str

    def sources(self) -> dict[str, dict[str, Any]]:
        """The rows of ``sources`` by source."""
        return {row["source"]: row for row in self.told.get("sources", [])}


@dataclass(slots=True)
class Group:
    """The rows of one source and collection: ``files`` of frames, and what of their pictures may be passed on."""

    source: str
    collection: str
    redistribute: str
    files: list[Path] = field(default_factory=list)

    def frames(self) -> Iterator[pl.DataFrame]:
        """In order."""
        for path in self.files:
            yield pl.read_parquet(path)


def exported(inputs: Sequence[str]) -> Exported | None:
    """The export that these files or folders are, or None where they are other Parquet. Raises where they are both, or of two releases."""
    found: list[tuple[Path, str]] = []
    others: list[Path] = []
    told: dict[str, Any] = {}
    kinds: set[str] = set()
    for path, name in parquet_files(inputs):
        with opened(path) as table:
            schema = table.schema
        kind = _kind(path, set(schema.names))
        if kind is None:
            others.append(path)
            continue
        found.append((path, name))
        kinds.add(kind)
        here = _told(path, schema)
        if told and here and here.get("content_sha256") != told.get("content_sha256"):
            raise CaptionlakeError(
                f"{path} is of {here.get('release')}, others are of {told.get('release')}: bring in one release at a time"
            )
        told = told or here
    if not found:
        return None
    if others:
        raise CaptionlakeError(
            f"{others[0]} is no export of captionlake, and {found[0][0]} is one: bring them in one after another"
        )
    if len(kinds) > 1:
        raise CaptionlakeError(
            f"{found[0][0].parent} holds exports of images and of conversations: bring in one release at a time"
        )
    return Exported(found, told, kinds.pop())


def _kind(path: Path, names: set[str]) -> str | None:
    """What a file with these columns is an export of, if it is one."""
    if names.issuperset(_MARKS):
        return "images"
    if not names.issuperset(_SFT_MARKS):
        return None
    if not names.issuperset(_SFT_LATER):
        raise CaptionlakeError(
            f"{path} holds conversations, and does not say of which sources their pictures are: export the release again, or export it "
            "with  --to llava-json  and bring it in with  captionlake conversations import"
        )
    return "sft"


def _told(path: Path, schema: pa.Schema) -> dict[str, Any]:
    text = (schema.metadata or {}).get(b"captionlake")
    if text is None:
        return {}
    try:
        found = json.loads(text)
        if not all(row["source"] and row["collection"] and row["redistribute"] for row in found["sources"]):
            raise ValueError("a source without a name")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CaptionlakeError(
            f"{path}: the metadata `captionlake` is damaged ({error}): download the file again"
        ) from error
    return dict(found)


def released_rows(export: Exported) -> Iterator[list[Row]]:
    """Some rows at a time, without pictures: the columns of the export, ``has`` (whether the picture is there), ``path`` and ``row``
    (where). Raises where a row has no key, as none that was exported."""
    for path, name in export.files:
        split = SPLIT.fullmatch(path.name)
        with opened(path) as table:
            there = _pictured(table)
            names = set(table.schema.names)
            columns = [column for column in (*_TEXTS, *_RELEASED, "captions") if column in names]
            for first, batch in batches(table, columns):
                rows = batch.to_pylist()
                for number, row in enumerate(rows, first):
                    check_key(row, f"{name} row {number}")
                    row |= {"has": bool(there[number]), "path": path, "row": number, "name": name}
                    row["split"] = row.get("split") or (split["split"] if split else None)
                yield rows


def _pictured(table: Table) -> npt.NDArray[np.bool_]:
    """Which rows have a picture: the path tells it where there is one with each, else the bytes do."""
    if "image.path" not in table.leaves:
        return filled(table, "image.bytes")
    valid, named = [np.zeros(0, np.bool_)], [np.zeros(0, np.bool_)]
    for _, batch in batches(table, ["image.path"]):
        image = batch.column(0)
        valid.append(np.asarray(image.is_valid()))
        named.append(np.asarray(pc.struct_field(image, "path").is_valid()))
    has: npt.NDArray[np.bool_] = np.concatenate(named)
    return has if np.array_equal(has, np.concatenate(valid)) else filled(table, "image.bytes")


def check_key(row: Row, where: str) -> None:
    lacking = [name for name in ("source", "source_key", "collection", "redistribute") if not row[name]]
    if (
        lacking
        or not SHA256.fullmatch(row["image_id"] or "")
        or "\x00" in row["source"] + row["source_key"] + row["collection"]
    ):
        raise CaptionlakeError(
            f"{where} has no usable {', '.join(lacking) or 'image_id or key'}, as every row of an export has: download it again"
        )


def listed(row: Row) -> Row:
    """A row as a source lists it: where its picture is, its captions and who made them."""
    captions = row["captions"] or []
    own = {
        "source_key": row["source_key"],
        "subset": row["subset"],
        "url": row["url"],
        "license": row["license"],
        "author": row["author"],
        "image_id": row["image_id"],
    }
    bad = wrong_captions(captions)
    if bad is None:
        told = [{name: one.get(name) for name in _PROVENANCE} for one in captions]
        for origin, one in zip(told, captions, strict=True):
            origin["from_source"] = bound(one)
            origin["created_at"] = None if one.get("created_at") is None else one["created_at"].isoformat()
        own["captions"] = [{name: one.get(name) for name in ("text", "kind", "license")} for one in captions]
        own["provenance"] = json.dumps(told, ensure_ascii=False) if told else None
        if not row["has"] and not row["url"]:
            bad = f"its picture, of SHA-256 {row['image_id']}, was not passed on ({row['redistribute']}), and no URL either"
    if bad is not None:
        return own | {"bad": f"{row['name']} row {row['row']}: {bad}"}
    if row["has"]:
        own |= {"archive": str(row["path"]), "member": row.get("member") or f"image.bytes/{row['row']}"}
    return own


def bound(caption: Row) -> bool:
    """Whether a caption came with its row. Exports before this was a column: the sources' own texts did."""
    said = caption.get("from_source")
    return bool(said) if said is not None else caption["producer"] == "source"


def wrong_captions(captions: list[Row | None]) -> str | None:
    """Why the captions of a row are none that a lake can hold, or None."""
    for one in captions:
        if one is None or any(not isinstance(one.get(name), str) for name in ("text", "role", "kind", "producer")):
            return "a caption without text, role, kind or producer"
        if "\x00" in one["text"]:
            return "a caption with a NUL in it"
        if not ID.fullmatch(one.get("caption_id") or ""):
            return "a caption whose id is none"
    return None


def limited(parts: Iterator[list[Row]], limit: int | None) -> Iterator[list[Row]]:
    """The first rows alone, where there is a limit."""
    left = limit
    for rows in parts:
        yield rows if left is None else rows[:left]
        left = None if left is None else left - len(rows)
        if left is not None and left <= 0:
            return


def by_source(listed_rows: Iterator[list[Row]], folder: Path) -> list[Group]:
    """The rows of ``released_rows`` as frames of ``captionlake.lake.sources.source.SCHEMA`` in Parquet files under ``folder``."""
    found: dict[tuple[str, str], Group] = {}
    for rows in listed_rows:
        parts: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            key = row["source"], row["collection"]
            found.setdefault(key, Group(*key, row["redistribute"]))
            parts.setdefault(key, []).append(listed(row))
        for number, (key, group) in enumerate(found.items()):
            for frame in frames(parts.get(key, [])):
                path = folder / f"{number:04d}-{len(group.files):06d}.parquet"
                pq.write_table(frame.to_arrow(), path)
                group.files.append(path)
    return list(found.values())
