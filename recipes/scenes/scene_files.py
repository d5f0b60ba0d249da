"""What the run's lake takes in: drawn scenes to learn from and others to be tried on, real photographs, and conversations."""

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path

from drawing import draw
from photographs import Photograph
from questions import conversation, questions, text_alone
from scenes import Scene, scenes

#: scenes to learn from, held-out scenes, conversations
LEARNED, HELD_OUT, CONVERSATIONS = 12_000, 500, 2_000
_SEED_LEARNED, _SEED_HELD_OUT = 0, 1


def lay_out(build: Path, photographs: Sequence[Photograph], learned: int = LEARNED) -> None:
    """Folders with ``metadata.csv``, a file of conversations, and the questions about the held-out scenes. Kept where they are there."""
    _draw(build / "scenes", learned_scenes(learned), _SEED_LEARNED)
    _draw(build / "held-out", held_out_scenes(), _SEED_HELD_OUT)
    _photographs(build / "photographs", photographs)
    _converse(build, min(CONVERSATIONS, learned))


def held_out_scenes() -> list[tuple[Scene, str]]:
    """Scenes that are not learned from, with true captions."""
    return list(scenes(HELD_OUT, _SEED_HELD_OUT))


def learned_scenes(n: int) -> list[tuple[Scene, str]]:
    """Scenes to learn from: none of them says what a held-out one says."""
    return list(scenes(n, _SEED_LEARNED, without={scene for scene, _ in held_out_scenes()}))


def key_of(number: int) -> str:
    """The file of a scene."""
    return f"{number:06d}.png"


def _draw(folder: Path, drawn: list[tuple[Scene, str]], seed: int) -> None:
    table = folder / "metadata.csv"
    if table.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"drawing {seed}")
    rows = []
    for number, (scene, caption) in enumerate(drawn):
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
    rows = [conversation(key_of(i), scene, rng) for i, (scene, _) in enumerate(learned_scenes(n))]
    (build / "conversations.json").write_text(json.dumps([*rows, *text_alone()], indent=0))
    rng = random.Random("questions")
    with (build / "questions.jsonl").open("w") as file:
        for number, (scene, _) in enumerate(held_out_scenes()):
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
