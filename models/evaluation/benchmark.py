"""What a reader of a benchmark yields, what a scorer takes, and what it gives."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from captionlake.errors import CaptionlakeError


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question. ``text`` is what the model is asked, ``picture`` the name by which ``Pictures`` finds what it sees, ``answer`` the
    key. ``unit`` is what is right or wrong as a whole (MME's picture, MMBench's question in all its passes), ``group`` the subtask,
    category or setting. ``options`` are letters and their texts, ``tags`` MM-Vet's capabilities, ``question`` and ``context`` what a
    judge is told."""

    id: str
    text: str
    picture: str
    answer: str
    unit: str
    group: str = ""
    options: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    question: str = ""
    context: str = ""


class Pictures(Protocol):
    """The pictures of a benchmark, by name. For one thread at a time."""

    def read(self, picture: str) -> bytes:
        """Raises ``MemberError`` where there is none."""

    def close(self) -> None:
        """Close what is open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One benchmark's ``items``, their ``pictures``, the ``files`` that they were read from, and what of it is not there, in words."""

    items: tuple[Item, ...]
    pictures: Pictures
    files: tuple[Path, ...] = ()
    incomplete: tuple[str, ...] = ()

    def units(self) -> Iterator[list[Item]]:
        """The items that belong together, in order."""
        found: dict[str, list[Item]] = {}
        for item in self.items:
            found.setdefault(item.unit, []).append(item)
        yield from found.values()


@dataclass(frozen=True, slots=True)
class Answered:
    """An item with what the model said and, where it was judged, the judge's reply."""

    item: Item
    text: str
    judgement: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """``columns`` are what stands in tables, None where nothing was counted; ``parts`` what they are made of.

    ``unparsed`` names the items whose answer (or, of a judged benchmark, whose judgement) could not be read. ``incomplete`` says in
    words why the score is not that of the whole benchmark.
    """

    columns: dict[str, float | None]
    parts: dict[str, float] = field(default_factory=dict)
    unparsed: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgePrompt:
    """What the judge is asked of an answer; ``parse`` gives the scores in its reply, None where it has none."""

    sha256: str
    messages: Callable[[Item, str], list[dict[str, str]]]
    parse: Callable[[str], tuple[float, ...] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A benchmark that is known: how it is read and scored, and how long an answer may be. A judged one has ``judge``."""

    name: str
    max_tokens: int
    read: Callable[[Path], Benchmark]
    score: Callable[[Sequence[Answered]], Score]
    judge: Callable[[], JudgePrompt] | None = None


def judged(
    answers: Sequence[Answered], parse: Callable[[str], tuple[float, ...] | None]
) -> tuple[list[tuple[Item, tuple[float, ...]]], tuple[str, ...]]:
    """What each judgement says, as ``parse`` reads it, and the names of the items whose judgement it cannot read."""
    read = [(one.item, parse(one.judgement)) for one in answers if one.judgement is not None]
    return [(item, found) for item, found in read if found is not None], tuple(
        item.id for item, found in read if found is None
    )


def mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return sum(values) / len(values) if values else None


def share(part: int, whole: int) -> float | None:
    """In per cent, None of nothing."""
    return 100 * part / whole if whole else None


def known(values: dict[str, float | None]) -> dict[str, float]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def of_one_name_each(items: list[Item], path: Path) -> tuple[Item, ...]:
    """The items. Raises where there are none, or two share a name."""
    if not items:
        raise CaptionlakeError(
            f"{path} holds no questions: give the benchmark's files as they are published (docs/evaluation.md)"
        )
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise CaptionlakeError(f"{path} has two questions under the name {item.id}: download its files again")
        seen.add(item.id)
    return tuple(items)
