"""``captionlake doctor``: each problem made on purpose, the command that it names run, and then it is content."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner

from captionlake.cards.publishing.receipts import note_publication
from captionlake.cli import captionlake
from captionlake.doctor_command import NEEDED_BY
from captionlake.lake import Lake, catalog
from captionlake.lake.doctor import environment
from captionlake.lake.doctor.examination import examine_lake
from captionlake.lake.doctor.finding import Finding, Level
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.locking import write_lock
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release
from captionlake.lake.shards import ShardWriter
from captionlake.lake.takedown.finding import Request, find
from captionlake.lake.takedown.removal import take_down
from captionlake.models.captions.key import caption_key
from captionlake.models.captions.table import commit_lines
from captionlake.models.teacher.spool import spool_name

ROOT = Path(__file__).resolve().parent.parent
PICTURES = 12  # fewer rows would lie in the catalog alone
LABEL = "mine@1.0.0"


def of_lake(lake: Path, *, deep: bool = False) -> list[Finding]:
    """What is found of a lake and is not ok."""
    return [one for one in examine_lake(lake, deep=deep) if one.level != Level.OK]


def only(found: list[Finding], level: str, check: str) -> Finding:
    """The one thing that is found."""
    assert [(one.level, one.check) for one in found] == [(level, check)], found
    return found[0]


def mend(one: Finding) -> None:
    """Run the command that a finding names."""
    words = shlex.split(one.mend)
    assert words[0] == "captionlake", one
    done = CliRunner().invoke(captionlake, words[1:])
    assert done.exit_code == 0, (done.output, done.exception)


@pytest.fixture(scope="module")
def sound_lake(empty_lake: Path, tiles: Callable[[int], list[bytes]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of a few pictures and a release, all verified."""
    root = tmp_path_factory.mktemp("doctor")
    (root / "tiles").mkdir()
    for number, data in enumerate(tiles(PICTURES)):
        (root / "tiles" / f"{number}.jpg").write_bytes(data)
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
            producers=[],
        )
        create_release(lake, draft)
    release = only([one for one in of_lake(root / "lake") if one.check == "releases"], "note", "releases")
    assert LABEL in release.what
    mend(release)
    pictures = only(of_lake(root / "lake"), "note", "pictures")
    assert "never" in pictures.what
    mend(pictures)
    return root / "lake"


@pytest.fixture
def lake(sound_lake: Path, tmp_path: Path) -> Path:
    """A copy, whose catalog knows no other folder."""
    return Path(shutil.copytree(sound_lake, tmp_path / "lake"))


def test_a_sound_lake_and_what_is_told_of_it(lake: Path) -> None:
    assert of_lake(lake) == []
    assert of_lake(lake, deep=True) == []
    done = CliRunner().invoke(captionlake, ["doctor", "--lake", str(lake)])
    assert f"all {PICTURES} were verified" in done.output


def test_without_a_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPTIONLAKE_LAKE", raising=False)
    done = CliRunner().invoke(captionlake, ["doctor"])
    assert "python" in done.output and "write lock" not in done.output


def test_no_lake_there(tmp_path: Path) -> None:
    one = only(of_lake(tmp_path / "nowhere"), "problem", "catalog")
    mend(one)
    assert of_lake(tmp_path / "nowhere") == []


def old(path: Path) -> None:
    """Two days old."""
    when = time.time() - 2 * 24 * 3600
    os.utime(path, (when, when))


def test_a_stale_shard(lake: Path) -> None:
    shard = lake / "images" / "shard-000099.parquet"
    writer = ShardWriter(shard)
    writer.add("0" * 64, b"of an ingest that was killed")
    writer.finish()
    assert "may be on its way" in only(of_lake(lake), "note", "shards").what
    old(shard)
    one = only(of_lake(lake), "note", "shards")
    assert one.where == str(shard)
    mend(one)
    assert not shard.exists() and of_lake(lake) == []


