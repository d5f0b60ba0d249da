"""The whole card: what it says, that it reads back, that nothing in it breaks out, and releases at the edges."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard
from hypothesis import given, settings
from markdown_it import MarkdownIt
from PIL import Image

from captionlake.cards.dataset_card import check_card, readme, write_card
from captionlake.cards.facts import Fact, Facts
from captionlake.cards.licences import HUB_LICENCES
from captionlake.cards.metadata import SIZE_CATEGORIES, features, size_category
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.image_parquet import export_parquet

from .made_lake import Plan, Row, caption, source
from .texts import hostile_text

PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")
_LINKS = ("http://", "https://", "#credits", "figures/", "facts.json", "LICENSE.md")
FILES = {
    "README.md",
    "LICENSE.md",
    "croissant.json",
    "facts.json",
    "figures/caption_lengths.png",
    "figures/caption_lengths.svg",
    "figures/contact_sheet.png",
}


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _metadata(text: str) -> dict[str, Any]:
    card: Any = DatasetCard(text)
    found: dict[str, Any] = card.data.to_dict()
    return found


def _structure(text: str) -> tuple[list[str], list[str], list[str], list[int]]:
    """Headings, tags and comments of HTML, links, and the rows of each table."""
    tokens = PARSER.parse(DatasetCard(text).text)
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    inline = [child for token in tokens for child in token.children or []]
    html = [token.content for token in [*tokens, *inline] if token.type in ("html_block", "html_inline")]
    links = [
        str(token.attrGet("href") or token.attrGet("src")) for token in inline if token.type in ("link_open", "image")
    ]
    rows = [0]
    for token in tokens:
        if token.type == "table_open":
            rows.append(0)
        rows[-1] += token.type in ("tr_open", "td_open")
    return headings, [part for part in html if part != "<!-- -->"], links, rows


@pytest.fixture(scope="module")
def card(plain_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card") / "small"
    with Lake.open(plain_lake) as lake:
        written = write_card(lake, "small@1.0.0", folder)
    assert (written.readme, written.pictures) == (folder / "README.md", 5)
    return folder


def test_its_files(card: Path) -> None:
    assert set(_files(card)) == FILES
    assert [path.name for path in card.parent.iterdir()] == ["small"], "nothing is left beside it"


def test_its_front_matter_reads_back_as_the_hub_reads_it(card: Path) -> None:
    data = DatasetCard.load(card / "README.md").data.to_dict()
    assert data["pretty_name"] == "Small test set"
    assert data["language"] == ["en"]
    assert (data["license"], data["license_name"], data["license_link"]) == ("other", "partly-unknown", "LICENSE.md")
    assert data["task_categories"] == ["image-to-text"]
    assert data["size_categories"] == ["n<1K"]
    assert data["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"},
        {"split": "test", "path": "data/test-*.parquet"},
    ]
    assert data["dataset_info"]["splits"] == [{"name": "train", "num_examples": 6}, {"name": "test", "num_examples": 1}]


def test_it_says_what_the_facts_say(card: Path) -> None:
    text = (card / "README.md").read_text()
    for said in (
        "**7 items**",
        "**8 captions**",
        "| coco | whole collection | 5 | 3 | 2 |",
        "| web | landmark | 2 | 1 | 1 |",
        "| album | whole collection | all | 2 | – |",
        "| duplicate | coco | 1 |",
        "| coco | web | 1 | 0 | 0.9712 | 0.9712 |",
        "cosine of 0.95 or more, embedded with `ViT-B-32`",
        "drawn by a hash with seed 7",
        "Lin and others, Microsoft COCO, 2014",
        "1. Collection coco: “A cup of coffee on a wooden table.”, author: not recorded, licence: CC-BY-4.0",
    ):
        assert said in text, said


def test_it_names_every_fact_and_holds_its_query_and_the_recipe(card: Path, plain_plan: Plan) -> None:
    text = (card / "README.md").read_text()
    facts = json.loads((card / "facts.json").read_text())["facts"]
    named = set(re.findall(r"<sub>facts\.json#(\w+)</sub>", text))
    assert named == {fact["name"] for fact in facts}
    assert all(fact["sql"] in text for fact in facts)
    assert f"```toml\n{plain_plan.recipe.strip()}\n```" in text


def test_what_it_points_to_is_there(card: Path) -> None:
    _, _, links, _ = _structure((card / "README.md").read_text())
    local = {link for link in links if not link.startswith(("http", "#"))}
    assert local == {"facts.json", "LICENSE.md", "figures/contact_sheet.png", "figures/caption_lengths.png"}
    assert all((card / link).is_file() for link in local)


def test_pictures_that_may_not_be_passed_on_are_not_shown(card: Path) -> None:
    with Image.open(card / "figures/contact_sheet.png") as sheet:
        assert sheet.size[0] == 3 * 318 + 18  # five pictures in columns of three
    assert "Rocket on the pad" not in (card / "README.md").read_text()


def test_the_same_release_gives_the_same_bytes(card: Path, plain_lake: Path, tmp_path: Path) -> None:
    with Lake.open(plain_lake) as lake:
        write_card(lake, "small@1.0.0", tmp_path / "again")
        assert check_card(lake, "small@1.0.0", tmp_path / "again").readme_as_written
    assert _files(tmp_path / "again") == _files(card)


def test_an_edited_card_is_told_from_one_with_wrong_facts(card: Path, plain_lake: Path, tmp_path: Path) -> None:
    for name, content in _files(card).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    text = (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text(text.replace("**7 items**", "**8 items**"))
    with Lake.open(plain_lake) as lake:
        found = check_card(lake, "small@1.0.0", tmp_path)
    assert (found.differences, found.readme_as_written) == ([], False)


def test_an_export_beside_the_card_loads_with_datasets(
    card: Path, plain_lake: Path, plain_facts: Facts, tmp_path: Path
) -> None:
    import datasets
    import duckdb
    import polars

    with Lake.open(plain_lake) as lake:
        export_parquet(lake, "small@1.0.0", tmp_path / "set")
    (tmp_path / "set" / "README.md").write_bytes((card / "README.md").read_bytes())
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 6, "test": 1}
    assert loaded["train"].features._to_yaml_list() == features(plain_facts)
    files = f"{tmp_path}/set/data/*.parquet"
    assert polars.scan_parquet(files).drop("image").collect().height == 7
    assert duckdb.sql(f"SELECT count(*), count(length(caption)) FROM '{files}'").fetchall() == [(7, 6)]
    cup = loaded["test"][0]
    assert (cup["caption"], cup["image"].size) == ("A cup of coffee on a wooden table.", (cup["width"], cup["height"]))


# What is hostile


def test_the_card_of_a_hostile_lake(hostile_lake: Path, tmp_path: Path, plain_facts: Facts) -> None:
    with Lake.open(hostile_lake) as lake:
        write_card(lake, "small@1.0.0", tmp_path / "card")
        assert check_card(lake, "small@1.0.0", tmp_path / "card").differences == []
    text = (tmp_path / "card/README.md").read_text()
    headings, html, links, _ = _structure(text)
    plain = _structure(readme(plain_facts))
    assert headings == plain[0]
    assert set(html) <= set(plain[1])
    assert sum("<details>" in part for part in html) == sum("</details>" in part for part in html) == 2
    assert all(link.startswith(_LINKS) for link in links)
    assert _metadata(text)["license"] == "other"
    assert "<script" not in text.split("```")[0]
    assert "{{ 7 \\* 7 }}" in text, "a template in a caption stays text"


_GIVEN = frozenset(
    """
    collection source subset author caption title citation producer producer_revision kind url prompt_id reason image_licences
    redistribute homepage format displaced keeper package version steps
    """.split()  # noqa: SIM905
)


def _with_text(facts: Facts, text: str) -> Facts:
    """Every text that sources and models give replaced by ``text``; kept are the licences and what captionlake itself says."""

    def value(column: str, old: Any) -> Any:
        if column == "recipe":  # a comment, which TOML allows no control characters in
            return f"{old}\n# {''.join(c for c in ' '.join(text.split()) if c.isprintable())}"
        return text if isinstance(old, str) and column in _GIVEN else old

    changed = {}
    for name, fact in facts.facts.items():
        if name == "release":
            changed[name] = fact
            continue
        rows = [[value(c, v) for c, v in zip(fact.columns, row, strict=True)] for row in fact.rows]
        changed[name] = Fact(name=fact.name, scope=fact.scope, sql=fact.sql, columns=fact.columns, rows=rows)
    return Facts(facts.name, facts.version, changed)


@pytest.fixture(scope="module")
def plain_card(plain_facts: Facts) -> tuple[dict[str, Any], tuple[list[str], list[str], list[str], list[int]]]:
    text = readme(plain_facts)
    return _metadata(text), _structure(text)


@settings(deadline=None, max_examples=40)
@given(hostile_text())
def test_no_text_changes_the_metadata_the_headings_the_html_or_a_table(
    plain_facts: Facts, plain_card: tuple[dict[str, Any], tuple[list[str], list[str], list[str], list[int]]], text: str
) -> None:
    hostile = readme(_with_text(plain_facts, text))
    metadata, expected = plain_card
    creators = {"annotations_creators": metadata["annotations_creators"]}  # follows from the kinds of captions
    assert _metadata(hostile) | creators == metadata
    headings, html, links, rows = _structure(hostile)
    assert headings == expected[0]
    assert html == expected[1]
    assert rows == expected[3]
    assert all(link.startswith(_LINKS) for link in links)


@settings(deadline=None, max_examples=40)
@given(hostile_text(), hostile_text())
def test_a_hostile_licence_or_title_gives_valid_metadata(plain_facts: Facts, licence: str, title: str) -> None:
    fact = plain_facts["licences"]
    one = replace(fact, rows=[["picture", licence, licence, 7], ["caption", licence, None, 8]])
    recipe = plain_facts["recipe"]
    escaped = json.dumps(title).replace("\x7f", "")
    changed = replace(recipe, rows=[[recipe.rows[0][0].replace('"Small test set"', escaped)]])
    text = readme(
        Facts(plain_facts.name, plain_facts.version, plain_facts.facts | {"licences": one, "recipe": changed})
    )
    data = _metadata(text)
    assert data["license"] in HUB_LICENCES
    assert data["license"] != "other" or (data["license_name"] and data["license_link"])
    assert data["pretty_name"].isprintable() or not data["pretty_name"].isascii()
    assert text.startswith(f"---\n{DatasetCard(text).data.to_yaml(line_break=chr(10))}\n---\n\n# Dataset card for ")


# Releases at the edges


def _write(lake: Lake, folder: Path) -> str:
    with lake:
        write_card(lake, "small@1.0.0", folder)
    return (folder / "README.md").read_text()


def test_one_item_without_captions_licence_or_exclusions(
    pictures: dict[str, bytes], lake_of: Callable[[Plan], Lake], tmp_path: Path
) -> None:
    row = Row(key="1", data=pictures["coffee"], license=None, author=None)
    plan = Plan(rows=[row], sources=[source("coco", "coco", license=None, redistribute="none")], recipe='lake = "x"\n')
    text = _write(lake_of(plan), tmp_path / "card")
    assert set(_files(tmp_path / "card")) == {"README.md", "LICENSE.md", "croissant.json", "facts.json"}
    for said in (
        "**1 item**: 1 distinct picture",
        "No pictures are shown",
        "This release holds no captions.",
        "Nothing was left out.",
        "No listed row failed to give a picture.",
        "- the same bytes once; near-duplicates were not looked for",
        "| picture | not recorded | 1 |",
    ):
        assert said in text, said
    data = _metadata(text)
    assert (data["license"], data["license_name"], "language" in data) == ("other", "partly-unknown", False)
    assert data["pretty_name"] == "small 1.0.0"


def test_figures_of_an_older_card_go_when_the_new_one_has_none(
    pictures: dict[str, bytes], lake_of: Callable[[Plan], Lake], tmp_path: Path, card: Path
) -> None:
    plan = Plan(rows=[Row(key="1", data=pictures["moon"])], sources=[source("coco", "coco", redistribute="urls")])
    folder = tmp_path / "card"
    for name, content in _files(card).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "mine.txt").write_text("kept")
    _write(lake_of(plan), folder)
    assert set(_files(folder)) == {"README.md", "LICENSE.md", "croissant.json", "facts.json", "mine.txt"}


def test_one_licence_for_all(pictures: dict[str, bytes], lake_of: Callable[[Plan], Lake], tmp_path: Path) -> None:
    rows = [
        Row(key="1", data=pictures["moon"], license="CC0-1.0", captions=[caption("The Moon.", license="CC BY-NC 4.0")])
    ]
    data = _metadata(_write(lake_of(Plan(rows=rows, sources=[source("coco", "coco")])), tmp_path / "card"))
    assert data["license"] == "cc-by-nc-4.0"
    assert "license_name" not in data


def test_one_licence_that_the_hub_does_not_know(
    pictures: dict[str, bytes], lake_of: Callable[[Plan], Lake], tmp_path: Path
) -> None:
    own = "SA-1B Dataset Research License"
    sources = [source("sam", "sam", license=own, license_url="https://example.org/sa-1b licence")]
    rows = [
        Row(
            key="1",
            data=pictures["moon"],
            source="sam",
            collection="sam",
            license=None,
            captions=[caption("x", license=own)],
        )
    ]
    data = _metadata(_write(lake_of(Plan(rows=rows, sources=sources)), tmp_path / "card"))
    assert (data["license"], data["license_name"]) == ("other", "sa-1b-dataset-research-license")
    assert data["license_link"] == "https://example.org/sa-1blicence"


@pytest.mark.parametrize(
    "recipe", ["", "not = [toml", '{"select": 1}', "select = 3\nembed = []\ncard = 1\n", "x" * 5000]
)
def test_any_recipe_text_gives_a_card(recipe: str, plain_facts: Facts) -> None:
    changed = replace(plain_facts["recipe"], rows=[[recipe]])
    text = readme(Facts("small", "1.0.0", plain_facts.facts | {"recipe": changed}))
    assert "**7 items**" in text
    assert _metadata(text)["pretty_name"] == "small 1.0.0"


def test_a_split_that_the_loader_cannot_name_is_refused(
    pictures: dict[str, bytes], lake_of: Callable[[Plan], Lake], tmp_path: Path
) -> None:
    rows = [Row(key="1", data=pictures["moon"], split="tr ain/../x")]
    plan = Plan(rows=rows, sources=[source("coco", "coco")])
    with lake_of(plan) as lake, pytest.raises(CaptionlakeError, match="configs"):
        write_card(lake, "small@1.0.0", tmp_path / "card")
    assert not (tmp_path / "card").exists()


def test_an_empty_release_has_no_card(
    pictures: dict[str, bytes], lake_of: Callable[[Plan], Lake], tmp_path: Path
) -> None:
    rows = [Row(key="1", data=pictures["moon"], reason="no_quota")]
    plan = Plan(rows=rows, sources=[source("coco", "coco")])
    with lake_of(plan) as lake, pytest.raises(CaptionlakeError, match="no items"):
        write_card(lake, "small@1.0.0", tmp_path / "card")


@pytest.mark.parametrize(
    ("n", "category"),
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (102_025, "100K<n<1M"),
        (1_246_901, "1M<n<10M"),
        (10**9, "1B<n<10B"),
        (10**10 - 1, "1B<n<10B"),
        (10**11, "100B<n<1T"),
        (10**12, "n>1T"),
    ],
)
def test_size_categories(n: int, category: str) -> None:
    assert size_category(n) == category
    assert category in SIZE_CATEGORIES
