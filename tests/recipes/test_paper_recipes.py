"""The recipes of ShareGPT4V's two compositions, run whole at 1:100 and 1:300 over files of the official forms.

The recipes are the committed ones with each count (the second has none) divided by 100, a toy model (random weights, fitted to the toy
pictures) in the place of CLIP, and leave to fetch from the loopback server. The pictures are small crops of photographs.
"""

import re
import shlex
import tomllib
from collections import Counter
from pathlib import Path

import click
import pytest
from PIL import Image

from captionlake.cli import captionlake
from captionlake.lake import Lake
from captionlake.lake.sources import SOURCES
from captionlake.pipeline import RunReport, run
from captionlake.recipe import load_recipe
from captionlake.recipe_file import RecipeError

from ..lake.image_server import ImageServer
from ..official import model, sharegpt4v
from ..official.layout import Pools, lay_out
from ..official.pictures import again, crops

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
HOW_TO = RECIPES.parent / "docs" / "sharegpt4v.md"
SCALE = 100
PT_SCALE = 300
WANTED = {"coco": 500, "lcs": 300, "sam": 200, "textcaps": 5, "wikiart": 5, "landmark": 5, "celebrity": 5}
POOL = {"coco": 540, "lcs": 330, "sam": 230, "textcaps": 7, "wikiart": 8, "landmark": 8, "celebrity": 8}
LOST = 3  # members that LLaVA's zip lacks
DEAD = 2  # addresses of either list that answer 404


def at_toy_scale(name: str, folder: Path, toy_model: Path | None) -> Path:
    """The committed recipe, written into ``folder``, with what a test must change."""
    text = (RECIPES / name).read_text()
    text = re.sub(r"^count = (\d+)$", lambda found: f"count = {int(found[1]) // SCALE}", text, flags=re.MULTILINE)
    split = "split = { landmark = 500, celebrity = 500 }"
    text = text.replace(split, "split = { landmark = 5, celebrity = 5 }")
    text = text.replace('source = "web"\n', 'source = "web"\nallow_private_hosts = true\n')
    if toy_model is not None:
        clip = 'model = "ViT-L-14-336"\npretrained = "openai"'
        assert clip in text
        text = text.replace(clip, f'model = "toy-random-weights"\npretrained = "{toy_model}"')
    path = folder / name
    path.write_text(text)
    return path


def accounted(lake: Lake, label: str) -> None:
    """Each row of images is in the release or excluded with a reason, and in one of them only."""
    name, _, version = label.partition("@")
    items = set(
        lake.rows("SELECT source, source_key FROM release_items WHERE name = ? AND version = ?", [name, version])
    )
    left = set(lake.rows("SELECT source, source_key FROM exclusions WHERE name = ? AND version = ?", [name, version]))
    assert not items & left
    assert items | left == set(lake.rows("SELECT source, source_key FROM images"))


def composition(lake: Lake) -> dict[str, int]:
    """How many the only release has of each collection, of the web by subset."""
    query = (
        "SELECT CASE collection WHEN 'web' THEN subset ELSE collection END, count(*) "
        "FROM release_items JOIN images USING (source, source_key) GROUP BY 1"
    )
    return dict(lake.rows(query))


def test_sharegpt4v_at_1_to_100(tmp_path: Path, photographs: dict[str, Image.Image]) -> None:
    cut = iter(crops(photographs, sum(POOL.values())))
    pictures = {kind: [next(cut) for _ in range(count)] for kind, count in POOL.items()}
    pictures["lcs"][0] = pictures["coco"][0]  # the same bytes in two sources
    pictures["sam"][:2] = [again(picture) for picture in pictures["coco"][1:3]]  # and the same sight
    pictures["coco"][5] = again(pictures["textcaps"][0])
    toy = model.write_model(tmp_path / "model", [picture for kind in pictures.values() for picture in kind][:400])
    with ImageServer() as server:
        urls = {kind: [server.url(f"/{kind}/{n}.jpg") for n in range(POOL[kind])] for kind in ("landmark", "celebrity")}
        for kind, listed in urls.items():
            for n in range(len(listed) - DEAD):
                server.add(f"/{kind}/{n}.jpg", pictures[kind][n])
        pools = Pools(
            coco=pictures["coco"],
            lcs=pictures["lcs"],
            sam=pictures["sam"],
            textcaps=pictures["textcaps"],
            wikiart=pictures["wikiart"],
            landmark=urls["landmark"],
            celebrity=urls["celebrity"],
        )
        names = lay_out(tmp_path / "data", pools, tars=2, lost=LOST)
        recipe = load_recipe(at_toy_scale("sharegpt4v.toml", tmp_path, toy))
        report = run(recipe)
    assert report.release == "sharegpt4v@1.0.0"
    with Lake.open(recipe.lake) as lake:
        assert composition(lake) == WANTED
        accounted(lake, report.release)
        _all_listed_is_there_or_failed(lake, names)
        _exclusions_are_explained(lake, report, names)
    assert report.card is not None and report.card.is_file()
    before = report.card.read_bytes()
    repeated = run(recipe)  # nothing left to do
    (released,) = [step for step in repeated.steps if step.step == "release"]
    assert released.counts["new"] is False and report.card.read_bytes() == before
    _exactly_the_released(tmp_path, names)