def test_a_missing_shard_and_one_cut_short(lake: Path, sound_lake: Path) -> None:
    (shard,) = [path for path in (lake / "images").iterdir() if path.name != "shard-000000.parquet"]
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert {one.what.split(":")[0] for one in of_lake(lake)} >= {"cut short"}
    shard.unlink()
    one = only(of_lake(lake), "problem", "shards")
    assert f"{PICTURES} pictures" in one.what
    subprocess.run(one.mend.replace("BACKUP", str(sound_lake)), shell=True, check=True)
    assert of_lake(lake) == []


def test_a_flipped_byte(lake: Path, sound_lake: Path) -> None:
    with Lake.open(lake) as opened:
        image_id, shard, offset = opened.rows('SELECT image_id, shard, "offset" FROM images ORDER BY source_key')[3]
    with (lake / "images" / shard).open("r+b") as file:
        file.seek(offset + 100)
        byte = file.read(1)[0]
        file.seek(offset + 100)
        file.write(bytes([byte ^ 1]))
    one, again = of_lake(lake, deep=True), of_lake(lake)
    assert image_id in only(one, "problem", "pictures").what
    assert [found.level for found in again] == ["problem", "note"], "the sample has all of so few pictures"
    subprocess.run(one[0].mend.replace("BACKUP", str(sound_lake)), shell=True, check=True)
    mend(only(of_lake(lake), "note", "pictures"))
    assert of_lake(lake) == []


def test_a_missing_file_of_a_table(lake: Path, sound_lake: Path) -> None:
    path = next((lake / "data").rglob("*.parquet"))
    path.unlink()
    found = [one for one in of_lake(lake) if one.check == "table files"]
    one = only(found, "problem", "table files")
    assert path.name in one.what
    subprocess.run(one.mend.replace("BACKUP", str(sound_lake)), shell=True, check=True)
    assert of_lake(lake) == []


def test_files_of_tables_that_a_killed_writer_left(lake: Path) -> None:
    orphan = lake / "data" / "main" / "images" / "ducklake-killed.parquet"
    shutil.copy(next((lake / "data").rglob("*.parquet")), orphan)
    assert of_lake(lake) == [], "a writer may be at it"
    old(orphan)
    mend(only(of_lake(lake), "note", "table files"))
    assert not orphan.exists() and of_lake(lake) == []


HOLD = """
import sys
from pathlib import Path
from captionlake.lake.locking import write_lock
with write_lock(Path(sys.argv[1])):
    print(flush=True)
    input()
"""


def test_a_lock_that_is_held(lake: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lake), "\x1b[31mhostile"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert f"process {holder.pid} " in only(of_lake(lake), "note", "write lock").what
        holder.send_signal(signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)
        one = only(of_lake(lake), "problem", "write lock")
        said = CliRunner().invoke(captionlake, ["doctor", "--lake", str(lake)]).output
        assert "\\x1b[31mhostile" in said and "\x1b" not in said
        subprocess.run(one.mend, shell=True, check=True)
        holder.communicate(b"\n", timeout=60)
    finally:
        holder.kill()
        holder.communicate()
    assert of_lake(lake) == []


def test_staging_that_was_left(lake: Path) -> None:
    left = lake / "staging" / "ingest-0123456789ab"
    left.mkdir(parents=True)
    left.with_suffix(".lock").touch()
    (left / "listed.parquet").write_bytes(b"x" * 5000)
    mend(only(of_lake(lake), "note", "staging"))
    assert not left.exists() and of_lake(lake) == []


def test_replies_that_wait(lake: Path) -> None:
    with Lake.open(lake) as opened:
        image_id = opened.value("SELECT min(image_id) FROM images")
    line = {
        **{
            "caption_id": caption_key(image_id, "openai:test", "0", "{}"),
            "image_id": image_id,
            "producer": "openai:test",
        },
        **{"text": "A reply that was paid for.", "created_at": 1.7e9, "params": "{}"},
    }
    path = lake / "spool" / f"{spool_name('openai:test')}-000001.jsonl"
    path.write_text(json.dumps(line) + "\n" + '{"torn')
    one = only(of_lake(lake), "problem", "spool")
    assert "1 replies of openai:test" in one.what and "captionlake caption" in one.mend
    with Lake.open(lake) as opened:
        commit_lines(opened, [line])  # and killed before it removed the file
    mend(only(of_lake(lake), "note", "spool"))
    assert not path.exists() and of_lake(lake) == []


