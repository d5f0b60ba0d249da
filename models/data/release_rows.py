"""Rows of a release as Arrow tables: what they hash to, and which of them are samples.

Of images: position, split, row_sha256, source, source_key, image_id, texts (role, text), pictures. Of conversations: position, split,
row_sha256, image_id, record, pictures, chars. ``pictures`` are places in the lake, null where it has none.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from captionlake.lake.releases.content import row_hash
from captionlake.models.data.sample import IMAGE

_HEAD = [("position", pa.int64()), *((name, pa.string()) for name in ("split", "row_sha256", "image_id"))]
_TEXTS = pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))
_PICTURES = pa.list_(
    pa.struct(
        [
            ("image_id", pa.string()),
            ("shard", pa.string()),
            ("row", pa.int32()),
            ("offset", pa.int64()),
            ("n_bytes", pa.int64()),
        ]
    )
)
SCHEMAS = {
    "images": pa.schema(
        [*_HEAD, ("source", pa.string()), ("source_key", pa.string()), ("texts", _TEXTS), ("pictures", _PICTURES)]
    ),
    "sft": pa.schema(
        [
            *_HEAD,
            ("record", pa.string()),
            ("pictures", _PICTURES),
            ("chars", pa.int64()),
        ]
    ),
}

SAMPLES = np.dtype([("row", "<i8"), ("ordinal", "<i4"), ("chars", "<i4"), ("pictures", "<i4")])
Samples = npt.NDArray[np.void]  # of SAMPLES: the row of the table, which of its captions, characters of all turns


def image_rows(found: pa.Table) -> pa.Table:
    """Result rows of ``sql/image_rows.sql`` in order, one a caption, as rows of the release."""
    position = found.column("position").to_numpy()
    starts = np.flatnonzero(np.diff(position, prepend=-1))
    there = found.column("text").is_valid()
    before = np.concatenate([[0], np.cumsum(there.to_numpy(zero_copy_only=False))])
    texts = _list(before[[*starts, len(position)]], found.filter(there), ["role", "text"], _TEXTS)
    rows = found.take(pa.array(starts))
    placed = rows.column("shard").is_valid()
    ends = np.concatenate([[0], np.cumsum(placed.to_numpy(zero_copy_only=False))])
    pictures = _list(ends, rows.filter(placed), [field.name for field in _PICTURES.value_type], _PICTURES)
    columns = {"texts": texts, "pictures": pictures}
    schema = SCHEMAS["images"]
    return pa.table([columns[f.name] if f.name in columns else rows.column(f.name) for f in schema], schema)


def _list(offsets: npt.NDArray[np.int64], rows: pa.Table, names: list[str], kind: pa.DataType) -> pa.Array:
    fields = [rows.column(name).combine_chunks().cast(kind.value_type.field(name).type) for name in names]
    values = pa.StructArray.from_arrays(fields, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def digests(table: pa.Table, kind: str) -> Iterator[str]:
    """Each row's hash, of what is there now; the same as ``captionlake.lake.releases`` defines it. ``gone`` of a row that holds nothing."""
    if kind == "images":
        keys = (table.column(name).to_pylist() for name in ("source", "source_key", "image_id", "split"))
        for source, key, image_id, split, texts in zip(*keys, _pairs(table.column("texts")), strict=True):
            yield GONE if source is None else row_hash(source, key, image_id, split, texts)
        return
    columns = (table.column(name).to_pylist() for name in ("image_id", "split", "record"))
    for image_id, split, record in zip(*columns, strict=True):
        text = f"[{json.dumps(image_id)},{json.dumps(split, ensure_ascii=False)},{record}]"
        yield GONE if record is None else hashlib.sha256(text.encode()).hexdigest()


def _pairs(lists: pa.ChunkedArray) -> Iterator[list[list[str]]]:
    for chunk in lists.chunks:
        values = chunk.flatten()
        pairs = list(map(list, zip(values.field("role").to_pylist(), values.field("text").to_pylist(), strict=True)))
        ends = np.cumsum(chunk.value_lengths().to_numpy(zero_copy_only=False)).tolist()
        yield from (pairs[start:end] for start, end in zip([0, *ends], ends, strict=False))


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows become samples: those of ``split`` (None: of all), with their first caption or one sample for each."""

    split: str | None = "train"
    every_caption: bool = False


def choose(table: pa.Table, kind: str, choice: Choice, first_row: int) -> tuple[Samples, Counter[str]]:
    """The samples of a table whose rows are counted from ``first_row``, and how many rows of the split are left out, by reason."""
    split = np.ones(len(table), bool)
    if choice.split is not None:
        split = pc.equal(table.column("split"), choice.split).to_numpy(zero_copy_only=False)
    reason = np.full(len(table), "", dtype="U40")
    pictures = _lengths(table.column("pictures"))
    if kind == "images":
        texts = _lengths(table.column("texts"))
        reason[texts == 0] = NO_CAPTION
        reason[pictures == 0] = NO_PICTURE
    else:
        marks = pc.count_substring(table.column("record"), IMAGE).to_numpy(zero_copy_only=False)
        reason[marks != pictures] = MARKS
        reason[_has_null(table.column("pictures"))] = NO_PICTURE
    reason[pc.is_null(table.column("source" if kind == "images" else "record")).to_numpy(zero_copy_only=False)] = (
        TAKEN_DOWN
    )
    rows = np.flatnonzero(split & (reason == ""))
    left_out = Counter(reason[split & (reason != "")].tolist())
    ordinals = np.zeros(len(rows), np.int32)
    if kind == "images":
        many = texts[rows] if choice.every_caption else np.ones(len(rows), int)
        ordinals = np.concatenate([np.empty(0, int), *map(np.arange, many.tolist())])
        rows = np.repeat(rows, many)
    samples = np.empty(len(rows), SAMPLES)
    samples["row"], samples["ordinal"], samples["pictures"] = rows + first_row, ordinals, pictures[rows]
    samples["chars"] = _caption_chars(table, rows, ordinals) if kind == "images" else _numpy(table, "chars")[rows]
    return samples, left_out


GONE = "gone"
TAKEN_DOWN = "taken down"
NO_CAPTION = "no caption"
NO_PICTURE = "picture not in the lake"
MARKS = f"not one {IMAGE} a picture"


def _caption_chars(
    table: pa.Table, rows: npt.NDArray[np.int64], ordinals: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    lists = table.column("texts").combine_chunks()
    ends = np.cumsum(_lengths(table.column("texts")))
    starts = np.concatenate([[0], ends])[:-1]
    chars: npt.NDArray[np.int64] = pc.utf8_length(lists.flatten().field("text")).to_numpy(zero_copy_only=False)
    found: npt.NDArray[np.int64] = chars[starts[rows] + ordinals] + len(IMAGE)
    return found


def _lengths(lists: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return found


def _has_null(lists: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    lacking = np.zeros(len(lists), bool)
    flat = lists.combine_chunks()
    parents = pc.list_parent_indices(flat).to_numpy(zero_copy_only=False)
    lacking[parents[flat.flatten().is_null().to_numpy(zero_copy_only=False)]] = True
    return lacking


def _numpy(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = table.column(name).to_numpy()
    return found
