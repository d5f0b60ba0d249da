"""Releases: complete, hashed over their content, verified against damage, exported in a form that others read."""

import hashlib
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.image_parquet import export_parquet
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release, find_release, list_releases
from captionlake.lake.releases.report import composition, excluded
from captionlake.lake.releases.verification import verify_release

EXCLUSION = {"detail": "", "keeper_source": None, "keeper_key": None, "similarity": None}


@pytest.fixture
def lake(lake: Lake, tile_folder: Callable[[int], Path]) -> Lake:
    ingest(lake, IngestConfig(source="folder", inputs=[str(tile_folder(12))], redistribute="bytes"))
    return lake


def draft(lake: Lake, version: str = "1.0.0", keep: int = 9) -> Draft:
    """The first rows are kept, the others are over quota."""
    rows = lake.arrow("SELECT source, source_key, image_id FROM images ORDER BY source_key").to_pylist()
    items = [row | {"split": "train"} for row in rows[:keep]]
    left = [
        {"source": r["source"], "source_key": r["source_key"], "reason": "over_quota"} | EXCLUSION for r in rows[keep:]
    ]
    exclusions = pl.DataFrame(
        left,
        schema={
            **dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String),
            "similarity": pl.Float64,
        },
    )
    return Draft(
        config=ReleaseConfig(name="tiles", version=version),
        recipe="[release]",
        snapshot=lake.snapshot(),
        items=pa.Table.from_pylist(items),
        exclusions=exclusions.to_arrow(),
        producers=["source"],
    )


def test_a_release_holds_its_rows_captions_and_exclusions(lake: Lake) -> None:
    release, new = create_release(lake, draft(lake))
    assert new and release.n_items == 9
    assert composition(lake, release) == [("folder", None, 9, 9)]
    assert excluded(lake, release) == [("folder", "over_quota", 3)]
    assert [r.label for r in list_releases(lake)] == ["tiles@1.0.0"]


def test_the_hash_is_what_the_documentation_says(lake: Lake) -> None:
    release, _ = create_release(lake, draft(lake))
    whole = hashlib.sha256()
    rows = lake.rows(
        "SELECT i.source, i.source_key, i.image_id, i.split, i.row_sha256, c.text FROM release_items i "
        "JOIN release_captions rc USING (name, version, position) JOIN captions c USING (caption_id) ORDER BY position"
    )
    for source, key, image_id, split, stored, text in rows:
        content = json.dumps(
            [source, key, image_id, split, [["human", text]]], ensure_ascii=False, separators=(",", ":")
        )
        assert hashlib.sha256(content.encode()).hexdigest() == stored
        whole.update(f"{stored}\n".encode())
    assert whole.hexdigest() == release.content_sha256


def test_the_same_again_is_the_same_and_other_content_is_refused(lake: Lake) -> None:
    first, _ = create_release(lake, draft(lake))
    second, new = create_release(lake, draft(lake))
    assert not new and second == first
    with pytest.raises(CaptionlakeError, match="new version"):
        create_release(lake, draft(lake, keep=8))
    other, new = create_release(lake, draft(lake, version="1.1.0", keep=8))
    assert new and other.content_sha256 != first.content_sha256
    assert verify_release(lake, "tiles@1.0.0").n_problems == 0


def test_a_choice_that_forgets_a_row_is_refused(lake: Lake) -> None:
    whole = draft(lake)
    forgetful = Draft(
        config=whole.config,
        recipe=whole.recipe,
        snapshot=whole.snapshot,
        items=whole.items.slice(1),
        exclusions=whole.exclusions,
        producers=whole.producers,
    )
    with pytest.raises(CaptionlakeError, match="account for every image"):
        create_release(lake, forgetful)
    assert list_releases(lake) == []


def test_an_unknown_release_names_those_that_are(lake: Lake) -> None:
    create_release(lake, draft(lake))
    with pytest.raises(CaptionlakeError, match=r"there are tiles@1\.0\.0"):
        find_release(lake, "tiles@2.0.0")