def test_an_older_lake(lake: Path) -> None:
    with Lake.open(lake) as opened:
        opened.commit(lambda c: c.execute("DROP TABLE lake.caption_scores"))
        opened.commit(lambda c: c.execute("UPDATE lake.lake_info SET schema_version = 1"))
    mend(only(of_lake(lake), "note", "catalog"))
    assert of_lake(lake) == []


def test_a_newer_lake_and_no_catalog(lake: Path) -> None:
    with Lake.open(lake) as opened:
        opened.commit(lambda c: c.execute("UPDATE lake.lake_info SET schema_version = 99"))
    one = only(of_lake(lake), "problem", "catalog")
    assert "99" in one.what and "pip install --upgrade" in one.mend
    (lake / "catalog.sqlite").write_bytes(b"no database")
    assert "backup" in only(of_lake(lake), "problem", "catalog").mend


def test_snapshots_to_let_go(lake: Path) -> None:
    """The catalog's clock is turned back, as days cannot be waited for."""
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{catalog.extension_path('sqlite_scanner')}'")
        connection.execute(f"ATTACH '{lake / 'catalog.sqlite'}' AS c (TYPE sqlite)")
        before = (datetime.now(UTC) - timedelta(days=9)).isoformat(sep=" ")
        connection.execute(f"UPDATE c.ducklake_snapshot SET snapshot_time = '{before}'")
    mend(only(of_lake(lake), "note", "snapshots"))
    assert of_lake(lake) == []


