"""What ``release gc`` removes, and that no release loses anything by it: after random changes, and when it is killed."""

import json
import os
import random
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake, maintenance
from captionlake.lake.freed import Freed
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.leftovers import committed_replies
from captionlake.lake.releases import gc
from captionlake.lake.releases.commands import release as command
from captionlake.lake.releases.gc import Collected, collect
from captionlake.lake.releases.release import create_release, list_releases
from captionlake.lake.releases.verification import verify_release
from captionlake.models.teacher.spool import spool_lock, spool_name

from ...killed import Commands, sound
from .test_releases import draft

CAPTION = (
    "INSERT INTO captions (caption_id, image_id, source, source_key, kind, producer, text, chars, words, created_at) "
    "SELECT uuid()::VARCHAR, image_id, source, source_key, 'teacher', ?, 'Text ' || source_key, 1, 1, now() FROM images"
)
ANCIENT = (0.0, 0.0)
KILLS = 4


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No query is running, so that files go at once."""
    monkeypatch.setattr(gc, "READER_SECONDS", 0)


def tidy(lake: Lake) -> Collected:
    return collect(lake, keep_days=0)


def data_files(lake: Lake) -> set[str]:
    return {path.name for path in (lake.path / "data").rglob("*.parquet")}


def known_files(lake: Lake) -> set[str]:
    """Those that the catalog has for some snapshot."""
    meta = "__ducklake_metadata_lake.ducklake"
    return {
        Path(path).name
        for (path,) in lake.rows(f"SELECT path FROM {meta}_data_file UNION SELECT path FROM {meta}_delete_file")
    }


def commit(lake: Lake, query: str, *given: Any) -> None:
    lake.commit(lambda connection: connection.execute(query, [*given]))


def at_snapshot(lake: Lake, snapshot: int) -> list[tuple[Any, ...]]:
    """What a snapshot has, as hashes."""
    tables = ("images", "captions", "caption_flags", "releases", "release_items")
    return [
        lake.rows(f"SELECT count(*), bit_xor(hash(t)) FROM {table} AS t AT (VERSION => {snapshot:d})")[0]
        for table in tables
    ]


class Changes(RuleBasedStateMachine):
    """Random work on a lake; ``whole`` says what each pinned snapshot had when its release was made."""

    make: Callable[[], Lake]
    cut: Callable[[int], list[bytes]]

    @initialize()
    def begin(self) -> None:
        self.lake = self.make()
        self.whole: dict[str, tuple[int, list[tuple[Any, ...]]]] = {}
        self.pictures = 0
        self.add(12)

    @rule(n=st.integers(1, 6))
    def add(self, n: int) -> None:
        folder = self.lake.path.parent / f"{self.lake.path.name}-{self.pictures}"
        folder.mkdir()
        for number in range(self.pictures, self.pictures + n):
            (folder / f"{number:05d}.jpg").write_bytes(self.cut(60)[number % 60])
        self.pictures += n
        ingest(self.lake, IngestConfig(source="folder", inputs=[str(folder)]))

    @rule()
    def caption(self) -> None:
        commit(self.lake, CAPTION, f"producer {self.lake.snapshot()}")

    @rule(which=st.integers(0, 9))
    def flag(self, which: int) -> None:
        commit(
            self.lake, "INSERT INTO caption_flags SELECT caption_id, 'refusal', ? FROM captions LIMIT 15", str(which)
        )
        commit(self.lake, "DELETE FROM caption_flags WHERE detail = ?", str((which + 5) % 10))

    @rule()
    def drop_unreleased(self) -> None:
        commit(self.lake, "DELETE FROM captions WHERE caption_id NOT IN (SELECT caption_id FROM release_captions)")

    @rule(table=st.sampled_from(["captions", "caption_flags", "release_items"]))
    def rewrite(self, table: str) -> None:
        maintenance.rewrite(self.lake, [table])

    @precondition(lambda self: len(self.whole) < 4)
    @rule(keep=st.integers(3, 9))
    def release(self, keep: int) -> None:
        made, _ = create_release(self.lake, draft(self.lake, f"1.{len(self.whole)}.0", keep))
        self.whole[made.label] = made.snapshot_id, at_snapshot(self.lake, made.snapshot_id)

    @rule()
    def collect(self) -> None:
        tidy(self.lake)
        kept = {snapshot for snapshot, _ in self.whole.values()} | {self.lake.snapshot()}
        assert {snapshot for snapshot, _ in maintenance.snapshots(self.lake)} == kept
        assert data_files(self.lake) == known_files(self.lake)

    @invariant()
    def releases_are_whole(self) -> None:
        for label, (snapshot, had) in getattr(self, "whole", {}).items():
            found = verify_release(self.lake, label)
            assert found.n_problems == 0 and found.n_pictures > 0, found.problems
            assert at_snapshot(self.lake, snapshot) == had

    def teardown(self) -> None:
        if hasattr(self, "lake"):
            self.lake.close()


@pytest.mark.usefixtures("at_once")
def test_no_release_loses_anything(
    new_lake: Callable[[Path], Lake], tmp_path: Path, tiles: Callable[[int], list[bytes]]
) -> None:
    class Here(Changes):
        make = staticmethod(lambda: new_lake(tmp_path / uuid.uuid4().hex))
        cut = staticmethod(tiles)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=5, stateful_step_count=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.fixture
def lake(lake: Lake, tile_folder: Callable[[int], Path]) -> Iterator[Lake]:
    """A lake with two releases, and much that nothing needs."""
    ingest(lake, IngestConfig(source="folder", inputs=[str(tile_folder(20))]))
    for number in range(3):
        commit(lake, CAPTION, f"producer {number}")
        create_release(lake, draft(lake, f"1.{number}.0", 5 + number)) if number < 2 else None
        commit(lake, "DELETE FROM captions WHERE producer = ?", f"producer {number}")
    maintenance.rewrite(lake, ["captions"])
    yield lake


def clutter(lake: Lake) -> None:
    """What killed processes leave, of an age."""
    (lake.path / "data" / "main" / "captions" / "ducklake-orphan.parquet").write_bytes(b"x" * 100)
    shutil.copy(lake.path / "images" / "shard-000001.parquet", lake.path / "images" / "shard-000007.parquet")
    for folder in ("staging/ingest-1", "cache/vectors-1"):
        (lake.path / folder).mkdir(parents=True)
        (lake.path / folder / "file").write_bytes(b"x" * 200)
    (lake.path / "staging" / "ingest-1.lock").touch()
    for path in lake.path.rglob("*"):
        if path.name in ("ducklake-orphan.parquet", "shard-000007.parquet", "file", "vectors-1", "ingest-1"):
            os.utime(path, ANCIENT)


@pytest.mark.usefixtures("at_once")
def test_each_kind_is_told_and_goes(lake: Lake) -> None:
    clutter(lake)
    shard = (lake.path / "images" / "shard-000007.parquet").stat().st_size
    before = at_snapshot(lake, lake.snapshot())
    there = sorted(path for path in lake.path.rglob("*") if path.is_file())
    told = collect(lake, keep_days=0, dry_run=True)
    assert sorted(path for path in lake.path.rglob("*") if path.is_file() and path.name != "lake.lock") == [
        path for path in there if path.name != "lake.lock"
    ]
    done = tidy(lake)
    for found in (told, done):
        assert found.freed["orphaned table files"] == Freed(1, 100)
        assert found.freed["picture shards"] == Freed(1, shard)
        assert found.freed["staging"] == found.freed["cache"] == Freed(1, 200)
        assert found.freed["spool"] == Freed()
        assert found.snapshots > 5 and found.kept == 3
    assert done.freed["table files"] == told.freed["table files"] + told.waiting
    assert done.freed["table files"].files > 0 and done.waiting == Freed()
    assert data_files(lake) == known_files(lake)
    assert at_snapshot(lake, lake.snapshot()) == before
    again = tidy(lake)
    assert again.snapshots == again.n_bytes == 0


def test_what_is_young_or_in_use_stays(lake: Lake) -> None:
    snapshots = maintenance.snapshots(lake)
    assert collect(lake).snapshots == 0  # all are of this week
    assert maintenance.snapshots(lake) == snapshots
    clutter(lake)
    with lake.staging("now") as staging:
        (staging / "file").write_bytes(b"x")
        for path in lake.path.rglob("*"):
            if path.name in ("ducklake-orphan.parquet", "shard-000007.parquet") or "cache" in path.parts:
                os.utime(path)
        found = tidy(lake)
        assert staging.exists()
    freed = {kind for kind, one in found.freed.items() if one.files}
    assert freed <= {"staging", "catalog"} and found.freed["staging"].files == 1
    assert found.waiting.files > 0  # for a day
    assert [release.label for release in list_releases(lake)] == ["tiles@1.0.0", "tiles@1.1.0"]
    for days in (-1.0, float("nan"), float("inf")):
        with pytest.raises(CaptionlakeError, match="cannot be kept"):
            collect(lake, keep_days=days)


def test_a_shard_of_a_snapshot_that_is_kept_stays(lake: Lake) -> None:
    """Its rows are gone from the newest one."""
    commit(lake, "DELETE FROM images WHERE source_key >= '00010.jpg'")
    shard = lake.path / "images" / "shard-000001.parquet"
    os.utime(shard, ANCIENT)
    commit(lake, "UPDATE images SET shard = 'shard-000002.parquet'")
    assert collect(lake).freed["picture shards"] == Freed()
    lake.sweep()
    assert shard.exists()
    commit(lake, "DELETE FROM releases")
    assert tidy(lake).freed["picture shards"].files == 1
    assert not shard.exists()


def test_replies_that_are_committed_leave_the_spool(lake: Lake) -> None:
    spool, name = lake.path / "spool", spool_name("openai:made")
    ids = [caption_id for (caption_id,) in lake.rows("SELECT caption_id FROM captions LIMIT 3")]

    def lines(*caption_ids: str, torn: bytes = b"") -> bytes:
        return b"".join(json.dumps({"caption_id": one, "text": "x"}).encode() + b"\n" for one in caption_ids) + torn

    files = {
        f"{name}-000001.jsonl": lines(*ids),
        f"{name}-000002.jsonl": lines(*ids[:1], torn=b'{"caption_id": "paid, but to'),
        f"{name}-000003.jsonl": lines(*ids, "not committed"),
        f"{name}-000004.jsonl": lines(*ids) + b"no JSON\n",
        "batch-1.rows.jsonl": lines(*ids),
        "batches.json": b"{}",
    }
    for file, data in files.items():
        (spool / file).write_bytes(data)
    with spool_lock(spool, "openai:made"):
        assert committed_replies(lake, remove=True) == []
    assert collect(lake, dry_run=True).freed["spool"].files == 2
    assert tidy(lake).freed["spool"] == Freed(2, sum(len(files[f"{name}-00000{n}.jsonl"]) for n in (1, 2)))
    assert {path.name for path in spool.iterdir() if path.suffix != ".lock"} == {*files} - {
        f"{name}-000001.jsonl",
        f"{name}-000002.jsonl",
    }


def test_the_command_tells_bytes(lake: Lake) -> None:
    clutter(lake)
    done = CliRunner().invoke(command, ["gc", "--dry-run", "--keep-days", "0", "--lake", str(lake.path)])
    assert done.exit_code == 0, done.exception
    assert "would be let go" in done.output and re.search(r"orphaned table files +1 +100\n", done.output)
    done = CliRunner().invoke(command, ["gc", "--keep-days", "0", "--json", "--lake", str(lake.path)])
    told = json.loads(done.output)
    assert told["freed"]["staging"] == {"files": 1, "n_bytes": 200} and told["n_bytes"] >= 500
    assert told["waiting"]["files"] > 0 and not told["dry_run"]


def test_killed_at_any_moment(lake: Lake, tmp_path: Path) -> None:
    chance = random.Random(20240527)
    clutter(lake)
    pins = {release.label: at_snapshot(lake, release.snapshot_id) for release in list_releases(lake)}
    lake.close()
    constants = {"captionlake.lake.releases.gc.READER_SECONDS": 0}
    kills = 0
    with Commands(tmp_path, ["captionlake.lake.releases.gc"], constants) as commands:
        copy = shutil.copytree(lake.path, tmp_path / "learned")
        commands.learn("release", "gc", "--keep-days", 0, "--lake", copy)
        while kills < KILLS:
            copy = shutil.copytree(lake.path, tmp_path / uuid.uuid4().hex)
            killed = not commands.run("release", "gc", "--keep-days", 0, "--lake", copy, at=commands.moment(chance))
            kills += killed
            for _ in range(2):
                sound(copy)
                with Lake.open(copy) as left:
                    for release in list_releases(left):
                        assert verify_release(left, release.label).n_problems == 0
                        assert at_snapshot(left, release.snapshot_id) == pins[release.label]
                if killed:
                    assert commands.run("release", "gc", "--keep-days", 0, "--lake", copy)
            with Lake.open(copy) as left:
                assert data_files(left) == known_files(left)
                assert maintenance.waiting(left) == Freed()
                assert maintenance.remove_orphans(left, timedelta()) == Freed()
            shutil.rmtree(copy)
