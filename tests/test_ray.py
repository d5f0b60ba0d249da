"""Each step on a Ray cluster of three nodes: the same as here, and the same where a node is killed (SIGKILL) with a task in hand."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from captionlake.curation import embedding
from captionlake.curation.embedding import EmbedConfig, embed
from captionlake.curation.join import JoinConfig
from captionlake.curation.similarity import find_pairs
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake, ingest_job
from captionlake.lake.engines import LOCAL, Engine, engine_of
from captionlake.lake.fetch_cluster import Fetchers
from captionlake.lake.guard import FetchPolicy
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ray_engine import RayEngine
from captionlake.models.captions import rows_to_caption
from captionlake.models.running import cluster_workers
from captionlake.models.running.captioner import CheckpointCaptioner
from captionlake.models.running.captioning import caption
from captionlake.models.running.generation import GenerationConfig

from .curation.conftest import _save_random_clip
from .lake.image_server import ImageServer
from .models.random_llava import save_random_llava
from .ray_nodes import Killing, Nodes, by_value

pytest.importorskip("ray")

NewLake = Callable[[Path], Lake]
PICTURES = 48


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Nodes, RayEngine]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")  # Ray's own is 15, which waits for all other work of a machine
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray's word for nodes that listen on loopback alone
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
        with closing(Nodes()) as nodes, closing(RayEngine(nodes.cluster.address)) as engine:
            by_value()
            yield nodes, engine


@pytest.fixture
def engine(cluster: tuple[Nodes, RayEngine]) -> RayEngine:
    """With three living nodes."""
    cluster[0].fill()
    return cluster[1]


@pytest.fixture
def killing(cluster: tuple[Nodes, RayEngine], engine: RayEngine, tmp_path: Path) -> Killing:
    return Killing(engine, cluster[0], tmp_path / "notes")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> EmbedConfig:
    """The smallest ViT, of RANDOM weights."""
    folder = _save_random_clip(tmp_path_factory.mktemp("clip") / "random", 0, 32)
    return EmbedConfig(model="random-weights-vit", pretrained=str(folder), device="cpu", precision="fp32", threads=1)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, new_lake: NewLake, tiles: Callable[[int], list[bytes]]) -> Path:
    """A lake of small pictures."""
    root = tmp_path_factory.mktemp("ingested")
    (root / "pictures").mkdir()
    for number, data in enumerate(tiles(PICTURES)):
        (root / "pictures" / f"{number:02d}.jpg").write_bytes(data)
    with new_lake(root / "lake") as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(root / "pictures")]))
    return root / "lake"


@pytest.fixture
def copies(ingested: Path, tmp_path: Path) -> Iterator[tuple[Lake, Lake]]:
    """Two lakes that are the same."""
    folders = [shutil.copytree(ingested, tmp_path / name) for name in ("here", "there")]
    with Lake.open(folders[0]) as here, Lake.open(folders[1]) as there:
        yield here, there


def vectors(lake: Lake) -> list[tuple[Any, ...]]:
    return lake.rows("SELECT image_id, model_id, vector FROM embeddings ORDER BY 1")


def test_vectors_are_bitwise_those_made_here_though_a_node_is_killed(
    copies: tuple[Lake, Lake], clip: EmbedConfig, killing: Killing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "COMMIT_EVERY", 4)
    here, there = copies
    counts = embed(here, clip)
    assert embed(there, clip, engine=killing) == counts and counts.embedded == PICTURES
    assert vectors(there) == vectors(here)
    assert killing.killed and killing.tasks == PICTURES // 4 and killing.again() >= 1


def test_a_picture_that_does_not_decode_ends_the_run_as_it_does_here(
    copies: tuple[Lake, Lake], clip: EmbedConfig, engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "COMMIT_EVERY", 8)
    said = []
    for lake in copies:
        damage(lake, lake.value('SELECT image_id FROM images ORDER BY shard, "row" LIMIT 1 OFFSET 20'))
        with pytest.raises(CaptionlakeError) as error:
            embed(lake, clip) if lake is copies[0] else embed(lake, clip, engine=engine)
        said.append(str(error.value))
    assert said[0] == said[1] and "row 20" in said[0]
    assert vectors(copies[0]) == vectors(copies[1]) and len(vectors(copies[1])) == 16  # what was committed before stays


def captions(lake: Lake) -> list[tuple[Any, ...]]:
    return lake.rows("SELECT caption_id, image_id, text, output_tokens, finish_reason FROM captions ORDER BY 1")


def test_captions_and_failures_are_those_made_here_though_a_node_is_killed(
    copies: tuple[Lake, Lake], tmp_path: Path, killing: Killing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a LLaVA of RANDOM weights. The last picture in the order of work is damaged on the disk, so that batches are the same."""
    monkeypatch.setattr(cluster_workers, "_BATCHES", 1)
    save_random_llava(tmp_path / "mine")
    config = GenerationConfig(device="cpu", precision="fp32", max_tokens=6, batch_size=4)
    runs = []
    engines: tuple[Engine, Engine] = (LOCAL, killing)
    for lake, where in zip(copies, engines, strict=True):
        captioner = CheckpointCaptioner.find(tmp_path / "mine", config)
        rows = rows_to_caption(lake, lake.arrow("SELECT source, source_key FROM images ORDER BY source_key LIMIT 30"))
        damage(lake, rows.column("image_id")[-1].as_py())
        runs.append(caption(lake, rows, captioner, engine=where))
    here, there = runs
    assert (there.captioned, there.failed, there.failures) == (here.captioned, here.failed, here.failures)
    assert here.captioned == 29 and here.failed == {"bad_picture": 1}
    assert captions(copies[1]) == captions(copies[0])
    assert killing.killed and killing.tasks == 8 and killing.again() >= 1


