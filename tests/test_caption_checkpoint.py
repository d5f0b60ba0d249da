"""``captionlake caption`` and a recipe with a checkpoint of random weights: chosen rows, refused ones, samples, plans, a whole lake."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from captionlake.caption_command import caption
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.releases.verification import verify_release
from captionlake.recipe import load_recipe
from captionlake.recipe_file import RecipeError

from .models.random_llava import save_random_llava

RECIPE = """lake = "lake"
[[ingest]]
source = "folder"
inputs = ["pictures"]
collection = "coco"
[select]
seed = 1
[[select.quota]]
collection = "coco"
count = 8
[caption]
captioner = "checkpoints/mine"
{more}
[caption.generation]
max_tokens = 12
precision = "fp32"
device = "cpu"
batch_size = 4
[release]
name = "made"
version = "1.0.0"
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "mine"
    save_random_llava(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, tiles: Callable[[int], list[bytes]], checkpoint: Path) -> Path:
    """Fourteen small pictures, a recipe that wants eight, and a checkpoint."""
    (tmp_path / "pictures").mkdir()
    for number, data in enumerate(tiles(14)):
        (tmp_path / "pictures" / f"{number:02d}.jpg").write_bytes(data)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine").symlink_to(checkpoint)
    write_recipe(tmp_path)
    return tmp_path


def write_recipe(folder: Path, more: str = "", **replaced: str) -> Path:
    path, text = folder / "recipe.toml", RECIPE.format(more=more)
    for old, new in replaced.items():
        text = text.replace(old, new)
    path.write_text(text)
    return path


