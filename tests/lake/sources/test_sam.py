"""SA-1B: pictures with the facts of their JSON from tars, zips and folders, in any order and state; the list of links."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.sam import SAM, TarLink, is_link_list, links
from captionlake.lake.sources.source import SCHEMA

from ..image_server import jpeg

RUNS = pycocotools.mask.encode(np.asfortranarray(np.tri(48, 64, dtype=np.uint8)))["counts"].decode()


def annotation(number: int, areas: tuple[float, ...] = (12, 30.5)) -> bytes:
    """A JSON as SA-1B has it, with masks in COCO's compressed run lengths."""
    masks = [
        {
            "id": number * 100 + n,
            "area": area,
            "bbox": [0, 0, 4, 4],
            "segmentation": {"size": [48, 64], "counts": RUNS},
            "predicted_iou": 0.9 + n / 100,
            "stability_score": 0.95,
            "point_coords": [[1.5, 2.5]],
            "crop_box": [0, 0, 64, 48],
        }
        for n, area in enumerate(areas)
    ]
    image = {"image_id": number, "width": 64, "height": 48, "file_name": f"sa_{number}.jpg"}
    return json.dumps({"image": image, "annotations": masks}).encode()


def files(*numbers: int) -> Iterator[tuple[str, bytes]]:
    for number in numbers:
        yield f"sa_{number}.jpg", jpeg(number)
        yield f"sa_{number}.json", annotation(number)


def tar(path: Path, content: Any) -> Path:
    with tarfile.open(path, "w") as file:
        for name, data in content:
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def rows(*inputs: Path, **options: Any) -> list[dict[str, Any]]:
    found = list(SAM.read(IngestConfig(source="sam", inputs=[str(path) for path in inputs], **options)))
    assert all(frame.schema == SCHEMA for frame in found)
    return [row for frame in found for row in frame.to_dicts()]


FACTS = {"masks": 2, "mask_area": 42.5, "mean_predicted_iou": 0.905}


def check(found: list[dict[str, Any]], *numbers: int) -> None:
    """All of these pictures with their facts, readable at the place that the row tells."""
    by_key = {row["source_key"]: row for row in found}
    assert sorted(by_key) == sorted(f"sa_{number}.jpg" for number in numbers)
    with ArchiveReader() as reader:
        for number in numbers:
            row = by_key[f"sa_{number}.jpg"]
            assert json.loads(row["meta"]) == {"image_id": number} | FACTS
            assert reader.read(row["archive"], row["member"], row["offset"], row["n_bytes"]) == jpeg(number)
            assert (row["bad"], row["reason"], row["url"], row["captions"]) == (None, None, None, [])


def test_the_sample_is_of_the_official_form() -> None:
    """Its masks are what pycocotools reads."""
    masks = json.loads(annotation(1))["annotations"]
    decoded = pycocotools.mask.decode(
        [{**mask["segmentation"], "counts": mask["segmentation"]["counts"].encode()} for mask in masks]
    )
    assert (decoded[:, :, 1] == np.tri(48, 64)).all()


def test_tars(tmp_path: Path) -> None:
    first, second = tar(tmp_path / "sa_000000.tar", files(1, 2, 3)), tar(tmp_path / "sa_000001.tar", files(4, 5))
    found = rows(first, second)
    check(found, 1, 2, 3, 4, 5)
    assert [row["subset"] for row in found] == ["sa_000000"] * 3 + ["sa_000001"] * 2
    assert all(row["offset"] and row["n_bytes"] for row in found)
    assert rows(first, archives=[str(first), str(second)]) == found
    assert {row["subset"] for row in rows(first, subset="mine")} == {"mine"}


@pytest.mark.parametrize(
    "order",
    [
        sorted,
        lambda items: sorted(items, reverse=True),
        lambda items: items[::-1],
        lambda items: sorted(items, key=lambda item: item[0][::-1]),
    ],
)
def test_halves_of_a_pair_in_any_order(tmp_path: Path, order: Callable[..., Any]) -> None:
    check(rows(tar(tmp_path / "sa_000000.tar", order(list(files(1, 2, 3))))), 1, 2, 3)


