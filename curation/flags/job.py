"""What a process of a ``Crew`` does with rows: plain values in, plain values out, as both go through a pipe as JSON."""

from collections.abc import Callable
from typing import Any

from captionlake.curation.flags.checking import check
from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.disagreement import compare_objects
from captionlake.curation.flags.flag import Caption, Flag
from captionlake.curation.flags.ocr import text_recall

Row = dict[str, Any]
Job = Callable[[list[Row]], list[Any]]
_LISTS = ("objects", "references", "ocr")
_FIELDS = ("text", "kind", "collection", "finish_reason", "prompt", *_LISTS)


def caption_of(row: Row) -> Caption:
    """A caption from a row of ``pending_flags.sql`` or the like; columns that are not there have their defaults."""
    given = {name: row[name] for name in _FIELDS if name in row}
    for name in _LISTS:
        if given.get(name) is not None:
            given[name] = tuple(given[name])
    return Caption(**given)


def checks(settings: dict[str, Any]) -> Job:
    """Of each row, [flag, detail] of what is found among its ``missing`` flags."""
    config = FlagConfig(**settings)

    def run(rows: list[Row]) -> list[Any]:
        return [[[str(found.flag), found.detail] for found in _check(row, config)] for row in rows]

    return run


def _check(row: Row, config: FlagConfig) -> list[Any]:
    return check(caption_of(row), config, {Flag(name) for name in row["missing"]})


def objects(_settings: dict[str, Any]) -> Job:
    """Of each row, how many classes are annotated, named, mentioned and hallucinated, and how many strings read and said."""

    def run(rows: list[Row]) -> list[Any]:
        return [_counts(caption_of(row)) for row in rows]

    return run


def _counts(caption: Caption) -> list[int]:
    found = compare_objects(caption)
    counts = [len(part) for part in (found.annotated, found.named, found.mentioned, found.hallucinated)]
    return [*counts, *text_recall(caption.text, caption.ocr or ())]


JOBS: dict[str, Callable[[dict[str, Any]], Job]] = {"checks": checks, "objects": objects}
