"""Facts: each answer against what the plan says, the gate, and the check that asks again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from captionlake.cards.facts import FACTS_FILE, Facts, check, collect, queries, read_facts
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.gate import check as gate
from captionlake.lake.query import run_query
from captionlake.lake.releases.release import find_release

from .made_lake import Plan


def test_totals(plain_facts: Facts) -> None:
    totals = plain_facts["totals"].only
    assert (totals["items"], totals["images"], totals["captions"]) == (7, 7, 8)
    assert (totals["collections"], totals["sources"], totals["items_with_captions"]) == (3, 3, 6)
    assert (totals["excluded"], totals["fetch_failures"]) == (4, 3)


def test_bytes_are_those_of_the_pictures_taken(plain_facts: Facts, plain_plan: Plan) -> None:
    assert plain_facts["totals"].only["bytes"] == sum(len(row.data) for row in plain_plan.rows if row.reason is None)


def test_composition(plain_facts: Facts) -> None:
    found = {(row["collection"], row["source"]): row for row in plain_facts["composition"].records}
    assert {key: (row["items"], row["captions"], row["redistribute"]) for key, row in found.items()} == {
        ("album", "album"): (2, 1, "bytes"),
        ("coco", "coco"): (3, 5, "bytes"),
        ("web", "web"): (2, 2, "urls"),
    }
    assert found["web", "web"]["image_licences"] == "all rights reserved"
    assert sum(row["share_percent"] for row in found.values()) == pytest.approx(100, abs=0.02)


def test_what_was_taken_by_subset(plain_facts: Facts) -> None:
    assert [row for row in plain_facts["taken"].rows if row[0] == "web"] == [
        ["web", None, True, 2],
        ["web", "celebrity", False, 1],
        ["web", "landmark", False, 1],
    ]


def test_pool_and_exclusions_account_for_every_row(plain_facts: Facts, plain_plan: Plan) -> None:
    assert plain_facts["pool"].rows == [["album", 3, 2, 1], ["coco", 5, 3, 2], ["web", 3, 2, 1]]
    assert plain_facts["exclusions"].rows == [
        ["duplicate", "album", 1],
        ["duplicate", "coco", 1],
        ["over_quota", "coco", 1],
        ["predicate", "web", 1],
    ]
    assert sum(row[2] for row in plain_facts["exclusions"].rows) + 7 == len(plain_plan.rows)


def test_who_displaced_whom(plain_facts: Facts) -> None:
    assert plain_facts["duplicates"].rows == [
        ["album", "album", 1, 1, 1.0, 1.0],
        ["coco", "web", 1, 0, 0.9712, 0.9712],
    ]


def test_failures_by_reason(plain_facts: Facts) -> None:
    assert plain_facts["failures"].rows == [["web", "web", "not_found", 2, 1], ["web", "web", "timeout", 1, 3]]
    web = plain_facts["fetched"].records[-1]
    assert (web["present"], web["failed"], web["failed_percent"], web["first_day"]) == (3, 3, 50.0, "2025-03-04")


def test_caption_lengths_against_python(plain_facts: Facts, plain_plan: Plan) -> None:
    texts = [text["text"] for row in plain_plan.rows if row.reason is None for text in row.captions]
    overall = {row["unit"]: row for row in plain_facts["caption_lengths"].records if row["kind"] is None}
    for unit, lengths in (("characters", [len(t) for t in texts]), ("words", [len(t.split()) for t in texts])):
        assert overall[unit]["captions"] == len(lengths)
        assert overall[unit]["mean"] == pytest.approx(sum(lengths) / len(lengths), abs=0.05)
        assert (overall[unit]["shortest"], overall[unit]["longest"]) == (min(lengths), max(lengths))
        assert overall[unit]["median"] in lengths


def test_the_histogram_counts_every_caption_once(plain_facts: Facts) -> None:
    bins = plain_facts["caption_length_histogram"].records
    assert sum(row["captions"] for row in bins) == 8
    assert all(row["from_chars"] % row["bin_width"] == 0 for row in bins)
    assert {row["bin_width"] for row in bins} == {25}  # 360 characters at most


def test_licences_fall_back_to_the_source_for_pictures_alone(plain_facts: Facts) -> None:
    found = {(row["what"], row["licence"]): row["n"] for row in plain_facts["licences"].records}
    assert found == {
        ("picture", "CC-BY-4.0"): 3,
        ("picture", "all rights reserved"): 2,
        ("picture", "CC0-1.0"): 1,
        ("picture", None): 1,
        ("caption", "CC-BY-4.0"): 6,
        ("caption", None): 2,
    }


def test_gaps(plain_facts: Facts) -> None:
    gaps = plain_facts["gaps"].only
    assert (gaps["without_caption"], gaps["without_licence"], gaps["without_author"], gaps["without_url"]) == (
        1,
        1,
        2,
        6,
    )
    assert (gaps["bytes_may_be_passed_on"], gaps["only_urls_may_be_passed_on"], gaps["nothing_may_be_passed_on"]) == (
        5,
        2,
        0,
    )


def test_the_contact_sheet_takes_only_sources_that_let_bytes_be_passed_on(plain_facts: Facts) -> None:
    shown = plain_facts["contact_sheet"].records
    assert {row["source"] for row in shown} == {"album", "coco"}
    for collection in ("album", "coco"):
        ids = [row["image_id"] for row in shown if row["collection"] == collection]
        assert ids == sorted(ids)


def test_versions_come_from_the_runs(plain_facts: Facts) -> None:
    assert plain_facts["versions"].rows == [
        ["captionlake", "0.1.0", "ingest"],
        ["duckdb", "1.5.5", "ingest"],
        ['odd "name"', "<1>", "ingest"],
    ]


def test_every_query_passes_the_gate(plain_lake: Path) -> None:
    with Lake.open(plain_lake) as lake:
        tables = [name for (name,) in lake.rows("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake'")]
        release = find_release(lake, "small@1.0.0")
        for kind in ("images", "sft"):
            for _, scope, sql in queries(replace(release, kind=kind)):
                gate(lake.connection, sql, [*tables, "items"] if scope == "release" else tables)


@pytest.mark.parametrize(
    "name", ["totals", "composition", "contact_sheet", "versions", "release", "people", "changes", "rights"]
)
def test_the_sql_command_gives_the_same_answer(plain_lake: Path, plain_facts: Facts, name: str) -> None:
    fact = plain_facts[name]
    found = run_query(plain_lake, fact.sql, release="small@1.0.0" if fact.scope == "release" else None)
    assert [list(row.values()) for row in found.to_pylist()] == fact.rows
    assert found.column_names == fact.columns


def test_every_answer_is_json_and_comes_back(plain_facts: Facts, tmp_path: Path) -> None:
    (tmp_path / FACTS_FILE).write_text(plain_facts.to_json())
    assert read_facts(tmp_path) == plain_facts


def test_later_rows_of_the_lake_change_no_fact(plain_lake: Path, plain_facts: Facts, tmp_path: Path) -> None:
    shutil.copytree(plain_lake, tmp_path / "lake")
    (tmp_path / FACTS_FILE).write_text(plain_facts.to_json())
    with Lake.open(tmp_path / "lake") as lake:
        lake.commit(lambda c: c.execute("DELETE FROM images").fetchone())
        lake.commit(lambda c: c.execute("UPDATE sources SET title = 'another'").fetchone())
        assert check(lake, "small@1.0.0", tmp_path)[1] == []


def test_check_names_every_fact_that_differs(plain_lake: Path, plain_facts: Facts, tmp_path: Path) -> None:
    totals, splits = plain_facts["totals"], plain_facts["splits"]
    wrong = dict(plain_facts.facts)
    wrong["totals"] = replace(totals, rows=[[8, *totals.rows[0][1:]]])
    wrong["splits"] = replace(splits, rows=splits.rows[:1])
    del wrong["gaps"]
    (tmp_path / FACTS_FILE).write_text(Facts("small", "1.0.0", wrong).to_json())
    with Lake.open(plain_lake) as lake:
        found = {difference.name: difference.what for difference in check(lake, "small@1.0.0", tmp_path)[1]}
    assert found == {
        "totals": "row 1, items is 7, written is 8",
        "splits": "has 2 rows, written are 1",
        "gaps": "is not in the file",
    }


def test_a_query_of_the_file_is_asked_too_but_only_through_the_gate(
    plain_lake: Path, plain_facts: Facts, tmp_path: Path
) -> None:
    other = dict(plain_facts.facts)
    other["totals"] = replace(
        plain_facts["totals"], sql="SELECT count(*) AS items FROM items", columns=["items"], rows=[[7]]
    )
    (tmp_path / FACTS_FILE).write_text(Facts("small", "1.0.0", other).to_json())
    with Lake.open(plain_lake) as lake:
        assert check(lake, "small@1.0.0", tmp_path)[1] == []
        for sql in ("SELECT * FROM read_blob('/etc/passwd')", "DROP TABLE images", "SELECT 1; SELECT 2"):
            other["totals"] = replace(plain_facts["totals"], sql=sql)
            (tmp_path / FACTS_FILE).write_text(Facts("small", "1.0.0", other).to_json())
            with pytest.raises(CaptionlakeError):
                check(lake, "small@1.0.0", tmp_path)
        assert lake.value("SELECT count(*) FROM images") == 11


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 1, "release": "small@1.0.0", "facts": [1]}', '{"format": 99}', None]
)
def test_a_file_that_holds_no_facts_is_refused_in_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FACTS_FILE).write_text(content)
    with pytest.raises(CaptionlakeError, match=r"facts\.json"):
        read_facts(tmp_path)


def test_the_card_of_another_release_is_not_compared(plain_lake: Path, plain_facts: Facts, tmp_path: Path) -> None:
    (tmp_path / FACTS_FILE).write_text(plain_facts.to_json().replace("small@1.0.0", "small@2.0.0"))
    with Lake.open(plain_lake) as lake, pytest.raises(CaptionlakeError, match=r"small@2\.0\.0, not of small@1\.0\.0"):
        check(lake, "small@1.0.0", tmp_path)


def test_an_unknown_release_is_named(plain_lake: Path) -> None:
    with Lake.open(plain_lake) as lake, pytest.raises(CaptionlakeError, match=r"none@1\.0\.0"):
        collect(lake, "none@1.0.0")


def test_the_lake_is_as_it_was_for_the_caller(plain_lake: Path) -> None:
    with Lake.open(plain_lake) as lake:
        collect(lake, "small@1.0.0")
        assert lake.value("SELECT count(*) FROM images") == 11
        with pytest.raises(duckdb.Error):
            lake.value("SELECT count(*) FROM items")


def test_the_file_says_how_to_ask_again(plain_facts: Facts) -> None:
    data = json.loads(plain_facts.to_json())
    assert data["release"] == "small@1.0.0"
    assert all(set(fact) == {"name", "scope", "sql", "columns", "rows"} for fact in data["facts"])
