"""The Hub's Parquet form, written by ``datasets`` itself and by others; nulls, paths, URLs, classes, several files."""

import io
import json
from pathlib import Path

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.hf import HF
from captionlake.lake.sources.source import SCHEMA

from ..image_server import jpeg


def read(*paths: Path) -> pl.DataFrame:
    config = IngestConfig(source="hf", inputs=[str(path) for path in paths])
    return pl.concat([pl.DataFrame(schema=SCHEMA), *HF.read(config)])


def pictures(rows: pl.DataFrame) -> list[bytes]:
    with ArchiveReader(max_bytes=2**20) as reader:
        return [reader.read(archive, member) for archive, member in rows.select("archive", "member").iter_rows()]


def write(path: Path, metadata: object = None, **columns: object) -> Path:
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": metadata}})})
    pq.write_table(table, path, row_group_size=2)
    return path


def test_what_datasets_writes(tmp_path: Path) -> None:
    """Two shards made by ``datasets``, whose own reader decodes the same pictures."""
    features = datasets.Features(
        {
            "caption": datasets.Sequence(datasets.Value("string")),
            "thumbnail": datasets.Value("binary"),
            "image": datasets.Image(),
            "style": datasets.ClassLabel(names=["baroque", "cubism"]),
            "width": datasets.Value("int32"),
        }
    )
    (tmp_path / "data").mkdir()
    for shard in range(2):
        columns: dict[str, object] = {
            "caption": [[f"one {n}", " ", f"two {n}"] for n in range(5)],
            "thumbnail": [b"no picture"] * 5,
            "image": [{"bytes": jpeg(shard * 5 + n), "path": f"{n}.jpg"} for n in range(5)],
            "style": [0, 1, 0, -1, 1],
            "width": [1, 2, None, 4, 5],
        }
        made = datasets.Dataset.from_dict(columns, features=features)
        made.to_parquet(str(tmp_path / "data" / f"train-{shard:05d}-of-00002.parquet"))
    rows = read(tmp_path)
    independent = datasets.load_dataset(
        "parquet", data_dir=str(tmp_path / "data"), split="train", cache_dir=str(tmp_path / "c")
    )
    assert rows["source_key"].to_list() == [
        f"train-{shard:05d}-of-00002.parquet:{n}" for shard in range(2) for n in range(5)
    ]
    assert rows["member"].to_list() == [f"image.bytes/{n}" for _ in range(2) for n in range(5)]
    for data, row in zip(pictures(rows), independent, strict=True):
        assert Image.open(io.BytesIO(data)).tobytes() == row["image"].tobytes()
    assert [[c["text"] for c in each] for each in rows["captions"]] == [[f"one {n}", f"two {n}"] for n in range(5)] * 2
    assert {c["kind"] for each in rows["captions"] for c in each} == {"human"}
    assert [json.loads(text) for text in rows["meta"][:5]] == [
        {"style": "baroque", "width": 1},
        {"style": "cubism", "width": 2},
        {"style": "baroque"},
        {"style": "-1", "width": 4},
        {"style": "cubism", "width": 5},
    ]


def test_rows_without_bytes_come_by_url_or_file_or_are_bad(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "b.jpg").write_bytes(jpeg(2))
    images = [
        {"bytes": jpeg(1), "path": None},
        {"bytes": None, "path": "https://a.example/1.jpg"},
        {"bytes": None, "path": "pictures/b.jpg"},
        {"bytes": None, "path": None},
        None,
        {"bytes": jpeg(3), "path": "https://a.example/2.jpg"},
    ]
    rows = read(write(tmp_path / "h.parquet", image=images, text=["t"] * 6))
    assert rows["url"].to_list() == [None, "https://a.example/1.jpg", None, None, None, "https://a.example/2.jpg"]
    assert rows["member"].to_list() == ["image.bytes/0", None, "pictures/b.jpg", None, None, "image.bytes/5"]
    assert rows["bad"].is_not_null().to_list() == [False, False, False, True, True, False]
    assert rows["bad"][3] == "h.parquet row 3: image has neither bytes nor a path"
    assert pictures(rows[[0, 2, 5]]) == [jpeg(1), jpeg(2), jpeg(3)]


@pytest.mark.parametrize("statistics", [True, False])
def test_nulls_are_found_with_and_without_statistics(tmp_path: Path, statistics: bool) -> None:
    data = [jpeg(n) if n % 3 else None for n in range(300)]
    table = pa.table({"picture": data, "url": [f"http://a/{n}" if n % 2 else None for n in range(300)]})
    pq.write_table(table, tmp_path / "h.parquet", write_statistics=statistics, row_group_size=100)
    rows = read(tmp_path / "h.parquet")
    assert rows["member"].to_list() == [f"picture/{n}" if n % 3 else None for n in range(300)]
    assert rows["bad"].is_not_null().to_list() == [not n % 3 and not n % 2 for n in range(300)]
    assert rows["url"].drop_nulls().len() == 150


