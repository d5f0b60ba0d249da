"""Every parser of tables against mutated files: frames of the schema or one plain error, nothing else.

``CAPTIONLAKE_FUZZ_SECONDS`` makes each parser run that long with ever new damage (``-rP`` shows how many files that were);
without it, the damage is the same each time.
"""

import io
import itertools
import json
import os
import random
import sys
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader, MemberError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.cc3m import CC3M
from captionlake.lake.sources.folder import FOLDER
from captionlake.lake.sources.hf import HF
from captionlake.lake.sources.img2dataset import IMG2DATASET
from captionlake.lake.sources.laion import LAION
from captionlake.lake.sources.sbu import SBU
from captionlake.lake.sources.source import FRAME_ROWS, SCHEMA, Source, as_json, caption, clean
from captionlake.lake.sources.tables import Texts, as_text, captions, cleaned, lines, meta
from captionlake.lake.sources.web import WEB
from captionlake.lake.sources.wikiart import WIKIART

from ..image_server import jpeg

SECONDS = float(os.environ.get("CAPTIONLAKE_FUZZ_SECONDS", "0"))
EXAMPLES = 100  # of one round
FIRST_ROUND = random.SystemRandom().randrange(2**32) if SECONDS else 0
ODD = "".join(map(chr, [*range(0x21), 0x7F, 0x85, 0xA0, 0x2028, 0x3000, 0xFEFF, 0xFFFD, 0x1F600])) + 'ab"\\/\t'

TEXT = st.text(alphabet=st.one_of(st.sampled_from(ODD), st.characters(exclude_categories=["Cs"])), max_size=12)
SCALARS = st.one_of(
    st.lists(st.none() | TEXT, min_size=3, max_size=3),
    st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=3, max_size=3),
    st.lists(st.none() | st.floats(), min_size=3, max_size=3),
    st.lists(st.none() | st.booleans(), min_size=3, max_size=3),
    st.lists(st.none() | st.lists(TEXT, max_size=3), min_size=3, max_size=3),
)


@given(st.lists(st.none() | TEXT, max_size=20))
def test_a_cleaned_column_is_each_value_cleaned(values: list[str | None]) -> None:
    frame = pl.DataFrame({"c": pl.Series(values, dtype=pl.String)})
    expected = [clean(value) for value in values]
    assert frame.select(cleaned(pl.col("c"))).to_series().to_list() == expected
    assert as_text(frame["c"]).to_list() == expected


def test_white_space_is_what_python_takes_off() -> None:
    letters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    frame = pl.DataFrame({"c": [f"{letter}x{letter}" for letter in letters]})
    found = frame.select(cleaned(pl.col("c"))).to_series().to_list()
    assert found == [clean(f"{letter}x{letter}") for letter in letters]


@given(st.lists(st.tuples(st.none() | TEXT, st.none() | st.lists(st.none() | TEXT, max_size=3)), max_size=8))
def test_columns_of_captions_are_each_rows_captions(rows: list[tuple[str | None, list[str | None] | None]]) -> None:
    first = pl.Series([one for one, _ in rows], dtype=pl.String)
    second = pl.Series([many for _, many in rows], dtype=pl.List(pl.String))
    found = captions(len(rows), Texts(first, "alt", "CC0-1.0"), Texts(second, "human"))
    assert found.dtype == SCHEMA["captions"]
    assert found.to_list() == [
        caption(one, "alt", "CC0-1.0") + [c for text in many or [] for c in caption(text, "human")]
        for one, many in rows
    ]


@given(st.dictionaries(TEXT, SCALARS, max_size=4))
def test_a_column_of_meta_is_each_rows_object(columns: dict[str, list[object]]) -> None:
    found = [json.loads(text) for text in meta(3, (pl.Series(name, values) for name, values in columns.items()))]
    for row in range(3):
        values = {name: values[row] for name, values in columns.items()}
        kept = json.loads(as_json(values))
        assert found[row] == {name: value for name, value in kept.items() if value not in (None, "")}


