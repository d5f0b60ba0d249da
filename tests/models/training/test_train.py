"""Training from a recipe to a checkpoint's folder, with models of random weights."""

from collections.abc import Callable
from pathlib import Path

import pytest

from captionlake.models.training.run import train
from captionlake.train_recipe import load_train_recipe


@pytest.mark.parametrize("stage", ["captioner", "pretrain", "sft"])
def test_a_stage(stage, recipe: Callable[..., Path]) -> None:
    path = recipe(stage, data={"release": "mix@1.0.0"} if stage == "sft" else {}, model={"trained":["vision:2-","projector","language"]} if stage=="pretrain" else {})
    report = train(load_train_recipe(path, stage))
    print(report)
    print((report.output/"log.csv").read_text())
