"""Releases as tars of WebDataset: of each row KEY.json, KEY.txt where it is a caption, and the picture where it may be passed on."""

import io
import json
import tarfile
from collections.abc import Iterator
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from captionlake.lake.exports.image_parquet import ExportCounts
from captionlake.lake.exports.ordered import ordered_rows
from captionlake.lake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.releases.redacted import redacted_rows
from captionlake.lake.releases.release import Release
from captionlake.lake.shards import Locator

_ROWS_PER_TAR = 10_000
_BYTES_PER_TAR = 512 * 2**20


def write_webdataset(lake: Lake, release: Release, query: str, given: dict[str, Any], folder: Path) -> ExportCounts:
    """``000000.tar`` and so on; KEY is the row's position. A picture of a source that allows no copies is left out of its row."""
    counts = ExportCounts(redacted=len(redacted_rows(lake, release)))
    tars = _Tars(folder)
    try:
        with progress(f"export {release.label}", release.n_items) as advance:
            for table in ordered_rows(lake, query, given):
                pictures = _pictures(lake, release, table)
                for position, path, records in _rows(table):
                    picture = pictures.get(position)
                    allowed = picture is not None and picture["redistribute"] == "bytes"
                    counts.rows += 1
                    counts.withheld += picture is not None and not allowed
                    members = {}
                    if picture is not None and allowed:
                        members[_SUFFIX.get(picture["format"], picture["format"].lower())] = _read(lake, picture)
                    tars.add(f"{position:09d}", members | _texts(release, path, records, picture))
                    advance(1)
    finally:
        tars.close()
    counts.check(release)
    return counts


_SUFFIX = {"JPEG": "jpg"}


def _texts(
    release: Release, path: str | None, records: list[dict[str, Any]], picture: dict[str, Any] | None
) -> dict[str, bytes]:
    if release.kind == "sft":
        return {"json": _json(records[0])}
    assert picture is not None
    texts = [record["conversations"][1]["value"] for record in records]
    told = {name: picture[name] for name in ("source", "source_key", "image_id", "license", "author")}
    told |= {"url": picture["url"] if picture["redistribute"] != "none" else None, "path": path, "captions": texts}
    return ({"txt": texts[0].encode()} if texts else {}) | {"json": _json(told)}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _rows(table: pa.Table) -> Iterator[tuple[int, str | None, list[dict[str, Any]]]]:
    """(position, path, its rows as objects) of each position."""
    columns = (table.column(name).to_pylist() for name in ("position", "path", "record"))
    for position, group in groupby(zip(*columns, strict=True), key=itemgetter(0)):
        rows = list(group)
        yield position, rows[0][1], [json.loads(text.removesuffix(",\n")) for *_, text in rows if text is not None]


def _pictures(lake: Lake, release: Release, table: pa.Table) -> dict[int, dict[str, Any]]:
    """Where the pictures of these positions lie, and what may be done with them."""
    query = files("captionlake.lake").joinpath("sql/export_pictures.sql").read_text()
    first, last = table.column("position")[0].as_py(), table.column("position")[-1].as_py()
    given = {"name": release.name, "version": release.version, "first": first, "last": last}
    cursor = lake.connection.cursor().execute(query.replace(":snapshot", str(release.snapshot_id)), given)
    names = [column[0] for column in cursor.description or []]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}


def _read(lake: Lake, picture: dict[str, Any]) -> bytes:
    locator = Locator(**{name: picture[name] for name in ("shard", "row", "offset", "n_bytes")})
    return lake.picture_at(picture["image_id"], locator)


class _Tars:
    """Numbered tars; the members of a row stand together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tar: tarfile.TarFile | None = None
        self._number = self._rows = self._n_bytes = 0

    def add(self, key: str, members: dict[str, bytes]) -> None:
        """The files of one row by their suffixes."""
        if self._tar is None:
            self._tar = tarfile.TarFile(self._folder / f"{self._number:06d}.tar", "w")
        for suffix, data in members.items():
            info = tarfile.TarInfo(f"{key}.{suffix}")
            info.size = len(data)
            self._tar.addfile(info, io.BytesIO(data))
            self._n_bytes += len(data)
        self._rows += 1
        if self._rows >= _ROWS_PER_TAR or self._n_bytes >= _BYTES_PER_TAR:
            self.close()

    def close(self) -> None:
        """End the tar that is open."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None
            self._number += 1
            self._rows = self._n_bytes = 0
