"""The command line: quick to show its help, one line an error, exit 0, 1 or 2, JSON alone on stdout."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from captionlake.cli import captionlake, main

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


Call = Callable[..., subprocess.CompletedProcess[str]]


def call(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program as a process of its own."""
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """As ``call``, in this process, which has imported what takes long; what child processes print is seen too."""

    def call_here(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", [PROGRAM, *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        said = capfd.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), said.out, said.err)

    return call_here


@pytest.fixture
def folder(empty_lake: Path, tmp_path: Path) -> Path:
    """A folder that holds an empty lake of the name ``lake``."""
    shutil.copytree(empty_lake, tmp_path / "lake")
    return tmp_path


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
def test_a_users_error_is_one_line_and_exit_1(here: Call, folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = here(*arguments, cwd=folder, CAPTIONLAKE_LAKE="")
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


def test_json_is_one_object_and_nothing_else(here: Call, tmp_path: Path, tile_folder: Callable[[int], Path]) -> None:
    pictures = tile_folder(3)

    def told(*arguments: str) -> dict[str, object]:
        done = here(*arguments, "--json", cwd=tmp_path, CAPTIONLAKE_LAKE=str(tmp_path / "lake"))
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    assert told("init", "lake")["lake"] == str(tmp_path / "lake")
    assert told("ingest", "folder", str(pictures))["images"] == 3
    status = told("status")["sources"]
    assert isinstance(status, list)
    assert status[0]["expected"] == status[0]["present"] == status[0]["captioned"] == 3
    assert told("release", "list") == {"releases": []}
    assert len(told("sources")) == 1


def test_hostile_text_does_not_reach_the_terminal_raw(
    here: Call, folder: Path, tile_folder: Callable[[int], Path]
) -> None:
    pictures = tile_folder(1)
    (pictures / "metadata.csv").write_text("file_name,caption\n00000.jpg,\x1b[2J\u202egone\n")
    here("ingest", "folder", str(pictures), "--lake", "lake", cwd=folder)
    done = here("sql", "SELECT text FROM captions", "--lake", "lake", cwd=folder)
    assert "gone" in done.stdout
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout


def test_a_missing_extra_names_the_command(folder: Path) -> None:
    """A module that cannot be imported stands in for a package that is not installed."""
    (folder / "open_clip.py").write_text("raise ModuleNotFoundError('No module named open_clip', name='open_clip')\n")
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = call("embed", "--model", "ViT-B-32", "--pretrained", "x", "--lake", "lake", cwd=folder, PYTHONPATH=paths)
    assert done.returncode == 1
    assert "pip install 'captionlake[embed]'" in done.stderr