def run(path: Path) -> dict[str, Any]:
    from captionlake.pipeline import run as work_off

    return {str(step.step): step for step in work_off(load_recipe(path)).steps}


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(caption, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_recipe_is_captioned_by_a_checkpoint(folder: Path) -> None:
    path = folder / "recipe.toml"
    steps = run(path)
    assert "8 rows captioned by captioner:mine: 8 now" in steps["caption"].said
    assert "images/s" in steps["caption"].said and steps["caption"].counts["output_tokens"] > 0
    again = run(path)
    assert again["caption"].counts["captioned"] == 0
    assert again["release"].counts["content_sha256"] == steps["release"].counts["content_sha256"]
    with Lake.open(folder / "lake") as lake:
        released = lake.rows("SELECT role, producer FROM release_captions JOIN captions USING (caption_id)")
        assert released == [("captioner", "captioner:mine")] * 8
        assert verify_release(lake, "made@1.0.0").n_problems == 0


def test_pictures_without_a_caption_give_their_place_on(folder: Path) -> None:
    """Two of those chosen are damaged on the disk; and where every caption is refused for a flag, no quota is met."""
    from captionlake.pipeline import Step, plan
    from captionlake.pipeline import run as work_off

    path = folder / "recipe.toml"
    work_off(load_recipe(path), until=Step.SELECT)
    chosen, _ = plan(load_recipe(path))
    damaged = chosen.items["image_id"].to_list()[:2]
    with Lake.open(folder / "lake") as lake:
        for image_id in damaged:
            shard, offset = lake.rows('SELECT shard, "offset" FROM images WHERE image_id = ?', [image_id])[0]
            with (folder / "lake" / "images" / shard).open("r+b") as file:
                file.seek(offset)
                file.write(b"none")
    counts = run(path)["caption"].counts
    assert (counts["captioned"], counts["refused"], counts["rounds"]) == (8, 2, 2)
    with Lake.open(folder / "lake") as lake:
        assert lake.value("SELECT count(*) FROM release_captions") == 8
        left = lake.rows("SELECT DISTINCT detail FROM exclusions WHERE reason = 'flagged'")
        assert left == [("no caption by captioner:mine: bad_picture",)]
        taken = {image_id for (image_id,) in lake.rows("SELECT image_id FROM release_items")}
        assert not taken & set(damaged)
    with pytest.raises(CaptionlakeError, match=r"quotas not met: coco has 6 of 8 \(2 short\)"):
        run(
            write_recipe(
                folder, 'refuse = ["too_short"]', **{"[release]": "[flags]\nminimum_words = { coco = 1000 }\n[release]"}
            )
        )


def test_plan_sample_and_a_checkpoint_of_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    from captionlake.pipeline import Step
    from captionlake.pipeline import run as work_off

    work_off(load_recipe(folder / "recipe.toml"), until=Step.SELECT)
    planned = json.loads(invoke("recipe.toml", "--plan", "--json").output)
    assert (planned["pending"], planned["wanted"], planned["producer"]) == (8, 8, "captioner:mine")
    assert planned["question"] == "Analyze the image in a comprehensive and detailed manner."
    result = invoke("recipe.toml", "--sample", "3")
    assert "3 captions asked for now" in result.output and "images/s" in result.output
    assert "the rest: 5 of 8 captions by captioner:mine are missing" in result.output
    page = (folder / "sample.html").read_text()
    assert page.count("<article>") == 3 and page.count("data:image/jpeg") == 3 and "comprehensive and detailed" in page
    assert json.loads(invoke("recipe.toml", "--json").stdout)["captioned"] == 5
    asked = json.loads(invoke("recipe.toml", "--plan", "--question", "Why?", "--json").output)
    assert (asked["pending"], asked["question"]) == (8, "Why?")
    write_recipe(folder, **{"checkpoints/mine": "openai:test-model", "[caption.generation]": "[caption.endpoint]", "max_tokens = 12\n": "",
                            'precision = "fp32"\n': "", 'device = "cpu"\n': "", "batch_size = 4\n": ""})  # fmt: skip
    options = ["--max-tokens", "12", "--precision", "fp32", "--device", "cpu"]
    done = json.loads(invoke("recipe.toml", "--captioner", "checkpoints/mine", *options, "--json").stdout)
    assert done["captioned"] == 0 and done["rounds"] == 1  # those that the recipe wrote
    assert invoke("recipe.toml", "--batch-size", "2").exit_code == 2
    review = invoke("recipe.toml", "--captioner", "checkpoints/mine", *options, "--review")
    assert "captions with flags" in review.output and (folder / "review.html").exists()


def test_all_pictures_of_a_lake(folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from captionlake.pipeline import Step
    from captionlake.pipeline import run as work_off

    monkeypatch.chdir(folder)
    work_off(load_recipe(folder / "recipe.toml"), until=Step.INGEST)
    whole = [
        "--captioner",
        str(checkpoint),
        "--lake",
        "lake",
        "--max-tokens",
        "8",
        "--precision",
        "fp32",
        "--device",
        "cpu",
    ]
    first = invoke(*whole, "--limit", "5")
    assert "5 captions by captioner:mine written, 0 were there" in first.output and "9 are left" in first.output
    assert "images/s" in first.output and "\x1b" not in first.output
    assert json.loads(invoke(*whole, "--plan", "--json").output)["pending"] == 9
    rest = json.loads(invoke(*whole, "--json").stdout)
    assert (rest["captioned"], rest["present"], rest["left"]) == (9, 5, 0) and rest["images_per_second"] > 0
    monkeypatch.setenv("CAPTIONLAKE_LAKE", "lake")
    assert json.loads(invoke("--captioner", str(checkpoint), *whole[4:], "--json").stdout)["captioned"] == 0
    for wrong in ([], ["--lake", "lake"], ["recipe.toml", "--limit", "2"], ["recipe.toml", "--lake", "lake"]):
        assert invoke(*wrong).exit_code == 2
    problems = {
        "openai:gpt-4o": "is no checkpoint",
        "checkpoints/other": "no such folder",
        "source": "is no checkpoint",
    }
    for captioner, problem in problems.items():
        with pytest.raises(CaptionlakeError, match=problem):
            invoke("--captioner", captioner)
    with pytest.raises(CaptionlakeError, match="would write the same captions again"):
        invoke(*whole, "--redo")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('captioner = "checkpoints/other"', "no such folder"),
        ('captioner = "/no/such"', "no such folder: /no/such: it is a checkpoint's folder, openai:MODEL"),
        ('captioner = "checkpoints/mine"\nmax_cost_usd = 3', "`max_cost_usd` binds a model that is asked, and checkpoints/mine is none"),
        ('captioner = "checkpoints/mine"\nprompts = "sharegpt5v"', "sharegpt5v"),
        ('captioner = "checkpoints/mine"\n[caption.generation]\nsampling = "beams"', "`sampling` in [caption.generation]"),
        ('captioner = "checkpoints/mine"\n[caption.generation]\nbatchsize = 3', "did you mean `batch_size`?"),
        ('captioner = "source"\n[caption.generation]\nbatch_size = 3', "`generation` is of a checkpoint that runs here"),
    ],
)  # fmt: skip
def test_problems_of_the_table_are_told_with_their_line(folder: Path, table: str, problem: str) -> None:
    path = folder / "r.toml"
    path.write_text(f'lake = "lake"\n[caption]\n{table}\n')
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    (found,) = error.value.problems
    assert found.startswith("line ") and problem in found


def test_a_name_on_the_hub_is_looked_up_when_it_is_needed(folder: Path) -> None:
    path = folder / "r.toml"
    path.write_text('lake = "lake"\n[caption]\ncaptioner = "somebody/llava"\n')
    read = load_recipe(path)
    assert read.caption is not None and read.caption.captioner == "somebody/llava"
    own = load_recipe(folder / "recipe.toml")
    assert own.caption is not None and own.caption.captioner == str((folder / "checkpoints" / "mine").resolve())


def test_the_recipe_prompts_are_the_unified_one(folder: Path) -> None:
    from captionlake.models.prompts import PromptSet

    read = load_recipe(write_recipe(folder, 'prompts = "sharegpt4v"'))
    assert read.caption is not None
    assert read.caption.checkpoint().prompt.text == PromptSet.read("sharegpt4v").unified
