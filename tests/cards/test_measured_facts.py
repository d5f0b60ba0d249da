"""Facts of what other commands measured, and of what changed: flags, scores, words, prompts, rights, benchmarks, versions, takedown."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from captionlake.cards.dataset_card import check_card, write_card
from captionlake.cards.facts import Facts, collect
from captionlake.lake import Lake
from captionlake.lake.catalog import quote

from .made_lake import Plan, Row, caption, source, write_lake

SQL = [
    "INSERT INTO caption_checks SELECT caption_id, ['refusal=1', 'personal_data=2'] FROM captions WHERE kind = 'human'",
    "INSERT INTO caption_flags SELECT caption_id, 'personal_data', 'e-mail a…z' FROM captions WHERE text LIKE '%@%'",
    "INSERT INTO caption_scores SELECT caption_id, 'clip', 0.5 + ordinality / 10, false FROM "
    "(SELECT caption_id, row_number() OVER (ORDER BY caption_id) AS ordinality FROM captions WHERE kind = 'human')",
    "INSERT INTO caption_words SELECT caption_id, 'spacy', 1, 8, 7, 2, 1, 1, 1, 0, 0, 0, ['ride horse'] FROM captions WHERE kind = 'human'",
    "INSERT INTO contamination SELECT image_id, 'mme', 'x.png', 1.0, NULL FROM images WHERE source_key = '1'",
]
VERDICTS = {
    "1": {"robots": "allowed", "x_robots_tag": "all"},
    "2": {"robots": "ignored", "x_robots_tag": "ignored: noai"},
}


def _run(run: str, step: str, target: str, detail: dict[str, Any], counts: dict[str, Any]) -> str:
    told = f"{quote(json.dumps(detail))}, {quote(json.dumps(counts))}"
    return f"INSERT INTO runs VALUES ('{run}', '{step}', '{target}', {told}, NULL, 1.0, TIMESTAMPTZ '2025-03-05 00:00:00Z')"


@pytest.fixture(scope="module")
def plan(pictures: dict[str, bytes]) -> Plan:
    return Plan(
        sources=[source("coco", "coco"), source("web", "web")],
        rows=[
            Row(key="1", data=pictures["astronaut"], captions=[caption("A woman and a man ride a horse. Ask a@b.org.")]),
            Row(key="2", data=pictures["coffee"], captions=[caption('"Doctor," she said; the NURSE’s cup.')]),
            Row(
                key="3",
                data=pictures["moon"],
                source="web",
                collection="web",
                captions=[caption("The moon, no woman-made thing.", kind="teacher", producer="openai:x", prompt_id="own/base")],
            ),
        ],
        failures=[
            {"source": "web", "source_key": "n", "collection": "web", "reason": "opted_out", "attempts": 1, "detail": detail}
            for detail in ("robots.txt: User-agent: *", "X-Robots-Tag: noai")
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def path(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake in which all of that was measured before a second version, which lacks one row and has another caption of one."""
    path = write_lake(tmp_path_factory.mktemp("measured") / "lake", plan)
    counts = {"pictures": 2374}
    sql = [
        *SQL,
        *(f"UPDATE images SET verdict = {quote(json.dumps(told))} WHERE source_key = '{key}'" for key, told in VERDICTS.items()),
        "UPDATE images SET nsfw_score = 0.9, is_gray = false WHERE source_key = '1'",
        _run("2", "caption", "openai:x", {"prompt_texts": {"own/base": "Describe.\n<script>"}}, {}),
        _run("3", "decontaminate", "mme", {"threshold": 0.9, "phash_distance": 6, "model_id": "m"}, counts),
    ]  # fmt: skip
    with Lake.open(path) as lake:
        lake.commit(lambda connection: [connection.execute(one) for one in sql])
        same = "'small', '1.1.0', \"position\""
        later = [
            f"INSERT INTO release_items SELECT {same}, source, source_key, image_id, NULL, split, "
            "if(\"position\" = 0, 'other', row_sha256) FROM release_items WHERE version = '1.0.0' AND source_key <> '2'",
            f"INSERT INTO release_captions SELECT {same}, ordinal, if(\"position\" = 0, 'coco:2:0', caption_id), role "
            "FROM release_captions WHERE version = '1.0.0' AND \"position\" <> 1",
            "INSERT INTO releases SELECT name, '1.1.0', kind, $snapshot, recipe, recipe_sha256, 'other', 2, 'small@1.0.0', state, "
            "created_at FROM releases",
        ]
        snapshot = str(lake.snapshot())
        lake.commit(lambda connection: [connection.execute(one.replace("$snapshot", snapshot)) for one in later])
    return path


