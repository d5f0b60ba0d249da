"""In which order samples are given, and which of them by which rank and worker."""

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from captionlake.errors import CaptionlakeError


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """``shuffle`` by ``seed`` and epoch, the same order for every rank; of it, rank r of W takes the places r, r + W, r + 2W and so on.

    Without ``rank`` and ``world_size``: those of torch.distributed, or of the environment (RANK, WORLD_SIZE), or one rank alone.
    ``uneven``, where the ranks do not divide the samples: ``"drop"`` the last few, or ``"pad"`` with the first ones, so that ranks have
    equally many. ``batch_size``: say the loader's here too, and its workers take whole batches in turn: the batches are the same ones for
    any number of workers.
    """

    seed: int = 0
    shuffle: bool = True
    rank: int | None = None
    world_size: int | None = None
    uneven: Literal["drop", "pad"] = "drop"
    batch_size: int = 1

    def __post_init__(self) -> None:
        rank, world = self.rank, self.world_size
        if rank is None or world is None:
            if rank is not world:
                raise CaptionlakeError("an order has a rank or a world_size alone: give both or neither")
            rank, world = _ranks()
            object.__setattr__(self, "rank", rank)
            object.__setattr__(self, "world_size", world)
        if not 0 <= rank < world or self.batch_size < 1 or self.uneven not in ("drop", "pad"):
            raise CaptionlakeError(f"{self} is no order: rank is from 0 to world_size - 1, batch_size 1 or more")

    def per_rank(self, samples: int) -> int:
        """How many samples each rank gives in an epoch. Raises where that is none."""
        assert self.world_size is not None
        count = samples // self.world_size if self.uneven == "drop" else -(-samples // self.world_size)
        if not count:
            raise CaptionlakeError(
                f"{samples} samples are too few for {self.world_size} ranks: use fewer, or uneven='pad'"
            )
        return count

    def facts(self) -> dict[str, object]:
        """What must be the same where a run goes on."""
        return {name: getattr(self, name) for name in ("seed", "shuffle", "world_size", "uneven", "batch_size")}


@dataclass(frozen=True, slots=True)
class Part:
    """What one of ``workers`` gives of the ``count`` samples of its rank: batches ``worker``, ``worker + workers`` and so on."""

    count: int
    worker: int
    workers: int
    batch_size: int

    def __len__(self) -> int:
        batches, rest = divmod(self.count, self.batch_size)
        whole = len(range(self.worker, batches, self.workers))
        return whole * self.batch_size + (rest if batches % self.workers == self.worker else 0)

    def of_rank(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Where the worker's samples ``start`` to ``stop - 1`` stand among those of the rank."""
        batch, within = np.divmod(np.arange(start, stop), self.batch_size)
        return (batch * self.workers + self.worker) * self.batch_size + within


def _ranks() -> tuple[int, int]:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
