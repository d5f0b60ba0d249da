"""Every command and every Python example of the documentation is run as it stands, or says why not."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captionlake.cli import captionlake

from ..cards.publishing.hub_server import HubServer
from ..models.teacher_server import TeacherServer
from . import world
from .blocks import PAGES, PYTHON, ROOT, SHELL, Block, blocks, commands

EMPTY = ("README.md", "tutorial.md", "publishing.md")  # pages that make their lake themselves
PROCESSES = re.compile(
    r"^captionlake (publish|run small\.toml +#)|[|>]|<<|\$\("
)  # the others are run in this one, which takes less
BLOCKS = [block for page in PAGES for block in blocks(page) if block.language in (*SHELL, PYTHON)]
RUN = sorted({block.page for block in BLOCKS if not block.whole}, key=PAGES.index)


def test_a_block_that_is_not_run_says_why() -> None:
    assert len(BLOCKS) > 60
    for block in BLOCKS:
        if block.test is not None:
            assert block.page.name in (ROOT / block.test).read_text(), f"{block.where}: {block.test} does not read it"
    assert sum(not block.whole or block.test is not None for block in BLOCKS) > len(BLOCKS) / 2, "most are run"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_recipes_are_toml(page: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            tomllib.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_installations_name_extras_that_there_are(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r"captionlake\[([\w,]+)\]", page.read_text()):
        assert set(names.split(",")) <= extras.keys(), names


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, tiles: Callable[[int], list[bytes]]) -> Path:
    folder, before = tmp_path_factory.mktemp("documentation") / "world", Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        world.make(folder, tiles)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    """A teacher and a Hub on the loopback address."""
    with HubServer() as hub, TeacherServer() as teacher:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_TOKEN", "hf_writertoken0")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
        yield teacher


@pytest.fixture
def place(made: Path, tmp_path: Path, servers: TeacherServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The world, entered; the program on the PATH of shells."""
    folder = shutil.copytree(made, tmp_path / "world")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "captionlake").write_text(f'#!/bin/sh\nexec {sys.executable} -m captionlake "$@"\n')
    (programs / "captionlake").chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CAPTIONLAKE_LAKE", "lake")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_its_commands_run(page: Path, place: Path, servers: TeacherServer) -> None:
    if page.name in EMPTY:
        shutil.rmtree("lake")
    if page.name == "captions.md":
        with Path("recipe.toml").open("a") as recipe:
            text = Path("recipe.toml").read_text().replace('"source"', '"openai:gpt-4o"').replace('"mine"', '"asked"')
            recipe.truncate(0)
            recipe.write(f'{text}\n[caption.endpoint]\nbase_url = "{servers.url}"\nprice = "free"\n')
    if page.name == "releases.md":
        Path("FOLDER").symlink_to("folder")  # as the page calls what the command exported to folder
    names: dict[str, Any] = {"vectors": _unit(40), "others": _unit(10)}
    for block in blocks(page):
        if block.whole or block.language not in (*SHELL, PYTHON):
            continue
        if block.language == PYTHON:
            exec(compile(block.text, block.where, "exec"), names)  # noqa: S102 - this repository's own page
        else:
            for command in commands(block.text):
                if not any(skip in command for skip in block.skips):
                    _run(command, block)


def _run(command: str, block: Block) -> None:
    if command.startswith("pip install"):
        return  # see above: its extras are there
    if re.match(r"captionlake takedown .*--reason", command):
        command += " --yes"  # a terminal would be asked
    if PROCESSES.search(command) or not command.startswith("captionlake "):
        done = subprocess.run(["bash", "-e", "-c", command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{block.where}: {command}\n{done.stdout}{done.stderr}"
        return
    try:
        world.run(*shlex.split(command, comments=True)[1:])
    except Exception as error:
        raise AssertionError(f"{block.where}: {command}\n{error}") from error


def _unit(rows: int) -> Any:
    found = np.random.default_rng(rows).normal(size=(rows, 16)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_all_commands_that_are_named_are_there() -> None:
    """Also of the blocks that are not run: the command, its subcommand, and its options."""
    for block in BLOCKS:
        if block.language == PYTHON:
            continue
        for command in commands(block.text):
            found = re.search(r"(?:^|\| |-m )captionlake ([^|]*)", command, re.DOTALL)
            if found is None:
                continue
            words = shlex.split(found[1].partition(' "$(')[0], comments=True)
            known: Any = captionlake
            while hasattr(known, "commands"):
                known = known.commands[words.pop(0)]
            if known.context_settings.get("ignore_unknown_options"):  # which another program reads
                continue
            options = {option for parameter in known.params for option in (*parameter.opts, *parameter.secondary_opts)}
            assert {word for word in words if re.match("--?[a-z]", word)} <= options, f"{block.where}: {command}"
