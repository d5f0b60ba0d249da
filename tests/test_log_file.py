"""The log as lines of JSON: every step of a run with its fields, errors too, and no secret in any form."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.log_file import JsonLines, without_secrets

RECIPE = """lake = "lake"
[[ingest]]
source = "folder"
inputs = ["tiles"]
[caption]
captioner = "source"
[release]
name = "tiles"
version = "1.0.0"
"""
SECRET = "pw-4711-zebra-never-shown"


def captionlake(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "captionlake", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_step_of_a_run_is_a_line(tmp_path: Path, tile_folder: Callable[[int], Path]) -> None:
    tile_folder(6)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    done = captionlake(tmp_path, "--log-json", "log.jsonl", "run", "recipe.toml", OPENAI_API_KEY=SECRET)
    assert done.returncode == 0, done.stderr
    assert "begins" not in done.stderr  # the terminal has what it had
    told = lines(tmp_path / "log.jsonl")
    steps = {one["step"]: one for one in told if "step" in one}
    assert list(steps) == ["ingest", "select", "caption", "release"]
    assert steps["ingest"]["rows"] == steps["select"]["rows"] == steps["release"]["rows"] == 6
    assert len({one["run_id"] for one in told if "run_id" in one}) == 1
    assert all(
        one["seconds"] >= 0 and one["level"] == "info" and one["time"].endswith("+00:00") for one in steps.values()
    )
    assert told[-1]["release"] == "tiles@1.0.0"
    failed = captionlake(tmp_path, "status", "--lake", f"no/{SECRET}", CAPTIONLAKE_LOG="log.jsonl", MY_PASSWORD=SECRET)
    assert failed.returncode == 1
    last = lines(tmp_path / "log.jsonl")[-1]
    assert last["level"] == "error" and "no lake in" in last["message"] and "***" in last["message"]
    assert SECRET not in (tmp_path / "log.jsonl").read_text()


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = captionlake(tmp_path, "--log-json", "no/such/log.jsonl", "sources")
    assert done.returncode == 1 and "--log-json" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://me:{SECRET}@host/x",
        f"https://host/x?api_key={SECRET}&n=1",
        f"Authorization: Bearer {SECRET}",
        f"refused: sk-{SECRET}",
        f"token hf_{SECRET.replace('-', '')}",
    ],
)
def test_secrets_of_known_forms_go(text: str) -> None:
    clean = without_secrets(text)
    assert "zebra" not in clean and "***" in clean


@given(
    secret=st.text(min_size=6, max_size=40).filter(lambda text: "\0" not in text and "*" not in text),
    depth=st.integers(0, 3),
)
def test_a_secret_of_the_environment_is_nowhere_in_a_line(secret: str, depth: int) -> None:
    try:
        os.environ["CAPTIONLAKE_TEST_TOKEN"] = secret
    except UnicodeEncodeError:
        return
    try:
        value: Any = f"a {secret} b"
        for _ in range(depth):
            value = {"inner": [value]}
        record = logging.LogRecord("captionlake.x", logging.INFO, "f", 1, "said %s", (secret,), None)
        record.fields = {"detail": value}
        told = json.loads(JsonLines().format(record))
    finally:
        del os.environ["CAPTIONLAKE_TEST_TOKEN"]
    while isinstance(value, dict):
        value, told["detail"] = value["inner"][0], told["detail"]["inner"][0]
    assert told["message"].startswith("said ***") or secret not in told["message"]
    assert secret not in told["detail"] or secret in "a *** b"
