"""LLaVA-1.5's mix and its detailed captions in their official form, at any scale, with the paper's shares of each part.

``llava_v1_5_mix665k.json`` has 665,298 rows; no row tells which set it comes from, but for the folder of its picture. Detailed captions
are rows on COCO's pictures whose (id, answer) ``detail_23k.json`` has too, there with a bare file name. The texts are made up.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

BASE = "llava_v1_5_mix665k.json"
DETAIL = "detail_23k.json"
# Rows by where their pictures lie. Of the paper's sets, LLaVA's (but for 23,240 detailed captions), VQAv2, OKVQA, A-OKVQA and RefCOCO
# are on COCO's pictures; together they are what is left of the total.
PARTS = {
    "detail": 23_240,
    "text": 40_688,
    "gqa/images": 72_140,
    "ocr_vqa/images": 80_000,
    "textvqa/train_images": 21_953,
    "vg/VG_100K": 43_209,
    "vg/VG_100K_2": 43_208,
    "coco/train2017": 340_860,
}
TOTAL = 665_298
QUESTIONS = ("Tell all that is to be seen here.", "What does the picture show, in detail?")
Row = dict[str, object]


def counts(scale: int) -> dict[str, int]:
    """Rows of each part at 1 : scale."""
    return {part: count // scale for part, count in PARTS.items()}


def rows(scale: int = 1, *, more: int = 1) -> Iterator[Row]:
    """The rows in an order that mixes the parts, the same each time; ``more``: further questions of two rows in three."""
    rng = random.Random(7)
    order = [part for part, count in counts(scale).items() for _ in range(count)]
    rng.shuffle(order)
    for number, part in enumerate(order):
        yield _row(number, part, rng, more)


def _row(number: int, part: str, rng: random.Random, more: int) -> Row:
    if part == "text":
        turns = [
            ("human", f"Question {number}, of words alone?"),
            ("gpt", _text(rng, 40)),
            ("human", "Go on."),
            ("gpt", _text(rng, 40)),
        ]
        return {"id": f"t{number}_0", "model": "", "conversations": _turns(turns)}
    if part == "detail":
        question = rng.choice(QUESTIONS)
        first = f"<image>\n{question}" if number % 2 else f"{question}\n<image>"
        key = f"{number:012d}"
        return {
            "id": key,
            "image": f"coco/train2017/{key}.jpg",
            "conversations": _turns([("human", first), ("gpt", _text(rng, 110))]),
        }
    turns = [("human", f"<image>\nWhat is number {number}?"), ("gpt", _text(rng, 3))]
    for _ in range(more if number % 3 else 0):
        turns += [("human", "And what else?\nAnswer the question using a single word or phrase."), ("gpt", "A dog.")]
    return {"id": f"{number:012d}", "image": f"{part}/{number:012d}.jpg", "conversations": _turns(turns)}


_WORDS = (
    *("a", "the", "cat", "dog", "on", "in", "table", "red", "blue", "with", "near"),
    *("of", "stands", "lies", "under", "old", "new", "house", "tree", "and", "its", "window"),
)


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words)).capitalize() + "."


def _turns(said: list[tuple[str, str]]) -> list[Row]:
    return [{"from": who, "value": text} for who, text in said]


def lay_out(folder: Path, scale: int, *, more: int = 1) -> dict[str, int]:
    """Write both files into ``folder``; returns the rows of each part."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / BASE).open("w") as base, (folder / DETAIL).open("w") as detail:
        for file in (base, detail):
            file.write("[")
        found = 0
        for number, row in enumerate(rows(scale, more=more)):
            base.write((", " if number else "") + json.dumps(row))
            if _is_detail(row):
                name = Path(str(row["image"])).name
                detail.write((", " if found else "") + json.dumps(row | {"image": name}))
                found += 1
        for file in (base, detail):
            file.write("]")
    return counts(scale)


def _is_detail(row: Row) -> bool:
    turns = row["conversations"]
    assert isinstance(turns, list)
    return any(question in turns[0]["value"] for question in QUESTIONS)
