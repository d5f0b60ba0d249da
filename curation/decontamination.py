"""Decontaminate: which pictures of the lake are a benchmark's, by the same bytes, by perceptual hash, and by CLIP.

Only ``contamination`` is written: facts, a row for each picture and each item that shows it. A release leaves such
pictures out when it is chosen.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from captionlake.curation.benchmark_pictures import BenchmarkPictures, read_pictures
from captionlake.curation.benchmarks import Benchmark, benchmarks_in
from captionlake.curation.decontamination_config import DecontaminateConfig
from captionlake.curation.hashes import near_hashes
from captionlake.curation.join import cross_pairs
from captionlake.curation.vector_cache import CachedVectors, cached_vectors
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.runs import note_run

if TYPE_CHECKING:
    from captionlake.curation.encoder import Encoder

__all__ = ["Contamination", "DecontaminateConfig", "decontaminate"]

BYTES, PHASH = "sha256", "phash"  # what stands as model_id where no model was asked
_EXAMPLES = 20  # unread items that are told
_MATCHES: dict[str, Any] = {"image_id": pl.String, "place": pl.Int64, "similarity": pl.Float64, "model_id": pl.String}


@dataclass(frozen=True, kw_only=True, slots=True)
class Contamination:
    """What was found of one benchmark.

    ``items`` of it, showing ``pictures`` different ones; ``unread`` items by reason, the first of them in ``examples``
    (item, reason, detail). Of the lake, pictures found by the same bytes, by perceptual hash, and by CLIP (None: no
    model was asked); ``images``: by any of them, ``collections``: those by collection. ``found``: pictures of the
    benchmark that are in the lake. ``rows`` of ``contamination``.
    """

    benchmark: str
    form: str
    files: list[str]
    items: int
    pictures: int
    unread: dict[str, int]
    examples: list[tuple[str, str, str]] = field(repr=False)
    by_bytes: int
    by_phash: int
    by_clip: int | None
    images: int
    collections: dict[str, int]
    found: int
    rows: int
    notes: list[str]
    seconds: float


def decontaminate(lake: Lake, config: DecontaminateConfig, *, model: "Encoder | None" = None) -> list[Contamination]:
    """Compare the lake with each benchmark and store what is found, in the place of what was found before.

    Without ``model``, or where the lake has no vectors by it, pictures are compared by bytes and perceptual hash alone.
    """
    benchmarks = [one for path in config.against for one in benchmarks_in(Path(path), config.benchmark)]
    names = Counter(benchmark.name for benchmark in benchmarks)
    if twice := [name for name, count in names.items() if count > 1]:
        raise CaptionlakeError(
            f"two of the benchmarks are called {', '.join(twice)}: compare with one at a time, with a name"
        )
    notes: list[str] = []
    vectors = _lake_vectors(lake, model, notes)
    return [_against(lake, benchmark, config, model if vectors else None, vectors, notes) for benchmark in benchmarks]


def _lake_vectors(lake: Lake, model: "Encoder | None", notes: list[str]) -> CachedVectors | None:
    """The lake's vectors by the model; notes what cannot be compared by CLIP."""
    if model is None:
        notes.append("no model was given: compared by bytes and perceptual hash alone")
        return None
    images = int(lake.value("SELECT count(DISTINCT image_id) FROM images"))
    embedded = int(lake.value("SELECT count(*) FROM embeddings WHERE model_id = ?", [model.model_id]))
    if not embedded:
        notes.append(
            f"no picture of the lake is embedded by {model.model_id}: compared by bytes and perceptual hash alone"
        )
        return None
    if embedded < images:
        notes.append(f"{images - embedded:,} of the lake's {images:,} pictures have no vector: run  captionlake embed")
    return cached_vectors(lake, model.model_id)


def _against(
    lake: Lake,
    benchmark: Benchmark,
    config: DecontaminateConfig,
    model: "Encoder | None",
    vectors: CachedVectors | None,
    notes: Sequence[str],
) -> Contamination:
    started = time.monotonic()
    read = read_pictures(benchmark, model)
    if not read.items and not read.unread:
        where = ", ".join(str(path) for path in benchmark.files)
        raise CaptionlakeError(f"no picture in {where}: give the folder of a benchmark's pictures or files")
    parts = [_by_bytes(lake, read), _by_phash(lake, read, config.phash_distance)]
    if vectors is not None and read.vectors is not None:
        parts.append(_by_clip(vectors, read.vectors, config.threshold))
    rows = _rows(benchmark.name, read, parts)
    stored, collections = _store(lake, benchmark.name, rows)
    counts = Contamination(
        benchmark=benchmark.name,
        form=benchmark.form,
        files=[path.name for path in benchmark.files],
        items=len(read.items) + len(read.unread),
        pictures=len(read.sha256),
        unread=dict(Counter(unread.reason for unread in read.unread)),
        examples=[(unread.item, unread.reason, unread.detail) for unread in read.unread[:_EXAMPLES]],
        by_bytes=parts[0]["image_id"].n_unique(),
        by_phash=parts[1]["image_id"].n_unique(),
        by_clip=parts[2]["image_id"].n_unique() if len(parts) > 2 else None,
        images=rows["image_id"].n_unique(),
        collections=collections,
        found=pl.concat(parts)["place"].n_unique(),
        rows=stored,
        notes=[*([benchmark.note] if benchmark.note else []), *notes],
        seconds=round(time.monotonic() - started, 3),
    )
    detail = {
        "files": counts.files,
        "threshold": config.threshold,
        "phash_distance": config.phash_distance,
        "model_id": vectors.model_id if vectors else None,
    }
    note_run(lake, "decontaminate", target=benchmark.name, detail=detail, counts=asdict(counts))
    return counts


