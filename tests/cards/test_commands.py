"""``captionlake card``, as a user runs it."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from captionlake.cards.commands import commands
from captionlake.errors import CaptionlakeError


def _run(*words: str) -> Result:
    return CliRunner().invoke(click.Group(commands=commands), ["card", *words])


def test_write_and_check(plain_lake: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "card")
    written = _run("small@1.0.0", "-o", folder, "--lake", str(plain_lake), "--json")
    data = json.loads(written.stdout)
    assert (data["card"], data["pictures"]) == (f"{folder}/README.md", 5)
    assert set(map(Path, data["files"])) == {path for path in Path(folder).rglob("*") if path.is_file()}
    checked = _run("small@1.0.0", "-o", folder, "--lake", str(plain_lake), "--check")
    assert checked.exit_code == 0
    assert checked.stdout.startswith(f"small@1.0.0: all {data['facts']} facts")
    assert "edited" not in checked.stdout


def test_check_names_the_first_fact_that_differs_and_how_many(plain_lake: Path, tmp_path: Path) -> None:
    folder = tmp_path / "card"
    _run("small@1.0.0", "-o", str(folder), "--lake", str(plain_lake))
    facts = json.loads((folder / "facts.json").read_text())
    for fact in facts["facts"]:
        if fact["name"] in ("splits", "totals"):
            fact["rows"][0][-1] += 1
    (folder / "facts.json").write_text(json.dumps(facts))
    found = _run("small@1.0.0", "-o", str(folder), "--lake", str(plain_lake), "--check", "--json")
    assert isinstance(found.exception, CaptionlakeError)
    assert f"2 of {len(facts['facts'])} facts" in str(found.exception)
    assert "the first: splits row 1, items is 6, written is 7" in str(found.exception)
    assert [difference["name"] for difference in json.loads(found.stdout)["differences"]] == ["splits", "totals"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch@1.0.0", "-o", "x"], "nosuch@1.0.0"),
        (["small", "-o", "x"], "small"),
        (["small@1.0.0", "-o", "x", "--check"], "facts.json"),
    ],
)
def test_a_users_error_is_one_line(
    words: list[str], said: str, plain_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = _run(*words, "--lake", str(plain_lake))
    assert isinstance(found.exception, CaptionlakeError)
    assert said in str(found.exception)
    assert list(tmp_path.iterdir()) == []
