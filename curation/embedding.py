"""Embed: a unit vector for each picture of the lake that has none by this model yet.

Work goes shard by shard in disk order: what is pending is asked again for each batch of shards, so memory does not grow
with the lake, and a killed run goes on after its last commit.
"""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from captionlake.curation.model import EmbedConfig, ImageModel, load_model, model_id
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.progress import progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

__all__ = ["EmbedConfig", "EmbedCounts", "ImageModel", "embed", "load_model", "model_id"]

log = logging.getLogger(__name__)

COMMIT_EVERY = 2000  # pictures; what a kill can lose
_NORM_TOLERANCE = 1e-5
_SCHEMA = pa.schema([("image_id", pa.string()), ("model_id", pa.string()), ("vector", pa.list_(pa.float32()))])


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedCounts:
    """``images`` distinct pictures in the lake: ``present`` had a vector before, ``embedded`` got one now."""

    model_id: str
    images: int
    present: int
    embedded: int


def embed(lake: Lake, config: EmbedConfig, *, model: ImageModel | None = None) -> EmbedCounts:
    """Embed each distinct picture without a vector by this model. ``model`` spares loading it again.

    Raises, naming the picture, where one cannot be decoded or its vector is not a unit vector; what was committed
    stays.
    """
    model = model or load_model(config)
    pending = lake.rows(_sql("pending_shards"), [model.model_id])
    images = int(lake.value("SELECT count(DISTINCT image_id) FROM images"))
    total = sum(count for _, count in pending)
    embedded = 0
    with progress("embed", total) as advance, ThreadPoolExecutor(config.threads or os.cpu_count()) as pool:
        for shards in _groups(pending, COMMIT_EVERY):
            ids = [row for (row,) in lake.rows(_sql("pending_images"), [shards, model.model_id])]
            for part in range(0, len(ids), COMMIT_EVERY):
                made = _embed_batch(
                    lake, model, config.batch_size or model.batch_size, pool, ids[part : part + COMMIT_EVERY]
                )
                embedded += _store(lake, made)
                advance(made.num_rows)
    if embedded:
        lake.merge_small_files()
    return EmbedCounts(model_id=model.model_id, images=images, present=images - total, embedded=embedded)


def _groups(pending: Sequence[tuple[str, int]], size: int) -> Iterator[list[str]]:
    """Shards in order, grouped so that each group but the last has at least ``size`` pending pictures."""
    group: list[str] = []
    count = 0
    for shard, pictures in pending:
        group.append(shard)
        count += pictures
        if count >= size:
            yield group
            group, count = [], 0
    if group:
        yield group


def _embed_batch(
    lake: Lake, model: ImageModel, batch_size: int, pool: ThreadPoolExecutor, image_ids: Sequence[str]
) -> pa.Table:
    """Rows of ``embeddings`` for the pictures named.

    One batch is decoded by the pool while the model works on another.
    """
    tables = []
    prepared = _prepared(lake, model, pool, image_ids, ahead=2 * batch_size)
    while batch := list(islice(prepared, batch_size)):
        ids = [image_id for image_id, _ in batch]
        try:
            vectors = model.vectors([picture for _, picture in batch])
        except ValueError as error:
            raise CaptionlakeError(
                f"{model.model_id} made no usable vector ({error}) among pictures {ids[0]} … {ids[-1]}: "
                "check the model's weights, and look at these pictures"
            ) from error
        tables.append(_table(ids, model.model_id, vectors))
    return pa.concat_tables(tables) if tables else _SCHEMA.empty_table()


def _prepared(
    lake: Lake, model: ImageModel, pool: ThreadPoolExecutor, image_ids: Sequence[str], *, ahead: int
) -> "Iterator[tuple[str, torch.Tensor]]":
    """Prepared pictures in disk order, each once; at most ``ahead`` are being decoded or wait."""
    waiting: deque[tuple[str, Future[torch.Tensor]]] = deque()
    seen: set[str] = set()
    try:
        for image_id, data in lake.pictures(image_ids):
            if image_id in seen:
                continue
            seen.add(image_id)
            waiting.append((image_id, pool.submit(model.prepare, data)))
            if len(waiting) >= ahead:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        for _, future in waiting:
            future.cancel()


def _result(image_id: str, future: "Future[torch.Tensor]") -> "tuple[str, torch.Tensor]":
    try:
        return image_id, future.result()
    except Exception as error:  # Pillow's decoders raise many kinds
        raise CaptionlakeError(
            f"picture {image_id} cannot be decoded ({' '.join(str(error).split())[:200]}): "
            "restore its shard from a backup, or take the picture down"
        ) from error


def _table(ids: list[str], model_id: str, vectors: "npt.NDArray[np.float32]") -> pa.Table:
    import numpy as np

    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not (np.abs(lengths - 1) <= _NORM_TOLERANCE).all():
        raise CaptionlakeError(
            f"{model_id} made vectors that are not of unit length: report this with the model's name"
        )
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
    return pa.table([pa.array(ids), pa.array([model_id] * len(ids)), column], schema=_SCHEMA)


def _store(lake: Lake, rows: pa.Table) -> int:
    """Commit the vectors of pictures that are still in the lake and have none yet. Returns how many."""

    def change(connection: duckdb.DuckDBPyConnection) -> int:
        found = connection.execute(_sql("add_embeddings")).fetchone()
        return int(found[0]) if found else 0

    with lake.registered(_made=rows):
        return lake.commit(change)


def _sql(name: str) -> str:
    return files("captionlake.curation").joinpath(f"sql/{name}.sql").read_text()
