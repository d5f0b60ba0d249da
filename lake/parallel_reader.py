"""Many pictures read at once, each checked against its SHA-256: reading and hashing leave Python's lock to other threads."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from captionlake.errors import CaptionlakeError
from captionlake.lake.shards import Place, ShardReader
from captionlake.lake.storage import Storage

_TOGETHER = 32  # pictures that a thread takes at once


class ParallelReader:
    """Reads pictures by as many threads as there are cores, each with files of its own; use it in a ``with``."""

    def __init__(self, images: Storage, threads: int | None = None) -> None:
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

    def read(self, places: Sequence[Place]) -> tuple[npt.NDArray[np.uint8], list[CaptionlakeError | None]]:
        """The bytes of all pictures, one after the other in the order given, and what is wrong with each."""
        ends = list(accumulate(locator.n_bytes for _, locator in places))
        data = np.empty(ends[-1] if ends else 0, np.uint8)
        whole = memoryview(data)  # type: ignore[arg-type]
        targets = [whole[end - locator.n_bytes : end] for end, (_, locator) in zip(ends, places, strict=True)]
        return data, self._all(places, targets)

    def check(self, places: Sequence[Place]) -> list[CaptionlakeError | None]:
        """What is wrong with each picture; keeps no bytes."""
        return self._all(places, None)

    def _all(self, places: Sequence[Place], targets: Sequence[memoryview] | None) -> list[CaptionlakeError | None]:
        def several(start: int) -> list[CaptionlakeError | None]:
            end = start + _TOGETHER
            return self._several(places[start:end], None if targets is None else targets[start:end])

        found = self._pool.map(several, range(0, len(places), _TOGETHER))
        return [one for some in found for one in some]

    def _several(self, places: Sequence[Place], targets: Sequence[memoryview] | None) -> list[CaptionlakeError | None]:
        reader: ShardReader | None = getattr(self._own, "reader", None)
        if reader is None:
            reader = self._own.reader = ShardReader(self._images)
            self._own.room = bytearray()
            self._readers.append(reader)
        if targets is None:
            largest = max(locator.n_bytes for _, locator in places)
            if len(self._own.room) < largest:
                self._own.room = bytearray(largest)
            room = memoryview(self._own.room)
            targets = [room[: locator.n_bytes] for _, locator in places]
        return list(reader.read_several_into(places, targets))
