"""Toy files of each official form: an independent reader takes them first, then our source gives the rows they mean."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO as CocoTools

from captionlake.lake.archives import ArchiveReader
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.cc3m import CC3M
from captionlake.lake.sources.coco import COCO
from captionlake.lake.sources.hf import HF
from captionlake.lake.sources.laion import LAION
from captionlake.lake.sources.llava558k import LLAVA558K
from captionlake.lake.sources.sam import SAM
from captionlake.lake.sources.sbu import SBU
from captionlake.lake.sources.sharegpt4v import released
from captionlake.lake.sources.source import SCHEMA, Source
from captionlake.lake.sources.textcaps import TEXTCAPS
from captionlake.lake.sources.web import WEB
from captionlake.lake.sources.wikiart import WIKIART

from ..official import cc3m, coco, hub, laion, llava, sam, sbu, sharegpt4v, textcaps, web, wikiart
from ..official.pictures import crops

COUNT = 12
URLS = [f"https://pictures.invalid/a/{number}.jpg?size=large&v={number}" for number in range(COUNT)]


@pytest.fixture(scope="module")
def pictures(photographs: dict[str, Image.Image]) -> list[bytes]:
    return crops(photographs, COUNT)


@pytest.fixture(scope="module", autouse=True)
def _no_shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """``datasets`` keeps what it reads; here in a folder of its own, so that nothing old answers."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


def loaded(kind: str, **files: Any) -> Any:
    """What the library ``datasets`` reads."""
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(kind, split="train", **files)


def rows(source: Source, *inputs: Path, archives: tuple[Path, ...] = (), **more: Any) -> list[dict[str, Any]]:
    """What our source reads. Every row is usable."""
    config = IngestConfig(source=source.name, inputs=list(map(str, inputs)), archives=list(map(str, archives)), **more)
    found = []
    for frame in source.read(config):
        assert frame.schema == SCHEMA
        found += frame.to_dicts()
    assert [row["bad"] for row in found if row["bad"]] == []
    assert len({row["source_key"] for row in found}) == len(found)
    return found


def read(found: list[dict[str, Any]]) -> dict[str, bytes]:
    """The bytes that the rows point at, by key."""
    with ArchiveReader(max_bytes=2**20) as reader:
        return {
            row["source_key"]: reader.read(row["archive"], row["member"], row["offset"], row["n_bytes"])
            for row in found
        }


def texts(row: dict[str, Any], kind: str) -> list[str]:
    """The row's captions, which are all of that kind."""
    assert {caption["kind"] for caption in row["captions"]} <= {kind}
    return [caption["text"] for caption in row["captions"]]


def by_url(found: list[dict[str, Any]]) -> None:
    assert [row["url"] for row in found] == URLS == [row["source_key"] for row in found]
    assert {row["archive"] for row in found} == {None}


