"""An exported release as an iterable data set of torch that reads its files from front to back."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from captionlake.models.data.exported_rows import open_exported, read_group, sample_of
from captionlake.models.data.order import Order, Part
from captionlake.models.data.permutation import Permutation
from captionlake.models.data.sample import Sample
from captionlake.models.data.skips import SkipLog, Transform, first_usable
from captionlake.models.data.stream import Stream

_Row = tuple[pa.Table, int]


class ExportedStream(Stream):
    """The samples of a folder that ``captionlake release export NAME@VERSION FOLDER --own-use`` made, the same as :class:`ReleaseStream`'s.

    Row groups come in an order of the epoch's, and ``window`` samples of them are mixed at a time: less of a shuffle than
    :class:`ReleaseStream`'s, for disks on which reading here and there is slow. Each rank reads a run of samples of its own, and of it each
    worker one. What cannot be used is replaced by another sample of its window. Memory: the pictures of a window in each worker.
    """

    def __init__(
        self,
        folder: str | Path,
        transform: Transform | None = None,
        order: Order | None = None,
        *,
        split: str = "train",
        window: int = 1000,
        skips: SkipLog | None = None,
    ) -> None:
        super().__init__(transform, order, skips)
        self._exported = open_exported(Path(folder).expanduser().absolute(), split)
        self._window = window
        self.label, self.content_sha256 = self._exported.label, self._exported.content_sha256
        self.left_out = self._exported.left_out

    @property
    def samples(self) -> int:
        return sum(len(group.rows) for group in self._exported.groups)

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {"window": self._window}

    def _from(self, epoch: int, part: Part, taken: int) -> Iterator[Any]:
        assert self.order.rank is not None
        before = sum(len(Part(part.count, worker, part.workers, part.batch_size)) for worker in range(part.worker))
        begin = self.order.rank * part.count + before  # among the samples of the epoch
        read = _Reader(self, epoch)
        for start in range(taken - taken % self._window, len(part), self._window):
            size = min(self._window, len(part) - start)
            rows = read.rows(begin + start, begin + start + size)
            order = np.arange(size)
            if self.order.shuffle:
                order = Permutation(size, self.order.seed, epoch, begin + start)(order)
            for place in range(max(taken - start, 0), size):
                candidates = (rows[order[(place + step) % size]] for step in range(size))
                yield first_usable(candidates, self._sample, self.transform, self.skips)

    def _sample(self, row: _Row) -> Sample:
        return sample_of(*row, self._exported)


class _Reader:
    """The samples of an epoch by their places, before windows are mixed; the last row group is kept, as the next rows are often of it."""

    def __init__(self, stream: ExportedStream, epoch: int) -> None:
        self._exported, order = stream._exported, stream.order
        groups = np.arange(len(self._exported.groups))
        groups = Permutation(len(groups), order.seed, epoch)(groups) if order.shuffle else groups
        self._groups = [self._exported.groups[number] for number in groups]
        self._ends = np.cumsum([len(group.rows) for group in self._groups])
        self._last: tuple[int, pa.Table] | None = None

    def rows(self, start: int, stop: int) -> list[_Row]:
        """Those at the places ``start`` to ``stop - 1``; after the last comes the first."""
        places = np.arange(start, stop) % self._ends[-1]
        numbers = np.searchsorted(self._ends, places, side="right")
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(numbers)]
        found: list[_Row] = []
        for first, after in pairwise(cuts):
            number = int(numbers[first])
            group = self._groups[number]
            table = self._table(number)
            within = places[first:after] - (self._ends[number] - len(group.rows))
            found += [(table, row) for row in group.rows[within].tolist()]
        return found

    def _table(self, number: int) -> pa.Table:
        if self._last is None or self._last[0] != number:
            self._last = number, read_group(self._groups[number], self._exported.kind)
        return self._last[1]
