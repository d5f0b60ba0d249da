"""Many pictures read at once, each checked against its SHA-256: reading and hashing leave Python's lock to other threads."""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from captionlake.errors import CaptionlakeError
from captionlake.lake.shards import Locator, ShardReader

_TOGETHER = 32  # pictures that a thread takes at once

Place = tuple[str, Locator]  # a picture's id, and where it lies


class ParallelReader:
    """Reads pictures by as many threads as there are cores, each with files of its own; use it in a ``with``."""

    def __init__(self, images: Path, threads: int | None = None) -> None:
        self._images = images
        self._own = threading.local()
        self._readers: list[ShardReader] = []
        self._pool = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), "pictures")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        for reader in self._readers:
            reader.close()

    def read(self, places: Sequence[Place]) -> list[bytes | CaptionlakeError]:
        """The bytes of each picture in the order given, or what is wrong with it."""
        found = self._pool.map(self._several, _parts(places))
        return [one for several in found for one in several]

    def check(self, places: Sequence[Place]) -> list[CaptionlakeError | None]:
        """What is wrong with each picture; keeps no bytes."""
        found = self._pool.map(lambda some: [_problem(one) for one in self._several(some)], _parts(places))
        return [one for several in found for one in several]

    def _several(self, places: Sequence[Place]) -> list[bytes | CaptionlakeError]:
        reader: ShardReader | None = getattr(self._own, "reader", None)
        if reader is None:
            reader = self._own.reader = ShardReader(self._images)
            self._readers.append(reader)
        return [_read(reader, image_id, locator) for image_id, locator in places]


def _parts(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    return (places[start : start + _TOGETHER] for start in range(0, len(places), _TOGETHER))


def _read(reader: ShardReader, image_id: str, locator: Locator) -> bytes | CaptionlakeError:
    try:
        return reader.read(image_id, locator)
    except CaptionlakeError as error:
        return error


def _problem(found: bytes | CaptionlakeError) -> CaptionlakeError | None:
    return found if isinstance(found, CaptionlakeError) else None
