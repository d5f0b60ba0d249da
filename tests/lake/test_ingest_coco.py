"""COCO's annotation files: captions in order, licences, pictures by URL and from archives, files that are not whole."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.guard import FetchPolicy
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.sources.coco import COCO as SOURCE

from .image_server import ImageServer, jpeg

LICENSES = [
    {
        "url": "http://creativecommons.org/licenses/by-nc-sa/2.0/",
        "id": 1,
        "name": "Attribution-NonCommercial-ShareAlike License",
    },
    {"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"},
]
INFO = {
    "description": "made up for a test",
    "url": "",
    "version": "1.0",
    "year": 2017,
    "contributor": "",
    "date_created": "",
}
TEXTS = ("A dog on a beach.", " Two dogs\nrun. ", "Ein Hund – 犬 🐕", 'He said "sit".', "Last.")


def annotations(images: list[dict[str, Any]], texts: tuple[str, ...] = TEXTS) -> dict[str, Any]:
    """A document as captions_train2017.json is laid out, captions of all images interleaved as there."""
    rows = [
        {"image_id": image["id"], "id": 1000 + n * len(images) + i, "caption": text}
        for n, text in enumerate(texts)
        for i, image in enumerate(images)
    ]
    return {"info": INFO, "images": images, "licenses": LICENSES, "annotations": rows}


def image(number: int, url: str = "http://images.cocodataset.org/train2017") -> dict[str, Any]:
    name = f"{number:012d}.jpg"
    return {
        "license": 4 if number % 2 else 1,
        "file_name": name,
        "coco_url": f"{url}/{name}",
        "height": 48,
        "width": 64,
        "date_captured": "2013-11-14 17:02:52",
        "flickr_url": f"http://farm7.staticflickr.com/6116/{number}.jpg",
        "id": number,
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes annotations; pycocotools, the format's own reader, must take them first."""

    def written(document: dict[str, Any]) -> Path:
        path = tmp_path / "captions_train2017.json"
        path.write_text(json.dumps(document))
        read = COCO(str(path))
        assert set(read.imgs) == {item["id"] for item in document["images"]}
        assert sum(map(len, read.imgToAnns.values())) == len(document["annotations"])
        return path

    return written


def coco(lake: Lake, path: Path, *archives: Path, **options: Any) -> IngestCounts:
    given = {"source": "coco", "inputs": [str(path)], "archives": [str(a) for a in archives]} | options
    counts = ingest(lake, IngestConfig(**given))
    accounted = counts.present + counts.failed_before + counts.repeated
    assert counts.listed == accounted + counts.images + counts.copied + counts.failures
    return counts


def split_zip(path: Path, numbers: range, folder: str = "train2017/") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number in numbers:
            file.writestr(f"{folder}{number:012d}.jpg", jpeg(number))
    return path


def check_rows(lake: Lake, numbers: range) -> None:
    """Each image with its bytes, its licence and its five captions in order."""
    rows = lake.rows("SELECT source_key, image_id, license, meta FROM images ORDER BY source_key")
    assert [row[0] for row in rows] == [f"{n:012d}.jpg" for n in numbers]
    stored = dict(lake.pictures([row[1] for row in rows]))
    for number, (key, image_id, license, meta) in zip(numbers, rows, strict=True):
        assert stored[image_id] == jpeg(number)
        assert license == LICENSES[number % 2]["name"]
        assert json.loads(meta) == {
            "coco_id": number,
            "license_url": LICENSES[number % 2]["url"],
            "height": 48,
            "width": 64,
            "date_captured": "2013-11-14 17:02:52",
        }
        captions = lake.rows(
            "SELECT text, kind, license, image_id FROM captions WHERE source_key = ? ORDER BY (params->>'ordinal')::INT",
            [key],
        )
        assert captions == [(text.strip(), "human", "CC-BY-4.0", image_id) for text in TEXTS]