def _all_listed_is_there_or_failed(lake: Lake, names: dict[str, list[str]]) -> None:
    there = Counter(
        dict(
            lake.rows(
                "SELECT CASE collection WHEN 'web' THEN subset ELSE collection END, count(*) FROM images GROUP BY 1"
            )
        )
    )
    failed = {
        (kind, reason): count
        for kind, reason, count in lake.rows(
            "SELECT CASE collection WHEN 'web' THEN subset ELSE collection END, reason, count(*) FROM fetch_failures GROUP BY 1, 2"
        )
    }
    dead = {(kind, "not_found"): DEAD for kind in ("landmark", "celebrity")}
    assert failed == {("lcs", "missing_member"): LOST} | dead
    assert there + Counter({kind: count for (kind, _), count in failed.items()}) == Counter(POOL)
    lost = {key for (key,) in lake.rows("SELECT source_key FROM fetch_failures WHERE reason = 'missing_member'")}
    assert lost == set(names["lcs"][-LOST:])


def _exclusions_are_explained(lake: Lake, report: RunReport, names: dict[str, list[str]]) -> None:
    rows = lake.rows("SELECT source, source_key, reason, detail, keeper_source, keeper_key, similarity FROM exclusions")
    reasons = Counter(row[2] for row in rows)
    assert set(reasons) == {"duplicate", "over_quota"}
    (chosen,) = [step for step in report.steps if step.step == "select"]
    assert chosen.counts["excluded"] == dict(reasons)
    kept = set(lake.rows("SELECT source, source_key FROM release_items"))
    over = {(source, key) for source, key, reason, *_ in rows if reason == "over_quota"}
    for source, key, reason, detail, keeper_source, keeper_key, similarity in rows:
        assert detail, (source, key)
        if reason == "duplicate":
            assert similarity >= 0.95 and (keeper_source, keeper_key) in kept | over
        else:
            assert re.fullmatch(r"the quota of \d+ for [a-z/]+ is full; place \d+ in line", detail)
    duplicates = {(row[0], row[1]): row for row in rows if row[2] == "duplicate"}
    (same,) = [row for row in duplicates.values() if row[3] == "same bytes"]
    # keep_order has coco before lcs and sam, and textcaps before coco
    assert same[:2] == ("llava558k", names["lcs"][0]) and same[4:6] == ("coco", names["coco"][0])
    sam = {f"sa_{n}.jpg": names["coco"][n] for n in (1, 2)}
    assert {key: duplicates["sam", key][5] for key in sam} == sam
    assert duplicates["coco", names["coco"][5]][4:6] == ("textcaps", names["textcaps"][0])


