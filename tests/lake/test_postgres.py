"""A lake whose catalog lies in PostgreSQL: a real server, several processes, kills, restarts, and a password that is nowhere."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake, maintenance, postgres_place
from captionlake.lake.catalog import connect
from captionlake.lake.doctor.examination import examine_lake
from captionlake.lake.doctor.finding import Finding, Level
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.locking import write_lock
from captionlake.lake.place import catalog_of
from captionlake.lake.postgres_place import PostgresPlace
from captionlake.lake.query import run_query
from captionlake.lake.takedown.finding import Request, find
from captionlake.lake.takedown.needles import text_needle
from captionlake.lake.takedown.removal import take_down
from captionlake.lake.takedown.scan import scan

from ..curation.conftest import _save_random_clip
from ..killed import Commands, sound
from .postgres_server import NOT_INSTALLED, PASSWORD, USER, Server, programs

needs_server = pytest.mark.skipif(programs() is None, reason=NOT_INSTALLED)
SMALL_SHARDS = {"captionlake.lake.ingest_job.PICTURES_PER_SHARD": 10}
ONCE = "INSERT INTO runs BY NAME SELECT 'once' AS run_id, 'once' AS step, 0 AS seconds, now() AS created_at"  # run again, it inserts again


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def url(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new database, into which this process and its children are let."""
    for name, value in server.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return server.database()


@pytest.fixture
def shared(url: str, tmp_path: Path) -> Iterator[Lake]:
    with Lake.init(tmp_path / "lake", url) as lake:
        yield lake


# Several processes, and a server that crashes

INGEST = (
    "import captionlake.lake.ingest_job as job; job.PICTURES_PER_SHARD = 10; import captionlake.cli as cli; cli.main()"
)
# DuckDB may be past use once the server was lost in the middle of a query: then the lake is opened again.
NOTING = """
import sys, pathlib, time
from captionlake.lake import Lake
NOTE = "INSERT INTO runs BY NAME SELECT ? AS run_id, 'note' AS step, 0 AS seconds, now() AS created_at"
number = 0
while not pathlib.Path(sys.argv[2]).exists():
    try:
        with Lake.open(sys.argv[1]) as lake:
            lake.connection.execute("SET threads = 1")
            number = lake.value("SELECT count(DISTINCT run_id) FROM runs WHERE step = 'note'")
            while not pathlib.Path(sys.argv[2]).exists():
                lake.commit(lambda c: c.execute(NOTE, [str(number)]).fetchall())
                number += 1
                time.sleep(0.1)
    except Exception as error:
        if not any(text in str(error) for text in ("server", "Postgres", "aborted", "must be restarted", "INTERNAL")):
            raise
        time.sleep(0.2)
print(number)
"""
READING = """
import sys, pathlib, time
from captionlake.lake import Lake
seen, lost, before = 0, 0, 0
while not pathlib.Path(sys.argv[2]).exists():
    try:
        with Lake.open(sys.argv[1]) as lake:
            lake.connection.execute("SET threads = 1")
            while not pathlib.Path(sys.argv[2]).exists():
                ids = [i for (i,) in lake.rows("SELECT DISTINCT image_id FROM images")]
                assert len(ids) >= before
                assert {i for i, _ in lake.pictures(ids)} == set(ids)
                before = len(ids)
                seen += 1
                time.sleep(0.1)
    except Exception as error:
        if not any(text in str(error) for text in ("server", "Postgres", "aborted", "must be restarted", "INTERNAL")):
            raise
        lost += 1
        time.sleep(0.2)
print(seen, lost)
"""
EMBEDDING = """
import sys, pathlib, time
from captionlake.curation import embedding
from captionlake.lake import Lake
embedding.COMMIT_EVERY = 5
config = embedding.EmbedConfig(model="random-weights-vit", pretrained=sys.argv[3], device="cpu", precision="fp32", threads=1)
last = False
while not last:
    last = pathlib.Path(sys.argv[2]).exists()
    try:
        with Lake.open(sys.argv[1]) as lake:
            embedding.embed(lake, config)
    except Exception as error:
        if not any(text in str(error) for text in ("server", "Postgres", "aborted", "must be restarted", "INTERNAL")):
            raise
        last = False
    time.sleep(0.2)
"""


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def started() -> Iterator[Start]:
    """``started(code, *arguments)``: a process of Python's, ended with the test at the latest."""
    processes: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", code, *map(str, arguments)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@needs_server
