"""The command line: quick to show its help, one line an error, exit 0, 1 or 2, JSON alone on stdout."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from captionlake.cli import captionlake

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = str(Path(sys.executable).with_name("captionlake"))
HEAVY = (
    "torch",
    "transformers",
    "open_clip",
    "img2dataset",
    "polars",
    "duckdb",
    "pyarrow",
    "pydantic",
    "matplotlib",
    "spacy",
    "ray",
)


def call(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


def test_help_is_quick() -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert call("--help").returncode == 0
        times.append(time.perf_counter() - started)
    assert min(times) < 0.5


def test_help_imports_nothing_heavy() -> None:
    script = f"import sys, captionlake.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_and_option_has_help() -> None:
    for names, command in commands(captionlake):
        assert command.help, names
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (names, parameter.name)


def test_every_command_is_documented() -> None:
    docs = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for names, command in commands(captionlake):
        if not isinstance(command, click.Group):
            assert f"captionlake {' '.join(names)}" in docs, f"captionlake {' '.join(names)} is in no document"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status", "--lake", "nowhere"), "captionlake init"),
        (("status",), "--lake DIR"),
        (("ingest", "cocoo", "x.json", "--lake", "lake"), "coco"),
        (("ingest", "coco", "gone.json", "--lake", "lake"), "gone.json"),
        (("ingest", "web", "gone.csv", "--lake", "lake"), "gone.csv"),
        (("ingest", "folder", "gone", "--lake", "lake"), "folder"),
        (("release", "verify", "no@1.0.0", "--lake", "lake"), "no release"),
        (("release", "show", "no", "--lake", "lake"), "no"),
        (("release", "export", "no@1.0.0", "out", "--lake", "lake"), "no release"),
        (("sql", "DROP TABLE images", "--lake", "lake"), ""),
        (("sql", "SELECT nonsense FROM images", "--lake", "lake"), "nonsense"),
        (("run", "gone.toml"), "gone.toml"),
        (("select", "gone.toml"), "gone.toml"),
        (("card", "no@1.0.0", "-o", "card", "--lake", "lake"), "no"),
        (("init", "lake"), "already holds a lake"),
        (("status", "--source", "coco", "--lake", "lake"), "none yet"),
        (("dedupe", "--threshold", "0.9", "--lake", "lake"), "embed"),
    ],
)
def test_a_users_error_is_one_line_and_exit_1(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    assert call("init", "lake", cwd=tmp_path).returncode == 0
    done = call(*arguments, cwd=tmp_path, CAPTIONLAKE_LAKE="")
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and said in lines[0], done.stderr


@pytest.mark.parametrize("arguments", [("nonsense",), ("ingest",), ("run", "x.toml", "--until", "never"), ("init",)])
def test_wrong_usage_is_exit_2(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = call("--debug", "status", "--lake", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "no lake in" in done.stderr


def test_json_is_one_object_and_nothing_else(tmp_path: Path, tile_folder: Callable[[int], Path]) -> None:
    folder = tile_folder(3)

    def told(*arguments: str) -> dict[str, object]:
        done = call(*arguments, "--json", cwd=tmp_path, CAPTIONLAKE_LAKE=str(tmp_path / "lake"))
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    assert told("init", "lake")["lake"] == str(tmp_path / "lake")
    assert told("ingest", "folder", str(folder))["images"] == 3
    status = told("status")["sources"]
    assert isinstance(status, list)
    assert status[0]["expected"] == status[0]["present"] == status[0]["captioned"] == 3
    assert told("release", "list") == {"releases": []}
    assert len(told("sources")) == 1


def test_hostile_text_does_not_reach_the_terminal_raw(tmp_path: Path, tile_folder: Callable[[int], Path]) -> None:
    folder = tile_folder(1)
    (folder / "metadata.csv").write_text("file_name,caption\n00000.jpg,\x1b[2J\u202egone\n")
    call("init", "lake", cwd=tmp_path)
    call("ingest", "folder", str(folder), "--lake", "lake", cwd=tmp_path)
    done = call("sql", "SELECT text FROM captions", "--lake", "lake", cwd=tmp_path)
    assert "gone" in done.stdout
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout


def test_a_missing_extra_names_the_command(tmp_path: Path) -> None:
    """A module that cannot be imported stands in for a package that is not installed."""
    (tmp_path / "open_clip.py").write_text("raise ModuleNotFoundError('No module named open_clip', name='open_clip')\n")
    call("init", "lake", cwd=tmp_path)
    done = call(
        "embed", "--model", "ViT-B-32", "--pretrained", "x", "--lake", "lake", cwd=tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 1
    assert "pip install 'captionlake[embed]'" in done.stderr
