"""Which rows are dropped as duplicates, and whom each is a duplicate of.

Rows are ranked, and taken in rank order; a row is dropped if and only if a row already kept is similar enough to it,
so a dropped picture is itself at least threshold similar to its keeper: duplicates are not chained. Rows of one
picture (the same bytes), and of pictures with one vector, are similar by 1 and have the same pairs. So all of them share one
fate, but for the best ranked row of those that are kept.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from captionlake.curation.similarity import SAME_VECTOR

SCHEMA = {
    "source": pl.String,
    "source_key": pl.String,
    "keeper_source": pl.String,
    "keeper_key": pl.String,
    "similarity": pl.Float64,
    "same_bytes": pl.Boolean,
}


def find_duplicates(rows: pl.DataFrame, pairs: pl.DataFrame, keep_order: Sequence[str]) -> pl.DataFrame:
    """The rows to drop, each with its keeper: the most similar kept row ahead of it, ties to the better ranked.

    ``rows``: source, source_key (together the key), image_id, collection, pixels. ``pairs``: image_id, other_id,
    similarity, all at or above the threshold, each pair once; with a column ``method``, rows of ``same_vector`` say that the other has
    the vector of the first, and all pairs of either are pairs of both. Rank: less in the column ``ahead``, where there is one;
    place of the collection in ``keep_order`` (unnamed ones last), more pixels, image_id, source, source_key. Only rows that occur
    in a pair, or share their picture, cost time beyond one scan.
    """
    leaders, pairs = _folded(pairs)
    rows = rows.with_columns(picture="image_id").join(leaders, on="image_id", how="left")
    rows = rows.with_columns(image_id=pl.coalesce("leader", "image_id"))
    present = rows.select("image_id").unique()
    pairs = pairs.join(present, on="image_id", how="semi").join(
        present, left_on="other_id", right_on="image_id", how="semi"
    )
    ranked = _ranked(rows, pairs, keep_order)
    pictures = ranked.group_by("image_id").agg(pl.col("rank").min().alias("best"))
    dropped = _dropped_ranks(pairs, pictures, ranked.height)
    marked = ranked.join(pictures.with_columns(gone=pl.Series(dropped[pictures["best"].to_numpy()])), on="image_id")
    kept = marked.filter(~pl.col("gone") & (pl.col("rank") == pl.col("best"))).select(
        pl.col("image_id").alias("keeper_id"),
        pl.col("picture").alias("keeper_picture"),
        pl.col("rank").alias("keeper_rank"),
        pl.col("source").alias("keeper_source"),
        pl.col("source_key").alias("keeper_key"),
    )
    same = marked.filter(~pl.col("gone") & (pl.col("rank") != pl.col("best"))).join(
        kept, left_on="image_id", right_on="keeper_id"
    )
    similar = (
        marked.filter("gone")
        .join(_both_ways(pairs), on="image_id")
        .join(kept, on="keeper_id")
        .filter(pl.col("keeper_rank") < pl.col("rank"))
        .sort(["similarity", "keeper_rank"], descending=[True, False])
        .unique("rank", keep="first", maintain_order=True)
    )
    same_bytes = pl.col("picture") == pl.col("keeper_picture")
    found = pl.concat(
        [
            same.with_columns(similarity=pl.lit(1.0), same_bytes=same_bytes).select(list(SCHEMA)),
            similar.with_columns(same_bytes=pl.lit(False)).select(list(SCHEMA)),
        ]
    )
    return found.cast(SCHEMA).sort(["source", "source_key"])  # type: ignore[arg-type]


def find_similar(rows: pl.DataFrame, pairs: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """The rows that have a similar one among ``others``, each with the most similar of these as its keeper, ties to the least key.

    Frames as of :func:`find_duplicates`; of ``rows`` and ``others`` source, source_key and image_id.
    """
    leaders, pairs = _folded(pairs)
    columns = [
        "source",
        "source_key",
        pl.coalesce("leader", "image_id").alias("image_id"),
        pl.col("image_id").alias("picture"),
    ]
    rows, others = (side.join(leaders, on="image_id", how="left").select(columns) for side in (rows, others))
    others = others.rename(
        {"source": "keeper_source", "source_key": "keeper_key", "image_id": "keeper_id", "picture": "keeper_picture"}
    )
    same = others.select(pl.col("keeper_id").unique()).with_columns(
        image_id="keeper_id", similarity=pl.lit(1.0, pl.Float64)
    )
    found = pl.concat([_both_ways(pairs), same.select("image_id", "keeper_id", "similarity")])
    nearest = (
        rows.join(found, on="image_id")
        .join(others, on="keeper_id")
        .sort(["similarity", "keeper_source", "keeper_key"], descending=[True, False, False])
        .unique(["source", "source_key"], keep="first", maintain_order=True)
    )
    same_bytes = pl.col("picture") == pl.col("keeper_picture")
    return nearest.with_columns(same_bytes=same_bytes).select(list(SCHEMA)).cast(SCHEMA).sort(["source", "source_key"])  # type: ignore[arg-type]


def _folded(pairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(image_id and its leader, for pictures whose vector others have too; the pairs of leaders, each once)."""
    if "method" not in pairs.columns:
        return pl.DataFrame(schema={"image_id": pl.String, "leader": pl.String}), pairs
    of_one = pl.col("method") == SAME_VECTOR
    edges, pairs = pairs.filter(of_one).select("image_id", "other_id"), pairs.filter(~of_one)
    leaders = _leaders(edges)
    for name in ("image_id", "other_id"):
        led = leaders.rename({"image_id": name})
        pairs = (
            pairs.join(led, on=name, how="left").with_columns(pl.coalesce("leader", name).alias(name)).drop("leader")
        )
    ordered = pairs.select(
        pl.min_horizontal("image_id", "other_id").alias("image_id"),
        pl.max_horizontal("image_id", "other_id").alias("other_id"),
        "similarity",
    )
    return leaders, ordered.unique(["image_id", "other_id"], keep="first", maintain_order=True)


