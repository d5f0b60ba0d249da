"""Scenes of coloured shapes, in data and in words: what is drawn, what a true caption says of it, and what a caption claims.

A scene has one or two groups. A group is one to three shapes of one kind and one colour, in one of five places. Its caption says
all of it, group by group in reading order, so what a caption claims can be compared with what was drawn, attribute by attribute.
"""

import random
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
SHAPES = ("circle", "square", "triangle", "star", "cross")
PLACES = ("upper left", "upper right", "centre", "lower left", "lower right")  # in reading order
NUMBERS = ("one", "two", "three")
BACKGROUNDS = ("white", "grey", "black")

_PLURALS = {"cross": "crosses"}
_OPENINGS = ("The picture shows", "This picture shows", "There is", "We see")
_GROUP = re.compile(
    rf"\b(?P<number>{'|'.join(NUMBERS)}) (?P<colour>{'|'.join(COLOURS)}) (?P<shape>{'|'.join(SHAPES)})(?:e?s)? "
    rf"(?:in|at) the (?P<place>{'|'.join(PLACES)})\b"
)


@dataclass(frozen=True, slots=True)
class Group:
    """Some shapes of one kind."""

    number: str
    colour: str
    shape: str
    place: str

    def __str__(self) -> str:
        shape = self.shape if self.number == "one" else _PLURALS.get(self.shape, f"{self.shape}s")
        where = "at the centre" if self.place == "centre" else f"in the {self.place}"
        return f"{self.number} {self.colour} {shape} {where}"


ATTRIBUTES = tuple(field.name for field in fields(Group))
VALUES = {"number": NUMBERS, "colour": COLOURS, "shape": SHAPES, "place": PLACES}


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn. ``groups`` are in the order of ``PLACES``."""

    background: str
    groups: tuple[Group, ...]

    def caption(self, rng: random.Random) -> str:
        """A true caption; ``rng`` chooses the words around what is said."""
        opening = rng.choice(_OPENINGS)
        said = " and ".join(str(group) for group in self.groups)
        if opening == "There is" and self.groups[0].number != "one":
            opening = "There are"
        return f"{opening} {said}, on a {self.background} background."


def random_scene(rng: random.Random) -> Scene:
    """One group anywhere, or two in two corners and of two colours."""
    n = rng.choice((1, 2))
    corners = [place for place in PLACES if place != "centre"]
    places = [rng.choice(PLACES)] if n == 1 else sorted(rng.sample(corners, 2), key=PLACES.index)
    colours = rng.sample(COLOURS, n)
    groups = (
        Group(rng.choice(NUMBERS), colour, rng.choice(SHAPES), place)
        for place, colour in zip(places, colours, strict=True)
    )
    return Scene(rng.choice(BACKGROUNDS), tuple(groups))


def scenes(n: int, seed: int, without: Collection[Scene] = ()) -> Iterator[tuple[Scene, str]]:
    """``n`` scenes with their captions, the same for the same seed; none of ``without``."""
    rng = random.Random(seed)
    while n:
        scene = random_scene(rng)
        if scene not in without:
            yield scene, scene.caption(rng)
            n -= 1


def claimed(caption: str) -> tuple[Group, ...]:
    """The groups that a caption speaks of, in its order; none where it says nothing of that form."""
    return tuple(Group(**found.groupdict()) for found in _GROUP.finditer(caption))
