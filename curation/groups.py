"""Large groups of pictures that are nearly one, whose pairs are reckoned when asked for instead of being listed.

A placeholder that a site serves in ten thousand slightly different files would be fifty million pairs. Where a picture has
very many like it, those are one group: the lake lists which pictures are in it (method ``group``, with the cosine to the picture
that leads it) and their pairs with pictures outside, and none within. What is similar within a group is reckoned from the
vectors, for the pictures that are kept alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from captionlake.curation.cosine import Cosine, Indices, Numbers, Vectors
from captionlake.curation.join import JoinConfig, cross_pairs, joined, pair_blocks
from captionlake.curation.links import leaders_of

GROUPED = 256  # pictures from which on a group is worth it: 32,640 pairs
_FIRST = 4096  # pictures of the first sample; the next ones are four times as large
_SEEN = 16  # like ones in a sample that make a picture lead, at least

Load = Callable[[Sequence[str]], Vectors]


def find_groups(
    vectors: Vectors, threshold: float, group: Indices, fresh: int, config: JoinConfig | None = None
) -> Indices:
    """(N,) the row that leads the group of each vector, -1 where it is in none; a leader leads itself.

    ``group``: what is known of it for rows from ``fresh`` on. The first ``fresh`` rows join the groups that are known, or make new
    ones of ``GROUPED`` and more. Samples that grow find those that lead, so that no group is ever listed to be found: one of the size
    ``GROUPED`` shows with about ``_SEEN`` members in the last sample, and may be missed, one of twice the size hardly.
    """
    group = group.copy()
    group[:fresh] = -1
    _join(vectors, threshold, group, np.arange(fresh), np.unique(group[group >= 0]))
    waiting = np.flatnonzero(group[:fresh] < 0)
    waiting = np.random.default_rng(0).permutation(waiting)
    size = _FIRST
    while len(waiting) > GROUPED:
        sample = np.sort(waiting[:size])
        share = len(sample) / len(waiting)
        leaders = sample[_leading(vectors[sample], threshold, max(_SEEN, GROUPED * share), config)]
        _join(vectors, threshold, group, waiting, leaders)
        _dissolve(group, leaders)
        waiting = waiting[group[waiting] < 0]
        if share * GROUPED >= _SEEN:
            break
        size *= 4
    return group


def _leading(vectors: Vectors, threshold: float, least: float, config: JoinConfig | None) -> list[int]:
    """Rows of a sample with so many like them, the one with most first, and no two of them alike."""
    i, j, _ = joined(
        [(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)), *pair_blocks(vectors, threshold, config)]
    )
    one, other = np.concatenate([i, j]), np.concatenate([j, i])
    order = np.argsort(one, kind="stable")
    other = other[order]
    start = np.searchsorted(one[order], np.arange(len(vectors) + 1))
    degree = np.diff(start).astype(float)
    found: list[int] = []
    while len(degree) and degree.max() + 1 >= least:
        best = int(degree.argmax())
        found.append(best)
        taken = np.append(other[start[best] : start[best + 1]], best)
        taken = taken[degree[taken] > 0]
        degree[taken] = 0
        left = np.concatenate([other[start[row] : start[row + 1]] for row in taken]) if len(taken) else taken
        np.subtract.at(degree, left, 1)
    return found


def _join(vectors: Vectors, threshold: float, group: Indices, rows: Indices, leaders: Indices) -> None:
    """Each of the rows to the leader that it is most similar to, if to any."""
    if not len(rows) or not len(leaders):
        return
    step = 2**18
    for at in range(0, len(rows), step):
        part = rows[at : at + step]
        i, j, cosine = cross_pairs(
            np.ascontiguousarray(vectors[part]), np.ascontiguousarray(vectors[leaders]), threshold
        )
        order = np.lexsort((j, -cosine, i))
        i, j = i[order], j[order]
        first = np.ones(len(i), dtype=bool)
        first[1:] = i[1:] != i[:-1]
        group[part[i[first]]] = leaders[j[first]]
    group[leaders] = leaders


def _dissolve(group: Indices, leaders: Indices) -> None:
    """Groups of too few pictures are none."""
    for leader in leaders:
        members = np.flatnonzero(group == leader)
        if len(members) < GROUPED:
            group[members] = -1


@dataclass(frozen=True, slots=True)
class _Group:
    pictures: Indices
    cosine: Cosine


class Groups:
    """Groups among the pictures of a selection. ``members``: image_id, group (any name of it); ``load`` gives vectors by id."""

    def __init__(self, members: pl.DataFrame, threshold: float, load: Load) -> None:
        self.members = members
        self.threshold = threshold
        self._load = load
        self._groups: dict[int, _Group] = {}
        self._of = np.empty(0, np.intp)
        self._row = np.empty(0, np.intp)

    def number(self, pictures: pl.Series, same: pl.DataFrame) -> None:
        """Say which pictures there are; picture n is the n-th. ``same``: edges between pictures of one vector."""
        leaders = leaders_of(same)
        led = self.members.join(leaders, on="image_id", how="left")
        by_class = led.select(name=pl.coalesce("leader", "image_id"), group="group").unique("name")
        named = pictures.alias("image_id").to_frame().join(leaders, on="image_id", how="left", maintain_order="left")
        named = named.with_columns(name=pl.coalesce("leader", "image_id"))
        found = named.join(by_class, on="name", how="left", maintain_order="left")
        self._of = (found["group"].rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_numpy()
        self._row = np.full(len(pictures), -1, dtype=np.intp)
        self._groups = {}
        grouped = np.flatnonzero(self._of >= 0)
        vectors = self._load(pictures.gather(grouped).to_list()) if len(grouped) else np.empty((0, 1), np.float32)
        for number in np.unique(self._of[grouped]).tolist():
            at = np.flatnonzero(self._of[grouped] == number)
            self._row[grouped[at]] = np.arange(len(at))
            self._groups[number] = _Group(grouped[at], Cosine(vectors[at]))

    def near(self, picture: int) -> tuple[Indices, Numbers]:
        """The pictures of its group that are similar to this one, itself among them, and their cosines."""
        group = self._groups.get(int(self._of[picture]))
        if group is None:
            return np.empty(0, np.intp), np.empty(0)
        row, vectors = int(self._row[picture]), group.cosine.vectors
        close = np.flatnonzero(vectors @ vectors[row] >= group.cosine.lowest_product(self.threshold))
        cosine = group.cosine.of_pairs(np.full(len(close), row), close, self.threshold)
        similar = cosine >= self.threshold
        return group.pictures[close[similar]], cosine[similar]
