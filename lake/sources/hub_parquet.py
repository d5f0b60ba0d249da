"""The Hub's Parquet form of images: which column holds the picture, which the caption, and the rows' frames."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from captionlake.lake.sources.parquet_rows import Table, filled, slices
from captionlake.lake.sources.tables import as_text, wrong_file

CAPTIONS = (
    "caption",
    "captions",
    "text",
    "texts",
    "sentence",
    "sentences",
    "description",
    "descriptions",
    "alt_text",
    "alt",
)
_ALT = ("alt_text", "alt")


@dataclass(frozen=True, slots=True)
class HubForm:
    """The columns of one file. ``leaf`` is the column of bytes as members name it: ``image.bytes``, or ``jpg``."""

    image: str
    leaf: str
    has_path: bool
    texts: tuple[str, ...]
    scalars: tuple[str, ...]
    labels: dict[str, list[str]]  # class names of the columns that hold a class's number

    def kind(self, text: str) -> str:
        return "alt" if text.lower() in _ALT else "human"


def form_of(path: Path, table: Table) -> HubForm:
    """The form of a file. Raises where no column holds pictures."""
    schema = table.schema
    features = _features(schema)
    declared = [name for name, kind in features.items() if isinstance(kind, dict) and kind.get("_type") == "Image"]
    names = list(dict.fromkeys(schema.names))
    candidates = [name for name in declared if name in names] + names
    image = next((name for name in candidates if _leaf(schema, name)), None)
    if image is None:
        raise wrong_file(path, f"no column of images (columns: {', '.join(names)[:200]})")
    lower = {name.lower(): name for name in reversed(names)}
    found = [lower[name] for name in CAPTIONS if name in lower and _is_text(schema, lower[name])]
    first = [name for name in found if name.lower() not in _ALT][:1]
    texts = first + [name for name in found if name.lower() in _ALT][:1]
    scalars = [n for n in names if n != image and n not in texts and _is_scalar(schema.field(names.index(n)).type)]
    labels = {
        name: kind["names"]
        for name, kind in features.items()
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and _all_text(kind.get("names"))
    }
    has_path = pa.types.is_struct(schema.field(image).type) and schema.field(image).type.get_field_index("path") >= 0
    return HubForm(image, _leaf(schema, image) or image, has_path, tuple(texts), tuple(scalars), labels)


def _features(schema: pa.Schema) -> dict[str, Any]:
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = told["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _leaf(schema: pa.Schema, name: str) -> str | None:
    indices = schema.get_all_field_indices(name)
    type = schema.field(indices[0]).type if len(indices) == 1 else pa.null()
    if pa.types.is_struct(type) and type.get_field_index("bytes") >= 0:
        return f"{name}.bytes" if _is_binary(type.field("bytes").type) else None
    return name if _is_binary(type) else None


def _is_binary(type: pa.DataType) -> bool:
    return bool(pa.types.is_binary(type) or pa.types.is_large_binary(type))


def _is_text(schema: pa.Schema, name: str) -> bool:
    indices = schema.get_all_field_indices(name)
    type = schema.field(indices[0]).type
    if pa.types.is_list(type) or pa.types.is_large_list(type):
        type = type.value_type
    return len(indices) == 1 and bool(pa.types.is_string(type) or pa.types.is_large_string(type))


def _is_scalar(type: pa.DataType) -> bool:
    return not (_is_binary(type) or pa.types.is_nested(type) or pa.types.is_null(type))


def _all_text(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


@dataclass(frozen=True, slots=True)
class HubRows:
    """Some rows of a file: ``place`` has ``row`` (from 0), ``url``, ``archive``, ``member`` and ``bad``; ``columns`` the rest."""

    place: pl.DataFrame
    columns: pl.DataFrame


def hub_rows(table: Table, form: HubForm, path: Path) -> Iterator[HubRows]:
    """The file's rows in slices, class names in the place of classes' numbers. The pictures' bytes are not read."""
    here = filled(table, form.leaf)
    wanted = [*form.texts, *form.scalars, *([f"{form.image}.path"] if form.has_path else [])]
    for first, frame in slices(table, wanted):
        name = pl.repeat(None, frame.height, dtype=pl.String, eager=True)
        if form.has_path:
            name = frame[form.image].struct.field("path")
            frame = frame.drop(form.image)
        named = [_named(frame[column], names) for column, names in form.labels.items() if column in frame.columns]
        place = pl.DataFrame({"has": pl.Series(here[first : first + frame.height]), "name": as_text(name)})
        yield HubRows(_placed(place.with_row_index("row", offset=first), form, path), frame.with_columns(named))


def _placed(place: pl.DataFrame, form: HubForm, path: Path) -> pl.DataFrame:
    is_url = pl.col("name").str.contains(r"(?i)^https?://")
    is_file = ~pl.col("has") & pl.col("name").is_not_null() & ~is_url
    return place.select(
        "row",
        pl.when(is_url).then("name").alias("url"),
        pl.when("has").then(pl.lit(str(path))).when(is_file).then(pl.lit(str(path.parent))).alias("archive"),
        pl.when("has").then(pl.concat_str(pl.lit(f"{form.leaf}/"), "row")).when(is_file).then("name").alias("member"),
        pl.when(~pl.col("has") & pl.col("name").is_null())
        .then(pl.concat_str(pl.lit(f"{path.name} row "), "row", pl.lit(f": {form.image} has neither bytes nor a path")))
        .alias("bad"),
    )


def _named(column: pl.Series, names: list[str]) -> pl.Series:
    """Names for classes' numbers; a number without a name stays a number."""
    if not column.dtype.is_integer():
        return column
    known = pl.Series(names, dtype=pl.String)
    inside = pl.when(pl.col("c").is_between(0, len(names) - 1)).then(pl.col("c").cast(pl.Int64))
    frame = column.cast(pl.Int64, strict=False).to_frame("c")
    frame = frame.select(pl.coalesce(pl.lit(known).gather(inside) if names else None, pl.col("c").cast(pl.String)))
    return frame.to_series().alias(column.name)


def meta_columns(rows: HubRows, form: HubForm, taken: Iterable[str]) -> list[pl.Series]:
    """The scalar columns that have no place of their own."""
    left = set(taken)
    return [rows.columns[name] for name in form.scalars if name not in left]
