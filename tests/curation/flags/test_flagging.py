"""``flag_captions`` over lakes: what is pending, what is replaced, outliers by score, CHAIR, and rows that a recipe refuses."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from captionlake.curation.flags import Flag, FlagConfig, chair, flag_captions, refused_rows
from captionlake.curation.flags import flagging as module
from captionlake.curation.flags.crew import Crew
from captionlake.curation.selection import Quota, SelectConfig, select
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

from ...killed import Commands, nothing_staged

RowMaker = Callable[..., None]
FLAGS = "SELECT caption_id, flag, detail FROM caption_flags ORDER BY ALL"
CHECKS = "SELECT caption_id, list_sort(checks) FROM caption_checks ORDER BY ALL"
LONG = (
    "A woman in a long grey coat walks past the window of a bakery, where loaves are piled on a shelf behind the glass. To her left a boy "
    "holds a red kite with a torn tail, and further back a tram waits at its stop under a row of bare trees. Rain has left puddles on the "
    "stones, and each of them mirrors a piece of the pale sky. A clock above the door shows ten to four."
)
SORRY = "I'm sorry, but I can't assist with that request."


def add_captions(lake: Lake, rows: list[dict[str, Any]]) -> None:
    """Rows of captions; image_id and a caption_id are taken from the key of the picture where they are not given."""
    defaults = {
        "kind": "teacher",
        "producer": "made",
        "source": None,
        "source_key": None,
        "prompt_sha256": None,
        "finish_reason": "stop",
    }
    full = [defaults | row | {"chars": len(row["text"]), "words": len(row["text"].split())} for row in rows]
    frame = pl.DataFrame(full, schema_overrides=dict.fromkeys(defaults, pl.String), infer_schema_length=None)

    def change(connection: Any) -> None:
        connection.execute(
            "INSERT INTO captions BY NAME SELECT new.* EXCLUDE (of), images.image_id, now() AS created_at FROM _new new "
            "JOIN images ON images.source_key = new.of"
        )

    lake.commit(change, _new=frame.to_arrow())


def delete(lake: Lake, table: str, where: str) -> None:
    lake.commit(lambda connection: connection.execute(f"DELETE FROM {table} WHERE {where}").fetchall())


@pytest.fixture
def filled(lake: Lake, add_rows: RowMaker) -> Lake:
    """Six pictures with a caption each, of which two are flagged, and one with none."""
    add_rows(lake, [{"source_key": key, "collection": "coco"} for key in "abcdefg"])
    texts = {"a": LONG, "b": SORRY, "c": LONG, "d": f"{LONG} Write to x@example.org.", "e": LONG, "f": LONG}
    add_captions(lake, [{"of": key, "caption_id": f"id-{key}", "text": text} for key, text in texts.items()])
    return lake


def test_flags_and_notes(filled: Lake) -> None:
    counts = flag_captions(filled, FlagConfig())
    assert (counts.captions, counts.checked) == (6, 6)
    assert {name: n for name, n in counts.found.items() if n} == {"refusal": 1, "too_short": 1, "personal_data": 1}
    assert [row[:2] for row in filled.rows(FLAGS)] == [
        ("id-b", "refusal"),
        ("id-b", "too_short"),
        ("id-d", "personal_data"),
    ]
    assert all(len(checks) == 10 for _, checks in filled.rows(CHECKS)) and len(filled.rows(CHECKS)) == 6
    (run,) = filled.rows(
        "SELECT step, (counts->>'checked')::INTEGER, (detail->>'language') FROM runs WHERE step = 'flag'"
    )
    assert run == ("flag", 6, "en")


def test_nothing_is_checked_twice(filled: Lake) -> None:
    flag_captions(filled, FlagConfig())
    before, notes = filled.rows(FLAGS), filled.rows(CHECKS)
    assert flag_captions(filled, FlagConfig()).checked == 0
    add_captions(filled, [{"of": "g", "caption_id": "id-g", "text": SORRY}])
    assert flag_captions(filled, FlagConfig()).checked == 1
    assert [row for row in filled.rows(FLAGS) if row[0] != "id-g"] == before
    assert [row for row in filled.rows(CHECKS) if row[0] != "id-g"] == notes


def test_one_flag_and_then_the_others(filled: Lake) -> None:
    one = flag_captions(filled, FlagConfig(flags=(Flag.REFUSAL,)))
    assert one.checked == 6 and one.found == {"refusal": 1}
    assert [row[1] for row in filled.rows(FLAGS)] == ["refusal"]
    rest = flag_captions(filled, FlagConfig())
    assert rest.checked == 6 and rest.found["refusal"] == 0  # not looked at again
    assert [row[1] for row in filled.rows(FLAGS)] == ["refusal", "too_short", "personal_data"]
    assert flag_captions(filled, FlagConfig(flags=(Flag.REFUSAL,))).checked == 0


def test_a_changed_configuration_replaces_the_flags_of_its_checker(filled: Lake) -> None:
    flag_captions(filled, FlagConfig())
    changed = FlagConfig(minimum_words={"coco": 200})
    counts = flag_captions(filled, changed)
    assert counts.checked == 6 and counts.found["too_short"] == 6 and counts.found["refusal"] == 0
    by_flag = "SELECT flag, count(*) FROM caption_flags GROUP BY flag ORDER BY flag"
    assert filled.rows(by_flag) == [("personal_data", 1), ("refusal", 1), ("too_short", 6)]
    assert flag_captions(filled, changed).checked == 0
    flag_captions(filled, FlagConfig(minimum_words={"coco": 0}))
    assert filled.rows(by_flag) == [("personal_data", 1), ("refusal", 1)]
    assert all(len(checks) == 10 for _, checks in filled.rows(CHECKS))
    assert not filled.rows("SELECT caption_id FROM caption_checks GROUP BY caption_id HAVING count(*) > 1")


def test_a_new_version_of_a_checker_checks_again(filled: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    flag_captions(filled, FlagConfig())
    from captionlake.curation.flags import checking

    monkeypatch.setitem(checking._VERSIONS, Flag.REFUSAL, 999)
    assert flag_captions(filled, FlagConfig()).checked == 6
    assert [row[1] for row in filled.rows(FLAGS)] == ["refusal", "too_short", "personal_data"]


def test_a_prompt_that_becomes_known(filled: Lake) -> None:
    words = "Write down with great care what stands in the foreground and behind."
    add_captions(
        filled,
        [{"of": "g", "caption_id": "id-g", "text": f"{words} {LONG}", "prompt_sha256": "p1", "producer": "other"}],
    )
    config = FlagConfig(flags=(Flag.LEAKED_PROMPT,))
    assert flag_captions(filled, config).found == {"leaked_prompt": 0}
    counts = flag_captions(filled, config, prompts={"p1": f"Look at the picture. {words}", "p2": "x"})
    assert (counts.checked, counts.found) == (1, {"leaked_prompt": 1})
    assert flag_captions(filled, config, prompts={"p1": f"Look at the picture. {words}"}).checked == 0
    assert flag_captions(filled, config).checked == 0  # what was checked with the prompt stays so
    assert [row[:2] for row in filled.rows(FLAGS)] == [("id-g", "leaked_prompt")]


def test_captions_of_one_producer(filled: Lake) -> None:
    add_captions(filled, [{"of": "g", "caption_id": "id-g", "text": SORRY, "producer": "o'ther"}])
    counts = flag_captions(filled, FlagConfig(), producer="o'ther")
    assert (counts.captions, counts.checked) == (1, 1)
    assert {row[0] for row in filled.rows(FLAGS)} == {"id-g"}


def test_annotations_that_come_later(lake: Lake, add_rows: RowMaker) -> None:
    """A second row of the same picture brings instances; people's captions of it are there too, but for the caption itself."""
    add_rows(lake, [{"source_key": "a", "collection": "coco", "image": "same"}])
    add_captions(
        lake,
        [
            {"of": "a", "caption_id": "made", "text": f"A giraffe stands here, and a kite. {LONG}"},
            {"of": "a", "caption_id": "human", "text": "A boy with a kite.", "kind": "human", "producer": "source"},
        ],
    )
    config = FlagConfig(flags=(Flag.CONTRADICTS_SOURCE, Flag.OMITS_SOURCE))
    assert flag_captions(lake, config).found == {"contradicts_source": 0, "omits_source": 0}
    add_rows(
        lake,
        [
            {
                "source": "second",
                "source_key": "b",
                "image": "same",
                "meta": '{"objects": {"person": 2, "train": 1, "clock": 1}}',
            }
        ],
    )
    counts = flag_captions(lake, config)
    assert (counts.checked, counts.found) == (2, {"contradicts_source": 2, "omits_source": 0})
    details = {row[0]: row[2] for row in lake.rows(FLAGS)}
    assert details == {"made": "names giraffe", "human": "names kite"}
    assert flag_captions(lake, config).checked == 0


