"""What a source is: official annotation files in, rows out.

A source yields rows in frames of some thousand, so that a list of any length passes through a fixed amount of memory.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

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
    "license": pl.String,
    "author": pl.String,
    "captions": pl.List(CAPTION),
    "meta": pl.String,  # JSON object: the file's further columns
    "bad": pl.String,  # why the row cannot be used, or null
}
SCHEMA = pl.Schema(_COLUMNS)

Row = dict[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One kind of source: what it is, and the function that reads its files."""

    name: str
    collection: str
    title: str
    takes: str
    license: str | None
    license_url: str | None
    redistribute: str  # of the pictures: bytes, urls or none
    homepage: str | None = None
    citation: str | None = None
    read: Callable[[IngestConfig], Iterator[Row]]


def frames(rows: Iterator[Row]) -> Iterator[pl.DataFrame]:
    """Rows gathered into frames of ``SCHEMA``, with columns that a row leaves out as null."""
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == FRAME_ROWS:
            yield pl.DataFrame(batch, schema=SCHEMA, strict=False)
            batch = []
    if batch:
        yield pl.DataFrame(batch, schema=SCHEMA, strict=False)


def as_json(values: Mapping[str, object]) -> str:
    """A JSON object for ``meta``: NaN and infinities, which JSON has not, become null, broken Unicode a question mark."""
    try:
        text = json.dumps(values, ensure_ascii=False, default=str, allow_nan=False)
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
