"""TextCaps: rows of one picture gathered, OCR, URLs, archives, and pictures alone."""

import json
import zipfile
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.source import SCHEMA
from captionlake.lake.sources.textcaps import TEXTCAPS

REFERENCES = ["A sign says STOP.", "A red sign.", "Stop sign at a corner."]


def row(id: Any, which: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "image_id": id, "image_classes": ["Stop sign"], "image_width": 1024, "image_height": 768, "set_name": "train",
        "flickr_original_url": f"http://a.invalid/{id}_o.jpg", "flickr_300k_url": f"http://a.invalid/{id}_z.jpg",
        "image_path": f"train/{id}.jpg", "image_name": f"{id}", "caption_id": which, "caption_str": REFERENCES[which],
        "reference_strs": REFERENCES,
    } | more  # fmt: skip


def write(path: Path, data: list[Any]) -> Path:
    path.write_text(json.dumps({"dataset_type": "train", "dataset_name": "textcaps", "data": data}))
    return path


def read(*inputs: Path, archives: list[Path] | None = None) -> pl.DataFrame:
    names = [str(path) for path in inputs]
    config = IngestConfig(source="textcaps", inputs=names, archives=[str(a) for a in archives or []])
    return pl.concat([SCHEMA.to_frame(), *TEXTCAPS.read(config)])


def test_an_independent_reader_takes_the_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "TextCaps_0.1_train.json", [row("a", k) for k in range(3)])
    found = datasets.load_dataset("json", data_files=str(path), field="data", cache_dir=str(tmp_path / "hf"))["train"]
    assert found.num_rows == 3 and found[1]["reference_strs"] == REFERENCES


def test_rows_of_one_picture_are_one_row_with_each_caption_once(tmp_path: Path) -> None:
    more = row("b", 1, reference_strs=None, flickr_300k_url="")
    frame = read(
        write(
            tmp_path / "t.json", [row("a", 1), more, row("a", 2), row("b", 0, reference_strs=[], flickr_300k_url=None)]
        )
    )
    assert frame["bad"].null_count() == 2
    assert frame["source_key"].to_list() == ["a", "b"]
    assert frame["url"].to_list() == ["http://a.invalid/a_z.jpg", "http://a.invalid/b_o.jpg"]
    texts = [[(c["text"], c["kind"]) for c in row] for row in frame["captions"].to_list()]
    assert texts == [[(t, "human") for t in REFERENCES], [(REFERENCES[1], "human"), (REFERENCES[0], "human")]]
    assert json.loads(frame["meta"][0]) == {
        "image_classes": ["Stop sign"], "image_width": 1024, "image_height": 768, "set_name": "train"
    }  # fmt: skip


def test_ocr_of_a_second_file(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", [row("a"), row("b")])
    tokens = [{"image_id": "a", "ocr_tokens": ["STOP", " "], "ocr_info": []}, {"image_id": "z", "ocr_tokens": ["x"]}]
    ocr = write(tmp_path / "TextVQA_Rosetta_OCR_v0.2_train.json", tokens)
    frame = read(ocr, path)
    assert [json.loads(meta).get("ocr_tokens") for meta in frame["meta"]] == [["STOP"], None]
    with pytest.raises(CaptionlakeError, match="holds OCR alone"):
        read(ocr)


def test_pictures_of_archives_and_alone(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train_val_images.zip", "w") as file:
        file.writestr("train_images/a.jpg", b"x")
        file.writestr("train_images/b.png", b"x")
        file.writestr("__MACOSX/train_images/._a.jpg", b"x")
    path = write(tmp_path / "t.json", [row("a"), row("b"), row("c")])
    frame = read(path, archives=[tmp_path / "train_val_images.zip"])
    assert frame["member"].to_list()[:2] == ["train_images/a.jpg", "train_images/b.png"]
    assert frame["reason"].to_list() == [None, None, "missing_member"]
    alone = read(tmp_path / "train_val_images.zip")
    assert alone["source_key"].to_list() == ["a", "b"]
    assert alone["bad"].null_count() == 2 and [len(c or []) for c in alone["captions"].to_list()] == [0, 0]


def test_one_bad_row_does_not_lose_the_rest(tmp_path: Path) -> None:
    data = [
        row("a"), 3, None, {"image_id": None}, row(["x"]), row("b", reference_strs="one text"), row("c", reference_strs=5),
        row("d", reference_strs=[["x"], None, "ok\x00\x01", 1.5]), {"image_id": "e", "question": "?"}, row(12),
        {"image_id": "f", "ocr_tokens": "x"}, row("g", caption_str="w" * 1_000_000, reference_strs=[]),
    ]  # fmt: skip
    frame = read(write(tmp_path / "t.json", data))
    fine = {r["source_key"]: [c["text"] for c in r["captions"]] for r in frame.to_dicts() if r["bad"] is None}
    assert set(fine) == {"a", "b", "c", "d", "12", "g"}
    assert fine["b"] == ["one text", REFERENCES[0]] and fine["c"] == [REFERENCES[0]]
    assert fine["d"] == ["ok\x01", "1.5", REFERENCES[0]] and len(fine["g"][0]) == 1_000_000
    troubles = frame["bad"].drop_nulls().to_list()
    assert len(troubles) == 8 and all(why.startswith("t.json, data number ") for why in troubles)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("{}", "has no TextCaps rows"),
        ('{"data": []}', "has no TextCaps rows"),
        ('{"data": [{"question": "?", "image_id": "a"}]}', "has no TextCaps rows"),
        ('{"data": [{"image_id": "a", "caption_str": "x"}', "cut off after 1 items"),
        ('{"data": [{"image_id": "a", "caption_str": "caf\xe9"}]}', "a byte that is not UTF-8"),
        ('{"images": [{"coco_url": 1}]}', "it looks like COCO's annotations"),
    ],
)
def test_what_is_not_textcaps_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(CaptionlakeError) as caught:
        read(path)
    assert said in str(caught.value) and "t.json" in str(caught.value) and "\n" not in str(caught.value)
