"""A lake of the first schema version comes to the newest: after a backup, whole or not at all; back again by one command."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake, catalog, sqlite_copy
from captionlake.lake.catalog import SCHEMA_VERSION
from captionlake.lake.data_place import DataPlace
from captionlake.lake.place import catalog_of
from captionlake.lake.postgres_place import PLACE_FILE, PostgresPlace
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.restoring import back_up, restore
from captionlake.lake.shards import NO_SHARD, ShardWriter
from captionlake.lake.takedown.removal import take_down
from captionlake.lake.takedown.scan import scan
from captionlake.lake.takedown.tombstone import Hashes, tombstones

from ..killed import Commands
from ..test_full_disk import Disk, disk, unshare  # noqa: F401 - a fixture
from .conftest import ingest_pictures
from .postgres_server import NOT_INSTALLED, Server, programs

FIRST = (Path(__file__).parent / "schema_1.sql").read_text()  # of the first lakes, as it stood then
N = 12
KILLS = 3


def make_old(folder: Path, pictures: list[bytes], url: str | None = None) -> Path:
    """A lake of version 1 with pictures, captions, and release old@1.0.0 of all of it."""
    for name in ("data", "images", "staging", "spool"):
        (folder / name).mkdir(parents=True)
    if url:
        (folder / PLACE_FILE).write_text(PostgresPlace.new(folder, url).to_json())
    ShardWriter(folder / "images" / NO_SHARD).finish()
    connection = catalog.connect(catalog_of(folder))
    catalog.attach(connection, folder)
    connection.execute(FIRST)
    connection.execute("INSERT INTO lake_info VALUES (1, now(), 'captionlake 0.0.1')")
    with Lake(folder, connection, DataPlace.of(folder)) as lake:  # as it is: ``Lake.open`` would upgrade it
        ingest_pictures(lake, pictures, 0)
        snapshot = lake.snapshot()
        draft = Draft(
            config=ReleaseConfig(name="old", version="1.0.0"),
            recipe="",
            snapshot=snapshot,
            items=lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images ORDER BY ALL"),
            exclusions=lake.arrow(
                "SELECT source, source_key, '' AS reason, '' AS detail, '' AS keeper_source, '' AS keeper_key, 0.0 AS similarity "
                "FROM images LIMIT 0"
            ),
            producers=["source"],
        )
        create_release(lake, draft)
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, tiles: Callable[[int], list[bytes]]) -> Path:
    return make_old(tmp_path_factory.mktemp("first") / "lake", tiles(N))


@pytest.fixture
def old(first: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first, tmp_path / "lake")


def tables(lake: Lake) -> set[tuple[str, str, str, bool]]:
    query = "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() WHERE database_name = 'lake'"
    return set(lake.rows(query))


def options(lake: Lake) -> list[tuple[str, str, str]]:
    return lake.rows(
        "SELECT table_name, key, value FROM __ducklake_metadata_lake.ducklake_metadata JOIN __ducklake_metadata_lake.ducklake_table "
        "ON scope = 'table' AND scope_id = table_id ORDER BY ALL"
    )


def version(path: Path) -> int:
    with catalog.connect(catalog_of(path)) as connection:
        catalog.attach(connection, path)
        return catalog.check_schema(connection, path)


def whole(lake: Lake) -> None:
    assert tables(lake) >= {("images", "aspect_ratio", "FLOAT", True), ("caption_words", "pairs", "VARCHAR[]", False)}
    assert lake.value("SELECT max(schema_version) FROM lake_info") == SCHEMA_VERSION
    assert lake.value("SELECT count(*) FROM images WHERE aspect_ratio IS NULL") == N
    assert len(list(lake.pictures([i for (i,) in lake.rows("SELECT image_id FROM images")]))) == N
    assert verify_release(lake, "old@1.0.0").problems == []


def run(*arguments: object) -> str:
    done = CliRunner().invoke(captionlake, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.stdout


def test_it_ends_at_the_tables_of_a_new_lake(old: Path, empty_lake: Path) -> None:
    """What schema.sql has, the migrations make too: with a new column goes a new version."""
    with Lake.open(old) as upgraded, Lake.open(empty_lake) as lake:
        assert tables(upgraded) == tables(lake)
        assert options(upgraded) == options(lake)
        whole(upgraded)
        assert upgraded.upgraded is not None and upgraded.upgraded.before == 1
        assert upgraded.rows("SELECT schema_version FROM lake_info ORDER BY 1") == [(1,), (SCHEMA_VERSION,)]
    with Lake.open(old) as again:
        assert again.upgraded is None
    assert len(catalog_of(old).backups()) == 1


def test_a_lake_that_had_some_of_it(old: Path) -> None:
    with catalog.connect(catalog_of(old)) as connection:
        catalog.attach(connection, old)
        connection.execute(
            "ALTER TABLE images ADD COLUMN aspect_ratio FLOAT; ALTER TABLE conversations ADD COLUMN record JSON"
        )
    with Lake.open(old) as upgraded:
        whole(upgraded)


def test_the_release_of_then_has_the_columns_of_now(old: Path) -> None:
    run("upgrade", "--lake", old)
    for query, row in (
        (
            "SELECT count(*) n, count(images.aspect_ratio) a FROM images JOIN items USING (source, source_key)",
            {"n": N, "a": 0},
        ),
        ("SELECT count(*) n FROM items WHERE verdict IS NULL", {"n": N}),
    ):
        assert json.loads(run("sql", query, "--release", "old@1.0.0", "--lake", old, "--json"))["rows"] == [row]


def test_the_backup_is_the_catalog_of_before(old: Path) -> None:
    before = list(catalog_of(old).dump())
    told = json.loads(run("upgrade", "--lake", old, "--json"))
    backup = Path(told["upgraded"]["backup"])
    assert told["schema_version"] == SCHEMA_VERSION and backup.parent == old / "backups"
    assert [value for _, value in catalog_of(old).backup(str(backup)).dump()] == [value for _, value in before]
    with sqlite3.connect(backup) as made:
        assert made.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert "restored" in run("restore", backup, "--lake", old)
    assert version(old) == 1
    assert [value for _, value in catalog_of(old).dump()] == [value for _, value in before]
    with Lake.open(old) as again:
        whole(again)


def test_rows_that_are_in_the_log_alone_are_in_the_backup(old: Path) -> None:
    """Another process reads an older state, and so keeps SQLite from writing them into the file."""
    script = (
        "import sys; from pathlib import Path; from captionlake.lake import Lake, catalog; from captionlake.lake.place import catalog_of\n"
        "p = Path(sys.argv[1]); c = catalog.connect(catalog_of(p)); catalog.attach(c, p)\n"
        "c.execute('BEGIN'); c.execute('FROM images').fetchall(); print('there', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(old)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "there\n"
        with catalog.connect(catalog_of(old)) as connection:
            catalog.attach(connection, old)
            connection.execute("INSERT INTO caption_flags VALUES ('c', 'refusal', NULL)")
        assert (old / "catalog.sqlite-wal").stat().st_size > 0
        with Lake.open(old) as upgraded:
            assert upgraded.upgraded is not None
            backup = upgraded.upgraded.backup
        with pytest.raises(CaptionlakeError, match="another process uses"):
            restore(old, backup)
        other.communicate("")
    restore(old, backup)
    with Lake.open(old) as again:
        assert again.rows("FROM caption_flags") == [("c", "refusal", None)]


def test_two_processes_upgrade_it_once(old: Path) -> None:
    command = [sys.executable, "-m", "captionlake", "upgrade", "--lake", str(old), "--json"]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [json.loads(job.communicate()[0]) for job in jobs]
    assert sorted(one["upgraded"] is None for one in told) == [False, True]
    assert len(catalog_of(old).backups()) == 1


def test_a_killed_upgrade_is_none_or_all_of_it(first: Path, tmp_path: Path) -> None:
    chance, kills = random.Random(20261128), 0
    modules = ["captionlake.lake.upgrade", "captionlake.lake.restoring", "captionlake.lake.lake"]
    with Commands(tmp_path, modules, {}) as commands:
        commands.learn("upgrade", "--lake", shutil.copytree(first, tmp_path / "learned"))
        (backup,) = catalog_of(tmp_path / "learned").backups()
        while kills < KILLS:
            lake = shutil.copytree(first, tmp_path / uuid.uuid4().hex)
            if commands.run("upgrade", "--lake", lake, at=commands.moment(chance)):
                continue
            kills += 1
            assert version(lake) in (1, SCHEMA_VERSION)
            with Lake.open(lake) as opened:
                whole(opened)
            assert catalog_of(lake).backups() and not list((lake / "backups").glob("*.draft*"))
        commands.learn("restore", backup, "--lake", tmp_path / "learned")
        for _ in range(KILLS // 2):
            lake = shutil.copytree(first, tmp_path / uuid.uuid4().hex)
            commands.run("upgrade", "--lake", lake)
            (backup,) = catalog_of(lake).backups()
            commands.run("restore", backup, "--lake", lake, at=commands.moment(chance))
            assert version(lake) in (1, SCHEMA_VERSION)
            with Lake.open(lake) as opened:
                whole(opened)


def test_a_full_disk_refuses_and_changes_nothing(disk: Disk, first: Path) -> None:  # noqa: F811
    shutil.copytree(first, disk.outside / "lake")
    disk.fill(free=1100)
    ended = disk.captionlake("upgrade", "--lake", disk.path / "lake")
    assert ended.status == 1, ended.stderr
    assert "no room" in ended.stderr and "nothing was changed" in ended.stderr and ended.stderr.count("\n") == 1
    assert list((disk.outside / "lake" / "backups").iterdir()) == []
    disk.make_room()
    ended = disk.captionlake("upgrade", "--lake", disk.path / "lake")
    assert ended.status == 0, ended.stderr
    assert version(disk.outside / "lake") == SCHEMA_VERSION


def test_a_copy_that_fails_midway_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_copy, "__file__", "/nowhere/there.py")
    with pytest.raises(CaptionlakeError, match=r"could not be upgraded.*could not be copied"):
        Lake.open(old)
    assert version(old) == 1 and list((old / "backups").iterdir()) == []


@pytest.mark.skipif(unshare() is None, reason="no mount namespaces")
def test_a_reader_of_a_lake_that_it_may_not_write_gets_a_word(old: Path) -> None:
    mounted = f'mount --bind "{old}" "{old}" && mount -o remount,ro,bind "{old}" && exec "$@"'
    command = [
        *(unshare() or []),
        "sh",
        "-c",
        mounted,
        "sh",
        sys.executable,
        "-m",
        "captionlake",
        "status",
        "--lake",
        str(old),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "cannot be written" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert version(old) == 1


def test_read_only_sql_names_the_command(old: Path) -> None:
    done = CliRunner().invoke(captionlake, ["sql", "SELECT 1", "--lake", str(old)])
    assert isinstance(done.exception, CaptionlakeError)
    assert f"captionlake upgrade --lake {old}" in str(done.exception)
    assert version(old) == 1


def test_a_backup_whose_files_are_gone_is_refused(old: Path) -> None:
    backup = back_up(old)
    gone = next((old / "data").rglob("*.parquet"))
    gone.rename(old / "away.parquet")
    with pytest.raises(CaptionlakeError, match=r"1 files that are gone, such as .*parquet"):
        restore(old, backup)
    (old / "away.parquet").rename(gone)
    (old / "images" / "shard-000001.parquet").unlink()
    with pytest.raises(CaptionlakeError, match="shard-000001"):
        restore(old, backup)
    with pytest.raises(CaptionlakeError, match=f"no backup nonsense: there are {backup}"):
        restore(old, "nonsense")


@pytest.mark.parametrize("content", [None, b"no database", b"SQLite format 3\x00" + bytes(200)])
def test_a_catalog_that_is_lost_or_broken_comes_back(old: Path, content: bytes | None) -> None:
    backup = back_up(old)
    (old / "catalog.sqlite").unlink()
    (old / "catalog.sqlite-wal").write_bytes(os.urandom(5000))
    if content is not None:
        (old / "catalog.sqlite").write_bytes(content)
    assert restore(old, backup).replaced is None
    with Lake.open(old) as opened:
        whole(opened)


def test_a_takedown_reaches_the_backups(old: Path) -> None:
    with Lake.open(old) as lake:
        image_id = lake.value("SELECT image_id FROM images WHERE source_key = '003'")
        kept = Path(catalog_of(old).backups()[0]).read_bytes()
        take_down(lake, Hashes(image_ids=[image_id]), "asked")
        assert catalog_of(old).backups() == []
        (one,) = tombstones(lake)
        back_up(old)  # of the lake without it
        assert scan(lake, one.hashes).left == []
        (old / "backups" / "catalog-v1-20200101T000000Z.sqlite").write_bytes(kept)  # one brought back by somebody
        assert "a backup from before it" in "".join(scan(lake, one.hashes).left)
        with pytest.raises(CaptionlakeError, match="files that are gone"):
            restore(old, str(old / "backups" / "catalog-v1-20200101T000000Z.sqlite"))


# In PostgreSQL


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.mark.skipif(programs() is None, reason=NOT_INSTALLED)
def test_the_same_in_postgresql(
    server: Server, tmp_path: Path, tiles: Callable[[int], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    old = make_old(tmp_path / "lake", tiles(N), server.database())
    before = sorted(value for where, value in catalog_of(old).dump() if "statistics" not in where)
    with Lake.open(old) as lake:
        whole(lake)
        assert lake.upgraded is not None
        backup = lake.upgraded.backup
        assert catalog_of(old).backups() == [backup]
        assert sorted(value for w, value in catalog_of(old).backup(backup).dump() if "statistics" not in w) == before
    done = restore(old, backup)
    assert done.schema_version == version(old) == 1 and done.replaced in catalog_of(old).backups()
    with Lake.open(old) as lake:
        whole(lake)
        assert catalog_of(old).remove_backups() == 3  # as a takedown does
        assert catalog_of(old).backups() == []
        whole(lake)
