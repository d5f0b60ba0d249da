"""What a source is: official annotation files in, frames of rows out.

A frame holds some thousand rows, so that a list of any length passes through a fixed amount of memory.
"""

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

import numpy.typing as npt
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
    "provenance": pl.String,  # JSON: who made each of ``captions`` (``exported.py``); null where all are the source's own
    "image_id": pl.String,  # the SHA-256 that the picture must have, or null
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


class Rows:
    """Rows gathered column by column, which is several times quicker than a dictionary a row; all captions are of one kind."""

    def __init__(self, subset: str | None, kind: str, caption_license: str | None = None) -> None:
        self._subset = subset
        self._kind = kind
        self._license = caption_license
        self._clear()

    def _clear(self) -> None:
        self._keys: list[str] = []
        self._urls: list[str | None] = []
        self._metas: list[str] = []
        self._bads: list[str | None] = []
        self._texts: list[str] = []
        self._ends = [0]  # of each row's texts
        self._parts: dict[int, Row] = {}

    @property
    def full(self) -> bool:
        """Whether it is time to take the frame."""
        return len(self._keys) >= FRAME_ROWS

    def add(
        self,
        key: str,
        url: str | None = None,
        texts: Iterable[str] = (),
        meta: str = "{}",
        bad: str | None = None,
        part: Row | None = None,
    ) -> None:
        """A row of clean texts; ``part`` has more of its columns, archive and member for instance."""
        if part:
            self._parts[len(self._keys)] = part
        self._keys.append(key)
        self._urls.append(url)
        self._metas.append(meta)
        self._bads.append(bad)
        self._texts.extend(texts)
        self._ends.append(len(self._texts))

    def take(self) -> Iterator[pl.DataFrame]:
        """The frame of what was added since the last time, if anything was."""
        n = len(self._keys)
        if not n:
            return
        columns = {"source_key": self._keys, "url": self._urls, "meta": self._metas, "bad": self._bads}
        data = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        data["subset"] = pa.array([self._subset] * n, pa.string())
        data["captions"] = caption_lists(self._texts, self._ends, self._kind, self._license)
        data |= self._more(data)
        self._clear()
        yield conform(pl.DataFrame(pl.from_arrow(pa.table(data))))

    def _more(self, data: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
        """The columns that are in parts of rows, over those of ``data``."""
        found = {}
        for name in {name for part in self._parts.values() for name in part}:
            values = data[name].to_pylist() if name in data else [None] * len(self._keys)
            for row, part in self._parts.items():
                values[row] = part.get(name, values[row])
            found[name] = pa.array(values, _TYPES[name])
        return found


def caption_lists(
    texts: list[str] | pa.Array, ends: Sequence[int] | npt.NDArray[Any], kind: str, license: str | None
) -> pa.ListArray:
    """The column ``captions`` of rows whose texts follow one another; ``ends``, from 0 on, tells where each row's end."""
    n = len(texts)
    fields = [pa.array(texts, pa.string()), _repeated(kind, n), _repeated(license, n)]
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.StructArray.from_arrays(fields, ["text", "kind", "license"])
    )


def _repeated(value: str | None, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), n)


def _captions(rows: list[Row]) -> pa.ListArray:
    """Built column by column, which is several times quicker than from a list of dictionaries a row."""
    lists: list[list[dict[str, str | None]]] = [row.get("captions") or [] for row in rows]  # type: ignore[misc]
    items = [item for each in lists for item in each]
    fields = [pa.array([item[name] for item in items], pa.string()) for name in ("text", "kind", "license")]
    offsets = pa.array([0, *accumulate(map(len, lists))], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(fields, ["text", "kind", "license"]))


@contextmanager
def no_cycles() -> Iterator[None]:
    """Without the collector of reference cycles, for work that makes none and fills memory, which it would search over and over."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


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
    text = str(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half a surrogate pair
            text = text.encode("utf-8", "replace").decode("utf-8")
    if "\x00" in text:
        text = text.replace("\x00", "")
    text = text.strip()
    return text or None