def test_verify_notices_a_changed_picture_and_a_changed_caption(lake: Lake) -> None:
    release, _ = create_release(lake, draft(lake))
    assert verify_release(lake, release.label).n_pictures == 9
    shard, offset = lake.rows("SELECT shard, \"offset\" FROM images WHERE source_key = '00000.jpg'")[0]
    with (lake.path / "images" / shard).open("r+b") as file:
        file.seek(offset + 20)
        file.write(b"\xff\x00\xff")
    found = verify_release(lake, release.label)
    assert found.n_problems == 1 and "bytes are not those" in found.problems[0]
    lake.commit(lambda c: c.execute("UPDATE captions SET text = 'another' WHERE source_key = '00003.jpg'"))
    found = verify_release(lake, release.label)
    assert found.n_problems == 3  # the picture, the row, and so the whole
    assert any("folder:00003.jpg" in problem for problem in found.problems)


def test_a_release_stays_what_it_was_while_the_lake_grows(lake: Lake, tmp_path: Path) -> None:
    release, _ = create_release(lake, draft(lake))
    more = tmp_path / "more"
    more.mkdir()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(more / "red.png")
    ingest(lake, IngestConfig(source="folder", inputs=[str(more)], collection="more"))
    assert verify_release(lake, release.label).n_problems == 0
    assert composition(lake, release) == [("folder", None, 9, 9)]


def test_export_is_read_by_datasets(lake: Lake, tmp_path: Path) -> None:
    release, _ = create_release(lake, draft(lake))
    counts = export_parquet(lake, release.label, tmp_path / "out")
    assert (counts.rows, counts.files, counts.withheld) == (9, 1, 0)
    from datasets import load_dataset

    loaded = load_dataset(
        "parquet",
        data_files=str(tmp_path / "out/data/train-*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert len(loaded) == 9
    first = loaded[0]
    assert first["image"].size == (64, 64)
    assert first["caption"] == "Tile number 0 of a photograph"
    assert first["captions"][0]["role"] == "human"
    raw = pq.read_table(tmp_path / "out/data")
    for row in raw.to_pylist():
        assert hashlib.sha256(row["image"]["bytes"]).hexdigest() == row["image_id"]
        assert Image.open(io.BytesIO(row["image"]["bytes"])).format == "JPEG"


@pytest.mark.parametrize(("allowed", "url"), [("urls", "http://host/0.jpg"), ("none", None)])
def test_export_carries_no_more_than_the_source_allows(
    lake: Lake, tmp_path: Path, allowed: str, url: str | None
) -> None:
    lake.commit(lambda c: c.execute("UPDATE sources SET redistribute = ?", [allowed]))
    lake.commit(lambda c: c.execute("UPDATE images SET url = 'http://host/0.jpg'"))
    create_release(lake, draft(lake))
    counts = export_parquet(lake, "tiles@1.0.0", tmp_path / "out")
    assert counts.withheld == 9
    rows = pq.read_table(tmp_path / "out/data").to_pylist()
    assert [row["image"] for row in rows] == [None] * 9
    assert {row["url"] for row in rows} == {url}


def _keep(connection: duckdb.DuckDBPyConnection, table: str, keys: str) -> None:
    connection.execute(f"UPDATE {table} SET source = 'kept' WHERE source_key IN {keys}")


def test_datasets_decodes_rows_with_and_without_pictures(lake: Lake, tmp_path: Path) -> None:
    from datasets import load_dataset

    keys = "('00000.jpg', '00004.jpg')"
    lake.commit(
        lambda c: c.execute(
            "INSERT INTO sources BY NAME SELECT 'kept' AS source, 'x' AS collection, 'urls' AS redistribute"
        )
    )
    for table in ("images", "captions"):
        lake.commit(partial(_keep, table=table, keys=keys))
    create_release(lake, draft(lake))
    assert export_parquet(lake, "tiles@1.0.0", tmp_path / "out").withheld == 2
    files, cache = str(tmp_path / "out/data/*.parquet"), str(tmp_path / "cache")
    for streaming in (False, True):
        loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=cache, streaming=streaming)
        sizes = {row["source_key"]: row["image"] and row["image"].size for row in loaded}
        assert len(sizes) == 9 and [key for key, size in sizes.items() if size is None] == ["00000.jpg", "00004.jpg"]
        assert set(sizes.values()) == {None, (64, 64)}


def test_export_appears_whole_or_not_at_all(lake: Lake, tmp_path: Path) -> None:
    create_release(lake, draft(lake))
    for shard in (lake.path / "images").iterdir():
        shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(CaptionlakeError, match="bytes are not those"):
        export_parquet(lake, "tiles@1.0.0", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    (tmp_path / "out").mkdir()
    with pytest.raises(CaptionlakeError, match="there already"):
        export_parquet(lake, "tiles@1.0.0", tmp_path / "out")
