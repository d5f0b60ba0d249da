"""LLaVA's 558K: the caption file, the file of URLs, both, and the zip."""

import json
import zipfile
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.llava558k import LLAVA558K
from captionlake.lake.sources.source import SCHEMA

Rows = list[Any]


def row(number: int, text: str | None = None, **more: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": "Describe the image concisely.\n<image>"},
        {"from": "gpt", "value": text or f"caption {number}"},
    ]
    return {"id": f"{number:09d}", "image": f"{number // 10000:05d}/{number:09d}.jpg", "conversations": turns} | more


def about(number: int, blip: str | None = None, **more: Any) -> dict[str, Any]:
    url = f"http://a.invalid/{number}.jpg"
    image = f"{number // 10000:05d}/{number:09d}.jpg"
    return {"id": f"{number:09d}", "image": image, "blip_caption": blip or f"caption {number}", "url": url} | more


def write(path: Path, rows: Rows) -> Path:
    path.write_text(json.dumps(rows))
    return path


def read(*inputs: Path, archives: list[Path] | None = None, limit: int | None = None) -> pl.DataFrame:
    names = [str(path) for path in inputs]
    config = IngestConfig(source="llava558k", inputs=names, archives=[str(a) for a in archives or []], limit=limit)
    return pl.concat([SCHEMA.to_frame(), *LLAVA558K.read(config)])


def said(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return [
        (r["source_key"], r["url"], [(c["text"], c["kind"]) for c in r["captions"] or []], r["bad"])
        for r in frame.to_dicts()
    ]


def test_an_independent_reader_takes_the_samples(tmp_path: Path) -> None:
    write(tmp_path / "chat.json", [row(n) for n in range(5)])
    write(tmp_path / "meta.json", [about(n) for n in range(5)])
    for name, columns in (("chat", {"id", "image", "conversations"}), ("meta", {"id", "image", "blip_caption", "url"})):
        found = datasets.load_dataset("json", data_files=str(tmp_path / f"{name}.json"), cache_dir=str(tmp_path / "hf"))
        assert found["train"].num_rows == 5 and set(found["train"].column_names) == columns


@pytest.mark.parametrize("turned", [False, True])
def test_the_two_files_are_joined_by_id(tmp_path: Path, turned: bool) -> None:
    one = write(tmp_path / "blip_laion_cc_sbu_558k.json", [row(4), row(2, "other words"), row(7)])
    two = write(tmp_path / "blip_laion_cc_sbu_558k_meta.json", [about(n) for n in (1, 2, 3, 4)])
    frame = read(*((two, one) if turned else (one, two)))
    assert said(frame) == [
        ("00000/000000004.jpg", "http://a.invalid/4.jpg", [("caption 4", "captioner")], None),
        ("00000/000000002.jpg", "http://a.invalid/2.jpg", [("other words", "captioner"), ("caption 2", "captioner")], None),
        (
            "00000/000000007.jpg", None, [("caption 7", "captioner")],
            "blip_laion_cc_sbu_558k.json, row 3: no URL for 00000/000000007.jpg",
        ),
    ]  # fmt: skip
    assert json.loads(frame["meta"][0]) == {"id": "000000004"}


def test_each_file_alone(tmp_path: Path) -> None:
    meta = write(
        tmp_path / "meta.json", [about(3), {"id": "004539375", "url": "http://a.invalid/x", "blip_caption": "b"}]
    )
    assert said(read(meta)) == [
        ("00000/000000003.jpg", "http://a.invalid/3.jpg", [("caption 3", "captioner")], None),
        ("00453/004539375.jpg", "http://a.invalid/x", [("b", "captioner")], None),
    ]
    chat = write(tmp_path / "chat.json", [row(3)])
    with pytest.raises(CaptionlakeError, match=r"names no URLs: give also .*_meta\.json, or --archive images\.zip"):
        read(chat)


def test_pictures_of_the_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for number in (1, 2):
            file.writestr(f"00000/{number:09d}.jpg", b"x")
        file.writestr("../00000/000000004.jpg", b"x")
    chat = write(tmp_path / "chat.json", [row(n) for n in (1, 2, 3, 4)])
    for frame in (read(chat, archives=[tmp_path / "images.zip"]), read(chat, tmp_path / "images.zip")):
        found = [(r["member"], r["reason"], Path(r["archive"]).name) for r in frame.to_dicts()]
        assert found[:2] == [(f"00000/{n:09d}.jpg", None, "images.zip") for n in (1, 2)]
        assert [reason for _, reason, _ in found[2:4]] == ["missing_member", "unsafe_member"]
        assert frame["bad"].is_null().to_list()[:4] == [True, True, False, False]


def test_one_bad_row_does_not_lose_the_rest(tmp_path: Path) -> None:
    rows: Rows = [
        row(1), 7, None, [], {}, row(2, image=None, id=None), row(3, image=["x"], id={}), row(4, conversations="x"),
        row(5, conversations=[{"from": "gpt", "value": None}] * 2), row(6, conversations=[1, 2]), row(7, url=["x"]),
        row(8, "\x00nul \x07 bell"), row(9, "w" * 1_000_000), row(10, conversations=[]), row(1), *(row(n) for n in range(20, 60)),
    ]  # fmt: skip
    frame = read(write(tmp_path / "chat.json", rows), write(tmp_path / "meta.json", [about(n) for n in range(60)]))
    assert len(frame) == len(rows)
    fine = frame.filter(pl.col("bad").is_null())
    assert fine["source_key"].to_list() == [f"00000/{n:09d}.jpg" for n in (1, 7, 8, 9, 1, *range(20, 60))]
    troubles = frame["bad"].drop_nulls().to_list()
    assert len(troubles) == 10 and all(why.startswith("chat.json, row ") for why in troubles)
    texts = [c[0]["text"] for c in fine["captions"].to_list()]
    assert texts[2] == "nul \x07 bell" and len(texts[3]) == 1_000_000


def test_a_limit_does_not_read_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    whole = json.dumps([about(n) for n in range(30_000)])
    path.write_text(whole[: len(whole) - 50])
    config = IngestConfig(source="llava558k", inputs=[str(path)], limit=10)
    assert len(next(iter(LLAVA558K.read(config)))) >= 10
    with pytest.raises(CaptionlakeError, match=r"meta\.json line 1 column \d+: cut off after 29,999 items"):
        read(path)


def test_conversations_and_other_files_are_refused(tmp_path: Path) -> None:
    turns = row(1)["conversations"]
    mix = write(
        tmp_path / "llava_instruct_150k.json",
        [row(n, conversations=turns * 3, url="http://a.invalid") for n in range(9)],
    )
    with pytest.raises(CaptionlakeError, match="holds conversations, not one caption an image"):
        read(mix)
    coco = tmp_path / "captions.json"
    coco.write_text(json.dumps({"info": {}, "licenses": [], "images": []}))
    with pytest.raises(CaptionlakeError, match=r"it looks like COCO's annotations\): give blip_laion"):
        read(coco)
