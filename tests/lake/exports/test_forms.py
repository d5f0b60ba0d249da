"""Releases in the forms that others read, read back by these others."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports import ordered
from captionlake.lake.exports.forms import QUESTION, export_release, record_query
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release, find_release
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.sft.importing import import_conversations
from captionlake.lake.sft.paths import path_query, place_of_path
from captionlake.lake.sft.sft_release import SftDraft, create_sft_release
from captionlake.lake.sources.sharegpt4v import place_of

from ...official import sharegpt4v

NAMES = {"coco": ["00000.jpg", "00001.jpg"], "sam": ["sa_1.jpg"]}


@pytest.fixture
def lake(lake: Lake, tile_folder: Callable[[int], Path]) -> Lake:
    """Twelve pictures of COCO with a caption each, and six conversations, three of them on two of the pictures."""
    folder = tile_folder(12)
    ingest(lake, IngestConfig(source="folder", inputs=[str(folder)], collection="coco", redistribute="bytes"))
    rows = sharegpt4v.mix(NAMES)
    rows[3]["image"] = "coco/train2017/00001.jpg"
    rows[4] |= {"model": "ä", "image": None}
    import_conversations(lake, sharegpt4v.write(folder.parent / "mix.json", rows))
    return lake


@pytest.fixture
def images(lake: Lake) -> Lake:
    """With the release tiles@1.0.0 of all pictures."""
    none = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    draft = Draft(
        config=ReleaseConfig(name="tiles", version="1.0.0"),
        recipe="[release]",
        snapshot=lake.snapshot(),
        items=lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images"),
        exclusions=pl.DataFrame(schema={**none, "similarity": pl.Float64}).to_arrow(),
        producers=["source"],
    )
    create_release(lake, draft)
    return lake


@pytest.fixture
def sft(lake: Lake) -> Lake:
    """With the release mix@1.0.0 of all conversations, the last ones first."""
    create_sft_release(lake, sft_draft(lake))
    return lake


def sft_draft(lake: Lake, where: str = "true") -> SftDraft:
    items = lake.arrow(
        "SELECT row_number() OVER (ORDER BY origin DESC) - 1 AS position, conversation_id "
        f"FROM conversations WHERE {where}"
    )
    return SftDraft(
        config=ReleaseConfig(name="mix", version="1.0.0"), recipe="[mix]", snapshot=lake.snapshot(), items=items
    )


def test_a_release_of_conversations_is_verified(sft: Lake) -> None:
    release = find_release(sft, "mix@1.0.0")
    assert (release.kind, release.n_items) == ("sft", 6)
    found = verify_release(sft, "mix@1.0.0")
    assert (found.n_problems, found.n_items, found.n_pictures) == (0, 6, 2)
    again, new = create_sft_release(sft, sft_draft(sft))
    assert not new and again == release
    with pytest.raises(CaptionlakeError, match="give \\[release\\] a new version"):
        create_sft_release(sft, sft_draft(sft, "origin <> 'mix.json:1'"))


def test_its_hash_is_what_the_documentation_says(sft: Lake, tmp_path: Path) -> None:
    import hashlib

    export_release(sft, "mix@1.0.0", "llava-json", tmp_path / "out")
    records = json.loads((tmp_path / "out/mix-1.0.0.json").read_text())
    items = sft.rows("SELECT image_id, split, row_sha256 FROM release_items ORDER BY position")
    whole = hashlib.sha256()
    for record, (image_id, split, stored) in zip(records, items, strict=True):
        text = json.dumps([image_id, split, record], ensure_ascii=False, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == stored
        whole.update(f"{stored}\n".encode())
    assert whole.hexdigest() == find_release(sft, "mix@1.0.0").content_sha256


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE conversations SET turns = '[]' WHERE origin = 'mix.json:2'",
        "UPDATE conversations SET record = replace(record, 'coco', 'cocoa') WHERE origin = 'mix.json:2'",
        "DELETE FROM conversations WHERE origin = 'mix.json:2'",
        "UPDATE release_items SET image_id = NULL WHERE image_id IS NOT NULL AND position = 4",
    ],
)
def test_verify_notices_what_was_changed(sft: Lake, change: str) -> None:
    sft.commit(lambda c: c.execute(change))
    found = verify_release(sft, "mix@1.0.0")
    assert found.n_problems == 2 and "its turns or its picture" in found.problems[0]


@pytest.mark.parametrize("form", ["sharegpt4v-json", "llava-json"])
def test_json_of_conversations_imports_again_as_the_same(sft: Lake, tmp_path: Path, form: str) -> None:
    counts = export_release(sft, "mix@1.0.0", form, tmp_path / "out")
    assert (counts.rows, counts.files) == (6, 1)
    path = tmp_path / "out/mix-1.0.0.json"
    before = sft.rows("SELECT record, turns, image_paths, image_ids FROM conversations ORDER BY origin DESC")
    import_conversations(sft, path)
    query = "SELECT record, turns, image_paths, image_ids FROM conversations WHERE origin LIKE 'mix-1.0.0.json:%' ORDER BY origin"
    assert sft.rows(query) == before


def test_parquet_of_conversations_is_read_by_datasets(sft: Lake, tmp_path: Path) -> None:
    from datasets import load_dataset

    counts = export_release(sft, "mix@1.0.0", "parquet", tmp_path / "out")
    assert (counts.rows, counts.files) == (6, 1)
    files = str(tmp_path / "out/data/*.parquet")
    loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert [json.loads(row["record"]) for row in loaded] == [
        json.loads(text.replace('"conversations":null', f'"conversations":{turns}'))
        for text, turns in sft.rows("SELECT record, turns FROM conversations ORDER BY origin DESC")
    ]
    assert loaded[0]["id"] == "wg4v_7" and loaded[0]["image"] is None
    assert loaded[5]["conversations"][0] == {"from": "human", "value": "<image>\nWhat do you see?"}


def test_datasets_decodes_conversations_without_their_pictures(sft: Lake, tmp_path: Path) -> None:
    from datasets import load_dataset

    sft.commit(lambda c: c.execute("UPDATE sources SET redistribute = 'urls'"))
    counts = export_release(sft, "mix@1.0.0", "parquet", tmp_path / "out")
    assert (counts.rows, counts.withheld) == (6, 3)
    files = str(tmp_path / "out/data/*.parquet")
    loaded = list(load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")))
    ids = sft.rows("SELECT image_ids FROM conversations ORDER BY origin DESC")
    assert [(row["picture_ids"],) for row in loaded] == ids
    assert [row["pictures"] for row in loaded] == [[None] * len(some) for (some,) in ids]


def webdataset(folder: Path) -> list[dict[str, Any]]:
    import webdataset as wds

    tars = sorted(str(path) for path in folder.glob("*.tar"))
    return list(wds.WebDataset(tars, shardshuffle=False, empty_check=False))


def test_webdataset_of_images_is_read_by_webdataset(
    images: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captionlake.lake.exports.webdataset._ROWS_PER_TAR", 5)
    counts = export_release(images, "tiles@1.0.0", "webdataset", tmp_path / "out")
    assert (counts.rows, counts.files, counts.withheld) == (12, 3, 0)
    samples = webdataset(tmp_path / "out")
    rows = images.rows(
        "SELECT r.position, r.source_key, r.image_id, c.text FROM release_items r JOIN captions c USING (image_id) ORDER BY 1"
    )
    for sample, (position, key, image_id, text) in zip(samples, rows, strict=True):
        assert sample["__key__"] == f"{position:09d}" and sample["txt"].decode() == text
        assert sample["jpg"] == images.picture(image_id)
        assert Image.open(io.BytesIO(sample["jpg"])).format == "JPEG"
        told = json.loads(sample["json"])
        assert (told["source_key"], told["captions"], told["license"]) == (key, [text], "CC0-1.0")
        assert told["path"] == f"coco/train2017/{key}"


@pytest.mark.parametrize(("allowed", "url"), [("urls", "http://host/0.jpg"), ("none", None)])
def test_no_bytes_of_sources_that_allow_none(images: Lake, tmp_path: Path, allowed: str, url: str | None) -> None:
    images.commit(lambda c: c.execute("UPDATE sources SET redistribute = ?", [allowed]))
    images.commit(lambda c: c.execute("UPDATE images SET url = 'http://host/0.jpg'"))
    images.commit(lambda c: c.execute(f"UPDATE releases SET snapshot_id = {images.snapshot()}"))
    counts = export_release(images, "tiles@1.0.0", "webdataset", tmp_path / "out")
    assert (counts.rows, counts.withheld) == (12, 12)
    samples = webdataset(tmp_path / "out")
    assert {key for sample in samples for key in sample if not key.startswith("__")} == {"txt", "json"}
    assert {json.loads(sample["json"])["url"] for sample in samples} == {url}


def test_webdataset_of_conversations(sft: Lake, tmp_path: Path) -> None:
    counts = export_release(sft, "mix@1.0.0", "webdataset", tmp_path / "out")
    assert (counts.rows, counts.withheld) == (6, 0)
    samples = webdataset(tmp_path / "out")
    export_release(sft, "mix@1.0.0", "llava-json", tmp_path / "json")
    assert [json.loads(sample["json"]) for sample in samples] == json.loads(
        (tmp_path / "json/mix-1.0.0.json").read_text()
    )
    pictures = {json.loads(sample["json"])["image"] for sample in samples if "jpg" in sample}
    assert pictures == {"coco/train2017/00000.jpg", "coco/train2017/00001.jpg"}


@pytest.mark.parametrize("form", ["sharegpt4v-json", "llava-json"])
def test_json_of_images_is_of_the_released_form(images: Lake, tmp_path: Path, form: str) -> None:
    images.commit(lambda c: c.execute("DELETE FROM release_captions WHERE position = 3"))  # one without a caption
    counts = export_release(images, "tiles@1.0.0", form, tmp_path / "out")
    assert counts.rows == 11
    records = json.loads((tmp_path / "out/tiles-1.0.0.json").read_text())
    assert records[1] == {
        "id": "00001",
        "image": "coco/train2017/00001.jpg",
        "conversations": [
            {"from": "human", "value": f"<image>\n{QUESTION}"},
            {"from": "gpt", "value": "Tile number 1 of a photograph"},
        ],
    }
    assert import_conversations(images, tmp_path / "out/tiles-1.0.0.json").in_lake == 11


@pytest.mark.parametrize(("label", "texts"), [("tiles@1.0.0", "captions"), ("mix@1.0.0", "conversations")])
def test_an_export_holds_no_texts(images: Lake, label: str, texts: str) -> None:
    """In each join, the side that is held (the right one) is that without the texts."""
    create_sft_release(images, sft_draft(images))
    query, parameters = record_query(find_release(images, label))
    with images.joins_as_written():
        plan = json.loads(images.rows(f"EXPLAIN (FORMAT json) {query}", parameters)[0][1])
    pending, read = list(plan), 0
    held: list[dict[str, Any]] = []
    while pending:
        node = pending.pop()
        read += _scans(node, texts) and not node["children"]
        pending += node["children"]
        held += node["children"][1:] if "JOIN" in node["name"] else []
    assert held and read and not any(_scans(node, texts) for node in held)


def _scans(node: dict[str, Any], table: str) -> bool:
    return node["extra_info"].get("Table") == table or any(_scans(child, table) for child in node["children"])


def test_a_failed_export_leaves_nothing(sft: Lake, tmp_path: Path) -> None:
    sft.commit(lambda c: c.execute("DELETE FROM conversations WHERE origin = 'mix.json:2'"))
    sft.commit(lambda c: c.execute(f"UPDATE releases SET snapshot_id = {sft.snapshot()}"))
    for form in ("llava-json", "webdataset"):
        with pytest.raises(CaptionlakeError, match="run  captionlake release verify"):
            export_release(sft, "mix@1.0.0", form, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    (tmp_path / "out").mkdir()
    with pytest.raises(CaptionlakeError, match="there already"):
        export_release(sft, "mix@1.0.0", "llava-json", tmp_path / "out")


def test_paths_lead_back_to_their_pictures(lake: Lake) -> None:
    keys = [
        ("coco", "000000000009.jpg", None, "000000000009.jpg"),
        ("coco", "train2014/COCO_train2014_000000000025.jpg", None, "000000000025.jpg"),
        ("lcs", "00453/004539375.jpg", None, "00453/004539375.jpg"),
        ("sam", "sa_1.jpg", None, "sa_1.jpg"),
        ("textcaps", "0004c9478eeda995", None, "0004c9478eeda995"),
        ("wikiart", "Realism/vincent-van-gogh_wheat-1889.jpg", None, "vincent-van-gogh_wheat-1889.jpg"),
    ]
    row = (
        "? AS collection, ? AS source_key, ?::VARCHAR AS subset, '{}'::JSON AS meta, 'a1' AS image_id, 'JPEG' AS format"
    )
    query = f"SELECT {path_query()} FROM (SELECT {row})"
    for collection, key, subset, back in keys:
        path = lake.value(query, [collection, key, subset])
        assert place_of(path) == (collection, subset, back)
    assert lake.value(query, ["web", "https://a.invalid/1.jpg", "landmark"]) == "web/images/a1.jpg"
    named = query.replace("'{}'", """'{"name": "Ada Lovelace"}'""")
    assert place_of(lake.value(named, ["web", "https://a.invalid/1.jpg", "celebrity"])) == (
        "web",
        "celebrity",
        "Ada Lovelace.jpg",
    )
    found = place_of_path(lake.value(query, ["gqa", "images/7.jpg", None]))
    assert found is not None and (found.collection, found.stem) == ("gqa", "7")


def test_release_commands(sft: Lake, tmp_path: Path) -> None:
    folder = str(sft.path)

    def run(*arguments: str) -> str:
        return CliRunner().invoke(captionlake, [*arguments, "--lake", folder], catch_exceptions=False).stdout

    shown = json.loads(run("release", "show", "mix@1.0.0", "--json"))
    assert {row["part"]: row["items"] for row in shown["composition"]} == {
        "coco/train2017": 3, "sam/images": 1, "text": 2,
    }  # fmt: skip
    assert "coco/train2017" in run("release", "show", "mix@1.0.0") and "sft" in run("release", "list")
    assert "valid" in run("release", "verify", "mix@1.0.0")
    assert "6 rows" in run("release", "export", "mix@1.0.0", str(tmp_path / "out"), "--to", "sharegpt4v-json")
    query = "SELECT position, turns->0->>'from' FROM conversations ORDER BY 1 LIMIT 1"
    assert json.loads(run("sql", query, "--release", "mix@1.0.0", "--json"))["rows"][0]["position"] == 0


@given(st.permutations(list(range(40))), st.integers(1, 9), st.integers(1, 400))
def test_rows_come_in_order_whatever_waits(order: list[int], size: int, waiting: int) -> None:
    import tempfile
    from unittest import mock

    table = pa.table(
        {"position": [n // 2 for n in order], "ordinal": [n % 2 for n in order], "record": [str(n) for n in order]}
    )
    with tempfile.TemporaryDirectory() as folder, mock.patch.multiple(ordered, ROWS_PER_RANGE=size, _WAITING=waiting):
        ranges = {n: len([p for p in range(40) if p // 2 // size == n]) for n in range(-(-20 // size))}
        found = list(ordered.in_order(table.to_batches(max_chunksize=7), ranges, Path(folder)))
        assert list(Path(folder).iterdir()) == []
    assert [int(text) for part in found for text in part.column("record").to_pylist()] == list(range(40))
    assert len(found) == len(ranges)
