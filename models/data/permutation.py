"""A random order of N numbers that needs no memory: any part of it can be computed by itself, by any rank and worker.

A Feistel network over pairs of numbers below m = ceil(sqrt(N)), whose rounds add modulo m (Black and Rogaway, "Ciphers with Arbitrary
Finite Domains", CT-RSA 2002); what falls outside N is sent through again until it falls inside, which makes it a permutation of N.
"""

import hashlib
from math import isqrt

import numpy as np
import numpy.typing as npt

_ROUNDS = 8
_LEAST = 8  # m, so that a few numbers get as random an order as many


class Permutation:
    """``permutation(places)``: which of the numbers 0 to ``size - 1`` stand there. The same for the same size, seed, epoch and part."""

    def __init__(self, size: int, seed: int, epoch: int, part: int = 0) -> None:
        self._size = size
        side = isqrt(max(size - 1, 0)) + 1
        self._side = np.uint64(max(side, _LEAST))
        digest = hashlib.shake_256(f"{size}:{seed}:{epoch}:{part}".encode()).digest(8 * _ROUNDS)
        self._keys = np.frombuffer(digest, "<u8")

    def __call__(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64 (n,) in, int64 (n,) out."""
        found = self._once(places.astype(np.uint64))
        while len(outside := np.flatnonzero(found >= self._size)):
            found[outside] = self._once(found[outside])
        return found.astype(np.int64)

    def _once(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = np.divmod(numbers, self._side)
        for key in self._keys:
            left, right = right, (left + _mixed(right, key)) % self._side
        result: npt.NDArray[np.uint64] = left * self._side + right
        return result


def _mixed(numbers: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), below 2**63 so that a sum does not overflow."""
    z = numbers * np.uint64(0x9E3779B97F4A7C15) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = (z ^ (z >> np.uint64(31))) >> np.uint64(1)
    return mixed
