"""Search and comparison with a benchmark over a lake of made-up rows: what the caches cost, and how long an answer takes.

    python benchmarks/search.py                  # 100,000 pictures, vectors of 512 numbers, captions of 150 words
    python benchmarks/search.py --rows 1200000 --words 12

Words are drawn by Zipf's law from 50,000 made-up ones, vectors at random; there are no pictures behind the rows.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import median

from captionlake.curation.caption_index import caption_index, index_path
from captionlake.curation.hashes import near_hashes
from captionlake.curation.search import search_text, search_vector
from captionlake.curation.vector_cache import cached_vectors, vectors_folder
from captionlake.lake import Lake

BATCH = 20_000
D = 512
IMAGES = """INSERT INTO lake.images BY NAME
SELECT 's' AS source, i::VARCHAR AS source_key, 'c' || (i % 4) AS collection, sha256(i::VARCHAR) AS image_id, 640 AS width,
    480 AS height, 'JPEG' AS format, 1 AS orientation, 100000 AS n_bytes, hash(i) AS phash, 'shard-000001.parquet' AS shard,
    0 AS "row", 0 AS "offset", '{}' AS meta, now() AS ingested_at
FROM range(?, ?) t(i)"""
CAPTIONS = """INSERT INTO lake.captions BY NAME
SELECT md5(i::VARCHAR) AS caption_id, sha256(i::VARCHAR) AS image_id, 's' AS source, i::VARCHAR AS source_key, 'teacher' AS kind,
    'made' AS producer, text, length(text) AS chars, 0 AS words, now() AS created_at
FROM _texts"""
VECTORS = (
    "INSERT INTO lake.embeddings BY NAME SELECT sha256(i::VARCHAR) AS image_id, 'm' AS model_id, vector FROM _texts"
)


def fill(lake: Lake, first: int, last: int, words: int) -> None:
    """Rows ``first`` to ``last``, committed in batches."""
    known = np.array([f"w{number:05d}" for number in range(50_000)], dtype=object)
    shares = 1 / np.arange(1, len(known) + 1)
    edges = np.cumsum(shares / shares.sum())
    for at in range(first, last, BATCH):
        end = min(at + BATCH, last)
        chance = np.random.default_rng(at)
        drawn = np.searchsorted(edges, chance.random((end - at, words))).clip(0, len(known) - 1)
        vectors = chance.normal(size=(end - at, D)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        offsets = pa.array(np.arange(0, (end - at) * D + 1, D, dtype=np.int32))
        rows = pa.table(
            {
                "i": np.arange(at, end),
                "text": [" ".join(row) for row in known[drawn]],
                "vector": pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel())),
            }
        )

        def change(connection: object, at: int = at, end: int = end) -> None:
            lake.connection.execute(IMAGES, [at, end])
            lake.connection.execute(CAPTIONS)
            lake.connection.execute(VECTORS)

        with lake.registered(_texts=rows):
            lake.commit(change)
    lake.merge_small_files()


def seconds(what: Callable[[], object]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=150)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, Lake.init(Path(temporary) / "lake") as lake:
        fill(lake, 0, options.rows, options.words)
        print(f"{options.rows:,} pictures with a vector of {D} and a caption of {options.words} words each")
        _vectors(lake)
        _words(lake)
        more = options.rows // 100
        fill(lake, options.rows, options.rows + more, options.words)
        print(f"after {more:,} more:")
        print(f"  vectors brought up in {seconds(lambda: cached_vectors(lake, 'm')):.2f} s")
        print(f"  words brought up in {seconds(lambda: search_text(lake, 'w00500')):.2f} s")
        _hashes(options.rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"largest memory of this process, mapped files included: {peak:,.0f} MiB")


def _vectors(lake: Lake) -> None:
    built = seconds(lambda: cached_vectors(lake, "m"))
    size = sum(path.stat().st_size for path in vectors_folder(lake.path, "m").iterdir())
    print(
        f"vectors: cached in {built:.1f} s, {size / 2**20:,.0f} MiB; opened again in {median(lambda: cached_vectors(lake, 'm')):.4f} s"
    )
    query = np.random.default_rng(7).normal(size=D).astype(np.float32)
    for limit in (20, 1000):
        took = median(lambda limit=limit: search_vector(lake, query, model_id="m", limit=limit))  # type: ignore[misc]
        print(f"  the {limit:,} nearest, with what is shown of them: {took:.3f} s")
    from captionlake.curation.nearest import nearest

    cached = cached_vectors(lake, "m")
    print(
        f"  the 20 nearest alone: {median(lambda: nearest(cached.vectors, query, 20, deviation=cached.deviation)):.4f} s"
    )


def _words(lake: Lake) -> None:
    def build() -> None:
        with caption_index(lake):
            pass

    built = seconds(build)
    print(
        f"words: indexed in {built:.1f} s, {sum(file.stat().st_size for file in index_path(lake.path).iterdir()) / 2**20:,.0f} MiB"
    )
    for text in ("w20000", "w00500 w01000", "w00000 w00001", "w0001*"):
        took = median(lambda text=text: search_text(lake, text))  # type: ignore[misc]
        with caption_index(lake) as index:
            alone = median(lambda text=text: index.best(text, 20))  # type: ignore[misc]
            count = index.count(text)
        print(f"  {text!r} ({count:,} captions): {took:.3f} s, of the index alone {alone:.4f} s")


def _hashes(rows: int) -> None:
    chance = np.random.default_rng(1)
    lake, bench = (chance.integers(0, 2**64, size=n, dtype=np.uint64) for n in (rows, 4000))
    print(f"perceptual hashes of {rows:,} with 4,000: {seconds(lambda: near_hashes(lake, bench, 4)):.1f} s")


if __name__ == "__main__":
    main()