def test_pictures_by_url(lake: Lake, write: Callable[[dict[str, Any]], Path]) -> None:
    with ImageServer() as server:
        for number in range(1, 9):
            server.add(f"/train2017/{number:012d}.jpg", jpeg(number))
        document = annotations([image(n, server.url("/train2017")) for n in range(1, 10)])
        policy = FetchPolicy(processes=1, threads=8, timeout=2, total_timeout=4)
        counts = coco(lake, write(document), allow_private_hosts=True, fetch=policy)
        assert (counts.listed, counts.images, counts.captions, counts.failures) == (9, 8, 40, 1)
        assert lake.rows("SELECT source_key, reason, url FROM fetch_failures") == [
            (f"{9:012d}.jpg", "not_found", server.url(f"/train2017/{9:012d}.jpg"))
        ]
    check_rows(lake, range(1, 9))


@pytest.mark.parametrize("folder", ["train2017/", "", "a/b/train2017/"])
def test_pictures_of_the_official_zip(
    lake: Lake, write: Callable[[dict[str, Any]], Path], tmp_path: Path, folder: str
) -> None:
    archive = split_zip(tmp_path / "train2017.zip", range(1, 9), folder)
    path = write(annotations([image(n) for n in range(1, 10)]))
    counts = coco(lake, path, archive)
    assert (counts.listed, counts.images, counts.failures) == (9, 8, 1)
    check_rows(lake, range(1, 9))
    assert lake.rows("SELECT archive, member FROM images ORDER BY 2") == [
        ("train2017.zip", f"{folder}{n:012d}.jpg") for n in range(1, 9)
    ]
    assert lake.rows("SELECT source_key, reason FROM fetch_failures") == [(f"{9:012d}.jpg", "missing_member")]
    assert coco(lake, path, archive).present == 8


