"""A release exported and verified beside a plain copy with SHA-256, and how much of its next version a store of chunks must take in.

    python benchmarks/exports.py                    # 20,000 JPEGs of about 45 kB, medians of 3

The copy reads the lake's shards, hashes and writes them, a mebibyte at a time in one thread, and has them on the disk at the end, as the
export has. The next version has one row in three hundred left out, as many new, and as many with another caption: 1 %. Chunks end where
a Gear hash of the last 64 bytes says so, 64 KiB on average, 8 to 128, as those of the Hub's store do by its documentation, with a table
of random numbers of our own.
"""

import argparse
import hashlib
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from loader import made, store

from captionlake.lake import Lake
from captionlake.lake.exports.image_parquet import export_parquet
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.shards import PICTURES_PER_SHARD

PIECE = 2**20
LEAST, MASK, MOST = 8 * 2**10, np.uint64(0xFFFF << 48), 128 * 2**10


def make(root: Path, pictures: int) -> None:
    """A lake with two releases of which the second differs in 1 % of the rows."""
    fresh = made(pictures)
    with Lake.init(root / "lake") as lake:
        while part := list(islice(fresh, PICTURES_PER_SHARD)):
            store(lake, part)
        lake.commit(
            lambda c: c.execute(
                "INSERT INTO sources (source, collection, redistribute) VALUES ('made', 'coco', 'bytes')"
            )
        )
        release(lake, "1.0.0", "hash(source_key) % 300 <> 0")
        lake.commit(
            lambda c: c.execute(
                "INSERT INTO captions BY NAME SELECT * REPLACE (caption_id || '-2' AS caption_id, upper(text) AS text) FROM captions "
                "WHERE hash(image_id) % 300 = 1"
            )
        )
        release(lake, "2.0.0", "hash(source_key) % 300 <> 2")


def release(lake: Lake, version: str, where: str) -> None:
    """The pictures for which the condition holds."""
    none = dict.fromkeys(("source", "source_key", "detail", "keeper_source", "keeper_key"), pl.String)
    left = lake.arrow(f"SELECT source, source_key FROM images WHERE NOT ({where})")
    empty = {name: pl.lit(None, kind) for name, kind in none.items() if name not in left.column_names}
    exclusions = pl.DataFrame(pl.from_arrow(left)).with_columns(
        reason=pl.lit("predicate"), similarity=pl.lit(None, pl.Float64), **empty
    )
    create_release(
        lake,
        Draft(
            config=ReleaseConfig(name="made", version=version),
            recipe="",
            snapshot=lake.snapshot(),
            items=lake.arrow(f"SELECT source, source_key, image_id, 'train' AS split FROM images WHERE {where}"),
            exclusions=exclusions.to_arrow(),
            producers=["made"],
        ),
    )


def copy(lake: Path, out: Path) -> None:
    """The lake's shards, hashed and written."""
    out.mkdir()
    for path in sorted((lake / "images").iterdir()):
        digest = hashlib.sha256()
        with path.open("rb") as one, (out / path.name).open("wb") as other:
            while piece := one.read(PIECE):
                digest.update(piece)
                other.write(piece)
            other.flush()
            os.fsync(other.fileno())


def timed(what: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    what()
    return time.perf_counter() - clock, time.process_time() - processor


def chunks(data: npt.NDArray[np.uint8]) -> list[tuple[int, bytes]]:
    """Length and hash of each chunk of a file."""
    table = np.random.default_rng(0).integers(0, 2**64, 256, np.uint64)
    rolling = table[data]
    for shift in (1, 2, 4, 8, 16, 32):  # the sum over the last 64 bytes, each shifted by its age
        rolling[shift:] += rolling[:-shift] << np.uint64(shift)
    ends = np.flatnonzero((rolling & MASK) == 0) + 1
    found, start, at = [], 0, 0
    while start < len(data):
        at = int(np.searchsorted(ends, start + LEAST))
        end = min(int(ends[at]) if at < len(ends) else len(data), start + MOST, len(data))
        found.append((end - start, hashlib.sha256(data[start:end].tobytes()).digest()))
        start = end
    return found


def new_bytes(before: Path, after: Path) -> tuple[int, int]:
    """Bytes of the files of ``after`` in chunks that no file of ``before`` has, and all its bytes."""
    known = {digest for path in before.rglob("*.parquet") for _, digest in chunks(np.fromfile(path, np.uint8))}
    of_after = [chunk for path in sorted(after.rglob("*.parquet")) for chunk in chunks(np.fromfile(path, np.uint8))]
    return sum(n for n, digest in of_after if digest not in known), sum(n for n, _ in of_after)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="captionlake-") as folder:
        root = Path(folder)
        make(root, options.pictures)
        size = sum(path.stat().st_size for path in (root / "lake/images").iterdir())
        print(f"{options.pictures:,} pictures, {size / 1e6:,.0f} MB")
        times: dict[str, list[tuple[float, float]]] = {"copy with SHA-256": [], "export": [], "verify": []}
        with Lake.open(root / "lake") as lake:
            for run in range(options.runs + 1):
                taken = {
                    "copy with SHA-256": timed(lambda: copy(root / "lake", root / "copy")),
                    "export": timed(lambda: export_parquet(lake, "made@1.0.0", root / "one")),
                    "verify": timed(lambda: verify_release(lake, "made@1.0.0")),
                }
                shutil.rmtree(root / "copy")
                if run < options.runs:
                    shutil.rmtree(root / "one")
                if run:  # the first does not count
                    for name, one in taken.items():
                        times[name].append(one)
            bare, _ = (statistics.median(column) for column in zip(*times["copy with SHA-256"], strict=True))
            for name, found in times.items():
                clock, processor = (statistics.median(column) for column in zip(*found, strict=True))
                print(
                    f"{name}: {size / clock / 1e6:,.0f} MB/s, {bare / clock:.2f} of the copy (goal: 0.8), {processor:.2f} s of processor"
                )
            export_parquet(lake, "made@2.0.0", root / "two")
        new, total = new_bytes(root / "one", root / "two")
        print(
            f"the next version: {new / 1e6:,.1f} of {total / 1e6:,.0f} MB in new chunks, {100 * new / total:.1f} % (goal: under 10)"
        )
    print(
        f"largest memory of this process, mapped files included: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
