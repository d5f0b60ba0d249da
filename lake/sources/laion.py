"""LAION-400M, -2B, -5B, -COCO and their relatives: Parquet lists of URLs with alt texts (``part-00000-….parquet``).

From laion.ai and the Hub. Columns, whose letters' case differs between the releases: ``URL``; ``TEXT`` (or
``caption``), the alt text; ``LICENSE``, where ``?`` means that none is known; and kept in ``meta`` with all further
columns, under lower-case names: ``similarity`` (CLIP's, of picture and text), ``nsfw`` or ``punsafe``,
``pwatermark``, ``width``, ``height``, ``hash``, ``language``, ``sample_id``, ``aesthetic``. LAION-COCO's
``top_caption`` was written by BLIP and comes as a second caption, of kind ``captioner``. The metadata are CC BY 4.0;
the pictures belong to their owners, so releases carry URLs. The key is the URL.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.parquet_rows import opened, parquet_files, slices
from captionlake.lake.sources.source import Source, conform
from captionlake.lake.sources.tables import Texts, as_text, captions, meta, wrong_file

_LICENSE = "CC-BY-4.0"  # of the metadata
_URLS = ("url", "image_url")
_ALT = ("text", "caption", "alt_text", "alt")
_MADE = "top_caption"
_NO_LICENSE = ["?", "unknown", "none", "null"]


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    if not config.inputs:
        raise CaptionlakeError("the source laion needs its list: give .parquet files or a folder of them")
    for path, name in parquet_files(config.inputs):
        with opened(path) as table:
            for first, frame in slices(table, _columns(path, table.schema.names)):
                yield _rows(frame, name, first, config)


def _columns(path: Path, names: list[str]) -> list[str]:
    lower = {name.lower() for name in names}
    if lower.isdisjoint(_URLS):
        raise wrong_file(path, f"no column URL (columns: {', '.join(names)[:200]})")
    if lower.isdisjoint((*_ALT, _MADE)):
        raise wrong_file(path, f"no column TEXT or caption (columns: {', '.join(names)[:200]})")
    return names


def _rows(frame: pl.DataFrame, name: str, first: int, config: IngestConfig) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {}
    for column in frame.iter_columns():
        columns.setdefault(column.name.lower(), column.rename(column.name.lower()))
    url_name = next(each for each in _URLS if each in columns)
    alt_name = next((each for each in _ALT if each in columns), None)
    texts = [Texts(columns[alt_name], "alt", _LICENSE)] if alt_name else []
    if _MADE in columns:
        texts.append(Texts(columns[_MADE], "captioner", _LICENSE))
    own = {url_name, alt_name, _MADE, "license"}
    license = (
        as_text(columns["license"])
        if "license" in columns
        else pl.repeat(None, frame.height, dtype=pl.String, eager=True)
    )
    row = pl.concat_str(pl.lit(f"{name}:"), "row")
    place = pl.concat_str(pl.lit(f"{name} row "), "row", pl.lit(": no URL"))
    rows = (
        pl.DataFrame({"url": as_text(columns[url_name]), "license": license})
        .with_row_index("row", offset=first)
        .select(
            pl.coalesce("url", row).alias("source_key"),
            pl.lit(config.subset, dtype=pl.String).alias("subset"),
            "url",
            pl.when(~pl.col("license").str.to_lowercase().is_in(_NO_LICENSE)).then("license").alias("license"),
            captions(frame.height, *texts),
            meta(frame.height, (column for key, column in columns.items() if key not in own)),
            pl.when(pl.col("url").is_null()).then(place).alias("bad"),
        )
    )
    return conform(rows)


LAION = Source(
    name="laion",
    collection="lcs",
    title="LAION",
    takes="part-*.parquet of LAION-400M, -2B, -5B or -COCO, or a folder of them",
    homepage="https://laion.ai",
    license="metadata CC-BY-4.0; each picture belongs to its owner",
    license_url="https://creativecommons.org/licenses/by/4.0/",
    redistribute="urls",
    citation="Schuhmann et al., LAION-5B: An open large-scale dataset for training next generation image-text models, NeurIPS 2022",
    read=_read,
)