def test_strings_of_ocr(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, [{"source_key": "a", "collection": "textcaps", "meta": '{"ocr_tokens": ["GRAND", "HOTEL", "7"]}'}])
    add_rows(lake, [{"source_key": "b", "collection": "textcaps", "meta": '{"ocr_tokens": []}'}])
    add_captions(
        lake, [{"of": key, "caption_id": key, "text": f'{LONG} Over it stands "Flower Market".'} for key in "ab"]
    )
    flag_captions(lake, FlagConfig())
    assert [row[:2] for row in lake.rows(FLAGS)] == [("a", "contradicts_source"), ("a", "omits_source")]
    (figures,) = chair(lake)
    assert (figures.captions, figures.text_captions, figures.read, figures.said) == (2, 1, 2, 0)
    assert figures.chair_i is None and figures.text_recall == 0.0


def test_processes_find_what_one_finds(filled: Lake) -> None:
    texts = [LONG, SORRY, "The dog sits here. " * 5, f"{LONG} <|im_end|>", "été à la plage 🏖 \u2028 \x00"]
    add_captions(filled, [{"of": "g", "caption_id": f"n-{n:04d}", "text": texts[n % 5]} for n in range(1234)])
    flag_captions(filled, FlagConfig(), processes=3)
    found = filled.rows(FLAGS)
    assert len(found) > 700
    delete(filled, "caption_flags", "true")
    delete(filled, "caption_checks", "true")
    flag_captions(filled, FlagConfig())
    assert filled.rows(FLAGS) == found


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Crew("checks", {}, 10, 2) as crew:
        for process in crew._processes:
            process._running.kill()
        with pytest.raises(CaptionlakeError, match="run this again"):
            list(crew.run([[{"text": "x", "missing": ["refusal"]}]]))


