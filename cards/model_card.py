"""``write_model_card``: a checkpoint's README.md, facts.json and loss curve, all from the facts and nothing else."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captionlake.cards import output
from captionlake.cards.facts import FACTS_FILE, Difference
from captionlake.cards.markdown import Safe, code, markdown
from captionlake.cards.metadata import check_front_matter
from captionlake.cards.model_facts import ModelFacts, collect, read_model_facts
from captionlake.cards.model_metadata import base_models, licence_of, model_card_data
from captionlake.cards.templating import render
from captionlake.errors import CaptionlakeError, require
from captionlake.lake import Lake
from captionlake.models.evaluation.results import COLUMNS, NOT_RUN
from captionlake.models.running.folder import CheckpointFolder
from captionlake.models.training.curve import loss_figures
from captionlake.models.training.log_file import LOG, read_log

_FIGURES = "figures"
_OLDER = {f"{_FIGURES}/loss.png", f"{_FIGURES}/loss.svg"}
_OF_FOLDER = frozenset({"architecture", "sizes", "parts", "weights", "record", "hyper", "versions", "recipe"})
_TRIALS = frozenset({"tiny", "small"})  # sizes of tests and of drawn scenes
_RUN = ("stage", "release", "content_sha256", "steps", "trained_on")  # columns of a row of ``trained``
_SHOWN = 60  # characters of a value that differs
_LOADING = """\
{known}from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("PATH")
processor = AutoProcessor.from_pretrained("PATH")"""
_ASKING = """\
from captionlake.models.running import Chat

chat = Chat.load("PATH")
print(chat.ask({question}, image="photo.jpg"))"""


@dataclass(frozen=True, slots=True)
class Written:
    """A card on disk: how many facts it states, and its files."""

    folder: Path
    label: str
    facts: int
    files: list[Path]

    @property
    def readme(self) -> Path:
        """The card itself."""
        return self.folder / output.README


def write_model_card(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    results: Sequence[Path] = (),
    lake: Lake | None = None,
    license: str | None = None,
) -> Written:
    """Write the card of a checkpoint's folder into ``folder``, over an older one. The same facts give the same bytes.

    ``results``: files of ``captionlake eval``; without any, those in the checkpoint's folder, ``results*.json``. ``lake`` adds what it
    says of the release that was trained on, and of what lies behind that. ``license``: of the weights, the Hub's identifier or an
    address. Raises where results are of other weights, or the lake has another release under the same name.
    """
    folder = Path(folder).expanduser().absolute()
    for module in ("huggingface_hub", "jinja2", "matplotlib"):
        require(module, extra="cards")
    licence_of(license)
    found = CheckpointFolder.find(checkpoint)
    facts = collect(found, results=results, lake=lake, licence=license)
    figures = loss_figures(read_log(found.path / LOG), f"{found.name}: loss")
    content = {
        **{f"{_FIGURES}/{name}": drawn for name, drawn in figures.items()},
        FACTS_FILE: facts.to_json().encode(),
        output.README: readme(facts).encode(),
    }
    try:
        with output.staged(folder) as staging:
            output.write(staging, content)
            check_front_matter(staging / output.README, model_card_data(facts), "ModelCard")
            placed = output.place(staging, folder, _OLDER)
    except OSError as error:
        raise CaptionlakeError(
            f"the card cannot be written to {folder} ({error.strerror}): make room or choose another folder"
        ) from error
    return Written(folder, found.name, len(facts), placed)


@dataclass(frozen=True, slots=True)
class Check:
    """``facts`` were looked at, ``differences`` say otherwise; ``unchecked`` come from a file or a lake that is not here."""

    label: str
    facts: int
    differences: list[Difference]
    unchecked: list[str] = field(default_factory=list)
    readme_as_written: bool = False


def check_model_card(
    checkpoint: str | Path, folder: str | Path, *, results: Sequence[Path] = (), lake: Lake | None = None
) -> Check:
    """Look for every fact of the card in ``folder`` again, where it comes from, and compare."""
    folder = Path(folder).expanduser().absolute()
    found, written = CheckpointFolder.find(checkpoint), read_model_facts(folder)
    if written.checkpoint != found.name:
        raise CaptionlakeError(
            f"{folder} holds the card of {written.checkpoint}, not of {found.name}: name that, or its folder"
        )
    now = collect(found, results=results, lake=lake, licence=written.get("licence"))
    differences = [
        Difference(name, "is not in the file") for name in now.facts if name in _OF_FOLDER - written.facts.keys()
    ]
    unchecked = []
    for name, fact in written.facts.items():
        if name in now.facts:
            if now[name] != fact.value:
                differences.append(Difference(name, _difference(fact.value, now[name])))
        elif name in _OF_FOLDER or (lake is not None and "query" in fact.source):
            differences.append(Difference(name, "is written, and nothing says so any more"))
        else:
            unchecked.append(name)
    same = False
    if not differences:
        try:
            same = (folder / output.README).read_text(encoding="utf-8") == readme(written)
        except (OSError, UnicodeDecodeError) as error:
            raise CaptionlakeError(
                f"{folder / output.README} cannot be read ({error}): write the card again"
            ) from error
    return Check(found.name, len(written), differences, unchecked, same)


def readme(facts: ModelFacts) -> str:
    """The text of README.md."""
    head = model_card_data(facts).to_yaml(line_break="\n")
    return f"---\n{head}\n---\n\n{render('model_card.md.jinja', **_context(facts))}"


def _context(facts: ModelFacts) -> dict[str, Any]:
    record, captioner = facts.get("record"), facts["architecture"]["model_type"] == "share_captioner"
    evaluated = facts.named("evaluation")
    columns = [*COLUMNS, *(name for one in evaluated.values() for name in one["scores"] if name not in COLUMNS)]
    ours = {name: _score(value, one) for one in evaluated.values() for name, value in one["scores"].items()}
    paper = [[row["model"], *(_score(row.get(name), None) for name in columns)] for row in facts.get("paper") or ()]
    return {
        "facts": facts,
        "name": facts.checkpoint,
        "captioner": captioner,
        "record": record,
        "origins": [(one[0], _origin(one[1])) for one in _models(facts)],
        "random_size": _random_size(facts),
        "trials": _TRIALS,
        "licence": licence_of(facts.get("licence")),
        "base_models": base_models(facts),
        "evaluated": evaluated,
        "scores": [[facts.checkpoint, *(ours.get(name, NOT_RUN) for name in columns)], *paper],
        "columns": columns,
        "missing": [name for name in COLUMNS if ours.get(name, NOT_RUN) == NOT_RUN],
        "releases": facts.named("release"),
        "parts": [[one["part"], one["parameters"], one["tensors"], ", ".join(one["dtypes"])] for one in facts["parts"]],
        "sizes": [[code(one["key"]), _setting(one["value"])] for one in facts["sizes"]],
        "settings": [
            [code(f"{table}.{key}"), _setting(value)]
            for table, keys in (facts.get("hyper") or {}).items()
            if isinstance(keys, dict)
            for key, value in keys.items()
            if value is not None
        ],
        "rows_of": lambda name, *columns, **absent: [
            [absent.get(key) if row[key] is None else row[key] for key in columns] for row in facts[name]
        ],
        "runs": [
            [checkpoint, *(code(run[key]) if key == "content_sha256" else run[key] for key in _RUN)]
            for checkpoint, runs in facts.named("trained").items()
            for run in runs or [dict.fromkeys(_RUN)]
        ],
        "incomplete": [(benchmark, why) for benchmark, one in evaluated.items() for why in one["incomplete"]],
        "asked": [_asked(benchmark, one) for benchmark, one in evaluated.items()],
        "citation": _citation(facts),
        "loading": _LOADING.format(
            known="import captionlake.models.captioner  # makes the architecture known\n" if captioner else ""
        ),
        "asking": _ASKING.format(
            question=json.dumps((record or {}).get("question") or "What is this?", ensure_ascii=False)
        ),
        "fact": lambda name: Safe(f"<sub>facts.json#{markdown(name)}</sub>"),
    }


def _setting(value: Any) -> str:
    """Without separators of thousands: as it stands in the file."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _asked(benchmark: str, outcome: dict[str, Any]) -> list[Any]:
    counts, judge = outcome["counts"], outcome["judge"]
    unparsed = counts.get("unparsed_answers", counts.get("unparsed_judgements"))
    return [
        benchmark,
        counts.get("questions"),
        counts.get("asked"),
        unparsed,
        counts.get("missing_pictures"),
        judge.get("model") if judge else None,
        outcome["generation"].get("precision"),
        outcome["created_at"],
    ]


