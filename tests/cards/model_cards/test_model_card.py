"""The card of a model: what it says is so, it reads back, nothing in it breaks out, and its check finds what was changed."""

import json
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard
from hypothesis import given, settings
from markdown_it import MarkdownIt
from PIL import Image

from captionlake.cards.model_card import check_model_card, readme, write_model_card
from captionlake.cards.model_facts import ModelFacts, read_model_facts
from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.checkpoint import RECORD, read_record, write_record
from captionlake.models.parts import parts_of
from captionlake.models.running.loading import Checkpoint

from ..texts import HOSTILE, hostile_text

_PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")


@pytest.fixture(scope="module")
def card(lmm: Path, results: Path, training_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card") / "lmm"
    with Lake.open(training_lake) as lake:
        write_model_card(lmm, folder, results=[results], lake=lake, license="apache-2.0")
    return folder


@pytest.fixture
def copied(lmm: Path, tmp_path: Path) -> Path:
    return shutil.copytree(lmm, tmp_path / lmm.name, ignore=shutil.ignore_patterns("steps", "tensorboard"))


def _metadata(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = ModelCard.load(folder / "README.md").data.to_dict()
    return found


def _facts(folder: Path) -> dict[str, dict[str, Any]]:
    return {fact["name"]: fact for fact in json.loads((folder / "facts.json").read_text())["facts"]}


def _differing(checkpoint: Path, folder: Path, **given: Any) -> dict[str, str]:
    return {one.name: one.what for one in check_model_card(checkpoint, folder, **given).differences}


@pytest.mark.parametrize("which", ["captioner", "lmm"])
def test_parameters_are_those_of_the_loaded_model(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(which)
    write_model_card(folder, tmp_path)
    model = Checkpoint.load(folder, device="cpu", precision="fp32").model
    loaded = {part: sum(one.numel() for one in own) for part, own in parts_of(model).items() if own and "." not in part}
    told = _facts(tmp_path)
    assert {row["part"]: row["parameters"] for row in told["parts"]["value"]} == loaded
    assert told["weights"]["value"]["parameters"] == sum(loaded.values())
    assert f"**{sum(loaded.values()):,} parameters**" in (tmp_path / "README.md").read_text()


def test_it_says_what_it_is_made_of(card: Path, lmm: Path) -> None:
    text, record = (card / "README.md").read_text(), read_record(lmm)
    assert record is not None
    for said in (
        "**Its weights began at random** (size tiny)",
        f"| content, SHA-256 | `{record.content_sha256}` |",
        "| `train.lr` | 0.001 |",
        "24 items of kind images",
        "| human | source |",
        "| ShareGPT4V-7B | 1567.4 |",
        "(figures/loss.png)",
        "- no other weights: they began at random;",
        "- MME-C, MMB-CN, MM-Vet, LLaVA-W, POPE: no score;",
    ):
        assert said in text, said
    with Image.open(card / "figures/loss.png") as picture:
        assert picture.size == (1040, 598)


def test_it_names_every_fact(card: Path) -> None:
    text = (card / "README.md").read_text()
    named = set(re.findall(r"<sub>facts\.json#(.+?)</sub>", text))
    shown = {name.replace("@", "<!-- -->@") for name in _facts(card)}
    assert {name for name in shown if not name.startswith("published")} == named


def test_front_matter_reads_back_and_has_whole_scores_alone(card: Path, results: Path) -> None:
    data = _metadata(card)
    assert (data["library_name"], data["pipeline_tag"], data["license"]) == (
        "transformers",
        "image-text-to-text",
        "apache-2.0",
    )
    scores = {
        metric["name"]: metric["value"] for result in data["model-index"][0]["results"] for metric in result["metrics"]
    }
    told = json.loads(results.read_text())["outcomes"]
    whole = {name: value for one in told if not one["incomplete"] for name, value in one["scores"].items()}
    assert scores == {name: round(value, 2) for name, value in whole.items() if value is not None}
    assert "MMB" in scores and "MME-P" not in scores
    assert re.search(r"\| small-lmm \| \d+\.\d\\\* \|", (card / "README.md").read_text()), "a star where it is partial"


def test_where_it_went_on_from_and_where_it_was_published(
    copied: Path, captioner: Path, training_lake: Path, tmp_path: Path
) -> None:
    record = read_record(copied)
    assert record is not None
    shutil.copytree(copied, tmp_path / "before")
    hyper = {
        **record.hyper,
        "model": {**record.hyper["model"], "size": None, "vision": "some/tower", "language": "some/words"},
    }
    write_record(tmp_path / "before", replace(record, name="before", hyper=hyper))
    write_record(copied, replace(record, start="before", hyper={**hyper, "model": {"start": "before"}}))
    shutil.copytree(training_lake, tmp_path / "lake")
    with Lake.open(tmp_path / "lake") as lake:
        row = {
            "name": "tiles",
            "version": "1.0.0",
            "repo_id": "some/tiles",
            "revision": "r",
            "created_at": datetime.now(UTC),
        }
        detail = {"detail": json.dumps({"content_sha256": record.content_sha256})}
        other = {**row, "repo_id": "some/model", "detail": json.dumps({"content_sha256": "of a model of that name"})}
        lake.append("publications", pa.Table.from_pylist([row | detail, other]), ["repo_id"])
        write_model_card(copied, tmp_path / "card", lake=lake)
    data, text = _metadata(tmp_path / "card"), (tmp_path / "card" / "README.md").read_text()
    assert data["datasets"] == ["some/tiles"]
    assert data["base_model"] == ["some/tower", "some/words"]
    assert "before began with its vision from some/tower" in text
    assert "began at random**" not in text


def test_its_code_loads_the_model(card: Path, captioner: Path, lmm: Path, tmp_path: Path) -> None:
    write_model_card(captioner, tmp_path)
    for folder, checkpoint in ((card, lmm), (tmp_path, captioner)):
        loading, _ = re.findall(r"```python\n(.+?)```", (folder / "README.md").read_text(), re.DOTALL)
        scope: dict[str, Any] = {}
        exec(loading.replace('"PATH"', repr(str(checkpoint))), scope)  # noqa: S102 - what a reader would copy
        assert scope["model"].config.model_type == json.loads((checkpoint / "config.json").read_text())["model_type"]


def test_the_same_facts_give_the_same_bytes(
    card: Path, lmm: Path, results: Path, training_lake: Path, tmp_path: Path
) -> None:
    with Lake.open(training_lake) as lake:
        write_model_card(lmm, tmp_path, results=[results], lake=lake, license="apache-2.0")
        found = check_model_card(lmm, tmp_path, results=[results], lake=lake)
    assert found.differences == [] and found.unchecked == [] and found.readme_as_written
    for path in card.rglob("*"):
        assert path.is_dir() or path.read_bytes() == (tmp_path / path.relative_to(card)).read_bytes(), path


def test_what_is_not_here_is_not_checked_and_said(card: Path, copied: Path) -> None:
    (copied / "log.csv").unlink()
    found = check_model_card(copied, card)
    assert found.differences == [] and found.readme_as_written
    kinds = {name.partition(":")[0] for name in found.unchecked}
    assert kinds == {"evaluation", "paper", "log", "release", "texts", "pictures", "published"}


def test_results_in_the_checkpoints_folder_are_found(copied: Path, results: Path, tmp_path: Path) -> None:
    shutil.copy(results, copied / "results-of-monday.json")
    write_model_card(copied, tmp_path / "card")
    assert _facts(tmp_path / "card")["evaluation:mmbench"]["source"]["file"] == "results-of-monday.json"


def test_what_was_changed_is_found(card: Path, copied: Path, tmp_path: Path) -> None:
    record = read_record(copied)
    assert record is not None
    write_record(copied, replace(record, steps=5000))
    assert _differing(copied, card) == {"record": "steps is 5000, written is 2"}
    write_record(copied, record)

    weights = copied / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert list(_differing(copied, card)) == ["weights"]
    data[-1] ^= 1
    weights.write_bytes(data)
    assert _differing(copied, card) == {}

    edited = shutil.copytree(card, tmp_path / "edited")
    told = json.loads((edited / "facts.json").read_text())
    (parts,) = [fact for fact in told["facts"] if fact["name"] == "parts"]
    right = parts["value"][0]["parameters"]
    parts["value"][0]["parameters"] = 7_000_000_000
    told["facts"] = [fact for fact in told["facts"] if fact["name"] != "sizes"]
    (edited / "facts.json").write_text(json.dumps(told))
    assert _differing(copied, edited) == {
        "sizes": "is not in the file",
        "parts": f"[0].parameters is {right}, written is 7000000000",
    }

    edited = shutil.copytree(card, tmp_path / "praised")
    text = (edited / "README.md").read_text()
    (edited / "README.md").write_text(text + "The best of all models.\n")
    found = check_model_card(copied, edited)
    assert found.differences == [] and not found.readme_as_written


def test_a_loss_of_a_tensor_shows_in_the_parts(card: Path, copied: Path) -> None:
    """The header alone is read: a tensor renamed to another part counts there."""
    weights = copied / "model.safetensors"
    data = weights.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + length].replace(
        b'"multi_modal_projector.linear_1.bias"', b'"language_model.tor_linear_1_bias.xx"'
    )
    weights.write_bytes(data[:8] + header + data[8 + length :])
    assert list(_differing(copied, card)) == ["parts", "weights"]


def test_results_of_other_weights_are_refused(captioner: Path, results: Path, tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match="other weights"):
        write_model_card(captioner, tmp_path / "card", results=[results])
    (tmp_path / "results.json").write_text('{"scores": 100}')
    with pytest.raises(CaptionlakeError, match="no results of captionlake eval"):
        write_model_card(captioner, tmp_path / "card", results=[tmp_path / "results.json"])
    assert not (tmp_path / "card").exists()


@pytest.mark.parametrize(
    ("change", "status"),
    [({"steps": "many"}, "steps"), ({"hyper": 3}, "hyper"), ({"hyper": {"model": "big", "x": [1]}}, "")],
)
def test_a_record_that_is_not_one(change: dict[str, Any], status: str, copied: Path, tmp_path: Path) -> None:
    """It is refused in one line, or its odd settings are left out."""
    told = json.loads((copied / RECORD).read_text())
    (copied / RECORD).write_text(json.dumps(told | change))
    if not status:
        write_model_card(copied, tmp_path / "card")
        return
    with pytest.raises(CaptionlakeError, match=f"{RECORD} cannot be read .*{status}") as error:
        write_model_card(copied, tmp_path / "card")
    assert "\n" not in str(error.value)


def test_another_release_of_the_name_is_refused(copied: Path, training_lake: Path, tmp_path: Path) -> None:
    record = read_record(copied)
    assert record is not None
    write_record(copied, replace(record, content_sha256="0" * 64))
    with Lake.open(training_lake) as lake, pytest.raises(CaptionlakeError, match=r"another tiles@1\.0\.0"):
        write_model_card(copied, tmp_path / "card", lake=lake)


def test_a_release_that_was_redacted_since_and_one_that_is_not_there(
    lmm: Path, training_lake: Path, new_lake: Callable[[Path], Lake], tmp_path: Path
) -> None:
    shutil.copytree(training_lake, tmp_path / "lake")
    with Lake.open(tmp_path / "lake") as lake:
        hole = "UPDATE release_items SET source = NULL, source_key = NULL, image_id = NULL WHERE name = 'tiles' AND position = 3"
        for change in (hole, "UPDATE releases SET state = 'redacted' WHERE name = 'tiles'"):
            lake.commit(lambda connection, change=change: connection.execute(change).fetchall())  # type: ignore[misc]
        write_model_card(lmm, tmp_path / "card", lake=lake)
    assert "**It is redacted:**" in (tmp_path / "card" / "README.md").read_text()
    (pictures,) = _facts(tmp_path / "card")["pictures:tiles@1.0.0"]["value"]
    assert pictures["pictures"] == 23
    with new_lake(tmp_path / "another") as lake:
        write_model_card(lmm, tmp_path / "card", lake=lake)
    assert "The lake does not have it." in (tmp_path / "card" / "README.md").read_text()


def test_a_model_of_others_says_that_nothing_is_known(copied: Path, tmp_path: Path) -> None:
    for name in (RECORD, "log.csv"):
        (copied / name).unlink()
    write_model_card(copied, tmp_path / "card")
    text = (tmp_path / "card" / "README.md").read_text()
    assert "**Not trained by captionlake**" in text and "**Not evaluated:**" in text
    assert "**No licence of these weights was stated.**" in text
    assert {path.name for path in (tmp_path / "card").rglob("*")} == {"README.md", "facts.json"}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("Apache License 2.0", {"license": "apache-2.0"}),
        ("llama2", {"license": "llama2"}),
        (
            "https://example.org/terms",
            {"license": "other", "license_name": "example.org-terms", "license_link": "https://example.org/terms"},
        ),
    ],
)
def test_licences(stated: str, expected: dict[str, str], captioner: Path, tmp_path: Path) -> None:
    write_model_card(captioner, tmp_path, license=stated)
    data = _metadata(tmp_path)
    assert {key: value for key, value in data.items() if key.startswith("license")} == expected