def test_a_caption_that_cannot_be_checked_is_told() -> None:
    with (
        Crew("checks", {}, 10, 2) as crew,
        pytest.raises(CaptionlakeError, match=r"could not be checked .*nosuch.*--processes 1"),
    ):
        list(crew.run([[{"text": "x", "missing": ["nosuch"]}]]))


def test_a_process_ends_with_its_input() -> None:
    """So it does not outlive the one that started it, however that ends."""
    command = [sys.executable, "-m", "captionlake.curation.flags.worker", "checks", "{}"]
    task = json.dumps([{"text": SORRY, "missing": ["refusal"]}])
    ended = subprocess.run(command, input=f"{task}\n".encode(), capture_output=True, timeout=60, check=True)
    (((flag, _),),) = json.loads(ended.stdout)
    assert flag == "refusal"


def test_outliers_by_score(lake: Lake, add_rows: RowMaker) -> None:
    """One score far below the others; a producer with few captions has no outlier; new scores let the flag go."""
    keys = [f"{n:03d}" for n in range(80)]
    add_rows(lake, [{"source_key": key, "collection": "coco"} for key in keys])
    add_captions(
        lake,
        [
            {"of": key, "caption_id": key, "text": LONG, "producer": "one" if n < 60 else "two"}
            for n, key in enumerate(keys)
        ],
    )
    chance = random.Random(0)

    def score(rows: dict[str, float], model: str = "m") -> None:
        frame = pl.DataFrame(
            {"caption_id": list(rows), "model_id": model, "score": list(rows.values()), "truncated": False}
        )
        lake.append("caption_scores", frame.to_arrow(), ["caption_id", "model_id"])

    assert flag_captions(lake, FlagConfig(flags=(Flag.CLIPSCORE_OUTLIER,))).found == {"clipscore_outlier": 0}
    scores = {key: 0.7 + chance.gauss(0, 0.05) for key in keys} | {"007": 0.1, "077": 0.1, "008": 1.4}
    score(scores)
    config = FlagConfig(flags=(Flag.CLIPSCORE_OUTLIER,))
    assert flag_captions(lake, config).found == {"clipscore_outlier": 1}
    ((key, flag, detail),) = lake.rows(FLAGS)
    assert (key, flag) == ("007", "clipscore_outlier") and detail.startswith("0.100, ") and "of one in coco" in detail
    before = lake.rows("SELECT rowid, caption_id FROM caption_flags")
    assert flag_captions(lake, config).found == {"clipscore_outlier": 1}
    assert lake.rows("SELECT rowid, caption_id FROM caption_flags") == before  # not written again
    assert flag_captions(lake, FlagConfig(flags=(Flag.CLIPSCORE_OUTLIER,), clipscore_z=100.0)).found == {
        "clipscore_outlier": 0
    }
    assert lake.rows(FLAGS) == []
    assert flag_captions(lake, config, producer="two").found == {"clipscore_outlier": 0}


def test_chair_by_hand(lake: Lake, add_rows: RowMaker) -> None:
    """Two captions with instances of a producer: {dog (there), frisbee (not)} and {person}; figures of both as the paper's sums."""
    add_rows(lake, [{"source_key": "a", "collection": "coco", "meta": '{"objects": {"dog": 1, "bench": 1}}'}])
    add_rows(lake, [{"source_key": "b", "collection": "coco", "meta": '{"objects": {"person": 3}}'}])
    add_rows(lake, [{"source_key": "c", "collection": "coco", "meta": '{"coco_id": 3}'}])
    texts = {"a": "A dog catches a frisbee.", "b": "Two men.", "c": "A zebra."}
    add_captions(lake, [{"of": key, "caption_id": key, "text": text} for key, text in texts.items()])
    (figures,) = chair(lake)
    assert (figures.producer, figures.collection, figures.captions) == ("made", "coco", 2)
    assert figures.chair_i == pytest.approx(1 / 3)
    assert figures.chair_s == pytest.approx(1 / 2)
    assert figures.object_recall == pytest.approx(2 / 3)
    assert chair(lake, producer="nobody") == []


