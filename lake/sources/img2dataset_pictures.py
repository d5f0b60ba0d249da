"""The pictures in one of img2dataset's tars or folders: an index by key, and rows for those that no Parquet lists."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from captionlake.lake.archives import ArchiveReader, Member, MemberError, members, row_for
from captionlake.lake.reasons import FailureReason
from captionlake.lake.sources.picture_files import is_picture
from captionlake.lake.sources.source import Row, as_json, caption, clean

_TEXT_BYTES = 16 * 2**20
_OWN = {"key", "url", "caption", "status", "error_message", "license"}
_INDEX = pl.Schema(
    {
        "key": pl.String,
        "member": pl.String,
        "offset": pl.Int64,
        "n_bytes": pl.Int64,
        "bad": pl.String,
        "reason": pl.String,
    }
)


def key_of(name: str) -> str:
    """A member's key: its path up to the first dot of the file's name, as in WebDataset."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.split('.', 1)[0] or base}"


def index(archive: Path) -> pl.DataFrame:
    """The pictures by key: ``member``, ``offset``, ``n_bytes``, or ``bad`` and ``reason``. Of two under one key the first."""
    columns: dict[str, list[object]] = {name: [] for name in _INDEX}
    for member in members(archive):
        if is_picture(member.name) or member.reason is FailureReason.TRUNCATED:
            row: tuple[object, ...] = (member.name, member.offset, member.n_bytes, None, None)
            if member.reason is not None:
                row = tuple(row_for(member, archive)[name] for name in list(_INDEX)[1:])
            for column, value in zip(columns.values(), (key_of(member.name), *row), strict=True):
                column.append(value)
    return pl.DataFrame(columns, schema=_INDEX).unique("key", keep="first", maintain_order=True)


def loose_rows(archive: Path, folder: str, known: set[str], subset: str | None) -> Iterator[Row]:
    """Rows of the members whose keys are not known: the picture, its caption (``.txt``) and its row (``.json``)."""
    with ArchiveReader(max_bytes=_TEXT_BYTES) as reader:
        for key, group in groupby(members(archive), key=lambda member: key_of(member.name)):
            if key in known:
                continue
            found = list(group)
            picture = next((member for member in found if is_picture(member.name)), None)
            lost = next((member for member in found if member.reason is FailureReason.TRUNCATED), None)
            told = [member for member in found if member.name.lower().endswith((".json", ".txt"))]
            if picture is None and lost is None and not told:
                continue
            row, text, trouble = _told(reader, archive, told)
            url = clean(row.get("url"))
            meta = {name: value for name, value in row.items() if name not in _OWN and value is not None}
            shown = (
                picture or lost or Member(key, None, None, FailureReason.MISSING_MEMBER, "no picture beside its text")
            )
            yield {
                "source_key": url or f"{folder}/{key}",
                "subset": subset,
                "url": url,
                "license": clean(row.get("license")),
                "captions": caption(row.get("caption"), "alt") or caption(text, "alt"),
                "meta": as_json(meta | trouble),
                **row_for(member=shown, archive=archive),
            }


def _told(
    reader: ArchiveReader, archive: Path, told: list[Member]
) -> tuple[dict[str, Any], str | None, dict[str, str]]:
    """(the row, the caption, what could not be read) of a picture's ``.json`` and ``.txt``."""
    row: dict[str, Any] = {}
    text, trouble = None, {}
    for member in told:
        try:
            data = reader.read(str(archive), member.name, member.offset, member.n_bytes)
            if member.name.lower().endswith(".txt"):
                text = data.decode("utf-8-sig", "replace")
                continue
            parsed = json.loads(data)
            row = parsed if isinstance(parsed, dict) else {}
        except MemberError as error:
            trouble["unreadable"] = f"{member.name}: {error.detail}"
        except (ValueError, RecursionError) as error:
            trouble["unreadable"] = f"{member.name}: not JSON ({error})"
    return row, text, trouble
