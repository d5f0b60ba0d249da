"""What sources with long tables share: text, captions and ``meta`` column by column, text files in frames of lines.

Each of these does with Polars what ``source.py`` does row by row, and a test holds the two equal.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.sources.looks_like import looks_like
from captionlake.lake.sources.source import CAPTION, as_json, clean

_PART = 2 * 2**20  # bytes of a text file that are read at one time
MAX_LINE = 16 * 2**20  # bytes
_WHITE = "".join(c for c in map(chr, range(0x3001)) if c.isspace())  # what str.strip takes off
_LETTERS = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of captions, one text a row or a list of texts a row, all of one kind."""

    column: pl.Series
    kind: str
    license: pl.Series | str | None = None


def cleaned(column: pl.Expr) -> pl.Expr:
    """``clean`` of a column of text: no NUL, no outer white space, null where nothing is left."""
    text = column.cast(pl.String).str.replace_all("\x00", "", literal=True).str.strip_chars(_WHITE)
    return pl.when(text != "").then(text)


def as_text(column: pl.Series) -> pl.Series:
    """A column of any type as clean text."""
    if column.dtype in _LETTERS:
        return column.to_frame("c").select(cleaned(pl.col("c"))).to_series().rename(column.name)
    if column.dtype.is_integer():
        return column.cast(pl.String)
    return pl.Series(column.name, [clean(value) for value in column.to_list()], pl.String)


def captions(height: int, *texts: Texts) -> pl.Series:
    """The column ``captions``: a row's texts in the order of the columns, blank ones left out."""
    flat = pl.concat([_flat(each) for each in texts]) if texts else _flat(Texts(pl.Series([], dtype=pl.String), ""))
    flat = flat.sort("row", maintain_order=True)
    counts = np.bincount(flat["row"].to_numpy(), minlength=height)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int64())
    items = [flat[name].to_arrow() for name in ("text", "kind", "license")]
    structs = pa.StructArray.from_arrays(items, ["text", "kind", "license"])
    lists = pl.Series("captions", pa.LargeListArray.from_arrays(offsets, structs))
    return lists.cast(pl.List(CAPTION))


def _flat(texts: Texts) -> pl.DataFrame:
    frame = pl.DataFrame({"text": texts.column}).with_row_index("row")
    license = texts.license if isinstance(texts.license, pl.Series) else pl.lit(texts.license, dtype=pl.String)
    frame = frame.with_columns(pl.lit(texts.kind).alias("kind"), license.alias("license"))
    if isinstance(texts.column.dtype, pl.List):
        frame = frame.explode("text")
    frame = frame.with_columns(as_text(frame["text"]).alias("text"))
    return frame.filter(pl.col("text").is_not_null())


def meta(height: int, columns: Iterable[pl.Series]) -> pl.Series:
    """The column ``meta`` of all these columns; nulls, blank texts and what JSON has not (NaN, infinities) are left out."""
    parts = [_member(column).alias(str(number)) for number, column in enumerate(columns)]
    if not parts:
        return pl.repeat("{}", height, dtype=pl.String, eager=True).alias("meta")
    joined = pl.concat_str(pl.all(), separator=",", ignore_nulls=True)
    return pl.DataFrame(parts).select(pl.concat_str(pl.lit("{"), joined, pl.lit("}")).alias("meta")).to_series()


def _member(column: pl.Series) -> pl.Series:
    """``"name":value`` of each row, null where there is no value."""
    value = column
    if column.dtype in _LETTERS:
        value = column.cast(pl.String)
        present = value != ""
    elif column.dtype.is_float():
        present = column.is_finite()
    elif column.dtype.is_integer() or column.dtype == pl.Boolean:
        present = column.is_not_null()
    else:
        return pl.Series([_odd_member(column.name, item) for item in column.to_list()], dtype=pl.String)
    coded = pl.struct(pl.col("v")).struct.json_encode().str.slice(5).str.strip_suffix("}")  # of {"v":…}
    return (
        pl.DataFrame({"v": value, "present": present})
        .select(pl.when("present").then(pl.lit(_name(column.name)) + coded))
        .to_series()
    )


def _odd_member(name: str, item: object) -> str | None:
    """A value of a nested or otherwise uncommon type."""
    if item is None or isinstance(item, bytes):
        return None
    return as_json({name: item})[1:-1]


def _name(name: str) -> str:
    return as_json({name: ""})[1:-1].removesuffix('""')


def lines(path: Path) -> Iterator[pl.DataFrame]:
    """A text file in frames of ``line`` (from 1), ``text`` and ``broken``.

    ``text`` is without its LF or CRLF, and the first without a byte order mark. ``broken`` marks the lines that are not UTF-8:
    their text has U+FFFD in the place of such bytes. Raises where a line is longer than 16 MB, which no list has.
    """
    first, rest = 1, b""
    try:
        with path.open("rb") as file:
            start = file.read(3)
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise CaptionlakeError(f"{path} is UTF-16 text: save it as UTF-8")
            rest = b"" if start == b"\xef\xbb\xbf" else start
            while part := file.read(_PART):
                cut = part.rfind(b"\n") + 1
                if not cut:
                    rest += part
                    if len(rest) > MAX_LINE:
                        raise wrong_file(path, f"line {first} is longer than {MAX_LINE >> 20} MB, which no list has")
                    continue
                frame = _lines_of(rest + part[:cut], first)
                first, rest = first + frame.height, part[cut:]
                yield frame
    except OSError as error:
        raise unreadable(path, error) from error
    if rest:
        yield _lines_of(rest, first)


def _lines_of(data: bytes, first: int) -> pl.DataFrame:
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10) + 1
    if not len(ends) or ends[-1] != len(data):
        ends = np.append(ends, len(data))
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    try:
        data.decode("utf-8")
        array = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
        text, broken = pl.Series("text", array), pl.repeat(False, len(ends), eager=True)
    except UnicodeDecodeError:
        raw = [data[start:end] for start, end in pairwise(offsets)]
        whole = [each.decode("utf-8", "replace") for each in raw]
        text = pl.Series("text", whole, pl.String)
        broken = pl.Series([each.encode() != was for each, was in zip(whole, raw, strict=True)], dtype=pl.Boolean)
    frame = pl.DataFrame({"text": text, "broken": broken}).with_row_index("line", offset=first)
    return frame.with_columns(pl.col("text").str.strip_suffix("\n").str.strip_suffix("\r"))


def unreadable(path: Path, error: OSError) -> CaptionlakeError:
    return CaptionlakeError(f"{path} cannot be read ({error.strerror or error}): check its path and rights")


def wrong_file(path: Path, why: str) -> CaptionlakeError:
    """The error for a file that is not of the source's format, with what it looks like instead where that can be told."""
    guess, why = looks_like(path), " ".join(why.split())
    if guess == "a Parquet file":
        guess = _looks_like_parquet(path)
    if guess:
        return CaptionlakeError(f"{path}: {why}: it looks like {guess}; give the source's own file")
    return CaptionlakeError(f"{path}: {why}: give the source's own file")


def _looks_like_parquet(path: Path) -> str:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError):
        return "a Parquet file that is cut off or damaged"
    names = {name.lower() for name in schema.names}
    if {"key", "status", "url"} <= names:
        return "one of img2dataset's files (source img2dataset)"
    if any(pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0 for field in schema):
        return "Parquet in the Hub's image form (source hf)"
    return "a list of URLs as LAION's (source laion)" if "url" in names else "a Parquet file of another kind"
