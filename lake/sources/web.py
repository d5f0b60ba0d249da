"""Web lists: CSV, TSV or JSON Lines with a column ``url``, as for ShareGPT4V's landmarks and celebrities.

Origin: the user's own lists; ShareGPT4V's were 500 landmarks and 500 celebrities. Columns: ``url``; ``name`` (the subject),
``caption``, ``text`` or ``alt`` become captions of kind ``alt``; ``license`` and ``author`` are the picture's; ``subset`` overrides the
list's; all others go into ``meta``. The key of a row is its URL. The pictures belong to their owners, so releases carry URLs.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.rows import read_rows
from captionlake.lake.sources.source import Row, Source, as_json, caption, clean, frames

_TEXTS = ("caption", "text", "alt", "name")
_OWN = {"url", "license", "author", "subset", "caption", "text", "alt", "caption_license"}


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    return frames(_rows(config))


def _rows(config: IngestConfig) -> Iterator[Row]:
    if not config.inputs:
        raise CaptionlakeError("the source web needs a list: give a .csv, .tsv or .jsonl file with a column url")
    for path in map(Path, config.inputs):
        for line, row in read_rows(path, required=("url",)):
            url = clean(row.get("url"))
            captions = [c for name in _TEXTS for c in caption(row.get(name), "alt", clean(row.get("caption_license")))]
            meta = {key: value for key, value in row.items() if key not in _OWN and value not in (None, "")}
            yield {
                "source_key": url or f"{path.name}:{line}",
                "subset": clean(row.get("subset")) or config.subset,
                "url": url,
                "license": clean(row.get("license")),
                "author": clean(row.get("author")),
                "captions": captions[:1],
                "meta": as_json(meta),
                "bad": None if url else f"{path.name} line {line}: no URL",
            }


WEB = Source(
    name="web",
    collection="web",
    title="Web list",
    takes="a CSV, TSV or JSON Lines file with a column url (and name, caption, license, author); --subset landmark or celebrity",
    license=None,
    license_url=None,
    redistribute="urls",
    read=_read,
)