@pytest.fixture(scope="module")
def facts(path: Path) -> Facts:
    with Lake.open(path) as lake:
        return collect(lake, "small@1.1.0")


def test_flags_say_in_how_many_they_were_looked_for(facts: Facts) -> None:
    assert facts["flags"].rows == [
        ["human", "source", "personal_data", 1, 0, 0.0],
        ["human", "source", "refusal", 1, 0, 0.0],
    ], "the caption with the address is not in this version any more"


def test_words_for_people_are_found_with_marks_around_them_and_only_whole(path: Path) -> None:
    with Lake.open(path) as lake:
        people = {row["group"]: row for row in collect(lake, "small@1.0.0")["people"].records}
    assert people["any of these"]["captions"] == 2
    assert (people["women"]["captions"], people["men"]["captions"]) == (2, 1)
    assert (people["women"]["with_both"], people["women"]["with_women"]) == (1, 1)
    assert people["occupation: doctor"]["with_women"] == people["occupation: nurse"]["with_women"] == 1


def test_scores_words_and_pairs(facts: Facts) -> None:
    assert [row["captions"] for row in facts["clipscore"].records] == [1]
    assert facts["words"].records[0]["parsed"] == 1
    assert facts["root_pairs"].rows == [["spacy", "source", "ride", "horse", 1, 100.0]]


def test_what_hosts_said(facts: Facts) -> None:
    coco = facts["rights"].records[0]
    assert (coco["robots_allowed"], coco["x_robots_tag"], coco["refusal_overridden"], coco["no_host"]) == (1, 1, 0, 0)
    assert {row["said_by"] for row in facts["opted_out"].records} == {"robots.txt", "X-Robots-Tag"}


def test_benchmarks_prompts_and_traits(facts: Facts) -> None:
    mme = facts["decontamination"].records[0]
    assert (mme["benchmark"], mme["pictures"], mme["found"], mme["in_release"]) == ("mme", 2374, 1, 1)
    assert facts["prompt_texts"].rows == [["openai:x", "own/base", "Describe.\n<script>"]]
    assert [row["nsfw_from_80"] for row in facts["traits"].records] == [1, 0]


def test_changes_are_those_beside_the_parent(facts: Facts, path: Path) -> None:
    assert facts["changes"].rows == [["coco", 0, 1, 1, 0], ["web", 0, 0, 0, 1]]
    with Lake.open(path) as lake:
        assert collect(lake, "small@1.0.0")["changes"].rows == [["coco", 2, 0, 0, 0], ["web", 1, 0, 0, 0]]


def test_the_card_says_all_of_it(path: Path, tmp_path: Path) -> None:
    with Lake.open(path) as lake:
        write_card(lake, "small@1.1.0", tmp_path)
        assert check_card(lake, "small@1.1.0", tmp_path).readme_as_written
    text = (tmp_path / "README.md").read_text()
    assert (tmp_path / "figures/sunburst.png").is_file()
    for said in (
        "| mme | 2025-03-05 | 2,374 | 6 | 0.9 |",
        "```\nDescribe.\n<script>\n```",
        "Beside small<!-- -->@1.0.0:",
        "sunburst.png",
    ):
        assert said in text, said
    assert "found\nin 0." in text


def test_rows_that_were_taken_down_are_told_and_in_no_number(
    plan: Plan, lake_of: Callable[[Plan], Lake], tmp_path: Path
) -> None:
    with lake_of(replace(plan)) as lake:
        lake.commit(
            lambda connection: [
                connection.execute(one)
                for one in (
                    'UPDATE release_items SET source = NULL, source_key = NULL, image_id = NULL WHERE "position" = 0',
                    'DELETE FROM release_captions WHERE "position" = 0',
                    "UPDATE releases SET state = 'redacted'",
                )
            ]
        )
        write_card(lake, "small@1.0.0", tmp_path / "card")
    text = (tmp_path / "card/README.md").read_text()
    assert "**2 items**" in text
    assert "**1 row was\ntaken down**" in text
