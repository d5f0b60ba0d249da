"""Which of COCO's 80 classes a text names.

The longest name wins: "hot dog" is no dog, "toilet paper" no toilet. What is denied ("no cars") is not named. A word that often means
something else, and a likeness ("a statue of a bear"), can name an object that is there, and never one that is not.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from captionlake.curation.flags.flag import Span

_TOKEN = re.compile(r"[a-z0-9]+(?:['’][a-z]+)?|[.!?;:\n]+")
_DENIED = frozenset(
    ["no", "without", "not", "nor", "neither", "never", "isn't", "aren't", "lacks", "lacking", "devoid", "absence"]
)
_DENIED_NEAR = 3  # words before, but for links between what is denied together
_LINKS = frozenset(["any", "or", "other", "a", "an"])
_LIKENESS_BEFORE = frozenset(
    ["like", "resembling", "resembles", "resemble", "statue", "statues", "sculpture", "sculptures"]
)
_LIKENESS_BEFORE |= frozenset(
    ["figurine", "figurines", "drawing", "drawings", "cartoon", "toy", "logo", "illustration", "emblem", "mural"]
)
_LIKENESS_AFTER = frozenset(
    ["statue", "statues", "sculpture", "sculptures", "figurine", "figurines", "sticker", "logo", "print", "prints"]
)
_LIKENESS_AFTER |= frozenset(
    ["pattern", "patterns", "shaped", "themed", "costume", "design", "motif", "like", "emblem", "mascot", "shape"]
)
_IRREGULAR = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "knife": "knives",
    "mouse": "mice",
    "goose": "geese",
    "ox": "oxen",
}
_IRREGULAR |= {"calf": "calves", "leaf": "leaves", "shelf": "shelves", "policeman": "policemen", "fireman": "firemen"}
_STILL = frozenset(["s", "x", "z"])


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in a text: the classes that it may mean, whether it surely means one of them, and its tokens."""

    classes: tuple[str, ...]
    sure: bool
    first: int  # the place of its first token, of those in ``token_spans``
    n: int  # tokens


def token_spans(text: str) -> list[Span]:
    """Where each token of a text stands."""
    return [found.span() for found in _TOKEN.finditer(_lower(text))]


def _lower(text: str) -> str:
    return text.lower().replace("’", "'")


def mentions(text: str) -> list[Mention]:
    """All names of the 80 classes, in order, denied ones left out."""
    return list(_mentions(text))


def _mentions(text: str) -> Iterator[Mention]:
    names = _names()
    plain = _TOKEN.findall(_lower(text))
    if "'" in text or "’" in text:
        plain = [word.removesuffix("'s") for word in plain]
    at = 0
    while at < len(plain):
        entry = None
        for phrase, classes, sure in names.get(plain[at], ()):
            if plain[at : at + len(phrase)] == phrase:
                entry = (len(phrase), classes, sure)
                break
        if entry is None:
            at += 1
            continue
        n, classes, sure = entry
        if classes and not _denied(plain, at):
            yield Mention(classes, sure and not _alike(plain, at, n), at, n)
        at += n


def _denied(plain: list[str], at: int) -> bool:
    passed = 0
    for before in range(at - 1, -1, -1):
        word = plain[before]
        if passed >= _DENIED_NEAR or not word[0].isalnum():
            return False
        passed += word not in _LINKS
        if word in _DENIED:
            return not (word == "not" and plain[before + 1] in ("only", "just"))
    return False


def _alike(plain: list[str], at: int, n: int) -> bool:
    if at + n < len(plain) and plain[at + n] in _LIKENESS_AFTER:
        return True
    return any(word in _LIKENESS_BEFORE for word in plain[max(0, at - 3) : at])


Name = tuple[list[str], tuple[str, ...], bool]  # the words, the classes (none: something else), whether surely


@cache
def _names() -> dict[str, list[Name]]:
    """By first word, the longest first."""
    document = json.loads(files("captionlake.curation.flags").joinpath("coco_objects.json").read_text())
    found: dict[tuple[str, ...], tuple[dict[str, None], bool]] = {}
    for other in document["other"]:
        for phrase in _forms(other):
            found[phrase] = ({}, False)
    for name, kinds in document["classes"].items():
        for sure, kind in ((True, "words"), (False, "unsure")):
            for phrase in (phrase for text in kinds[kind] for phrase in _forms(text)):
                classes, before = found.get(phrase, ({}, False))
                found[phrase] = (classes | {name: None}, before or sure)
    names: dict[str, list[Name]] = {}
    for phrase, (classes, sure) in found.items():
        names.setdefault(phrase[0], []).append((list(phrase), tuple(classes), sure))
    for entries in names.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return names


def _forms(text: str) -> Iterable[tuple[str, ...]]:
    """A phrase and its plural; also as one word where it has two ("foot ball"), as people write both."""
    *first, last = text.split()
    plural = _IRREGULAR.get(last) or _plural(last)
    forms = {(*first, last), (*first, plural)}
    if len(first) == 1 and len(first[0]) > 2 and len(last) > 2:
        forms |= {(first[0] + last,), (first[0] + plural,)}
    return forms


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word[-1] in _STILL or word.endswith(("ch", "sh")) else f"{word}s"