def _exactly_the_released(folder: Path, names: dict[str, list[str]]) -> None:
    """The how-to's words on taking the released pictures alone, tried in the lake that is there."""
    there = {kind: names[kind][:count] for kind, count in {"coco": 20, "lcs": 10, "sam": 15}.items()}
    there["textcaps"] = [f"{key}.jpg" for key in names["textcaps"][:3]]
    there["wikiart"] = [Path(name).name for name in names["wikiart"][:2]]  # released without their styles' folders
    absent = {"lcs": names["lcs"][-1:], "sam": ["sa_999999.jpg"], "celebrity": ["Nobody_Known.jpg"]}
    chats = sharegpt4v.captions(there, "the teacher") + sharegpt4v.captions(absent, "the teacher")
    sharegpt4v.write(folder / "data" / "sharegpt4v" / sharegpt4v.CAP100K, chats)
    (block,) = re.findall(r"^```toml\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    path = folder / "released.toml"
    path.write_text(f'lake = "lake"\n{block}\n[release]\nname = "released"\nversion = "1.0.0"\n')
    recipe = load_recipe(path)
    report = run(recipe)
    assert report.steps[0].counts["matched"] == sum(map(len, there.values()))
    with Lake.open(recipe.lake) as lake:
        taken = lake.rows(
            "SELECT collection, count(*) FROM release_items JOIN images USING (source, source_key) WHERE name = 'released' GROUP BY 1"
        )
        assert dict(taken) == {kind: len(keys) for kind, keys in there.items()}
        said = dict(
            lake.rows("SELECT source_key, text FROM captions WHERE producer = 'gpt4-vision' AND kind = 'teacher'")
        )
        assert said[there["sam"][0]] == sharegpt4v.caption(there["sam"][0], "the teacher")
        unmatched = lake.rows("SELECT source_key FROM fetch_failures WHERE source = 'sharegpt4v'")
        assert {key.rpartition("/")[2] for (key,) in unmatched} == {Path(name).name for (name,) in absent.values()}


def test_sharegpt4v_pt_at_1_to_300(tmp_path: Path, photographs: dict[str, Image.Image]) -> None:
    pools = {"coco": 118_287 // PT_SCALE, "lcs": 558_128 // PT_SCALE, "sam": 570_486 // PT_SCALE}
    cut = iter(crops(photographs, sum(pools.values()), side=16))
    pictures = {kind: [next(cut) for _ in range(count)] for kind, count in pools.items()}
    pictures["lcs"][:2] = [pictures["coco"][0], pictures["lcs"][2]]  # the same bytes elsewhere, and in the same pool
    lay_out(tmp_path / "data", Pools(coco=pictures["coco"], lcs=pictures["lcs"], sam=pictures["sam"]), tars=51)
    recipe = load_recipe(at_toy_scale("sharegpt4v-pt.toml", tmp_path, None))
    report = run(recipe)
    assert report.release == "sharegpt4v-pt@1.0.0"
    with Lake.open(recipe.lake) as lake:
        assert composition(lake) == pools
        accounted(lake, report.release)
        assert lake.value("SELECT (SELECT count(*) FROM fetch_failures) + (SELECT count(*) FROM exclusions)") == 0
        assert lake.value("SELECT count(DISTINCT archive) FROM images WHERE source = 'sam'") == 51


@pytest.mark.parametrize("name", ["sharegpt4v.toml", "sharegpt4v-pt.toml"])
def test_without_the_files_only_they_are_missing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text((RECIPES / name).read_text())
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    folder = re.escape(str(tmp_path / "data"))
    assert all(
        re.fullmatch(rf"line \d+: no such file or folder: {folder}/\S+", problem) for problem in caught.value.problems
    )


def test_the_counts_are_the_papers() -> None:
    text = (RECIPES / "sharegpt4v.toml").read_text()
    counts = dict(re.findall(r'^collection = "(\w+)"\ncount = (\d+)$', text, re.MULTILINE))
    assert counts == {
        "coco": "50000",
        "lcs": "30000",
        "sam": "20000",
        "textcaps": "500",
        "wikiart": "500",
        "web": "1000",
    }
    assert sum(map(int, counts.values())) == 102_000
    text = (RECIPES / "sharegpt4v-pt.toml").read_text()
    assert re.findall(r'^collection = "(\w+)"\ncount = (\S+)$', text, re.MULTILINE) == [
        (name, '"all"') for name in ("coco", "lcs", "sam")
    ]
    tars = re.findall(r'"data/sam/sa_(\d{6})\.tar"', text)
    assert tars == [f"{number:06d}" for number in range(51)]
    assert len(tars) * 11_186 == 570_486 and 118_287 + 558_128 + 570_486 == 1_246_901


def test_the_how_to_names_commands_that_exist() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    commands = [line[1:] for line in lines if line[0] == "captionlake"]
    assert len(commands) > 10 and {line[0] for line in lines} == {"captionlake", "head"}
    for name, *arguments in commands:
        command = captionlake.get_command(click.Context(captionlake), name)
        assert command is not None, name
        command.make_context(name, list(arguments))  # parses them, and runs nothing
        if name == "ingest":
            assert arguments[0] in SOURCES


def test_the_how_to_and_the_recipes_name_the_same_files() -> None:
    text = HOW_TO.read_text()
    for recipe in ("sharegpt4v.toml", "sharegpt4v-pt.toml"):
        for table in tomllib.loads((RECIPES / recipe).read_text())["ingest"]:
            for name in (*table["inputs"], *table.get("archives", ())):
                folder, file = name.split("/")[1], Path(name).name
                known = file in text or folder in ("sam", "wikiart")
                assert known and f"data/{folder}/" in text, name
