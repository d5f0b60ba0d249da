"""The card of a release of conversations."""

import json
from pathlib import Path
from typing import Any

import mlcroissant
import pytest
from click.testing import CliRunner
from huggingface_hub import DatasetCard

from captionlake.cards.croissant import CROISSANT_FILE
from captionlake.cards.dataset_card import check_card, write_card
from captionlake.cards.facts import collect
from captionlake.cli import captionlake
from captionlake.lake import Lake
from captionlake.lake.exports.forms import export_release

from .made_lake import Plan, write_lake
from .texts import HOSTILE

MIX = """lake = "lake"
[mix]
base = "base.json"
[release]
name = "talk"
version = "1.0.0"
"""


def _turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


@pytest.fixture(scope="module")
def folder(plain_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("talk")
    write_lake(root / "lake", plain_plan)
    rows: list[dict[str, Any]] = [
        {"id": "1", "image": "coco/train2017/1.jpg", "conversations": _turns("<image>\nWhat is it?", "An astronaut.")},
        {"id": "2", "conversations": _turns("Write a haiku.", "Frogs.", "Another.", "More frogs.")},
        {"id": "3", "conversations": _turns(HOSTILE[0], HOSTILE[1])},
    ]
    (root / "base.json").write_text(json.dumps(rows))
    (root / "mix.toml").write_text(MIX)
    done = CliRunner().invoke(captionlake, ["mix", str(root / "mix.toml")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return root


def test_it_counts_turns_and_parts_and_checks_itself(folder: Path) -> None:
    with Lake.open(folder / "lake") as lake:
        facts = collect(lake, "talk@1.0.0")
        assert facts["totals"].only["items"] == 3
        assert facts["totals"].only["turns"] == 8
        assert [row["speaker"] for row in facts["turns"].records] == ["gpt", "human"]
        assert [(row["origin"], row["items"]) for row in facts["parts"].records] == [("base.json", 3)]
        export_release(lake, "talk@1.0.0", "parquet", folder / "set")
        write_card(lake, "talk@1.0.0", folder / "set", export=folder / "set")
        found = check_card(lake, "talk@1.0.0", folder / "set")
    assert (found.differences, found.readme_as_written) == ([], True)
    data = DatasetCard.load(folder / "set/README.md").data.to_dict()
    assert data["task_categories"] == ["visual-question-answering"]
    text = (folder / "set/README.md").read_text()
    assert "**3 conversations** of 8 turns" in text
    assert "<script" not in text


def test_datasets_and_mlcroissant_read_it(folder: Path, tmp_path: Path) -> None:
    import datasets

    with Lake.open(folder / "lake") as lake:
        export_release(lake, "talk@1.0.0", "parquet", tmp_path / "set")
        write_card(lake, "talk@1.0.0", tmp_path / "set", export=tmp_path / "set")
    loaded = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [len(row["conversations"]) for row in loaded] == [2, 4, 2]
    read = mlcroissant.Dataset(jsonld=str(tmp_path / "set" / CROISSANT_FILE))
    issues = read.metadata.ctx.issues
    assert (list(issues.errors), list(issues.warnings)) == ([], [])
    said = [turn["rows/conversations/value"] for row in read.records("rows") for turn in row["rows/conversations"]]
    assert said[1] == b"An astronaut."
