"""What a reader of a benchmark's files yields: items, each with its picture or with the reason why there is none."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from captionlake.lake.archives import MemberError
from captionlake.lake.reasons import FailureReason

_LONGEST = 300  # characters of an item's name


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item. It has ``data`` (a picture's bytes), or shows the picture of the item ``same_as``, or has a ``reason``."""

    name: str
    data: bytes | None = None
    same_as: str | None = None
    reason: FailureReason | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One benchmark. ``form`` says in words what its files were taken for; ``items()`` reads them anew."""

    name: str
    form: str
    files: tuple[Path, ...]
    items: Callable[[], Iterator[Item]]
    note: str | None = None


def item_name(file: str, item: object = "") -> str:
    """``FILE:ITEM`` as text that can be stored: no NUL, no half of a surrogate pair, at most 300 characters."""
    text = f"{file}:{item}" if item != "" else file
    text = text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def bad_row(name: str, detail: str) -> Item:
    """An item whose row says nothing that can be used."""
    return Item(name=name, reason=FailureReason.BAD_ROW, detail=detail)


def item_of(name: str, read: Callable[[], bytes]) -> Item:
    """An item with the bytes that ``read`` gives, or with the reason why it gives none."""
    try:
        return Item(name=name, data=read())
    except MemberError as error:
        return Item(name=name, reason=error.reason, detail=error.detail)