def _by_bytes(lake: Lake, read: BenchmarkPictures) -> pl.DataFrame:
    wanted = pa.table({"image_id": pa.array(read.sha256, pa.string()), "place": pa.array(range(len(read.sha256)))})
    with lake.registered(_shown=wanted):
        same = lake.arrow("SELECT DISTINCT image_id, place FROM _shown SEMI JOIN images USING (image_id)")
    return _frame(same).with_columns(similarity=pl.lit(1.0), model_id=pl.lit(BYTES)).match_to_schema(_MATCHES)


def _by_phash(lake: Lake, read: BenchmarkPictures, distance: int) -> pl.DataFrame:
    """Blank pictures are left out: the perceptual hash of one flat tone is that of any other."""
    table = lake.arrow(
        "SELECT image_id, min(phash) AS phash FROM images WHERE is_blank IS NOT TRUE GROUP BY image_id ORDER BY image_id"
    )
    places = np.flatnonzero(~np.array(read.blank, dtype=bool))
    hashes = np.array(read.phash, dtype=np.uint64)[places]
    i, j, apart = near_hashes(table.column("phash").to_numpy(), hashes, distance)
    return pl.DataFrame(
        {
            "image_id": pl.Series(table.column("image_id").take(pa.array(i)).to_pylist(), dtype=pl.String),
            "place": places[j],
            "similarity": 1 - apart / 64,
            "model_id": [PHASH] * len(i),
        },
        schema=_MATCHES,
    )


def _by_clip(vectors: CachedVectors, pictures: npt.NDArray[np.float32], threshold: float) -> pl.DataFrame:
    i, j, similarity = cross_pairs(vectors.vectors, pictures, threshold)
    return pl.DataFrame(
        {
            "image_id": pl.Series([vectors.id_at(row) for row in i.tolist()], dtype=pl.String),
            "place": j,
            "similarity": similarity,
            "model_id": [vectors.model_id] * len(i),
        },
        schema=_MATCHES,
    )


def _rows(benchmark: str, read: BenchmarkPictures, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """A row for each picture of the lake and item: by bytes if they are the same, else by CLIP, else by perceptual hash."""
    order = {BYTES: 0, PHASH: 2}
    items = pl.DataFrame(
        {"item": [item for item, _ in read.items], "place": [place for _, place in read.items]},
        schema={"item": pl.String, "place": pl.Int64},
    )
    return (
        pl.concat(parts)
        .join(items, on="place")
        .with_columns(
            benchmark=pl.lit(benchmark),
            strength=pl.col("model_id").replace_strict(order, default=1, return_dtype=pl.Int64),
        )
        .sort(["image_id", "item", "strength", "similarity"], descending=[False, False, False, True])
        .unique(["image_id", "item"], keep="first", maintain_order=True)
        .select("image_id", "benchmark", "item", "similarity", "model_id")
    )


def _store(lake: Lake, benchmark: str, rows: pl.DataFrame) -> tuple[int, dict[str, int]]:
    """Replace the benchmark's rows. Returns how many there are now, and its pictures by collection."""
    insert = files("captionlake.curation").joinpath("sql/replace_contamination.sql").read_text()

    def change(connection: duckdb.DuckDBPyConnection) -> int:
        connection.execute("DELETE FROM lake.contamination WHERE benchmark = ?", [benchmark])
        added = connection.execute(insert).fetchone()
        return int(added[0]) if added else 0

    stored = lake.commit(change, _matches=rows.to_arrow())
    query = (
        "SELECT collection, count(DISTINCT image_id) FROM images SEMI JOIN "
        "(SELECT image_id FROM contamination WHERE benchmark = ?) USING (image_id) GROUP BY collection ORDER BY collection"
    )
    return stored, dict(lake.rows(query, [benchmark]))


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
