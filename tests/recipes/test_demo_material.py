"""The demo's raw material: photographs with true credits, collections that other readers accept, a server, a model."""

import csv
import hashlib
import http.client
import io
import json
import os
import struct
import sys
import tomllib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "recipes" / "demo"))  # its scripts are no package

import gcompris  # noqa: E402
import layout  # noqa: E402
import model  # noqa: E402
import photographs  # noqa: E402
import variants  # noqa: E402
from debian import NoPackageError, unpacked  # noqa: E402
from server import PortInUseError, Site  # noqa: E402

RECIPE = ROOT / "recipes" / "demo.toml"


@pytest.fixture(scope="module")
def pip() -> photographs.Found:
    return photographs.collect(debian=False)


@pytest.fixture(scope="module")
def laid_out(pip: photographs.Found, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("repository") / "build" / "demo"
    folder.mkdir(parents=True)
    return folder, layout.lay_out(pip.photographs, folder)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / model.NAME
    assert model.write_model(folder)
    return folder


# --- what the packages say ------------------------------------------------------------------------

README = """\
Copyright: Ann Example, 2020
License: CC-BY-SA 4.0
Files:
drawing.svg
north/tower.webp

Files: heron.webp
Source: https://example.org/File:Heron_(1).jpg
License: CC0-1.0
Copyright: © 2014 Bo & Co
Comments: cropping

Copyright: 2000, 2008 Dee and others
License: CC-BY 4.0
castle_0.webp
castle_background.webp
Comment: based on a photo by Eve, license CC-BY 3.0, source at https://example.org/castle.jpg

Copyright: nobody says under what
Files: bare.webp
"""


def test_credits_are_read_in_every_form_that_the_package_uses() -> None:
    found = gcompris.parse_credits(README)
    assert found.keys() == {"north/tower.webp", "heron.webp", "castle_0.webp", "castle_background.webp"}
    tower, heron, castle = found["north/tower.webp"], found["heron.webp"], found["castle_background.webp"]
    assert (tower.author, tower.license, tower.source_url) == ("Ann Example, 2020", "CC-BY-SA-4.0", "")
    assert (heron.author, heron.license) == ("Bo & Co", "CC0-1.0")
    assert heron.source_url == "https://example.org/File:Heron_(1).jpg"
    assert castle.license == "CC-BY-4.0"
    assert photographs._photographer(castle) == ("Eve, adapted by Dee and others", "https://example.org/castle.jpg")


def test_texts_are_read_from_qml() -> None:
    qml = r"""QtObject { property var tab: [
        { "image": "qrc:/a/key.svg", "title": qsTr("Old \"Tower\""), "text": qsTr("It stands.  It
          leans."), "image2": "qrc:/a/tower.webp", "x": "0.5" },
        { "title": qsTr("No picture"), "text": qsTr("Left out.") } ] }"""
    assert gcompris.read_texts(qml) == {"a/tower.webp": ('Old "Tower"', "It stands. It leans.")}


def _resource_file(files: dict[str, bytes], version: int, flag: int) -> bytes:
    """A Qt resource file with the given files in one folder, written from the format's description."""
    pack: dict[int, Callable[[bytes], bytes]] = {
        0: bytes,
        1: lambda body: struct.pack(">I", len(body)) + zlib.compress(body),
        4: zstandard.ZstdCompressor().compress,
    }
    names, data = b"", b""
    nodes = [struct.pack(">iHii", 0, 2, 1, 1)]
    for name in ["folder", *files]:
        offset = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        if name == "folder":
            nodes.append(struct.pack(">iHii", offset, 2, len(files), 2))
            continue
        nodes.append(struct.pack(">iHHHi", offset, flag, 0, 0, len(data)))
        body = pack[flag](files[name])
        data += struct.pack(">i", len(body)) + body
    tree = b"".join(node + (b"" if version == 1 else bytes(8)) for node in nodes)
    start = 20 if version < 3 else 24
    at = start, start + len(tree), start + len(tree) + len(data)
    return b"qres" + struct.pack(">iiii", version, *at) + bytes(start - 20) + tree + data + names


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("flag", [0, 1, 4])
def test_resource_files_of_each_version_and_compression(tmp_path: Path, version: int, flag: int) -> None:
    files = {"a.webp": b"\x00picture" * 50, "ü.qml": b"text"}
    path = tmp_path / "x.rcc"
    path.write_bytes(_resource_file(files, version, flag))
    assert gcompris.read_resources(path) == {f"folder/{name}": body for name, body in files.items()}


@given(st.data())
def test_a_damaged_resource_file_is_reported(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = _resource_file({"a": b"1234" * 20, "b": b"5678" * 20}, 2, data.draw(st.sampled_from([0, 1, 4])))
    at = data.draw(st.integers(4, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(min_size=1, max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    path = tmp_path_factory.mktemp("rcc") / "x.rcc"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        gcompris.read_resources(path)
    except gcompris.BadResourceError as error:
        assert str(path) in str(error)


@given(
    st.lists(st.sampled_from(["One.", "Two words!", "Is it 3.5 m?", "“Quoted” it is.", "End"]), min_size=1, max_size=9)
)
def test_sentences_keep_every_word(parts: list[str]) -> None:
    text = " ".join(parts)
    found = photographs.sentences(text)
    assert " ".join(found) == text
    assert 1 <= len(found) <= 5


def test_what_we_say_of_pips_photographs_stands_in_their_packages(pip: photographs.Found) -> None:
    import skimage.data
    import sklearn

    assert len(pip.photographs) == 14 and not pip.remarks
    said = {"CC0-1.0": "CC0", "Public domain": "public domain", "No known copyright restrictions": "No known copyright"}
    readme = (Path(sklearn.__file__).parent / "datasets" / "images" / "README.txt").read_text()
    for one in pip.photographs:
        name = Path(one.key).stem
        if one.activity == "scikit-learn":
            assert one.source_url in readme and "creativecommons.org/licenses/by/2.0" in readme
            continue
        doc = getattr(skimage.data, {"clock_motion": "clock"}.get(name, name)).__doc__
        if name == "retina":
            assert "Creative Commons CC0" in " ".join(doc.split())
        else:
            assert said[one.license] in doc or said[one.license].replace("CC0", "Creative Commons CC0") in doc, one.key
        assert one.source_url.startswith("https://scikit-image.org") or one.source_url.rpartition("//")[2] in doc


def test_without_apt_the_demo_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(photographs, "INSTALLED", tmp_path / "not installed")
    with pytest.raises(NoPackageError, match="not on this machine"):
        unpacked("gcompris-qt-data", tmp_path / "cache")
    found = photographs.collect(tmp_path / "cache")
    assert len(found.photographs) == 14
    assert len(found.remarks) == 1 and "gcompris-qt-data cannot be had here" in found.remarks[0]


# --- the collections ------------------------------------------------------------------------------


def _tree(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_laying_out_twice_gives_the_same_bytes(
    pip: photographs.Found, laid_out: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, record = laid_out
    layout.lay_out(reversed(pip.photographs), tmp_path)
    assert _tree(tmp_path) == _tree(folder)
    layout.lay_out(pip.photographs, tmp_path)
    assert _tree(tmp_path) == _tree(folder)
    assert {row["collection"] for row in record["pictures"] if row["kind"] is None} == {"album", "coco", "web"}


def test_another_port_is_refused_for_a_folder_that_exists(laid_out: tuple[Path, dict[str, Any]]) -> None:
    folder, record = laid_out
    with pytest.raises(layout.LayoutError, match=f"port {record['port']}"):
        layout.lay_out([], folder, record["port"] + 1)


def test_pycocotools_reads_the_annotations(
    laid_out: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    folder, record = laid_out
    coco = COCO(str(folder / "coco" / "captions_demo.json"))
    images = coco.loadImgs(coco.getImgIds())
    assert len(images) == sum(row["collection"] == "coco" for row in record["pictures"])
    licenses = {row["id"]: row for row in coco.dataset["licenses"]}
    for image in images:
        file = folder / "site" / "coco" / image["file_name"]
        assert Image.open(file).size == (image["width"], image["height"])
        assert image["coco_url"].endswith(f"/coco/{image['file_name']}")
        assert licenses[image["license"]]["url"].startswith("https://")
        assert coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
    counts = [len(coco.getAnnIds(imgIds=[image["id"]])) for image in images]
    assert max(counts) >= 2
    assert coco.dataset.keys() == {"info", "licenses", "images", "annotations"}


def test_the_lists_and_the_album_name_files_that_are_there(laid_out: tuple[Path, dict[str, Any]]) -> None:
    folder, record = laid_out
    dead = {link["url"] for link in record["dead_links"]}
    listed = set()
    for path in (folder / "web").glob("*.csv"):
        for row in csv.DictReader(path.open(encoding="utf-8", newline="")):
            assert row["name"]
            if row["url"] in dead:
                dead.remove(row["url"])
                continue
            file = folder / "site" / row["url"].removeprefix(f"http://127.0.0.1:{record['port']}/")
            assert row["license"] in photographs.FREE and row["author"]
            listed.add(f"site/web/{file.name}")
    assert not dead
    for line in (folder / "album" / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert row["caption"] and row["author"] and row["license"] in photographs.LICENSE_URLS
        listed.add(f"album/{row['file_name']}")
    assert listed == {row["path"] for row in record["pictures"] if row["collection"] != "coco"}


def test_planted_copies_are_what_the_record_says(laid_out: tuple[Path, dict[str, Any]]) -> None:
    folder, record = laid_out
    assert {row["kind"] for row in record["duplicates"]} == set(variants.KINDS)
    for row in record["pictures"]:
        assert hashlib.sha256((folder / row["path"]).read_bytes()).hexdigest() == row["sha256"]
    for row in record["duplicates"]:
        original, copy = Image.open(folder / row["original"]), Image.open(folder / row["copy"])
        assert (row["original_sha256"] == row["copy_sha256"]) == (row["kind"] == variants.EXACT)
        if row["kind"] == "thumbnail":
            assert max(copy.size) == variants.THUMBNAIL
        assert abs(original.width / original.height - copy.width / copy.height) < 0.02


def test_the_recipe_names_what_is_laid_out(laid_out: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = laid_out
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    for step in recipe["ingest"]:
        for name in step["inputs"]:
            assert Path(os.path.normpath(folder.parents[1] / "recipes" / name)).exists(), name
    assert recipe["embed"]["pretrained"].endswith(f"build/demo/{model.NAME}")
    subsets = {step["subset"] for step in recipe["ingest"] if step["source"] == "web"}
    splits = {name for quota in recipe["select"]["quota"] for name in quota.get("split", {})}
    assert subsets == splits == {path.stem for path in (folder / "web").glob("*.csv")}


# --- the server -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(laid_out: tuple[Path, dict[str, Any]]) -> Iterator[Site]:
    with Site(laid_out[0] / "site", port=0) as running:
        yield running


def _get(site: Site, path: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    return response, response.read()


def test_every_picture_is_served_byte_for_byte(site: Site, laid_out: tuple[Path, dict[str, Any]]) -> None:
    for row in laid_out[1]["pictures"]:
        if row["collection"] != "album":
            response, body = _get(site, "/" + row["path"].removeprefix("site/"))
            assert response.status == 200
            assert hashlib.sha256(body).hexdigest() == row["sha256"]


def test_dead_links_fail_as_planted(site: Site) -> None:
    assert _get(site, "/web/gone.jpg")[0].status == 404
    assert _get(site, "/web/forbidden.jpg")[0].status == 403
    assert b"<!doctype html>" in _get(site, "/web/page.jpg")[1]
    response, body = _get(site, "/web/truncated.jpg")
    assert response.status == 200 and body.startswith(b"\xff\xd8")
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(body)).load()
    for path, target in (("/web/to-file.jpg", "file:///etc/hostname"), ("/web/loop.jpg", "/web/loop.jpg")):
        response, _ = _get(site, path)
        assert (response.status, response.headers["Location"]) == (302, target)
    response, body = _get(site, "/web/opted-out.jpg")
    assert response.headers["X-Robots-Tag"] == "noai, noimageai"
    Image.open(io.BytesIO(body)).load()


@pytest.mark.parametrize("path", ["/", "/web/", "/../planted.json", "/%2e%2e/planted.json", "/web/../../planted.json"])
def test_nothing_outside_the_site_is_served(site: Site, path: str) -> None:
    assert _get(site, path)[0].status == 404


def test_a_taken_port_is_a_clear_error(site: Site, tmp_path: Path) -> None:
    port = int(site.url.rpartition(":")[2])
    with pytest.raises(PortInUseError, match=f"cannot listen at {site.url}"):
        Site(tmp_path, port)


# --- the model ------------------------------------------------------------------------------------


def test_the_image_tower_knows_imagenets_classes(model_folder: Path, pip: photographs.Found, tmp_path: Path) -> None:
    import torch
    from timm.data.imagenet_info import ImageNetInfo

    weights = model.trained_weights()
    pictures = {Path(one.key).stem: one for one in pip.photographs}
    files = []
    for name in ("chelsea", "coffee", "china"):
        file = tmp_path / name
        file.write_bytes(pictures[name].data)
        files.append(file)
    unit = model.embed(model_folder, files)
    # Features are scaled to unit length; the class that weighs most is found without the scale but for the bias.
    info = ImageNetInfo()
    classes = (unit * 30 @ weights["classifier.weight"].T + weights["classifier.bias"]).argmax(1)
    assert torch.allclose(unit.norm(dim=1), torch.ones(len(unit)))
    names = [info.index_to_description(int(index)) for index in classes]
    assert "cat" in names[0] and "espresso" in names[1] and "palace" in names[2]


def test_every_trained_parameter_is_in_the_folder(model_folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    stored = load_file(model_folder / model.WEIGHTS)
    trunk = {
        key.removeprefix("visual.trunk."): value for key, value in stored.items() if key.startswith("visual.trunk.")
    }
    trained = {key: value for key, value in model.trained_weights().items() if not key.startswith("classifier.")}
    assert trunk.keys() == trained.keys()
    assert all(torch.equal(trunk[key], trained[key]) for key in trained)
    assert "random weights" in (model_folder / "README.md").read_text()


def test_the_model_is_written_once_and_whole(model_folder: Path) -> None:
    before = (model_folder / model.WEIGHTS).stat().st_mtime_ns
    assert not model.write_model(model_folder)
    assert (model_folder / model.WEIGHTS).stat().st_mtime_ns == before
    assert [path.name for path in model_folder.parent.iterdir()] == [model.NAME]


def test_the_recipes_threshold_parts_copies_from_other_photographs(
    model_folder: Path, laid_out: tuple[Path, dict[str, Any]]
) -> None:
    folder, record = laid_out
    threshold = tomllib.loads(RECIPE.read_text(encoding="utf-8"))["select"]["duplicate_threshold"]
    paths = [row["path"] for row in record["pictures"] if row["kind"] != "thumbnail"]
    vectors = model.embed(model_folder, [folder / path for path in paths])
    cosines = vectors @ vectors.T
    original = {path: path for path in paths} | {row["copy"]: row["original"] for row in record["duplicates"]}
    for i, one in enumerate(paths):
        for j, other in enumerate(paths[:i]):
            same = original[one] == original[other]
            assert (float(cosines[i, j]) >= threshold) == same, (one, other, float(cosines[i, j]))
