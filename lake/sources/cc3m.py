"""CC3M, Google's Conceptual Captions: ``Train_GCC-training.tsv`` (3.3 M rows),
``Validation_GCC-1.1.0-Validation.tsv``.

From ai.google.com/research/ConceptualCaptions. A line is ``caption<TAB>url``, without a header; quotes are part of
the caption, not of the form. The third file, ``Train_GCC-Labels-training.tsv``, has three more fields: labels, their
machine ids and confidences, each comma-separated; they are kept in ``meta``. A header line ``caption<TAB>url``, which
users add for img2dataset, is passed over. The captions were made from the pictures' alt texts (kind ``alt``); the
data set may be used for any purpose with acknowledgement of Google, and the pictures belong to their owners, so
releases carry URLs. The key is the URL. A line whose bytes are not UTF-8 keeps its picture: its caption has U+FFFD in
the place of those bytes, and ``meta.not_utf8`` says so.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.source import Source, conform
from captionlake.lake.sources.tables import Texts, as_text, captions, cleaned, lines, meta, wrong_file

_FIELDS = ["caption", "url", "labels", "label_ids", "confidences", "more"]
_FURTHER = _FIELDS[2:5]
_WANTED = (2, 5)  # fields of a line


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    if not config.inputs:
        raise CaptionlakeError("the source cc3m needs its list: give Train_GCC-training.tsv")
    for path in map(Path, config.inputs):
        listed = False
        for part in lines(path):
            frame = _split(part)
            if not listed:
                frame = frame.filter(
                    ~((pl.col("line") == 1) & (pl.col("caption") == "caption") & (pl.col("url") == "url"))
                )
                _check(path, frame)
            listed = True
            yield _rows(frame, path, config)
        if not listed:
            raise CaptionlakeError(f"{path} is empty: it needs lines of caption<TAB>url")


def _split(part: pl.DataFrame) -> pl.DataFrame:
    fields = pl.col("text").str.splitn("\t", len(_FIELDS)).struct.rename_fields(_FIELDS)
    n_fields = (pl.col("text").str.count_matches("\t", literal=True) + 1).alias("n_fields")
    return part.select("line", "broken", n_fields, fields.alias("fields")).unnest("fields")


def _check(path: Path, frame: pl.DataFrame) -> None:
    """The first lines tell whether this is the format at all."""
    first = frame.head(1000)
    if first.height and not first["url"].str.contains("://", literal=True).any():
        if (
            first.select(pl.col("caption").str.starts_with("http") & pl.col("n_fields").is_in(_WANTED))
            .to_series()
            .any()
        ):
            raise CaptionlakeError(
                f"{path}: its lines are url<TAB>caption, as CC12M's, not caption<TAB>url: swap the columns, or give "
                "it a header `url` and `caption` and use the source web"
            )
        raise wrong_file(path, "no line is caption<TAB>url")


def _rows(frame: pl.DataFrame, path: Path, config: IngestConfig) -> pl.DataFrame:
    frame = frame.with_columns(cleaned(pl.col("url")).alias("url"))
    where = pl.concat_str(pl.lit(f"{path.name} line "), pl.col("line"))
    fine = pl.col("n_fields").is_in(_WANTED)
    bad = (
        pl.when(~fine)
        .then(where + pl.concat_str(pl.lit(": "), "n_fields", pl.lit(" fields, where caption<TAB>url has 2")))
        .when(pl.col("url").is_null())
        .then(where + pl.lit(": no URL"))
        .when(pl.col("broken") & pl.col("url").str.contains("\ufffd", literal=True))
        .then(where + pl.lit(": the URL is not UTF-8"))
    )
    frame = frame.with_columns(bad.alias("bad"), pl.when("broken").then(pl.lit(True)).alias("not_utf8"))
    line_key = pl.concat_str(pl.lit(f"{path.name}:"), pl.col("line"))
    url = pl.when(pl.col("bad").is_null()).then("url")
    rows = frame.select(
        pl.coalesce(url, line_key).alias("source_key"),
        pl.lit(config.subset, dtype=pl.String).alias("subset"),
        url.alias("url"),
        "bad",
        captions(frame.height, Texts(frame["caption"], "alt")),
        meta(frame.height, [*map(as_text, frame.select(_FURTHER)), frame["not_utf8"]]),
    )
    return conform(rows)


CC3M = Source(
    name="cc3m",
    collection="lcs",
    title="CC3M: Conceptual Captions",
    takes="Train_GCC-training.tsv or another TSV of caption<TAB>url",
    homepage="https://ai.google.com/research/ConceptualCaptions",
    license="the captions: free to use with acknowledgement of Google LLC; each picture belongs to its owner",
    license_url="https://github.com/google-research-datasets/conceptual-captions/blob/master/LICENSE",
    redistribute="urls",
    citation="Sharma et al., Conceptual Captions: A Cleaned, Hypernymed, Image Alt-text Dataset For Automatic Image Captioning, ACL 2018",
    read=_read,
)
