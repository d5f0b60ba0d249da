"""A release as Parquet files in the form of the Hub: an ``image`` of bytes and path, its captions, its source and licence.

Bytes go in only for sources whose ``redistribute`` is ``bytes``; for ``urls`` the row carries the URL and the hash, for ``none`` the hash
alone, and ``image`` is null. The schema carries the Hub's feature types, so that ``datasets.load_dataset("parquet", …)`` decodes the
pictures. Rows go from the database into the files as Arrow columns; pictures are read, checked and written by several threads.
"""

import shutil
import uuid
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from captionlake.errors import CaptionlakeError
from captionlake.lake.exports.ahead import ahead
from captionlake.lake.exports.ordered import ordered_rows, ranges_of
from captionlake.lake.exports.split_writer import (
    BYTES_PER_GROUP,
    PICTURE,
    ROWS_PER_GROUP,
    SplitWriter,
    described,
    told_of,
)
from captionlake.lake.lake import Lake
from captionlake.lake.parallel_reader import ParallelReader
from captionlake.lake.progress import progress
from captionlake.lake.releases.redacted import redacted_rows
from captionlake.lake.releases.release import Release, find_release
from captionlake.lake.shards import Locator

_TEXTS = ("source", "source_key", "collection", "subset", "url", "license", "author")
_OF_CAPTION = (
    "text",
    "role",
    "kind",
    "producer",
    "producer_revision",
    "prompt_id",
    "prompt_sha256",
    "params",
    "license",
)
_CAPTION = pa.struct(
    [
        *((name, pa.string()) for name in _OF_CAPTION),
        ("caption_id", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("from_source", pa.bool_()),  # it came with this row; another one was made from the picture
    ]
)
SCHEMA = pa.schema(
    [
        ("image", PICTURE),
        ("caption", pa.string()),
        ("captions", pa.list_(_CAPTION)),
        ("image_id", pa.string()),
        *((name, pa.string()) for name in _TEXTS),
        ("redistribute", pa.string()),
        ("split", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("row_sha256", pa.string()),
        ("position", pa.int64()),
    ]
)
_PICTURES = "image.bytes"


@dataclass(slots=True)
class ExportCounts:
    """What was written; ``withheld`` counts rows whose picture's bytes their source does not let us pass on, ``redacted`` those whose
    picture was taken down: they are not among ``rows``."""

    rows: int = 0
    files: int = 0
    n_bytes: int = 0
    withheld: int = 0
    redacted: int = 0

    def check(self, release: Release) -> None:
        """Raise where a row of the release is lacking."""
        if self.rows + self.redacted != release.n_items:
            raise CaptionlakeError(
                f"only {self.rows:,} of the {release.n_items - self.redacted:,} rows of {release.label} are there: "
                "run  captionlake release verify"
            )


def export_parquet(lake: Lake, label: str, folder: Path, *, own_use: bool = False) -> ExportCounts:
    """Write ``folder/data/SPLIT-00000-of-0000N.parquet``. The folder appears whole or not at all.

    ``own_use``: the pictures of all sources go in, also where they are not to be passed on.
    """
    release = find_release(lake, label)
    folder = folder.expanduser().absolute()
    if folder.exists():
        raise CaptionlakeError(f"{folder} is there already: remove it, or export into a new folder")
    staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    gone = redacted_rows(lake, release)
    counts = ExportCounts(redacted=len(gone))
    schema = described(SCHEMA, release, sources=_sources(lake, release), **told_of(lake, release))
    try:
        (staging / "data").mkdir(parents=True)
        splits = lake.rows(
            "SELECT DISTINCT split FROM release_items WHERE name = ? AND version = ? AND source IS NOT NULL ORDER BY 1",
            [release.name, release.version],
        )
        with progress(f"export {label}", release.n_items) as advance, ParallelReader(lake.images) as reader:
            for (split,) in splits:
                writer = SplitWriter(staging / "data", split, schema, _PICTURES)
                with (
                    closing(_parts(lake, release, split)) as parts,
                    closing(ahead((_with_pictures(part, split, reader, own_use) for part in parts), most=1)) as made,
                ):
                    for group in made:
                        writer.write(group.replace_schema_metadata(schema.metadata))
                        counts.rows += group.num_rows
                        counts.withheld += group["image"].null_count
                        advance(group.num_rows)
                written = writer.close()
                counts.files += len(written)
                counts.n_bytes += sum(path.stat().st_size for path in written)
        counts.check(release)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return counts


def _parts(lake: Lake, release: Release, split: str) -> Generator[pa.Table]:
    """Rows of the query, one a caption, in order of position; all captions of a picture in one table, of a row group at most."""
    query, listed = (
        files("captionlake.lake").joinpath(f"sql/{name}.sql").read_text() for name in ("export_rows", "export_listed")
    )
    given = {"name": release.name, "version": release.version, "split": split}
    ranges = ranges_of(lake, listed, given)
    for table in ordered_rows(lake, query.replace(":snapshot", str(release.snapshot_id)), given, ranges):
        starts = _starts(table)
        sizes = table["n_bytes"].to_numpy()[starts]
        ends = [*starts[1:].tolist(), table.num_rows]
        first, rows, n_bytes = 0, 0, 0
        for start, end, size in zip(starts.tolist(), ends, sizes.tolist(), strict=True):
            if rows and (rows == ROWS_PER_GROUP or n_bytes + size > BYTES_PER_GROUP):
                yield table.slice(first, start - first)
                first, rows, n_bytes = start, 0, 0
            rows, n_bytes = rows + 1, n_bytes + size
            if end == table.num_rows:
                yield table.slice(first)


def _starts(table: pa.Table) -> npt.NDArray[np.int64]:
    """The first row of each position."""
    return np.flatnonzero(np.diff(table["position"].to_numpy(), prepend=-1))


def _with_pictures(part: pa.Table, split: str, reader: ParallelReader, own_use: bool) -> pa.Table:
    """A row group in the form of ``SCHEMA``."""
    starts = _starts(part)
    rows = part.take(pa.array(starts))
    captions = _captions(part, starts)
    allowed = pc.equal(rows["redistribute"], "bytes").to_numpy() | own_use
    suffix = pc.utf8_lower(rows["format"])
    paths = pc.if_else(pa.array(allowed), pc.binary_join_element_wise(rows["image_id"], suffix, "."), None)
    image = pa.StructArray.from_arrays(
        [_pictures(rows, allowed, reader), _flat(paths)], fields=list(PICTURE), mask=pa.array(~allowed)
    )
    first = pc.list_element(captions.filter(pc.greater(pc.list_value_length(captions), 0)), 0).field("text")
    caption = pc.replace_with_mask(
        pa.nulls(len(captions), pa.string()), pc.greater(pc.list_value_length(captions), 0), first
    )
    columns = {name: rows[name] for name in rows.column_names if name in SCHEMA.names}
    columns |= {"image": image, "caption": caption, "captions": captions}
    columns["split"] = pa.array([split] * len(rows), pa.string())
    columns["url"] = pc.if_else(pc.equal(rows["redistribute"], "none"), None, rows["url"])
    return pa.table([columns[field.name] for field in SCHEMA], names=SCHEMA.names).cast(SCHEMA)


def _captions(part: pa.Table, starts: npt.NDArray[np.int64]) -> pa.ListArray:
    """The captions of each position as a list."""
    there = part["text"].is_valid()
    before = np.concatenate([[0], np.cumsum(there.to_numpy())])
    told = part.filter(there)
    columns = {name: told["caption_license" if name == "license" else name] for name in _CAPTION.names}
    values = pa.StructArray.from_arrays(
        [_flat(columns[field.name]).cast(field.type) for field in _CAPTION], fields=list(_CAPTION)
    )
    return pa.ListArray.from_arrays(pa.array(before[[*starts, len(there)]], pa.int32()), values)


def _pictures(rows: pa.Table, allowed: npt.NDArray[np.bool_], reader: ParallelReader) -> pa.Array:
    """The bytes of each row's picture, null where they are not to go in. Raises with the rows whose pictures are not as stored."""
    wanted = rows.filter(pa.array(allowed))
    places = zip(*(wanted[name].to_pylist() for name in ("shard", "row", "offset", "n_bytes")), strict=True)
    ids = wanted["image_id"].to_pylist()
    data, problems = reader.read([(image_id, Locator(*place)) for image_id, place in zip(ids, places, strict=True)])
    wrong = [
        f"row {position} ({source}:{key}): {problem}"
        for position, source, key, problem in zip(
            *(wanted[name].to_pylist() for name in ("position", "source", "source_key")), problems, strict=True
        )
        if problem is not None
    ]
    if wrong:
        more = f"; and {len(wrong) - 1:,} more near it" if len(wrong) > 1 else ""
        raise CaptionlakeError(f"{wrong[0]}{more}; all are told by  captionlake release verify")
    sizes = np.where(allowed, rows["n_bytes"].to_numpy(), 0)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)  # a row group holds 64 MiB, or one picture
    there = pa.array(allowed).buffers()[1]
    return pa.Array.from_buffers(pa.binary(), len(rows), [there, pa.py_buffer(offsets), pa.py_buffer(data)])


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _sources(lake: Lake, release: Release) -> list[dict[str, Any]]:
    """What the lake says of the release's sources."""
    table = lake.arrow(
        "SELECT DISTINCT ON (source, collection) s.* FROM sources s SEMI JOIN release_items r ON r.source = s.source "
        "AND r.name = $name AND r.version = $version ORDER BY source, collection",
        {"name": release.name, "version": release.version},
    )
    found: list[dict[str, Any]] = table.to_pylist()
    return found