def _citation(facts: ModelFacts) -> str:
    name = re.sub(r"[^\w.-]+", "-", facts.checkpoint)
    record = facts.get("record")
    trained = f", trained on {record['release']} ({record['content_sha256']})" if record else ""
    return (
        f"@misc{{{name},\n  title = {{{_braceless(facts.checkpoint)}}},\n"
        f"  note = {{weights SHA-256 {facts['weights']['sha256']}{_braceless(trained)}}}\n}}"
    )


def _braceless(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")


def _score(value: float | None, outcome: dict[str, Any] | None) -> str:
    """As ``captionlake eval`` prints it: a star where it is not of the whole benchmark."""
    if value is None:
        return NOT_RUN
    return f"{value:.1f}{'*' if outcome and outcome['incomplete'] else ''}"


def _models(facts: ModelFacts) -> list[tuple[str, dict[str, Any]]]:
    """The [model] tables of the checkpoint and of those that it went on from, by name."""
    own = (facts.get("hyper") or {}).get("model")
    found = [(facts.checkpoint, own), *((name, one["model"]) for name, one in facts.named("start").items())]
    return [(name, model) for name, model in found if isinstance(model, dict)]


def _origin(model: dict[str, Any]) -> str:
    """Where weights began, in words."""
    if model.get("start"):
        return f"went on from the weights of {model['start']}"
    given = [f"{part} from {model[part]}" for part in ("vision", "projector", "language") if model.get(part)]
    if not given:
        return f"began with random weights of size {model.get('size')}"
    return f"began with its {', '.join(given)}; what is not named began at random"


def _random_size(facts: ModelFacts) -> str | None:
    """The size where all weights, as far back as is known, began at random."""
    models = _models(facts)
    last = models[-1][1] if models else {}
    return None if any(last.get(key) for key in ("start", "vision", "language")) else last.get("size")


def _difference(was: Any, now: Any, where: str = "") -> str:
    """The first place in which two values of JSON differ."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in {**was, **now}:
            if was.get(key) != now.get(key):
                return _difference(was.get(key), now.get(key), f"{where}.{key}".removeprefix("."))
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        number = next(n for n, (one, other) in enumerate(zip(was, now, strict=True)) if one != other)
        return _difference(was[number], now[number], f"{where}[{number}]")
    return f"{where or 'its value'} is {_shown(now)}, written is {_shown(was)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}…"
