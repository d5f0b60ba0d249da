"""Releases with rows whose picture was taken down: verified and exported without them, and they are counted."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.forms import export_release
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release
from captionlake.lake.releases.verification import verify_release

LABEL = "tiles@1.0.0"
GONE = '"position" IN (2, 5)'


@pytest.fixture
def lake(lake: Lake, tile_folder: Callable[[int], Path]) -> Lake:
    """A release of eight pictures, two of which left it."""
    ingest(lake, IngestConfig(source="folder", inputs=[str(tile_folder(8))], redistribute="bytes"))
    none = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    create_release(
        lake,
        Draft(
            config=ReleaseConfig(name="tiles", version="1.0.0"),
            recipe="[release]",
            snapshot=lake.snapshot(),
            items=lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images"),
            exclusions=pl.DataFrame(schema={**none, "similarity": pl.Float64}).to_arrow(),
            producers=["source"],
        ),
    )
    for change in (
        f"DELETE FROM images WHERE image_id IN (SELECT image_id FROM release_items WHERE {GONE})",
        f"DELETE FROM captions WHERE image_id IN (SELECT image_id FROM release_items WHERE {GONE})",
        f"DELETE FROM release_captions WHERE {GONE}",
        f"UPDATE release_items SET source = NULL, source_key = NULL, image_id = NULL WHERE {GONE}",
        "UPDATE releases SET state = 'redacted'",
    ):
        lake.commit(lambda c, change=change: c.execute(change))  # type: ignore[misc]
    lake.commit(lambda c: c.execute("UPDATE releases SET snapshot_id = ?", [lake.snapshot()]))
    return lake


def test_it_is_valid_except_what_was_taken_down(lake: Lake) -> None:
    found = verify_release(lake, LABEL)
    assert (found.n_problems, found.n_items, found.n_pictures, found.n_redacted) == (0, 8, 6, 2)
    assert found.said == "valid except 2 redacted"


def test_a_hole_that_no_takedown_made_is_told(lake: Lake) -> None:
    lake.commit(lambda c: c.execute("UPDATE releases SET state = 'valid'"))
    assert "no takedown says so" in verify_release(lake, LABEL).problems[0]


def test_a_hole_with_another_hash_is_told(lake: Lake) -> None:
    lake.commit(lambda c: c.execute(f"UPDATE release_items SET row_sha256 = repeat('0', 64) WHERE {GONE}"))
    assert "content hash" in verify_release(lake, LABEL).problems[0]


@pytest.mark.parametrize("form", ["parquet", "webdataset", "llava-json"])
def test_what_is_exported_is_what_is_left(lake: Lake, tmp_path: Path, form: str) -> None:
    counts = export_release(lake, LABEL, form, tmp_path / "out")
    assert counts.rows == 6
    if form == "parquet":
        assert counts.redacted == 2
        (path,) = (tmp_path / "out/data").iterdir()
        assert pq.read_table(path)["position"].to_pylist() == [0, 1, 3, 4, 6, 7]
        told = json.loads(pq.read_schema(path).metadata[b"captionlake"])
        hashes = lake.rows(f'SELECT "position", row_sha256, split FROM release_items WHERE {GONE} ORDER BY 1')
        assert told["redacted"] == [list(row) for row in hashes]


def test_a_row_that_is_lacking_is_no_redacted_one(lake: Lake, tmp_path: Path) -> None:
    lake.commit(lambda c: c.execute("DELETE FROM images WHERE source_key = '00000.jpg'"))
    lake.commit(lambda c: c.execute("UPDATE releases SET snapshot_id = ?", [lake.snapshot()]))
    with pytest.raises(CaptionlakeError, match="only 5 of the 6 rows"):
        export_release(lake, LABEL, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_shard_is_told_once_with_its_rows(lake: Lake) -> None:
    for (shard,) in lake.rows("SELECT DISTINCT shard FROM images"):
        (lake.path / "images" / shard).unlink()
    found = verify_release(lake, LABEL)
    assert found.n_problems == 1 and "6 pictures of the release" in found.problems[0]
