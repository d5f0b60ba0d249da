"""Cosines of stored vectors, decided exactly at a threshold.

The similarity of a pair is the cosine ``x.y / sqrt((x.x)(y.y))`` of the stored float32 vectors, in float64.

A float32 dot product of D terms, summed in any order, with or without fused multiply-add, differs from the true one by at
most ``gamma_D |x||y|``, where ``gamma_D = D u / (1 - D u)`` and ``u = 2^-24`` (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., section 3.1), plus at most ``D 2^-126`` where products underflow. So whatever lies below
``threshold |x||y|`` by more than that is no pair, and all else is decided in float64. There the sums are again uncertain
by about ``D 2^-53``; pairs that close to the threshold are summed exactly with ``math.fsum``.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from captionlake.errors import CaptionlakeError

UNIT_TOLERANCE = 1e-3
_GATHER = 2**21  # float64 numbers gathered at a time while candidates are decided

Vectors = npt.NDArray[np.float32]  # (N, D), unit length
Indices = npt.NDArray[np.intp]
Numbers = npt.NDArray[np.float64]


class Cosine:
    """Cosines of unit vectors (N, D) with those of ``others`` (M, D), or with themselves."""

    def __init__(self, vectors: Vectors, others: Vectors | None = None) -> None:
        self.vectors = vectors
        self.others = vectors if others is None else others
        if self.vectors.shape[1] != self.others.shape[1]:
            raise CaptionlakeError(
                f"vectors of {self.vectors.shape[1]} and of {self.others.shape[1]} numbers cannot be compared: "
                "embed both by one model"
            )
        self._squares = squared_lengths(self.vectors)
        self._other_squares = self._squares if others is None else squared_lengths(self.others)
        lengths = np.sqrt(np.concatenate([self._squares, self._other_squares]))
        if not (np.abs(lengths - 1) <= UNIT_TOLERANCE).all():  # not finite ones too
            raise CaptionlakeError(
                "vectors that are not of unit length cannot be compared: run  captionlake embed  again"
            )
        d = vectors.shape[1]
        self._longest = float(lengths.max(initial=1.0)) ** 2
        self._shortest = float(lengths.min(initial=1.0)) ** 2
        gamma = d * 2.0**-24 / (1 - d * 2.0**-24)
        #: how far a float32 product lies from the true dot product, at most
        self.margin = gamma * self._longest + d * 2.0**-126
        #: how far ``of_pairs`` lies from the true cosine before the exact sums, at most
        self._wide_margin = (d + 8) * 2.0**-51

    def lowest_product(self, threshold: float) -> float:
        """A float32 product below it is of no pair; a float32 number itself."""
        lowest = min(threshold * self._shortest, threshold * self._longest) - self.margin
        return float(np.nextafter(np.float32(lowest), np.float32(-np.inf)))

    def candidates(self, left: Vectors, right: Vectors, threshold: float) -> tuple[Indices, Indices]:
        """Rows of ``left`` and ``right``, parts of the vectors, whose cosine may reach the threshold: all that do."""
        cut = self.lowest_product(threshold)
        products = left @ right.T
        rows = np.nonzero(products.max(axis=1) >= cut)[0]  # most rows have none, and this looks quickest
        i, j = np.nonzero(products[rows] >= cut)
        return rows[i], j

    def of_pairs(self, i: Indices, j: Indices, threshold: float) -> Numbers:
        """Cosines of the pairs (i, j), at most 1, decided exactly where they are within rounding of the threshold."""
        found = np.empty(len(i))
        step = max(1, _GATHER // self.vectors.shape[1])
        for at in range(0, len(i), step):
            rows, others = i[at : at + step], j[at : at + step]
            products = self.vectors[rows].astype(np.float64) * self.others[others]
            found[at : at + step] = products.sum(axis=1) / np.sqrt(self._squares[rows] * self._other_squares[others])
        for k in np.nonzero(np.abs(found - threshold) <= self._wide_margin)[0]:
            found[k] = exact_cosine(self.vectors[i[k]], self.others[j[k]])
        return np.minimum(found, 1.0)


def exact_cosine(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> float:
    """The cosine of two float32 vectors with each sum rounded once: products of float32 are exact in float64."""
    a, b = x.astype(np.float64), y.astype(np.float64)
    xy, xx, yy = (math.fsum((left * right).tolist()) for left, right in ((a, b), (a, a), (b, b)))
    return min(xy / math.sqrt(xx * yy), 1.0)


def _wide_parts(vectors: Vectors) -> Iterator[Numbers]:
    """Some rows in float64 at a time, so that a file of vectors passes through little memory."""
    step = max(1, _GATHER // max(1, vectors.shape[1]))
    for at in range(0, len(vectors), step):
        yield vectors[at : at + step].astype(np.float64)


def squared_lengths(vectors: Vectors) -> Numbers:
    """``x.x`` of each row (N,)."""
    parts = [(part * part).sum(axis=1) for part in _wide_parts(vectors)]  # summed as ``of_pairs`` does
    return np.concatenate(parts) if parts else np.empty(0)