def test_a_licence_that_is_none(captioner: Path, tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match=r"apache-2\.0"):
        write_model_card(captioner, tmp_path, license="do as you like\x1b[31m")


Structure = tuple[list[str], list[str], list[int]]


def _structure(text: str) -> Structure:
    """Headings, HTML and the links' targets' kinds, and the cells of each table."""
    tokens = _PARSER.parse(ModelCard(text).text)
    inline = [child for token in tokens for child in token.children or []]
    headings = [token.tag for token in tokens if token.type == "heading_open"]
    html = [token.content for token in [*tokens, *inline] if token.type in ("html_block", "html_inline")]
    links = [
        str(token.attrGet("href") or token.attrGet("src")) for token in inline if token.type in ("link_open", "image")
    ]
    cells = [0]
    for token, after in pairwise(tokens):
        if token.type == "table_open":
            cells.append(0)
        cells[-1] += token.type == "td_open" and after is not None
    return headings + links, [part for part in html if part != "<!-- -->"], cells


def _said(facts: ModelFacts, text: str) -> str:
    """The card where every text that a checkpoint, its results or the lake brings is ``text``."""

    def changed(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: changed(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [changed(inner) for inner in value]
        return text if isinstance(value, str) and key != "model_type" else value

    new = {
        (f"{name.partition(':')[0]}:{text}" if ":" in name else name): (
            fact if name in ("licence", "paper") else replace(fact, value=changed(fact.value))
        )
        for name, fact in facts.facts.items()
    }
    return readme(ModelFacts(text or "x", new))


@given(hostile_text())
@settings(max_examples=80)
def test_no_text_breaks_out(card_facts: ModelFacts, plain: Structure, text: str) -> None:
    assert _structure(_said(card_facts, text)) == plain


@pytest.fixture(scope="module")
def card_facts(card: Path) -> ModelFacts:
    return read_model_facts(card)


@pytest.fixture(scope="module")
def plain(card_facts: ModelFacts) -> Structure:
    return _structure(_said(card_facts, "plain words"))


@pytest.mark.parametrize("text", HOSTILE)
def test_front_matter_survives_hostile_names(card_facts: ModelFacts, text: str) -> None:
    data: Any = ModelCard(_said(card_facts, text)).data
    assert data.license == "apache-2.0" and data.pipeline_tag == "image-text-to-text"


def _run(*words: object) -> Any:
    return CliRunner().invoke(captionlake, ["card", *map(str, words)], env={"CAPTIONLAKE_LAKE": None})


def test_the_command(copied: Path, results: Path, training_lake: Path, tmp_path: Path) -> None:
    given = ("--results", results, "--lake", training_lake)
    written = _run(copied, "-o", tmp_path / "card", "--license", "mit", *given, "--json")
    data = json.loads(written.stdout)
    assert {Path(file).relative_to(tmp_path / "card").as_posix() for file in data["files"]} == {
        "README.md", "facts.json", "figures/loss.png", "figures/loss.svg",
    }  # fmt: skip
    checked = _run(copied, "-o", tmp_path / "card", *given, "--check")
    assert f"{data['facts']} of {data['facts']} facts" in checked.stdout and "not checked" not in checked.stdout
    assert "not checked" in _run(copied, "-o", tmp_path / "card", "--check").stdout
    record = read_record(copied)
    assert record is not None
    write_record(copied, replace(record, steps=9))
    found = _run(copied, "-o", tmp_path / "card", "--check", "--json")
    assert isinstance(found.exception, CaptionlakeError) and "record steps is 9, written is 2" in str(found.exception)
    assert json.loads(found.stdout)["differences"] == [{"name": "record", "what": "steps is 9, written is 2"}]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("tiles@1.0.0", "-o", "card", "--license", "mit"), 2, "--license"),
        (("tiles@1.0.0", "-o", "card"), 1, "--lake DIR"),
        ((".", "-o", "card"), 1, "config.json"),
    ],
)
def test_wrong_use(
    words: tuple[str, ...], status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = _run(*words)
    assert said in (found.output if status == 2 else str(found.exception))
    assert list(tmp_path.iterdir()) == []
