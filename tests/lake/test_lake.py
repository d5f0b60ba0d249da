"""A lake: made whole or not at all, opened, moved, refused; commits under the lock; sweeping."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake, catalog, sqlite_place
from captionlake.lake.catalog import SCHEMA_VERSION
from captionlake.lake.locking import write_lock
from captionlake.lake.sqlite_place import SqlitePlace


def vectors(*image_ids: str) -> pa.Table:
    return pa.table(
        {
            "image_id": list(image_ids),
            "model_id": ["m"] * len(image_ids),
            "vector": pa.array([[1.0, 0.0]] * len(image_ids), pa.list_(pa.float32())),
        }
    )


def test_init_open_and_append_unique(tmp_path: Path) -> None:
    with Lake.init(tmp_path / "lake") as lake:
        assert lake.append("embeddings", vectors("a", "a", "b"), ["image_id", "model_id"]) == 2
        assert lake.append("embeddings", vectors("b", "c"), ["image_id", "model_id"]) == 1
    with Lake.open(tmp_path / "lake") as lake:
        assert lake.rows("SELECT image_id FROM embeddings ORDER BY 1") == [("a",), ("b",), ("c",)]
        assert lake.sql("SELECT count(*) AS n FROM embeddings").pl()["n"].to_list() == [3]


def test_init_refuses_a_folder_with_a_lake_and_a_file(tmp_path: Path) -> None:
    Lake.init(tmp_path / "lake").close()
    with pytest.raises(CaptionlakeError, match="already holds a lake"):
        Lake.init(tmp_path / "lake")
    (tmp_path / "file").write_text("")
    with pytest.raises(CaptionlakeError, match="choose another folder"):
        Lake.init(tmp_path / "file")


def test_init_refuses_what_is_left_of_a_lake(tmp_path: Path) -> None:
    """Else the next sweep would take all its pictures for those of a killed process."""
    with Lake.init(tmp_path / "lake") as lake:
        lake.append("embeddings", vectors(*(f"i{n}" for n in range(100))), ["image_id", "model_id"])
    (tmp_path / "lake" / "catalog.sqlite").unlink()
    with pytest.raises(CaptionlakeError, match="restore it from a backup"):
        Lake.init(tmp_path / "lake")


def test_one_of_several_inits_at_once_makes_the_lake(tmp_path: Path) -> None:
    script = "import sys; from captionlake.lake import Lake; Lake.init(sys.argv[1])"
    jobs = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "lake")], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    errors = [job.communicate()[1].decode() for job in jobs]
    assert sorted(job.returncode for job in jobs) == [0, 1, 1, 1]
    assert sum("already holds a lake" in error for error in errors) == 3


@pytest.mark.parametrize("name", ["a[1]b", "a*b", "a?b", "a'b\"c", "{a,b}"])
def test_a_lake_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    with Lake.init(tmp_path / name) as lake:
        assert lake.value("SELECT count(*) FROM image_bytes") == 0
    shutil.move(tmp_path / name, tmp_path / f"moved {name}")
    with Lake.open(tmp_path / f"moved {name}") as lake:
        assert lake.value("SELECT count(*) FROM images") == 0


def test_open_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match="captionlake init"):
        Lake.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a database at all", b"SQLite format 3\x00" + bytes(200)])
def test_a_broken_catalog_is_one_line(tmp_path: Path, content: bytes) -> None:
    Lake.init(tmp_path / "lake").close()
    (tmp_path / "lake" / "catalog.sqlite").write_bytes(content)
    with pytest.raises(CaptionlakeError) as caught:
        Lake.open(tmp_path / "lake")
    assert "catalog" in str(caught.value) and "\n" not in str(caught.value)


def test_a_newer_schema_is_refused_with_a_word(tmp_path: Path) -> None:
    with Lake.init(tmp_path / "lake") as lake:
        lake.commit(lambda connection: connection.execute("UPDATE lake_info SET schema_version = schema_version + 1"))
    with pytest.raises(CaptionlakeError, match=f"schema version {SCHEMA_VERSION + 1}.*--upgrade"):
        Lake.open(tmp_path / "lake")


def test_the_catalog_is_in_write_ahead_mode(tmp_path: Path) -> None:
    Lake.init(tmp_path / "lake").close()
    with sqlite3.connect(tmp_path / "lake" / "catalog.sqlite") as catalog:
        assert catalog.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_moved_lake_opens(tmp_path: Path) -> None:
    with Lake.init(tmp_path / "lake") as lake:
        lake.append("embeddings", vectors(*(f"i{n}" for n in range(100))), ["image_id", "model_id"])
    shutil.move(tmp_path / "lake", tmp_path / "else where's")
    with Lake.open(tmp_path / "else where's") as lake:
        assert lake.value("SELECT count(*) FROM embeddings") == 100
        lake.append("embeddings", vectors(*(f"j{n}" for n in range(100))), ["image_id", "model_id"])
    assert not (tmp_path / "lake").exists()
    with Lake.open(tmp_path / "else where's") as lake:
        assert lake.value("SELECT count(*) FROM embeddings") == 200


def test_an_error_in_a_change_leaves_nothing(tmp_path: Path) -> None:
    with Lake.init(tmp_path / "lake") as lake:
        before = lake.snapshot()

        def change(connection: object) -> None:
            lake.connection.execute("INSERT INTO caption_flags VALUES ('c', 'refusal', NULL)")
            raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            lake.commit(change)
        assert lake.value("SELECT count(*) FROM caption_flags") == 0
        assert lake.snapshot() == before


def test_a_lock_held_too_long_is_told(tmp_path: Path) -> None:
    with write_lock(tmp_path), pytest.raises(CaptionlakeError, match="another process has been writing"):  # noqa: SIM117
        with write_lock(tmp_path, wait=0.2):
            pass


ONE_IMAGE = """INSERT INTO images BY NAME SELECT 's' AS source, 'k' AS source_key, 'c' AS collection, 'i' AS image_id, 1 AS width,
1 AS height, 'PNG' AS format, 1 AS orientation, 1 AS n_bytes, 0 AS phash, 'shard-000001.parquet' AS shard, 0 AS "row", 0 AS "offset",
now() AS ingested_at"""

WRITER = """
import sys, pyarrow as pa
from captionlake.lake import Lake
with Lake.open(sys.argv[1]) as lake:
    for n in range(int(sys.argv[3])):
        ids = [f"{sys.argv[2]}-{n}-{k}" for k in range(20)] + [f"shared-{n}"]
        rows = pa.table({"image_id": ids, "model_id": ["m"] * 21, "vector": pa.array([[1.0]] * 21, pa.list_(pa.float32()))})
        lake.append("embeddings", rows, ["image_id", "model_id"])
