"""Folders: captions and further columns, every row accounted for, hostile names, reruns, several processes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig


def folder_config(folder: Path, *tables: Path, **options: object) -> IngestConfig:
    return IngestConfig(source="folder", inputs=[str(folder), *map(str, tables)], **options)  # type: ignore[arg-type]


def test_pictures_captions_and_further_columns(lake: Lake, tile_folder: Callable[[int], Path]) -> None:
    folder = tile_folder(12)
    counts = ingest(lake, folder_config(folder, collection="tiles"))
    assert (counts.listed, counts.images, counts.captions, counts.failures) == (12, 12, 12, 0)
    row = lake.rows(
        "SELECT source, source_key, collection, license, author, width, height, format, meta FROM images ORDER BY source_key"
    )[0]
    assert row[:8] == ("folder-tiles", "00000.jpg", "tiles", "CC0-1.0", "Somebody", 64, 64, "JPEG")
    assert json.loads(row[8]) == {"mood": "mood 0"}
    text = lake.rows("SELECT kind, producer, text, chars, words FROM captions WHERE source_key = '00003.jpg'")
    assert text == [("human", "source", "Tile number 3 of a photograph", 29, 6)]
    for key, image_id in lake.rows("SELECT source_key, image_id FROM images"):
        assert lake.picture(image_id) == (folder / key).read_bytes()


def test_a_second_run_finds_all_present(lake: Lake, tile_folder: Callable[[int], Path]) -> None:
    folder = tile_folder(5)
    ingest(lake, folder_config(folder))
    before = lake.rows("SELECT * FROM images ORDER BY ALL")
    counts = ingest(lake, folder_config(folder))
    assert (counts.listed, counts.present, counts.images) == (5, 5, 0)
    assert lake.rows("SELECT * FROM images ORDER BY ALL") == before


def test_every_bad_row_has_its_reason(lake: Lake, tmp_path: Path, photographs: dict[str, Image.Image]) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    photographs["chelsea"].save(folder / "good.png")
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "page.jpg").write_text("<!doctype html><html><body>Not found</body></html>")
    (folder / "empty.jpg").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(whole)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    rows = [
        {"file_name": name, "caption": "x"}
        for name in (
            "good.png",
            "cut.png",
            "page.jpg",
            "empty.jpg",
            "link.png",
            "gone.jpg",
            "../secret.png",
            "/etc/hostname",
        )
    ]
    table = tmp_path / "captions.jsonl"
    table.write_text("\n".join(json.dumps(row) for row in [*rows, {"file_name": None, "caption": "no name"}]))
    counts = ingest(lake, folder_config(folder, table))
    assert counts.listed == counts.images + counts.failures == 9
    found = dict(lake.rows("SELECT source_key, reason FROM fetch_failures"))
    assert found == {
        "cut.png": "truncated",
        "page.jpg": "not_an_image",
        "empty.jpg": "not_an_image",
        "link.png": "unsafe_member",
        "gone.jpg": "missing_member",
        "../secret.png": "unsafe_member",
        "/etc/hostname": "unsafe_member",
        "captions.jsonl:9": "bad_row",
    }
    assert lake.rows("SELECT source_key FROM images") == [("good.png",)]


def test_what_failed_can_be_tried_again(lake: Lake, tmp_path: Path, photographs: dict[str, Image.Image]) -> None:
    folder = tmp_path / "later"
    folder.mkdir()
    (folder / "metadata.csv").write_text("file_name,caption\na.png,A cat\n")
    assert ingest(lake, folder_config(folder)).failures == 1
    photographs["chelsea"].save(folder / "a.png")
    assert ingest(lake, folder_config(folder)).failed_before == 1
    counts = ingest(lake, folder_config(folder, retry_failed=True))
    assert (counts.images, counts.failures) == (1, 0)
    assert lake.value("SELECT count(*) FROM fetch_failures") == 0
    assert lake.value("SELECT count(*) FROM captions") == 1


def test_a_failure_that_stays_counts_its_attempts(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "metadata.csv").write_text("file_name\na.png\n")
    ingest(lake, folder_config(folder))
    ingest(lake, folder_config(folder, retry_failed=True))
    assert lake.rows("SELECT reason, attempts FROM fetch_failures") == [("missing_member", 2)]


def test_the_same_bytes_are_stored_once(lake: Lake, tmp_path: Path, photographs: dict[str, Image.Image]) -> None:
    folder = tmp_path / "twins"
    folder.mkdir()
    photographs["coffee"].save(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    ingest(lake, folder_config(folder))
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    ingest(lake, folder_config(folder))
    assert lake.value("SELECT count(*) FROM images") == 3
    assert lake.value('SELECT count(DISTINCT (shard, "row", "offset")) FROM images') == 1
    assert len(list((lake.path / "images").iterdir())) == 2  # the first is empty


def test_captions_that_come_after_their_pictures(
    lake: Lake, tmp_path: Path, photographs: dict[str, Image.Image]
) -> None:
    """Also several rows of one picture, and the same rows again."""
    folder = tmp_path / "plain"
    folder.mkdir()
    photographs["coffee"].save(folder / "a.png")
    assert ingest(lake, folder_config(folder)).captions == 0
    table = tmp_path / "late.csv"
    table.write_text("file_name,caption\na.png,A cup\na.png,A cup of coffee\na.png,A cup\n")
    counts = ingest(lake, folder_config(folder, table))
    assert (counts.present, counts.repeated, counts.captions) == (1, 2, 2)
    assert ingest(lake, folder_config(folder, table)).captions == 0
    assert lake.rows("SELECT text FROM captions ORDER BY 1") == [("A cup",), ("A cup of coffee",)]


def test_another_folder_under_the_same_keys_is_refused(
    lake: Lake, tmp_path: Path, photographs: dict[str, Image.Image]
) -> None:
    for name, picture in (("one", "coffee"), ("two", "rocket")):
        (tmp_path / name).mkdir()
        photographs[picture].save(tmp_path / name / "1.png")
    ingest(lake, folder_config(tmp_path / "one"))
    with pytest.raises(CaptionlakeError, match="--collection"):
        ingest(lake, folder_config(tmp_path / "two"))
    assert ingest(lake, folder_config(tmp_path / "two", collection="two")).images == 1


def test_odd_file_names_come_in(lake: Lake, tmp_path: Path, tiles: Callable[[int], list[bytes]]) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    names = ["12:30.jpg", "a\\b.jpg", "ein Bild.jpg", "\u00fc.jpg", "'; DROP TABLE images; --.jpg"]
    for name, data in zip(names, tiles(len(names)), strict=True):
        (folder / name).write_bytes(data)
    assert ingest(lake, folder_config(folder)).images == len(names)
    assert [key for (key,) in lake.rows("SELECT source_key FROM images ORDER BY 1")] == sorted(names)


def test_a_file_name_that_is_not_utf_8_is_a_recorded_failure(
    lake: Lake, tmp_path: Path, tiles: Callable[[int], list[bytes]]
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(tiles(1)[0])
    counts = ingest(lake, folder_config(folder))
    assert (counts.listed, counts.images, counts.failures) == (1, 0, 1)
    assert lake.rows("SELECT reason FROM fetch_failures") == [("bad_row",)]


def test_image_bytes_shows_committed_pictures_alone(lake: Lake, tile_folder: Callable[[int], Path]) -> None:
    ingest(lake, folder_config(tile_folder(3)))
    stray = lake.path / "images" / "shard-000099.parquet"
    stray.write_bytes((lake.path / "images" / "shard-000001.parquet").read_bytes())
    with Lake.open(lake.path) as again:
        assert again.value("SELECT count(*) FROM image_bytes") == 3
        assert again.value("SELECT bool_and(sha256(bytes) = image_id) FROM image_bytes")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_a_folder_tells_the_same(lake: Lake, tile_folder: Callable[[int], Path], kind: str) -> None:
    """The table, which a folder has in itself, is given beside the archive."""
    folder = tile_folder(9)
    ingest(lake, folder_config(folder, collection="loose"))
    archive = Path(shutil.make_archive(str(folder.parent / "packed"), kind, folder))
    counts = ingest(lake, folder_config(archive, folder / "metadata.csv", collection="packed"))
    assert (counts.listed, counts.images, counts.captions) == (9, 9, 9)
    query = "SELECT source_key, image_id, license, author, meta FROM images WHERE collection = ? ORDER BY 1"
    assert lake.rows(query, ["loose"]) == lake.rows(query, ["packed"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.csv", b"picture,caption\na.jpg,x\n", "line 1: no column `file_name` or `file`"),
        ("c.csv", b"file_name,caption\na.jpg,x\nb.jpg,y,z\n", "line 3: 3 fields where the header has 2"),
        ("c.csv", b'file_name,caption\na.jpg,"x\n', "line"),
        ("c.csv", b"", "empty"),
        ("c.csv", b"file_name,caption\na.jpg,\xff\xfe\n", "line 2: not UTF-8"),
        ("c.csv", b"file_name,caption\n" + b"a.jpg,some text\n" * 3000 + b"a.jpg,\xff\n", "line 3002: not UTF-8"),
        ("c.jsonl", b'{"file_name": "a"}\n{"file_name": \n', "line 2: not JSON"),
        ("c.jsonl", b'{"file_name": "a"}\n[1]\n', "line 2: not a JSON object"),
        ("c.txt", b"a.jpg", "not a table"),
    ],
)
def test_a_malformed_table_is_one_line_with_its_line(
    lake: Lake, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CaptionlakeError) as caught:
        ingest(lake, folder_config(tmp_path / "pictures", tmp_path / name))
    assert said in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)
    assert lake.value("SELECT count(*) FROM images") == 0
    assert list((lake.path / "staging").iterdir()) == []


def test_a_missing_folder_is_told(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match="exactly one folder"):
        ingest(lake, folder_config(tmp_path / "nowhere"))


INGEST = """
import sys
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
with Lake.open(sys.argv[1]) as lake:
    ingest(lake, IngestConfig(source="folder", inputs=[sys.argv[2]], collection=sys.argv[3]))
"""


def test_two_processes_ingest_at_once(lake: Lake, tile_folder: Callable[[int], Path]) -> None:
    """The same folder twice as one source, and beside it as another: nothing lost, nothing double."""
    folder = tile_folder(150)
    lake.close()
    jobs = [
        subprocess.Popen([sys.executable, "-c", INGEST, str(lake.path), str(folder), name])
        for name in ("one", "one", "two")
    ]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    with Lake.open(lake.path) as again:
        found = again.rows("SELECT source, count(*), count(DISTINCT source_key) FROM images GROUP BY 1 ORDER BY 1")
        assert found == [("folder-one", 150, 150), ("folder-two", 150, 150)]
        assert again.value("SELECT count(*) FROM captions") == 300
        ids = [image_id for (image_id,) in again.rows("SELECT DISTINCT image_id FROM images")]
        assert len(dict(again.pictures(ids))) == 150
