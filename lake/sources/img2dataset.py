"""Folders that img2dataset has made already, in its forms parquet, webdataset and files.

From github.com/rom1504/img2dataset. A folder holds shards ``00000``, ``00001``, …: ``00000.parquet`` with the
pictures in a column ``jpg`` (or ``png``, ``webp``); or ``00000.tar``, or a folder ``00000/``, of ``KEY.jpg``,
``KEY.txt`` and ``KEY.json``, with the shard's rows in a ``00000.parquet`` beside it. Rows: ``key, url, caption,
status, error_message, width, height, original_width, original_height, exif, sha256``, and the columns the user had
saved; ``license`` has a column of its own, the rest goes into ``meta``. Tars without their Parquet come in by their
members alone.

Rows that img2dataset could not fetch (``failed_to_download``, ``failed_to_resize``) become failures with its words,
and a reason by ``REASONS``. A shard is whole when ``00000_stats.json`` stands beside it, which img2dataset writes
last. Where other shards of the folder have theirs and one has not, what it holds comes in, and one more row
``FOLDER/00000`` is recorded as ``truncated``: its rows may lack some. Captions are of kind ``alt``. The key is the
URL, else ``FOLDER/KEY``; with the URL known, no other source fetches it again. The pictures belong to their owners;
img2dataset re-encodes them by default, so these may not be the bytes that the web has.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.reasons import FailureReason
from captionlake.lake.sources.img2dataset_pictures import index, loose_rows
from captionlake.lake.sources.img2dataset_shards import Shard, shards
from captionlake.lake.sources.parquet_rows import filled, opened, slices
from captionlake.lake.sources.source import Source, conform, frames
from captionlake.lake.sources.tables import Texts, as_text, captions, meta, wrong_file

_OWN = ("key", "url", "caption", "txt", "status", "error_message", "license")
REASONS = {  # the first pattern that is in img2dataset's error message
    r"infinite loop": FailureReason.REDIRECT_LOOP,
    r"HTTP Error (404|410)": FailureReason.NOT_FOUND,
    r"HTTP Error (400|414)": FailureReason.BAD_URL,
    r"HTTP Error 408": FailureReason.TIMEOUT,
    r"HTTP Error 429": FailureReason.RATE_LIMITED,
    r"HTTP Error 4": FailureReason.FORBIDDEN,
    r"HTTP Error [35]": FailureReason.SERVER_ERROR,
    r"(?i)robots": FailureReason.OPTED_OUT,
    r"(?i)timed out|timeout": FailureReason.TIMEOUT,
    r"(?i)unknown url type|no host|invalid url|url can't contain|nonnumeric port": FailureReason.BAD_URL,
    r"(?i)decod|identify image": FailureReason.DECODE_ERROR,
}


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    inputs = [*config.inputs, *config.archives]
    if not inputs:
        raise CaptionlakeError("the source img2dataset needs what img2dataset made: give its output folder")
    for shard in shards(inputs):
        yield from _shard_rows(shard, config)
        if not shard.whole:
            why = f"{shard.key}: no {shard.name}_stats.json, so img2dataset did not finish it: run img2dataset again"
            yield from frames([{"source_key": shard.key, "subset": config.subset, "bad": why, "reason": "truncated"}])


def _shard_rows(shard: Shard, config: IngestConfig) -> Iterator[pl.DataFrame]:
    known: set[str] = set()
    listed: set[str] | None = None  # the keys of all pictures, where the Parquet was read
    if shard.table is not None:
        pictures = index(shard.pictures) if shard.pictures else None
        try:
            for frame, keys in _table_rows(shard, shard.table, pictures, config):
                known.update(keys)
                yield frame
        except CaptionlakeError:
            if shard.whole:
                raise
        listed = set() if pictures is None else set(pictures["key"])
    if shard.pictures is not None and (listed is None or not known.issuperset(listed)):
        yield from frames(loose_rows(shard.pictures, shard.folder, known, config.subset))


def _table_rows(
    shard: Shard, path: Path, pictures: pl.DataFrame | None, config: IngestConfig
) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    with opened(path) as table:
        schema = table.schema
        binary = [field.name for field in schema if str(field.type) in ("binary", "large_binary")]
        if pictures is None and not binary:
            raise wrong_file(
                path, f"neither a column of pictures nor {shard.name}.tar nor a folder {shard.name} beside it"
            )
        here = filled(table, binary[0]) if pictures is None else None
        wanted = [name for name in schema.names if name not in binary and schema.names.count(name) == 1]
        if not {"key", "url", "status"}.intersection(wanted):
            raise wrong_file(path, f"none of the columns key, url, status (columns: {', '.join(schema.names)[:200]})")
        for first, columns in slices(table, wanted):
            none = pl.repeat(None, columns.height, dtype=pl.String, eager=True)
            own = {name: as_text(columns[name]) if name in columns.columns else none for name in _OWN}
            rows = pl.DataFrame(own).with_row_index("number", offset=first)
            rows = rows.with_columns(
                captions(columns.height, Texts(own["caption"] if own["caption"].count() else own["txt"], "alt")),
                meta(columns.height, columns.drop(_OWN, strict=False)),
            )
            if pictures is not None:
                rows = rows.join(pictures, on="key", how="left", maintain_order="left")
                rows = rows.with_columns(pl.lit(str(shard.pictures)).alias("archive"))
            elif here is not None:
                has = pl.Series("has", here[first : first + rows.height])
                member = pl.concat_str(pl.lit(f"{binary[0]}/"), "number")
                none_ = pl.lit(None, dtype=pl.String)
                rows = rows.with_columns(has, pl.lit(str(path)).alias("archive")).with_columns(
                    pl.when("has").then(member).alias("member"), none_.alias("bad"), none_.alias("reason")
                )
            yield _finish(rows, shard, path, config), own["key"].drop_nulls().to_list()


def _finish(rows: pl.DataFrame, shard: Shard, path: Path, config: IngestConfig) -> pl.DataFrame:
    failed = pl.col("status").is_not_null() & (pl.col("status") != "success")
    said = pl.coalesce("error_message", "status").str.replace_all(r"\s+", " ").str.slice(0, 200)
    place = pl.concat_str(pl.lit(f"{path.name} row "), "number", pl.lit(": "))
    missing = pl.col("member").is_null()
    reason: pl.Expr = (
        pl.when(pl.col("status") == "failed_to_resize").then(pl.lit("decode_error")).otherwise(pl.lit("connection"))
    )
    for pattern, value in reversed(REASONS.items()):
        reason = pl.when(pl.col("error_message").str.contains(pattern)).then(pl.lit(value.value)).otherwise(reason)
    number = pl.concat_str(pl.lit(f"{shard.key}:"), "number")
    named = pl.concat_str(pl.lit(f"{shard.folder}/"), "key")
    unusable = failed | missing
    return conform(
        rows.select(
            pl.coalesce("url", named, number).alias("source_key"),
            pl.lit(config.subset, dtype=pl.String).alias("subset"),
            "url",
            pl.when(~unusable).then("archive").alias("archive"),
            pl.when(~unusable).then("member").alias("member"),
            *(pl.when(~unusable).then(name).alias(name) for name in ("offset", "n_bytes") if name in rows.columns),
            "license",
            "captions",
            "meta",
            pl.when(failed)
            .then(place + pl.lit("img2dataset: ") + said)
            .when(missing)
            .then(place + pl.lit("no picture of it in the shard"))
            .otherwise("bad")
            .alias("bad"),
            pl.when(failed)
            .then(reason)
            .when(missing)
            .then(pl.lit("missing_member"))
            .otherwise("reason")
            .alias("reason"),
        )
    )


IMG2DATASET = Source(
    name="img2dataset",
    collection="img2dataset",
    title="Pictures fetched by img2dataset",
    takes="folders that img2dataset made (output_format parquet, webdataset or files), or single shards of them",
    homepage="https://github.com/rom1504/img2dataset",
    license="each picture belongs to its owner",
    license_url=None,
    redistribute="urls",
    read=_read,
)