"""


def test_two_writers_and_two_readers_lose_nothing(tmp_path: Path) -> None:
    Lake.init(tmp_path / "lake").close()
    rounds = 15
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "lake"), name, str(rounds)])
        for name in ("a", "b")
    ]

    def read(_: int) -> list[int]:
        seen = []
        with Lake.open(tmp_path / "lake") as lake:
            while any(writer.poll() is None for writer in writers):
                seen.append(int(lake.value("SELECT count(*) FROM embeddings")))
        return seen

    with ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(read, range(2)))
    assert [writer.wait() for writer in writers] == [0, 0]
    for counts in seen:
        assert counts == sorted(counts)
    with Lake.open(tmp_path / "lake") as lake:
        assert lake.value("SELECT count(*) FROM embeddings") == rounds * (2 * 20 + 1)
        assert lake.value("SELECT count(DISTINCT image_id) FROM embeddings") == rounds * (2 * 20 + 1)


def test_merging_small_files_keeps_rows_and_history(tmp_path: Path) -> None:
    with Lake.init(tmp_path / "lake") as lake:
        for n in range(70):
            lake.append("embeddings", vectors(*(f"{n}-{k}" for k in range(12))), ["image_id", "model_id"])
        at = lake.snapshot() - 35
        before = lake.rows(f"SELECT image_id FROM embeddings AT (VERSION => {at}) ORDER BY 1")
        lake.merge_small_files()
        files = lake.value("SELECT file_count FROM ducklake_table_info('lake') WHERE table_name = 'embeddings'")
        assert files < 5
        assert lake.value("SELECT count(*) FROM embeddings") == 70 * 12
        assert lake.rows(f"SELECT image_id FROM embeddings AT (VERSION => {at}) ORDER BY 1") == before


def test_sweep_removes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    with Lake.init(tmp_path / "lake") as lake:
        with lake.staging("live") as live:
            dead = lake.path / "staging" / "ingest-dead"
            dead.mkdir()
            (dead / "x").write_text("left")
            dead.with_suffix(".lock").touch()
            old = lake.path / "images" / "shard-000007.parquet"
            young = lake.path / "images" / "shard-000008.parquet"
            lake.commit(lambda c: c.execute(ONE_IMAGE))  # a catalog that names no shard at all sweeps none
            for shard in (old, young):
                shard.write_bytes(b"no row names it")
            two_days_ago = time.time() - 2 * 24 * 3600
            os.utime(old, (two_days_ago, two_days_ago))
            lake.sweep()
            assert live.is_dir()
            assert not dead.exists()
            assert not old.exists()
            assert young.exists()
        assert not live.exists()


def test_a_full_disk_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    """A limit on file size stands in for a full disk: the system refuses the write in the same place."""
    Lake.init(tmp_path / "lake").close()
    script = (
        "import resource, signal, sys, os, pyarrow as pa\n"
        "from captionlake.lake import Lake\n"
        "from captionlake.errors import CaptionlakeError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with Lake.open(sys.argv[1]) as lake:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "    ids = [os.urandom(16).hex() for _ in range(20000)]\n"
        "    rows = pa.table({'image_id': ids, 'model_id': ids, 'vector': pa.array([[1.0]] * 20000, pa.list_(pa.float32()))})\n"
        "    try:\n"
        "        lake.append('embeddings', rows, ['image_id'])\n"
        "    except CaptionlakeError as error:\n"
        "        print('told:', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "lake")], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.startswith("told: nothing was written"), done.stderr
    assert done.stdout.count("\n") == 1
    with Lake.open(tmp_path / "lake") as lake:
        assert lake.value("SELECT count(*) FROM embeddings") == 0
        assert lake.append("embeddings", vectors("a"), ["image_id"]) == 1


HOLDER = """
import sqlite3, sys, time
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize(("held", "written"), [(1.5, True), (30.0, False)])
def test_a_busy_catalog_is_tried_again_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: float, written: bool
) -> None:
    """Another program that writes to the SQLite file for a while; the wait for it is cut short so that retries are needed."""
    monkeypatch.setattr(sqlite_place, "_BUSY_MS", 50)
    with Lake.init(tmp_path / "lake") as lake:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(lake.path / "catalog.sqlite"), str(held)], stdout=subprocess.PIPE
        )
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            if written:
                assert lake.append("embeddings", vectors("a"), ["image_id"]) == 1
            else:
                with pytest.raises(CaptionlakeError, match="nothing was written"):
                    lake.append("embeddings", vectors("a"), ["image_id"])
        finally:
            holder.kill()
            holder.communicate()
        assert lake.value("SELECT count(*) FROM embeddings") == written


