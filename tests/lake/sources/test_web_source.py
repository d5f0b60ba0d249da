"""The source web's second form: pictures at hand, named by their subjects. (Its lists: test_ingest_web.py.)"""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import polars as pl
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.source import SCHEMA
from captionlake.lake.sources.web import WEB

from ..image_server import jpeg

NAMES = ["Ada_Lovelace.jpg", "images/Marie Curie_2.PNG", "images/\u00c9mile.webp"]


def read(*paths: Path, **options: object) -> pl.DataFrame:
    config = IngestConfig(source="web", inputs=[str(path) for path in paths], **options)  # type: ignore[arg-type]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *WEB.read(config)])


def archive(tmp_path: Path, kind: str) -> Path:
    files = {name: jpeg(n) for n, name in enumerate(NAMES)} | {"README.txt": b"x", "__MACOSX/._Ada.jpg": b"x"}
    path = tmp_path / f"web-celebrity{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, data in files.items():
                file.writestr(name, data)
    elif kind == ".tar":
        with tarfile.open(path, "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    else:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize("kind", [".zip", ".tar", ""])
def test_pictures_named_by_their_subjects(tmp_path: Path, kind: str) -> None:
    rows = read(archive(tmp_path, kind), subset="celebrity")
    assert rows["source_key"].to_list() == rows["member"].to_list() == NAMES
    assert [json.loads(text) for text in rows["meta"]] == [
        {"name": n} for n in ("Ada Lovelace", "Marie Curie 2", "\u00c9mile")
    ]
    assert rows["captions"].list.len().to_list() == [0, 0, 0]
    assert rows["subset"].unique().to_list() == ["celebrity"]
    with ArchiveReader(max_bytes=2**20) as reader:
        found = [reader.read(*row) for row in rows.select("archive", "member", "offset", "n_bytes").iter_rows()]
    assert found == [jpeg(n) for n in range(3)]


def test_a_list_and_its_pictures_together(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("url,name\nhttp://a/1.jpg,Ada\n")
    rows = read(table, archives=[str(archive(tmp_path, ".zip"))])
    assert rows["source_key"].to_list() == ["http://a/1.jpg", *NAMES]


def test_a_damaged_archive_gives_what_is_whole_and_names_the_rest(tmp_path: Path) -> None:
    path = archive(tmp_path, ".tar")
    path.write_bytes(path.read_bytes()[:3000])  # in the middle of the second picture
    rows = read(path)
    assert rows.filter(pl.col("bad").is_null())["source_key"].to_list() == NAMES[:1]
    assert rows.filter(pl.col("bad").is_not_null())["reason"].unique().to_list() == ["truncated"]


def test_without_pictures_it_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as file:
        file.writestr("a.txt", "x")
    for path, said in (
        (tmp_path / "texts.zip", "no pictures"),
        (tmp_path / "none.zip", "none.zip"),
        (tmp_path / "a.json", "not a table"),
    ):
        with pytest.raises(CaptionlakeError, match=said):
            read(path)
    with pytest.raises(CaptionlakeError, match="needs a list"):
        read()


def test_a_list_of_another_source_is_told(tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"images": [{"id": 1, "coco_url": "x", "file_name": "a"}]}))
    with pytest.raises(CaptionlakeError, match="COCO"):
        read(path)
