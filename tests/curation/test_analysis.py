"""Analysis of releases of made-up texts: what is counted once, and that its figures in SQL are those of plain Python."""

import csv
import hashlib
import json
import math
import random
import re
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from captionlake.cli import captionlake
from captionlake.curation.analysis import counting
from captionlake.curation.analysis.analysis import QUERIES, Analysis, analyze
from captionlake.curation.analysis.analyze_config import AnalyzeConfig
from captionlake.curation.analysis.parser import find_package
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.query import run_query
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release

from ..killed import Commands, nothing_staged

LABEL = "texts@1.0.0"
WORDS = "SELECT * FROM caption_words ORDER BY ALL"
TEXTS = [
    "A man is holding a red umbrella. The sky is clear.",
    "A girl in a blue dress holds two umbrellas. She eats an apple, slowly.",
    "Two dogs chase a ball. Nobody holds an umbrella; it isn't raining.",
    "A woman rides a bicycle in Paris.",
    "Sunset.",
]
AddRows = Callable[..., None]


def release_of(lake: Lake, add_rows: AddRows, texts: Mapping[str, Sequence[str]], version: str = "1.0.0") -> str:
    """A release of one caption a picture, by producer; the pictures have rows alone. Returns its label."""
    rows, images = [], []
    for producer, own in texts.items():
        for number, text in enumerate(own):
            key = f"{producer}/{number}"
            images.append({"source": "made", "source_key": key, "image": key})
            rows.append(
                {
                    "caption_id": hashlib.sha256(f"{key} {text}".encode()).hexdigest()[:32],
                    "image_id": hashlib.sha256(key.encode()).hexdigest(),
                    "kind": "teacher",
                    "producer": producer,
                    "text": text,
                    "chars": len(text),
                    "words": len(text.split()),
                    "created_at": datetime.now(UTC),
                }
            )
    known = {key for (key,) in lake.rows("SELECT source_key FROM images")}
    if new := [image for image in images if image["source_key"] not in known]:
        add_rows(lake, new)
    if rows:
        lake.append("captions", pa.Table.from_pylist(rows), ["caption_id"])
    empty = "SELECT source, source_key, '' AS reason, '' AS detail, '' AS keeper_source, '' AS keeper_key, 0.0 AS similarity"
    draft = Draft(
        config=ReleaseConfig(name="texts", version=version),
        recipe="",
        snapshot=lake.snapshot(),
        items=lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images"),
        exclusions=lake.arrow(f"{empty} FROM images WHERE false"),
        producers=list(texts),
    )
    return create_release(lake, draft)[0].label


@pytest.fixture
def filled(lake: Lake, add_rows: AddRows) -> Lake:
    release_of(lake, add_rows, {"gpt4-vision": TEXTS, "share-captioner": TEXTS[:3]})
    return lake


def _same(analysis: Analysis, other: Analysis) -> bool:
    return all(analysis.answers[name] == other.answers[name] for name in QUERIES)


def test_what_is_counted(filled: Lake) -> None:
    analysis = analyze(filled, LABEL)
    assert analysis.producers == ["gpt4-vision", "share-captioner"]
    assert (analysis.counts.captions, analysis.counts.counted, analysis.counts.present) == (8, 8, 0)
    pairs = [(pair.verb, pair.noun, pair.sentences) for pair in analysis.pairs("gpt4-vision")]
    assert pairs == [("hold", "umbrella", 3), ("chase", "ball", 1), ("eat", "apple", 1), ("ride", "bicycle", 1)]
    assert [pair.share for pair in analysis.pairs("gpt4-vision")] == pytest.approx([50, 100 / 6, 100 / 6, 100 / 6])
    assert sum(pair.share for pair in analysis.pairs("share-captioner")) == pytest.approx(100)
    rows = filled.rows("SELECT sum(sentences), sum(proper_nouns), sum(numerals) FROM caption_words")
    (totals,) = analysis.answers["totals"].of("gpt4-vision")
    assert (totals["captions"], totals["sentences"], totals["sentences_with_pair"]) == (5, 8, 6)
    assert totals["characters"] == sum(map(len, TEXTS))
    assert rows[0][2] == 4  # two, twice by both
    assert filled.value("SELECT pairs FROM caption_words SEMI JOIN captions c USING (caption_id) WHERE words = 1") == []


