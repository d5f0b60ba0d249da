"""SEED-Bench: one of four options.

Li et al., SEED-Bench: Benchmarking Multimodal LLMs with Generative Comprehension (2023). ``SEED-Bench.json`` has a list
``questions`` with ``question_id``, ``question``, ``choice_a`` to ``choice_d``, ``answer``, ``data_type``, ``data_id`` and
``question_type_id``; pictures are named by ``data_id``. A question on a video is asked where a frame of it lies there, named by
its ``question_id``, or by ``question_type_id`` and ``question_id`` as LLaVA's script names it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captionlake.lake.benchmarks import PictureFiles, files_with
from captionlake.lake.sources.json_items import json_items
from captionlake.models.evaluation.benchmark import Answered, Benchmark, Item, Score, known, of_one_name_each, share
from captionlake.models.evaluation.extraction import letter
from captionlake.models.evaluation.files import field, folder, only, text, with_pictures

COLUMNS = ("SEED-I", "SEED")
_LETTERS = ("A", "B", "C", "D")
_ASK = "Answer with the option's letter from the given choices directly."  # as LLaVA-1.5 is evaluated
_TYPES = {
    "1": "Scene Understanding",
    "2": "Instance Identity",
    "3": "Instance Attributes",
    "4": "Instance Location",
    "5": "Instance Counting",
    "6": "Spatial Relation",
    "7": "Instance Interaction",
    "8": "Visual Reasoning",
    "9": "Text Understanding",
    "10": "Action Recognition",
    "11": "Action Prediction",
    "12": "Procedure Understanding",
}


def read(path: Path) -> Benchmark:
    """A folder with ``SEED-Bench.json`` and the pictures."""
    root = folder(path, "SEED-Bench.json and its pictures")
    questions = only(files_with(root, ".json", '"questions"', '"data_id"'), root, "SEED-Bench.json")
    pictures = PictureFiles(root)
    items = []
    for number, (_, row) in enumerate(json_items(questions, "questions")):
        item = _item(row, f"{questions}, question {number + 1},", pictures)
        if item.picture:
            items.append(item)
    found = of_one_name_each(items, questions)
    return Benchmark(items=found, pictures=with_pictures(pictures, found, root), files=(questions,))


def _item(row: Any, where: str, pictures: PictureFiles) -> Item:
    """A question on a video without a frame has no picture."""
    row = row if isinstance(row, dict) else {}
    video = row.get("data_type", "image") != "image"
    question, known_as = text(row, "question", where), text(row, "question_id", where)
    options = tuple((name, text(row, f"choice_{name.lower()}", where)) for name in _LETTERS)
    answer = field(row, "answer", str, where).strip().upper()
    kind = str(row.get("question_type_id", ""))
    frames = [name for name in (known_as, f"{kind}_{known_as}") if video and pictures.find(name) is not None]
    return Item(
        id=known_as,
        text="\n".join([question, *(f"{name}. {choice}" for name, choice in options), _ASK]),
        picture="".join(frames[:1]) if video else text(row, "data_id", where),
        answer=answer,
        unit=known_as,
        group=_TYPES.get(kind, kind),
        options=options,
        tags=("video",) if video else ("image",),
    )


def score(answers: Sequence[Answered]) -> Score:
    """Per cent of the questions whose letter is right: SEED-I over those on pictures, SEED over these and those on videos, None without
    them. The letter must be the answer or begin it; an answer without one is wrong, and counted."""
    right: dict[str, list[bool]] = {}
    images: list[bool] = []
    unparsed = []
    for answered in answers:
        item, said = answered.item, letter(answered.text, answered.item.options)
        right.setdefault(item.group, []).append(said == item.answer)
        if "image" in item.tags:
            images.append(said == item.answer)
        if said is None:
            unparsed.append(item.id)
    whole = [one for group in right.values() for one in group]
    both = share(sum(whole), len(whole)) if len(whole) > len(images) else None
    parts = {name: share(sum(found), len(found)) for name, found in sorted(right.items())}
    columns = {"SEED-I": share(sum(images), len(images)), "SEED": both}
    return Score(columns=columns, parts=known(parts), unparsed=tuple(unparsed))
