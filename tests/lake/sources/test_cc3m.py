"""CC3M: its three files, lines that are not of its form, and files of other sources."""

import csv
import json
from pathlib import Path

import polars as pl
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.cc3m import CC3M
from captionlake.lake.sources.source import SCHEMA

from ..image_server import ImageServer, jpeg


def read(*paths: Path, **options: object) -> pl.DataFrame:
    config = IngestConfig(source="cc3m", inputs=[str(path) for path in paths], **options)  # type: ignore[arg-type]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *CC3M.read(config)])


def texts(rows: pl.DataFrame) -> list[list[str]]:
    return [[caption["text"] for caption in captions] for captions in rows["captions"]]


def test_captions_and_urls_as_an_independent_reader_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "Train_GCC-training.tsv"
    lines = ['a "quoted" word', '"open quote', "it's , ; and \u00fc \U0001f600", "trailing space "]
    path.write_text("".join(f"{text}\thttp://a.example/{n}.jpg?x=1&y='\n" for n, text in enumerate(lines)))
    with path.open(newline="") as file:
        expected = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = read(path, subset="train")
    assert rows["url"].to_list() == [url for _, url in expected] == rows["source_key"].to_list()
    assert texts(rows) == [[text.strip()] for text, _ in expected]
    assert rows["captions"][0].to_list() == [{"text": 'a "quoted" word', "kind": "alt", "license": None}]
    assert rows["subset"].unique().to_list() == ["train"]
    assert rows["bad"].null_count() == rows.height == 4


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("header", ["", "caption\turl"])
def test_line_ends_marks_and_an_added_header(tmp_path: Path, end: str, mark: str, header: str) -> None:
    path = tmp_path / "c.tsv"
    lines = [*([header] if header else []), "one\thttp://a/1", "two\thttp://a/2"]
    path.write_bytes((mark + end.join(lines)).encode())
    rows = read(path)
    assert rows["source_key"].to_list() == ["http://a/1", "http://a/2"]
    assert texts(rows) == [["one"], ["two"]]


def test_labels_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "Train_GCC-Labels-training.tsv"
    path.write_text("a cat\thttp://a/1\tcat,pet\t/m/01yrx,/m/068hy\t0.9,0.8\na dog\thttp://a/2\t\t\t\n")
    rows = read(path)
    assert json.loads(rows["meta"][0]) == {
        "labels": "cat,pet",
        "label_ids": "/m/01yrx,/m/068hy",
        "confidences": "0.9,0.8",
    }
    assert json.loads(rows["meta"][1]) == {}


def test_lines_of_another_form_are_bad_rows_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_bytes(
        b"fine\thttp://a/1\n"  # 1
        b"no tab\n"
        b"one\ttwo\tthree\n"
        b"a caption\t  \n"
        b"\n"  # 5
        b"\thttp://a/6\n"
        b"N\x00UL\x01\thttp://a/\x007\n"
        b"caf\xe9\thttp://a/8\n"
        b"caption\thttp://a/\xe9\n"
        + b"x" * 1_000_000
        + b"\thttp://a/10\n"
        + b"a\tb\tc\td\te\tf\tg\n"
        + b"last\thttp://a/12"
    )
    rows = read(path)
    good = rows.filter(pl.col("bad").is_null())
    assert good["source_key"].to_list() == [f"http://a/{n}" for n in (1, 6, 7, 8, 10, 12)]
    assert texts(good) == [["fine"], [], ["NUL\x01"], ["caf\ufffd"], ["x" * 1_000_000], ["last"]]
    assert [json.loads(text) for text in good["meta"]] == [{}, {}, {}, {"not_utf8": True}, {}, {}]
    bad = dict(rows.filter(pl.col("bad").is_not_null()).select("source_key", "bad").iter_rows())
    assert bad == {
        "c.tsv:2": "c.tsv line 2: 1 fields, where caption<TAB>url has 2",
        "c.tsv:3": "c.tsv line 3: 3 fields, where caption<TAB>url has 2",
        "c.tsv:4": "c.tsv line 4: no URL",
        "c.tsv:5": "c.tsv line 5: 1 fields, where caption<TAB>url has 2",
        "c.tsv:9": "c.tsv line 9: the URL is not UTF-8",
        "c.tsv:11": "c.tsv line 11: 7 fields, where caption<TAB>url has 2",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"http://a/1\tone\nhttp://a/2\ttwo\n", "CC12M"),
        (b"url,name\nhttp://a/1,one\n", "a table with a column url"),
        (b'{"images": [{"id": 1, "coco_url": "x", "file_name": "y"}]}', "COCO"),
        (b"http://a/1\nhttp://a/2\n", "a list of URLs, as SBU's"),
        (b"PAR1" + bytes(100), "Parquet"),
        ("one\thttp://a/1\n".encode("utf-16"), "UTF-16"),
        (b"x" * 17_000_000, "longer than 16 MB"),
    ],
)
def test_other_files_are_refused_with_a_word_on_what_they_are(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "c.tsv"
    path.write_bytes(content)
    with pytest.raises(CaptionlakeError) as caught:
        read(path)
    assert said in str(caught.value) and "c.tsv" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match="cannot be read"):
        read(tmp_path / "none.tsv")
    with pytest.raises(CaptionlakeError, match=r"give Train_GCC-training\.tsv"):
        read()


def test_what_is_taken_decides_what_is_read(tmp_path: Path) -> None:
    """A first frame comes from the beginning of the file alone: what follows is broken off in the middle of nowhere."""
    path = tmp_path / "long.tsv"
    path.write_bytes(b"a\thttp://a/1\n" * 300_000 + b"x" * 17_000_000)
    found = CC3M.read(IngestConfig(source="cc3m", inputs=[str(path)]))
    assert next(found).height > 1000
    with pytest.raises(CaptionlakeError, match="line 300001 is longer"):
        list(found)


def test_numbers_go_on_from_part_to_part(tmp_path: Path) -> None:
    path = tmp_path / "long.tsv"
    path.write_bytes(b"".join(b"caption %d\thttp://a/%d\n" % (n, n) for n in range(150_000)) + b"bad\n")
    rows = read(path)
    assert rows.height == 150_001 and rows["url"].n_unique() == 150_001  # the bad row's is null
    assert rows["bad"].drop_nulls().to_list() == ["long.tsv line 150001: 1 fields, where caption<TAB>url has 2"]
    assert [c[0]["text"] for c in rows["captions"][[0, 99_999, 149_999]].to_list()] == [
        f"caption {n}" for n in (0, 99_999, 149_999)
    ]


@pytest.mark.parametrize("missing", [False, True])
def test_into_a_lake(lake: Lake, tmp_path: Path, missing: bool) -> None:
    from captionlake.lake.ingest import ingest

    with ImageServer() as server:
        url = server.url("/gone.jpg") if missing else server.add("/1.jpg", jpeg(1))
        (tmp_path / "c.tsv").write_text(f"a blob\t{url}\n")
        config = IngestConfig(source="cc3m", inputs=[str(tmp_path / "c.tsv")], allow_private_hosts=True)
        counts = ingest(lake, config)
        assert (counts.images, counts.failures) == ((0, 1) if missing else (1, 0))
        assert lake.rows("SELECT kind, text FROM captions") == ([] if missing else [("alt", "a blob")])
