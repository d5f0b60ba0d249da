"""POPE: is there such an object in the picture? Half of those asked for are, and half are not.

Li et al., Evaluating Object Hallucination in Large Vision-Language Models (2023). A file a setting, ``coco_pope_random.json``,
``…popular.json``, ``…adversarial.json``: an object a line with ``question_id``, ``image``, ``text`` and ``label`` (yes or no).
"""

from collections.abc import Sequence
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.benchmarks import PictureFiles, files_with
from captionlake.models.evaluation.benchmark import (
    Answered,
    Benchmark,
    Item,
    Score,
    known,
    mean,
    of_one_name_each,
    share,
)
from captionlake.models.evaluation.extraction import yes_or_no
from captionlake.models.evaluation.files import folder, json_lines, text, with_pictures

SETTINGS = ("random", "popular", "adversarial")
SHORT = "\nAnswer the question using a single word or phrase."  # as LLaVA-1.5 is evaluated


def read(path: Path) -> Benchmark:
    """A folder with the three lists and the pictures."""
    root = folder(path, "coco_pope_random.json, …popular.json, …adversarial.json and the pictures")
    items, files = [], []
    for file in [*files_with(root, ".json", '"label"', '"image"'), *files_with(root, ".jsonl", '"label"', '"image"')]:
        setting = next((name for name in SETTINGS if name in file.stem.lower()), None)
        if setting is not None:
            files.append(file)
            items += _items(file, setting)
    if not items:
        raise CaptionlakeError(
            f"{root} has no coco_pope_random.json, …popular.json or …adversarial.json: give POPE's own lists"
        )
    found = of_one_name_each(items, root)
    lacking = [name for name in SETTINGS if not any(item.group == name for item in found)]
    incomplete = (f"settings that are not there: {', '.join(lacking)}",) if lacking else ()
    pictures = with_pictures(PictureFiles(root), found, root)
    return Benchmark(items=found, pictures=pictures, files=tuple(files), incomplete=incomplete)


def _items(file: Path, setting: str) -> list[Item]:
    items = []
    for line, row in json_lines(file):
        where = f"{file}, line {line},"
        label = text(row, "label", where).strip().lower()
        if label not in ("yes", "no"):
            raise CaptionlakeError(f"{where} has the label {label[:20]!r}, neither yes nor no: download it again")
        known_as = f"{setting}:{text(row, 'question_id', where)}"
        asked, picture = text(row, "text", where).strip(), text(row, "image", where)
        items.append(Item(id=known_as, text=asked + SHORT, picture=picture, answer=label, unit=known_as, group=setting))
    return items


def score(answers: Sequence[Answered], column: str = "POPE") -> Score:
    """Of each setting accuracy, precision, recall, F1 (of "yes") and the share of "yes" among the answers, in per cent, as POPE's own
    tool has them (AoiDragon/POPE, ``evaluate.py``); POPE is the mean of the settings' F1. An answer that says neither yes nor no is not
    right and not a "yes", and is counted; that tool takes everything without a "no" for a "yes"."""
    told: dict[str, list[tuple[str, str | None]]] = {}
    unparsed = []
    for answered in answers:
        said = yes_or_no(answered.text)
        told.setdefault(answered.item.group, []).append((answered.item.answer, said))
        if said is None:
            unparsed.append(answered.item.id)
    parts: dict[str, float | None] = {}
    for setting, pairs in told.items():
        parts |= {f"{setting} {name}": value for name, value in _measures(pairs).items()}
    ones = [value for setting in told if (value := parts[f"{setting} F1"]) is not None]
    return Score(columns={column: mean(ones)}, parts=known(parts), unparsed=tuple(unparsed))


def _measures(pairs: Sequence[tuple[str, str | None]]) -> dict[str, float | None]:
    """Of (label, what was said)."""
    said_yes = sum(said == "yes" for _, said in pairs)
    are_there = sum(label == "yes" for label, _ in pairs)
    true = sum(label == said == "yes" for label, said in pairs)
    return {
        "accuracy": share(sum(label == said for label, said in pairs), len(pairs)),
        "precision": share(true, said_yes),
        "recall": share(true, are_there),
        "F1": share(2 * true, said_yes + are_there),
        "yes": share(said_yes, len(pairs)),
    }
