"""One example to train on: pictures as they are stored, and what is said of them."""

from dataclasses import dataclass, field
from typing import Any

from captionlake.errors import CaptionlakeError

Turn = tuple[str, str]  # ("human" | "gpt", text); the text may hold IMAGE
IMAGE = "<image>"


@dataclass(frozen=True, slots=True)
class Sample:
    """``images`` are the bytes as stored, one for each ``<image>`` in ``turns``; none for text alone.

    Of a release of images, ``turns`` are ``("human", "<image>")`` and ``("gpt", caption)``, and ``key`` is ``source/source_key``. Of
    conversations, each ``<image>`` stands at the front of its turn, and ``key`` is the row's own id, or its position where it has none.
    """

    position: int  # in the release
    key: str
    images: tuple[bytes, ...] = field(repr=False)
    turns: tuple[Turn, ...]


class UnreadableSample(CaptionlakeError):
    """A sample that cannot be used; a transform may raise it too. ``reason`` is one of a few words, so that they can be counted.

    ``position`` and ``key`` are those of the sample, where whoever raises it knows no more than them.
    """

    def __init__(self, message: str, reason: str = "unreadable", position: int = -1, key: str = "") -> None:
        self.reason, self.position, self.key = reason, position, key
        super().__init__(message)


def caption_turns(caption: str) -> tuple[Turn, ...]:
    """A caption as question and answer; the question is left to the training's template."""
    return ("human", IMAGE), ("gpt", caption)


def record_key(record: dict[str, Any], position: int) -> str:
    """The own id of a row of LLaVA's form."""
    return str(position if record.get("id") is None else record["id"])


def record_turns(record: dict[str, Any], images: int) -> tuple[Turn, ...]:
    """The turns of a row of LLaVA's form with so many pictures, as LLaVA prepares them: ``<image>`` and a line feed before the text.

    >>> record_turns({"conversations": [{"from": "human", "value": "What is it?\\n<image>"}]}, 1)
    (('human', '<image>\\nWhat is it?'),)
    """
    turns = tuple((turn["from"], _marks_first(turn["value"])) for turn in record["conversations"])
    marks = sum(text.count(IMAGE) for _, text in turns)
    if marks != images:
        raise UnreadableSample(f"it has {images} pictures and says {IMAGE} {marks} times", "marks")
    return turns


def _marks_first(text: str) -> str:
    marks = text.count(IMAGE)
    return f"{IMAGE}\n" * marks + text.replace(IMAGE, "").strip() if marks else text
