"""The JSON parsers on damaged files: rows or one clear error, whatever the bytes.

``CAPTIONLAKE_FUZZ_SECONDS=60`` lets each parser run for that long instead of the seconds of a usual run.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.coco import COCO
from captionlake.lake.sources.json_items import POLYGONS, json_items
from captionlake.lake.sources.llava558k import LLAVA558K
from captionlake.lake.sources.looks_like import looks_like
from captionlake.lake.sources.sharegpt4v import RELEASED, released
from captionlake.lake.sources.source import SCHEMA, Source
from captionlake.lake.sources.textcaps import TEXTCAPS

SECONDS = float(os.environ.get("CAPTIONLAKE_FUZZ_SECONDS", "2.5"))

TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": 'A "dog", é 🐕.'}]
COCO_FILE = {
    "info": {"year": 2017},
    "licenses": [{"id": 1, "name": "Attribution License", "url": "http://a.invalid"}],
    "images": [
        {
            "id": n,
            "file_name": f"{n}.jpg",
            "coco_url": f"http://a.invalid/{n}.jpg",
            "license": 1,
            "width": 4,
            "height": 3,
        }
        for n in range(1, 4)
    ],
    "annotations": [{"image_id": n, "id": n, "caption": "A dog."} for n in range(1, 4)]
    + [
        {"image_id": 1, "id": 9, "category_id": 18, "segmentation": [[1.5, 2, 3e1]], "bbox": [1, 2, 3, 4], "iscrowd": 0}
    ],
    "categories": [{"id": 18, "name": "dog"}],
}
LLAVA_FILE = [{"id": f"00000000{n}", "image": f"00000/00000000{n}.jpg", "conversations": TURNS} for n in range(4)]
META_FILE = [
    {"id": f"00000000{n}", "image": f"00000/00000000{n}.jpg", "url": "http://a.invalid/x.jpg", "blip_caption": "a dog"}
    for n in range(4)
]
TEXTCAPS_FILE = {
    "dataset_type": "train",
    "data": [
        {"image_id": f"a{n}", "caption_str": "A sign.", "reference_strs": ["A sign.", "Stop."], "flickr_300k_url": "http://a.invalid/b",
         "image_classes": ["Sign"], "image_width": 4}
        for n in range(3)
    ]
    + [{"image_id": "a1", "ocr_tokens": ["STOP"]}],
}  # fmt: skip
RELEASED_FILE = [{"id": str(n), "image": f"sam/images/sa_{n}.jpg", "conversations": TURNS} for n in range(4)]

ODD: list[Any] = [
    None, True, -1, 1e999, 10**30, "", "\x00", "\ud800", "x" * 5000, [], {}, [[[]]], {"id": {}}, [None], "coco/", "../../x", float("nan"),
]  # fmt: skip
BYTES = [
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b'"',
    b"\\",
    b"{",
    b"[",
    b"]",
    b"}",
    b",",
    b"\r\n",
    b"\xef\xbb\xbf",
    b"NaN",
    b"\\ud83d",
    b"[" * 3000,
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a document."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> bytes:
    """The document with values and bytes of it changed, cut, doubled or replaced."""
    whole = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(0, 4))):
        path = draw(st.sampled_from(list(places(whole)) or [()]))
        if not path:
            break
        parent = whole
        for key in path[:-1]:
            parent = parent[key]
        change = draw(st.sampled_from(["odd", "delete", "double"]))
        if change == "odd":
            parent[path[-1]] = deepcopy(draw(st.sampled_from(ODD)))
        elif change == "delete":
            del parent[path[-1]]
        elif isinstance(parent, list):
            parent.append(deepcopy(parent[path[-1]]))
    text = json.dumps(whole, indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans()))
    data = text.encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        change = draw(st.sampled_from(["insert", "cut", "remove", "utf-16"]))
        if change == "insert":
            data = data[:at] + draw(st.sampled_from(BYTES)) + data[at:]
        elif change == "cut":
            data = data[:at]
        elif change == "remove":
            data = data[:at] + data[at + draw(st.integers(1, 20)) :]
        else:
            data = data.decode("utf-8", "replace").encode("utf-16")
    return data


def fuzz(strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> int:
    """Run ``check`` on what ``strategy`` draws until the time is up; how often it ran."""
    end, runs = time.monotonic() + SECONDS, 0

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(value: Any) -> None:
        nonlocal runs
        if time.monotonic() < end:
            check(value)
            runs += 1

    while time.monotonic() < end:
        run()
    return runs


def one_line(error: CaptionlakeError, path: Path) -> None:
    assert "\n" not in str(error) and str(path.parent) in str(error) and len(str(error)) < 1000


@pytest.mark.parametrize(
    ("source", "files"),
    [(COCO, [COCO_FILE]), (LLAVA558K, [LLAVA_FILE, META_FILE]), (LLAVA558K, [META_FILE]), (TEXTCAPS, [TEXTCAPS_FILE])],
    ids=["coco", "llava558k", "llava558k-meta", "textcaps"],
)
def test_sources_yield_rows_or_one_error(source: Source, files: list[Any], tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.json" for number in range(len(files))]
    seen = {"rows": 0, "errors": 0}

    def check(contents: list[bytes]) -> None:
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        try:
            found = list(source.read(IngestConfig(source=source.name, inputs=[str(path) for path in paths])))
        except CaptionlakeError as error:
            one_line(error, paths[0])
            seen["errors"] += 1
            return
        frame = pl.concat([SCHEMA.to_frame(), *found])
        seen["rows"] += len(frame)
        assert frame["source_key"].null_count() == 0
        for row in frame.to_dicts():
            assert row["bad"] or row["url"]
            assert isinstance(json.loads(row["meta"]), dict)
            assert all(
                item["text"].strip() and item["kind"] in ("human", "captioner") for item in row["captions"] or []
            )

    assert fuzz(st.tuples(*(damaged(document) for document in files)).map(list), check) > 20
    assert seen["rows"] and seen["errors"]


def test_released_captions_are_rows_or_one_error(tmp_path: Path) -> None:
    path = tmp_path / "share-captioner_x.json"
    seen = {"rows": 0, "errors": 0}

    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            found = list(released(IngestConfig(source="sharegpt4v", inputs=[str(path)])))
        except CaptionlakeError as error:
            one_line(error, path)
            seen["errors"] += 1
            return
        for row in [row for frame in found for row in frame.to_dicts()]:
            seen["rows"] += 1
            assert set(row) == {*RELEASED, "chars", "words"} and row["image"] and row["collection"]
            assert (row["bad"] is None) == (row["text"] is not None)
            assert row["text"] is None or (row["chars"], row["words"]) == (
                len(row["text"]),
                len(re.findall(r"\S+", row["text"])),
            )

    assert fuzz(damaged(RELEASED_FILE), check) > 20
    assert seen["rows"] and seen["errors"]


def test_items_are_those_of_the_whole_document(tmp_path: Path) -> None:
    """Against ``json.loads``: the same items of the same lists in order, with and without dropping, however the text is laid out."""
    path = tmp_path / "x.json"
    values = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=4) | st.just("segmentation"), inner, max_size=3)
        ),
        max_leaves=6,
    )
    lists = st.lists(values, max_size=5)
    documents = lists | st.dictionaries(st.sampled_from(["a", "b", "images", "x"]), lists | values, max_size=4)

    def check(drawn: tuple[Any, int | None, bool]) -> None:
        document, indent, ascii = drawn
        path.write_text(json.dumps(document, indent=indent, ensure_ascii=ascii), encoding="utf-8")
        found = list(json_items(path, "", "a", "images"))
        named = {"": document} if isinstance(document, list) else document
        wanted = [
            (name, item)
            for name, part in named.items()
            if name in ("", "a", "images") and isinstance(part, list)
            for item in part
        ]
        assert found == wanted
        dropped = list(json_items(path, "", "a", "images", drop=POLYGONS))
        assert [name for name, _ in dropped] == [name for name, _ in wanted]

    texts = st.tuples(documents, st.sampled_from([None, 0, 2]), st.booleans())
    assert fuzz(texts, check) > 20


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_the_window_may_end_anywhere(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captionlake.lake.sources.json_items._READ_BYTES", size)
    path = tmp_path / "x.json"
    for document in (COCO_FILE, LLAVA_FILE, TEXTCAPS_FILE, [1, 22, 333, -4.5e10, True, None, "é🐕"]):
        for indent in (None, 1):
            path.write_text(json.dumps(document, indent=indent, ensure_ascii=False), encoding="utf-8")
            parts = {"": document} if isinstance(document, list) else document
            for drop in (None, POLYGONS):
                found = list(json_items(path, *parts, drop=drop))
                wanted = [(name, item) for name, part in parts.items() if isinstance(part, list) for item in part]
                if drop is not None:
                    wanted = [
                        (n, i | {"segmentation": 0} if isinstance(i, dict) and "segmentation" in i else i)
                        for n, i in wanted
                    ]
                assert found == wanted


def test_an_error_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captionlake.lake.sources.json_items._READ_BYTES", 50)
    path = tmp_path / "x.json"
    lines = json.dumps(COCO_FILE, indent=1).splitlines()
    for number in (5, 20, 40, len(lines) - 3):
        changed = [*lines[:number], "é" * 30 + " !", *lines[number + 1 :]]
        path.write_text("\n".join(changed))
        for drop in (None, POLYGONS):
            with pytest.raises(CaptionlakeError, match=rf"x\.json line {number + 1} column 1: not valid JSON"):
                list(json_items(path, "images", drop=drop))
        path.write_bytes("\n".join(changed[: number + 1]).encode() + b"\xff\n}")
        lines_said = {re.search(r"line (\d+)", str(_error(path))).group(1)}  # type: ignore[union-attr]
        assert lines_said <= {str(number + 1)}


def _error(path: Path) -> CaptionlakeError:
    with pytest.raises(CaptionlakeError) as caught:
        list(json_items(path, "images"))
    return caught.value


def test_looks_like_never_raises(tmp_path: Path) -> None:
    path = tmp_path / "x"
    heads = st.sampled_from(
        [b"", b"{", b"[", b"<html", b"PK\x03\x04", b"url\tx", b"http://a\n", b"\xef\xbb\xbf{", b'{"images": "coco_url"']
    )

    def check(content: bytes) -> None:
        path.write_bytes(content)
        found = looks_like(path)
        assert found is None or (found and "\n" not in found)

    assert fuzz(st.builds(bytes.__add__, heads, st.binary(max_size=300)), check) > 20
    assert looks_like(tmp_path) == "a folder" and looks_like(tmp_path / "gone") is None
