"""Similar pairs, exact at the threshold: a blocked float32 product finds candidates, float64 decides.

The similarity of a pair is the cosine ``x.y / sqrt((x.x)(y.y))`` of the stored float32 vectors, in float64.

Why no pair is missed. A float32 dot product of D terms, summed in any order, with or without fused multiply-add,
differs from the true one by at most ``gamma_D |x||y|``, where ``gamma_D = D u / (1 - D u)`` and ``u = 2^-24``
(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), plus at most ``D 2^-126`` where
products underflow. So whatever lies below ``threshold |x||y|`` by more than that is no pair, and all else is decided
in float64. There the sums are again uncertain by about ``D 2^-53``; pairs that close to the threshold are summed
exactly with ``math.fsum``.
"""

import json
import logging
import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.catalog import quote
from captionlake.lake.progress import progress

log = logging.getLogger(__name__)

BLOCK = 2048  # pictures on a side of a block: 16 MiB of float32 products
METHOD = "cosine"
SCHEMA = pa.schema([("image_id", pa.string()), ("other_id", pa.string()), ("similarity", pa.float64())])
_UNIT_TOLERANCE = 1e-3
_GATHER = 2**21  # float64 numbers gathered at a time while candidates are decided

Vectors = npt.NDArray[np.float32]  # (N, D), unit length
Indices = npt.NDArray[np.intp]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCounts:
    """``images`` compared, ``pairs`` stored at or above the threshold, ``new`` of them; ``skipped``: done before."""

    model_id: str
    threshold: float
    images: int
    pairs: int
    new: int
    skipped: bool


