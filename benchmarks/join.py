"""The similarity join: every pair with a cosine of 0.95 or more among made-up vectors with CLIP's statistics (``vectors.py``).

Against FAISS (``pip install faiss-cpu``) on the same vectors: its flat index searched by range, which is exact too, and HNSW and IVF, whose
settings are raised until they find 0.99 of the pairs. Goals: recall 1; 12 times as fast as the flat index, faster than the others.
``--curve`` joins growing numbers of vectors, up to 1.2 million, each in a process of its own: seconds, processor seconds, and the
largest memory beyond that of the vectors themselves. Goals at 1.2 million: under 12 minutes and 8 GB in all; at 768 numbers a vector, 1.5
times as long at most. ``--device cuda`` joins on a GPU, with heads of growing size and as chosen by the join, and prints the share of
``--peak-tflops`` that the products reach in the whole time.
"""

import argparse
import math
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
from vectors import clip_like

from captionlake.curation.join import JoinConfig, joined, pair_blocks

THRESHOLD = 0.95
Pairs = set[tuple[int, int]]
Vectors = npt.NDArray[np.float32]


def ours(vectors: Vectors, config: JoinConfig) -> Pairs:
    """The pairs that the join finds."""
    i, j, _ = joined([_EMPTY, *pair_blocks(vectors, THRESHOLD, config)])
    return set(zip(i.tolist(), j.tolist(), strict=True))


_EMPTY = (np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))


def timed(what: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds)."""
    started = time.perf_counter()
    found = what()
    return found, time.perf_counter() - started


def of_ranges(limits: Any, neighbours: Any) -> Pairs:
    """Pairs i < j of FAISS's answer to a range search."""
    i = np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
    return {(a, b) for a, b in zip(i.tolist(), neighbours.tolist(), strict=True) if a < b}


def flat(vectors: Vectors) -> Pairs:
    """Exact, all of D numbers."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    limits, _, neighbours = index.range_search(vectors, THRESHOLD)
    return of_ranges(limits, neighbours)


def ivf(vectors: Vectors, probes: int) -> Pairs:
    """Inverted lists, as many as the root of N times 4."""
    import faiss

    lists = int(4 * math.sqrt(len(vectors)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[: 64 * lists])
    index.add(vectors)
    index.nprobe = probes
    limits, _, neighbours = index.range_search(vectors, THRESHOLD)
    return of_ranges(limits, neighbours)


def hnsw(vectors: Vectors, effort: int) -> Pairs:
    """A graph of 32 neighbours, asked for the 16 nearest of each vector."""
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = effort
    index.hnsw.efSearch = effort
    index.add(vectors)
    near, neighbours = index.search(vectors, 16)
    i, place = np.nonzero(near >= THRESHOLD)
    return {(min(a, b), max(a, b)) for a, b in zip(i.tolist(), neighbours[i, place].tolist(), strict=True) if a != b}


def against_faiss(n: int, d: int, runs: int) -> None:
    import faiss
    import torch

    faiss.omp_set_num_threads(torch.get_num_threads())
    vectors = clip_like(n, d)
    ours(vectors[:3000], JoinConfig())
    ratios = []
    for run in range(runs):
        found, seconds = timed(lambda: ours(vectors, JoinConfig()))
        exact, other = timed(lambda: flat(vectors))
        ratios.append(other / seconds)
        print(
            f"run {run + 1}: {n:,} x {d}: {len(found):,} pairs in {seconds:.2f} s, FAISS flat {len(exact):,} in {other:.1f} s: "
            f"{ratios[-1]:.1f} times as fast, {len(found - exact)} and {len(exact - found)} pairs of one alone",
            flush=True,
        )
    print(f"median {sorted(ratios)[len(ratios) // 2]:.1f} times as fast as the flat index (goal: 12 or more)")
    for name, search, efforts in (("IVF", ivf, (4, 8, 16, 32, 64)), ("HNSW", hnsw, (40, 80, 160))):
        for effort in efforts:
            near, other = timed(lambda search=search, effort=effort: search(vectors, effort))  # type: ignore[misc]
            recall = len(near & found) / len(found)
            print(
                f"FAISS {name} at {effort}: recall {recall:.4f} in {other:.1f} s, {other / seconds:.1f} times ours",
                flush=True,
            )
            if recall >= 0.99:
                break


def one(n: int, d: int, device: str) -> tuple[int, float, float, float]:
    """(pairs, seconds, processor seconds, bytes of memory at most without the vectors) of a join, by a fresh process."""
    vectors = clip_like(n, d)
    ours(vectors[:3000], JoinConfig(device=device))
    before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found, seconds = timed(lambda: ours(vectors, JoinConfig(device=device)))
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return len(found), seconds, time.process_time() - cpu, max(0, more)


def curve(counts: list[int], d: int, device: str) -> None:
    before: tuple[int, float] | None = None
    for n in counts:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pairs, seconds, cpu, more = pool.submit(one, n, d, device).result()
        told = f"{n:,} x {d}: {pairs:,} pairs in {seconds:.1f} s ({cpu:.1f} s of processors), {more / 2**20:,.0f} MiB beyond the vectors"
        if before is not None:
            power = math.log(seconds / before[1]) / math.log(n / before[0])
            told += f"; time grows as N^{power:.2f}"
        print(told, flush=True)
        before = n, seconds


def on_gpu(n: int, d: int, device: str, peak: float) -> None:
    vectors = clip_like(n, d)
    ours(vectors[:3000], JoinConfig(device=device))
    for columns in (32, 64, 128, 256, None):
        found, seconds = timed(lambda columns=columns: ours(vectors, JoinConfig(device=device, columns=columns)))  # type: ignore[misc]
        told = f"{n:,} x {d}, heads of {columns or 'chosen'} columns: {len(found):,} pairs in {seconds:.2f} s"
        if columns is not None:
            reached = n * n * columns / seconds / 1e12  # half of all pairs, a product and a sum each
            told += f", {reached:.1f} TFLOP/s, {reached / peak:.1%} of {peak:g}"
        print(told, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--numbers", type=int, nargs="+", default=[512], help="numbers a vector")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--curve", type=int, nargs="*", metavar="N", help="join so many vectors, one after the other")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--peak-tflops", type=float, default=989.0, help="of the GPU in bfloat16 (default: an H100's or H200's)"
    )
    options = parser.parse_args()
    for d in options.numbers:
        if options.device != "cpu":
            for n in options.curve or [options.vectors]:
                on_gpu(n, d, options.device, options.peak_tflops)
        elif options.curve is None:
            against_faiss(options.vectors, d, options.runs)
        else:
            curve(options.curve or [100_000, 300_000, 1_200_000], d, options.device)


if __name__ == "__main__":
    main()
