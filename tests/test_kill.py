"""Killed at any moment and run again, ingest and run end with what an uninterrupted run makes, and leave nothing behind."""

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from captionlake.lake import Lake

from .conftest import jpeg as jpeg_of
from .curation.conftest import _save_random_clip
from .killed import CAPTIONS, FAILURES, IMAGES, SOURCES, Commands, nothing_staged, same_rows, sound, wait_for
from .lake.image_server import jpeg

FOLDER_KILLS = 10
WEB_KILLS = 5
RUN_KILLS = 8
SMALL_SHARDS = {"captionlake.lake.ingest_job.PICTURES_PER_SHARD": 50}  # so that an ingest has several commits


def test_ingest_of_a_folder(tmp_path: Path, tile_folder: Callable[[int], Path]) -> None:
    chance = random.Random(20240517)
    folder = tile_folder(200)
    for number in range(3):
        (folder / f"broken-{number}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    kills = 0
    with Commands(tmp_path, ["captionlake.lake.ingest_job"], SMALL_SHARDS) as commands:
        empty, whole = tmp_path / "empty", tmp_path / "whole"
        commands.run("init", empty)
        shutil.copytree(empty, whole)
        commands.learn("ingest", "folder", folder, "--lake", whole)
        while kills < FOLDER_KILLS:
            lake = tmp_path / f"lake-{uuid.uuid4().hex}"
            shutil.copytree(empty, lake)
            settled: set[tuple[str, str]] = set()
            for _ in range(6):
                if commands.run("ingest", "folder", folder, "--lake", lake, at=commands.moment(chance)):
                    break
                kills += 1
                now = sound(lake)
                assert now >= settled
                settled = now
            assert commands.run("ingest", "folder", folder, "--lake", lake)
            sound(lake)
            same_rows(lake, whole, IMAGES, CAPTIONS, FAILURES, SOURCES)
            assert nothing_staged(lake)


class SlowServer:
    """Pictures with their number as path, an answer after a while each; some numbers fail, each in its own way."""

    def __init__(self, seconds: float) -> None:
        requests = self.requests = Counter[str]()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None: ...

            def do_GET(self) -> None:
                if not self.path.endswith(".jpg"):  # robots.txt and the like, which each process asks for
                    self.send_error(404)
                    return
                requests[self.path] += 1
                number = int(self.path.strip("/").removesuffix(".jpg"))
                time.sleep(seconds)
                body = jpeg(number)
                if number % 11 == 0:
                    body = b"<html>no picture</html>"
                elif number % 13 == 0:
                    body = body[: len(body) // 2]
                self.send_response(404 if number % 7 == 0 else 403 if number % 17 == 0 else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: object, client_address: object) -> None:
                """Clients that are killed hang up: no traceback for that."""

        self.http = Server(("127.0.0.1", 0), Handler)

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/{number}.jpg"


@pytest.fixture
def slow_server() -> Iterator[SlowServer]:
    server = SlowServer(0.1)
    threading.Thread(target=server.http.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.http.shutdown()
    server.http.server_close()


class Ingest:
    """``captionlake ingest`` as a process in a session of its own; what descends from it is known by a variable."""

    SCRIPT = "import captionlake.lake.ingest_job as ingest; ingest.PICTURES_PER_SHARD = 40; import captionlake.cli as c; c.main()"

    def __init__(self, *arguments: object) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, "ingest", *map(str, arguments)],
            env={**os.environ, "CAPTIONLAKE_TEST_MARK": self.mark},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill(self) -> bool:
        """SIGKILL for this process alone, not for those that it started. Whether it was still running."""
        running = self.process.poll() is None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return running

    def end(self) -> str:
        said, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, said
        return said

    def descendants(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("CAPTIONLAKE_TEST_MARK") == self.mark and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found


def test_ingest_of_a_web_list(tmp_path: Path, slow_server: SlowServer) -> None:
    chance = random.Random(7)
    numbers = [*range(1, 281), *range(1, 41)]  # the last forty again, as COCO images with a URL in common
    images = [{"id": n, "file_name": f"{n:04d}.jpg", "coco_url": slow_server.url(i)} for n, i in enumerate(numbers)]
    captions = [{"id": n, "image_id": n, "caption": f"Number {n}"} for n in range(len(numbers))]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))

    def ingest(lake: Path) -> Ingest:
        return Ingest("coco", tmp_path / "captions.json", "--allow-private-hosts", "--lake", lake)

    Lake.init(tmp_path / "whole").close()
    started = time.monotonic()
    ingest(tmp_path / "whole").end()
    length = time.monotonic() - started
    assert set(slow_server.requests.values()) == {1}
    slow_server.requests.clear()

    lake = tmp_path / "lake"
    Lake.init(lake).close()
    killed: list[Ingest] = []
    settled: set[tuple[str, str]] = set()
    asked: dict[str, int] = {}
    for part in range(WEB_KILLS):  # each leaves less to do for the next, so the late moments come last
        one = ingest(lake)
        time.sleep(length * (part + chance.random()) / WEB_KILLS)
        if one.kill():
            killed.append(one)
        if chance.random() < 0.5:  # else the next one starts while the dead one's downloads may still be ending
            assert wait_for(lambda one=one: not one.descendants(), 10)
        for _, key in settled:
            path = f"/{numbers[int(key.removesuffix('.jpg'))]}.jpg"
            assert slow_server.requests[path] == asked[path], f"{path} was in the lake and was asked for again"
        settled, asked = sound(lake), dict(slow_server.requests)
    assert len(killed) >= 2
    ingest(lake).end()
    sound(lake)
    same_rows(lake, tmp_path / "whole", IMAGES, CAPTIONS, FAILURES, SOURCES)
    assert nothing_staged(lake)
    assert wait_for(lambda: not any(one.descendants() for one in killed), 10)
    assert max(slow_server.requests.values()) <= 1 + len(killed)


RECIPE = """
lake = "lake"

[[ingest]]
source = "folder"
inputs = ["../photos"]
collection = "photos"
license = "CC0-1.0"
redistribute = "bytes"

[[ingest]]
source = "folder"
inputs = ["../album"]
collection = "album"
redistribute = "none"

[embed]
model = "random-weights"
pretrained = "../random-weights"
batch_size = 8

[select]
seed = 3
duplicate_threshold = 0.9995
keep_order = ["album"]

[[select.quota]]
collection = "photos"
count = 20

[[select.quota]]
collection = "album"
count = "all"

[caption]
captioner = "source"

[release]
name = "tiles"
version = "1.0.0"

[card]
output = "card"
"""

VECTORS = "SELECT image_id, model_id, vector FROM embeddings ORDER BY ALL"
PAIRS = "SELECT image_id, other_id, model_id, method, similarity FROM similar_pairs ORDER BY ALL"
RELEASE = (
    "SELECT * FROM release_items ORDER BY ALL",
    "SELECT * FROM release_captions ORDER BY ALL",
    "SELECT * EXCLUDE (similarity) FROM exclusions ORDER BY ALL",
    "SELECT * EXCLUDE (snapshot_id, created_at) FROM releases",
)


@pytest.fixture(scope="module")
def recipe_parts(tmp_path_factory: pytest.TempPathFactory, tiles: Callable[[int], list[bytes]]) -> Path:
    """A folder with what the recipe names: photos, an album of some of them compressed anew, a CLIP of RANDOM weights."""
    root = tmp_path_factory.mktemp("parts")
    _save_random_clip(root / "random-weights", 0, 32)
    cut = tiles(1200)[::30]
    for name in ("photos", "album"):
        (root / name).mkdir()
        lines = ["file_name,caption,author"]
        for number, data in enumerate(cut if name == "photos" else cut[::3]):
            copy = data if name == "photos" or number % 4 == 0 else jpeg_of(Image.open(io.BytesIO(data)), 60)
            (root / name / f"{number:03d}.jpg").write_bytes(copy)
            lines.append(f"{number:03d}.jpg,Tile {number} of {name},Somebody {number % 3}")
        (root / name / "metadata.csv").write_text("\n".join(lines))
        (root / name / "broken.jpg").write_bytes(b"no picture")
    return root


def test_run_of_a_recipe(recipe_parts: Path, tmp_path: Path) -> None:
    chance = random.Random(11)
    constants = {
        "captionlake.lake.ingest_job.PICTURES_PER_SHARD": 20,
        "captionlake.curation.embedding.COMMIT_EVERY": 20,
    }
    modules = ["open_clip", "captionlake.curation.embedding", "captionlake.cards.dataset_card", "matplotlib.figure"]

    def recipe(name: str) -> Path:
        (recipe_parts / name).mkdir()
        (recipe_parts / name / "recipe.toml").write_text(RECIPE)
        return recipe_parts / name

    kills = 0
    with Commands(tmp_path, modules, constants) as commands:
        whole = recipe("whole")
        commands.learn("run", whole / "recipe.toml")
        while kills < RUN_KILLS:
            one = recipe(f"killed-{uuid.uuid4().hex}")
            for _ in range(6):
                if commands.run("run", one / "recipe.toml", at=commands.moment(chance)):
                    break
                kills += 1
                if (one / "lake" / "catalog.sqlite").exists():
                    sound(one / "lake")
            assert commands.run("run", one / "recipe.toml")
            same_release(one, whole)


def same_release(one: Path, whole: Path) -> None:
    """All that a run makes, but times, numbers of snapshots and the order of commits."""
    sound(one / "lake")
    same_rows(one / "lake", whole / "lake", IMAGES, CAPTIONS, FAILURES, SOURCES, *RELEASE)
    with Lake.open(one / "lake") as left, Lake.open(whole / "lake") as right:
        for query in (VECTORS, PAIRS):  # batches cut elsewhere may round otherwise
            found, expected = left.rows(query), right.rows(query)
            assert [row[:-1] for row in found] == [row[:-1] for row in expected]
            assert expected
            np.testing.assert_allclose([row[-1] for row in found], [row[-1] for row in expected], atol=1e-6)
    assert nothing_staged(one / "lake")
    found_card, expected_card = card(one / "card"), card(whole / "card")
    assert found_card.keys() == expected_card.keys()
    for name, content in expected_card.items():
        assert found_card[name] == content, name


def card(folder: Path) -> dict[str, bytes]:
    """The card's files, less what depends on the day and on how many commits were made before: dates, number of the snapshot."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    facts = json.loads(files["facts.json"])
    (release,) = [fact for fact in facts["facts"] if fact["name"] == "release"]
    at = release["columns"].index("snapshot_id")
    snapshot, release["rows"][0][at] = release["rows"][0][at], None
    readme = files["README.md"].decode()
    assert f"| snapshot of the lake | {snapshot} |" in readme
    files["README.md"] = readme.replace(f"| snapshot of the lake | {snapshot} |", "").encode()
    files["facts.json"] = json.dumps(facts).encode()
    for name in ("README.md", "facts.json"):
        files[name] = re.sub(rb"\b\d{4}-\d\d-\d\d\b", b"DATE", files[name])
    return files
