"""LLaVA-Bench (In-the-Wild): ``questions.jsonl`` with ``question_id``, ``image`` and ``text``, and the folder ``images``.

LLaVA's lists of other benchmarks' questions have the same form.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from captionlake.curation.benchmarks.benchmark import Benchmark, Item, bad_row, item_name, item_of
from captionlake.lake.benchmarks import PictureFiles, files_with
from captionlake.lake.sources.json_items import text_of
from captionlake.lake.sources.tables import lines

_MARKS = ('"question_id"', '"image"', '"text"')


def found(root: Path) -> Benchmark | None:
    """LLaVA-Bench, where a file of JSON lines in the folder begins as its questions do."""
    paths = files_with(root, ".jsonl", *_MARKS)
    if not paths:
        return None

    def items() -> Iterator[Item]:
        with PictureFiles(root) as pictures:
            for path in paths:
                yield from _items(path, pictures)

    name, form = "llava-bench-in-the-wild", "LLaVA-Bench's questions"
    return Benchmark(name=name, form=form, files=tuple(paths), items=items)


def _items(path: Path, pictures: PictureFiles) -> Iterator[Item]:
    for frame in lines(path):
        for line, text, broken in frame.iter_rows():
            if text.strip():
                yield _item(path, line, text, broken, pictures)


def _item(path: Path, line: int, text: str, broken: bool, pictures: PictureFiles) -> Item:
    name = item_name(path.name, f"line {line}")
    if broken:
        return bad_row(name, "not UTF-8")
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return bad_row(name, f"not JSON ({error})")
    if not isinstance(row, dict):
        return bad_row(name, "no object")
    known, picture = text_of(row.get("question_id")), text_of(row.get("image"))
    name = item_name(path.name, f"question_id {known}") if known else name
    return item_of(name, lambda: pictures.read(picture)) if picture else bad_row(name, "no image")