def test_which_column_is_the_picture_and_which_the_caption(tmp_path: Path) -> None:
    image, other = {"bytes": jpeg(1), "path": "a"}, {"bytes": jpeg(2), "path": "b"}
    declared = {"second": {"_type": "Image"}, "first": {"_type": "Value"}}
    expected = {
        write(tmp_path / "a.parquet", declared, first=[image], second=[other]): ("second.bytes/0", []),
        write(tmp_path / "b.parquet", first=[image], second=[other]): ("first.bytes/0", []),
        write(tmp_path / "c.parquet", {"x": 1}, n=[1], jpg=[jpeg(3)], Text=["T"]): ("jpg/0", [("T", "human")]),
        write(tmp_path / "d.parquet", [], jpg=[jpeg(3)], text=["t"], caption=["c"], alt_text=["a"]): (
            "jpg/0",
            [("c", "human"), ("a", "alt")],
        ),
        write(tmp_path / "e.parquet", jpg=[jpeg(3)], caption=[7], texts=[["x", None]]): ("jpg/0", [("x", "human")]),
    }
    for path, (member, captions) in expected.items():
        rows = read(path)
        assert rows["member"].to_list() == [member]
        assert [(c["text"], c["kind"]) for c in rows["captions"][0]] == captions
    assert json.loads(read(tmp_path / "e.parquet")["meta"][0]) == {"caption": 7}


def test_own_columns_and_odd_types(tmp_path: Path) -> None:
    path = write(
        tmp_path / "h.parquet",
        image=[{"bytes": jpeg(1), "path": "a"}],
        License=["CC0-1.0"],
        author=["Some\x00body"],
        url=["http://a/1"],
        when=pa.array([0], pa.timestamp("us")),
        half=pa.array([1.5], pa.float16()),
        nested=[{"a": [1]}],
        raw=[b"\xff"],
        nan=[float("nan")],
        day=pa.array([1], pa.date32()),
    )
    row = read(path).row(0, named=True)
    assert (row["license"], row["author"], row["url"]) == ("CC0-1.0", "Somebody", "http://a/1")
    assert json.loads(row["meta"]) == {"when": "1970-01-01 00:00:00", "half": "1.5", "day": "1970-01-02"}


def test_one_name_in_two_folders_makes_two_keys(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "train.parquet", jpg=[jpeg(1)])
    write(tmp_path / "two" / "test.parquet", jpg=[jpeg(1)])
    keys = ["one/train.parquet:0", "test.parquet:0", "two/train.parquet:0"]
    assert sorted(read(tmp_path)["source_key"]) == keys


def test_other_files_are_refused(tmp_path: Path) -> None:
    laion = write(tmp_path / "l.parquet", URL=["http://a/1"], TEXT=["t"])
    with pytest.raises(CaptionlakeError, match=r"no column of images.*LAION"):
        read(laion)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(write(tmp_path / "h.parquet", jpg=[jpeg(1)] * 50).read_bytes()[:3000])
    with pytest.raises(CaptionlakeError, match=r"cut\.parquet"):
        read(cut)
    with pytest.raises(CaptionlakeError, match=r"give \.parquet files"):
        read()


def test_the_pictures_bytes_are_not_read(tmp_path: Path) -> None:
    """Their part of the file is overwritten, and the list comes out the same: statistics tell which are there."""
    path = write(tmp_path / "h.parquet", jpg=[jpeg(n) for n in range(40)], caption=["c"] * 40)
    before = read(path)
    column = pq.read_metadata(path).row_group(5).column(0)
    data = bytearray(path.read_bytes())
    start, size = column.dictionary_page_offset or column.data_page_offset, column.total_compressed_size
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    assert read(path).equals(before)


def test_bytes_that_are_not_utf8_spoil_no_more_than_themselves(tmp_path: Path) -> None:
    """In texts, in lists of texts, and in the paths within the column of images."""

    def text(*values: bytes | None) -> pa.Array:
        return pa.array(values, pa.binary()).view(pa.string())

    path = text(b"one.jpg", b"tw\xff.jpg", b"three.jpg")
    image = pa.StructArray.from_arrays([pa.array([jpeg(1), None, None]), path], ["bytes", "path"])
    lists = pa.ListArray.from_arrays(pa.array([0, 2, None, 3]), text(b"a cat", b"caf\xe9", b"a dog"))
    table = pa.table({"image": image, "captions": lists, "license": text(b"CC0\xff", None, b"MIT")})
    pq.write_table(table, tmp_path / "t.parquet")
    rows = read(tmp_path / "t.parquet")
    assert rows["member"].to_list() == ["image.bytes/0", "tw\ufffd.jpg", "three.jpg"]
    texts = [[each["text"] for each in captions] for captions in rows["captions"]]
    assert texts == [["a cat", "caf\ufffd"], ["a dog"], []]
    assert rows["license"].to_list() == ["CC0\ufffd", None, "MIT"]
