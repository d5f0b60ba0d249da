"""Which rows are dropped as duplicates, and whom each is a duplicate of.

Rows are ranked, and taken in rank order; a row is dropped if and only if a row already kept is similar enough to it,
so a dropped picture is itself similar enough to its keeper: duplicates are not chained. Rows of one picture (the same bytes) share
one fate, but for the best ranked row of those that are kept.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from captionlake.curation.cosine import Indices, Numbers
from captionlake.curation.groups import Groups
from captionlake.curation.links import BY_COSINE, BY_PHASH, BYTES, SAME_VECTOR, Layer, layers

SCHEMA = {
    "source": pl.String,
    "source_key": pl.String,
    "keeper_source": pl.String,
    "keeper_key": pl.String,
    "similarity": pl.Float64,
    "by": pl.String,
}
_KEEPER = {"source": "keeper_source", "source_key": "keeper_key"}
_SUREST = {BYTES: 0, BY_COSINE: 0, BY_PHASH: 1}
_LINK = {"picture": pl.Int64, "keeper": pl.Int64, "similarity": pl.Float64, "by": pl.String}


def find_duplicates(
    rows: pl.DataFrame, pairs: pl.DataFrame, keep_order: Sequence[str], groups: Groups | None = None
) -> pl.DataFrame:
    """The rows to drop, each with its keeper: the most similar kept row ahead of it, ties to the better ranked.

    ``rows``: source, source_key (together the key), image_id, collection, pixels. ``pairs``: image_id, other_id,
    similarity, all that count, and method where there are others than cosines (see ``links.py``); ``groups`` has those that are not
    listed. Rank: less in the column ``ahead``, where there is one; place of the collection in ``keep_order`` (unnamed ones last), more
    pixels, image_id, source, source_key. ``by`` says how two rows are alike: bytes, cosine, phash (a keeper by cosine goes before one
    by hash). Only rows that occur in a pair or a group, or share their picture, cost time beyond one scan.
    """
    ranked = _ranked(rows, pairs, keep_order, groups)
    pictures = ranked.group_by("image_id").agg(pl.col("rank").min().alias("best")).sort("best")
    pictures = pictures.with_row_index("picture").with_columns(pl.col("picture").cast(pl.Int64))
    found = layers(pictures["image_id"], pairs)
    _number(groups, pictures["image_id"], pairs)
    gone, links = _greedy(pictures.height, found, groups)
    kept = np.flatnonzero(~gone)
    links = pl.concat([links, *(_links(layer, kept) for layer in found)])
    ranked = ranked.join(pictures.with_columns(gone=pl.Series(gone, dtype=pl.Boolean)), on="image_id")
    stay = ranked.filter(~pl.col("gone") & (pl.col("rank") == pl.col("best")))
    stay = stay.select(keeper="picture", keeper_rank="rank", **{new: old for old, new in _KEEPER.items()})
    again = ranked.filter(~pl.col("gone") & (pl.col("rank") != pl.col("best")))
    same = again.join(stay, left_on="picture", right_on="keeper").with_columns(similarity=pl.lit(1.0), by=pl.lit(BYTES))
    similar = (
        ranked.filter("gone")
        .join(links, on="picture")
        .join(stay, on="keeper")
        .filter(pl.col("keeper_rank") < pl.col("rank"))
        .with_columns(sure=_sure())
        .sort(["sure", "similarity", "keeper_rank"], descending=[False, True, False])
        .unique("rank", keep="first", maintain_order=True)
    )
    return pl.concat([_shaped(same), _shaped(similar)]).sort(["source", "source_key"])


def find_similar(
    rows: pl.DataFrame, pairs: pl.DataFrame, others: pl.DataFrame, groups: Groups | None = None
) -> pl.DataFrame:
    """The rows that have a similar one among ``others``, each with the most similar of these as its keeper, ties to the least key.

    Frames as of :func:`find_duplicates`; of ``rows`` and ``others`` source, source_key and image_id.
    """
    ids = pl.concat([rows["image_id"], others["image_id"]]).unique().sort()
    pictures = ids.to_frame().with_row_index("picture").with_columns(pl.col("picture").cast(pl.Int64))
    found = layers(ids, pairs)
    _number(groups, ids, pairs)
    rows = rows.select("source", "source_key", "image_id").join(pictures, on="image_id")
    others = others.join(pictures, on="image_id").select(keeper="picture", **{new: old for old, new in _KEEPER.items()})
    from_ = others["keeper"].unique().to_numpy()
    itself = pl.DataFrame({"picture": from_, "keeper": from_}).with_columns(similarity=pl.lit(1.0), by=pl.lit(BYTES))
    links = [itself.cast(_LINK), *(_links(layer, from_) for layer in found)]  # type: ignore[arg-type]
    if groups is not None:
        links.append(_grouped([(picture, *groups.near(picture)) for picture in from_.tolist()]))
    nearest = (
        rows.join(pl.concat(links), on="picture")
        .join(others, on="keeper")
        .with_columns(sure=_sure(), bytes=pl.col("by") != BYTES)
        .sort(
            ["sure", "similarity", "keeper_source", "keeper_key", "bytes"],
            descending=[False, True, False, False, False],
        )
        .unique(["source", "source_key"], keep="first", maintain_order=True)
    )
    return _shaped(nearest).sort(["source", "source_key"])


def _number(groups: Groups | None, pictures: pl.Series, pairs: pl.DataFrame) -> None:
    if groups is not None:
        groups.number(pictures, pairs.filter(pl.col("method") == SAME_VECTOR))


def _greedy(n: int, found: list[Layer], groups: Groups | None) -> tuple[npt.NDArray[np.bool_], pl.DataFrame]:
    """(n,) whether a picture is dropped, taken in order; and the links within groups of those that are kept."""
    gone = np.zeros(n, dtype=bool)
    looked = [(layer.classes.tolist(), layer.start.tolist(), layer.reached) for layer in found]
    grouped: list[tuple[int, Indices, Numbers]] = []
    for picture in range(n):
        if gone[picture]:
            continue
        for classes, start, reached in looked:
            of = classes[picture]
            gone[reached[start[of] : start[of + 1]]] = True  # those ahead of it that it reaches are dropped as it is
        if groups is not None:
            near, cosine = groups.near(picture)
            if len(near):
                gone[near] = True
                grouped.append((picture, near, cosine))
        gone[picture] = False
    return gone, _grouped(grouped)


def _links(layer: Layer, pictures: Indices) -> pl.DataFrame:
    keeper, picture, similarity = layer.links(pictures)
    return _linked(picture, keeper, similarity, layer.by)


def _grouped(near: list[tuple[int, Indices, Numbers]]) -> pl.DataFrame:
    keepers = [np.full(len(others), keeper) for keeper, others, _ in near]
    none: list[npt.NDArray[np.float64]] = [np.empty(0)]
    others = np.concatenate([*none, *(others for _, others, _ in near)])
    cosine = np.concatenate([*none, *(cosine for _, _, cosine in near)])
    return _linked(others, np.concatenate([*none, *keepers]), cosine, BY_COSINE)


def _linked(picture: npt.NDArray[Any], keeper: npt.NDArray[Any], similarity: Numbers, by: str) -> pl.DataFrame:
    table = pl.DataFrame({"picture": picture, "keeper": keeper, "similarity": similarity})
    return table.filter(pl.col("picture") != pl.col("keeper")).with_columns(by=pl.lit(by)).cast(_LINK)  # type: ignore[arg-type]


def _sure() -> pl.Expr:
    return pl.col("by").replace_strict(_SUREST, return_dtype=pl.Int64)


def _shaped(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(list(SCHEMA)).cast(SCHEMA)  # type: ignore[arg-type]


def _ranked(rows: pl.DataFrame, pairs: pl.DataFrame, keep_order: Sequence[str], groups: Groups | None) -> pl.DataFrame:
    """The rows that can be duplicates, in rank order, numbered from 0."""
    ids = [pairs["image_id"], pairs["other_id"].alias("image_id")]
    if groups is not None:
        ids.append(groups.members["image_id"])
    shared = rows.group_by("image_id").len().filter(pl.col("len") > 1).select("image_id")
    paired = pl.concat(ids).unique().to_frame()
    involved = rows.join(pl.concat([paired, shared]).unique(), on="image_id", how="semi")
    place = pl.col("collection").replace_strict(
        {name: at for at, name in enumerate(keep_order)}, default=len(keep_order), return_dtype=pl.Int64
    )
    ahead = ["ahead"] if "ahead" in rows.columns else []
    return (
        involved.with_columns(place=place if keep_order else pl.lit(0, pl.Int64))
        .sort([*ahead, "place", -pl.col("pixels"), "image_id", "source", "source_key"])
        .with_row_index("rank")
        .with_columns(pl.col("rank").cast(pl.Int64))
    )
