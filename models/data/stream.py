"""What the streams have in common: epochs, the parts of ranks and workers, and going on in the middle of an epoch."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from captionlake.errors import CaptionlakeError
from captionlake.models.data.order import Order, Part
from captionlake.models.data.skips import SkipLog, Transform


class Stream(IterableDataset[Any]):
    """An iterable data set that can be left at any sample and gone on with, also within ``torchdata``'s ``StatefulDataLoader``.

    ``set_epoch`` before an epoch gives it its own order; it reaches workers that live on too. ``load_state_dict`` holds for the next
    iteration, which gives the rest of the epoch of the state, and no other.
    """

    content_sha256: str

    def __init__(self, transform: Transform | None, order: Order | None, skips: SkipLog | None) -> None:
        self.transform = transform
        self.order = order or Order()
        self.skips = skips or SkipLog()
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._state: dict[str, Any] | None = None  # of the iteration that is under way or is to come
        self._going_on = False

    @property
    @abstractmethod
    def samples(self) -> int:
        """How many there are for all ranks together."""

    @abstractmethod
    def _from(self, epoch: int, part: Part, taken: int) -> Iterator[Any]:
        """The samples of a part in an epoch, without the first ``taken``."""

    def __len__(self) -> int:
        return self.order.per_rank(self.samples)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration gives, unless it goes on with a state."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """To be called in the main process before each epoch."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        state = self._state if self._going_on else None
        if state is None:
            state = {"epoch": self.epoch, "taken": 0, "worker": worker, "workers": workers} | self._facts()
        elif (state["worker"], state["workers"]) != (worker, workers):
            raise CaptionlakeError(
                f"the state is of worker {state['worker']} of {state['workers']}, this is {worker} of {workers}: "
                "go on with as many workers as before"
            )
        self._state, self._going_on = state, False
        return self._count(state, Part(len(self), worker, workers, self.order.batch_size))

    def _count(self, state: dict[str, Any], part: Part) -> Iterator[Any]:
        for sample in self._from(state["epoch"], part, state["taken"]):
            state["taken"] += 1
            yield sample

    def state_dict(self) -> dict[str, Any]:
        """Where this process stands: whatever was given last is behind it."""
        if self._state is None:
            return {"epoch": self.epoch, "taken": 0, "worker": 0, "workers": 1} | self._facts()
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises where release, order or number of ranks are others than those of the state."""
        other = {name: value for name, value in self._facts().items() if state.get(name) != value}
        if other:
            name, value = next(iter(other.items()))
            raise CaptionlakeError(
                f"the state is of a run with {name} {state.get(name)!r}, this one has {value!r}: go on with the same data and order"
            )
        self._state, self._going_on = dict(state), True

    def _facts(self) -> dict[str, Any]:
        return {"content_sha256": self.content_sha256, "samples": self.samples} | self.order.facts()
