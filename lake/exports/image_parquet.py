"""A release as Parquet files in the form of the Hub: an ``image`` of bytes and path, its captions, its source and licence.

Bytes go in only for sources whose ``redistribute`` is ``bytes``; for ``urls`` the row carries the URL and the hash, for ``none`` the hash
alone. The schema carries the Hub's feature types, so that ``datasets.load_dataset("parquet", …)`` decodes the pictures.
"""

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.exports.split_writer import SplitWriter, described
from captionlake.lake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.releases.content import fetched
from captionlake.lake.releases.release import Release, find_release
from captionlake.lake.shards import Locator

_ROWS_PER_GROUP = 100

_TEXTS = ("source", "source_key", "collection", "subset", "url", "license", "author")
SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("caption", pa.string()),
        ("captions", pa.list_(pa.struct([(n, pa.string()) for n in ("text", "role", "producer", "license")]))),
        ("image_id", pa.string()),
        *((name, pa.string()) for name in _TEXTS),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("row_sha256", pa.string()),
        ("position", pa.int64()),
    ]
)


@dataclass(slots=True)
class ExportCounts:
    """What was written; ``withheld`` counts rows whose picture's bytes their source does not let us pass on."""

    rows: int = 0
    files: int = 0
    n_bytes: int = 0
    withheld: int = 0


def export_parquet(lake: Lake, label: str, folder: Path, *, own_use: bool = False) -> ExportCounts:
    """Write ``folder/data/SPLIT-00000-of-0000N.parquet``. The folder appears whole or not at all.

    ``own_use``: the pictures of all sources go in, also where they are not to be passed on.
    """
    release = find_release(lake, label)
    folder = folder.expanduser().absolute()
    if folder.exists():
        raise CaptionlakeError(f"{folder} is there already: remove it, or export into a new folder")
    staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    counts = ExportCounts()
    schema = described(SCHEMA, _features(), release)
    try:
        (staging / "data").mkdir(parents=True)
        splits = lake.rows(
            "SELECT DISTINCT split FROM release_items WHERE name = ? AND version = ? ORDER BY 1",
            [release.name, release.version],
        )
        with progress(f"export {label}", release.n_items) as advance:
            for (split,) in splits:
                writer = SplitWriter(staging / "data", split, schema, _ROWS_PER_GROUP)
                for row in _rows(lake, release, split, own_use):
                    counts.rows += 1
                    counts.withheld += row["image"]["bytes"] is None
                    writer.add(row, len(row["image"]["bytes"] or b"") + 1000)
                    advance(1)
                written = writer.close()
                counts.files += len(written)
                counts.n_bytes += sum(path.stat().st_size for path in written)
        if counts.rows != release.n_items:
            raise CaptionlakeError(
                f"only {counts.rows:,} of the {release.n_items:,} rows of {label} are there: run  captionlake release verify"
            )
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return counts


def _rows(lake: Lake, release: Release, split: str, own_use: bool) -> Iterator[dict[str, Any]]:
    query = files("captionlake.lake").joinpath("sql/export_rows.sql").read_text()
    query = query.replace(":snapshot", str(release.snapshot_id))
    given = {"name": release.name, "version": release.version, "split": split}
    cursor = lake.connection.cursor().execute(query, given)
    names = [column[0] for column in cursor.description or []]
    listed = (dict(zip(names, values, strict=True)) for values in fetched(cursor))
    for _, group in groupby(listed, key=itemgetter("position")):
        row, *others = group
        captions = [
            {"text": r["text"], "role": r["role"], "producer": r["producer"], "license": r["caption_license"]}
            for r in (row, *others)
            if r["text"] is not None
        ]
        image_id, allowed = row["image_id"], row["redistribute"]
        locator = Locator(shard=row["shard"], row=row["row"], offset=row["offset"], n_bytes=row["n_bytes"])
        data = lake.picture_at(image_id, locator) if own_use or allowed == "bytes" else None
        yield row | {
            "image": {"bytes": data, "path": f"{image_id}.{row['format'].lower()}" if data is not None else None},
            "url": row["url"] if allowed != "none" else None,
            "captions": captions,
            "caption": captions[0]["text"] if captions else None,
        }


def _features() -> dict[str, Any]:
    text = {"dtype": "string", "_type": "Value"}
    number = {"dtype": "int32", "_type": "Value"}
    captions = {"feature": dict.fromkeys(("text", "role", "producer", "license"), text), "_type": "List"}
    return (
        {"image": {"_type": "Image"}, "caption": text, "captions": captions, "image_id": text}
        | dict.fromkeys(_TEXTS, text)
        | {"width": number, "height": number, "row_sha256": text, "position": {"dtype": "int64", "_type": "Value"}}
    )