def test_writers_and_readers_of_one_lake_while_the_server_crashes(
    server: Server,
    url: str,
    tmp_path: Path,
    tile_folder: Callable[[int], Path],
    started: Start,
) -> None:
    """Three processes ingest, one embeds, one notes, two read."""
    pictures, stop, path = tile_folder(40), tmp_path / "stop", tmp_path / "lake"
    other = shutil.copytree(pictures, tmp_path / "other" / "second")
    Lake.init(path, url).close()
    lists = [(pictures, "--collection", "one"), (pictures, "--collection", "one"), (other, "--collection", "two")]
    said: list[str] = []

    def work(folder: Path, *options: str) -> "subprocess.Popen[str]":
        return started(INGEST, "--debug", "ingest", "folder", folder, *options, "--lake", path)

    around = [started(NOTING, path, stop), *(started(READING, path, stop) for _ in range(2))]
    around.append(started(EMBEDDING, path, stop, _save_random_clip(tmp_path / "clip", 0, 32)))
    workers = [work(*told) for told in lists]
    deadline = time.monotonic() + 60
    while (
        time.monotonic() < deadline and len(list((path / "images").iterdir())) < 3
    ):  # two shards are there, many are not
        time.sleep(0.02)
    server.restart()
    for _ in range(3):
        ended = [worker.communicate(timeout=120)[0] for worker in workers]
        said += ended
        failed = [told for told, worker in zip(lists, workers, strict=True) if worker.returncode]
        for text, worker in zip(ended, workers, strict=True):
            assert worker.returncode == 0 or any(
                why in text for why in ("server", "aborted", "must be restarted", "INTERNAL")
            ), text
        if not failed:
            break
        workers, lists = [work(*told) for told in failed], failed
    assert not failed, said
    stop.touch()
    ends = [process.communicate(timeout=120)[0] for process in around]
    assert [process.returncode for process in around] == [0, 0, 0, 0], ends
    noted = int(ends[0].splitlines()[-1])
    assert noted > 0 and all(int(end.split()[-2]) > 0 for end in ends[1:3])

    settled = sound(path)
    with Lake.open(path) as lake:
        assert lake.rows("SELECT collection, count(*) FROM images GROUP BY 1 ORDER BY 1") == [("one", 40), ("two", 40)]
        assert lake.value("SELECT count(DISTINCT image_id) FROM images") == 40  # the same bytes lie once
        assert lake.rows("SELECT count(*), count(DISTINCT run_id) FROM runs WHERE step = 'note'") == [(noted, noted)]
        embedded = "SELECT count(*), count(DISTINCT image_id) FROM embeddings JOIN (SELECT DISTINCT image_id FROM images) USING (image_id)"
        assert lake.rows(embedded) == [(40, 40)]
    assert len(settled) == 80
    _nowhere(path, "\n".join([*said, *ends]))
    assert (server.folder / "log").read_text().count("was not properly shut down") == 1  # it did crash


def _nowhere(lake: Path, said: str) -> None:
    """The password, and the user's name, in no file of the lake, no row of its catalog and nothing that was printed."""
    for secret in (PASSWORD, USER):
        assert secret not in said
        for path in lake.rglob("*"):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path
        assert not [where for where, value in catalog_of(lake).dump() if secret.encode() in value]


@needs_server
def test_a_writer_that_is_killed(url: str, tmp_path: Path, tile_folder: Callable[[int], Path]) -> None:
    chance = random.Random(5)
    folder, path = tile_folder(20), tmp_path / "lake"
    with Commands(tmp_path, ["captionlake.lake.ingest_job", "psycopg"], SMALL_SHARDS) as commands:
        commands.run("init", tmp_path / "whole", "--catalog", url)
        commands.learn("ingest", "folder", folder, "--lake", tmp_path / "whole")
        commands.run("init", path, "--catalog", url)  # a second lake in the same database
        settled: set[tuple[str, str]] = set()
        for _ in range(3):
            commands.run("ingest", "folder", folder, "--lake", path, at=commands.moment(chance))
            now = sound(path)
            assert now >= settled
            settled = now
        assert commands.run("ingest", "folder", folder, "--lake", path)
        assert len(sound(path)) == len(sound(tmp_path / "whole")) == 20


# The lock and the commit


