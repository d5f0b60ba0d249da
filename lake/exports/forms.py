"""The forms of a release, by name, for releases of images and of conversations."""

import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import quote
from captionlake.lake.exports.image_parquet import ExportCounts, export_parquet
from captionlake.lake.exports.json_files import RECORD, write_json
from captionlake.lake.exports.sft_parquet import write_sft_parquet
from captionlake.lake.exports.webdataset import write_webdataset
from captionlake.lake.lake import Lake
from captionlake.lake.releases.release import Release, find_release
from captionlake.lake.runs import note_run
from captionlake.lake.sft.paths import path_query

# The one prompt of ShareGPT4V's pre-training; captions of a release carry no question of their own.
QUESTION = "Analyze the image in a comprehensive and detailed manner"


def export_release(
    lake: Lake, label: str, form: str, folder: Path, *, own_use: bool = False, note: bool = True
) -> ExportCounts:
    """Write a release in one of the forms ``parquet``, ``webdataset``, ``sharegpt4v-json`` and ``llava-json``.

    The folder appears whole or not at all. ``own_use``, of Parquet alone: with the pictures of all sources.
    ``note``: write down in ``runs`` where it went, which a takedown then names.
    """
    if own_use and form != "parquet":
        raise CaptionlakeError(f"all pictures for own use go into Parquet alone, not into {form}: leave out --own-use")
    folder = folder.expanduser().absolute()
    started = time.monotonic()
    counts = _export(lake, find_release(lake, label), form, folder, own_use=own_use)
    if not note:
        return counts
    told = asdict(counts) | {"seconds": round(time.monotonic() - started, 3)}
    note_run(lake, "export", target=label, detail={"folder": str(folder), "form": form}, counts=told)
    return counts


def _export(lake: Lake, release: Release, form: str, folder: Path, *, own_use: bool) -> ExportCounts:
    if form == "parquet" and release.kind == "images":
        return export_parquet(lake, release.label, folder, own_use=own_use)
    writers: dict[str, Callable[[Path], ExportCounts]] = {
        "parquet": lambda staging: write_sft_parquet(lake, release, *record_query(release), staging, own_use=own_use),
        "webdataset": lambda staging: write_webdataset(lake, release, *record_query(release), staging),
        "sharegpt4v-json": lambda staging: _json(lake, release, form, staging),
        "llava-json": lambda staging: _json(lake, release, form, staging),
    }
    if folder.exists():
        raise CaptionlakeError(f"{folder} is there already: remove it, or export into a new folder")
    staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        staging.mkdir(parents=True)
        counts = writers[form](staging)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    written = [path for path in folder.rglob("*") if path.is_file()]
    counts.files, counts.n_bytes = len(written), sum(path.stat().st_size for path in written)
    return counts


def _json(lake: Lake, release: Release, form: str, folder: Path) -> ExportCounts:
    query, given = record_query(release, bare_lcs=form == "llava-json")
    if release.kind == "images":  # not "record IS NOT NULL", for which the database would make each record twice
        query = f"SELECT position, ordinal, record FROM ({query}) WHERE captioned"
    path = folder / f"{release.name}-{release.version}.json"
    table = "release_items" if release.kind == "sft" else "release_captions"
    listed = (
        f"SELECT position FROM lake.{table} WHERE name = {quote(release.name)} AND version = {quote(release.version)}"
    )
    written = write_json(lake, query, given, path, listed=listed)
    return ExportCounts(rows=written.rows)


def record_query(release: Release, *, bare_lcs: bool = False) -> tuple[str, dict[str, Any]]:
    """SQL for (position, ordinal, path, record) of a release's rows, and its parameters. Of images, a row a caption (and ``captioned``).

    ``bare_lcs``: pictures of LCS by the paths of LLaVA's own list, ``00453/004539375.jpg``.
    """
    name = "export_conversations" if release.kind == "sft" else "export_records"
    text = files("captionlake.lake").joinpath(f"sql/{name}.sql").read_text()
    texts = {":snapshot": str(release.snapshot_id), ":record": RECORD, ":path": path_query()}
    for key, value in texts.items():
        text = text.replace(key, value)
    given: dict[str, Any] = {"name": release.name, "version": release.version}
    if release.kind == "images":
        given |= {"question": f"<image>\n{QUESTION}", "bare": bare_lcs}
    return text, given
