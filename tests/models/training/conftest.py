"""A lake with releases to train on: tiles of photographs with a caption each, and a mix of conversations with and without pictures."""

import json
import shutil
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

PICTURES, TEXTS = 24, 8


def save_release(lake: Lake) -> None:
    none = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    create_release(
        lake,
        Draft(
            config=ReleaseConfig(name="tiles", version="1.0.0"),
            recipe="[release]",
            snapshot=lake.snapshot(),
            items=lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images"),
            exclusions=pl.DataFrame(schema={**none, "similarity": pl.Float64}).to_arrow(),
            producers=["source"],
        ),
    )


def save_mix(lake: Lake, folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    for number in range(PICTURES):
        turns = [
            {"from": "human", "value": "What is it?\n<image>"},
            {"from": "gpt", "value": f"Tile {number}, " + "as cut " * (number % 5)},
        ]
        rows.append({"id": f"p{number}", "image": f"coco/{number:05d}.jpg", "conversations": turns})
    for number in range(TEXTS):
        turns = [{"from": "human", "value": "Count."}, {"from": "gpt", "value": " ".join(map(str, range(number + 2)))}]
        rows.append({"id": f"t{number}", "conversations": turns})
    path = folder / "mix.json"
    path.write_text(json.dumps(rows))
    import_conversations(lake, path)
    items = lake.arrow("SELECT split_part(origin, ':', 2)::BIGINT - 1 AS position, conversation_id FROM conversations")
    config = ReleaseConfig(name="mix", version="1.0.0")
    create_sft_release(lake, SftDraft(config=config, recipe="[mix]", snapshot=lake.snapshot(), items=items))


@pytest.fixture(scope="session")
def training_lake(
    tmp_path_factory: pytest.TempPathFactory, empty_lake: Path, tiles: Callable[[int], list[bytes]]
) -> Path:
    """tiles@1.0.0: 24 captioned pictures; mix@1.0.0: 24 conversations on them and 8 of text alone. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("training")
    shutil.copytree(empty_lake, folder / "lake")
    pictures = folder / "pictures"
    pictures.mkdir()
    lines = ["file_name,caption"]
    for number, data in enumerate(tiles(PICTURES)):
        (pictures / f"{number:05d}.jpg").write_bytes(data)
        lines.append(f"{number:05d}.jpg,Tile number {number} of a photograph{' in detail' * (number % 3)}")
    (pictures / "metadata.csv").write_text("\n".join(lines) + "\n")
    with Lake.open(folder / "lake") as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(pictures)], collection="coco", redistribute="bytes"))
        save_release(lake)
        save_mix(lake, folder)
    return folder / "lake"


Recipe = Callable[..., Path]


@pytest.fixture
def recipe(tmp_path: Path, training_lake: Path) -> Recipe:
    """``recipe(name, data={}, model={}, train={}, lora=None)``: a file of a run of six steps on a model of random weights."""

    def write(name: str = "run", **changes: Any) -> Path:
        tables: dict[str, dict[str, Any]] = {
            "data": {"release": "tiles@1.0.0", "max_length": 256},
            "model": {"size": "tiny"},
            "train": {
                "output": name,
                "batch_size": 8,
                "per_device": 4,
                "epochs": 2,
                "lr": 1e-3,
                "log_every": 1,
                "save_every": 2,
                "workers": 0,
            },
        }
        for table, settings in changes.items():
            if settings is not None:
                tables[table] = {k: v for k, v in {**tables.get(table, {}), **settings}.items() if v is not None}
        lines = [f'lake = "{training_lake}"']
        for table, settings in tables.items():
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
