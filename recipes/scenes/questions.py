"""Questions about a scene with their true answers, and conversations of them in LLaVA's form."""

import random
from collections.abc import Iterator
from typing import Any

from scenes import COLOURS, NUMBERS, PLACES, SHAPES, Scene

Question = tuple[str, str, str]  # what it asks for, the question, the answer

_TEXT_ALONE = (
    ("How many corners does a triangle have?", "Three."),
    ("How many sides does a square have?", "Four."),
    ("Which colour do you get from red and yellow?", "Orange."),
    ("Name a shape without corners.", "A circle."),
)


def questions(scene: Scene, rng: random.Random) -> list[Question]:
    """One of each kind about one of the scene's groups, and whether something is in the picture, which is so half of the time."""
    group = rng.choice(scene.groups)
    where = "at the centre" if group.place == "centre" else f"in the {group.place}"
    there = rng.random() < 0.5
    claim = f"{group.colour} {group.shape}" if there else _other(scene, rng)
    return [
        ("number", f"How many shapes are {where}?", f"{group.number.capitalize()}."),
        ("colour", f"What colour is the shape {where}?", f"{group.colour.capitalize()}."),
        ("shape", f"What kind of shape is {where}?", f"A {group.shape}."),
        ("place", f"Where is something {group.colour}?", f"{_capital(where)}."),
        ("presence", f"Is there a {claim} in the picture?", "Yes." if there else "No."),
    ]


def conversation(key: str, scene: Scene, rng: random.Random) -> dict[str, Any]:
    """A row of LLaVA's JSON about the picture ``scenes/KEY``: three questions in a random order."""
    turns = []
    for _, question, answer in rng.sample(questions(scene, rng), 3):
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    turns[0]["value"] = f"<image>\n{turns[0]['value']}"
    return {"id": key.partition(".")[0], "image": f"scenes/{key}", "conversations": turns}


def text_alone() -> Iterator[dict[str, Any]]:
    """Rows without a picture."""
    for n, (question, answer) in enumerate(_TEXT_ALONE):
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        yield {"id": f"text-{n}", "conversations": turns}


#: what an answer can be, by what is asked for: a guess is right once in so many
CHOICES = {"number": len(NUMBERS), "colour": len(COLOURS), "shape": len(SHAPES), "place": len(PLACES), "presence": 2}


def _other(scene: Scene, rng: random.Random) -> str:
    """A colour and a shape that no group of the scene has together."""
    there = {(group.colour, group.shape) for group in scene.groups}
    colour, shape = rng.choice([(c, s) for c in COLOURS for s in SHAPES if (c, s) not in there])
    return f"{colour} {shape}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