def test_refused_rows_give_their_place_to_the_next(filled: Lake) -> None:
    add_captions(filled, [{"of": "c", "caption_id": "id-c2", "text": SORRY}])  # beside a good one
    flag_captions(filled, FlagConfig())
    refused = refused_rows(filled, ["refusal", Flag.PERSONAL_DATA], captioned_by="made")
    assert refused.rows() == [("made", "b", "refusal"), ("made", "d", "personal_data")]
    assert refused_rows(filled, ["refusal"], captioned_by="nobody").rows() == []
    config = SelectConfig(quota=(Quota(collection="coco", count=4),))
    chosen = select(filled, config, model_id=None, captioned_by="made", refused=refused)
    assert sorted(chosen.items["source_key"]) == ["a", "c", "e", "f"]
    gone = chosen.exclusions.filter(pl.col("reason") == "flagged")
    assert gone.select("source_key", "detail").rows() == [("b", "refusal"), ("d", "personal_data")]
    with pytest.raises(CaptionlakeError, match="no flag nosuch: there are refusal"):
        refused_rows(filled, ["nosuch"])


def test_a_row_is_refused_where_all_its_captions_are(filled: Lake) -> None:
    """Captions of another row of the picture do not count; what the snapshot did not know does not count."""
    add_captions(
        filled,
        [
            {"of": "b", "caption_id": "b2", "text": "The cat sits here. " * 9},
            {"of": "a", "caption_id": "a2", "text": SORRY, "source": "elsewhere", "source_key": "a"},
        ],
    )
    before = filled.snapshot()
    flag_captions(filled, FlagConfig())
    refusing = ["refusal", "repetition"]
    assert refused_rows(filled, refusing).rows() == [("made", "b", "refusal; repetition (2 captions)")]
    assert refused_rows(filled, refusing, snapshot=before).rows() == []
    assert refused_rows(filled, ["refusal"]).rows() == []


def test_captions_taken_down_meanwhile_get_no_rows(filled: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.store

    def slow(lake: Lake, checked: Any, found: Any) -> None:
        delete(lake, "captions", "caption_id = 'id-b'")
        real(lake, checked, found)

    monkeypatch.setattr(module, "store", slow)
    flag_captions(filled, FlagConfig())
    assert {row[0] for row in filled.rows(FLAGS)} == {"id-d"}
    assert "id-b" not in {row[0] for row in filled.rows(CHECKS)}


def test_killed_and_run_again(filled: Lake, tmp_path: Path) -> None:
    """Killed anywhere, the next run ends with what an uninterrupted one makes, and checks nothing again that was committed."""
    texts = [LONG, SORRY, "The dog sits here. " * 5, f"{LONG} <|im_end|>"]
    add_captions(filled, [{"of": "g", "caption_id": f"n-{n:03d}", "text": texts[n % 4]} for n in range(120)])
    filled.close()
    chance = random.Random(5)
    constants = {"captionlake.curation.flags.flagging.COMMIT_EVERY": 20, "captionlake.curation.flags.flagging._TASK": 7}
    imported = ["captionlake.curation.flags.flagging", "captionlake.curation.flags.review_page"]
    done, kills = 0, 0
    with Commands(tmp_path, imported, constants) as commands:
        whole = tmp_path / "whole"
        shutil.copytree(filled.path, whole)
        commands.learn("flag", "--lake", whole)
        with Lake.open(whole) as lake:
            flags, checks = lake.rows(FLAGS), lake.rows(CHECKS)
        while kills < 8:
            one = tmp_path / f"killed-{kills}-{done}"
            shutil.copytree(filled.path, one)
            noted: set[str] = set()
            for _ in range(4):
                if commands.run("flag", "--lake", one, at=commands.moment(chance)):
                    done += 1
                    break
                kills += 1
                with Lake.open(one) as lake:
                    now = {key for (key, _) in lake.rows(CHECKS)}
                    assert now >= noted
                    assert set(lake.rows(FLAGS)) == {row for row in flags if row[0] in now}  # together or not at all
                    noted = now
            assert commands.run("flag", "--lake", one)
            with Lake.open(one) as lake:
                assert (lake.rows(FLAGS), lake.rows(CHECKS)) == (flags, checks)
            assert nothing_staged(one)
