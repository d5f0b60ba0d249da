"""Pairs of pictures with like perceptual hashes: cheap, without a model, and stored beside the pairs by cosine.

In ``similar_pairs`` with ``phash`` as model_id: the method ``phash`` has a pair and its similarity, ``1 - bits / 64``;
``same_phash`` a picture and another of the same hash, which shares all such pairs of the first. Blank pictures are left out: the
hash of one flat tone is that of any other.
"""

import time
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from captionlake.curation.hashes import BITS, near_pairs
from captionlake.curation.links import PHASH, SAME_PHASH
from captionlake.curation.pair_store import add_pairs
from captionlake.curation.select_config import MOST_BITS
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

MODEL = "phash"  # what stands as model_id
_PICTURES = (
    "SELECT image_id, min(phash) AS phash FROM lake.images AT (VERSION => {version}) "
    "WHERE is_blank IS NOT TRUE GROUP BY image_id"
)
_FINGERPRINT = "SELECT count(*), bit_xor(md5_number(image_id || ':' || phash)) FROM ({pictures})"


@dataclass(frozen=True, kw_only=True, slots=True)
class HashPairCounts:
    """``images`` with a hash that says something; ``pairs`` stored within ``distance`` bits, ``new`` of them.

    ``skipped``: done before. Pictures of one hash count as one pair with the picture that stands for them.
    """

    distance: int
    images: int
    pairs: int
    new: int
    skipped: bool


def similarity_of(distance: int) -> float:
    """The least similarity of hashes so many bits apart."""
    return 1 - distance / BITS


def find_hash_pairs(lake: Lake, distance: int) -> HashPairCounts:
    """Store every pair of pictures whose perceptual hashes differ in at most ``distance`` bits, unless that was done for these."""
    if not 0 <= distance <= MOST_BITS:
        raise CaptionlakeError(
            f"a distance of {distance} bits is not from 0 to {MOST_BITS}: hashes of like pictures differ in few"
        )
    started = time.monotonic()
    snapshot = lake.snapshot()
    images, fingerprint = _hashed(lake, snapshot)
    if hash_pairs_complete(lake, distance, snapshot):
        return HashPairCounts(distance=distance, images=images, pairs=_stored(lake, distance), new=0, skipped=True)
    table = lake.arrow(f"{_PICTURES.format(version=snapshot)} ORDER BY image_id")
    with lake.staging("pairs") as staging:
        path = staging / "pairs.parquet"
        pl.concat(_pairs(table, distance)).write_parquet(path)
        detail = {"distance": distance, "n_images": images, "fingerprint": fingerprint}
        new = add_pairs(lake, path, MODEL, step="hash_pairs", detail=detail, counts={}, started=started)
    return HashPairCounts(distance=distance, images=images, pairs=_stored(lake, distance), new=new, skipped=False)


def _pairs(table: pa.Table, distance: int) -> list[pl.DataFrame]:
    ids = pl.Series("image_id", table.column("image_id").to_pylist(), dtype=pl.String)
    hashes = table.column("phash").to_numpy()
    unique, first, of = np.unique(hashes, return_index=True, return_inverse=True)  # the first is of the least id
    again = np.flatnonzero(first[of] != np.arange(len(of)))
    i, j, apart = near_pairs(unique, distance)
    one, other = np.minimum(first[i], first[j]), np.maximum(first[i], first[j])
    return [
        _frame(ids, first[of[again]], again, np.ones(len(again)), SAME_PHASH),
        _frame(ids, one, other, 1 - apart / BITS, PHASH),
    ]


def _frame(ids: pl.Series, one: object, other: object, similarity: object, method: str) -> pl.DataFrame:
    table = pl.DataFrame({"one": one, "other": other, "similarity": similarity})
    return table.select(
        image_id=ids.gather(table["one"]),
        other_id=ids.gather(table["other"]),
        similarity="similarity",
        method=pl.lit(method),
    )


def hash_pairs_complete(lake: Lake, distance: int, snapshot: int) -> bool:
    """Whether, at a snapshot, all pairs within the distance are stored for just the pictures that are there."""
    images, fingerprint = _hashed(lake, snapshot)
    query = (
        f"SELECT count(*) FROM lake.runs AT (VERSION => {snapshot:d}) WHERE step = 'hash_pairs' "
        "AND (detail->>'distance')::BIGINT >= ? AND (detail->>'n_images')::BIGINT = ? AND (detail->>'fingerprint') = ?"
    )
    return bool(lake.value(query, [distance, images, fingerprint]))


def _hashed(lake: Lake, snapshot: int) -> tuple[int, str]:
    ((count, mixed),) = lake.rows(_FINGERPRINT.format(pictures=_PICTURES.format(version=snapshot)))
    return int(count), f"{int(mixed or 0):032x}"


def _stored(lake: Lake, distance: int) -> int:
    query = "SELECT count(*) FROM lake.similar_pairs WHERE model_id = ? AND similarity >= ?"
    return int(lake.value(query, [MODEL, similarity_of(distance)]))
