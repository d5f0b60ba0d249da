"""Samples that cannot be used: others take their places, and each is noted in a file that the processes of all ranks may add to at once."""

import json
import logging
import os
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from captionlake.errors import CaptionlakeError
from captionlake.lake.pictures import PictureError
from captionlake.models.data.sample import Sample, UnreadableSample

log = logging.getLogger(__name__)

Place = TypeVar("Place")
Transform = Callable[[Sample], Any]
MOST_IN_A_ROW = 100  # samples that cannot be used: past it, something is wrong with the lake or the transform


@dataclass(frozen=True, slots=True)
class Skip:
    """A sample that was not used, by its position in the release, and why; ``substitute`` is the position of the one given in its place."""

    position: int
    key: str
    reason: str
    detail: str
    substitute: int


class SkipLog:
    """The skips of a run, a JSON object a line. Without a ``path``, in a temporary file that lives as long as this object."""

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            descriptor, name = tempfile.mkstemp(prefix="captionlake-skips-", suffix=".jsonl")
            os.close(descriptor)
            path = Path(name)
            weakref.finalize(self, path.unlink, missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def add(self, skip: Skip) -> None:
        """Append a line, in one write, so that the lines of several processes do not mix."""
        line = json.dumps(asdict(skip)) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def read(self) -> list[Skip]:
        """All of them, in the order in which they came. A sample met again in a later epoch or after a resume is there again."""
        if not self.path.is_file():
            return []
        with self.path.open(encoding="utf-8") as file:
            return [Skip(**json.loads(line)) for line in file]

    def counts(self) -> Counter[str]:
        """How many samples were not used, by reason; each is counted once."""
        return Counter({skip.position: skip.reason for skip in self.read()}.values())

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self.path}  # only the process that made a temporary file removes it

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.path = state["path"]


def first_usable(
    places: Iterable[Place], read: Callable[[Place], Sample], transform: Transform | None, skips: SkipLog
) -> Any:
    """What becomes of the sample at the first of ``places`` that can be read and transformed; those before it are noted.

    Raises where there is none, or where a hundred in a row are of no use.
    """
    failed: list[tuple[int, str, str, str]] = []
    for place in places:
        sample: Sample | None = None
        try:
            sample = read(place)
            used = sample if transform is None else transform(sample)
        except (UnreadableSample, PictureError) as error:
            told = error if sample is None and isinstance(error, UnreadableSample) else sample
            position, key = (told.position, told.key) if told else (-1, "")
            failed.append((position, key, str(error.reason), str(error)))
            if len(failed) == MOST_IN_A_ROW:
                break
            continue
        for position, key, reason, detail in failed:
            log.warning("sample %d (%s) is skipped: %s", position, key, detail)
            skips.add(Skip(position, key, reason, detail, sample.position))
        return used
    position, key, _, detail = failed[0]
    raise CaptionlakeError(
        f"{len(failed)} samples in a row cannot be used, the first is {key} at position {position} ({detail}): "
        "run  captionlake release verify  on the release"
    )