def test_folders_and_zips_of_what_was_in_a_tar(tmp_path: Path) -> None:
    folder = tmp_path / "sa_000020"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "sa_000021.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files(7, 8):
            (folder / name).write_bytes(data)
            zipped.writestr(f"images/{name}", data)
    for archive in (folder, tmp_path / "sa_000021.zip"):
        found = rows(archive)
        check(found, 7, 8)
        assert {row["subset"] for row in found} == {archive.stem}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "missing"),
        (b"", "broken"),
        (b'{"image": {', "broken"),
        (b"\xff\xfe", "broken"),
        (b"[1]", "broken: no image"),
        (b'{"image": 1, "annotations": []}', "broken: no image"),
        (b'{"image": {}, "annotations": null}', "broken: no image"),
        (b"[" * 100_000, "broken"),
    ],
)
def test_a_picture_without_a_whole_json_comes_in(tmp_path: Path, data: bytes | None, said: str) -> None:
    content = [("sa_1.jpg", jpeg(1)), *([] if data is None else [("sa_1.json", data)]), *files(2)]
    found = {row["source_key"]: row for row in rows(tar(tmp_path / "sa_000000.tar", content))}
    assert json.loads(found["sa_1.jpg"]["meta"])["annotation"].startswith(said)
    assert found["sa_1.jpg"]["bad"] is None and found["sa_1.jpg"]["offset"]
    check([found["sa_2.jpg"]], 2)


def test_fields_of_other_types(tmp_path: Path) -> None:
    masks = [1, None, {}, {"area": "x"}, {"area": 5, "predicted_iou": None}, {"area": [1]}]
    data = json.dumps({"image": {"image_id": "seven"}, "annotations": masks}).encode()
    nan = b'{"image": {"image_id": 1}, "annotations": [{"area": NaN}, {"area": 1e400}, {"area": 3}]}'
    content = [("sa_1.jpg", jpeg(1)), ("sa_1.json", data), ("sa_2.jpg", jpeg(2)), ("sa_2.json", nan)]
    found = rows(tar(tmp_path / "sa_000000.tar", content))
    assert json.loads(found[0]["meta"]) == {"image_id": "seven", "masks": 6, "mask_area": 5}
    assert json.loads(found[1]["meta"]) == {"image_id": 1, "masks": 3, "mask_area": 3}


def test_a_json_without_its_picture_is_a_missing_picture(tmp_path: Path) -> None:
    content = [("sa_1.json", annotation(1)), *files(2)]
    found = {row["source_key"]: row for row in rows(tar(tmp_path / "sa_000000.tar", content))}
    assert found["sa_1.jpg"]["reason"] == "missing_member" and "sa_1.json is there" in found["sa_1.jpg"]["bad"]
    check([found["sa_2.jpg"]], 2)


def test_a_tar_that_is_cut_off(tmp_path: Path) -> None:
    archive = tar(tmp_path / "sa_000003.tar", files(1, 2, 3))
    with tarfile.open(archive) as file:
        at = file.getmember("./sa_3.jpg").offset_data + 100
    archive.write_bytes(archive.read_bytes()[:at])
    found = {row["source_key"]: row for row in rows(archive)}
    check([found.pop(f"sa_{n}.jpg") for n in (1, 2)], 1, 2)
    assert {key: row["reason"] for key, row in found.items()} == {
        "sa_3.jpg": "truncated",
        f"sa_000003.tar#{at}": "truncated",
    }
    assert {row["subset"] for row in found.values()} == {"sa_000003"}
    assert all("sa_000003.tar" in row["bad"] for row in found.values())


def test_hostile_and_double_members(tmp_path: Path) -> None:
    content = [*files(1), ("sa_1.jpg", jpeg(9)), ("../sa_1.jpg", jpeg(9)), ("notes.txt", b"x"), ("sa_1.json", b"{}")]
    found = {row["source_key"]: row for row in rows(tar(tmp_path / "sa_000000.tar", content))}
    check([found.pop("sa_1.jpg")], 1)
    assert sorted((key, row["reason"]) for key, row in found.items()) == [
        (".//../sa_1.jpg" if ".//../sa_1.jpg" in found else "./../sa_1.jpg", "unsafe_member"),
        ("sa_1.jpg#2", "bad_row"),
    ]


def test_the_limit_reads_no_further(tmp_path: Path) -> None:
    archive = tar(tmp_path / "sa_000000.tar", files(*range(1, 30)))
    assert len(rows(archive, limit=3)) == 3
    assert len(rows(archive, tmp_path / "gone.tar", limit=29)) == 29


