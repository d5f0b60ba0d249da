"""Web lists: CSV, TSV or JSON Lines with a column ``url``, as for ShareGPT4V's landmarks and celebrities; or their
pictures at hand.

Origin: the user's own lists; ShareGPT4V's were 500 landmarks and 500 celebrities. Columns: ``url``; ``name`` (the
subject), ``caption``, ``text`` or ``alt`` become captions of kind ``alt``; ``license`` and ``author`` are the
picture's; ``subset`` overrides the list's; all others go into ``meta``. The key of a row is its URL. The pictures
belong to their owners, so releases carry URLs.

ShareGPT4V's users also have the pictures as ``web-landmark.zip`` and ``web-celebrity.zip``, named by their subjects.
A zip, a tar or a folder of such is an input as well: the key is the path within, and ``meta.name`` the file's name
with spaces for underscores. That is no caption: nobody wrote it about the picture.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import row_for
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.picture_files import holds_pictures, picture_members
from captionlake.lake.sources.rows import read_rows
from captionlake.lake.sources.source import Row, Source, as_json, caption, clean, frames

_TEXTS = ("caption", "text", "alt", "name")
_OWN = {"url", "license", "author", "subset", "caption", "text", "alt", "caption_license"}


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    if not config.inputs and not config.archives:
        raise CaptionlakeError(
            "the source web needs a list: give a .csv, .tsv or .jsonl file with a column url, or a zip or folder of pictures"
        )
    return frames(_rows(config))


def _rows(config: IngestConfig) -> Iterator[Row]:
    for path in map(Path, [*config.inputs, *config.archives]):
        yield from _pictures(path, config) if holds_pictures(path) else _listed(path, config)


def _listed(path: Path, config: IngestConfig) -> Iterator[Row]:
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


def _pictures(path: Path, config: IngestConfig) -> Iterator[Row]:
    found = False
    for member in picture_members(path):
        found = True
        name = clean(PurePosixPath(member.name).stem.replace("_", " "))
        yield {
            "source_key": member.name,
            "subset": config.subset,
            "meta": as_json({"name": name} if name else {}),
            **row_for(member=member, archive=path),
        }
    if not found:
        raise CaptionlakeError(
            f"{path} holds no pictures: give a .csv, .tsv or .jsonl list, or a zip or folder of pictures"
        )


WEB = Source(
    name="web",
    collection="web",
    title="Web list",
    takes="a CSV, TSV or JSON Lines file with a column url (and name, caption, license, author), or a zip, tar or folder of "
    "pictures named by their subjects; --subset landmark or celebrity",
    license=None,
    license_url=None,
    redistribute="urls",
    read=_read,
)
