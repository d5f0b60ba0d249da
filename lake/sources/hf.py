"""Parquet files in the image form of the Hugging Face Hub, on this machine: files, or a folder as
``data/train-00000-of-00010.parquet``.

The form is that of ``datasets``: a column of type Image is ``struct<bytes: binary, path: string>``, and the schema's
metadata ``huggingface`` names the columns' types. Also taken: a plain column of bytes. Of several columns of images
the first that the metadata declare is taken, else the first by its type. Where the bytes are null, a path that is a
URL is fetched, and any other path is of a file in the Parquet's folder. Captions, by the columns' names whatever
their case, one text or a list of texts: the first there is of ``caption, captions, text, texts, sentence, sentences,
description, descriptions`` (kind ``human``), and ``alt_text`` or ``alt`` (kind ``alt``). ``license``, ``author`` and
``url`` have columns of their own; every other column of single values goes into ``meta``, classes (ClassLabel) by
their names; lists, objects and bytes are left out. The key is ``FILE.parquet:ROW``, rows from 0. What licence there
is stands in the data set's card: say it with ``license``.

What ``captionlake release export`` wrote is read by ``exported.py``, under the sources and keys that it names.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.hub_parquet import HubForm, HubRows, form_of, hub_rows, meta_columns
from captionlake.lake.sources.parquet_rows import opened, parquet_files
from captionlake.lake.sources.source import Source, conform
from captionlake.lake.sources.tables import Texts, as_text, captions, meta

_OWN = ("license", "author", "url")


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    inputs = [*config.inputs, *config.archives]
    if not inputs:
        raise CaptionlakeError("the source hf needs Parquet files: give .parquet files or a folder of them")
    for path, name in parquet_files(inputs):
        with opened(path) as table:
            form = form_of(path, table)
            for rows in hub_rows(table, form, path):
                yield _frame(rows, form, path, name, config)


def _frame(rows: HubRows, form: HubForm, path: Path, name: str, config: IngestConfig) -> pl.DataFrame:
    lower = {each.lower(): each for each in reversed(form.scalars) if each.lower() in _OWN}
    own = {each: as_text(rows.columns[column]) for each, column in lower.items()}
    url = own.pop("url", None)
    further = url if url is not None else pl.repeat(None, rows.place.height, dtype=pl.String, eager=True)
    place = rows.place.with_columns(further.alias("further"))
    return conform(
        place.select(
            pl.concat_str(pl.lit(f"{name}:"), "row").alias("source_key"),
            pl.lit(config.subset, dtype=pl.String).alias("subset"),
            pl.coalesce("url", "further").alias("url"),
            "archive",
            "member",
            pl.when(pl.col("further").is_null())
            .then("bad")
            .alias("bad"),  # a row without bytes and path may have a URL
            captions(place.height, *(Texts(rows.columns[each], form.kind(each)) for each in form.texts)),
            meta(place.height, meta_columns(rows, form, lower.values())),
            *(column.alias(each) for each, column in own.items()),
        )
    )


HF = Source(
    name="hf",
    collection="hf",
    title="Parquet files of the Hugging Face Hub",
    takes="Parquet files with a column of images and a caption, or a folder of them",
    license=None,
    license_url=None,
    redistribute="none",
    read=_read,
)