class Cosine:
    """Cosines of unit vectors (N, D), by blocks and by pairs."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self._squares = self._squared_lengths()
        lengths = np.sqrt(self._squares)
        if len(vectors) and not (np.abs(lengths - 1) <= _UNIT_TOLERANCE).all():
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

    def _squared_lengths(self) -> Numbers:
        step = max(1, _GATHER // max(1, self.vectors.shape[1]))
        parts = [self.vectors[at : at + step].astype(np.float64) for at in range(0, len(self.vectors), step)]
        return np.concatenate([(part * part).sum(axis=1) for part in parts]) if parts else np.empty(0)

    def candidates(self, left: Vectors, right: Vectors, threshold: float) -> tuple[Indices, Indices]:
        """Rows of ``left`` and ``right``, parts of the vectors, whose cosine may reach the threshold: all that do."""
        lowest = min(threshold * self._shortest, threshold * self._longest) - self.margin
        cut = np.nextafter(np.float32(lowest), np.float32(-np.inf))
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
            products = self.vectors[rows].astype(np.float64) * self.vectors[others]
            found[at : at + step] = products.sum(axis=1) / np.sqrt(self._squares[rows] * self._squares[others])
        for k in np.nonzero(np.abs(found - threshold) <= self._wide_margin)[0]:
            found[k] = exact_cosine(self.vectors[i[k]], self.vectors[j[k]])
        return np.minimum(found, 1.0)


def exact_cosine(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> float:
    """The cosine of two float32 vectors with each sum rounded once: products of float32 are exact in float64."""
    a, b = x.astype(np.float64), y.astype(np.float64)
    xy, xx, yy = (math.fsum((left * right).tolist()) for left, right in ((a, b), (a, a), (b, b)))
    return min(xy / math.sqrt(xx * yy), 1.0)


def pair_blocks(
    vectors: Vectors, threshold: float, block: int = BLOCK, advance: Callable[[int], None] | None = None
) -> Iterator[tuple[Indices, Indices, Numbers]]:
    """Index pairs i < j with cosine >= threshold, and the cosine, in parts of up to a few block x block pairs.

    Holds one block of products at a time. ``advance`` is told of pictures that have been compared with all others.
    """
    if not -1 <= threshold <= 1:
        raise CaptionlakeError(f"threshold {threshold} is no cosine: give a number from -1 to 1")
    cosine = Cosine(vectors)
    found: list[tuple[Indices, Indices, Numbers]] = []
    waiting = 0
    for start in range(0, len(vectors), block):
        left = vectors[start : start + block]
        for other in range(start, len(vectors), block):
            i, j = cosine.candidates(left, vectors[other : other + block], threshold)
            i, j = i + start, j + other
            above = i < j
            i, j = i[above], j[above]
            similarity = cosine.of_pairs(i, j, threshold)
            kept = similarity >= threshold
            if kept.any():
                found.append((i[kept], j[kept], similarity[kept]))
                waiting += int(kept.sum())
            if waiting >= block * block or (found and other + block >= len(vectors)):
                yield _joined(found)
                found, waiting = [], 0
        if advance:
            advance(len(left))


def _joined(found: list[tuple[Indices, Indices, Numbers]]) -> tuple[Indices, Indices, Numbers]:
    i, j, similarity = (np.concatenate(column) for column in zip(*found, strict=True))
    return i, j, similarity


def similar_pairs(ids: Sequence[str], vectors: Vectors, threshold: float, block: int = BLOCK) -> pa.Table:
    """All pairs with cosine >= threshold: image_id < other_id, similarity; sorted by the ids.

    ``vectors`` is (N, D), a row an id. Besides the result, memory is a few times block x block x 4 bytes.
    """
    names = pa.array(list(ids), pa.string())
    parts = [named_pairs(names, *found) for found in pair_blocks(vectors, threshold, block)]
    table = pa.concat_tables([SCHEMA.empty_table(), *parts])
    return table.sort_by([("image_id", "ascending"), ("other_id", "ascending")])


def named_pairs(names: pa.Array, i: Indices, j: Indices, similarity: Numbers) -> pa.Table:
    """Index pairs as a table of ids, the smaller one first."""
    import pyarrow.compute as pc

    left, right = names.take(pa.array(i)), names.take(pa.array(j))
    ordered = pc.less(left, right)
    first, second = pc.if_else(ordered, left, right), pc.if_else(ordered, right, left)
    return pa.table([first, second, pa.array(similarity)], schema=SCHEMA)


def find_pairs(lake: Lake, model_id: str, threshold: float, *, block: int = BLOCK) -> PairCounts:
    """Store every pair of embedded pictures with cosine >= threshold. What is dropped is decided later, per release.

    Skips the work when it was done at this or a lower threshold for the same set of pictures. Pairs and the note that
    they are complete are one transaction.
    """
    started = time.monotonic()
    snapshot = lake.snapshot()
    images, fingerprint = embedded_set(lake, model_id, snapshot)
    if not images:
        raise CaptionlakeError(f"no picture is embedded by {model_id}: run  captionlake embed  first")
    if pairs_complete(lake, model_id, threshold, snapshot):
        return PairCounts(
            model_id=model_id,
            threshold=threshold,
            images=images,
            pairs=_stored(lake, model_id, threshold),
            new=0,
            skipped=True,
        )
    detail = {"threshold": threshold, "n_images": images, "fingerprint": fingerprint}
    versions = {"captionlake": version("captionlake"), "numpy": np.__version__}
    run = [uuid.uuid4().hex, model_id, json.dumps(detail)]
    with lake.staging("pairs") as staging:
        found = _write_pairs(lake, model_id, threshold, block, staging, snapshot)
        add, note = (
            files("captionlake.curation").joinpath(f"sql/{name}.sql").read_text()
            for name in ("add_pairs", "note_pairs")
        )

        def change(connection: duckdb.DuckDBPyConnection) -> int:
            added = connection.execute(add.replace("$pairs", quote(str(found))), [model_id, METHOD]).fetchone()
            new = int(added[0]) if added else 0
            connection.execute(
                note,
                [*run, json.dumps({"new": new}), json.dumps(versions), time.monotonic() - started],
            )
            return new

        new = lake.commit(change)
    return PairCounts(
        model_id=model_id,
        threshold=threshold,
        images=images,
        pairs=_stored(lake, model_id, threshold),
        new=new,
        skipped=False,
    )


def _write_pairs(lake: Lake, model_id: str, threshold: float, block: int, staging: Path, snapshot: int) -> Path:
    path = staging / "pairs.parquet"
    with stored_vectors(lake, model_id, snapshot) as (ids, vectors), pq.ParquetWriter(path, SCHEMA) as writer:
        names = pa.array(ids, pa.string())
        with progress("compare pictures", len(ids)) as advance:
            for found in pair_blocks(vectors, threshold, block, advance):
                writer.write_table(named_pairs(names, *found))
    return path


def _stored(lake: Lake, model_id: str, threshold: float) -> int:
    query = "SELECT count(*) FROM lake.similar_pairs WHERE model_id = ? AND method = ? AND similarity >= ?"
    return int(lake.value(query, [model_id, METHOD, threshold]))


def embedded_set(lake: Lake, model_id: str, snapshot: int) -> tuple[int, str]:
    """How many pictures a model has embedded at a snapshot, and an order-free fingerprint of their ids: xor of MD5s."""
    query = (
        "SELECT count(*), bit_xor(md5_number(image_id)) "
        f"FROM lake.embeddings AT (VERSION => {snapshot:d}) WHERE model_id = ?"
    )
    ((count, mixed),) = lake.rows(query, [model_id])
    return int(count), f"{int(mixed or 0):032x}"


def pairs_complete(lake: Lake, model_id: str, threshold: float, snapshot: int) -> bool:
    """Whether, at a snapshot, all pairs at or above the threshold are stored for just the pictures embedded there."""
    images, fingerprint = embedded_set(lake, model_id, snapshot)
    query = (
        f"SELECT count(*) FROM lake.runs AT (VERSION => {snapshot:d}) WHERE step = 'pairs' AND target = ? "
        "AND (detail->>'threshold')::DOUBLE <= ? AND (detail->>'n_images')::BIGINT = ? AND (detail->>'fingerprint') = ?"
    )
    return bool(lake.value(query, [model_id, threshold, images, fingerprint]))


@contextmanager
def stored_vectors(lake: Lake, model_id: str, snapshot: int) -> Iterator[tuple[list[str], Vectors]]:
    """The ids and vectors (N, D) of a model at a snapshot.

    The vectors lie in a file on the lake's disk, not in memory.
    """
    images, _ = embedded_set(lake, model_id, snapshot)
    table = f"lake.embeddings AT (VERSION => {snapshot:d})"
    d = int(lake.value(f"SELECT len(vector) FROM {table} WHERE model_id = ? LIMIT 1", [model_id]) or 1)
    if not images:
        yield [], np.empty((0, d), np.float32)
        return
    with lake.staging("vectors") as staging:
        vectors = np.memmap(staging / "vectors.f32", np.float32, mode="w+", shape=(images, d))
        ids: list[str] = []
        query = f"SELECT image_id, vector FROM {table} WHERE model_id = ?"
        for batch in lake.connection.execute(query, [model_id]).to_arrow_reader(8192):
            column = batch.column("vector")
            flat = column.flatten().to_numpy(zero_copy_only=False)
            if flat.size != len(batch) * d:
                raise CaptionlakeError(f"vectors of {model_id} differ in length: remove its rows and embed again")
            vectors[len(ids) : len(ids) + len(batch)] = flat.reshape(-1, d)
            ids += batch.column("image_id").to_pylist()
        yield ids, vectors
        del vectors
