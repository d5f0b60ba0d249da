"""What a source is: official annotation files in, frames of rows out.

A frame holds some thousand rows, so that a list of any length passes through a fixed amount of memory.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice

import polars as pl
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig

FRAME_ROWS = 10_000

CAPTION = pl.Struct({"text": pl.String, "kind": pl.String, "license": pl.String})

_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "source_key": pl.String,  # unique within the source
    "subset": pl.String,
    "url": pl.String,  # either a URL …
    "archive": pl.String,  # … or a file or folder on this machine and the member in it
    "member": pl.String,
    "offset": pl.Int64,  # where the member's bytes lie as they are in the archive's file, if they do,
    "n_bytes": pl.Int64,  # and how many they are
    "license": pl.String,
    "author": pl.String,
    "captions": pl.List(CAPTION),
    "meta": pl.String,  # JSON object: the file's further columns
    "bad": pl.String,  # why the row cannot be used, or null
    "reason": pl.String,  # with ``bad``: a FailureReason's value, null for bad_row
}
SCHEMA = pl.Schema(_COLUMNS)
_TYPES = {name: pa.int64() if type is pl.Int64 else pa.string() for name, type in _COLUMNS.items()}

Row = Mapping[str, object]

_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str, allow_nan=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One kind of source: what it is, and the function that reads its files into frames of ``SCHEMA``."""

    name: str
    collection: str
    title: str
    takes: str
    license: str | None
    license_url: str | None
    redistribute: str  # of the pictures: bytes, urls or none
    homepage: str | None = None
    citation: str | None = None
    read: Callable[[IngestConfig], Iterator[pl.DataFrame]]


def frames(rows: Iterable[Row]) -> Iterator[pl.DataFrame]:
    """Rows gathered into frames of ``SCHEMA``, with columns that a row leaves out as null."""
    left = iter(rows)
    while batch := list(islice(left, FRAME_ROWS)):
        columns = [
            _captions(batch) if name == "captions" else pa.array([row.get(name) for row in batch], type)
            for name, type in _TYPES.items()
        ]
        yield conform(pl.DataFrame(pl.from_arrow(pa.table(columns, names=list(_TYPES)))))


def _captions(rows: list[Row]) -> pa.ListArray:
    """Built column by column, which is several times quicker than from a list of dictionaries a row."""
    lists: list[list[dict[str, str | None]]] = [row.get("captions") or [] for row in rows]  # type: ignore[misc]
    items = [item for each in lists for item in each]
    fields = [pa.array([item[name] for item in items], pa.string()) for name in ("text", "kind", "license")]
    offsets = pa.array([0, *accumulate(map(len, lists))], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(fields, ["text", "kind", "license"]))


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with exactly the columns of ``SCHEMA``, in its order; those it lacks are null."""
    return frame.select(
        frame[name].cast(type) if name in frame.columns else pl.lit(None, dtype=type).alias(name)
        for name, type in SCHEMA.items()
    )


def as_json(values: Mapping[str, object]) -> str:
    """A JSON object for ``meta``: NaN and infinities, which JSON has not, become null, broken Unicode a question mark."""
    try:
        text = _ENCODER.encode(values)
    except ValueError:
        finite = json.loads(json.dumps(values, default=str), parse_constant=lambda _: None)
        text = json.dumps(finite, ensure_ascii=False)
    except RecursionError as error:
        raise CaptionlakeError(
            f"{str(values)[:60]}…: lists or objects too deep in one another: flatten them"
        ) from error
    return text.encode("utf-8", "replace").decode("utf-8")


def caption(text: object, kind: str, license: str | None = None) -> list[dict[str, str | None]]:
    """A list with the one caption, or an empty one where the text is blank."""
    cleaned = clean(text)
    return [{"text": cleaned, "kind": kind, "license": license}] if cleaned else []


def clean(value: object) -> str | None:
    """A value of a file as text without outer white space or broken Unicode; None where nothing is left."""
    if value is None:
        return None
    text = str(value).encode("utf-8", "replace").decode("utf-8").replace("\x00", "").strip()
    return text or None
