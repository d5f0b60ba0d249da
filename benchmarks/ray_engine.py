"""What a Ray cluster costs: the same steps in one process and on three nodes of one machine, a core each.

Pictures are embedded by ViT-B/32 of RANDOM weights, and made-up vectors are joined at 0.95. One machine's cores are all that there is, so
three nodes can be no quicker than one process with as many: what is shown is the overhead. Prints seconds of both, the start of the
nodes, the first task (each node's process starts, imports torch and loads the model), and tasks a second that do nothing. Results are
compared.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}

import pictures
import pyarrow as pa
from embedding import save_random_model
from vectors import clip_like

from captionlake.curation import embedding
from captionlake.curation.embedding import EmbedConfig, embed
from captionlake.curation.join import JoinConfig
from captionlake.curation.similarity import find_pairs
from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ray_engine import RayEngine


def nothing() -> None:
    """Loads nothing."""


def passed_on(_: None, task: int) -> Iterator[int]:
    """Does nothing."""
    yield task


def timed(what: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds)."""
    started = time.perf_counter()
    found = what()
    return found, time.perf_counter() - started


def embedded(folder: Path, given: list[Path], config: EmbedConfig, engine: Engine) -> tuple[Any, float]:
    """The vectors of a new lake of the pictures, and the seconds that they took."""
    with Lake.init(folder) as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(path) for path in given]))
        _, seconds = timed(lambda: embed(lake, config, engine=engine))
        return lake.rows("SELECT image_id, vector FROM embeddings ORDER BY 1"), seconds


def paired(folder: Path, count: int, engine: Engine) -> tuple[Any, float]:
    """The pairs of made-up vectors, and the seconds that they took."""
    vectors = clip_like(count, 512)
    ids = [f"{number:064x}" for number in range(count)]
    with Lake.init(folder) as lake:
        table = pa.table({"image_id": ids, "model_id": ["made-up"] * count, "vector": list(vectors)})
        lake.append("embeddings", table, ["image_id", "model_id"])
        _, seconds = timed(lambda: find_pairs(lake, "made-up", 0.95, JoinConfig(), engine=engine))
        return lake.rows("SELECT * FROM similar_pairs ORDER BY ALL"), seconds


def nodes(count: int) -> Any:
    """A head without cores, and so many nodes with one each, on loopback."""
    from ray.cluster_utils import Cluster

    told: dict[str, Any] = {
        "object_store_memory": 80 * 2**20,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.1",
    }
    cluster = Cluster(initialize_head=True, head_node_args={**told, "num_cpus": 0})
    for _ in range(count):
        cluster.add_node(**told, num_cpus=1)
    cluster.wait_for_nodes()
    return cluster


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1200)
    parser.add_argument("--vectors", type=int, default=60_000)
    parser.add_argument("--per-task", type=int, default=100, help="Pictures of a task, in both.")
    options = parser.parse_args()
    embedding.COMMIT_EVERY = options.per_task
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        pictures.write_crops(root / "pictures", options.pictures)
        (root / "model").mkdir()
        weights = str(save_random_model("ViT-B-32", root / "model"))
        config = EmbedConfig(model="random-vit-b-32", pretrained=weights, device="cpu", precision="fp32", threads=1)
        given = [root / "pictures"]
        vectors, here = embedded(root / "here", given, config, LOCAL)
        pairs, joined = paired(root / "pairs-here", options.vectors, LOCAL)
        cluster, started = timed(lambda: nodes(3))
        try:
            with closing(RayEngine(cluster.address)) as engine:
                _, first = timed(lambda: list(engine.run(nothing, passed_on, range(3))))
                _, many = timed(lambda: list(engine.run(nothing, passed_on, range(1000))))
                vectors_there, there = embedded(root / "there", given, config, engine)
                pairs_there, joined_there = paired(root / "pairs-there", options.vectors, engine)
        finally:
            cluster.shutdown()
    assert vectors == vectors_there and pairs == pairs_there
    print(
        f"three nodes started in {started:.1f} s; their processes in {first:.1f} s; then {1000 / many:,.0f} empty tasks/s"
    )
    print(
        f"embed, {len(vectors):,} pictures, {options.per_task} a task: here {here:.1f} s ({len(vectors) / here:.1f}/s), "
        f"on three nodes {there:.1f} s ({len(vectors) / there:.1f}/s); vectors bitwise the same"
    )
    print(
        f"join, {options.vectors:,} x 512: here {joined:.1f} s, on three nodes {joined_there:.1f} s; {len(pairs):,} pairs, the same"
    )


if __name__ == "__main__":
    main()
