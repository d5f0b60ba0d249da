"""A training recipe: a TOML file with tables ``data``, ``model``, ``train`` and perhaps ``lora``. Read as recipes of images are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from captionlake.models.training.data_config import DataConfig
from captionlake.models.training.job import TrainJob
from captionlake.models.training.model_config import ModelConfig
from captionlake.models.training.stages import Stage
from captionlake.models.training.train_config import LoraConfig, TrainConfig
from captionlake.recipe_check import Check
from captionlake.recipe_file import RecipeError, absolute, check_lake, check_numbers, exists, parse, read
from captionlake.recipe_lines import places

_TABLES: dict[str, Any] = {
    "lake": str,
    "data": DataConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "lora": LoraConfig,
}
_PLACES = ("start", "vision", "language", "projector", "tokenizer")  # of folders, or names on the Hub
_OF_CAPTIONER, _OF_LMM = ("image_size",), ("projector",)


def load_train_recipe(path: Path, stage: Stage) -> TrainJob:
    """Read and check the training recipe in ``path``. Raises ``RecipeError`` with every problem found."""
    path = Path(path)
    text = read(path)
    toml = text.removeprefix("\ufeff")
    check = Check(parse(path, toml), places(toml), _TABLES)
    check_numbers(check)
    if not check.problems():
        check.keys()
        found = check.values()
        for name in ("data", "model", "train"):
            if name not in check.data:
                check.missing((), name, note=f": a training recipe has a table [{name}]")
        _check_stage(check, stage)
        check_lake(check, path.parent)
    if check.problems():
        raise RecipeError(path, check.problems())
    model: ModelConfig = found["model"]
    train: TrainConfig = found["train"]
    located: dict[str, Any] = {key: _place(path.parent, getattr(model, key)) for key in _PLACES}
    return TrainJob(
        stage=stage,
        path=path,
        text=text,
        lake=absolute(path.parent, found["lake"]),
        data=found["data"],
        model=replace(model, **located),
        train=replace(train, output=str(absolute(path.parent, train.output))),
        lora=found.get("lora"),
    )


def _check_stage(check: Check, stage: Stage) -> None:
    """Settings that the stage's model has not."""
    table = check.data.get("model")
    other = _OF_LMM if stage == "captioner" else _OF_CAPTIONER
    for key in other:
        if isinstance(table, dict) and key in table:
            check.add(("model", key), f"`{key}` in [model]: no setting of train {stage}, leave it out")


def _place(folder: Path, name: str | None) -> str | None:
    """A path from the recipe's folder where there is such a file, or where it can be no name on the Hub."""
    if name is None or exists(path := absolute(folder, name)):
        return None if name is None else str(path)
    is_name = name.count("/") < 2 and name[0] not in "./~"
    return name if is_name else str(path)
