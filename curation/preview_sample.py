"""The pairs that a preview shows: counts and a few pairs per band of cosine, from one pass over the vectors.

All pairs are compared where the lake is small enough; in a larger one, a sample of pictures is compared with all.
"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import polars as pl

from captionlake.curation.cosine import Cosine, Indices, Numbers, Vectors
from captionlake.curation.duplicates import find_duplicates
from captionlake.curation.join import BLOCK
from captionlake.curation.similarity import stored_vectors
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.progress import progress

DEPTH = 0.1  # how far below the threshold the preview looks
PER_BAND = 10
COMPARISONS = 50_000**2  # at most; about a minute on two cores at D = 512
_TOP = (0.99, 0.97)
_STEP = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Cosines from ``low`` up to ``high`` (the topmost band includes it): how many pairs, and some of them."""

    low: float
    high: float
    count: int
    pairs: list[tuple[str, str, float]]  # image_id, image_id, cosine; highest first


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """``compared`` pictures were compared with all ``images``; ``dropped``: those that lose at the threshold."""

    model_id: str
    threshold: float
    images: int
    compared: int
    bands: list[Band]
    dropped: set[str]


def band_edges(threshold: float) -> list[float]:
    """Edges of the bands, ascending from threshold - 0.1 to 1, the threshold among them; bands span at least 0.005."""
    lowest = max(threshold - DEPTH, -1.0)
    grid, edge = list(_TOP), _TOP[-1] - _STEP
    while edge > lowest:
        grid.append(edge)
        edge -= _STEP
    fixed = {round(lowest, 9), round(threshold, 9), 1.0}
    fitting = {round(e, 9) for e in grid if lowest < e < 1 and all(abs(e - f) >= 0.005 for f in fixed)}
    return sorted(fixed | fitting)


def sample_pairs(
    lake: Lake, model_id: str, threshold: float, *, per_band: int = PER_BAND, comparisons: int = COMPARISONS
) -> Sample:
    """Compare the pictures of the newest snapshot, down to threshold - 0.1. Counts are of the pairs compared."""
    if not 0 < threshold <= 1:
        raise CaptionlakeError(f"threshold {threshold} is not in (0, 1]: cosines of near-duplicates are about 0.9 to 1")
    snapshot = lake.snapshot()
    with stored_vectors(lake, model_id, snapshot) as (ids, vectors):
        if not ids:
            raise CaptionlakeError(f"no picture is embedded by {model_id}: run  captionlake embed  first")
        anchors = _anchors(ids, comparisons)
        collector = _Collector(Cosine(vectors), band_edges(threshold), threshold, per_band)
        with progress("compare pictures", len(anchors)) as advance:
            for start in range(0, len(anchors), BLOCK):
                part = anchors[start : start + BLOCK]
                collector.add(part, vectors, anchors)
                advance(len(part))
        bands = collector.bands(ids)
        above = collector.above(ids)
    return Sample(
        model_id=model_id,
        threshold=threshold,
        images=len(ids),
        compared=len(anchors),
        bands=bands,
        dropped=_dropped(lake, above, snapshot),
    )


