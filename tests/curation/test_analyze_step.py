"""The step of a recipe that analyses its release."""

from pathlib import Path

import pytest

from captionlake.curation.analysis import output
from captionlake.errors import CaptionlakeError
from captionlake.pipeline import Step, run
from captionlake.recipe import load_recipe
from captionlake.recipe_commands import STEPS
from captionlake.recipe_file import RecipeError

RECIPE = """\
lake = "lake"
[[ingest]]
source = "folder"
inputs = ["%s"]
[caption]
captioner = "source"
[release]
name = "r"
version = "1.0.0"
[analyze]
%s
[card]
"""


@pytest.fixture
def pictures(tmp_path: Path, photographs: dict[str, bytes]) -> Path:
    """A folder of three photographs with a caption each."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, data in enumerate([*photographs.values()][:3]):
        (folder / f"{number}.jpg").write_bytes(data)
    say(folder, "A man holds a red umbrella.")
    return folder


def say(folder: Path, text: str) -> None:
    rows = [f"{path.name},{text}" for path in sorted(folder.glob("*.jpg"))]
    (folder / "metadata.csv").write_text("\n".join(["file_name,caption", *rows]))


def recipe(folder: Path, pictures: Path, keys: str = "") -> Path:
    (folder / "recipe.toml").write_text(RECIPE % (pictures, keys))
    return folder / "recipe.toml"


def test_the_command_knows_all_steps() -> None:
    assert tuple(Step) == STEPS


def test_it_draws_into_the_cards_folder_before_the_card(tmp_path: Path, pictures: Path) -> None:
    loaded = load_recipe(recipe(tmp_path, pictures))
    report = run(loaded)
    assert [step.step for step in report.steps][-3:] == [Step.RELEASE, Step.ANALYZE, Step.CARD]
    figure = tmp_path / "cards/r-1.0.0/figures/sunburst.png"
    assert report.steps[-2].counts["figure"] == str(figure) and report.steps[-2].counts["counted"] == 3
    drawn = figure.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    again = run(loaded, until=Step.ANALYZE)
    assert again.steps[-1].counts["counted"] == 0
    assert figure.read_bytes() == drawn
    assert [path.name for path in (tmp_path / "cards/r-1.0.0").iterdir() if path.name.startswith(".")] == []


def test_a_figure_where_it_is_named_and_none_without_a_pair(tmp_path: Path, pictures: Path) -> None:
    path = recipe(tmp_path, pictures, 'figure = "out/verbs.svg"')
    assert run(load_recipe(path), until=Step.ANALYZE).steps[-1].counts["figure"] == str(tmp_path / "out/verbs.svg")
    assert (tmp_path / "out/verbs.svg").read_text().count("umbrella") >= 1
    say(pictures, "Sunset.")
    path.write_text(path.read_text().replace('lake = "lake"', 'lake = "other"'))
    report = run(load_recipe(path), until=Step.ANALYZE)
    assert report.steps[-1].counts["figure"] is None and "no pair" in report.steps[-1].said
    assert not (tmp_path / "out/verbs.svg").exists()  # the one of before says nothing of this release


def test_what_is_wrong_is_told_before_any_work(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recipe(tmp_path, pictures, 'figure = "verbs.jpeg"')
    with pytest.raises(RecipeError, match=r"line 11: `figure` in \[analyze\]: should end in .png or .svg"):
        load_recipe(path)
    path.write_text('lake = "lake"\n[analyze]\n')
    with pytest.raises(RecipeError, match=r"line 2: \[analyze\] describes a release: add \[release\]"):
        load_recipe(path)

    def lacking(name: str, *, extra: str) -> None:
        raise CaptionlakeError(f"{name}: run  pip install 'captionlake[{extra}]'")

    monkeypatch.setattr(output, "require", lacking)
    with pytest.raises(CaptionlakeError, match=r"captionlake\[analysis\]"):
        run(load_recipe(recipe(tmp_path, pictures)))
    assert not (tmp_path / "lake").exists()
