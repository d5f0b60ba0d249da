"""A model's answers to a benchmark's questions, each kept on the disk, so that a run that was killed goes on where it was."""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import MemberError
from captionlake.lake.durable import sync_folder
from captionlake.lake.pictures import PictureError, open_rgb
from captionlake.models.captions.key import canonical
from captionlake.models.evaluation.benchmark import Benchmark, Item

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked about a picture."""

    id: str
    text: str
    image: Image.Image


class Answers(Protocol):
    """Whatever answers questions, a batch at a time, each in at most ``max_tokens``."""

    batch_size: int

    def answer(self, questions: Sequence[Question], max_tokens: int) -> list[str]:
        """The answers, in order."""


class KeptLines:
    """A file of JSON lines by key: read whole, and appended to and fsynced. The end of a line that a kill tore off is cut off."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.found: dict[str, dict[str, Any]] = {}
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise CaptionlakeError(f"another process is writing {path}: wait for it, or give another output") from error
        whole = 0
        for raw in path.read_bytes().split(b"\n")[:-1]:
            whole += len(raw) + 1
            self._take(raw)
        os.ftruncate(self._file, whole)
        sync_folder(path.parent)

    def _take(self, raw: bytes) -> None:
        try:
            line = json.loads(raw)
            self.found[line["key"]] = line
        except (ValueError, TypeError, KeyError):
            log.warning("%s has a line that is none of captionlake's: it is left out", self._path)

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """On the disk when it returns."""
        view = memoryview(b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines))
        while view:
            view = view[os.write(self._file, view) :]
        os.fsync(self._file)
        self.found |= {line["key"]: line for line in lines}

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@contextmanager
def kept_lines(path: Path) -> Iterator[KeptLines]:
    """The file, closed after."""
    kept = KeptLines(path)
    try:
        yield kept
    finally:
        kept.close()


def answer_key(item: Item, how: Mapping[str, object]) -> str:
    """Of a question and ``how`` it is answered: the weights and the settings. Another checkpoint's answer is not taken for it."""
    return sha256(canonical([item.id, item.text, item.picture, how]).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Unseen:
    """An item whose picture is missing or does not decode, and why."""

    item: Item
    why: str


Seen = tuple[Item, str, Image.Image]  # with the picture's SHA-256


def batches(
    benchmark: Benchmark, items: Sequence[Item], batch_size: Callable[[], int]
) -> Iterator[tuple[list[Seen], list[Unseen]]]:
    """The items in batches of ``batch_size()`` with their pictures; the next batch is read and decoded while this one is answered."""
    rest = iter(items)

    def load() -> tuple[list[Seen], list[Unseen]] | None:
        seen: list[Seen] = []
        unseen: list[Unseen] = []
        taken = list(islice(rest, batch_size()))
        for item in taken:
            try:
                data = benchmark.pictures.read(item.picture)
                seen.append((item, sha256(data).hexdigest(), open_rgb(data)))
            except (MemberError, PictureError) as error:
                unseen.append(Unseen(item, f"{error.reason}: {error.detail}"))
        return (seen, unseen) if taken else None

    with ThreadPoolExecutor(1, thread_name_prefix="pictures") as thread:
        following = thread.submit(load)
        while (batch := following.result()) is not None:
            following = thread.submit(load)
            yield batch
