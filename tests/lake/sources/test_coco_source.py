"""COCO's files together: captions and instances of one split, splits whose ids or names collide, damaged rows, archives."""

import json
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pycocotools.coco import COCO as PyCoco

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.coco import COCO
from captionlake.lake.sources.source import SCHEMA

LICENSES = [{"id": 1, "name": "Attribution License", "url": "http://creativecommons.org/licenses/by/2.0/"}]
DOG, CAT = {"supercategory": "animal", "id": 18, "name": "dog"}, {"supercategory": "animal", "id": 17, "name": "cat"}
POLYGON = {"segmentation": [[1.5, 2, 3e1, 4.0, 5, 6.25]], "area": 7.0, "iscrowd": 0, "bbox": [1, 2, 3, 4]}
RLE = {"segmentation": {"counts": [3, 4, 5], "size": [3, 4]}, "area": 4, "iscrowd": 1, "bbox": [0, 0, 1, 1]}


def image(number: int, split: str = "train2017", **more: Any) -> dict[str, Any]:
    name = f"{number:012d}.jpg"
    url = f"http://images.cocodataset.org/{split}/{name}"
    return {"id": number, "file_name": name, "coco_url": url, "license": 1, "width": 64, "height": 48} | more


def write(path: Path, images: list[Any], notes: list[Any], **more: Any) -> Path:
    """A file as COCO lays it out; pycocotools, the format's own reader, must take a whole one first."""
    document = {"info": {}, "licenses": LICENSES, "images": images, "annotations": notes, **more}
    path.write_text(json.dumps(document, indent=1))
    return path


def accepted(path: Path) -> Path:
    read = PyCoco(str(path))
    document = json.loads(path.read_text())
    assert len(read.imgs) == len(document["images"]) and len(read.anns) == len(document["annotations"])
    return path


def captions(path: Path, numbers: range, **more: Any) -> Path:
    notes = [{"image_id": n, "id": 10 * k + n, "caption": f"caption {k} of {n}"} for k in range(1, 3) for n in numbers]
    return write(path, [image(n, **more) for n in numbers], notes)


def instances(path: Path, numbers: range) -> Path:
    notes = [part | {"image_id": n, "id": 100 * k + n, "category_id": c} for n in numbers for k, (part, c) in
             enumerate([(POLYGON, 18), (RLE, 18), (POLYGON, 17)])]  # fmt: skip
    return write(path, [image(n) for n in numbers], notes, categories=[CAT, DOG])


def read(*inputs: Path, **more: Any) -> pl.DataFrame:
    config = IngestConfig(source="coco", inputs=[str(path) for path in inputs], **more)
    frame = pl.concat([SCHEMA.to_frame(), *COCO.read(config)])
    assert frame["source_key"].null_count() == 0
    return frame


def good(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["source_key"]: row for row in frame.filter(pl.col("bad").is_null()).to_dicts()}


def bad(frame: pl.DataFrame) -> dict[str, str]:
    return {row["source_key"]: row["bad"] for row in frame.filter(pl.col("bad").is_not_null()).to_dicts()}


@pytest.mark.parametrize("turned", [False, True])
def test_captions_and_instances_of_a_split_are_one_row_a_picture(tmp_path: Path, turned: bool) -> None:
    one = accepted(captions(tmp_path / "captions_train2017.json", range(1, 4)))
    two = accepted(instances(tmp_path / "instances_train2017.json", range(2, 5)))
    frame = read(*((two, one) if turned else (one, two)))
    rows = good(frame)
    assert len(frame) == 4 and sorted(rows) == [f"{n:012d}.jpg" for n in range(1, 5)]
    for number in range(1, 5):
        row = rows[f"{number:012d}.jpg"]
        texts = [f"caption {k} of {number}" for k in (1, 2)] if number < 4 else []
        assert [(c["text"], c["kind"], c["license"]) for c in row["captions"]] == [
            (t, "human", "CC-BY-4.0") for t in texts
        ]
        meta = json.loads(row["meta"])
        assert meta.get("objects") == ({"dog": 2, "cat": 1} if number > 1 else None)
        assert (meta["coco_id"], meta["license_url"]) == (number, LICENSES[0]["url"])
        assert row["license"] == "Attribution License"


def test_ids_that_collide_across_splits_are_two_pictures(tmp_path: Path) -> None:
    for split in ("train2014", "val2014"):
        numbers = {
            "id": 9,
            "file_name": f"COCO_{split}_000000000009.jpg",
            "coco_url": f"http://a.invalid/{split}/9.jpg",
        }
        write(tmp_path / f"captions_{split}.json", [numbers], [{"image_id": 9, "id": 1, "caption": f"of {split}"}])
    rows = good(read(tmp_path / "captions_train2014.json", tmp_path / "captions_val2014.json"))
    assert {key: [c["text"] for c in row["captions"]] for key, row in rows.items()} == {
        "COCO_train2014_000000000009.jpg": ["of train2014"],
        "COCO_val2014_000000000009.jpg": ["of val2014"],
    }


