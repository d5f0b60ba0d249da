"""What the run's lake takes in: drawn scenes to learn from and others to be tried on, real photographs, and conversations."""

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path

from drawing import draw
from photographs import Photograph
from questions import conversation, questions, text_alone
from scenes import scenes

#: scenes to learn from, held-out scenes, conversations; seeds of their own, so that no held-out scene is a drawing learned from
LEARNED, HELD_OUT, CONVERSATIONS = 12_000, 500, 2_000
_SEED_LEARNED, _SEED_HELD_OUT = 0, 1


def lay_out(build: Path, photographs: Sequence[Photograph], learned: int = LEARNED) -> None:
    """Folders with ``metadata.csv``, a file of conversations, and the questions about the held-out scenes. Kept where they are there."""
    _draw(build / "scenes", learned, _SEED_LEARNED)
    _draw(build / "held-out", HELD_OUT, _SEED_HELD_OUT)
    _photographs(build / "photographs", photographs)
    _converse(build, min(CONVERSATIONS, learned))


def key_of(number: int) -> str:
    """The file of a scene."""
    return f"{number:06d}.png"


def _draw(folder: Path, n: int, seed: int) -> None:
    table = folder / "metadata.csv"
    if table.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"drawing {seed}")
    rows = []
    for number, (scene, caption) in enumerate(scenes(n, seed)):
        draw(scene, rng).save(folder / key_of(number))
        rows.append([key_of(number), caption])
    _write_table(table, rows)


def _photographs(folder: Path, photographs: Sequence[Photograph]) -> None:
    table = folder / "metadata.csv"
    if table.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for picture in photographs:
        name = picture.key.replace("/", "-")
        (folder / name).write_bytes(picture.data)
        rows.append([name, " ".join(picture.captions)])
    _write_table(table, rows)


def _converse(build: Path, n: int) -> None:
    rng = random.Random("conversations")
    rows = [conversation(key_of(i), scene, rng) for i, (scene, _) in enumerate(scenes(n, _SEED_LEARNED))]
    (build / "conversations.json").write_text(json.dumps([*rows, *text_alone()], indent=0))
    rng = random.Random("questions")
    with (build / "questions.jsonl").open("w") as file:
        for number, (scene, _) in enumerate(scenes(HELD_OUT, _SEED_HELD_OUT)):
            kind, question, answer = rng.choice(questions(scene, rng))
            line = {"key": key_of(number), "kind": kind, "question": question, "answer": answer}
            file.write(json.dumps(line) + "\n")


def _write_table(path: Path, rows: list[list[str]]) -> None:
    staged = path.with_suffix(".part")
    with staged.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "caption"])
        writer.writerows(rows)
    staged.rename(path)