def test_long_texts_lie_in_small_row_groups(lake: Lake) -> None:
    """A reader holds a row group of each file: of DuckDB's own 122,880 captions, 100 MB."""
    lake.close()
    fill = """INSERT INTO captions BY NAME SELECT i::VARCHAR AS caption_id, 'a' AS image_id, 'teacher' AS kind, 'made' AS producer,
        'text' AS "text", 4 AS chars, 1 AS words, now() AS created_at FROM range(9000) t(i)"""
    with Lake.open(lake.path) as opened:
        opened.commit(lambda c: c.execute(fill))
    (file,) = (lake.path / "data/main/captions").glob("*.parquet")
    metadata = pq.ParquetFile(file).metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [8192, 808]


def test_settings_last_as_long_as_they_are_asked_for(lake: Lake) -> None:
    asked = "SELECT current_setting('memory_limit'), current_setting('disabled_optimizers')"
    before = lake.rows(asked)
    with pytest.raises(ValueError, match="stop"), lake.memory_limit(2**28), lake.joins_as_written():
        assert lake.rows(asked) != before
        assert lake.connection.cursor().execute(asked).fetchall() == lake.rows(
            asked
        )  # readers have a cursor of their own
        raise ValueError("stop")
    assert lake.rows(asked) == before


def test_nothing_unsigned_loads_though_signatures_are_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = tmp_path / "forged.duckdb_extension"
    content = bytearray(catalog.extension_path("ducklake").read_bytes())
    content[4096] ^= 1
    forged.write_bytes(content)
    for _ in range(2):  # a process has the signatures checked for its first connection, and not for its second
        with catalog.connect(SqlitePlace(tmp_path)) as connection:
            with pytest.raises(duckdb.Error, match="allow_unsigned_extensions"):
                connection.execute("SET allow_unsigned_extensions = true")
            with pytest.raises(duckdb.Error, match="signature"):
                connection.execute(f"LOAD {catalog.quote(str(forged))}")
    monkeypatch.setattr(catalog, "extension_path", lambda name: forged)
    with pytest.raises(duckdb.Error, match="signature"):
        catalog.connect(SqlitePlace(tmp_path))
