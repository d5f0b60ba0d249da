"""Lakes with releases of both kinds, of real photographs' tiles."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release
from captionlake.lake.sft.importing import import_conversations
from captionlake.lake.sft.sft_release import SftDraft, create_sft_release

N_PICTURES = 40


def release_images(lake: Lake, version: str, split: str = "'train'", **draft: Any) -> str:
    """A release ``tiles@VERSION`` of all pictures; ``split`` is SQL over images."""
    none = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    create_release(
        lake,
        Draft(
            config=ReleaseConfig(name="tiles", version=version),
            recipe="[release]",
            snapshot=lake.snapshot(),
            items=lake.arrow(f"SELECT source, source_key, image_id, {split} AS split FROM images"),
            exclusions=pl.DataFrame(schema={**none, "similarity": pl.Float64}).to_arrow(),
            **({"producers": ["source"]} | draft),
        ),
    )
    return f"tiles@{version}"


def release_conversations(lake: Lake, rows: list[dict[str, Any]], folder: Path, version: str = "1.0.0") -> str:
    """A release ``mix@VERSION`` of these rows, in their order."""
    path = folder / f"mix-{version}.json"
    path.write_text(json.dumps(rows))
    import_conversations(lake, path)
    items = lake.arrow(
        "SELECT split_part(origin, ':', 2)::BIGINT - 1 AS position, conversation_id "
        f"FROM conversations WHERE origin LIKE '{path.name}:%'"
    )
    config = ReleaseConfig(name="mix", version=version)
    create_sft_release(lake, SftDraft(config=config, recipe="[mix]", snapshot=lake.snapshot(), items=items))
    return f"mix@{version}"


def conversation(id: str, picture: str | None, question: str = "What is it?\n<image>") -> dict[str, Any]:
    """A row of LLaVA's form."""
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": f"Answer {id}"}]
    return {"id": id} | ({"image": picture} if picture else {}) | {"conversations": turns}


def mixed_rows() -> list[dict[str, Any]]:
    """Twelve with a picture of the lake, four of text alone, two of pictures that the lake does not have, one of two pictures."""
    rows = [conversation(f"p{n}", f"coco/{n:05d}.jpg") for n in range(12)]
    rows += [conversation(f"t{n}", None, "Write a haiku.") for n in range(4)]
    rows += [conversation(f"m{n}", f"coco/nowhere{n}.jpg") for n in range(2)]
    del rows[15]["id"]
    two = conversation("two", None, "<image> and <image>\nCompare.") | {"image": ["coco/00001.jpg", "coco/00002.jpg"]}
    return [*rows, two]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path, tiles: Callable[[int], list[bytes]]) -> Path:
    """A folder with ``lake``: 40 pictures, of them 38 with captions (one has two), as tiles@1.0.0, the last ten in split ``test`` of
    tiles@2.0.0; and mix@1.0.0. Not to be changed: copy it."""
    import shutil

    folder = tmp_path_factory.mktemp("data")
    shutil.copytree(empty_lake, folder / "lake")
    pictures = folder / "pictures"
    pictures.mkdir()
    lines = ["file_name,caption"]
    for number, data in enumerate(tiles(N_PICTURES)):
        (pictures / f"{number:05d}.jpg").write_bytes(data)
        lines.append(
            f"{number:05d}.jpg,Tile number {number} of a photograph" if number not in (3, 17) else f"{number:05d}.jpg,"
        )
    (pictures / "metadata.csv").write_text("\n".join(lines) + "\n")
    with Lake.open(folder / "lake") as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(pictures)], collection="coco", redistribute="bytes"))
        lake.commit(
            lambda c: c.execute(
                "INSERT INTO captions BY NAME SELECT * REPLACE ('second' AS caption_id, 'Zweite: Ä\u0001\"' AS text, 9 AS chars) "
                "FROM captions WHERE source_key = '00005.jpg'"
            )
        )
        release_images(lake, "1.0.0")
        release_images(lake, "2.0.0", "CASE WHEN source_key < '00030.jpg' THEN 'train' ELSE 'test' END")
        release_conversations(lake, mixed_rows(), folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the lake, to be changed."""
    import shutil

    shutil.copytree(made / "lake", tmp_path / "lake")
    return tmp_path / "lake"
