"""Rows of ``similar_pairs`` that say which pictures are in a group (``groups.py``)."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from captionlake.curation.candidates import frame
from captionlake.curation.cosine import Cosine, Indices, Vectors
from captionlake.curation.groups import Groups
from captionlake.curation.links import GROUP, PAIR, SAME_VECTOR, leaders_of
from captionlake.lake import Lake

_SAME = "SELECT image_id, other_id FROM similar_pairs WHERE method = ? AND model_id = ?"


def known_groups(lake: Lake, model_id: str, snapshot: int, ids: pa.Array) -> Indices:
    """(N,) for each picture the place of the one that leads its group, -1 where it is in none."""
    import pyarrow.compute as pc

    query = f"SELECT image_id, other_id FROM lake.similar_pairs AT (VERSION => {snapshot:d}) WHERE model_id = ? AND method = ?"
    stored = lake.arrow(query, [model_id, GROUP])
    group = np.full(len(ids), -1, dtype=np.intp)
    if len(stored):
        leader, member = (
            pc.index_in(stored.column(name).combine_chunks(), value_set=ids) for name in ("image_id", "other_id")
        )
        there = pc.and_(leader.is_valid(), member.is_valid())
        leader, member = (places.filter(there).to_numpy() for places in (leader, member))
        group[member] = leader
        group[leader] = leader
    return group


def joined_groups(vectors: Vectors, ids: pa.Array, group: Indices, known: Indices, threshold: float) -> pa.Table:
    """The pictures that are new in a group: image_id of the one that leads it, other_id, their cosine."""
    new = np.flatnonzero((group != known) & (group != np.arange(len(group))) & (group >= 0))
    leaders = np.unique(group[new])
    cosine = Cosine(vectors[new], vectors[leaders]).of_pairs(
        np.arange(len(new)), np.searchsorted(leaders, group[new]), threshold
    )
    columns = [ids.take(pa.array(group[new])), ids.take(pa.array(new)), pa.array(cosine)]
    return pa.table(columns, schema=PAIR)


def stored_groups(lake: Lake, model_id: str, threshold: float, snapshot: int) -> Groups | None:
    """The groups of a model at a snapshot, for a threshold; None where there are none."""
    version = f"AT (VERSION => {snapshot:d})"
    query = 'SELECT other_id AS image_id, image_id AS "group" FROM pairs UNION SELECT image_id, image_id FROM pairs'
    pairs = f"SELECT image_id, other_id FROM lake.similar_pairs {version} WHERE model_id = ? AND method = ?"
    members = pl.from_arrow(lake.arrow(f"WITH pairs AS ({pairs}) {query}", [model_id, GROUP]))
    assert isinstance(members, pl.DataFrame)

    return Groups(members, threshold, lambda ids: _vectors(lake, model_id, ids, version)) if members.height else None


def _vectors(lake: Lake, model_id: str, ids: Sequence[str], version: str = "") -> Vectors:
    """(N, D) by a model, in the order of the ids."""
    wanted = pa.table({"image_id": pa.array(ids, pa.string()), "place": pa.array(range(len(ids)), pa.int64())})
    with lake.registered(_wanted=wanted):
        table = lake.arrow(
            f"SELECT place, vector FROM lake.embeddings {version} JOIN _wanted USING (image_id) WHERE model_id = ?",
            [model_id],
        )
    flat = table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors: Vectors = np.empty((len(ids), flat.size // len(ids)), np.float32)
    vectors[table.column("place").to_numpy()] = flat.reshape(len(ids), -1)
    return vectors


def group_mates(lake: Lake, image_id: str, twins: Sequence[str]) -> list[tuple[str, float, str, str]]:
    """Pictures of a picture's group that are similar to it: image_id, cosine, method, model_id.

    ``twins``: the picture and those of its vector. Similar is what reaches the threshold of the model's newest pairs.
    """
    query = (
        "SELECT DISTINCT model_id, image_id FROM similar_pairs WHERE method = $1 "
        "AND (list_contains($2, image_id) OR list_contains($2, other_id))"
    )
    found: list[tuple[str, float, str, str]] = []
    for model_id, leader in lake.rows(query, [GROUP, list(twins)]):
        threshold = lake.value(
            "SELECT (detail->>'threshold')::DOUBLE FROM runs WHERE step = 'pairs' AND target = ? ORDER BY created_at DESC LIMIT 1",
            [model_id],
        )
        members = lake.rows(
            "SELECT other_id FROM similar_pairs WHERE method = ? AND model_id = ? AND image_id = ?",
            [GROUP, model_id, leader],
        )
        ids = pl.Series("image_id", [leader, *(member for (member,) in members)], dtype=pl.String)
        same = leaders_of(frame(lake, _SAME, [SAME_VECTOR, model_id]))
        of_group = same.join(same.join(ids.to_frame(), on="image_id", how="semi"), on="leader", how="semi")
        others = sorted({*ids, *of_group["image_id"]} - set(twins))
        vectors = _vectors(lake, model_id, [image_id, *others])
        places = np.arange(len(others))
        cosine = Cosine(vectors[:1], vectors[1:]).of_pairs(np.zeros_like(places), places, threshold)
        near = zip(others, cosine.tolist(), strict=True)
        found += [(other, value, GROUP, model_id) for other, value in near if value >= threshold]
    return found
