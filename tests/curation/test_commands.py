"""``embed`` and ``dedupe`` as they are typed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from captionlake.curation.commands import commands
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

AddPictures = Callable[..., list[str]]
RandomClip = Callable[..., Path]
NAME = "random-weights-vit"


def call(*arguments: str) -> Result:
    group = click.Group(commands={str(command.name): command for command in commands})
    return CliRunner().invoke(group, list(arguments))


def data(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output + repr(result.exception)
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def folder(lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes]) -> str:
    add_pictures(lake, photographs)
    lake.close()
    return str(lake.path)


def test_embed_then_dedupe_then_preview(folder: str, random_clip: RandomClip, tmp_path: Path) -> None:
    model = ["--model", NAME, "--pretrained", str(random_clip()), "--device", "cpu"]
    counts = data(call("embed", *model, "--lake", folder, "--json"))
    assert (counts["images"], counts["embedded"]) == (10, 10)
    text = call("embed", *model, "--lake", folder).stdout
    assert text.startswith("0 pictures embedded by random-weights-vit:")
    assert "10 of 10 had a vector before" in text
    pairs = data(call("dedupe", "--threshold", "0.9", "--lake", folder, "--json"))
    assert pairs["pairs"] == pairs["new"] > 0
    assert pairs["model_id"] == counts["model_id"]
    again = call("dedupe", "--threshold", "0.9", "--lake", folder).stdout
    assert f"{pairs['pairs']} pairs of cosine 0.9 or more among 10 pictures, found before" in again
    page = tmp_path / "page.html"
    shown = data(call("dedupe", "--threshold", "0.9", "--preview", str(page), "--lake", folder, "--json"))
    assert shown["at_threshold"] == pairs["pairs"]
    assert shown["shown"] > 0
    assert page.read_text().startswith("<!doctype html>")


def test_which_model_is_asked_only_when_there_are_several(folder: str, random_clip: RandomClip) -> None:
    result = call("dedupe", "--lake", folder)
    assert isinstance(result.exception, CaptionlakeError)
    assert "captionlake embed" in str(result.exception)
    ids = [
        data(call("embed", "--model", NAME, "--pretrained", str(random_clip(seed)), "--lake", folder, "--json"))[
            "model_id"
        ]
        for seed in (0, 1)
    ]
    result = call("dedupe", "--lake", folder)
    assert all(model_id in str(result.exception) for model_id in ids)
    assert data(call("dedupe", "--lake", folder, "--model-id", ids[1], "--json"))["model_id"] == ids[1]
    wrong = call("dedupe", "--lake", folder, "--model-id", ids[1][:-1])
    assert "known are" in str(wrong.exception)
    assert ids[1] in str(wrong.exception)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["embed"], 2),
        (["embed", "--model", "ViT-B-32", "--pretrained", "openai", "--batch-size", "0", "--lake", "x"], 2),
        (["dedupe", "--threshold", "0", "--lake", "x"], 2),
        (["dedupe", "--threshold", "1.1", "--lake", "x"], 2),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], status: int) -> None:
    assert call(*arguments).exit_code == status


def test_a_wrong_model_name_is_one_line(folder: str) -> None:
    result = call("embed", "--model", "not a name", "--pretrained", "openai", "--lake", folder)
    assert isinstance(result.exception, CaptionlakeError)
    assert "--model" in str(result.exception)
    assert "\n" not in str(result.exception)


def test_every_command_and_option_has_help() -> None:
    for command in commands:
        assert command.help
        assert all(option.help for option in command.params if isinstance(option, click.Option)), command.name


def test_the_commands_import_nothing_heavy() -> None:
    heavy = {"torch", "open_clip", "duckdb", "polars", "numpy", "pyarrow", "PIL", "pydantic"}
    code = f"import sys, captionlake.curation.commands; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
