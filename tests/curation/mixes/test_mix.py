"""Mixes at 1:100 from files of the official form: the paper's arithmetic, what stands where, and the same again."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner

from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.forms import export_release
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release, find_release
from captionlake.lake.releases.verification import verify_release
from captionlake.mix_recipe import load_mix_recipe
from captionlake.recipe_file import RecipeError

from ...official import mix as official

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
SCALE = 100
CAPTIONS = {"coco": 500, "lcs": 300, "sam": 200, "textcaps": 5, "wikiart": 5, "web": 10}
TOTAL = sum(count // SCALE for count in official.PARTS.values())
DETAIL = official.PARTS["detail"] // SCALE


RECIPE = """lake = "l"
[mix]
base = "base.json"
[mix.replace]
captions = "a@1.0.0"
{replace}
[release]
name = "a"
version = "1.0.0"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, and a lake with a release of 1,020 captioned pictures (no bytes lie behind them)."""
    root = tmp_path_factory.mktemp("mixes")
    official.lay_out(root / "data/llava", SCALE)
    with Lake.init(root / "lake") as lake:
        fill(lake)
    for path in RECIPES.glob("sft-*.toml"):
        text = path.read_text()
        text = text.replace(
            "coco = 9000, lcs = 3000, sam = 9000, diverse = 2000", "coco = 90, lcs = 30, sam = 90, diverse = 20"
        )
        (root / path.name).write_text(text)
    return root


def fill(lake: Lake) -> None:
    keys = [(collection, f"{number:012d}.jpg") for collection, count in CAPTIONS.items() for number in range(count)]
    ids = [hashlib.sha256(f"{collection}:{key}".encode()).hexdigest() for collection, key in keys]
    images = pl.DataFrame(
        {
            "source": [c for c, _ in keys],
            "source_key": [k for _, k in keys],
            "collection": [c for c, _ in keys],
            "image_id": ids,
        }
    )
    columns = (
        "640 AS width, 480 AS height, 'JPEG' AS format, 1 AS orientation, 1 AS n_bytes, 0 AS phash, 'none' AS shard, 0 AS row, "
        "0 AS offset, now() AS ingested_at"
    )
    texts = [f"Caption {number} says " + "and goes on and on " * (30 + number % 40) for number in range(len(ids))]
    captions = pl.DataFrame({"caption_id": [f"c{n}" for n in range(len(ids))], "image_id": ids, "text": texts})
    lake.commit(
        lambda c: c.execute(f"INSERT INTO images BY NAME SELECT *, {columns} FROM _i"),
        _i=images.to_arrow(),
    )
    more = "'teacher' AS kind, 'gpt4-vision' AS producer, length(text) AS chars, 9 AS words, now() AS created_at"
    lake.commit(lambda c: c.execute(f"INSERT INTO captions BY NAME SELECT *, {more} FROM _c"), _c=captions.to_arrow())
    none = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    items: pa.Table = images.select("source", "source_key", "image_id", pl.lit("train").alias("split")).to_arrow()
    draft = Draft(
        config=ReleaseConfig(name="sharegpt4v", version="1.0.0"),
        recipe="",
        snapshot=lake.snapshot(),
        items=items,
        exclusions=pl.DataFrame(schema={**none, "similarity": pl.Float64}).to_arrow(),
        producers=["gpt4-vision"],
    )
    create_release(lake, draft)


def mix(recipe: Path) -> dict[str, Any]:
    done = CliRunner().invoke(captionlake, ["mix", str(recipe), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def exported(folder: Path, label: str, output: Path) -> list[dict[str, Any]]:
    with Lake.open(folder / "lake") as lake:
        export_release(lake, label, "llava-json", output)
    rows: list[dict[str, Any]] = json.loads(next(output.glob("*.json")).read_text())
    return rows


def base_rows(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "data/llava" / official.BASE).read_text())
    return rows


def detail_keys(folder: Path) -> set[str]:
    return {row["id"] for row in json.loads((folder / "data/llava" / official.DETAIL).read_text())}


def edited(folder: Path, recipe: str, output: str, /, **changes: str) -> Path:
    """A recipe with some of its lines changed; a line that is empty is taken out."""
    lines = (folder / recipe).read_text().splitlines()
    done = [next((new for key, new in changes.items() if line.startswith(f"{key} =")), line) for line in lines]
    path = folder / output
    path.write_text("\n".join(done))
    return path


def test_the_original_is_the_base_as_it_is(folder: Path, tmp_path: Path) -> None:
    report = mix(folder / "sft-original.toml")
    assert report["new"] and report["n_items"] == TOTAL
    assert report["detail_found"] == report["detail_listed"] == DETAIL
    assert exported(folder, "sft-original@1.0.0", tmp_path / "out") == base_rows(folder)
    before = {part["part"]: part["before"] for part in report["parts"]}
    counts = official.counts(SCALE)
    counts["coco/train2017"] += counts.pop("detail")
    assert before == dict(sorted(counts.items()))
    assert all(part["taken"] == part["put"] == 0 for part in report["parts"])


def test_23k_takes_the_places_of_the_detailed_captions(folder: Path, tmp_path: Path) -> None:
    report = mix(folder / "sft-sharegpt4v-23k.toml")
    assert report["n_items"] == TOTAL - DETAIL + 230
    assert report["quotas"] == {"coco": [90, 90], "lcs": [30, 30], "sam": [90, 90], "diverse": [20, 20]}
    totals = {key: sum(part[key] for part in report["parts"]) for key in ("before", "taken", "put", "after")}
    assert totals == {"before": TOTAL, "taken": DETAIL, "put": 230, "after": TOTAL - DETAIL + 230}
    rows = exported(folder, "sft-sharegpt4v-23k@1.0.0", tmp_path / "out")
    base, keys = base_rows(folder), detail_keys(folder)
    kept = [row for row in base if row["id"] not in keys]
    put = [row for row in rows if row["conversations"][1]["value"].startswith("Caption ")]
    assert [row for row in rows if row not in put] == kept
    places = [n for n, row in enumerate(base) if row["id"] in keys]
    for number in range(228):  # the first 228 stand where a detailed caption stood, as nothing before was lost
        assert rows[places[number]] == put[number]
    questions = {row["conversations"][0]["value"] for row in base if row["id"] in keys}
    assert {row["conversations"][0]["value"] for row in put} <= questions
    collections = Counter(row["image"].split("/")[0] for row in put)
    assert collections["coco"] == collections["sam"] == 90 and collections["llava"] == 30
    assert all(row["id"] == Path(row["image"]).stem for row in put)
    with Lake.open(folder / "lake") as lake:
        wrong = lake.value(
            "SELECT count(*) FROM conversations v LEFT JOIN captions c USING (caption_id) WHERE caption_id IS NOT NULL AND "
            "starts_with(origin, 'sft-sharegpt4v-23k@') AND (c.text IS DISTINCT FROM (turns->1->>'value') OR c.image_id <> image_ids[1])"
        )
        assert wrong == 0


def test_truncated_captions_have_parents_and_a_mean(folder: Path, tmp_path: Path) -> None:
    report = mix(folder / "sft-sharegpt4v-tr23k.toml")
    assert report["n_items"] == TOTAL - DETAIL + 230
    rows = exported(folder, "sft-sharegpt4v-tr23k@1.0.0", tmp_path / "out")
    texts = [
        row["conversations"][1]["value"] for row in rows if row["conversations"][1]["value"].startswith("Caption ")
    ]
    assert len(texts) == 230
    mean = sum(map(len, texts)) / len(texts)
    assert 604 < mean <= 609 and round(mean, 3) == report["truncation"]["mean_chars"]
    with Lake.open(folder / "lake") as lake:
        found = lake.rows(
            "SELECT count(*), count(w.caption_id), bool_and(starts_with(w.text, t.text)) FROM captions t LEFT JOIN captions w "
            "ON w.caption_id = t.parent_id WHERE t.producer = 'gpt4-vision/tr609/sft-sharegpt4v-tr23k@1.0.0'"
        )
    assert found == [(230, 230, True)]


def test_all_captions_follow_the_papers_arithmetic(folder: Path) -> None:
    report = mix(folder / "sft-sharegpt4v-100k.toml")
    assert report["n_items"] == TOTAL - DETAIL + sum(CAPTIONS.values())
    shown = CliRunner().invoke(captionlake, ["mix", str(folder / "sft-sharegpt4v-100k.toml")], catch_exceptions=False)
    assert "there already, the same" in shown.stdout and "put in" in shown.stdout
    with Lake.open(folder / "lake") as lake:
        parts = dict(
            lake.rows("SELECT origin[:19], count(*) FROM conversations WHERE caption_id IS NOT NULL GROUP BY 1")
        )
        assert parts["sft-sharegpt4v-100k"] == sum(CAPTIONS.values())


def test_the_same_recipe_makes_the_same_release(folder: Path, tmp_path: Path) -> None:
    """In a lake of its own, so that nothing is there yet."""
    first = mix(folder / "sft-sharegpt4v-23k.toml")
    other = tmp_path / "again"
    other.mkdir()
    (other / "data").symlink_to(folder / "data")
    (other / "recipe.toml").write_text((folder / "sft-sharegpt4v-23k.toml").read_text())
    with Lake.init(other / "lake") as lake:
        fill(lake)
    assert mix(other / "recipe.toml")["content_sha256"] == first["content_sha256"]


def test_questions_find_the_same_rows(folder: Path, tmp_path: Path) -> None:
    (folder / "questions.txt").write_text("\n".join(official.QUESTIONS) + "\n")
    path = edited(
        folder, "sft-sharegpt4v-23k.toml", "by-questions.toml",
        detail='questions = "questions.txt"', name='name = "by-questions"',
    )  # fmt: skip
    report = mix(path)
    assert (report["detail_listed"], report["detail_found"], report["n_items"]) == (0, DETAIL, TOTAL - DETAIL + 230)
    by_file = mix(folder / "sft-sharegpt4v-23k.toml")
    assert report["parts"] == by_file["parts"] and report["content_sha256"] == by_file["content_sha256"]


def test_shuffled_by_the_seed(folder: Path, tmp_path: Path) -> None:
    orders = {}
    for seed in (1, 2):
        name = f"shuffled-{seed}"
        path = edited(
            folder, "sft-original.toml", f"{name}.toml",
            order='order = "shuffle"', seed=f"seed = {seed}", name=f'name = "{name}"',
        )  # fmt: skip
        mix(path)
        orders[seed] = exported(folder, f"{name}@1.0.0", tmp_path / name)
    base = base_rows(folder)
    assert orders[1] != orders[2] and orders[1] != base
    for rows in orders.values():
        assert sorted(map(json.dumps, rows)) == sorted(map(json.dumps, base))


def test_seeds_draw_others(folder: Path) -> None:
    path = edited(folder, "sft-sharegpt4v-23k.toml", "seed.toml", seed="seed = 5", name='name = "seed-5"')
    mix(path)
    with Lake.open(folder / "lake") as lake:
        drawn = {
            name: {
                c for (c,) in lake.rows(f"SELECT caption_id FROM conversations WHERE starts_with(origin, '{name}@')")
            }
            for name in ("seed-5", "sft-sharegpt4v-23k")
        }
    assert len(drawn["seed-5"]) == 230 and 0 < len(drawn["seed-5"] & drawn["sft-sharegpt4v-23k"]) < 230


def test_a_kill_in_between_and_again(folder: Path) -> None:
    path = edited(folder, "sft-sharegpt4v-23k.toml", "killed.toml", name='name = "killed"')
    whole = mix(path)
    with Lake.open(folder / "lake") as lake:
        lake.commit(lambda c: c.execute("DELETE FROM releases WHERE name = 'killed'"))
        lake.commit(lambda c: c.execute("DELETE FROM release_items WHERE name = 'killed'"))
        lake.commit(
            lambda c: c.execute("DELETE FROM conversations WHERE starts_with(origin, 'killed@') AND origin LIKE '%3'")
        )
        lake.commit(lambda c: c.execute(f"DELETE FROM conversations WHERE origin = '{official.BASE}:17'"))
    again = mix(path)
    assert again["new"] and again["content_sha256"] == whole["content_sha256"]


def test_shortfalls(folder: Path) -> None:
    quotas = "quotas = { coco = 90, diverse = 21 }"
    path = edited(folder, "sft-sharegpt4v-23k.toml", "short.toml", name='name = "short"', quotas=quotas)
    with pytest.raises(CaptionlakeError, match=r"too few captions by gpt4-vision: 20 of 21 of diverse"):
        mix(path)
    path = edited(
        folder, "sft-sharegpt4v-23k.toml", "short.toml",
        name='name = "short"', quotas=quotas, shortfall='shortfall = "report"',
    )  # fmt: skip
    report = mix(path)
    assert report["quotas"] == {"coco": [90, 90], "diverse": [21, 20]} and report["n_items"] == TOTAL - DETAIL + 110


def test_what_cannot_be_is_told(folder: Path) -> None:
    path = edited(folder, "sft-sharegpt4v-23k.toml", "wrong.toml", captions='captions = "none@1.0.0"')
    with pytest.raises(CaptionlakeError, match=r"no release none@1\.0\.0"):
        mix(path)
    path = edited(folder, "sft-sharegpt4v-23k.toml", "wrong.toml", captions='captions = "sft-original@1.0.0"')
    mix(folder / "sft-original.toml")
    with pytest.raises(CaptionlakeError, match="holds conversations"):
        mix(path)
    path = edited(folder, "sft-sharegpt4v-100k.toml", "wrong.toml", producer='producer = "nobody"')
    with pytest.raises(CaptionlakeError, match="no captions by nobody"):
        mix(path)
    other = [
        {"id": "1", "image": "1.jpg", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]}
    ]
    (folder / "other.json").write_text(json.dumps(other))
    path = edited(folder, "sft-sharegpt4v-23k.toml", "wrong.toml", detail='detail = "other.json"')
    with pytest.raises(CaptionlakeError, match="has none of the detailed captions"):
        mix(path)


def test_all_problems_of_a_recipe_at_once(tmp_path: Path) -> None:
    text = """lake = "lake"