def _anchors(ids: list[str], comparisons: int) -> Indices:
    """Rows of the pictures to compare with all: all of them, or a sample that depends on the ids alone."""
    wanted = max(1, comparisons // len(ids))
    if wanted >= len(ids):
        return np.arange(len(ids))
    tickets = np.array([sha256(image_id.encode()).digest()[:8] for image_id in ids], dtype="S8")
    return np.sort(np.argpartition(tickets, wanted)[:wanted])


class _Collector:
    """Counts pairs by band, keeps ``per_band`` of each at random (fixed seed), and all at or above the threshold."""

    def __init__(self, cosine: Cosine, edges: list[float], threshold: float, per_band: int) -> None:
        self._cosine = cosine
        self._edges = np.array(edges)
        self._threshold = threshold
        self._per_band = per_band
        self._random = np.random.default_rng(0)
        self._counts = np.zeros(len(edges) - 1, dtype=np.int64)
        empty = (np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0), np.empty(0))
        self._kept: list[tuple[Indices, Indices, Numbers, Numbers]] = [empty] * len(self._counts)
        self._above: list[tuple[Indices, Indices, Numbers]] = []

    def add(self, part: Indices, vectors: Vectors, anchors: Indices) -> None:
        """Compare the rows ``part`` of the anchors with all rows; a pair of two anchors counts once."""
        is_anchor = np.zeros(len(vectors), dtype=bool)
        is_anchor[anchors] = True
        left = vectors[part]
        for other in range(0, len(vectors), BLOCK):
            if len(anchors) == len(vectors) and other + BLOCK <= part[0]:
                continue  # both are anchors, and this pair of blocks was seen from the other side
            i, j = self._cosine.candidates(left, vectors[other : other + BLOCK], float(self._edges[0]))
            i, j = part[i], j + other
            once = (i < j) | ((i != j) & ~is_anchor[j])
            i, j = i[once], j[once]
            cosines = self._cosine.of_pairs(i, j, self._threshold)
            self._count(i, j, cosines)

    def _count(self, i: Indices, j: Indices, cosines: Numbers) -> None:
        band = np.searchsorted(self._edges, cosines, side="right") - 1
        band = np.minimum(band, len(self._counts) - 1)  # a cosine of 1 is in the topmost band
        priority = self._random.random(len(i))
        for k in np.unique(band[band >= 0]):
            rows = np.nonzero(band == k)[0]
            self._counts[k] += len(rows)
            old = self._kept[k]
            merged = tuple(
                np.concatenate(both)
                for both in zip(old, (i[rows], j[rows], cosines[rows], priority[rows]), strict=True)
            )
            best = np.argsort(merged[3], kind="stable")[: self._per_band]
            self._kept[k] = (merged[0][best], merged[1][best], merged[2][best], merged[3][best])
        above = cosines >= self._threshold
        self._above.append((i[above], j[above], cosines[above]))

    def bands(self, ids: list[str]) -> list[Band]:
        """The bands, highest first."""
        found = []
        for k, (i, j, cosines, _) in enumerate(self._kept):
            pairs = sorted(
                ((*sorted((ids[a], ids[b])), c) for a, b, c in zip(i, j, cosines.tolist(), strict=True)),
                key=lambda pair: (-pair[2], pair[0], pair[1]),
            )
            low, high = float(self._edges[k]), float(self._edges[k + 1])
            found.append(Band(low=low, high=high, count=int(self._counts[k]), pairs=pairs))
        return found[::-1]

    def above(self, ids: list[str]) -> pl.DataFrame:
        """All pairs at or above the threshold: image_id, other_id, similarity."""
        i, j, cosines = (np.concatenate(column) for column in zip(*self._above, strict=True))
        names = pl.Series(ids, dtype=pl.String)
        return pl.DataFrame({"image_id": names.gather(i), "other_id": names.gather(j), "similarity": cosines})


def _dropped(lake: Lake, pairs: pl.DataFrame, snapshot: int) -> set[str]:
    """Pictures of the pairs all of whose rows would be dropped, ranked by pixels alone."""
    ids = pl.concat([pairs["image_id"], pairs["other_id"]]).unique()
    with lake.registered(_paired=ids.to_frame("image_id").to_arrow()):
        rows = lake.arrow(
            "SELECT source, source_key, image_id, collection, width::BIGINT * height AS pixels "
            f"FROM lake.images AT (VERSION => {snapshot:d}) WHERE image_id IN (SELECT image_id FROM _paired)"
        )
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    gone = find_duplicates(frame, pairs, ())
    kept = frame.join(gone, on=["source", "source_key"], how="anti")["image_id"]
    return set(frame["image_id"].to_list()) - set(kept.to_list())
