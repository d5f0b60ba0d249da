"""SBU: both of its forms, which tell the same; files that do not match; hostile values."""

import json
from pathlib import Path

import polars as pl
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.looks_like import looks_like
from captionlake.lake.sources.sbu import SBU
from captionlake.lake.sources.source import SCHEMA

URLS = [f"http://static.flickr.com/{n}/{n}_o.jpg" for n in range(25)]
TEXTS = [f'My dog number {n}, the "best", at \u00fc' for n in range(25)]


def read(*paths: Path) -> pl.DataFrame:
    config = IngestConfig(source="sbu", inputs=[str(path) for path in paths])
    return pl.concat([pl.DataFrame(schema=SCHEMA), *SBU.read(config)])


def text_form(folder: Path, urls: bytes, captions: bytes) -> tuple[Path, Path]:
    one, other = folder / "SBU_captioned_photo_dataset_urls.txt", folder / "SBU_captioned_photo_dataset_captions.txt"
    one.write_bytes(urls)
    other.write_bytes(captions)
    return one, other


def json_form(folder: Path, value: object) -> Path:
    path = folder / "sbu-captions-all.json"
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_both_forms_in_any_order_tell_the_same(tmp_path: Path, end: str) -> None:
    urls, captions = text_form(tmp_path, end.join(URLS).encode(), (end.join(TEXTS) + end).encode("utf-8-sig"))
    whole = json_form(tmp_path, {"captions": TEXTS, "user_ids": ["7"] * 25, "image_urls": URLS})
    assert json.loads(whole.read_text())["image_urls"] == urls.read_text().split()
    first, second, third = read(urls, captions), read(captions, urls), read(whole)
    assert first.equals(second)
    assert first.drop("meta").equals(third.drop("meta"))
    assert first["source_key"].to_list() == first["url"].to_list() == URLS
    assert [c.to_list() for c in first["captions"]] == [[{"text": t, "kind": "human", "license": None}] for t in TEXTS]
    assert {json.loads(text)["user_id"] for text in third["meta"]} == {"7"}


@pytest.mark.parametrize("captions", [24, 26, 40_000])
def test_unequal_numbers_of_lines_name_both(tmp_path: Path, captions: int) -> None:
    paths = text_form(tmp_path, "\n".join(URLS).encode(), b"some words of a caption\n" * captions)
    with pytest.raises(CaptionlakeError, match=rf"has 25 lines and .* has {captions:,}") as caught:
        read(*paths)
    assert "\n" not in str(caught.value)


def test_lists_in_json_of_unequal_length_name_both(tmp_path: Path) -> None:
    for urls, texts in ((URLS, TEXTS[:20]), (URLS[:20], TEXTS), ([], TEXTS)):
        with pytest.raises(CaptionlakeError, match=f"{len(urls)} image_urls and {len(texts)} captions"):
            read(json_form(tmp_path, {"image_urls": urls, "captions": texts}))


def test_long_files_stay_in_step(tmp_path: Path) -> None:
    """The lines of one are many times longer than the other's, so that their parts end at different lines."""
    count = 60_000
    urls = "".join(f"http://a/{n}\n" for n in range(count)).encode()
    rows = read(*text_form(tmp_path, urls, "".join(f"words {'and more ' * 9}of {n}\n" for n in range(count)).encode()))
    numbers = rows.select(pl.col("captions").list.first().struct.field("text").str.extract(r"of (\d+)$"))
    assert rows["url"].to_list() == [f"http://a/{n}" for n in numbers.to_series()]
    assert rows.height == count


