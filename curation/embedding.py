"""Embed: a unit vector for each picture of the lake that has none by this model yet.

Work goes shard by shard in disk order: what is pending is asked again for each batch of shards, so memory does not grow
with the lake, and a killed run goes on after its last commit.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from captionlake.curation.encoder import Encoder
from captionlake.curation.encoding import Encoding
from captionlake.curation.loading import Loading
from captionlake.curation.model import EmbedConfig, load_model, model_id
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.lake.progress import progress
from captionlake.lake.runs import note_run
from captionlake.lake.shards import Locator, Place, ShardReader
from captionlake.lake.storage import Storage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["EmbedConfig", "EmbedCounts", "embed", "load_model", "model_id"]

Task = tuple[Storage, list[Place]]  # the shards, and pictures there

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


def embed(lake: Lake, config: EmbedConfig, *, model: Encoder | None = None, engine: Engine = LOCAL) -> EmbedCounts:
    """Embed each distinct picture without a vector by this model. ``model`` spares loading it again here.

    Raises, naming the picture, where one cannot be decoded or its vector is not a unit vector; what was committed
    stays. The pictures that ``engine`` gets as one task are the same on each, and so are their batches.
    """
    model = model or load_model(config)
    pending = lake.rows(_sql("pending_shards"), [model.model_id])
    images = int(lake.value("SELECT count(DISTINCT image_id) FROM images"))
    total = sum(count for _, count in pending)
    embedded = batch_size = dimensions = 0
    started = time.monotonic()
    gpu = config.device != "cpu"
    loading = Loading(config, model, threads=config.threads or engine.threads(gpu=gpu), expected=total)
    made = engine.run(loading, _embedded, _tasks(lake, pending, model.model_id), gpu=gpu)
    with progress("embed", total) as advance, closing(made):
        for rows, batch in made:
            batch_size = batch
            dimensions = len(rows.column("vector")[0])
            embedded += _store(lake, rows)
            advance(rows.num_rows)
    if embedded:
        seconds = time.monotonic() - started
        detail = run_detail(config, model) | {"batch_size": batch_size, "dimensions": dimensions}
        told = {"pictures": embedded, "rate": embedded / seconds, "seconds": seconds}
        note_run(lake, "embed", target=model.model_id, detail=detail, counts=told)
        lake.merge_small_files()
    return EmbedCounts(model_id=model.model_id, images=images, present=images - total, embedded=embedded)


def _tasks(lake: Lake, pending: Sequence[tuple[str, int]], model_id: str) -> Iterator[Task]:
    """The pictures without a vector, at most ``COMMIT_EVERY`` a task. Which they are is asked as a task is taken."""
    for shards in _groups(pending, COMMIT_EVERY):
        ids = [row for (row,) in lake.rows(_sql("pending_images"), [shards, model_id])]
        for part in range(0, len(ids), COMMIT_EVERY):
            first: dict[str, Locator] = {}
            for image_id, at in lake.located(ids[part : part + COMMIT_EVERY]):
                first.setdefault(image_id, at)
            yield lake.images, list(first.items())


def _embedded(encoding: Encoding, task: Task) -> Iterator[tuple[pa.Table, int]]:
    """The rows of a task, and how many pictures a batch had in the end. Needs nothing of the lake but its shards."""
    images, located = task
    with closing(ShardReader(images)) as reader:
        pictures = _read(reader, located)
        made = [_table(batch, encoding.encoder.model_id, vectors) for batch, vectors in encoding.run(pictures)]
    if made:
        yield pa.concat_tables(made), encoding.batch_size


def _read(reader: ShardReader, located: list[Place]) -> Iterator[tuple[str, bytes]]:
    for (image_id, _), data in zip(located, reader.read_several(located), strict=True):
        if isinstance(data, CaptionlakeError):
            raise data
        yield image_id, data


def run_detail(config: EmbedConfig, model: Encoder) -> dict[str, Any]:
    """What decides a run's rate beside the model, as ``runs`` tells it."""
    return {
        "library": config.library,
        "model": config.model,
        "precision": model.placement.precision,
        "device": model.placement.device,
        "batch_size": config.batch_size or model.batch_size,
        "threads": config.threads,
    }


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

    return lake.commit(change, _made=rows)


def _sql(name: str) -> str:
    return files("captionlake.curation").joinpath(f"sql/{name}.sql").read_text()
