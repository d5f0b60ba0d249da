"""``captionlake caption`` and the step of a recipe, against a server that counts requests: refused pictures give their place on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from captionlake.caption_command import caption
from captionlake.lake import Lake
from captionlake.lake.releases.verification import verify_release
from captionlake.recipe import load_recipe
from captionlake.recipe_file import RecipeError

from .models.teacher_server import TeacherServer

GOOD = "A made-up caption, long enough for its collection. " + " ".join(
    f"It names thing number {n}." for n in range(12)
)
REFUSAL = "I'm sorry, but I can't assist with describing this image."


def recipe_of(folder: Path, url: str, count: int, more: str = "", endpoint: str = 'price = "free"') -> Path:
    path = folder / "recipe.toml"
    path.write_text(
        f'''lake = "lake"
[[ingest]]
source = "folder"
inputs = ["pictures"]
collection = "coco"
[select]
seed = 1
[[select.quota]]
collection = "coco"
count = {count}
[caption]
captioner = "openai:test-model"
refuse = ["refusal", "too_short"]
{more}
[caption.endpoint]
base_url = "{url}"
{endpoint}
[release]
name = "made"
version = "1.0.0"
'''
    )
    return path


@pytest.fixture
def folder(tmp_path: Path, tiles: Callable[[int], list[bytes]]) -> Path:
    """Thirty small pictures."""
    (tmp_path / "pictures").mkdir()
    for number, data in enumerate(tiles(30)):
        (tmp_path / "pictures" / f"{number:02d}.jpg").write_bytes(data)
    return tmp_path


def run(path: Path) -> dict[str, Any]:
    from captionlake.pipeline import run as work_off

    report = work_off(load_recipe(path))
    return {str(step.step): step for step in report.steps}


def test_a_quota_is_filled_with_accepted_captions(folder: Path) -> None:
    """A third of the pictures is refused or filtered; others take their places, and each is paid for once."""

    def fault(_: int, picture: str) -> Any:
        kind = int(picture, 16) % 6
        return "content_filter" if kind == 0 else ("text", REFUSAL if kind == 1 else GOOD)

    with TeacherServer(fault=fault) as server:
        path = recipe_of(folder, server.url, 15)
        steps = run(path)
        assert max(server.asked().values()) == 1
        before = len(server.seen)
        again = run(path)
        assert again["release"].counts["content_sha256"] == steps["release"].counts["content_sha256"]
        filtered = sum(seen.fault == "content_filter" for seen in server.seen[:before])
        assert len(server.seen) - before == filtered  # these alone have nothing to show for it
    with Lake.open(folder / "lake") as lake:
        assert lake.value("SELECT count(*) FROM release_items") == 15
        texts = {text for (text,) in lake.rows("SELECT text FROM release_captions JOIN captions USING (caption_id)")}
        assert texts == {GOOD.strip()}
        assert lake.value("SELECT count(*) FROM release_captions") == 15
        left = dict(lake.rows("SELECT reason, count(*) FROM exclusions GROUP BY reason"))
        assert left["flagged"] == steps["caption"].counts["refused"] > 0
        details = {detail for (detail,) in lake.rows("SELECT detail FROM exclusions WHERE reason = 'flagged'")}
        assert details <= {"refusal, too_short", "refusal", "no caption by openai:test-model: content_filter"}
        assert len(details) == 2
        assert verify_release(lake, "made@1.0.0").n_problems == 0
        assert left["flagged"] + left["over_quota"] == 15


def test_a_quota_that_cannot_be_filled_says_so(folder: Path) -> None:
    with TeacherServer(fault=lambda *_: ("text", REFUSAL)) as server:
        path = recipe_of(folder, server.url, 25)
        result = CliRunner().invoke(caption, [str(path)], catch_exceptions=True)
        assert "no lake in" in str(result.exception)
        from captionlake.errors import CaptionlakeError
        from captionlake.pipeline import run as work_off

        with pytest.raises(CaptionlakeError, match=r"quotas not met: coco has 5 of 25 \(20 short\)"):
            work_off(load_recipe(path))
        assert len(server.seen) == 25


def test_a_failure_of_the_moment_refuses_no_row(folder: Path) -> None:
    from captionlake.errors import CaptionlakeError

    with TeacherServer(fault=lambda n, _: "500" if n % 2 else ("text", GOOD)) as server:
        path = recipe_of(folder, server.url, 10, endpoint='price = "free"\nmax_attempts = 1')
        with pytest.raises(
            CaptionlakeError, match=r"captions are missing that may come yet \(\d+ server_error\): run the same"
        ):
            run(path)
        server.fault = lambda *_: ("text", GOOD)
        assert run(path)["caption"].counts["refused"] == 0


def test_plan_sample_redo_and_review(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    runner = CliRunner()
    hostile = GOOD + "<script>alert(1)</script> \x1b[31mred"
    with TeacherServer(fault=lambda *_: ("text", hostile)) as server:
        prices = folder / "prices.toml"
        prices.write_text('noted = "a test"\n[[model]]\nname = "test-model"\ninput = 1000.0\noutput = 1000.0\n')
        path = recipe_of(folder, server.url, 12, "max_cost_usd = 1000", 'prices = "prices.toml"')
        from captionlake.pipeline import Step
        from captionlake.pipeline import run as work_off

        work_off(load_recipe(path), until=Step.SELECT)
        planned = json.loads(runner.invoke(caption, [str(path), "--plan", "--json"]).output)
        assert (planned["pending"], planned["known"]) == (12, 0) and planned["cost_usd"] > 0
        assert not server.seen
        result = runner.invoke(caption, [str(path), "--sample", "5"])
        assert result.exit_code == 0, result.output
        assert len(server.seen) == 5
        assert "5 captions asked for now: 5.5000 US dollars" in result.output
        assert "the rest: 7 of 12 captions by openai:test-model are missing: about" in result.output
        assert "\x1b" not in result.output
        page = (folder / "sample.html").read_text()
        assert page.count("<article>") == 5 and page.count("data:image/jpeg") == 5
        assert "<script>" not in page and "&lt;script&gt;" in page
        assert page.count("For every object that counts") == 5
        done = runner.invoke(caption, [str(path), "--json"])
        assert json.loads(done.stdout)["captioned"] == 7 and len(server.seen) == 12
        review = runner.invoke(caption, [str(path), "--review", "-o", "worst.html"])
        assert review.exit_code == 0, review.output
        assert "<script>" not in (folder / "worst.html").read_text()
        server.fault = lambda *_: ("text", GOOD + " Anew.")
        redone = runner.invoke(caption, [str(path), "--redo", "--json"])
        assert json.loads(redone.stdout)["captioned"] == 12 and len(server.seen) == 24
        run(path)
        assert len(server.seen) == 24
    with Lake.open(folder / "lake") as lake:
        texts = {text for (text,) in lake.rows("SELECT text FROM release_captions JOIN captions USING (caption_id)")}
        assert texts == {GOOD + " Anew."}
        assert lake.value("SELECT count(*) FROM release_captions") == 12
    for wrong in (["--plan", "--redo"], ["-o", "x.html"]):
        assert runner.invoke(caption, [str(path), *wrong]).exit_code == 2


def test_flags_that_the_texts_of_sources_must_not_have(folder: Path) -> None:
    """Without a teacher: rows whose captions all have the flag give their place on."""
    for number in range(30):
        text = REFUSAL if number % 3 == 0 else GOOD
        (folder / "pictures" / f"{number:02d}.txt").write_text(text)
    path = folder / "recipe.toml"
    path.write_text(
        'lake = "lake"\n[[ingest]]\nsource = "img2dataset"\ninputs = ["shards"]\ncollection = "coco"\n[select]\n[[select.quota]]\n'
        'collection = "coco"\ncount = 20\n[caption]\ncaptioner = "source"\nrefuse = ["refusal"]\n[release]\nname = "r"\nversion = "1.0.0"\n'
    )
    shard = folder / "shards" / "00000"
    shard.mkdir(parents=True)
    for number in range(30):
        for end in ("jpg", "txt"):
            (folder / "pictures" / f"{number:02d}.{end}").rename(shard / f"{number:09d}.{end}")
        told = {
            "caption": (shard / f"{number:09d}.txt").read_text(),
            "url": f"https://x.test/{number}.jpg",
            "key": f"{number:09d}",
            "status": "success",
        }
        (shard / f"{number:09d}.json").write_text(json.dumps(told))
    (folder / "shards" / "00000_stats.json").write_text('{"count": 30, "successes": 30}')
    steps = run(path)
    assert steps["caption"].counts["refused"] == 10
    with Lake.open(folder / "lake") as lake:
        assert lake.value("SELECT count(*) FROM release_items") == 20
        assert {t for (t,) in lake.rows("SELECT text FROM release_captions JOIN captions USING (caption_id)")} == {GOOD}


@pytest.mark.parametrize(
    ("caption_table", "problem"),
    [
        ('captioner = "gpt-4o"', "it is a checkpoint's folder, openai:MODEL, for any OpenAI-compatible endpoint"),
        ('captioner = "openai:"', "names no model"),
        ('captioner = "source"\nmax_cost_usd = 3', "`max_cost_usd` binds a model that is asked, and source is none"),
        ('captioner = "openai:gpt-4o"\nrefuse = ["refusl"]', "unknown flag `refusl`, did you mean `refusal`?"),
        ('captioner = "openai:gpt-4o"\nprompts = "sharegpt5v"', "sharegpt5v"),
        (
            'captioner = "openai:unheard-of"\nmax_cost_usd = 3',
            "max_cost_usd cannot be kept to: no price of unheard-of is known",
        ),
        (
            'captioner = "openai:gpt-4o"\n[caption.endpoint]\nbase_ulr = "http://x/v1"',
            "unknown key `base_ulr` in [caption.endpoint], did you mean `base_url`?",
        ),
        ('captioner = "openai:gpt-4o"\n[caption.endpoint]\nbase_url = "ftp://x"', "no http or https address"),
        (
            'captioner = "openai:gpt-4o"\n[flags]\nminimum_word = { coco = 3 }',
            "unknown key `minimum_word` in [flags], did you mean `minimum_words`?",
        ),
    ],
)
def test_problems_of_the_table_are_told_with_their_line(tmp_path: Path, caption_table: str, problem: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f'lake = "lake"\n[caption]\n{caption_table}\n')
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    (found,) = error.value.problems
    assert found.startswith("line ") and problem in found