def test_two_pictures_under_one_name_are_not_mixed(tmp_path: Path) -> None:
    one = captions(tmp_path / "train.json", range(1, 3))
    two = captions(tmp_path / "val.json", range(2, 4), split="val2017")
    frame = read(one, two)
    assert list(good(frame)) == [f"{n:012d}.jpg" for n in (1, 2, 3)]
    assert len(good(frame)["000000000002.jpg"]["captions"]) == 2
    ((key, why),) = bad(frame).items()
    assert key == "000000000002.jpg#val.json:2" and "val.json" in why and "--collection" in why


def test_one_bad_object_does_not_lose_the_rest(tmp_path: Path) -> None:
    images = [
        image(1),
        7,
        None,
        image(2) | {"id": [2]},
        image(1) | {"file_name": "other.jpg"},
        {"id": 5},
        image(6),
        image(6),
    ]
    notes = [
        {"image_id": 1, "caption": "kept"},
        "x",
        {"image_id": 1, "caption": None},
        {"image_id": 1, "caption": ["a"]},
        {"image_id": {}, "caption": "a"},
        {"caption": "a"},
        {"image_id": 99, "caption": "of nothing"},
        {"image_id": 6, "caption": "a\x00b\x07"},
        {"image_id": 6, "caption": "word " * 200_000},
    ]
    path = write(tmp_path / "captions.json", images, notes)
    frame = read(path)
    rows = good(frame)
    assert list(rows) == [f"{n:012d}.jpg" for n in (1, 6)]
    assert [c["text"] for c in rows["000000000001.jpg"]["captions"]] == ["kept"]
    texts = [c["text"] for c in rows["000000000006.jpg"]["captions"]]
    assert texts[0] == "ab\x07" and len(texts[1]) == 999_999
    found = bad(frame)
    assert set(found) == {
        "captions.json#images:2", "captions.json#images:3", "000000000002.jpg", "other.jpg#id:1", "id:5",
        "captions.json#annotations:2", "captions.json#annotations:4", "captions.json#annotations:5",
        "captions.json#annotations:6", "captions.json#id:99",
    }  # fmt: skip
    assert all("captions.json" in why for why in found.values())


def test_the_path_decides_between_pictures_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as file:
        for split in ("train2017", "val2017"):
            file.writestr(f"{split}/{1:012d}.jpg", split)
            file.writestr(f"{split}/{2:012d}.jpg", split)
    path = write(tmp_path / "c.json", [image(1, "val2017"), image(2) | {"coco_url": None}, image(3)], [])
    frame = read(path, archives=[str(tmp_path / "both.zip")])
    assert good(frame)[f"{1:012d}.jpg"]["member"] == f"val2017/{1:012d}.jpg"
    found = {row["source_key"]: (row["reason"], row["bad"]) for row in frame.to_dicts() if row["bad"]}
    assert found[f"{2:012d}.jpg"][0] is None and "several pictures" in found[f"{2:012d}.jpg"][1]
    assert found[f"{3:012d}.jpg"][0] == "missing_member" and "both.zip" in found[f"{3:012d}.jpg"][1]


def test_the_stored_bytes_of_a_zip_are_located(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train2017.zip", "w") as file:
        file.writestr(f"train2017/{1:012d}.jpg", b"the bytes")
    row = good(read(captions(tmp_path / "c.json", range(1, 2)), archives=[str(tmp_path / "train2017.zip")]))
    (found,) = row.values()
    if found["offset"] is not None:
        data = (tmp_path / "train2017.zip").read_bytes()[found["offset"] :][: found["n_bytes"]]
        assert data == b"the bytes"
    assert found["member"] == f"train2017/{1:012d}.jpg" and found["url"]


def test_files_of_other_sources_are_named(tmp_path: Path) -> None:
    others: dict[str, str | bytes] = {
        "LLaVA's or ShareGPT4V's conversations": json.dumps([{"id": "1", "image": "a.jpg", "conversations": []}]),
        "TextCaps' JSON": json.dumps({"data": [{"image_id": "a", "reference_strs": []}]}),
        "SBU's JSON": json.dumps({"image_urls": [], "user_ids": [], "captions": []}),
        "a web page": "<!DOCTYPE html><html>",
        "UTF-16": "\ufeff{}".encode("utf-16-le"),
        "a Parquet file": b"PAR1....PAR1",
        "captions and URLs separated by tabs": "a dog\thttp://a.invalid/1.jpg\n",
        "a list of URLs": "http://a.invalid/1.jpg\nhttp://a.invalid/2.jpg\n",
        "SA-1B's list of links": "file_name\tcdn_link\nsa_000000.tar\thttps://a.invalid/sa_000000.tar\n",
        "is empty": "",
        "Git LFS": "version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    }
    for looks, content in others.items():
        path = tmp_path / "captions.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(CaptionlakeError) as caught:
            read(path)
        assert looks in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_other_forms_of_text_that_are_read(tmp_path: Path) -> None:
    path = captions(tmp_path / "c.json", range(1, 3))
    whole = read(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(path).equals(whole)
    path.write_text(json.dumps(json.loads(path.read_text("utf-8-sig"))))
    assert read(path).equals(whole)
