"""Similar pairs of the lake's pictures: found once, stored as facts, and found for new pictures alone when more come.

Three kinds of rows stand in ``similar_pairs``: with the method ``cosine`` a pair and its cosine; with ``same_vector`` a picture and another
that has the very same vector, and shares all pairs of the first; with ``group`` a picture and another of the group that it leads, within
which pairs are not listed (``groups.py``). What is a pair is decided exactly, see ``cosine.py``.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.curation.cosine import Indices, Numbers, Vectors
from captionlake.curation.folding import fold
from captionlake.curation.group_rows import joined_groups, known_groups
from captionlake.curation.groups import find_groups
from captionlake.curation.join import JoinConfig, pair_blocks
from captionlake.curation.links import COSINE, GROUP, PAIR, SAME_VECTOR
from captionlake.curation.pair_store import add_pairs
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.lake.progress import progress

log = logging.getLogger(__name__)

METHODS = (COSINE, SAME_VECTOR, GROUP)
_STORED = PAIR.append(pa.field("method", pa.string()))
_SMALLEST_BLOCK = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCounts:
    """``images`` embedded, of which ``compared`` had not been before; ``pairs`` stored at or above the threshold, ``new`` of them.

    ``skipped``: done before. Pictures of one vector count as one pair with the picture that stands for them.
    """

    model_id: str
    threshold: float
    images: int
    compared: int
    pairs: int
    new: int
    skipped: bool


def similar_pairs(ids: Sequence[str], vectors: Vectors, threshold: float, config: JoinConfig | None = None) -> pa.Table:
    """All pairs with cosine >= threshold: image_id < other_id, similarity; sorted by the ids.

    ``vectors`` is (N, D), a row an id.
    """
    names = pa.array(list(ids), pa.string())
    parts = [named_pairs(names, *found) for found in pair_blocks(vectors, threshold, config)]
    table = pa.concat_tables([PAIR.empty_table(), *parts])
    return table.sort_by([("image_id", "ascending"), ("other_id", "ascending")])


def named_pairs(names: pa.Array, i: Indices, j: Indices, similarity: Numbers) -> pa.Table:
    """Index pairs as a table of ids, the smaller one first."""
    import pyarrow.compute as pc

    left, right = names.take(pa.array(i)), names.take(pa.array(j))
    ordered = pc.less(left, right)
    first, second = pc.if_else(ordered, left, right), pc.if_else(ordered, right, left)
    return pa.table([first, second, pa.array(similarity)], schema=PAIR)


def find_pairs(
    lake: Lake, model_id: str, threshold: float, config: JoinConfig | None = None, *, engine: Engine = LOCAL
) -> PairCounts:
    """Store every pair of embedded pictures with cosine >= threshold. What is dropped is decided later, per release.

    Skips the work when it was done at this or a lower threshold for the same set of pictures, and compares the new pictures
    alone, with each other and with all, when it was done for a part of them. Pairs and the note that they are complete are
    one transaction. On too little memory, smaller blocks are taken. Pairs and cosines are the same on each ``engine``.
    """
    started = time.monotonic()
    if not 0 < threshold <= 1:
        raise CaptionlakeError(f"threshold {threshold} is not in (0, 1]: cosines of near-duplicates are about 0.9 to 1")
    snapshot = lake.snapshot()
    images, fingerprint = embedded_set(lake, model_id, snapshot)
    if not images:
        raise CaptionlakeError(f"no picture is embedded by {model_id}: run  captionlake embed  first")
    if pairs_complete(lake, model_id, threshold, snapshot):
        stored = _stored(lake, model_id, threshold)
        return PairCounts(
            model_id=model_id, threshold=threshold, images=images, compared=0, pairs=stored, new=0, skipped=True
        )
    detail = {"threshold": threshold, "n_images": images, "fingerprint": fingerprint, "snapshot": snapshot}
    known = _known(lake, model_id, threshold, snapshot)
    with lake.staging("pairs") as staging:
        join = _Join(model_id, threshold, snapshot, engine)
        found, compared = _write_pairs(lake, join, config or JoinConfig(), staging, known)
        counts = {"compared": compared}
        new = add_pairs(lake, found, model_id, step="pairs", detail=detail, counts=counts, started=started)
    return PairCounts(
        model_id=model_id,
        threshold=threshold,
        images=images,
        compared=compared,
        pairs=_stored(lake, model_id, threshold),
        new=new,
        skipped=False,
    )


def _known(lake: Lake, model_id: str, threshold: float, snapshot: int) -> set[str]:
    """The pictures among which all pairs at or above the threshold are stored: those of the newest such run."""
    query = (
        f"SELECT (detail->>'snapshot')::BIGINT, detail->>'fingerprint', snapshot_id FROM lake.runs AT (VERSION => {snapshot:d}) "
        "WHERE step = 'pairs' AND target = ? AND (detail->>'threshold')::DOUBLE <= ? "
        "AND (detail->>'snapshot') IS NOT NULL ORDER BY created_at DESC LIMIT 1"
    )
    for then, fingerprint, stored in lake.rows(query, [model_id, threshold]):
        try:
            if embedded_set(lake, model_id, then)[1] == fingerprint:
                at = f"lake.embeddings AT (VERSION => {then:d})"
                there = {name for (name,) in lake.rows(f"SELECT image_id FROM {at} WHERE model_id = ?", [model_id])}
                return there - _left_behind(lake, model_id, stored, snapshot)
        except duckdb.Error as error:
            log.info("snapshot %d is gone, all pictures are compared: %s", then, error)
    return set()


def _left_behind(lake: Lake, model_id: str, then: int, snapshot: int) -> set[str]:
    """Pictures whose pairs were, at the snapshot ``then``, those of another that was removed since."""
    query = (
        f"SELECT other_id FROM lake.similar_pairs AT (VERSION => {then:d}) WHERE model_id = ? AND method IN (?, ?) AND image_id "
        f"NOT IN (SELECT image_id FROM lake.embeddings AT (VERSION => {snapshot:d}) WHERE model_id = ?)"
    )
    return {name for (name,) in lake.rows(query, [model_id, SAME_VECTOR, GROUP, model_id])}


@dataclass(frozen=True, slots=True)
class _Join:
    model_id: str
    threshold: float
    snapshot: int
    engine: Engine


def _write_pairs(lake: Lake, join: _Join, config: JoinConfig, staging: Path, known: set[str]) -> tuple[Path, int]:
    """(a Parquet file of the pairs of pictures that are not known, and those with known ones; how many pictures are not)."""
    model_id, threshold, snapshot = join.model_id, join.threshold, join.snapshot
    path = staging / "pairs.parquet"
    with stored_vectors(lake, model_id, snapshot) as (ids, vectors):
        names = pa.array(ids, pa.string())
        is_known = np.array([name in known for name in ids], dtype=bool)
        stands, members, leaders = fold(ids, vectors, is_known)
        new = ~is_known[members]
        order = np.concatenate([stands[~is_known[stands]], stands[is_known[stands]]])  # the new ones first
        fresh = int((~is_known[stands]).sum())
        compared = _laid(vectors, order, staging / "compared.f32")
        ordered = names.take(pa.array(order))
        led = known_groups(lake, model_id, snapshot, ordered)
        while True:
            with pq.ParquetWriter(path, _STORED) as writer:
                twins = [names.take(pa.array(leaders[new])), names.take(pa.array(members[new]))]
                writer.write_table(_by(SAME_VECTOR, pa.table([*twins, pa.array(np.ones(new.sum()))], schema=PAIR)))
                try:
                    group = find_groups(compared, threshold, led, fresh, config)
                    writer.write_table(_by(GROUP, joined_groups(compared, ordered, group, led, threshold)))
                    # groups one behind the other, so that whole blocks are of one and need no look
                    side_by_side = np.concatenate(
                        [np.argsort(group[:fresh], kind="stable"), np.arange(fresh, len(group))]
                    )
                    laid = _laid(compared, side_by_side, staging / "grouped.f32")
                    beside = group[side_by_side]
                    with progress("compare pictures", fresh) as advance:
                        for i, j, similarity in pair_blocks(
                            laid, threshold, config, fresh=fresh, group=beside, advance=advance, engine=join.engine
                        ):
                            pairs = named_pairs(ordered, side_by_side[i], side_by_side[j], similarity)
                            writer.write_table(_by(COSINE, pairs))
                    break
                except (MemoryError, RuntimeError) as error:
                    config = _smaller(config, error)
    return path, int((~is_known).sum())


def _by(method: str, table: pa.Table) -> pa.Table:
    return table.append_column(_STORED.field("method"), pa.array([method] * len(table), pa.string()))


def _laid(vectors: Vectors, order: Indices, path: Path) -> Vectors:
    """The rows in this order, in a file on the lake's disk where they do not lie so already."""
    if len(order) == len(vectors) and (order == np.arange(len(order))).all():
        return vectors
    if not len(order):
        return vectors[:0]
    laid = np.memmap(path, np.float32, mode="w+", shape=(len(order), vectors.shape[1]))
    for at in range(0, len(order), 8192):
        laid[at : at + 8192] = vectors[order[at : at + 8192]]
    return laid


def _smaller(config: JoinConfig, error: MemoryError | RuntimeError) -> JoinConfig:
    """The next smaller blocks after a lack of memory; any other error goes on."""
    short = isinstance(error, MemoryError) or "memory" in str(error)  # torch.OutOfMemoryError is a RuntimeError
    side = config.side() // 2
    if not short or side < _SMALLEST_BLOCK:
        raise error
    log.warning("memory is short: comparing again by blocks of %d pictures", side)
    return replace(config, block=side)


def _stored(lake: Lake, model_id: str, threshold: float) -> int:
    query = (
        "SELECT count(*) FROM lake.similar_pairs WHERE model_id = ? AND list_contains(?, method) AND similarity >= ?"
    )
    return int(lake.value(query, [model_id, list(METHODS), threshold]))


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