def test_pictures_of_folders_and_several_archives(
    lake: Lake, write: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    (tmp_path / "unpacked" / "val2017").mkdir(parents=True)
    for number in range(1, 5):
        (tmp_path / "unpacked" / "val2017" / f"{number:012d}.jpg").write_bytes(jpeg(number))
    archive = split_zip(tmp_path / "train2017.zip", range(5, 9))
    counts = coco(lake, write(annotations([image(n) for n in range(1, 9)])), tmp_path / "unpacked", archive)
    assert counts.images == 8
    check_rows(lake, range(1, 9))


def test_what_lacks_only_in_the_archive_can_be_fetched_later(
    lake: Lake, write: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    path = write(annotations([image(n) for n in range(1, 5)]))
    assert coco(lake, path, split_zip(tmp_path / "part.zip", range(1, 3))).failures == 2
    counts = coco(lake, path, split_zip(tmp_path / "rest.zip", range(3, 5)), retry_failed=True)
    assert (counts.present, counts.images, counts.failures) == (2, 2, 0)
    check_rows(lake, range(1, 5))


def lie_about_sizes(path: Path, size: int) -> None:
    """Every header of the zip states this uncompressed size."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.find(signature)
        while at >= 0:
            struct.pack_into("<I", data, at + offset, size)
            at = data.find(signature, at + 4)
    path.write_bytes(data)


def test_members_that_are_no_pictures(lake: Lake, write: Callable[[dict[str, Any]], Path], tmp_path: Path) -> None:
    names = [f"{n:012d}.jpg" for n in range(1, 6)]
    good = zipfile.ZipFile(tmp_path / "good.zip", "w", zipfile.ZIP_DEFLATED)
    with good:
        good.writestr(names[0], bytes(30_000_000))  # 29 kB that swell over the cap of 20 MB
        good.writestr(f"../../{names[1]}", jpeg(2))
        good.writestr(names[2], b"<html>no</html>")
        good.writestr(names[3], jpeg(4)[:200])
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(damaged, "w") as file:
        file.writestr(names[4], jpeg(5))
    content = bytearray(damaged.read_bytes())
    content[200] ^= 0xFF
    damaged.write_bytes(content)
    counts = coco(lake, write(annotations([image(n) for n in range(1, 6)])), tmp_path / "good.zip", damaged)
    assert (counts.images, counts.failures) == (0, 5)
    reasons = lake.rows("SELECT reason FROM fetch_failures ORDER BY source_key")
    assert [reason for (reason,) in reasons] == ["too_large", "unsafe_member", "not_an_image", "truncated", "truncated"]


@pytest.mark.parametrize(("size", "reason"), [(2**31, "too_large"), (100, "truncated")])
def test_a_bomb_that_lies_about_its_size(
    lake: Lake, write: Callable[[dict[str, Any]], Path], tmp_path: Path, size: int, reason: str
) -> None:
    archive = tmp_path / "liar.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{1:012d}.jpg", bytes(50_000_000))
    lie_about_sizes(archive, size)
    coco(lake, write(annotations([image(1)])), archive)
    assert lake.rows("SELECT reason FROM fetch_failures") == [(reason,)]


def broken_zips(tmp_path: Path) -> dict[str, bytes]:
    whole = split_zip(tmp_path / "whole.zip", range(1, 4)).read_bytes()
    newer = bytearray(whole)
    struct.pack_into("<H", newer, whole.find(b"PK\x01\x02") + 6, 99)  # needs version 9.9 of the format
    strange = bytearray(whole)
    struct.pack_into("<H", strange, whole.find(b"PK\x01\x02") + 30, 9999)  # an extra field beyond the file's end
    return {
        "text": b"not a zip at all",
        "empty": b"",
        "cut": whole[:-100],
        "newer": bytes(newer),
        "strange": bytes(strange),
    }


@pytest.mark.parametrize("kind", ["text", "empty", "newer"])
def test_a_zip_that_is_none_is_one_line(
    lake: Lake, write: Callable[[dict[str, Any]], Path], tmp_path: Path, kind: str
) -> None:
    archive = tmp_path / "train2017.zip"
    archive.write_bytes(broken_zips(tmp_path)[kind])
    with pytest.raises(CaptionlakeError) as caught:
        coco(lake, write(annotations([image(1)])), archive)
    assert "train2017.zip" in str(caught.value) and "\n" not in str(caught.value)
    assert lake.value("SELECT (SELECT count(*) FROM images) + (SELECT count(*) FROM fetch_failures)") == 0


@pytest.mark.parametrize("kind", ["cut", "strange"])
def test_a_damaged_zip_gives_what_is_whole_of_it(
    lake: Lake, write: Callable[[dict[str, Any]], Path], tmp_path: Path, kind: str
) -> None:
    archive = tmp_path / "train2017.zip"
    archive.write_bytes(broken_zips(tmp_path)[kind])
    coco(lake, write(annotations([image(n) for n in range(1, 4)])), archive)
    check_rows(lake, range(1, 4))


def test_an_archive_that_is_not_there_is_told(
    lake: Lake, write: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    with pytest.raises(CaptionlakeError, match=r"no archive .*gone\.zip: check the path"):
        coco(lake, write(annotations([image(1)])), tmp_path / "gone.zip")


WHOLE = json.dumps(annotations([image(n) for n in range(1, 4)]), indent=1)


def listed(path: Path) -> list[dict[str, Any]]:
    config = IngestConfig(source="coco", inputs=[str(path)])
    return [row for frame in SOURCE.read(config) for row in frame.to_dicts()]


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_names_its_line(tmp_path: Path, part: float) -> None:
    path = tmp_path / "captions.json"
    cut = WHOLE[: int(len(WHOLE) * part)]
    path.write_text(cut)
    with pytest.raises(CaptionlakeError) as caught:
        listed(path)
    lines, column = cut.count("\n") + 1, len(cut) - cut.rfind("\n")
    assert f"captions.json line {lines} column {column}: cut off after " in str(caught.value)
    assert str(caught.value).endswith("not valid JSON: download it again")


def test_a_file_that_is_cut_off_brings_nothing_in(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text(WHOLE[:-200])
    with pytest.raises(CaptionlakeError, match=r"captions\.json line \d+ column \d+: cut off"):
        coco(lake, path)
    assert lake.value("SELECT (SELECT count(*) FROM images) + (SELECT count(*) FROM fetch_failures)") == 0
    assert list((lake.path / "staging").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "has no images: it is not a COCO annotation file"),
        ("{}", "has no images"),
        ('{"images": {"1": {}}}', "has no images"),
        ('{"images": []}', "has no images"),
        ('{"images": [1, 2]}', "holds images in another form than COCO's"),
        ('{"images": [{}]}', "holds images in another form than COCO's"),
        ("7", "not valid JSON (it begins with neither [ nor {)"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("<html>", "line 1 column 1: not valid JSON (it begins with neither [ nor {; the file looks like a web page"),
        ("url,name\n", "not valid JSON"),
        ('{"images": [{"id": 1}]} x', "line 1 column 25: not valid JSON (there is more after its end"),
        ('{"images": [{"id": 1},\n {"id": 2}}', "line 2 column 11: not valid JSON"),
        ('{"images": [{"id": 1}], "a": "\xff"}', "line 1 column 31: a byte that is not UTF-8"),
        ('{"images": ' + "[" * 100_000, "lists or objects too deep in one another"),
    ],
)
def test_what_is_not_coco_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "captions.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(CaptionlakeError) as caught:
        listed(path)
    assert said in str(caught.value) and "captions.json" in str(caught.value) and "\n" not in str(caught.value)


def test_instances_come_in_without_captions(
    lake: Lake, write: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    document = annotations([image(n) for n in range(1, 4)], ())
    box = {"segmentation": [[1.0, 1.0, 9.5, 1.0, 9.5, 9.5]], "area": 72.25, "iscrowd": 0, "bbox": [1.0, 1.0, 8.5, 8.5]}
    document["annotations"] = [box | {"image_id": n, "id": n, "category_id": 18} for n in range(1, 4)]
    document["categories"] = [{"supercategory": "animal", "id": 18, "name": "dog"}]
    counts = coco(lake, write(document), split_zip(tmp_path / "train2017.zip", range(1, 4)))
    assert (counts.images, counts.captions) == (3, 0)


def test_images_without_what_a_row_needs_are_recorded(lake: Lake, tmp_path: Path) -> None:
    whole = image(1)
    images = [
        {k: v for k, v in whole.items() if k not in ("coco_url", "flickr_url")},
        {"file_name": "no-id.jpg", "coco_url": "http://a/b.jpg"},
        {"id": 3},
        {"id": 4, "file_name": 4.5, "license": 99, "coco_url": None, "nested": {"x": [1, 2.5, None]}},
    ]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"images": images}))
    counts = coco(lake, path)
    assert (counts.listed, counts.failures) == (4, 4)
    found = dict(lake.rows("SELECT source_key, reason FROM fetch_failures"))
    assert found == dict.fromkeys((f"{1:012d}.jpg", "no-id.jpg", "id:3", "4.5"), "bad_row")


def test_unicode_in_names_captions_and_further_fields(lake: Lake, tmp_path: Path) -> None:
    name = "naïve 東京 🐕.jpg"
    document = annotations(
        [image(1) | {"file_name": name, "place": "Zürich", "half": "\ud83d"}], ("\ud800 lone", "ok é")
    )
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(document))
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as file:
        file.writestr(f"train/{name}", jpeg(1))
    assert coco(lake, path, tmp_path / "train.zip").images == 1
    key, meta = lake.rows("SELECT source_key, meta FROM images")[0]
    assert key == name and json.loads(meta)["place"] == "Zürich"
    assert [text for (text,) in lake.rows("SELECT text FROM captions ORDER BY text")] == ["? lone", "ok é"]
