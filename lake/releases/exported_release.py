"""A release made from its export: the same rows, splits, captions and holes, and so the same content hash, in another lake."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from captionlake.errors import CaptionlakeError
from captionlake.lake.caption_rows import caption_rows
from captionlake.lake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.reasons import ExclusionReason
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.content import ContentHash, row_hash
from captionlake.lake.releases.names import parse_release
from captionlake.lake.releases.release import ITEMS, Release, release_row_of, write_release
from captionlake.lake.runs import note_run
from captionlake.lake.sources.exported import Exported, Row, listed, released_rows, wrong_captions

_NEVER = datetime.min.replace(tzinfo=UTC)  # the times are not looked at
TAKEN_OVER = "take_over"  # the step in ``runs``

_CAPTIONS = pa.schema(
    [
        ("position", pa.int64()),
        ("ordinal", pa.int32()),
        *((name, pa.string()) for name in ("caption_id", "role", "image_id", "text_sha256")),
    ]
)
_LEFT = (
    "SELECT source, source_key, $reason AS reason, NULL::VARCHAR AS detail, NULL::VARCHAR AS keeper_source, "
    "NULL::VARCHAR AS keeper_key, NULL::DOUBLE AS similarity FROM images i AT (VERSION => {snapshot:d}) "
    "WHERE NOT EXISTS (SELECT 1 FROM _items t WHERE t.source = i.source AND t.source_key = i.source_key)"
)


def release_from_export(lake: Lake, export: Exported, label: str) -> tuple[Release, bool]:
    """Write the release ``label`` as the export has it. Returns it, and whether it is new. Its pictures and captions must be in the lake.

    Raises where a row is not what its hash says, where rows are missing or the whole is not what the export was made of, and
    where the lake lacks a picture. Other pictures of the lake are left out as ``not_in_export``.
    """
    config = config_of(label)
    snapshot = lake.snapshot()
    rows = _read(export)
    holes = holes_of(export)
    rows.item_columns.append(pa.Table.from_pylist(holes, ITEMS))
    items, captions = rows.items(), rows.captions()
    content = content_of(export, items)
    _check_pictures(lake, items, snapshot)
    _check_captions(lake, captions, snapshot)
    header = release_row_of(
        config,
        kind="images",
        recipe=export.told.get("recipe") or "",
        snapshot=snapshot,
        content=content,
        n_items=items.num_rows,
    )
    header["state"] = "redacted" if holes else "valid"
    with lake.registered(_items=items):
        left = lake.arrow(_LEFT.format(snapshot=snapshot), {"reason": ExclusionReason.NOT_IN_EXPORT.value})
    tables = {
        "release_items": "FROM _items",
        "release_captions": "SELECT position, ordinal, caption_id, role FROM _captions",
        "exclusions": "FROM _left",
    }
    release, new = write_release(lake, header, tables, _items=items, _captions=captions, _left=left)
    if new:
        counts = {"items": items.num_rows, "redacted": len(holes), "left_out": left.num_rows}
        note_taken_over(lake, release, export, counts)
    return release, new


def config_of(label: str) -> ReleaseConfig:
    """The name and version that were asked for. Raises where they are none of a release."""
    name, version = parse_release(label)
    try:
        return ReleaseConfig(name=name, version=version)
    except ValidationError as error:
        raise CaptionlakeError(f"--release {label}: {error.errors()[0]['msg']}") from error


def note_taken_over(lake: Lake, release: Release, export: Exported, counts: dict[str, int]) -> None:
    """Write down in ``runs`` what the release was made of."""
    detail = {"files": [name for _, name in export.files], "release": export.told.get("release")}
    note_run(lake, TAKEN_OVER, target=release.label, detail=detail, counts=counts)


@dataclass(slots=True)
class _Rows:
    """The columns of the release's tables, gathered."""

    item_columns: list[pa.Table] = field(default_factory=list)
    caption_columns: list[pa.Table] = field(default_factory=list)

    def items(self) -> pa.Table:
        """``ITEMS`` in order of position."""
        return pa.concat_tables([ITEMS.empty_table(), *self.item_columns]).sort_by("position")

    def captions(self) -> pa.Table:
        """``_CAPTIONS``: the captions of the rows, and what they are known by."""
        return pa.concat_tables([_CAPTIONS.empty_table(), *self.caption_columns])


def _read(export: Exported) -> _Rows:
    found = _Rows()
    with progress("release", None) as advance:
        for rows in released_rows(export):
            found.item_columns.append(pa.Table.from_pylist([_item(row) for row in rows], ITEMS))
            captions = [one for row in rows for one in _captions(row)]
            found.caption_columns.append(pa.Table.from_pylist(captions, _CAPTIONS))
            advance(len(rows))
    return found