def test_a_clock_that_is_behind(lake: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{catalog.extension_path('sqlite_scanner')}'")
        connection.execute(f"ATTACH '{lake / 'catalog.sqlite'}' AS c (TYPE sqlite)")
        after = (datetime.now(UTC) + timedelta(hours=9)).isoformat(sep=" ")
        connection.execute(f"UPDATE c.ducklake_snapshot SET snapshot_time = '{after}'")
    assert "9.0 hours before the newest commit" in only(of_lake(lake), "problem", "clock").what


def test_a_takedown_and_what_was_published(lake: Path) -> None:
    with Lake.open(lake) as opened:
        detail = {"endpoint": "https://hub.test", "redacted": 0, "history_erased": False}
        note_publication(opened, "mine", "1.0.0", "me/mine", "a" * 40, detail)
        assert of_lake(lake) == []
        key = opened.rows("SELECT source, source_key FROM images ORDER BY 2")[0]
        done = take_down(opened, find(opened, Request(keys=[key])).hashes, "asked")
        published, release = sorted(of_lake(lake), key=lambda one: one.check)
        assert published.level == "problem" and "--erase-history" in published.mend
        assert "was not verified since it was redacted" in release.what
        mend(release)
        note_publication(opened, "mine", "1.0.0", "me/mine", "b" * 40, detail | {"redacted": 1})
        assert "history" in only(of_lake(lake), "problem", "publications").what
        note_publication(opened, "mine", "1.0.0", "me/mine", "c" * 40, detail | {"redacted": 1, "history_erased": True})
        assert of_lake(lake) == []
        receipt = json.dumps(done.touched | {"state": "removing"})
        opened.commit(lambda c: c.execute("UPDATE lake.takedowns SET touched = ?", [receipt]))
    mend(only(of_lake(lake), "problem", "takedowns"))
    assert of_lake(lake) == []


def test_failures_that_may_have_passed(lake: Path) -> None:
    now = datetime.now(UTC)
    row = {
        "source": "we'b\x1b[2J",
        "source_key": "1",
        "collection": "web",
        "url": "http://127.0.0.1:9/1.jpg",
        "attempts": 1,
    }
    rows = [
        row | {"reason": "timeout", "failed_at": now},
        row | {"source_key": "2", "reason": "not_found", "failed_at": now},
    ]
    with Lake.open(lake) as opened:
        opened.append("fetch_failures", pa.Table.from_pylist(rows), ["source", "source_key"])
    one = only(of_lake(lake), "note", "failures")
    assert one.what.startswith("1 rows of") and "--retry-failed" in one.mend
    assert "\x1b" not in CliRunner().invoke(captionlake, ["doctor", "--lake", str(lake)]).output


def test_a_release_that_did_not_verify(lake: Path) -> None:
    with Lake.open(lake) as opened:
        opened.commit(lambda c: c.execute("UPDATE lake.release_items SET split = 'test' WHERE position = 0"))
    assert CliRunner().invoke(captionlake, ["release", "verify", LABEL, "--lake", str(lake)]).exit_code == 1
    one = only(of_lake(lake), "problem", "releases")
    with Lake.open(lake) as opened:
        opened.commit(lambda c: c.execute("UPDATE lake.release_items SET split = 'train' WHERE position = 0"))
    mend(one)
    assert of_lake(lake) == []


# The environment


def test_an_extension_of_another_version(tmp_path: Path, lake: Path) -> None:
    """A package for another DuckDB stands before ours on the path; then one whose file is broken."""
    package = tmp_path / "site" / "duckdb_extension_ducklake"
    folder = package / "extensions" / "v0.0.1"
    folder.mkdir(parents=True)
    (package / "__init__.py").touch()
    (folder / "ducklake.duckdb_extension").write_bytes(b"of another version")

    def asked() -> list[dict[str, Any]]:
        path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "captionlake", "doctor", "--json", "--lake", str(lake)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
        found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
        assert done.returncode == int(any(one["level"] == "problem" for one in found))
        assert any(one["check"] == "shards" for one in found) == (done.returncode == 0), "it opens for nobody"
        return [one for one in found if one["check"] == "duckdb" and one["level"] != "ok"]

    (one,) = asked()
    assert one["level"] == "problem" and "do not match" in one["what"] and one["mend"].startswith("pip install")
    right = package / "extensions" / f"v{duckdb.__version__}"
    right.mkdir()
    shutil.copy(folder / "ducklake.duckdb_extension", right)
    (one,) = asked()
    assert one["level"] == "problem" and "does not load" in one["what"]
    shutil.rmtree(package)
    assert asked() == []


def test_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["click>=8", "click>=999", 'nothing-like-this>=1; extra == "cards"', 'captionlake[cards]; extra == "serve"']
    monkeypatch.setattr(environment, "requires", lambda _: lines)
    always, *extras = environment.packages(NEEDED_BY)
    assert always.level == "problem" and ">=999 is needed" in always.what
    wanting = {one.check for one in extras if one.level == "note"}
    assert wanting == {"extra cards", "extra serve"}
    assert all("pip install 'captionlake[" in one.mend for one in extras if one.level == "note")


def test_extras_that_are_named_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert NEEDED_BY.keys() <= project["optional-dependencies"].keys()


def test_limits_of_this_process() -> None:
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), 5000))\n"
        "from captionlake.lake.doctor.environment import open_files; print(open_files().level, open_files().mend)"
    )

    def said(files: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", script, str(files)], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert said(100) == "problem ulimit -n 4096"
    assert said(512) == "note ulimit -n 4096"
    assert said(4096).startswith("ok")


def test_the_clock() -> None:
    def level(seconds: float) -> Finding:
        return environment.clock(time.time() + seconds, "something that is past")

    assert level(-10).level == level(30).level == "ok"
    assert level(7200).level == "problem" and "2.0 hours before" in level(7200).what


def test_a_full_disk_of_temporary_files(tmp_path: Path) -> None:
    from .test_full_disk import Tmpfs, unshare

    command = unshare()
    if command is None:
        pytest.skip("this system lets nobody mount a tmpfs in a namespace")
    (tmp_path / "disk").mkdir()
    disk = Tmpfs(tmp_path / "disk", command)
    try:
        (one,) = [one for one in environment.disks(disk.outside) if one.check == "lake's disk"]
        assert one.level == "problem" and "release gc" in one.mend
    finally:
        disk.close()


def test_it_waits_for_no_writer(lake: Path) -> None:
    started = time.monotonic()
    with write_lock(lake):
        of_lake(lake)
    assert time.monotonic() - started < 60, "a writer is waited for up to five minutes"
