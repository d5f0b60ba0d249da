"""The k vectors nearest to one, exactly: a float32 product finds candidates, float64 orders them.

Why none is missed: for unit vectors of D numbers, a float32 product differs from the cosine by at most
``gamma_D = D u / (1 - D u)``, ``u = 2^-24`` (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section
3.1), plus what the lengths deviate from 1. So whatever lies further below the k-th best product than twice that is
not among the k nearest.
"""

import numpy as np
import numpy.typing as npt

from captionlake.curation.cosine import Indices, Numbers, Vectors

BLOCK_BYTES = 2**26  # of vectors looked at in one go
_GATHER = 2**21  # float64 numbers at a time while candidates are ordered


def nearest(
    vectors: Vectors,
    query: npt.NDArray[np.float32],
    k: int,
    *,
    deviation: float = 1e-6,
    allowed: npt.NDArray[np.bool_] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[Indices, Numbers]:
    """Rows of ``vectors`` (N, D) with the k highest cosines to ``query`` (D), highest first, and the cosines.

    Of equal cosines the lower row comes first. ``deviation``: how far from 1 the lengths are at most. ``allowed`` (N):
    rows that may be found. Memory is one block of vectors, which are read once, and the candidates.
    """
    n, d = vectors.shape
    query = _unit(query)
    gamma = d * 2.0**-24 / (1 - d * 2.0**-24)
    window = 2 * (gamma * (1 + 2 * deviation) + 3 * deviation + 2.0**-22)
    pool = _Pool(k, window)
    step = max(1, block_bytes // (4 * d))
    for start in range(0, n, step):
        products = vectors[start : start + step] @ query
        if allowed is not None:
            products = np.where(allowed[start : start + step], products, -np.inf)
        pool.add(start, products)
    rows = pool.rows()
    cosines = _cosines(vectors, rows, query)
    order = np.lexsort((rows, -cosines))[:k]
    return rows[order], cosines[order]


class _Pool:
    """Rows that can be among the k best, as far as the products seen tell."""

    def __init__(self, k: int, window: float) -> None:
        self._k, self._window = k, window
        self._rows: Indices = np.empty(0, np.intp)
        self._products: npt.NDArray[np.float32] = np.empty(0, np.float32)

    def add(self, start: int, products: npt.NDArray[np.float32]) -> None:
        """Take the products of the rows from ``start`` on."""
        good = np.nonzero((products >= self._cut()) & (products > -np.inf))[0]
        self._rows = np.concatenate([self._rows, good + start])
        self._products = np.concatenate([self._products, products[good]])
        left = self._products >= self._cut()
        self._rows, self._products = self._rows[left], self._products[left]

    def rows(self) -> Indices:
        """The rows that are left, in order."""
        return self._rows

    def _cut(self) -> float:
        if len(self._products) < self._k:
            return -np.inf
        return float(np.partition(self._products, -self._k)[-self._k]) - self._window


def _unit(query: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    wide = query.astype(np.float64)
    unit: npt.NDArray[np.float32] = (wide / np.sqrt((wide * wide).sum())).astype(np.float32)
    return unit


def _cosines(vectors: Vectors, rows: Indices, query: npt.NDArray[np.float32]) -> Numbers:
    """Cosines in float64."""
    wide = query.astype(np.float64)
    squared = (wide * wide).sum()
    found = np.empty(len(rows))
    step = max(1, _GATHER // vectors.shape[1])
    for at in range(0, len(rows), step):
        part = vectors[rows[at : at + step]].astype(np.float64)
        found[at : at + step] = (part * wide).sum(axis=1) / np.sqrt((part * part).sum(axis=1) * squared)
    return np.minimum(found, 1.0)