def test_captions_are_parsed_once(filled: Lake, add_rows: AddRows, monkeypatch: pytest.MonkeyPatch) -> None:
    first = analyze(filled, LABEL, AnalyzeConfig(producers=("share-captioner",)))
    assert first.counts.counted == 3
    second = analyze(filled, LABEL)
    assert (second.counts.counted, second.counts.present) == (5, 3)
    monkeypatch.setattr(counting, "parse_here", None)  # and spaCy is not needed again
    third = analyze(filled, LABEL)
    assert (third.counts.counted, third.counts.present) == (0, 8)
    assert _same(second, third)
    monkeypatch.undo()
    later = release_of(filled, add_rows, {"gpt4-vision": [*TEXTS, "A cat drinks milk."]}, "1.1.0")
    assert analyze(filled, later).counts.counted == 1
    notes = filled.rows("SELECT target, counts->>'counted' FROM runs WHERE step = 'analyze' ORDER BY created_at")
    assert notes == [(LABEL, "3"), (LABEL, "5"), (later, "1")]


def test_every_query_gives_the_same_by_the_read_only_command(filled: Lake) -> None:
    analysis = analyze(filled, LABEL)
    for name, answer in analysis.answers.items():
        found = run_query(filled.path, answer.sql, release=LABEL)
        assert found.column_names == answer.columns, name
        rows = [[float(v) if isinstance(v, float) else v for v in row.values()] for row in found.to_pylist()]
        assert rows == answer.rows and rows, name


