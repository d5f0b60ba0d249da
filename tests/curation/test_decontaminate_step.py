"""The step of a recipe that looks for benchmarks' pictures, with a tiny model of RANDOM weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.pipeline import Step, run
from captionlake.recipe import load_recipe

from ..official import benchmarks as official

RECIPE = """\
lake = "lake"
[[ingest]]
source = "folder"
inputs = ["pictures"]
%s
[decontaminate]
against = ["vet", "bench/mmbench_dev.tsv"]
[release]
name = "r"
version = "1.0.0"
"""


def recipe(folder: Path, photographs: dict[str, bytes], embed: str = "") -> Path:
    (folder / "pictures").mkdir()
    for name, data in photographs.items():
        (folder / "pictures" / f"{name}.jpg").write_bytes(data)
    official.mm_vet(folder / "vet", {"a": photographs["astronaut-full"]})
    official.mmbench(folder / "bench" / "mmbench_dev.tsv", {"a": photographs["rocket-full"]})
    (folder / "recipe.toml").write_text(RECIPE % embed)
    return folder / "recipe.toml"


def test_it_runs_between_embedding_and_selection(
    tmp_path: Path, photographs: dict[str, bytes], random_clip: Callable[..., Path]
) -> None:
    model = f'[embed]\nmodel = "random-weights-vit"\npretrained = "{random_clip()}"\ndevice = "cpu"\n'
    loaded = load_recipe(recipe(tmp_path, photographs, model))
    report = run(loaded, until=Step.DECONTAMINATE)
    assert [step.step for step in report.steps] == [Step.INGEST, Step.EMBED, Step.DECONTAMINATE]
    vet, mmbench = report.steps[-1].counts["benchmarks"]
    assert (vet["benchmark"], vet["by_bytes"], mmbench["benchmark"], mmbench["by_bytes"]) == ("mm-vet", 1, "mmbench", 1)
    assert vet["by_clip"] >= 1  # at the least the picture itself
    json.dumps(report.steps[-1].counts)
    with Lake.open(tmp_path / "lake") as lake:
        before = lake.rows("SELECT * FROM contamination ORDER BY ALL")
        assert {row[1] for row in before} == {"mm-vet", "mmbench"}
    whole = run(loaded)
    assert [step.step for step in whole.steps][2:4] == [Step.DECONTAMINATE, Step.SELECT]
    with Lake.open(tmp_path / "lake") as lake:
        assert lake.rows("SELECT * FROM contamination ORDER BY ALL") == before


def test_without_a_model_it_compares_bytes_and_perceptual_hashes(tmp_path: Path, photographs: dict[str, bytes]) -> None:
    report = run(load_recipe(recipe(tmp_path, photographs)), until=Step.DECONTAMINATE)
    vet, _ = report.steps[-1].counts["benchmarks"]
    assert (vet["by_bytes"], vet["by_phash"], vet["by_clip"]) == (1, 2, None)
    assert "2 pictures of mm-vet (1 items)" in report.steps[-1].said


def test_a_recipe_without_it_has_no_such_step(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('lake = "lake"\n[release]\nname = "r"\nversion = "1.0.0"\n')
    with pytest.raises(CaptionlakeError, match="no step decontaminate"):
        run(load_recipe(tmp_path / "recipe.toml"), until=Step.DECONTAMINATE)
