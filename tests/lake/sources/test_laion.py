"""LAION's Parquet lists: the releases' different columns, hostile values, other and damaged files, long ones."""

import json
from pathlib import Path

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.laion import LAION
from captionlake.lake.sources.source import SCHEMA


def read(*paths: Path) -> pl.DataFrame:
    config = IngestConfig(source="laion", inputs=[str(path) for path in paths])
    return pl.concat([pl.DataFrame(schema=SCHEMA), *LAION.read(config)])


def write(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def laion_400m(path: Path, first: int, count: int) -> Path:
    numbers = range(first, first + count)
    return write(
        path,
        SAMPLE_ID=[float(n) for n in numbers],
        URL=[f"https://a.example/{n}.jpg" for n in numbers],
        TEXT=[f"Alt text {n}" for n in numbers],
        HEIGHT=[480.0] * count,
        WIDTH=[640.0] * count,
        LICENSE=["?" if n % 2 else "creativecommons.org/licenses/by/2.0/" for n in numbers],
        NSFW=["UNLIKELY"] * count,
        similarity=[0.3] * count,
    )


def test_laion_400m_in_a_folder_of_parts_that_datasets_reads_too(tmp_path: Path) -> None:
    for part in range(3):
        laion_400m(tmp_path / "parts" / f"part-{part:05d}-x.snappy.parquet", part * 10, 10)
    (tmp_path / "parts" / ".hidden.parquet").write_bytes(b"no")
    rows = read(tmp_path / "parts")
    files = sorted(map(str, (tmp_path / "parts").glob("part-*.parquet")))
    independent = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["url"].to_list() == rows["source_key"].to_list() == independent["URL"][:]
    assert [c[0]["text"] for c in rows["captions"].to_list()] == independent["TEXT"][:]
    assert rows["captions"][0].to_list() == [{"text": "Alt text 0", "kind": "alt", "license": "CC-BY-4.0"}]
    assert rows["license"].to_list() == [None if each == "?" else each for each in independent["LICENSE"][:]]
    assert json.loads(rows["meta"][7]) == {
        "sample_id": 7.0,
        "height": 480.0,
        "width": 640.0,
        "nsfw": "UNLIKELY",
        "similarity": 0.3,
    }


def test_laion_5b_and_coco_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "l.parquet",
        url=["http://a/1", "http://a/2"],
        caption=["alt one", None],
        top_caption=["a photo of one", "a photo of two"],
        all_captions=[["a photo of one", "one"], []],
        hash=pa.array([-5, 2**62], pa.int64()),
        punsafe=pa.array([0.01, float("nan")], pa.float32()),
        pwatermark=[0.9, None],
        LANGUAGE=["en", ""],
    )
    rows = read(path)
    assert rows["captions"].to_list() == [
        [
            {"text": "alt one", "kind": "alt", "license": "CC-BY-4.0"},
            {"text": "a photo of one", "kind": "captioner", "license": "CC-BY-4.0"},
        ],
        [{"text": "a photo of two", "kind": "captioner", "license": "CC-BY-4.0"}],
    ]
    first, second = (json.loads(text) for text in rows["meta"])
    assert first.pop("punsafe") == pytest.approx(0.01)
    assert first == {"all_captions": ["a photo of one", "one"], "hash": -5, "pwatermark": 0.9, "language": "en"}
    assert second == {"all_captions": [], "hash": 2**62}


def test_hostile_values(tmp_path: Path) -> None:
    urls = ["http://a/0", None, "  ", "http://a/\x003", "http://a/4", "http://a/4"]
    texts = pa.array([b"caf\xe9", b"x", b"y", b"\x00\x01z\xc2\x85", b"w" * 1_000_000, None], pa.binary()).cast(
        pa.string(), safe=False
    )
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"URL": pa.array(urls).dictionary_encode(), "TEXT": texts}), path)
    rows = read(path)
    assert rows["source_key"].to_list() == [
        "http://a/0",
        "l.parquet:1",
        "l.parquet:2",
        "http://a/3",
        "http://a/4",
        "http://a/4",
    ]
    assert rows["bad"].to_list() == [None, "l.parquet row 1: no URL", "l.parquet row 2: no URL", None, None, None]
    found = [[c["text"] for c in captions] for captions in rows["captions"]]
    assert found == [["caf\ufffd"], ["x"], ["y"], ["\x01z"], ["w" * 1_000_000], []]


@pytest.mark.parametrize(
    "type", [pa.int64(), pa.binary(), pa.timestamp("us"), pa.list_(pa.string()), pa.decimal128(19, 2), pa.date32()]
)
def test_columns_of_a_wrong_type_stop_nothing(tmp_path: Path, type: pa.DataType) -> None:
    value = {pa.binary(): b"\xff\x00b", pa.list_(pa.string()): ["a", None]}.get(type, 7)
    odd = (
        pa.array([value, None], pa.int32()).cast(type)
        if type in (pa.date32(), pa.decimal128(19, 2))
        else pa.array([value, None], type)
    )
    rows = read(write(tmp_path / "l.parquet", URL=odd, TEXT=odd, LICENSE=odd, extra=odd))
    assert rows.height == 2
    assert rows["bad"][1] == "l.parquet row 1: no URL"


def test_files_of_other_forms_are_refused(tmp_path: Path) -> None:
    hub = write(tmp_path / "hub.parquet", image=[{"bytes": b"x", "path": "a"}], text=["t"])
    empty = tmp_path / "empty.parquet"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(laion_400m(tmp_path / "l.parquet", 0, 50).read_bytes()[:-20])
    tsv = tmp_path / "c.parquet"
    tsv.write_text("a\thttp://a/1\n")
    expected = {
        hub: "source hf",
        empty: "an empty file",
        cut: "cut off or damaged",
        tsv: "CC3M",
        write(tmp_path / "only.parquet", URL=["http://a/1"]): "no column TEXT",
        tmp_path / "none.parquet": "cannot be read",
    }
    for path, said in expected.items():
        with pytest.raises(CaptionlakeError) as caught:
            read(path)
        assert said in str(caught.value) and path.name in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CaptionlakeError, match=r"holds no \.parquet file"):
        read(tmp_path / "nothing")


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    assert read(laion_400m(tmp_path / "l.parquet", 0, 0)).height == 0


def test_long_texts_come_in_small_frames(tmp_path: Path) -> None:
    """A frame of ten thousand such rows would be ten gigabytes."""
    texts = [f"{n} " + "long " * 100_000 for n in range(150)]
    path = write(tmp_path / "l.parquet", URL=[f"http://a/{n}" for n in range(150)], TEXT=texts)
    heights = [frame.height for frame in LAION.read(IngestConfig(source="laion", inputs=[str(path)]))]
    assert sum(heights) == 150 and max(heights) <= 70
