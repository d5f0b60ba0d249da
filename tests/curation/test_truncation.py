"""Captions cut to a mean length: the bounds that hold of any texts, and the rows that the lake gets."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from captionlake.cli import captionlake
from captionlake.curation.truncation import Boundary, TruncateConfig, cut, ends, find_cap, truncate
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig

TEXTS = st.lists(st.text(st.sampled_from('ab.!?)" \n\t。é猫'), min_size=1, max_size=60), min_size=1, max_size=12)
BOUNDARIES = st.sampled_from(["word", "sentence"])


def longest_step(texts: list[str], at: Boundary) -> int:
    """The most characters by which one text can grow when the cap moves by one."""
    return max(end - before for text in texts for before, end in pairwise([0, *ends(text, at)]))


@given(TEXTS, BOUNDARIES, st.integers(1, 60))
def test_the_mean_is_at_most_the_target_and_within_one_step_of_it(texts: list[str], at: Boundary, target: int) -> None:
    firsts = sum(ends(text, at)[0] for text in texts) / len(texts)
    if firsts > target:
        with pytest.raises(CaptionlakeError, match="give a larger mean"):
            find_cap(texts, target, at)
        return
    cap = find_cap(texts, target, at)
    lengths = [len(cut(text, cap.chars, at)) for text in texts]
    assert cap.mean == sum(lengths) / len(texts) <= target
    assert cap.cut == sum(len(text) > cap.chars for text in texts)
    if lengths != [len(text) for text in texts]:  # else all are whole, and the material has no more
        assert target - cap.mean < longest_step(texts, at)


@given(TEXTS, BOUNDARIES, st.integers(1, 60))
def test_no_greater_cap_would_do(texts: list[str], at: Boundary, target: int) -> None:
    def mean(chars: int) -> float:
        return sum(len(cut(text, chars, at)) for text in texts) / len(texts)

    best = max((mean(chars) for chars in range(1, 70) if mean(chars) <= target), default=None)
    if best is not None:
        assert find_cap(texts, target, at).mean == best


@given(st.text(min_size=1), st.integers(1, 50), BOUNDARIES)
def test_a_cut_is_a_beginning_that_ends_at_a_boundary(text: str, cap: int, at: Boundary) -> None:
    short = cut(text, cap, at)
    assert short and text.startswith(short)
    if len(short) < len(text):
        assert not short[-1].isspace() and (len(short) <= cap or len(short) == ends(text, at)[0])
        following = text[len(short)]
        assert following.isspace() or (at == "sentence" and short.rstrip("”’」』）")[-1] in "。！？")
    else:
        assert len(text) <= cap or len(ends(text, at)) == 1 or ends(text, at)[-1] == len(short)


@pytest.mark.parametrize(
    ("text", "cap", "at", "short"),
    [
        ("A cat, it sits.", 6, "word", "A cat,"),
        ("A cat, it sits.", 8, "word", "A cat,"),
        ("A cat, it sits.", 15, "word", "A cat, it sits."),
        ("Unbelievable.", 3, "word", "Unbelievable."),
        ('It says "Stop!" A car waits.', 20, "sentence", 'It says "Stop!"'),
        ("It costs 3.50 dollars. It is red.", 25, "sentence", "It costs 3.50 dollars."),
        ("A title\nThe rest of it is long.", 12, "sentence", "A title"),
        ("猫がいる。犬もいる。", 7, "sentence", "猫がいる。"),
    ],
)
def test_where_texts_are_cut(text: str, cap: int, at: Boundary, short: str) -> None:
    assert cut(text, cap, at) == short


@pytest.fixture
def filled(lake: Lake, tmp_path: Path, photographs: dict[str, bytes]) -> Lake:
    """Ten photographs, each with a caption of one to ten sentences."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rows = []
    for number, name in enumerate(sorted(photographs), 1):
        (folder / f"{name}.jpg").write_bytes(photographs[name])
        rows.append(
            {"file_name": f"{name}.jpg", "caption": f"Sentence about {name}, " + "and again it goes on. " * number}
        )
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ingest(lake, IngestConfig(source="folder", inputs=[str(folder)]))
    return lake