def test_coco(tmp_path: Path, pictures: list[bytes]) -> None:
    names = coco.lay_out(tmp_path, pictures)
    captions, instances = (tmp_path / "annotations" / f"{kind}_train2017.json" for kind in ("captions", "instances"))
    for path, each in ((captions, coco.CAPTIONS), (instances, 1)):
        theirs = CocoTools(str(path))
        assert [theirs.loadImgs(key)[0]["file_name"] for key in theirs.getImgIds()] == names
        assert len(theirs.getAnnIds()) == each * COUNT
    with zipfile.ZipFile(tmp_path / "train2017.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["train2017/", *(f"train2017/{name}" for name in names)]
    for path, each in ((captions, coco.CAPTIONS), (instances, 0)):
        found = rows(COCO, path, archives=(tmp_path / "train2017.zip",))
        assert read(found) == dict(zip(names, pictures, strict=True))
        assert [len(texts(row, "human")) for row in found] == [each] * COUNT
        assert [row["license"] for row in found[:3]] == [license["name"] for license in coco.LICENSES]
    by_address = rows(COCO, captions)
    assert [row["url"] for row in by_address] == [f"http://images.cocodataset.org/train2017/{name}" for name in names]
    assert texts(by_address[3], "human") == [f"Caption {nth} of picture 3." for nth in range(5)]


def test_llava558k(tmp_path: Path, pictures: list[bytes]) -> None:
    folder = tmp_path / "llava"
    paths = llava.lay_out(folder, pictures)
    chats, metas = folder / llava.LIST, folder / llava.META
    theirs = loaded("json", data_files=str(chats))
    assert theirs["image"] == paths and theirs[0]["conversations"][1]["from"] == "gpt"
    assert loaded("json", data_files=str(metas)).column_names == ["id", "image", "url", "blip_caption"]
    with zipfile.ZipFile(folder / "images.zip") as archive:
        assert archive.testzip() is None and archive.namelist() == paths
    for inputs in ((chats,), (chats, metas), (metas,)):
        found = rows(LLAVA558K, *inputs, archives=(folder / "images.zip",))
        assert read(found) == dict(zip(paths, pictures, strict=True))
        assert texts(found[5], "captioner") == ["blip words of picture 5"]
    by_address = rows(LLAVA558K, chats, metas)
    assert [row["source_key"] for row in by_address] == paths
    assert by_address[2]["url"] == f"https://pictures.invalid/{Path(paths[2]).stem}.jpg"


def test_laion(tmp_path: Path) -> None:
    files = laion.lay_out(tmp_path / "laion", URLS, parts=1)
    theirs = loaded("parquet", data_files=[str(path) for path in files])
    assert theirs["URL"] == URLS
    found = rows(LAION, *files)
    by_url(found)
    assert texts(found[4], "alt") == ["Alt text 4 of a page"]
    assert [row["license"] for row in found[:2]] == ["cc-by-2.0", None]
    meta = json.loads(found[2]["meta"])
    assert meta["nsfw"] == "NSFW" and meta["similarity"] == pytest.approx(0.32) and meta["width"] == 64
    both = laion.lay_out(tmp_path / "parts", URLS, parts=2)
    assert {row["url"] for row in rows(LAION, both[0].parent)} == set(URLS)


def test_cc3m(tmp_path: Path) -> None:
    path = cc3m.lay_out(tmp_path / "cc3m", URLS)
    with path.open(newline="", encoding="utf-8") as file:
        theirs = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [line[1] for line in theirs] == URLS
    found = rows(CC3M, path)
    by_url(found)
    assert [texts(row, "alt") for row in found] == [[line[0]] for line in theirs]


def test_sbu(tmp_path: Path) -> None:
    listed, told, whole = sbu.lay_out(tmp_path / "sbu", URLS)
    theirs = pl.DataFrame({"url": listed.read_text().splitlines(), "caption": told.read_text().splitlines()})
    lists = json.loads(whole.read_text())
    assert theirs["url"].to_list() == lists["image_urls"] == URLS and theirs["caption"].to_list() == lists["captions"]
    for inputs in ((listed, told), (whole,)):
        found = rows(SBU, *inputs)
        by_url(found)
        assert [texts(row, "human") for row in found] == [[caption] for caption in lists["captions"]]


def test_sam(tmp_path: Path, pictures: list[bytes]) -> None:
    folder = tmp_path / "sam"
    held = sam.lay_out(folder, pictures, tars=3, listed=5)
    links = pl.read_csv(folder / sam.LINKS, separator="\t")
    assert links.columns == ["file_name", "cdn_link"] and links["file_name"].to_list()[-1] == "sa_000004.tar"
    tars = [folder / sam.tar_name(number) for number in range(3)]
    for path, names in zip(tars, held, strict=True):
        with tarfile.open(path) as archive:
            members = [Path(member.name).name for member in archive if member.isfile()]
            assert members == [part for name in names for part in (name, name.replace(".jpg", ".json"))]
            record = archive.extractfile(f"./{names[0]}".replace(".jpg", ".json"))
            assert record is not None
            masks = json.load(record)["annotations"]
        runs = [{**each["segmentation"], "counts": each["segmentation"]["counts"].encode()} for each in masks]
        assert [int(mask.area(run)) for run in runs] == [each["area"] for each in masks]
    found = rows(SAM, *tars)
    assert [row["source_key"] for row in found] == [name for names in held for name in names]
    assert read(found) == {f"sa_{number}.jpg": picture for number, picture in enumerate(pictures, 1)}
    assert [row["archive"] for row in found] == [str(path) for path in tars for _ in range(4)]
    assert all(row["offset"] is not None and row["captions"] == [] for row in found)


def test_textcaps(tmp_path: Path, pictures: list[bytes]) -> None:
    folder = tmp_path / "textcaps"
    ids = textcaps.lay_out(folder, pictures)
    theirs = loaded("json", data_files=str(folder / "TextCaps_0.1_train.json"), field="data")
    assert len(theirs) == textcaps.CAPTIONS * COUNT and theirs["image_id"][:COUNT] == ids
    with zipfile.ZipFile(folder / "train_val_images.zip") as archive:
        assert archive.testzip() is None
    found = rows(TEXTCAPS, folder / "TextCaps_0.1_train.json", archives=(folder / "train_val_images.zip",))
    assert read(found) == dict(zip(ids, pictures, strict=True))
    assert [texts(row, "human") for row in found] == [textcaps.texts(number) for number in range(COUNT)]
    by_address = rows(TEXTCAPS, folder / "TextCaps_0.1_train.json")
    assert [row["source_key"] for row in by_address] == ids
    assert by_address[1]["url"] in (theirs[1]["flickr_300k_url"], theirs[1]["flickr_original_url"])


def test_wikiart_in_folders(tmp_path: Path, pictures: list[bytes]) -> None:
    folder = tmp_path / "art"
    paths = wikiart.lay_out(folder, pictures)
    theirs = loaded("imagefolder", data_dir=str(folder / "wikiart"))
    assert theirs.features["label"].names == wikiart.STYLES and len(theirs) == COUNT
    told: dict[str, str] = {}
    for part in ("train", "val"):
        with (folder / f"genre_{part}.csv").open(newline="", encoding="utf-8") as file:
            told |= {path: wikiart.GENRES[int(number)] for path, number in csv.reader(file)}
    assert 0 < len(told) < COUNT
    tables = [
        folder / f"{of}_{part}" for of in ("genre", "artist", "style") for part in ("train.csv", "val.csv", "class.txt")
    ]
    found = rows(WIKIART, folder / "wikiart", *tables)
    assert read(found) == dict(zip(paths, pictures, strict=True))
    metas = {row["source_key"]: json.loads(row["meta"]) for row in found}
    assert {path: meta["genre"] for path, meta in metas.items() if meta.get("genre")} == told
    styles = {path: path.partition("/")[0].replace("_", " ") for path in paths}
    assert {path: meta["style"] for path, meta in metas.items()} == styles


def test_wikiart_in_parquet(tmp_path: Path, pictures: list[bytes]) -> None:
    path = wikiart.lay_out_parquet(tmp_path / "art", pictures)
    theirs = loaded("parquet", data_files=str(path))
    assert theirs.features["style"].names == wikiart.STYLES
    assert theirs[3]["image"].size == Image.open(io.BytesIO(pictures[3])).size
    found = rows(WIKIART, path)
    assert list(read(found).values()) == pictures
    styles = [theirs.features["style"].int2str(number).replace("_", " ") for number in theirs["style"]]
    assert [json.loads(row["meta"])["style"] for row in found] == styles


def test_web(tmp_path: Path) -> None:
    for kind in ("landmark", "celebrity"):
        path = web.lay_out(tmp_path, kind, URLS)
        theirs = pl.read_csv(path)
        assert theirs.columns == ["url", "name"] and theirs["url"].to_list() == URLS
        found = rows(WEB, path, subset=kind)
        by_url(found)
        assert {row["subset"] for row in found} == {kind}
        assert [texts(row, "alt") for row in found] == [[name] for name in theirs["name"]]


def test_the_hubs_parquet(tmp_path: Path, pictures: list[bytes]) -> None:
    path = hub.lay_out(tmp_path / "hub", pictures)
    theirs = loaded("parquet", data_files=str(path))
    assert theirs[7]["image"].format == "JPEG" and theirs[7]["text"] == "Words for picture 7"
    found = rows(HF, path)
    assert list(read(found).values()) == pictures
    assert [texts(row, "human") for row in found] == [[text] for text in theirs["text"]]


def test_sharegpt4v(tmp_path: Path) -> None:
    names = {
        "coco": coco.names(3),
        "lcs": llava.names(2),
        "sam": ["sa_7.jpg"],
        "textcaps": ["0a1b2c3d4e5f6071.jpg"],
        "wikiart": ["claude-monet_picture-1851.jpg"],
        "landmark": ["Eiffel_Tower.jpg"],
        "celebrity": ["Ada_Lovelace.jpg"],
    }
    files = [
        sharegpt4v.write(tmp_path / sharegpt4v.CAP100K, sharegpt4v.captions(names, "the teacher")),
        sharegpt4v.write(
            tmp_path / sharegpt4v.CAPTIONER, sharegpt4v.captions({"coco": names["coco"]}, "the captioner")
        ),
    ]
    for path, kind, count in zip(files, ("teacher", "captioner"), (10, 3), strict=True):
        theirs = loaded("json", data_files=str(path))
        assert theirs.column_names == ["id", "image", "conversations"] and len(theirs) == count
        answers = [turns[1]["value"] for turns in theirs["conversations"]]
        found = pl.concat(released(IngestConfig(source="sharegpt4v", inputs=[str(path)])))
        assert found["image"].to_list() == theirs["image"] and found["text"].to_list() == answers
        assert set(found["kind"]) == {kind} and found["bad"].null_count() == count
    whole = pl.concat(released(IngestConfig(source="sharegpt4v", inputs=[str(files[0])])))
    collections = [name if name not in ("landmark", "celebrity") else "web" for name, of in names.items() for _ in of]
    assert whole["collection"].to_list() == collections
    assert whole["key"].to_list()[:6] == [*names["coco"], *names["lcs"], *names["sam"]]


def test_sharegpt4vs_mix_is_read_by_others(tmp_path: Path) -> None:
    path = sharegpt4v.write(tmp_path / sharegpt4v.MIX665K, sharegpt4v.mix({"coco": coco.names(2)}))
    theirs = loaded("json", data_files=str(path))
    assert theirs["image"][-1] is None and len(theirs["conversations"][2]) == 4
