"""Who is like whom among the pictures of a selection: pairs of the lake, laid out to be looked up picture by picture.

There are two ways to be alike, CLIP's cosine and the perceptual hash, and a layer for each. Pictures with the very same vector (or
hash) are one class, and pairs are pairs of classes: a class reaches all pictures of its own and of those that it is in a pair with. So a
thousand copies of one placeholder beside a thousand of another take two thousand places, not a million. Large groups whose pairs the
lake does not list are looked up in ``groups.py``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from captionlake.curation.cosine import Indices, Numbers

#: methods of ``similar_pairs``
COSINE, SAME_VECTOR, GROUP = "cosine", "same_vector", "group"
PHASH, SAME_PHASH = "phash", "same_phash"
#: by what two rows are alike, the surest first
BYTES, BY_COSINE, BY_PHASH = "bytes", "cosine", "phash"

PAIR = pa.schema([("image_id", pa.string()), ("other_id", pa.string()), ("similarity", pa.float64())])
_LAYERS = ((BY_COSINE, COSINE, SAME_VECTOR), (BY_PHASH, PHASH, SAME_PHASH))


@dataclass(frozen=True, slots=True)
class Layer:
    """One way to be alike, over P pictures in C classes.

    ``classes`` (P,): the class of each picture. ``start`` (C + 1,): where in ``reached`` the pictures begin that a class reaches, itself
    among them; ``similarity`` stands beside ``reached``.
    """

    by: str
    classes: Indices
    start: Indices
    reached: Indices
    similarity: Numbers

    def links(self, pictures: Indices) -> tuple[Indices, Indices, Numbers]:
        """(picture, one that it reaches, similarity) of these pictures."""
        classes = self.classes[pictures]
        begins, counts = self.start[classes], self.start[classes + 1] - self.start[classes]
        own = np.repeat(pictures, counts)
        at = np.arange(counts.sum()) + np.repeat(begins - (np.cumsum(counts) - counts), counts)
        return own, self.reached[at], self.similarity[at]


def layers(pictures: pl.Series, pairs: pl.DataFrame) -> list[Layer]:
    """The layers of the pictures with these ids, each once; picture n is the n-th.

    ``pairs``: image_id, other_id, similarity, and method where there are others than cosines; rows of pictures that are not
    there do nothing.
    """
    if "method" not in pairs.columns:
        pairs = pairs.with_columns(method=pl.lit(COSINE))
    return [
        _layer(pictures, by, pairs.filter(pl.col("method") == paired), pairs.filter(pl.col("method") == same))
        for by, paired, same in _LAYERS
        if pairs["method"].is_in([paired, same]).any()
    ]


def _layer(pictures: pl.Series, by: str, pairs: pl.DataFrame, same: pl.DataFrame) -> Layer:
    leaders = leaders_of(same)
    numbered = pictures.alias("image_id").to_frame().with_row_index("picture").join(leaders, on="image_id", how="left")
    named = numbered.select(pl.col("picture").cast(pl.Int64), name=pl.coalesce("leader", "image_id"))
    named = named.with_columns(of=pl.col("name").rank("dense").cast(pl.Int64) - 1).sort("picture")
    classes = named.select("name", "of").unique()
    ends = pairs.select("image_id", "other_id", "similarity")
    for column in ("image_id", "other_id"):
        led = leaders.rename({"image_id": column})
        ends = ends.join(led, on=column, how="left").with_columns(pl.coalesce("leader", column).alias(column))
        found = classes.rename({"name": column, "of": f"{column}_of"})
        ends = ends.drop("leader").join(found, on=column)
    a, b = pl.col("image_id_of"), pl.col("other_id_of")
    once = ends.select(a=pl.min_horizontal(a, b), b=pl.max_horizontal(a, b), similarity="similarity")
    once = once.filter(pl.col("a") != pl.col("b")).unique(["a", "b"], keep="first", maintain_order=True)
    itself = classes.select(a="of", b="of", similarity=pl.lit(1.0))
    turned = once.select(a="b", b="a", similarity="similarity")
    reach = pl.concat([itself, once, turned]).join(named.select("picture", b="of"), on="b").sort("a", "picture")
    start = np.searchsorted(reach["a"].to_numpy(), np.arange(classes.height + 1))
    return Layer(
        by=by,
        classes=named["of"].to_numpy(),
        start=start,
        reached=reach["picture"].to_numpy(),
        similarity=reach["similarity"].to_numpy(),
    )


def leaders_of(same: pl.DataFrame) -> pl.DataFrame:
    """The least id of each group of pictures that edges (image_id, other_id) join, group by group: image_id, leader."""
    names = pl.concat([same["image_id"], same["other_id"].alias("image_id")]).unique().sort()
    one = names.search_sorted(same["image_id"]).to_numpy()
    other = names.search_sorted(same["other_id"]).to_numpy()
    leader: npt.NDArray[np.intp] = np.arange(len(names))
    while True:  # as often as groups were joined by pictures that came later, which is seldom more than once
        least = leader.copy()
        np.minimum.at(least, one, leader[other])
        np.minimum.at(least, other, leader[one])
        least = least[least]
        if (least == leader).all():
            return pl.DataFrame({"image_id": names, "leader": names.gather(leader)})
        leader = least