def test_rows_point_at_the_whole_ones_and_a_second_run_adds_none(filled: Lake) -> None:
    config = TruncateConfig(producer="source", mean_chars=80)
    counts = truncate(filled, config)
    assert counts.captions == counts.added == 10 and 0 < counts.cut < 10
    query = (
        "SELECT t.text, w.text, t.params, t.chars, t.words, t.producer, t.license = w.license, (t.source_key, t.image_id) = "
        "(w.source_key, w.image_id) FROM captions t JOIN captions w ON w.caption_id = t.parent_id WHERE t.kind = 'truncated'"
    )
    rows = filled.rows(query)
    assert len(rows) == 10
    for short, whole, params, chars, words, producer, _, same in rows:
        assert whole.startswith(short) and chars == len(short) and words == len(short.split()) and same
        assert producer == "source/tr80"
        said = json.loads(params)
        assert said == {
            "unit": "characters",
            "boundary": "word",
            "target": 80,
            "cap": counts.cap,
            "mean": counts.mean_chars,
        }
    mean = filled.value("SELECT avg(chars) FROM captions WHERE kind = 'truncated'")
    assert 73 < mean <= 80 and round(mean, 3) == counts.mean_chars
    before = filled.rows("SELECT caption_id FROM captions ORDER BY 1")
    again = truncate(filled, config)
    assert again.added == 0 and filled.rows("SELECT caption_id FROM captions ORDER BY 1") == before


def test_what_a_kill_left_out_is_added(filled: Lake) -> None:
    config = TruncateConfig(producer="source", mean_chars=80, at="sentence")
    truncate(filled, config)
    whole = filled.rows("SELECT caption_id, text FROM captions ORDER BY 1")
    filled.commit(lambda c: c.execute("DELETE FROM captions WHERE kind = 'truncated' AND text LIKE '%rocket%'"))
    assert truncate(filled, config).added == 2
    assert filled.rows("SELECT caption_id, text FROM captions ORDER BY 1") == whole


def test_a_name_has_one_cut(filled: Lake) -> None:
    truncate(filled, TruncateConfig(producer="source", mean_chars=80))
    filled.commit(lambda c: c.execute("DELETE FROM captions WHERE kind = 'human' AND text LIKE '%rocket%'"))
    with pytest.raises(CaptionlakeError, match=r"by source/tr80 already, cut at .* another name with --as"):
        truncate(filled, TruncateConfig(producer="source", mean_chars=80))
    assert truncate(filled, TruncateConfig(producer="source", mean_chars=80, name="fewer")).added == 8
    with pytest.raises(CaptionlakeError, match="of kind human"):
        truncate(filled, TruncateConfig(producer="source", mean_chars=80, name="source"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"producer": "nobody"}, "captions by nobody: there are no texts"),
        (
            {"producer": "source", "mean_chars": 2},
            r"end of a word has a mean of 2 characters: the first words alone have 8\.0",
        ),
        ({"producer": "source", "release": "none@1.0.0"}, "no release none@1.0.0"),
    ],
)
def test_what_cannot_be_done_is_told(filled: Lake, config: dict[str, Any], message: str) -> None:
    with pytest.raises(CaptionlakeError, match=message):
        truncate(filled, TruncateConfig(**config))


def test_the_command(filled: Lake) -> None:
    path = str(filled.path)
    filled.close()
    arguments = ["truncate", "--producer", "source", "--mean-chars", "80", "--lake", path]
    done = CliRunner().invoke(captionlake, [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["added"] == 10
    done = CliRunner().invoke(captionlake, arguments, catch_exceptions=False)
    assert "0 new rows by source/tr80" in done.stdout
