"""A release as a map-style data set of torch."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset

from captionlake.models.data.release_data import ReleaseData
from captionlake.models.data.skips import SkipLog, Transform, first_usable


class ReleaseDataset(Dataset[Any]):
    """``dataset[i]`` is ``transform(data[i])``, or the sample itself.

    Where a sample cannot be read, or ``transform`` raises ``UnreadableSample`` or ``PictureError``, the next one of the release that can be
    used takes its place (for one with pictures one with pictures, for text alone text alone), always the same. So every rank sees as
    many samples as every other. What was skipped is in ``skips``, from whichever process.
    """

    def __init__(self, data: ReleaseData, transform: Transform | None = None, skips: SkipLog | None = None) -> None:
        self.data = data
        self.transform = transform
        self.skips = skips or SkipLog()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return first_usable(self._from(range(len(self.data))[index]), self.data.__getitem__, self.transform, self.skips)

    def _from(self, index: int) -> Iterator[int]:
        """The sample, and the others that may stand in its place."""
        yield index
        pictured = self.data.modalities()
        for step in range(1, len(self.data)):
            other = (index + step) % len(self.data)
            if pictured[other] == pictured[index]:
                yield other