@given(st.lists(st.binary(max_size=9).filter(lambda b: b"\n" not in b), max_size=9), st.booleans(), st.booleans())
def test_lines_are_the_files_lines(
    tmp_path_factory: pytest.TempPathFactory, raw: list[bytes], end: bool, crlf: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    path.write_bytes(b"first\n" + (b"\r\n" if crlf else b"\n").join(raw) + (b"\n" if end else b""))
    expected = path.read_bytes().split(b"\n")
    if not expected[-1]:
        expected.pop()
    shown = [line.removesuffix(b"\r").decode("utf-8", "replace") for line in expected]
    found = pl.concat(list(lines(path)))
    assert found["text"].to_list() == shown
    assert found["line"].to_list() == list(range(1, len(shown) + 1))
    assert found["broken"].to_list() == [line.decode("utf-8", "replace").encode() != line for line in expected]


def parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=2)
    return sink.getvalue()


def hub_parquet(table: pa.Table, **labels: list[str]) -> bytes:
    """With the Hub's metadata: an Image column ``image``, and classes by their names."""
    features: dict[str, object] = {name: {"names": names, "_type": "ClassLabel"} for name, names in labels.items()}
    told = json.dumps({"info": {"features": features | {"image": {"_type": "Image"}}}})
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": told}), sink, row_group_size=2)
    return sink.getvalue()