def damage(lake: Lake, image_id: str) -> None:
    ((shard, offset),) = lake.rows('SELECT shard, "offset" FROM images WHERE image_id = ?', [image_id])
    with (lake.path / "images" / shard).open("r+b") as file:
        file.seek(offset)
        file.write(b"none")


def test_pairs_are_those_found_here_though_a_node_is_killed(
    new_lake: NewLake, tmp_path: Path, killing: Killing
) -> None:
    """Of 600 made-up vectors in 19 blocks, a third of them close to another."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(600, 32))
    made[400:] = made[:200] + rng.normal(scale=0.1, size=(200, 32))
    unit = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    ids = [hashlib.sha256(bytes(str(number), "ascii")).hexdigest() for number in range(len(unit))]
    rows = pa.table({"image_id": ids, "model_id": ["m"] * 600, "vector": pa.array(list(unit), pa.list_(pa.float32()))})
    found = []
    for name, where in (("here", LOCAL), ("there", killing)):
        with new_lake(tmp_path / name) as lake:
            lake.append("embeddings", rows, ["image_id", "model_id"])
            counts = find_pairs(lake, "m", 0.9, JoinConfig(block=32), engine=where)
            found.append((counts, lake.rows("SELECT * FROM similar_pairs ORDER BY ALL")))
            assert not list((lake.path / "staging").iterdir())
    assert found[0] == found[1] and found[0][0].pairs >= 200
    assert killing.killed and killing.tasks == 19 and killing.again() >= 1


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer() as running:
        yield running


def test_what_ray_fetches_is_what_is_fetched_here_though_a_node_is_killed(
    new_lake: NewLake,
    tmp_path: Path,
    cluster: tuple[Nodes, RayEngine],
    engine: RayEngine,
    server: ImageServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest_job, "_PICTURES_PER_DOWNLOAD", 8)
    urls = [server.url(f"/gated?{number}") for number in range(46)] + [server.url("/nothing"), server.url("/page")]
    stored = [fetched(new_lake(tmp_path / "here"), urls, Fetchers())]
    before = server.requests.copy()
    server.gate.clear()
    killer = threading.Thread(target=kill_a_fetching_node, args=(cluster[0], server, before["/gated"] + 5))
    killer.start()
    stored.append(fetched(new_lake(tmp_path / "there"), urls, engine.fetchers()))
    killer.join()
    assert stored[0] == stored[1] and len(stored[0][0]) == 46 and len(stored[0][1]) == 2
    assert len(cluster[0].cluster.worker_nodes) == 2
    asked = server.requests - before
    assert before["/gated"] == 46 < asked["/gated"]  # what the node had in hand was asked for a second time


def fetched(lake: Lake, urls: list[str], fetchers: Fetchers) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    table = lake.path.parent / "list.csv"
    table.write_text("url,name\n" + "".join(f'"{url}",Subject {n}\n' for n, url in enumerate(urls)))
    policy = FetchPolicy(processes=1, threads=2, timeout=600, total_timeout=600, retries=1)
    config = IngestConfig(source="web", inputs=[str(table)], allow_private_hosts=True, fetch=policy)
    with lake:
        counts = ingest(lake, config, fetchers=fetchers)
        assert counts.listed == counts.images + counts.failures
        pictures = lake.rows("SELECT source_key, image_id, url, n_bytes FROM images ORDER BY 1")
        assert len(list(lake.pictures([row[1] for row in pictures]))) == len(pictures)  # each reads back by its hash
        return pictures, lake.rows("SELECT source_key, reason, detail, attempts FROM fetch_failures ORDER BY 1")


def kill_a_fetching_node(nodes: Nodes, server: ImageServer, asked_for: int) -> None:
    """A node that waits for a picture, which no one gets until it is dead: once five were asked for, each of three nodes with two
    threads waits; after a minute three must do."""
    began = time.monotonic()
    try:
        while True:
            seconds, asked = time.monotonic() - began, server.requests["/gated"]
            waiting = asked >= asked_for or (seconds > 60 and asked >= asked_for - 2)
            if waiting and (node_id := fetching_node(nodes, server.port)):
                break
            assert seconds < 500
            time.sleep(0.1)
        nodes.kill(node_id)
    finally:
        server.gate.set()


def fetching_node(nodes: Nodes, port: int) -> str | None:
    for node in nodes.cluster.worker_nodes:
        for worker in psutil.Process(node.all_processes["raylet"][0].process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if any(one.raddr and one.raddr.port == port for one in worker.net_connections("tcp")):
                    return str(node.node_id)
    return None


RECIPE = """lake = "{lake}"
[[ingest]]
source = "folder"
inputs = ["{pictures}"]
collection = "coco"
[embed]
model = "random-weights-vit"
pretrained = "{model}"
device = "cpu"
precision = "fp32"
threads = 1
[select]
seed = 1
duplicate_threshold = 0.999
[[select.quota]]
collection = "coco"
count = "all"
[release]
name = "made"
version = "1.0.0"
"""
RUN = """import sys
from captionlake.curation import embedding
embedding.COMMIT_EVERY = 4
from captionlake.cli import main
main()
"""


def test_a_recipe_whose_command_was_killed_goes_on_to_the_same_release(
    ingested: Path, clip: EmbedConfig, tmp_path: Path, engine: RayEngine
) -> None:
    """``run RECIPE --engine ray``, killed (SIGKILL) once vectors were committed, and run again; beside the recipe run here."""
    address = engine.fetchers().address
    assert address is not None
    commands = {}
    for name, options in (("here", []), ("there", ["--engine", "ray", "--ray-address", address])):
        told = {"lake": name, "pictures": ingested.parent / "pictures", "model": clip.pretrained}
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(**told))
        commands[name] = [sys.executable, "-c", RUN, "run", str(tmp_path / f"{name}.toml"), "--json", *options]
    subprocess.run(commands["here"], check=True, capture_output=True, cwd=tmp_path)
    killed = subprocess.Popen(commands["there"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    while not n_embedded(tmp_path / "there"):
        assert killed.poll() is None
        time.sleep(0.1)
    killed.kill()
    killed.wait()
    committed = n_embedded(tmp_path / "there")
    done = subprocess.run(commands["there"], check=True, capture_output=True, cwd=tmp_path)
    steps = {step["step"]: step["counts"] for step in json.loads(done.stdout)["steps"]}
    assert committed and steps["embed"]["present"] == committed
    assert steps["embed"]["embedded"] == PICTURES - committed
    with Lake.open(tmp_path / "here") as here, Lake.open(tmp_path / "there") as there:
        assert vectors(there) == vectors(here)
        query = "SELECT content_sha256, n_items FROM releases"
        assert there.rows(query) == here.rows(query) and there.rows(query)


def n_embedded(folder: Path) -> int:
    if not Lake.exists(folder):
        return 0
    with Lake.open(folder) as lake:
        return int(lake.value("SELECT count(*) FROM embeddings"))


def test_a_cluster_that_is_not_there_is_one_line(lake: Lake) -> None:
    arguments = [
        "embed",
        "--model",
        "m",
        "--pretrained",
        "p",
        "--lake",
        str(lake.path),
        "--engine",
        "ray",
        "--ray-address",
        "127.0.0.2:1",
    ]
    done = subprocess.run([sys.executable, "-m", "captionlake", *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and "error: no Ray cluster at 127.0.0.2:1 (" in done.stderr
    with pytest.raises(CaptionlakeError, match="--engine ray"), engine_of("local", "127.0.0.2:1"):
        pass