def holes_of(export: Exported) -> list[dict[str, Any]]:
    """The items whose picture was taken down: position, split and hash."""
    try:
        holes = [
            {"position": position, "row_sha256": digest, "split": split}
            for position, digest, split in export.told.get("redacted", [])
        ]
        pa.Table.from_pylist(holes, ITEMS)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise CaptionlakeError(
            f"{export.files[0][0]} does not say of which splits the rows are that were taken down: export the release again"
        ) from error
    return holes


def _item(row: Row) -> dict[str, Any]:
    texts = [[one["role"], one["text"]] for one in row["captions"] or []]
    digest = row_hash(row["source"], row["source_key"], row["image_id"], row["split"], texts)
    if digest != row["row_sha256"]:
        raise CaptionlakeError(
            f"{row['name']} row {row['row']} ({row['source']}:{row['source_key']}) is not what its hash says: "
            "its key, split or captions were changed since the export; download it again"
        )
    return {name: row[name] for name in ITEMS.names}


def _captions(row: Row) -> list[dict[str, Any]]:
    """The captions under the ids that they got as they came in."""
    wrong = wrong_captions(row["captions"] or [])
    if wrong is not None:
        raise CaptionlakeError(f"{row['name']} row {row['row']} has {wrong}, which no lake can hold")
    said = row["captions"] or []
    ids = [one.get("caption_id") for one in said]
    if not all(ids):  # an older export
        ids = [one["caption_id"] for one in caption_rows(listed(row), row["source"], row["image_id"], _NEVER)]
    return [
        {
            "position": row["position"],
            "ordinal": ordinal,
            "caption_id": caption_id,
            "role": one["role"],
            "image_id": row["image_id"],
            "text_sha256": hashlib.sha256(one["text"].encode()).hexdigest(),
        }
        for ordinal, (caption_id, one) in enumerate(zip(ids, said, strict=True))
    ]


def content_of(export: Exported, items: pa.Table) -> str:
    """The hash of the whole. Raises where rows are missing, or it is not what the export says."""
    positions = items["position"].to_numpy()
    if not np.array_equal(positions, np.arange(len(positions))):
        expected = int(positions[-1]) + 1 if len(positions) else 0
        raise CaptionlakeError(
            f"the files hold {len(positions):,} of at least {expected:,} rows of the release, or some of them twice: give all files "
            "of the export, each once"
        )
    content = ContentHash()
    for chunk in items["row_sha256"].chunks:
        for digest in chunk.to_pylist():
            content.add_digest(digest)
    whole, told = content.hexdigest(), export.told.get("content_sha256")
    if told not in (None, whole):
        raise CaptionlakeError(
            f"the rows of {export.told.get('release')} hash to {whole}, not to {told}: files are missing or changed; download them again"
        )
    return whole


def _check_pictures(lake: Lake, items: pa.Table, snapshot: int) -> None:
    query = (
        "SELECT count(*), min(t.source || ':' || t.source_key) FROM _items t WHERE t.source IS NOT NULL AND NOT EXISTS "
        f"(SELECT 1 FROM images i AT (VERSION => {snapshot:d}) WHERE i.source = t.source AND i.source_key = t.source_key "
        "AND i.image_id = t.image_id)"
    )
    with lake.registered(_items=items):
        lacking, first = lake.rows(query)[0]
    if lacking:
        raise lacks_pictures(lacking, items.num_rows, first)


def lacks_pictures(lacking: int, n_rows: int, first: str) -> CaptionlakeError:
    """What is said where the release cannot be made yet."""
    return CaptionlakeError(
        f"the lake lacks the pictures of {lacking:,} of {n_rows:,} rows, the first is {json.dumps(first)}: see why with  "
        "captionlake status , and try again with  captionlake ingest hf … --retry-failed --release"
    )


def _check_captions(lake: Lake, captions: pa.Table, snapshot: int) -> None:
    query = (
        f"SELECT count(*) FROM _captions w LEFT JOIN captions c AT (VERSION => {snapshot:d}) USING (caption_id) "
        "WHERE c.text IS NULL OR c.image_id <> w.image_id OR sha256(c.text) <> w.text_sha256"
    )
    with lake.registered(_captions=captions):
        lacking = lake.value(query)
    if lacking:
        raise CaptionlakeError(
            f"the lake lacks {lacking:,} of the captions of the export, or has others in their place: bring it in again with  "
            "captionlake ingest hf"
        )
