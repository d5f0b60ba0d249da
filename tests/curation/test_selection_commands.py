"""``select --plan`` and ``release proof`` as they are typed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

RowMaker = Callable[[Lake, list[dict[str, Any]]], None]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(captionlake, list(arguments))


def data(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output + repr(result.exception)
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def recipe(lake: Lake, add_rows: RowMaker, tmp_path: Path) -> Path:
    """20 rows of coco and 6 of web; 30 are wanted."""
    rows = [{"source_key": f"coco-{n}", "collection": "coco", "width": 100 + n} for n in range(20)]
    rows += [{"source_key": f"web-{n}", "subset": "landmark" if n < 4 else "style"} for n in range(6)]
    add_rows(lake, rows)
    lake.close()
    path = tmp_path / "recipe.toml"
    path.write_text(
        f"""lake = {json.dumps(str(lake.path))}
[select]
total = 18
[[select.quota]]
collection = "coco"
weight = 2
where = "width >= 110"
[[select.quota]]
collection = "web"
weight = 1
[[select.quota.part]]
subset = "landmark"
weight = 1
[release]
name = "first"
version = "1.0.0"
"""
    )
    return path


def test_a_plan_shows_the_shortfall_and_a_choice_fails_for_it(recipe: Path) -> None:
    result = call("select", str(recipe))
    assert isinstance(result.exception, CaptionlakeError)
    assert "coco has 10 of 12 (2 short); web/landmark has 4 of 6 (2 short)" in str(result.exception)
    text = call("select", str(recipe), "--plan").stdout
    assert "coco is 2 short\n  10 left out by `where`: loosen it\n" in text
    assert "web/landmark is 2 short\n  2 rows of web are in no part of its quota: widen one\n" in text
    found = data(call("select", str(recipe), "--plan", "--json"))
    assert [one["n"] for one in found["short"]] == [2, 2]
    assert found["items"] == 14


def test_a_proof_counts_the_release_again_and_fails_where_it_cannot(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("total = 18", "total = 12"))
    data(call("release", "create", str(recipe), "--json"))
    folder = json.loads(recipe.read_text().splitlines()[0].removeprefix("lake = "))
    found = data(call("release", "proof", "first@1.0.0", "--lake", folder, "--json"))
    assert found["holds"]
    assert [(one["quota"], one["wanted"], one["pool"], one["picked"]) for one in found["counts"]] == [
        ("coco", 8, 20, 8),
        ("web/landmark", 4, 4, 4),
        ("web: no part", None, 2, 0),
        ("no quota", None, 0, 0),
    ]
    assert found["counts"][0]["excluded"] == {"over_quota": 2, "predicate": 10}
    text = call("release", "proof", "first@1.0.0", "--lake", folder).stdout
    assert "26 images at snapshot" in text
    for one in found["counts"]:
        again = data(call("sql", one["sql"], "--lake", folder, "--json"))
        counted = {row["outcome"]: row["images"] for row in again["rows"]}
        assert counted == {**one["excluded"], **({"picked": one["picked"]} if one["picked"] else {})}
    with Lake.open(folder) as lake:
        lake.commit(
            lambda connection: connection.execute("DELETE FROM exclusions WHERE reason = 'no_quota'").fetchone()
        )
    result = call("release", "proof", "first@1.0.0", "--lake", folder)
    assert "does not account for every image once" in str(result.exception)
    assert "unaccounted" in result.stdout
    unknown = call("release", "proof", "frist@1.0.0", "--lake", folder)
    assert "there are first@1.0.0" in str(unknown.exception)
