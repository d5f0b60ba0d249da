"""The order of a whole run's samples: a function of the seed alone, the same for any number of processes and wherever a run goes on."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from captionlake.models.data import ReleaseData

Indices = npt.NDArray[np.int64]


class RunOrder(Sampler[int]):
    """``steps`` times ``batch_size`` indices, epoch after epoch; of each epoch ``order(epoch)`` gives the N indices.

    N that ``batch_size`` does not divide is filled up from the epoch's beginning, so that every step is a whole one.
    """

    def __init__(self, order: Callable[[int], Indices], batch_size: int, steps: int) -> None:
        self._order, self._batch_size, self._steps = order, batch_size, steps

    def __len__(self) -> int:
        return self._steps * self._batch_size

    def __iter__(self) -> Iterator[int]:
        left, epoch = len(self), 0
        while left:
            indices = self._order(epoch)
            steps = -(-len(indices) // self._batch_size)
            whole = np.resize(indices, steps * self._batch_size)[:left]
            yield from whole.tolist()
            left -= len(whole)
            epoch += 1


def shuffled(samples: int, seed: int) -> Callable[[int], Indices]:
    """By seed and epoch."""
    return lambda epoch: np.random.default_rng([seed, epoch]).permutation(samples)


def grouped(data: ReleaseData, batch_size: int, seed: int) -> Callable[[int], Indices]:
    """Each step of one modality and about one length, as LLaVA 1.5 trains."""
    from captionlake.models.lmm.grouping import ModalityLengthSampler

    sampler = ModalityLengthSampler(data.text_chars(), data.modalities(), step_samples=batch_size, seed=seed)

    def order(epoch: int) -> Indices:
        sampler.set_epoch(epoch)
        return sampler.order()

    return order