@needs_server
def test_the_write_lock_is_the_servers(shared: Lake, started: Start) -> None:
    holder = started(
        "import sys, time\nfrom pathlib import Path\nfrom captionlake.lake.locking import write_lock\n"
        "with write_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)",
        shared.path,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(CaptionlakeError, match="another process has been writing"), write_lock(shared.path, wait=0.2):
        pass
    holder.kill()
    holder.communicate()
    with write_lock(shared.path, wait=20.0):
        pass
    assert not (shared.path / "lake.lock").exists() or (shared.path / "lake.lock").stat().st_size == 0


@needs_server
def test_a_commit_whose_lock_was_lost_is_made_once(server: Server, shared: Lake) -> None:
    attempts = []

    def change(connection: duckdb.DuckDBPyConnection) -> int:
        attempts.append(1)
        connection.execute(ONCE)
        if len(attempts) == 1:
            with server.connect() as admin:  # as when the server closes the connection that holds the lock
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        return len(attempts)

    assert shared.commit(change) == 2
    assert shared.value("SELECT count(*) FROM runs WHERE step = 'once'") == 1


class Unanswered:
    """A connection whose first COMMIT is done, and whose answer is lost on the way."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, after: bool) -> None:
        self.real, self.after, self.lost = connection, after, False

    def execute(self, query: str, *rest: object) -> duckdb.DuckDBPyConnection:
        if query == "COMMIT" and not self.lost and query != "BEGIN":
            self.lost = True
            if self.after:
                self.real.execute(query)
            raise duckdb.TransactionException("Failed to commit: server closed the connection unexpectedly")
        return self.real.execute(query, *rest)

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


@needs_server
@pytest.mark.parametrize("after", [False, True])
def test_a_commit_without_an_answer_is_looked_up(shared: Lake, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    monkeypatch.setattr(shared, "connection", Unanswered(shared.connection, after))
    made: list[int] = []

    def change(connection: duckdb.DuckDBPyConnection) -> int:
        connection.execute(ONCE)
        made.append(1)
        return len(made)

    assert shared.commit(change) == (1 if after else 2)
    assert shared.value("SELECT count(*) FROM runs WHERE step = 'once'") == 1


@needs_server
def test_a_server_that_stays_away_is_one_line(shared: Lake, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr("captionlake.lake.lake._ATTEMPTS_LOST", 2)
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    with pytest.raises(CaptionlakeError, match=r"nothing was written to .* does not answer") as told:
        shared.append("runs", pa.table({"step": ["x"], "run_id": ["x"]}), ["run_id"])
    assert "\n" not in str(told.value) and USER not in str(told.value)


# Reading, tidying, taking down


@needs_server
def test_read_only_sql_in_its_child(shared: Lake, tile_folder: Callable[[int], Path]) -> None:
    ingest(shared, IngestConfig(source="folder", inputs=[str(tile_folder(12))]))
    assert run_query(shared.path, "SELECT count(*) n FROM image_bytes").to_pylist() == [{"n": 12}]
    assert run_query(shared.path, "SELECT count(*) n FROM images", at=1).to_pylist() == [{"n": 0}]
    for query in (
        "SELECT * FROM postgres_query('__ducklake_metadata_lake', 'SELECT 1')",
        "SELECT * FROM __ducklake_metadata_lake.ducklake_table",
        "SELECT * FROM postgres_scan('host=127.0.0.1', 'public', 't')",
        "SELECT getenv('PGUSER')",
        "SELECT * FROM duckdb_databases()",
    ):
        with pytest.raises(CaptionlakeError, match=r"not allowed|no table"):
            run_query(shared.path, query)


@needs_server
def test_a_role_that_may_read_alone(
    server: Server, shared: Lake, url: str, monkeypatch: pytest.MonkeyPatch, tile_folder: Callable[[int], Path]
) -> None:
    ingest(shared, IngestConfig(source="folder", inputs=[str(tile_folder(2))]))
    place = catalog_of(shared.path)
    assert isinstance(place, PostgresPlace)
    with server.connect(url.rpartition("/")[2]) as admin:
        admin.execute("CREATE ROLE viewer LOGIN PASSWORD 'of-the-viewer'")
        admin.execute(f"GRANT USAGE ON SCHEMA {place.schema} TO viewer")
        admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {place.schema} TO viewer")
    monkeypatch.setenv("PGUSER", "viewer")
    monkeypatch.setenv("PGPASSWORD", "of-the-viewer")
    with Lake.open(shared.path) as lake:
        assert lake.value("SELECT count(*) FROM image_bytes") == 2
        with pytest.raises(CaptionlakeError, match="ask its owner for the rights"):
            lake.commit(lambda connection: connection.execute(ONCE))
        assert lake.value("SELECT count(*) FROM runs WHERE run_id = 'once'") == 0


@needs_server
def test_a_takedown_leaves_nothing_in_the_servers_files(
    server: Server, shared: Lake, tile_folder: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tile_folder(4)
    gone = sorted(folder.iterdir())[0].rename(folder / "zebra-seven-taken-down.jpg")
    ingest(shared, IngestConfig(source="folder", inputs=[str(folder)]))
    place = catalog_of(shared.path)
    assert isinstance(place, PostgresPlace)
    needle = text_needle(gone.name)

    def holding() -> list[str]:
        """Files of the database, its log of changes apart, that have the name in them."""
        with server.connect() as admin:
            admin.execute("CHECKPOINT")
        files = [path for path in (server.data / "base").rglob("*") if path.is_file()]
        return [str(path) for path in files if gone.name.encode() in path.read_bytes()]

    with place.connect() as connection:
        connection.execute("ANALYZE")  # so that the server has samples of the values as well
    assert holding()
    found = find(shared, Request(keys=[("folder", gone.name)]))
    with place.connect() as reader, reader.transaction():
        monkeypatch.setattr(postgres_place, "_PACK_SECONDS", 0.3)
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        assert not maintenance.vacuum_catalog(shared)  # it may still need what was deleted
    done = take_down(shared, found.hashes, "asked for")
    assert done.touched["catalog_packed"] and "write-ahead log" in done.touched["catalog_keeps"]
    looked = scan(shared, done.hashes, [needle])
    assert not looked.left and looked.values > 100
    assert not holding()
    assert sorted(key for (key,) in shared.rows("SELECT source_key FROM images")) == sorted(
        path.name for path in folder.glob("*.jpg") if path != gone
    )


# Where the catalog is named


@needs_server
def test_what_a_folder_says_of_its_catalog(shared: Lake, url: str) -> None:
    place = catalog_of(shared.path)
    assert isinstance(place, PostgresPlace)
    assert set(place.where) == {"host", "port", "dbname"}
    with pytest.raises(CaptionlakeError, match="already holds a lake"):
        Lake.init(shared.path, url)
    (shared.path / "catalog.json").write_text('{"catalog": "postgres", "schema": "x; DROP", "where": {}}')
    with pytest.raises(CaptionlakeError, match="does not name a catalog"):
        Lake.open(shared.path)


@needs_server
def test_a_wrong_password_makes_no_lake_and_is_not_shown(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong-but-secret")
    found = CliRunner().invoke(captionlake, ["--debug", "init", str(tmp_path / "lake"), "--catalog", url])
    told = f"{found.output} {found.exception}"
    assert isinstance(found.exception, CaptionlakeError) and "password authentication failed" in told
    assert "wrong-but-secret" not in told and USER not in told
    assert not Lake.exists(tmp_path / "lake")


@needs_server
def test_a_stored_secret_of_duckdbs_is_not_taken(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB would put it into its errors."""
    monkeypatch.setenv("HOME", str(tmp_path))
    Lake.init(tmp_path / "lake", url).close()
    place = catalog_of(tmp_path / "lake")
    with connect(place) as connection:
        assert connection.execute("SELECT count(*) FROM duckdb_secrets()").fetchone() == (0,)
        with pytest.raises(duckdb.Error):
            connection.execute("CREATE PERSISTENT SECRET s (TYPE postgres, PASSWORD 'kept')")


@given(password=st.text(min_size=1).map("Zq7{}".format), host=st.sampled_from(["h", "h:5432", "[::1]:5", "h:x", ""]))
def test_a_url_with_a_password_is_refused_and_not_shown(password: str, host: str) -> None:
    for url in (
        f"postgres://u:{quote(password, safe='')}@{host}/db",
        f"postgres://{host}/db?password={quote(password, safe='')}",
        f"postgres://u:{password}@{host}/db",
        f"postgres:password={password}",
        f"postgres:///{quote(f'host=h password={password}', safe='')}",
    ):
        with pytest.raises(CaptionlakeError) as told:
            PostgresPlace.new(Path("lake"), url)
        assert "Zq7" not in str(told.value)
        assert told.value.__cause__ is None


@needs_server
def test_the_doctor_looks_at_it(shared: Lake) -> None:
    """The same checks as of a catalog in SQLite, the holder of the lock by the server's word; the password is in none of it."""

    def found() -> list[Finding]:
        every = list(examine_lake(shared.path))
        assert len(every) >= 12 and PASSWORD not in str(every) and USER not in str(every)
        return [one for one in every if one.level != Level.OK]

    assert found() == []
    with write_lock(shared.path):
        (one,) = found()
        assert (one.level, one.check) == ("note", "write lock") and "server's process" in one.what
    assert found() == []
