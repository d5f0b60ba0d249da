"""CLIPScore of each caption that has none by the model yet: how well text and picture go together.

``2.5 * max(cos(picture, text), 0)`` (Hessel et al., CLIPScore: A Reference-free Evaluation Metric for Image Captioning,
2021). The paper puts "A photo depicts " before each text; so does this. A text is cut at the model's context, and its
row says so.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.curation.text_model import TextModel
from captionlake.curation.vector_cache import cached_vectors
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.catalog import quote
from captionlake.lake.progress import progress
from captionlake.lake.runs import note_run

log = logging.getLogger(__name__)

WEIGHT = 2.5
PREFIX = "A photo depicts "
COMMIT_EVERY = 2000  # captions; what a kill can lose
BATCH = 64  # texts at a time
_SCHEMA = pa.schema(
    [("caption_id", pa.string()), ("model_id", pa.string()), ("score", pa.float64()), ("truncated", pa.bool_())]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreCounts:
    """Of ``captions`` in the lake, ``present`` had a score before, ``scored`` got one now, ``truncated`` of these were cut.

    ``without_vector``: captions of pictures without a vector by the model, which get none.
    """

    model_id: str
    captions: int
    present: int
    scored: int
    truncated: int
    without_vector: int
    seconds: float


def score(lake: Lake, model: TextModel) -> ScoreCounts:
    """Score every caption that has no score by this model's towers and whose picture has a vector.

    Committed by batches: a killed run goes on after its last commit.
    """
    started = time.monotonic()
    vectors = cached_vectors(lake, model.model_id)
    captions = int(lake.value("SELECT count(*) FROM captions"))
    known = "SELECT count(*) FROM caption_scores SEMI JOIN captions USING (caption_id) WHERE model_id = ?"
    present = int(lake.value(known, [model.pair_id]))
    scored = truncated = 0
    query = files("captionlake.curation").joinpath("sql/pending_scores.sql").read_text()
    with lake.staging("scores") as staging:
        path = staging / "pending.parquet"
        with lake.registered(_cached=vectors.table()):
            lake.connection.execute(f"COPY ({query.replace('$pair', quote(model.pair_id))}) TO {quote(str(path))}")
        with pq.ParquetFile(path) as pending, progress("score", pending.metadata.num_rows) as advance:
            total = pending.metadata.num_rows
            for batch in pending.iter_batches(COMMIT_EVERY):
                made = _scores(model, vectors.vectors, batch)
                scored += _store(lake, made)
                truncated += sum(made.column("truncated").to_pylist())
                advance(made.num_rows)
    if scored:
        lake.merge_small_files()
    counts = ScoreCounts(
        model_id=model.pair_id,
        captions=captions,
        present=present,
        scored=scored,
        truncated=truncated,
        without_vector=captions - present - total,
        seconds=round(time.monotonic() - started, 3),
    )
    note_run(lake, "score", target=model.pair_id, detail={"prefix": PREFIX, "weight": WEIGHT}, counts=asdict(counts))
    return counts


def _scores(model: TextModel, vectors: npt.NDArray[np.float32], batch: pa.RecordBatch) -> pa.Table:
    """Rows of ``caption_scores`` for captions with their texts and the rows of their pictures' vectors."""
    texts = [PREFIX + text for text in batch.column("text").to_pylist()]
    pictures = vectors[batch.column("place").to_numpy()].astype(np.float64)  # (B, D)
    parts = []
    for at in range(0, len(texts), BATCH):
        try:
            made = model.text_vectors(texts[at : at + BATCH]).astype(np.float64)
        except ValueError as error:
            first = batch.column("caption_id")[at].as_py()
            raise CaptionlakeError(
                f"{model.pair_id} made no usable vector ({error}) of a caption from {first} on: check the model's weights"
            ) from error
        parts.append((made * pictures[at : at + BATCH]).sum(axis=1))
    cosines = np.concatenate(parts)
    columns = [
        batch.column("caption_id"),
        pa.array([model.pair_id] * len(texts), pa.string()),
        pa.array(WEIGHT * np.maximum(cosines, 0.0)),
        pa.array(list(_truncated(model, texts)), pa.bool_()),
    ]
    return pa.table([column.cast(kind.type) for column, kind in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA)


def _truncated(model: TextModel, texts: list[str]) -> Iterator[bool]:
    for at in range(0, len(texts), BATCH):
        yield from model.truncated(texts[at : at + BATCH])


def _store(lake: Lake, rows: pa.Table) -> int:
    add = files("captionlake.curation").joinpath("sql/add_scores.sql").read_text()

    def change(connection: duckdb.DuckDBPyConnection) -> int:
        found = connection.execute(add).fetchone()
        return int(found[0]) if found else 0

    return lake.commit(change, _made=rows)