_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_TEXT = st.text(alphabet=st.sampled_from("abAB é猫1'’-. ,_\n"), max_size=30)


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes seconds
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(texts=st.lists(st.lists(_TEXT.filter(str.strip), min_size=1, max_size=12), min_size=4, max_size=8))
def test_figures_are_those_of_plain_python(
    empty_lake: Path, tmp_path_factory: pytest.TempPathFactory, add_rows: AddRows, texts: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("figures") / "lake"
    shutil.copytree(empty_lake, folder)
    producers = {f"p{number}": own for number, own in enumerate(texts)}
    with Lake.open(folder) as lake:
        analysis = analyze(lake, release_of(lake, add_rows, producers))
        counted = lake.rows(
            "SELECT producer, w.words, w.sentences FROM caption_words w JOIN captions USING (caption_id)"
        )
    for producer, own in producers.items():
        split = [_WORD.findall(text.lower()) for text in own]
        _check_distinct(analysis, producer, split)
        drawn = sorted(zip(own, split, strict=True), key=lambda pair: hashlib.md5(pair[0].encode()).hexdigest())
        _check_growth(analysis, producer, [word for _, words in drawn for word in words])
        measured = [row[1:] for row in counted if row[0] == producer]
        _check_lengths(analysis, producer, [(len(text), *row) for text, row in zip(own, measured, strict=True)])


def _check_distinct(analysis: Analysis, producer: str, split: list[list[str]]) -> None:
    for n in (1, 2, 3):
        runs = [tuple(words[i : i + n]) for words in split for i in range(len(words) - n + 1)]
        found = [row for row in analysis.answers["distinct_n"].of(producer) if row["n"] == n]
        assert [(row["runs"], row["different"]) for row in found] == ([(len(runs), len(set(runs)))] if runs else [])


def _check_growth(analysis: Analysis, producer: str, stream: list[str]) -> None:
    growth = analysis.answers["growth"].of(producer)
    points = {max(1, math.floor(len(stream) * 10 ** (-step / 10) + 0.5)) for step in range(21)} if stream else set()
    assert [(row["tokens"], row["types"]) for row in growth] == [(n, len(set(stream[:n]))) for n in sorted(points)]
    if len(points) > 2:
        xs, ys = [math.log(row["tokens"]) for row in growth], [math.log(row["types"]) for row in growth]
        fit = statistics.linear_regression(xs, ys)
        assert growth[0]["exponent"] == pytest.approx(fit.slope, abs=1e-4)
        assert growth[0]["factor"] == pytest.approx(math.exp(fit.intercept), abs=2e-3)


def _check_lengths(analysis: Analysis, producer: str, measured: list[tuple[int, ...]]) -> None:
    lengths = {row["unit"]: row for row in analysis.answers["lengths"].of(producer)}
    for unit, found in zip(("characters", "words", "sentences"), zip(*measured, strict=True), strict=True):
        values = sorted(found)
        assert lengths[unit]["mean"] == pytest.approx(statistics.fmean(values), abs=0.051)
        assert lengths[unit]["median"] == pytest.approx(statistics.median(values))
        ranks = [math.ceil(len(values) * tenth / 10) for tenth in range(1, 10)]
        assert lengths[unit]["deciles"] == [values[rank - 1] for rank in ranks]


def test_processes_count_as_one_does(
    filled: Lake, add_rows: AddRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{TEXTS[n % 4]} {TEXTS[n % 3]} Number {n} holds {n} cats." for n in range(120)]
    label = release_of(filled, add_rows, {"gpt4-vision": texts}, "2.0.0")
    filled.close()
    shutil.copytree(filled.path, tmp_path / "other")
    monkeypatch.setattr(counting, "FEW", 0)
    monkeypatch.setattr(counting, "PER_TASK", 7)
    with Lake.open(filled.path) as one, Lake.open(tmp_path / "other") as two:
        alone = analyze(one, label, AnalyzeConfig(processes=1))
        beside = analyze(two, label, AnalyzeConfig(processes=2))
        assert one.rows(WORDS) == two.rows(WORDS)
        assert alone.counts.counted == beside.counts.counted == len(one.rows(WORDS)) > 120
        assert _same(alone, beside)


def test_killed_at_any_moment_and_run_again(filled: Lake, tmp_path: Path) -> None:
    filled.close()
    whole, killed = filled.path, tmp_path / "killed"
    shutil.copytree(whole, killed)
    chance = random.Random(0)
    constants = {
        f"captionlake.curation.analysis.counting.{name}": n for name, n in (("COMMIT_EVERY", 2), ("PER_TASK", 1))
    }
    with Commands(tmp_path, ["captionlake.curation.analysis.output", "spacy"], constants) as commands:
        commands.learn("analyze", LABEL, "--lake", whole)
        ended = sum(commands.run("analyze", LABEL, "--lake", killed, at=commands.moment(chance)) for _ in range(8))
        assert ended < 8
        assert commands.run("analyze", LABEL, "--lake", killed)
    with Lake.open(whole) as one, Lake.open(killed) as two:
        assert one.rows(WORDS) == two.rows(WORDS)
        assert len(two.rows(WORDS)) == 8
        two.sweep()
    assert nothing_staged(killed)


def test_what_was_taken_down_meanwhile_is_not_counted(filled: Lake) -> None:
    filled.commit(lambda connection: connection.execute("DELETE FROM captions WHERE text = 'Sunset.'").fetchall())
    assert analyze(filled, LABEL).counts.counted == 7


def test_the_command(filled: Lake, tmp_path: Path) -> None:
    filled.close()
    where = ["--lake", str(filled.path)]
    out = tmp_path / "out"
    result = CliRunner().invoke(captionlake, ["analyze", LABEL, *where, "-o", str(out), "--json"])
    data = json.loads(result.stdout)
    assert [row["verb"] for row in data["pairs"]["gpt4-vision"]] == ["hold", "chase", "eat", "ride"]
    assert {figure["name"] for figure in data["figures"]} | {"pairs"} == set(QUERIES)
    names = ["analysis.json", "pairs.csv", "pairs.parquet", "sunburst.png", "sunburst.svg"]
    assert sorted(path.name for path in out.iterdir()) == names == [Path(path).name for path in data["files"]]
    table = pq.read_table(out / "pairs.parquet").to_pylist()
    with (out / "pairs.csv").open(encoding="utf-8", newline="") as file:
        assert [(row["verb"], int(row["sentences"])) for row in csv.DictReader(file)] == [
            (row["verb"], row["sentences"]) for row in table
        ]
    assert Counter(row["producer"] for row in table) == {"gpt4-vision": 4, "share-captioner": 3}
    assert json.loads((out / "analysis.json").read_text()).items() <= data.items()
    text = (
        CliRunner()
        .invoke(captionlake, ["analyze", LABEL, *where, "--producer", "share-captioner", "--most", "1"])
        .stdout
    )
    assert "3 captions, 0 of them parsed now, 3 before (en_core_web_sm" in text
    assert "DenseFusion" in text and "1130.0" in text and "10.9" in text
    assert "hold  umbrella          3  60.0" in text and "chase" not in text
    assert "gpt4-vision" not in text


def test_what_cannot_be_analysed_is_told(filled: Lake, add_rows: AddRows) -> None:
    for label, config, told in (
        ("texts@9.0.0", AnalyzeConfig(), "no release texts@9.0.0: there are texts@1.0.0"),
        (
            LABEL,
            AnalyzeConfig(producers=("gpt5",)),
            "no captions by gpt5: its producers are gpt4-vision, share-captioner",
        ),
        (LABEL, AnalyzeConfig(parser="xx_none"), r"pip install 'captionlake\[analysis\]', and leave out --parser"),
    ):
        with pytest.raises(CaptionlakeError, match=told):
            analyze(filled, label, config)
    bare = release_of(filled, add_rows, {}, "3.0.0")
    with pytest.raises(CaptionlakeError, match="has no captions"):
        analyze(filled, bare)
    for wrong in ({"share": 0.0}, {"most": 0}, {"processes": 0}, {"producers": ("a", "a")}):
        with pytest.raises(CaptionlakeError):
            AnalyzeConfig(**wrong)
    assert find_package()[1].endswith("+words-1")
