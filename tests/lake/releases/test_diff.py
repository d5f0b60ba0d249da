"""Releases compared: the counts reconcile, a release differs in nothing from itself, reasons are told, hostile text is escaped."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.commands import release as command
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.diff import Diff, diff_releases, pair_to_compare
from captionlake.lake.releases.release import Draft, create_release
from captionlake.lake.sft.importing import import_conversations
from captionlake.lake.sft.sft_release import SftDraft, create_sft_release

from .test_releases import EXCLUSION

PICTURES = 10
HOSTILE = '<script>alert(1)</script> "quoted" & \u202ereversed'
Row = tuple[str, int]  # split, and which captions


@pytest.fixture
def lake(lake: Lake, tile_folder: Callable[[int], Path]) -> Lake:
    """Pictures in two collections, each with a text of its own and one by "other"; key 00003.jpg has a hostile one too."""
    folder = tile_folder(PICTURES)
    ingest(lake, IngestConfig(source="folder", inputs=[str(folder)]))
    lake.commit(lambda c: c.execute("UPDATE images SET collection = 'second' WHERE source_key >= '00006'"))
    lake.commit(
        lambda c: c.execute(
            "INSERT INTO captions (caption_id, image_id, source, source_key, kind, producer, text, chars, words, created_at) "
            "SELECT 'other ' || source_key, image_id, source, source_key, 'teacher', 'other', "
            "CASE source_key WHEN '00003.jpg' THEN ? ELSE 'Another ' || source_key END, 1, 1, now() FROM images",
            [HOSTILE],
        )
    )
    return lake


def release(lake: Lake, version: str, rows: dict[int, Row]) -> str:
    """A release of the pictures numbered, with their split and 0: no caption, 1: the source's, 2: the other's, 3: both."""
    images = lake.arrow("SELECT source, source_key, image_id FROM images ORDER BY source_key").to_pylist()
    numbered = {int(row["source_key"][:5]): row for row in images}
    left = [row for number, row in numbered.items() if number not in rows]
    exclusions = [
        {
            "source": r["source"],
            "source_key": r["source_key"],
            "reason": "predicate" if r["source_key"] < "00005" else "over_quota",
        }
        | EXCLUSION
        for r in left
    ]
    text = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    captions = [
        {"source": row["source"], "source_key": row["source_key"], "caption_id": caption_id}
        for number, row in numbered.items()
        for caption_id in _captions(lake, row["source_key"], rows.get(number, ("", 0))[1])
    ]
    items = [row | {"split": rows[number][0]} for number, row in numbered.items() if number in rows]
    schema = {"source": pl.String, "source_key": pl.String, "image_id": pl.String, "split": pl.String}
    made, _ = create_release(
        lake,
        Draft(
            config=ReleaseConfig(name="tiles", version=version),
            recipe="",
            snapshot=lake.snapshot(),
            items=pl.DataFrame(items, schema=schema).to_arrow(),
            exclusions=pl.DataFrame(exclusions, schema={**text, "similarity": pl.Float64}).to_arrow(),
            producers=[],
            captions=pl.DataFrame(
                captions, schema=dict.fromkeys(("source", "source_key", "caption_id"), pl.String)
            ).to_arrow(),
        ),
    )
    return made.label


def _captions(lake: Lake, key: str, which: int) -> list[str]:
    own = lake.value("SELECT caption_id FROM captions WHERE source_key = ? AND producer = 'source'", [key])
    return [caption_id for bit, caption_id in ((1, own), (2, f"other {key}")) if which & bit]


def compare(lake: Lake, first: str, second: str | None = None) -> Diff:
    return diff_releases(lake, *pair_to_compare(lake, first, second))


def reconciles(found: Diff) -> None:
    counts = found.counts
    kept = counts["recaptioned"] + counts["changed"] + counts["unchanged"]
    assert found.items_before == kept + counts["removed"] + found.redacted_before
    assert found.items_after == kept + counts["added"] + found.redacted_after
    for one, n in counts.items():
        assert n == sum(by[one] for by in found.collections.values())


ROWS = st.dictionaries(
    st.integers(0, PICTURES - 1), st.tuples(st.sampled_from(["train", "test"]), st.integers(0, 3)), max_size=PICTURES
)
VERSION = iter(range(1, 10**6))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, ROWS)
def test_counts_are_those_of_the_rows(lake: Lake, one: dict[int, Row], other: dict[int, Row]) -> None:
    first, second = (release(lake, f"{next(VERSION)}.0.0", rows) for rows in (one, other))
    found = compare(lake, first, second)
    reconciles(found)
    both = one.keys() & other.keys()
    assert found.counts == {
        "added": len(other.keys() - one.keys()),
        "removed": len(one.keys() - other.keys()),
        "recaptioned": sum(one[n][1] != other[n][1] for n in both),
        "changed": sum(one[n][0] != other[n][0] and one[n][1] == other[n][1] for n in both),
        "unchanged": sum(one[n] == other[n] for n in both),
    }
    assert sum(found.removed_by.values()) == found.counts["removed"]
    assert sum(found.added_by.values()) == found.counts["added"]
    assert sum(found.moved.values()) == found.counts["changed"]
    back = compare(lake, second, first)
    reconciles(back)
    swapped = found.counts | {"added": found.counts["removed"], "removed": found.counts["added"]}
    assert back.counts == swapped and back.removed_by == found.added_by
    itself = compare(lake, first, first)
    assert itself.same_content and itself.counts["unchanged"] == len(one) == sum(itself.counts.values())


def test_reasons_and_collections(lake: Lake, tmp_path: Path) -> None:
    first = release(lake, "1.0.0", dict.fromkeys(range(8), ("train", 1)))
    more = tmp_path / "more"
    more.mkdir()
    (more / "new.jpg").write_bytes(lake.picture(lake.value("SELECT image_id FROM images LIMIT 1"))[:-2] + b"\0\xff\xd9")
    ingest(lake, IngestConfig(source="folder", inputs=[str(more)], collection="third"))
    images = lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images WHERE collection = 'third'")
    assert images.num_rows == 1
    lake.commit(lambda c: c.execute("DELETE FROM images WHERE source_key = '00007.jpg'"))
    lake.commit(lambda c: c.execute("UPDATE images SET source_key = '00012.jpg' WHERE collection = 'third'"))
    second = release(lake, "1.1.0", {2: ("train", 1), 6: ("test", 1), 9: ("train", 1), 12: ("train", 0)})
    found = compare(lake, second)  # with its parent
    assert (found.before, found.after) == (first, second)
    reconciles(found)
    assert found.removed_by == {"predicate": 4, "over_quota": 1, "no_longer_in_lake": 1}
    assert found.added_by == {"new_in_lake": 1, "over_quota": 1}
    assert found.moved == {"train -> test": 1}
    nothing = dict.fromkeys(("added", "removed", "recaptioned", "changed", "unchanged"), 0)
    assert found.collections == {
        "folder": nothing | {"removed": 5, "unchanged": 1},
        "second": nothing | {"added": 1, "removed": 1, "changed": 1},
        "third": nothing | {"added": 1},
    }


def test_taken_down_rows_are_counted_apart(lake: Lake) -> None:
    first = release(lake, "1.0.0", dict.fromkeys(range(8), ("train", 1)))
    second = release(lake, "1.1.0", dict.fromkeys(range(4), ("train", 1)))
    redact(lake, "00002.jpg")
    redact(lake, "00006.jpg")
    found = compare(lake, first, second)
    reconciles(found)
    assert (found.redacted_before, found.redacted_after) == (2, 1)
    assert found.counts["removed"] == 3 and found.counts["unchanged"] == 3


def redact(lake: Lake, key: str) -> None:
    """What a takedown leaves of a row."""
    hole = "source = NULL, source_key = NULL, image_id = NULL, conversation_id = NULL"
    queries = (
        "DELETE FROM release_captions WHERE (name, version, position) IN "
        "(SELECT (name, version, position) FROM release_items WHERE source_key = ?)",
        f"UPDATE release_items SET {hole} WHERE source_key = ?",
        "DELETE FROM exclusions WHERE source_key = ?",
        "DELETE FROM images WHERE source_key = ?",
    )
    lake.commit(lambda connection: [connection.execute(query, [key]) for query in queries])


def test_conversations_are_compared_by_what_they_say(lake: Lake, tmp_path: Path) -> None:
    def record(id: str, answer: str) -> dict[str, Any]:
        return {"id": id, "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": answer}]}

    def mix(version: str, rows: list[dict[str, Any]], splits: dict[str, float]) -> str:
        path = tmp_path / f"{version}.json"
        path.write_text(json.dumps(rows))
        import_conversations(lake, path)
        items = lake.arrow(
            "SELECT split_part(origin, ':', 2)::BIGINT - 1 AS position, conversation_id FROM conversations WHERE origin LIKE ?",
            [f"{version}.json:%"],
        )
        config = ReleaseConfig(name="mix", version=version, splits=splits)
        return create_sft_release(lake, SftDraft(config=config, recipe="", snapshot=lake.snapshot(), items=items))[
            0
        ].label

    whole = {"train": 1.0}
    rows = [record("a", "1"), record("b", "2"), record("b", "2"), record("c", HOSTILE)]
    first = mix("1.0.0", rows, whole)
    other_file = mix("1.1.0", [record("d", "4"), *rows[:2]], whole)
    found = compare(lake, other_file)
    reconciles(found)
    assert found.before == first
    assert found.counts == {"added": 1, "removed": 2, "recaptioned": 0, "changed": 0, "unchanged": 2}
    assert list(found.collections) == ["text"]
    half = {"train": 0.5, "test": 0.5}
    items = lake.arrow("SELECT position, conversation_id FROM release_items WHERE version = '1.0.0'")
    config = ReleaseConfig(name="mix", version="2.0.0", splits=half)
    create_sft_release(lake, SftDraft(config=config, recipe="", snapshot=lake.snapshot(), items=items))
    found = compare(lake, first, "mix@2.0.0")
    reconciles(found)
    moved = lake.value("SELECT count(*) FROM release_items WHERE version = '2.0.0' AND split = 'test'")
    assert 0 < moved < 4
    assert (found.counts["changed"], found.counts["unchanged"]) == (moved, 4 - moved)
    page = tmp_path / "diff.html"
    done = CliRunner().invoke(command, ["diff", first, other_file, "--html", str(page), "--lake", str(lake.path)])
    assert done.exit_code == 0, done.output
    assert "<script>" not in page.read_text() and "&lt;script&gt;" in page.read_text()


def test_what_cannot_be_compared(lake: Lake) -> None:
    first = release(lake, "1.0.0", {1: ("train", 1)})
    with pytest.raises(CaptionlakeError, match="has no parent"):
        compare(lake, first)
    with pytest.raises(CaptionlakeError, match="no release tiles@3"):
        compare(lake, first, "tiles@3.0.0")
    items = pa.table({"position": pa.array([], pa.int64()), "conversation_id": pa.array([], pa.string())})
    config = ReleaseConfig(name="tiles", version="2.0.0")
    create_sft_release(lake, SftDraft(config=config, recipe="", snapshot=lake.snapshot(), items=items))
    with pytest.raises(CaptionlakeError, match="of kind images"):
        compare(lake, first, "tiles@2.0.0")


def test_the_page_shows_each_group_and_runs_nothing(lake: Lake, tmp_path: Path) -> None:
    first = release(lake, "1.0.0", dict.fromkeys(range(5), ("train", 1)))
    second = release(lake, "1.1.0", {3: ("train", 3), 4: ("test", 1), 9: ("train", 1), 0: ("train", 1)})
    lake.commit(lambda c: c.execute("UPDATE exclusions SET detail = ?", [HOSTILE]))
    page = tmp_path / "diff.html"
    done = CliRunner().invoke(command, ["diff", second, "--html", str(page), "--json", "--lake", str(lake.path)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["before"] == first and told["page"] == str(page)
    assert told["counts"] == {"added": 1, "removed": 2, "recaptioned": 1, "changed": 1, "unchanged": 1}
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 5
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
    assert re.findall(r"<h2>([^<]+) <small>", text) == ["Added", "Removed", "Captioned anew", "Changed otherwise"]
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    said = CliRunner().invoke(command, ["diff", first, second, "--lake", str(lake.path)]).output
    assert "1 added, 2 removed, 1 recaptioned, 1 changed, 1 unchanged" in said
    assert "\u202e" not in said


def test_another_caption_with_the_same_text_is_no_other_caption(lake: Lake) -> None:
    lake.commit(
        lambda c: c.execute(
            "UPDATE captions SET text = 'the same', kind = 'human' WHERE source_key IN ('00001.jpg', '00002.jpg')"
        )
    )
    first = release(lake, "1.0.0", {1: ("train", 1), 2: ("train", 1), 3: ("train", 1)})
    second = release(lake, "1.1.0", {1: ("test", 2), 2: ("test", 3), 3: ("test", 2)})
    found = compare(lake, first, second)
    reconciles(found)
    assert (found.counts["changed"], found.counts["recaptioned"]) == (1, 2)
    assert found.moved == {"train -> test": 1}