def zipped(**members: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        for name, data in members.items():
            file.writestr(name.replace("__", "/").replace("_DOT_", "."), data)
    return sink.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return sink.getvalue()


URLS = [f"https://example.org/{n}.jpg" for n in range(5)]
TEXTS = ["A cat", 'a "dog"', None, "caf\u00e9\x00", "x" * 300]
SMALL = jpeg(1, 16, 16)
ROW = json.dumps({"url": URLS[0], "caption": "A cat", "key": "000000000", "status": "success"}).encode()
SBU_JSON = json.dumps({"image_urls": URLS, "user_ids": ["1"] * 5, "captions": TEXTS}).encode()
IMAGES = pa.array(
    [{"bytes": SMALL, "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, {"bytes": None, "path": URLS[0]}]
)
STATUS = ["success", "failed_to_download", "success"]
SHARD_MEMBERS = {
    f"00000000{n}.{suffix}": data
    for n in range(4)
    for suffix, data in {
        "jpg": jpeg(n, 16, 16),
        "json": json.dumps({"url": URLS[n], "caption": TEXTS[n], "key": f"00000000{n}", "exif": "{}"}).encode(),
        "txt": f"Text {n}".encode(),
    }.items()
}
SHARD_ROWS = parquet(
    key=[f"00000000{n}" for n in range(4)],
    url=URLS[:4],
    caption=TEXTS[:4],
    status=["success", "failed_to_download", "success", "success"],
    error_message=[None, "HTTP Error 404: Not Found", None, None],
    width=[16, None, 16, 16],
)
PAINTINGS = pa.table(
    {
        "image": IMAGES,
        "artist": pa.array([0, 1, 7], pa.int64()),
        "genre": pa.array([None, 0, 1], pa.int64()),
        "style": pa.array([1, 0, -1], pa.int64()),
    }
)

# source, its files by name, each of which is damaged in turn, and which are given as inputs
SAMPLES: dict[str, tuple[Source, dict[str, bytes], list[str]]] = {
    "laion": (LAION, {"l.parquet": parquet(URL=URLS, TEXT=TEXTS, WIDTH=[1.0] * 5, LICENSE=["?"] * 5)}, ["l.parquet"]),
    "cc3m": (CC3M, {"c.tsv": "".join(f"{t}\t{u}\n" for t, u in zip(TEXTS, URLS, strict=True)).encode()}, ["c.tsv"]),
    "sbu-text": (SBU, {"u.txt": "\n".join(URLS).encode(), "c.txt": b"a\nb\nc\nd\ne\n"}, ["u.txt", "c.txt"]),
    "sbu-json": (SBU, {"s.json": SBU_JSON}, ["s.json"]),
    "web-csv": (WEB, {"w.csv": b"url,name\n" + b'http://a/1.jpg,"Some, one"\n' * 5}, ["w.csv"]),
    "web-jsonl": (WEB, {"w.jsonl": b'{"url": "http://a/1.jpg", "name": "One", "n": [1, null]}\n' * 5}, ["w.jsonl"]),
    "web-zip": (WEB, {"w.zip": zipped(One_DOT_jpg=SMALL, b__Two_DOT_jpg=SMALL)}, ["w.zip"]),
    "web-tar": (WEB, {"w.tar": tarred({"One.jpg": SMALL, "b/Two.png": SMALL})}, ["w.tar"]),
    "hf": (HF, {"h.parquet": parquet(image=IMAGES, caption=TEXTS[:3], n=[1, 2, None])}, ["h.parquet"]),
    "img2dataset-parquet": (
        IMG2DATASET,
        {
            "00000.parquet": parquet(
                key=["0", "1", "2"],
                url=URLS[:3],
                status=STATUS,
                error_message=[None, "HTTP Error 404: Not Found", None],
                jpg=[SMALL, None, None],
            )
        },
        ["00000.parquet"],
    ),
    "img2dataset-tar": (
        IMG2DATASET,
        {"00000.tar": tarred({"000000000.jpg": SMALL, "000000000.json": ROW, "000000000.txt": b"A cat"})},
        ["00000.tar"],
    ),
    "img2dataset-tar-of-many": (
        IMG2DATASET,
        {"00000.tar": tarred(SHARD_MEMBERS), "00000.parquet": SHARD_ROWS, "00000_stats.json": b"{}"},
        ["00000.tar"],
    ),
    "img2dataset-files": (
        IMG2DATASET,
        {
            **{f"made/00000/{name}": data for name, data in SHARD_MEMBERS.items()},
            **{f"made/00001/{name}": data for name, data in SHARD_MEMBERS.items()},
            "made/00000.parquet": SHARD_ROWS,
            "made/00000_stats.json": b"{}",
        },
        ["made"],
    ),
    "wikiart-parquet": (
        WIKIART,
        {
            "p.parquet": hub_parquet(
                PAINTINGS, artist=["claude-monet", "A_B"], genre=["portrait", "city_scape"], style=["Cubism", "Pop_Art"]
            )
        },
        ["p.parquet"],
    ),
    "wikiart-csv": (
        WIKIART,
        {
            "artist_train.csv": b"S/a_b-1900.jpg,0\nS/c_d.jpg,1\n",
            "artist_class.txt": b"0 A_B\n",
            "w.zip": zipped(S__a_DOT_jpg=SMALL),
        },
        ["artist_train.csv", "artist_class.txt", "w.zip"],
    ),
    "wikiart-classes": (
        WIKIART,
        {
            "artist_class.txt": b"0 A_B\n1 C_D\n",
            "artist_train.csv": b"S/a.jpg,0\n",
            "w.zip": zipped(S__a_DOT_jpg=SMALL),
        },
        ["artist_class.txt", "artist_train.csv", "w.zip"],
    ),
    "folder": (
        FOLDER,
        {"t.csv": b"file,caption\na.jpg,x\nb.jpg,y\n", "p.zip": zipped(a_DOT_jpg=SMALL)},
        ["t.csv", "p.zip"],
    ),
}

PIECES = st.sampled_from(
    [
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\n",
        b"\t",
        b",",
        b'"',
        b"{",
        b"]",
        b"null",
        b"1e999",
        b"\\ud800",
        b"\xf0\x9f\x98",
        b"../",
        b"/etc/passwd",
        b"[" * 3000,
        b"9" * 400,
        b"a" * 70000,
    ]
)
CHANGE = st.tuples(st.floats(0, 1), st.integers(0, 40), st.one_of(st.just(b""), st.binary(max_size=8), PIECES))
CHANGES = st.one_of(
    st.lists(CHANGE, min_size=1, max_size=4),
    st.floats(0, 1).map(lambda cut: [(cut, 2**40, b"")]),  # cut off
)


def mutated(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, length, put in changes:
        at = int(place * len(data))
        data = data[:at] + put + data[at + length :]
    return data


def drained(source: Source, inputs: list[Path]) -> pl.DataFrame:
    """All rows, each frame of the schema and each row usable or with its reason."""
    found = [pl.DataFrame(schema=SCHEMA)]
    for frame in source.read(IngestConfig(source=source.name, inputs=[str(path) for path in inputs])):
        assert frame.schema == SCHEMA
        assert frame.height <= 10 * FRAME_ROWS
        found.append(frame)
    rows = pl.concat(found)
    assert rows["source_key"].null_count() == 0
    usable = pl.col("url").is_not_null() | (pl.col("archive").is_not_null() & pl.col("member").is_not_null())
    assert rows.filter(pl.col("bad").is_null() & ~usable).height == 0
    assert all(isinstance(json.loads(text), dict) for text in rows["meta"].drop_nulls())
    rows.write_ipc(io.BytesIO())
    return rows


def written(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("name", SAMPLES)
def test_mutated_files(name: str, tmp_path: Path) -> None:
    source, files, inputs = SAMPLES[name]
    written(tmp_path, files)
    paths = [tmp_path / each for each in inputs]
    whole = drained(source, paths)
    assert whole.filter(pl.col("bad").is_null()).height
    ends, tried = time.monotonic() + SECONDS, Counter[str]()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.sampled_from(list(files)), CHANGES)
    def survives(file: str, changes: list[tuple[float, int, bytes]]) -> None:
        (tmp_path / file).write_bytes(mutated(files[file], changes))
        try:
            tried["read"] += 1
            drained(source, paths)
        except CaptionlakeError as error:
            tried["refused"] += 1
            assert "\n" not in str(error) and str(tmp_path) in str(error)
        finally:
            (tmp_path / file).write_bytes(files[file])

    for number in itertools.count(FIRST_ROUND):
        seed(number)(survives)()
        if time.monotonic() >= ends:
            break
    sys.stdout.write(f"{name}: {tried['read']:,} damaged files, {tried['refused']:,} of them refused\n")
    assert tried["read"] >= EXAMPLES / 2


@pytest.mark.parametrize("name", [name for name, (_, files, inputs) in SAMPLES.items() if inputs[0] in files])
def test_an_empty_file_and_another_sources_file_are_refused_by_name(name: str, tmp_path: Path) -> None:
    source, files, inputs = SAMPLES[name]
    written(tmp_path, files)
    paths = [tmp_path / each for each in inputs]
    for other in (
        b"",
        b"<!DOCTYPE html><html>Not found</html>\n",
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        bytes(range(256)) * 9,
    ):
        paths[0].write_bytes(other)
        with pytest.raises(CaptionlakeError) as caught:
            drained(source, paths)
        assert "\n" not in str(caught.value) and inputs[0] in str(caught.value)


def test_a_flipped_bit_in_the_footer_of_a_parquet_file(tmp_path: Path) -> None:
    """Each byte in turn: some of these end the whole process where PyArrow is asked for a row group's facts."""
    path, refused = tmp_path / "00000.parquet", 0
    pq.write_table(pa.table({"url": ["http://a/1", None], "jpg": [b"x", None]}), path, store_schema=False)
    whole = path.read_bytes()
    for at in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole) - 8):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with ArchiveReader() as reader:
            try:
                drained(IMG2DATASET, [path])
                reader.read(str(path), "jpg/0")
            except (CaptionlakeError, MemberError):
                refused += 1
    assert refused > 100