def test_hostile_lines(tmp_path: Path) -> None:
    urls = b"http://a/1\n\nhttp://a/\xe9\nhttp://a/4\x00\nhttp://a/5"
    captions = b"one\ntwo\nthree\nf\xffour\x02\n  \n"
    rows = read(*text_form(tmp_path, urls, captions))
    name = "SBU_captioned_photo_dataset_urls.txt"
    assert rows["source_key"].to_list() == ["http://a/1", f"{name}:2", f"{name}:3", "http://a/4", "http://a/5"]
    assert rows["bad"].to_list() == [None, f"{name} line 2: no URL", f"{name} line 3: the URL is not UTF-8", None, None]
    assert rows["captions"][3].to_list()[0]["text"] == "f\ufffdour\x02"
    assert json.loads(rows["meta"][3]) == {"not_utf8": True}
    assert rows["captions"][4].to_list() == []


def test_hostile_json(tmp_path: Path) -> None:
    urls = [None, "http://a/1", {"a": 1}, ["http://a/2"], "http://a/3", "http://a/4"]
    texts = ["x", None, "y", "z", {"b": 2}, "N\x00UL " + "w" * 1_000_000]
    rows = read(json_form(tmp_path, {"x": [1, {"image_urls": ["no"]}], "image_urls": urls, "captions": texts}))
    place = "sbu-captions-all.json item"
    assert rows["bad"].to_list() == [f"{place} 0: no URL", None, f"{place} 2: no URL", f"{place} 3: no URL", None, None]
    assert [[c["text"][:7] for c in captions] for captions in rows["captions"]] == [
        ["x"],
        [],
        ["y"],
        ["z"],
        [],
        ["NUL www"],
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b'{"images": [], "annotations": []}', "no lists image_urls and captions"),
        (b'{"image_urls": ["http://a/1"], "captions": ["a', "line 1 column 47: cut off"),
        (b'{"image_urls": [], "captions": []}', "its lists image_urls and captions are empty"),
        (b'[{"id": "1", "conversations": []}]', "conversations"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
    ],
)
def test_json_of_other_sources_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "sbu.json"
    path.write_bytes(content)
    with pytest.raises(CaptionlakeError) as caught:
        read(path)
    assert said in str(caught.value) and "sbu.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["sbu-captions-all.json", "sbu-captions-all.json.part"])
def test_json_that_is_cut_off_says_so_with_its_place(tmp_path: Path, name: str, indent: int | None) -> None:
    """At every byte; the end of the file is where it is cut off."""
    whole = json.dumps({"image_urls": URLS[:3], "user_ids": ["1"] * 3, "captions": TEXTS[:3]}, indent=indent)
    path = tmp_path / name
    for cut in range(1, len(whole)):
        path.write_text(whole[:cut])
        place = f"line {whole.count(chr(10), 0, cut) + 1} column {cut - whole.rfind(chr(10), 0, cut)}"
        with pytest.raises(CaptionlakeError, match=rf"{name} {place}: cut off"):
            read(path)


def test_json_whose_first_list_is_long_is_known_by_its_beginning(tmp_path: Path) -> None:
    """As the real one, whose first list has a million URLs before the next key is named."""
    path = json_form(tmp_path, {"image_urls": URLS * 200, "captions": TEXTS * 200})
    path.write_bytes(path.read_bytes()[:150_000])
    assert looks_like(path) == "SBU's JSON"


@pytest.mark.parametrize(
    ("urls", "captions", "said"),
    [
        (b"", b"a\n", "empty"),
        (b"a\nb\n", b"c\nd\n", "is a list of URLs"),
        (b"http://a/1\n", b"http://a/2\n", "both"),
    ],
)
def test_text_files_that_are_no_pair(tmp_path: Path, urls: bytes, captions: bytes, said: str) -> None:
    with pytest.raises(CaptionlakeError, match=said):
        read(*text_form(tmp_path, urls, captions))


def test_one_of_the_two_files_is_not_enough(tmp_path: Path) -> None:
    urls, _ = text_form(tmp_path, b"http://a/1\n", b"x\n")
    with pytest.raises(CaptionlakeError, match="exactly two files"):
        read(urls)
    with pytest.raises(CaptionlakeError, match="sbu needs its list"):
        read()
