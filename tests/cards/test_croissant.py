"""croissant.json: mlcroissant takes it without a word of complaint, and reads the rows of an export by it."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlcroissant
import pytest
from PIL import Image

from captionlake.cards.croissant import CROISSANT_FILE
from captionlake.cards.dataset_card import check_card, write_card
from captionlake.cards.facts import read_facts
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.image_parquet import export_parquet

from .made_lake import Plan, Row, source


@pytest.fixture(scope="module")
def exported(plain_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("croissant") / "set"
    with Lake.open(plain_lake) as lake:
        export_parquet(lake, "small@1.0.0", folder)
        write_card(lake, "small@1.0.0", folder, export=folder)
    return folder


def _read(folder: Path, **options: Any) -> Any:
    found = mlcroissant.Dataset(jsonld=str(folder / CROISSANT_FILE), **options)
    issues = found.metadata.ctx.issues
    assert (list(issues.errors), list(issues.warnings)) == ([], [])
    return found


def test_it_is_valid_and_says_what_the_card_says(exported: Path) -> None:
    metadata = _read(exported).metadata
    assert (metadata.name, str(metadata.version)) == ("small-1.0.0", "1.0.0")
    assert metadata.url
    assert "7 pictures" in metadata.description
    data = json.loads((exported / CROISSANT_FILE).read_text())
    assert data["conformsTo"][0] == "http://mlcommons.org/croissant/1.1"
    assert "all rights reserved" in json.dumps(data["prov:wasDerivedFrom"])
    assert data["rai:dataBiases"] == ["No English word for people that was looked for stands in a caption."]
    assert data["usageInfo"].startswith("LICENSE.md")
    files = [one for one in data["distribution"] if one["@type"] == "cr:FileObject"]
    assert [one["contentUrl"] for one in files] == sorted(f"data/{path.name}" for path in (exported / "data").iterdir())


def test_its_records_are_the_rows(exported: Path) -> None:
    rows = {row["rows/image_id"].decode(): row for row in _read(exported).records("rows")}
    assert len(rows) == 7
    cup = next(row for row in rows.values() if row["rows/caption"] == b"A cup of coffee on a wooden table.")
    assert isinstance(cup["rows/image"], Image.Image)
    assert cup["rows/image"].size == (cup["rows/width"], cup["rows/height"])
    assert [one["rows/captions/text"] for one in cup["rows/captions"]] == [cup["rows/caption"]]
    withheld = [row for row in rows.values() if row["rows/redistribute"] == b"urls"]
    assert withheld
    assert all(row["rows/image"] is None for row in withheld)


def test_of_a_published_one_the_records_come_out_of_the_repository(
    exported: Path, plain_lake: Path, tmp_path: Path
) -> None:
    with Lake.open(plain_lake) as lake:
        write_card(lake, "small@1.0.0", tmp_path, export=exported, repo="me/small")
        assert check_card(lake, "small@1.0.0", tmp_path).readme_as_written
    assert len(list(_read(tmp_path, mapping={"repo": str(exported)}).records("rows"))) == 7
    text = (tmp_path / "README.md").read_text()
    assert 'load_dataset("me/small", revision="v1.0.0"' in text
    assert "hf://datasets/me/small@v1.0.0/data/*.parquet" in text


def test_sizes_on_disk_are_in_the_front_matter(exported: Path) -> None:
    from huggingface_hub import DatasetCard

    info = DatasetCard.load(exported / "README.md").data.to_dict()["dataset_info"]
    assert info["download_size"] == sum(path.stat().st_size for path in (exported / "data").iterdir())
    assert info["dataset_size"] == sum(split["num_bytes"] for split in info["splits"])
    assert sum(file.rows for file in read_facts(exported).files) == 7


def test_without_an_export_it_is_valid_too(
    pictures: dict[str, bytes], lake_of: Callable[[Plan], Lake], tmp_path: Path
) -> None:
    plan = Plan(rows=[Row(key="1", data=pictures["moon"])], sources=[source("coco", "coco", license=None)], recipe="")
    with lake_of(plan) as lake:
        write_card(lake, "small@1.0.0", tmp_path / "card")
    _read(tmp_path / "card")


def test_an_export_of_another_release_is_refused(
    exported: Path, pictures: dict[str, bytes], lake_of: Callable[[Plan], Lake], tmp_path: Path
) -> None:
    plan = Plan(rows=[Row(key="other", data=pictures["moon"])], sources=[source("coco", "coco")])
    with lake_of(plan) as lake:
        with pytest.raises(CaptionlakeError, match="not of small"):
            write_card(lake, "small@1.0.0", tmp_path / "card", export=exported)
        with pytest.raises(CaptionlakeError, match="holds no data"):
            write_card(lake, "small@1.0.0", tmp_path / "card", export=tmp_path)
    assert not (tmp_path / "card").exists()


def test_hostile_texts_stay_texts(hostile_lake: Path, tmp_path: Path) -> None:
    with Lake.open(hostile_lake) as lake:
        export_parquet(lake, "small@1.0.0", tmp_path / "set")
        write_card(lake, "small@1.0.0", tmp_path / "set", export=tmp_path / "set")
    assert list(_read(tmp_path / "set").records("rows"))


def test_a_picture_reads_as_its_bytes(exported: Path) -> None:
    row = next(row for row in _read(exported).records("rows") if row["rows/image"] is not None)
    buffer = io.BytesIO()
    row["rows/image"].save(buffer, "PNG")
    assert buffer.tell()
