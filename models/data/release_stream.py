"""A release as an iterable data set of torch, in an order that is known ahead and can be left and gone on with anywhere."""

from collections.abc import Iterator
from typing import Any

from captionlake.models.data.order import Order, Part
from captionlake.models.data.permutation import Permutation
from captionlake.models.data.release_data import ReleaseData
from captionlake.models.data.release_dataset import ReleaseDataset
from captionlake.models.data.skips import SkipLog, Transform
from captionlake.models.data.stream import Stream

_AT_ONCE = 4096  # places whose samples are looked up together


class ReleaseStream(Stream):
    """The samples of a release, each once an epoch but for those that ``order`` drops or pads, ``transform``-ed.

    What cannot be used is replaced as by :class:`ReleaseDataset`. Nothing is held in memory but what a batch needs.
    """

    def __init__(
        self,
        data: ReleaseData,
        transform: Transform | None = None,
        order: Order | None = None,
        *,
        skips: SkipLog | None = None,
    ) -> None:
        super().__init__(transform, order, skips)
        self.data = data
        self.content_sha256 = data.content_sha256
        self._samples = ReleaseDataset(data, transform, self.skips)

    @property
    def samples(self) -> int:
        return len(self.data)

    def _from(self, epoch: int, part: Part, taken: int) -> Iterator[Any]:
        for start in range(taken, len(part), _AT_ONCE):
            for index in self._indices(epoch, part, start, min(start + _AT_ONCE, len(part))):
                yield self._samples[index]

    def _indices(self, epoch: int, part: Part, start: int, stop: int) -> list[int]:
        order, count = self.order, self.samples
        assert order.rank is not None and order.world_size is not None
        places = (part.of_rank(start, stop) * order.world_size + order.rank) % count
        found: list[int] = (Permutation(count, order.seed, epoch)(places) if order.shuffle else places).tolist()
        return found
