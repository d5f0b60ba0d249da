"""Checkpoints of two steps from random weights, with results: what they say means nothing, all that is told of them is real."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from captionlake.models.training.run import train
from captionlake.train_recipe import load_train_recipe

from ...models.training.conftest import training_lake as training_lake  # a fixture
from ...official import benchmarks as official

_RECIPE = """\
lake = "{lake}"
[data]
release = "tiles@1.0.0"
[model]
size = "tiny"
[train]
output = "{name}"
batch_size = 4
per_device = 2
max_steps = 2
lr = 1e-3
log_every = 1
save_every = 2
workers = 0
"""


def _trained(folder: Path, name: str, stage: str, lake: Path, more: str = "") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(_RECIPE.format(lake=lake, name=name).replace('size = "tiny"\n', f'size = "tiny"\n{more}'))
    return train(load_train_recipe(path, stage)).output  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def captioner(tmp_path_factory: pytest.TempPathFactory, training_lake: Path) -> Path:
    """Tests copy it before they change anything."""
    return _trained(tmp_path_factory.mktemp("captioner"), "small-captioner", "captioner", training_lake)


@pytest.fixture(scope="session")
def lmm(tmp_path_factory: pytest.TempPathFactory, training_lake: Path) -> Path:
    trained = 'trained = ["vision:2-", "projector", "language"]\n'
    return _trained(tmp_path_factory.mktemp("lmm"), "small-lmm", "pretrain", training_lake, trained)


@pytest.fixture(scope="session")
def results(lmm: Path, tmp_path_factory: pytest.TempPathFactory, tiles: Callable[[int], list[bytes]]) -> Path:
    """Of the LMM on small files in the form of MMBench, whole, and of MME, of which subtasks are not there."""
    from captionlake.models.evaluation import EvalConfig, evaluate

    folder = tmp_path_factory.mktemp("evaluated")
    pictures = {f"tile{number}": data for number, data in enumerate(tiles(2))}
    benchmarks = {"mme": official.mme(folder / "MME", pictures), "seed": official.seed_bench(folder / "SEED", pictures)}
    benchmarks["mmbench"] = official.mmbench(folder / "MMBench_DEV_EN.tsv", pictures)
    evaluate(lmm, EvalConfig(benchmarks=benchmarks, device="cpu", precision="fp32"), folder / "results.json")
    told = json.loads((folder / "results.json").read_text())
    assert {one["benchmark"]: bool(one["incomplete"]) for one in told["outcomes"]}["mmbench"] is False
    return folder / "results.json"
