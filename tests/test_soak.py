"""A short soak with a fixed seed, and a checker that sees what is wrong: each invariant is broken once on purpose."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release
from captionlake.lake.takedown.finding import Request, find
from captionlake.lake.takedown.removal import take_down

from .soak.invariants import Checker, Violation

RUN = Path(__file__).resolve().parent / "soak" / "run.py"


@pytest.fixture(scope="module")
def sound_lake(empty_lake: Path, tiles: Callable[[int], list[bytes]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures with a caption each, and a release of them."""
    root = tmp_path_factory.mktemp("soaked")
    (root / "tiles").mkdir()
    lines = ["file_name,caption"]
    for number, data in enumerate(tiles(12)):
        (root / "tiles" / f"{number}.jpg").write_bytes(data)
        lines.append(f"{number}.jpg,Tile {number}")
    (root / "tiles" / "metadata.csv").write_text("\n".join(lines))
    shutil.copytree(empty_lake, root / "lake")
    with Lake.open(root / "lake") as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(root / "tiles")]))
        nothing = "SELECT source, source_key, '' AS reason, '' AS detail, '' AS keeper_source, '' AS keeper_key, 0.0 AS similarity "
        draft = Draft(
            config=ReleaseConfig(name="mine", version="1.0.0"),
            recipe="",
            snapshot=lake.snapshot(),
            items=lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images"),
            exclusions=lake.arrow(nothing + "FROM images WHERE false"),
            producers=[producer for (producer,) in lake.rows("SELECT DISTINCT producer FROM captions")],
        )
        create_release(lake, draft)
    checker = Checker(root / "lake", root / "ledger.json")
    checker.ledger.listed = {("folder", f"{number}.jpg") for number in range(12)}
    assert checker.check(settled=True)["release_captions"] == 12
    return root


@pytest.fixture
def soaked(sound_lake: Path, tmp_path: Path) -> Checker:
    """A copy that the ledger knows."""
    shutil.copytree(sound_lake / "lake", tmp_path / "lake")
    shutil.copy(sound_lake / "ledger.json", tmp_path)
    return Checker(tmp_path / "lake", tmp_path / "ledger.json")


def test_a_lake_that_nothing_happened_to(soaked: Checker) -> None:
    soaked.check(settled=True)


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        ("INSERT INTO images SELECT * FROM images LIMIT 1", "images has each key once"),
        ("INSERT INTO captions SELECT * FROM captions LIMIT 1", "captions has each key once"),
        ("DELETE FROM images WHERE source_key = '3.jpg'", "no captions of no picture"),
        ("DELETE FROM captions WHERE text = 'Tile 3'", "no captions of a release that are gone"),
        ("UPDATE captions SET text = 'other' WHERE text = 'Tile 3'", "rows of a release are what they were"),
        ("UPDATE release_items SET row_sha256 = 'x' WHERE position = 3", "a release's content is that of its rows"),
        ("DELETE FROM release_items WHERE position = 3", "no captions of no item"),
        ("UPDATE releases SET state = 'redacted', version = '2.0.0'", "no items of no release"),
        (
            'UPDATE images SET "offset" = "offset" + 1 WHERE source_key = \'3.jpg\'',
            "bytes of pictures hash to their id",
        ),
        ("UPDATE images SET shard = 'shard-000077.parquet'", "shards are there"),
        ("DELETE FROM runs", "no run vanishes"),
        (
            "INSERT INTO fetch_failures BY NAME SELECT source, 'x' AS source_key, collection, 'why not' AS reason, 1 AS attempts, "
            "now() AS failed_at FROM images LIMIT 1",
            "failures have a reason",
        ),
        ("INSERT INTO embeddings SELECT 'none', 'model', [1.0]", "no embeddings of no picture"),
    ],
)
def test_what_it_sees(soaked: Checker, change: str, invariant: str) -> None:
    with Lake.open(soaked.lake) as lake:
        lake.commit(lambda c: c.execute(change))
    with pytest.raises(Violation) as told:
        soaked.check()
    assert told.value.invariant.startswith(invariant)
    assert told.value.rows


def test_rows_that_vanish_and_rows_that_were_taken_down(soaked: Checker) -> None:
    with Lake.open(soaked.lake) as lake:
        take_down(lake, find(lake, Request(keys=[("folder", "3.jpg")])).hashes, "asked")
    soaked.check(settled=True)
    with Lake.open(soaked.lake) as lake:
        lake.commit(
            lambda c: [
                c.execute(f"DELETE FROM {table}")
                for table in ("release_captions", "release_items", "releases", "captions")
            ]
        )
    with pytest.raises(Violation, match="no caption vanishes"):
        soaked.check()


def test_bytes_on_the_disk(soaked: Checker) -> None:
    with Lake.open(soaked.lake) as lake:
        shard, offset = lake.rows("SELECT shard, \"offset\" FROM images WHERE source_key = '5.jpg'")[0]
    with (soaked.lake / "images" / shard).open("r+b") as file:
        file.seek(offset + 50)
        file.write(b"\0")
    with pytest.raises(Violation, match="hash to their id"):
        soaked.check()


def test_what_is_left_over(soaked: Checker) -> None:
    (soaked.lake / "spool").mkdir(exist_ok=True)
    (soaked.lake / "spool" / "openai-0-000001.jsonl").touch()
    soaked.check()
    with pytest.raises(Violation, match="the spool is empty"):
        soaked.check(settled=True)


def test_a_short_soak(tmp_path: Path) -> None:
    """Two rounds of real processes. ``make soak`` is an hour of it."""
    script = (
        "import sys; from pathlib import Path; from tests.soak.run import Soak, in_namespace\n"
        "mounted = in_namespace(); kinds = {'ingest a': 3, 'ingest b': 2, 'caption': 2, 'takedown': 1, 'release create': 1, 'sql': 1}\n"
        "Path(sys.argv[-1]).mkdir(); soak = Soak(Path(sys.argv[-1]), 7, mounted=mounted, kinds=kinds)\n"
        "soak.work(9, rounds=2); print(soak.report())"
    )
    program = tmp_path / "short.py"
    program.write_text(script)
    path = os.pathsep.join([str(RUN.parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "soak")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rounds, 4 checks" in done.stdout
    ledger = json.loads((tmp_path / "soak" / "ledger.json").read_text())
    assert ledger["images"] and ledger["listed"]
