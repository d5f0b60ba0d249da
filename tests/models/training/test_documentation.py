"""docs/training.md: it has every key of a recipe with its default, and commands that there are."""

import re
import shlex
from dataclasses import MISSING, fields
from pathlib import Path

import click

from captionlake.cli import captionlake
from captionlake.models.training import DataConfig, LoraConfig, ModelConfig, TrainConfig

_PAGE = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
_ROWS = [row for row in _PAGE.split("\n") if row.startswith("| `")]


def test_every_key_of_a_recipe_is_told() -> None:
    told = {name for row in _ROWS for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    for config in (DataConfig, ModelConfig, TrainConfig):
        assert {one.name for one in fields(config)} <= told
    assert all(f"`{one.name}`" in _PAGE for one in fields(LoraConfig))


def test_defaults_of_train_are_those_that_are_told() -> None:
    defaults = {one.name: one.default for one in fields(TrainConfig)}
    for row in _ROWS:
        _, names, values, *_ = (cell.strip() for cell in row.split("|"))
        keys = re.findall(r"`(\w+)`", names)
        if len(row.split("|")) != 5 or not set(keys) <= defaults.keys():
            continue
        for key, value in zip(keys, values.split(", "), strict=True):
            default = defaults[key]
            if default is MISSING or key == "group":
                assert value in ("", "by the stage")
            elif default is None:
                assert value == "none"
            else:
                assert type(default)(value.strip('`"').replace("true", "1").replace("false", "")) == default, key


def test_its_commands_are_there() -> None:
    lines = re.findall(r"(?:^|`|-m )(captionlake [^`#\n]+)", _PAGE, re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        _, name, *arguments = shlex.split(line)
        command = captionlake.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= known, line
        if name == "train":
            [stages] = [parameter.type for parameter in command.params if parameter.name == "stage"]
            assert isinstance(stages, click.Choice) and arguments[0] in stages.choices
