"""A folder of your own images (or a zip or tar of one), with an optional table of captions.

Inputs: the folder, and CSV, TSV or JSON Lines files; a ``metadata.csv`` or ``metadata.jsonl`` in the folder (the form
of the Hub's ImageFolder) is found by itself. Columns: ``file_name`` or ``file`` (relative to the folder), ``caption``
or ``text`` (kind ``human``), ``alt`` (kind ``alt``), ``caption_license``, ``license``, ``author``, ``subset``; all
others go into ``meta``. Pictures without a row come in without a caption; rows without a picture are recorded as
failures. The key is the path within the folder.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import row_for
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.picture_files import holds_pictures, picture_members
from captionlake.lake.sources.rows import read_rows
from captionlake.lake.sources.source import Row, Source, as_json, caption, clean, frames

_NAMES = ("file_name", "file")
_OWN = {*_NAMES, "caption", "text", "alt", "caption_license", "license", "author", "subset"}
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    return frames(_rows(config))


def _rows(config: IngestConfig) -> Iterator[Row]:
    paths = [Path(name) for name in (*config.inputs, *config.archives)]
    folders = [path for path in paths if holds_pictures(path)]
    tables = [path for path in paths if path not in folders]
    if len(folders) != 1:
        raise CaptionlakeError(
            "the source folder needs exactly one folder: give DIR, and a .csv or .jsonl of captions if you have one"
        )
    folder = folders[0]
    missing = [str(path) for path in tables if not path.is_file()]
    if missing:
        raise CaptionlakeError(f"no such file or folder: {', '.join(missing)}: check the path")
    if not tables:
        tables = [folder / f"metadata{suffix}" for suffix in _TABLES if (folder / f"metadata{suffix}").is_file()]
    described: set[str] = set()
    for path in tables:
        for line, row in read_rows(path, required=_NAMES):
            name = next((text for key in _NAMES if (text := clean(row.get(key)))), None)
            if name is not None:
                described.add(Path(name).as_posix())
            yield _row(folder, path, line, name, row, config)
    for member in picture_members(folder):
        if member.name not in described:
            yield {
                "source_key": member.name,
                "subset": config.subset,
                "meta": "{}",
                **row_for(member=member, archive=folder),
            }


def _row(folder: Path, path: Path, line: int, name: str | None, row: dict[str, Any], config: IngestConfig) -> Row:
    license = clean(row.get("caption_license"))
    texts = caption(row.get("caption"), "human", license) or caption(row.get("text"), "human", license)
    meta = {key: value for key, value in row.items() if key not in _OWN and value not in (None, "")}
    return {
        "source_key": Path(name).as_posix() if name else f"{path.name}:{line}",
        "subset": clean(row.get("subset")) or config.subset,
        "archive": str(folder),
        "member": name,
        "license": clean(row.get("license")),
        "author": clean(row.get("author")),
        "captions": [*texts, *caption(row.get("alt"), "alt", license)],
        "meta": as_json(meta),
        "bad": None if name else f"{path.name} line {line}: no file name",
    }


FOLDER = Source(
    name="folder",
    collection="folder",
    title="Folder of images",
    takes="a folder of images, and a .csv, .tsv or .jsonl with file_name and caption (or metadata.csv/.jsonl inside the folder)",
    license=None,
    license_url=None,
    redistribute="none",
    read=_read,
)
