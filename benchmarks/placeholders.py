"""Cheap signs of duplicates, and what a placeholder costs.

``--pictures`` made-up vectors with CLIP's statistics (``vectors.py``), among them none, or a growing number of slightly different
files of one placeholder picture: seconds, rows of ``similar_pairs``, and the pairs that these stand for. Then pairs of random
perceptual hashes, of which one in a hundred is a copy with up to 4 bits changed.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from vectors import clip_like

from captionlake.curation.hashes import near_pairs
from captionlake.curation.similarity import find_pairs
from captionlake.lake import Lake

THRESHOLD = 0.95


def placeholders(pictures: int, copies: int) -> None:
    """One line: a lake with so many files of nearly one picture."""
    vectors = clip_like(pictures, 512, seed=0)
    random = np.random.default_rng(1)
    near = vectors[:1] + 0.05 * random.normal(size=(copies, 512)).astype(np.float32) / np.sqrt(512)
    vectors = np.concatenate([vectors, near / np.linalg.norm(near, axis=1, keepdims=True)]).astype(np.float32)
    vectors = vectors[random.permutation(len(vectors))]
    with tempfile.TemporaryDirectory() as folder, Lake.init(Path(folder) / "lake") as lake:
        flat = pa.array(vectors.reshape(-1))
        offsets = pa.array(np.arange(0, vectors.size + 1, 512), pa.int32())
        table = pa.table(
            {
                "image_id": [f"{n:064x}" for n in range(len(vectors))],
                "model_id": ["made-up"] * len(vectors),
                "vector": pa.ListArray.from_arrays(offsets, flat),
            }
        )
        lake.append("embeddings", table, ["image_id", "model_id"])
        started = time.perf_counter()
        counts = find_pairs(lake, "made-up", THRESHOLD)
        seconds = time.perf_counter() - started
    within = copies * (copies + 1) // 2
    print(
        f"{pictures:,} pictures, {copies:>6,} files of a placeholder ({within:>11,} pairs): {counts.pairs:>7,} rows, {seconds:5.1f} s",
        flush=True,
    )


def hashes(pictures: int, distance: int) -> None:
    """One line: pairs of so many hashes."""
    random = np.random.default_rng(2)
    values = random.integers(0, 2**64, pictures, dtype=np.uint64)
    copies = pictures // 100
    flips = np.zeros(copies, np.uint64)
    for _ in range(4):
        flips |= np.uint64(1) << random.integers(0, 64, copies, dtype=np.uint64)
    values[-copies:] = values[:copies] ^ flips
    started = time.perf_counter()
    i, _, _ = near_pairs(values, distance)
    print(
        f"{pictures:,} hashes, {copies:,} copies, within {distance} bits: {len(i):,} pairs, {time.perf_counter() - started:.1f} s",
        flush=True,
    )


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--hashes", type=int, default=1_200_000)
    options = parser.parse_args()
    for copies in (0, 1_000, 10_000, 50_000):
        placeholders(options.pictures, copies)
    for distance in (2, 4, 8):
        hashes(options.hashes, distance)


if __name__ == "__main__":
    main()