def test_archives_that_are_none(tmp_path: Path) -> None:
    tar(tmp_path / "other.tar", [("a.txt", b"x")])
    (tmp_path / "sa_000001.tar").write_text("<!doctype html><html>URL signature expired</html>")
    (tmp_path / "sa_000002.tar.gz").write_bytes(b"\x1f\x8brest")
    for name, said in (
        ("other.tar", "holds no sa_N.jpg"),
        ("gone.tar", "no archive"),
        ("sa_000001.tar", "looks like a web page"),
        ("sa_000002.tar.gz", "gunzip"),
    ):
        with pytest.raises(CaptionlakeError, match=said):
            rows(tmp_path / name)
    with pytest.raises(CaptionlakeError, match="list of links"):
        rows()


# The list of links

LINKS = "file_name\tcdn_link\nsa_000020.tar\thttps://scontent.example/a/sa_000020.tar?x=1&_nc_ht=h\nsa_000021.tar\thttp://h.example/b\n"
EXPECTED = [
    TarLink("sa_000020.tar", "https://scontent.example/a/sa_000020.tar?x=1&_nc_ht=h"),
    TarLink("sa_000021.tar", "http://h.example/b"),
]


def link_file(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "links.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        LINKS,
        LINKS.replace("\n", "\r\n"),
        "\ufeff" + LINKS,
        LINKS.partition("\n")[2],
        LINKS.rstrip() + "\n\n",
        LINKS + "sa_000020.tar\thttps://scontent.example/a/sa_000020.tar?x=1&_nc_ht=h\n",
    ],
)
def test_links(tmp_path: Path, content: str) -> None:
    path = link_file(tmp_path, content)
    assert links(path) == EXPECTED
    assert is_link_list(path)
    assert rows(path) == []
    archive = tar(tmp_path / "sa_000000.tar", files(1))
    assert not is_link_list(archive) and not is_link_list(tmp_path) and not is_link_list(tmp_path / "gone.tsv")
    check(rows(path, archive), 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "names no tar"),
        ("file_name\tcdn_link\n", "names no tar"),
        ("<!DOCTYPE html><html><title>Log in</title>", "its address has expired"),
        ('{"error": "URL signature expired"}', "its address has expired"),
        (
            LINKS + "sa_000020.tar\thttps://other.example/x\n",
            "line 4: sa_000020.tar stands in line 2 with another link",
        ),
        (LINKS + "sa_000022.tar\n", "line 4: 1 fields"),
        (LINKS + "a\tb\tc\n", "line 4: 3 fields"),
        (LINKS + "../sa_1.tar\thttps://h.example/x\n", "line 4: '../sa_1.tar' is not the plain name"),
        (LINKS + "a\\b.tar\thttps://h.example/x\n", "is not the plain name"),
        (LINKS + "/etc/x.tar\thttps://h.example/x\n", "is not the plain name"),
        (LINKS + ".tar\thttps://h.example/x\n", "is not the plain name"),
        (LINKS + "x\x00y.tar\thttps://h.example/x\n", "is not the plain name"),
        (LINKS + "sa_1.zip\thttps://h.example/x\n", "is not the plain name"),
        (LINKS + "sa_1.tar\tfile:///etc/passwd\n", "line 4: 'file:///etc/passwd' is not an http"),
        (LINKS + "sa_1.tar\thttps://\n", "is not an http"),
        (LINKS + "sa_1.tar\thttps://[x/\n", "is not an http"),
        (LINKS + "sa_1.tar\thttps://h.example/a b\n", "is not an http"),
        ("A dog\thttps://h.example/dog.jpg\n", "is not the plain name"),
        (b"sa_1.tar\thttps://h.example/\xff\n", "not UTF-8"),
        (LINKS.encode("utf-16"), "not UTF-8"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(CaptionlakeError) as caught:
        links(link_file(tmp_path, content))
    assert said in str(caught.value) and "links.tsv" in str(caught.value) and str(caught.value).isprintable()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(alphabet="sa_0.tar\thps:/\n\r<{", max_size=80).map(str.encode)))
def test_any_bytes_are_links_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.tsv"
    path.write_bytes(content)
    try:
        found = links(path)
    except CaptionlakeError as error:
        assert "\n" not in str(error)
    else:
        assert found and all(link.file_name.endswith(".tar") and link.url.startswith("http") for link in found)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda x: (
                st.lists(x, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["image", "annotations", "area", "image_id", "predicted_iou"]), x, max_size=3
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_json_leaves_its_picture(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    archive = tar(tmp_path_factory.getbasetemp() / "sa_fuzz.tar", [("sa_1.json", content), ("sa_1.jpg", jpeg(1))])
    (row,) = rows(archive)
    assert row["source_key"] == "sa_1.jpg" and row["bad"] is None and isinstance(json.loads(row["meta"]), dict)
