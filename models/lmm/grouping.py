"""The order of samples in fine-tuning: what a step takes together is of one modality and of about one length."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler


class ModalityLengthSampler(Sampler[int]):
    """Every index once an epoch, in groups of ``step_samples`` (world size times batch) of one modality, sorted by length.

    As LLaVA 1.5 trains (``group_by_modality_length`` of its trainer): indices of each modality are shuffled, cut into
    groups, the groups shuffled. What is left of both modalities makes the last group. Within a group LLaVA spreads the
    long samples over the ranks; here neighbours are of like length, so that a rank's batch has less padding and the
    slowest rank no more to do. The order depends on ``seed`` and epoch alone.
    """

    def __init__(
        self, lengths: npt.NDArray[np.int64], pictured: npt.NDArray[np.bool_], *, step_samples: int, seed: int = 0
    ) -> None:
        self._lengths, self._pictured = lengths, pictured
        self._step, self._seed, self._epoch = step_samples, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> npt.NDArray[np.int64]:
        """int64 (N,): the epoch's indices in their order."""
        chance = np.random.default_rng([self._seed, self._epoch])
        whole, rest = [], []
        for indices in (np.flatnonzero(self._pictured), np.flatnonzero(~self._pictured)):
            shuffled = chance.permutation(indices)
            end = len(shuffled) // self._step * self._step
            whole.append(shuffled[:end].reshape(-1, self._step))
            rest.append(shuffled[end:])
        groups = chance.permutation(np.concatenate(whole))  # G, step
        by_length = np.argsort(-self._lengths[groups], axis=1, kind="stable")
        sorted_rest = [left[np.argsort(-self._lengths[left], kind="stable")] for left in rest]
        return np.concatenate([np.take_along_axis(groups, by_length, axis=1).ravel(), *sorted_rest])