def _leaders(edges: pl.DataFrame) -> pl.DataFrame:
    """The least id of each group of pictures that edges join, group by group: image_id, leader."""
    names = pl.concat([edges["image_id"], edges["other_id"].alias("image_id")]).unique().sort()
    one = names.search_sorted(edges["image_id"]).to_numpy()
    other = names.search_sorted(edges["other_id"]).to_numpy()
    leader = np.arange(len(names))
    while True:  # as often as groups were joined by pictures that came later, which is seldom more than once
        least = leader.copy()
        np.minimum.at(least, one, leader[other])
        np.minimum.at(least, other, leader[one])
        least = least[least]
        if (least == leader).all():
            return pl.DataFrame({"image_id": names, "leader": names.gather(leader)})
        leader = least


def _ranked(rows: pl.DataFrame, pairs: pl.DataFrame, keep_order: Sequence[str]) -> pl.DataFrame:
    """The rows that can be duplicates, in rank order, numbered from 0."""
    paired = pl.concat([pairs["image_id"], pairs["other_id"].alias("image_id")]).unique().to_frame()
    shared = rows.group_by("image_id").len().filter(pl.col("len") > 1).select("image_id")
    involved = rows.join(pl.concat([paired, shared]).unique(), on="image_id", how="semi")
    place = pl.col("collection").replace_strict(
        {name: at for at, name in enumerate(keep_order)}, default=len(keep_order), return_dtype=pl.Int64
    )
    ahead = ["ahead"] if "ahead" in rows.columns else []
    return (
        involved.with_columns(place=place if keep_order else pl.lit(0, pl.Int64))
        .sort([*ahead, "place", -pl.col("pixels"), "picture", "source", "source_key"])
        .with_row_index("rank")
        .with_columns(pl.col("rank").cast(pl.Int64))
    )


def _dropped_ranks(pairs: pl.DataFrame, pictures: pl.DataFrame, n_ranks: int) -> npt.NDArray[np.bool_]:
    """Whether the picture whose best row has rank k is dropped: the greedy pass, over pictures that are in a pair."""
    dropped = np.zeros(n_ranks, dtype=bool)
    ranks = pairs.join(pictures, on="image_id").join(pictures, left_on="other_id", right_on="image_id", suffix="_other")
    a, b = ranks["best"].to_numpy(), ranks["best_other"].to_numpy()
    earlier, later = np.minimum(a, b), np.maximum(a, b)
    order = np.argsort(earlier, kind="stable")
    earlier, later = earlier[order], later[order]
    nodes, starts, lengths = np.unique(earlier, return_index=True, return_counts=True)
    ends = starts + lengths
    for node, start, end in zip(nodes.tolist(), starts.tolist(), ends.tolist(), strict=True):
        if not dropped[node]:
            dropped[later[start:end]] = True
    return dropped


def _both_ways(pairs: pl.DataFrame) -> pl.DataFrame:
    """image_id, keeper_id, similarity: each pair from either side."""
    columns = ["image_id", "keeper_id", "similarity"]
    one = pairs.select("image_id", pl.col("other_id").alias("keeper_id"), "similarity")
    other = pairs.select(pl.col("other_id").alias("image_id"), pl.col("image_id").alias("keeper_id"), "similarity")
    return pl.concat([one.select(columns), other.select(columns)])
