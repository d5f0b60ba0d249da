"""SEED-Bench: ``SEED-Bench.json`` with a list ``questions``, and a folder of pictures named by ``data_id``.

Questions on videos have no picture file of their own; they are recorded so.
"""

from collections.abc import Iterator
from pathlib import Path

from captionlake.curation.benchmarks.benchmark import Benchmark, Item, bad_row, item_name, item_of
from captionlake.lake.benchmarks import PictureFiles, files_with
from captionlake.lake.reasons import FailureReason
from captionlake.lake.sources.json_items import json_items, text_of


def found(root: Path) -> Benchmark | None:
    """SEED-Bench, where a JSON file of the folder begins as its does."""
    paths = files_with(root, ".json", '"questions"', '"data_id"')
    if not paths:
        return None

    def items() -> Iterator[Item]:
        with PictureFiles(root) as pictures:
            for path in paths:
                for number, (_, question) in enumerate(json_items(path, "questions")):
                    yield _item(path, number, question, pictures)

    return Benchmark(name="seed-bench", form="SEED-Bench's JSON", files=tuple(paths), items=items)


def _item(path: Path, number: int, question: object, pictures: PictureFiles) -> Item:
    if not isinstance(question, dict):
        return bad_row(item_name(path.name, f"question {number}"), "no object")
    known = text_of(question.get("question_id"))
    name = item_name(path.name, f"question_id {known}" if known else f"question {number}")
    picture = text_of(question.get("data_id"))
    if picture is None:
        return bad_row(name, "no data_id")
    if question.get("data_type", "image") != "image":
        return Item(name=name, reason=FailureReason.NOT_AN_IMAGE, detail="a question on a video")
    return item_of(name, lambda: pictures.read(picture))
