"""Perceptual hashes (64 bits) that differ in few bits: all pairs, none missed.

Of m bands that the bits are cut into, d differing bits touch d at most, so two hashes no more than d bits apart agree on m - d bands
(Norouzi, Punjani and Fleet, Fast Exact Search in Hamming Space with Multi-Index Hashing, 2014, section 3, has it with one band). For each
choice of so many bands the hashes are sorted by them, and those that agree are compared in full. How many bands there are is
chosen by what that costs.
"""

from itertools import combinations, pairwise
from math import comb

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]
Bits = npt.NDArray[np.int64]

BITS = 64
_BLOCK = 2**22  # comparisons at once: 32 MiB
_MOST_CHOICES = 400
_SORTED, _COMPARED = 1e-7, 2e-8  # seconds to sort a hash and to compare a pair, about


def near_hashes(left: Hashes, right: Hashes, distance: int) -> tuple[Places, Places, Bits]:
    """All (i, j, bits apart) where ``left[i]`` and ``right[j]`` differ in at most ``distance`` bits; each with each is compared."""
    found = [(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.int64))]
    step = max(1, _BLOCK // max(1, len(right)))
    for start in range(0, len(left), step):
        apart = np.bitwise_count(left[start : start + step, None] ^ right)
        i, j = np.nonzero(apart <= distance)
        found.append((i + start, j, apart[i, j].astype(np.int64)))
    i, j, bits = (np.concatenate(column) for column in zip(*found, strict=True))
    return i, j, bits


def near_pairs(hashes: Hashes, distance: int) -> tuple[Places, Places, Bits]:
    """All (i, j, bits apart), i < j, where two of ``hashes`` differ in at most ``distance`` bits; in order of (i, j)."""
    agreeing = _agreeing(len(hashes), distance)
    bands = distance + agreeing
    edges = [BITS * band // bands for band in range(bands + 1)]
    masks = [np.uint64((1 << high) - (1 << low)) for low, high in pairwise(edges)]
    found = np.empty(0, np.int64)
    for chosen in combinations(masks, agreeing):
        pairs = np.concatenate([found, _agree(hashes, np.bitwise_or.reduce(chosen), distance)])
        found = np.unique(pairs)
    i, j = np.divmod(found, max(1, len(hashes)))
    return i, j, np.bitwise_count(hashes[i] ^ hashes[j]).astype(np.int64)


def _agreeing(n: int, distance: int) -> int:
    """On how many bands two hashes should have to agree, for the least work."""

    def seconds(agreeing: int) -> float:
        choices = comb(distance + agreeing, agreeing)
        width = BITS * agreeing // (distance + agreeing)
        return choices * (n * _SORTED + n * n * 0.5 ** (width + 1) * _COMPARED)

    possible = [k for k in range(1, BITS - distance + 1) if comb(distance + k, k) <= max(_MOST_CHOICES, distance + 1)]
    return min(possible, key=seconds)


def _agree(hashes: Hashes, mask: np.uint64, distance: int) -> npt.NDArray[np.int64]:
    """Pairs, each as i * N + j, that agree under the mask and are near."""
    keys = hashes & mask
    order = np.argsort(keys, kind="stable")
    keys, sorted_hashes = keys[order], hashes[order]
    found = [np.empty(0, np.int64)]
    active, shift = np.arange(len(keys)), 1
    while len(active):  # as often as the most frequent key has hashes
        active = active[active + shift < len(keys)]
        active = active[keys[active] == keys[active + shift]]
        near = active[np.bitwise_count(sorted_hashes[active] ^ sorted_hashes[active + shift]) <= distance]
        one, other = order[near], order[near + shift]
        found.append(np.minimum(one, other) * len(hashes) + np.maximum(one, other))
        shift += 1
    return np.concatenate(found)