[mix]
base = "none.json"
ordre = "preserve"
seed = "0"
[mix.replace]
captions = "sharegpt4v"
count = 5
quotas = { coco = 5 }
"""
    (tmp_path / "mix.toml").write_text(text)
    with pytest.raises(RecipeError) as error:
        load_mix_recipe(tmp_path / "mix.toml")
    told = "\n".join(error.value.problems)
    for part in (
        "line 3: no such file", "line 4: unknown key `ordre` in [mix], did you mean `order`?",
        "line 5: `seed` in [mix]: should be a whole number",
        "line 7: `captions` in [mix.replace]: should be a release: write NAME@VERSION", "missing key `release`",
    ):  # fmt: skip
        assert part in told, told


@pytest.mark.parametrize(
    ("replace", "problem"),
    [
        ("count = 5\nquotas = { coco = 5 }", "`count` and `quotas` both"),
        ("", "missing key `count`, or `quotas`"),
        ("quotas = { web = 5, diverse = 5 }", "web has a quota of its own and one in a group"),
    ],
)
def test_counts_that_contradict_each_other(tmp_path: Path, replace: str, problem: str) -> None:
    (tmp_path / "base.json").write_text("[]")
    (tmp_path / "mix.toml").write_text(RECIPE.format(replace=replace))
    with pytest.raises(RecipeError, match=problem):
        load_mix_recipe(tmp_path / "mix.toml")


def test_replacing_needs_to_know_what(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text("[]")
    (tmp_path / "mix.toml").write_text(RECIPE.format(replace='count = "all"'))
    with pytest.raises(RecipeError, match="needs to know what to replace: add `detail`, or `questions`"):
        load_mix_recipe(tmp_path / "mix.toml")


def test_mixes_verify(folder: Path) -> None:
    mix(folder / "sft-original.toml")
    with Lake.open(folder / "lake") as lake:
        assert find_release(lake, "sft-original@1.0.0").kind == "sft"
        found = verify_release(lake, "sft-original@1.0.0")
        (problem,) = found.problems  # there are no pictures behind the rows
        assert found.n_pictures > 0 and f"images/none is missing, with {found.n_pictures} pictures" in problem
