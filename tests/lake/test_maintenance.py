"""The steps that keep the tables tidy: rows leave for good, releases stay readable, readers and killed writers do no harm."""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from captionlake.lake import Lake, maintenance, sqlite_place
from captionlake.lake.freed import Freed
from captionlake.lake.locking import write_lock

from ..killed import wait_for

CAPTION = (
    "INSERT INTO captions (caption_id, image_id, kind, producer, text, chars, words, created_at) "
    "SELECT ? || i::VARCHAR, 'picture', 'alt', 'source', ?, 1, 1, now() FROM range(?) t(i)"
)


def add(lake: Lake, name: str, text: str, rows: int) -> None:
    lake.commit(lambda connection: connection.execute(CAPTION, [name, text, rows]))


def remove(lake: Lake, caption_id: str) -> None:
    lake.commit(lambda connection: connection.execute("DELETE FROM captions WHERE caption_id = ?", [caption_id]))


def release(lake: Lake, snapshot: int, version: str = "1.0.0") -> None:
    lake.commit(
        lambda connection: connection.execute(
            "INSERT INTO releases VALUES ('made', ?, 'images', ?, '', '', '', 0, NULL, 'valid', now())",
            [version, snapshot],
        )
    )


def texts(lake: Lake, snapshot: int | None = None) -> dict[str, int]:
    at = "" if snapshot is None else f" AT (VERSION => {snapshot:d})"
    return dict(lake.rows(f"SELECT text, count(*) FROM captions{at} GROUP BY ALL"))


def holding(folder: Path, word: bytes) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and word in path.read_bytes()]


@pytest.mark.parametrize("secrets", [["AAAsecret"], ["zzzsecret"], ["AAAsecret", "msecret", "zzzsecret" + "x" * 300]])
def test_rows_leave_every_file_for_good(lake: Lake, secrets: list[str]) -> None:
    add(lake, "a", "begin", 3)
    for rows in (1, 20):  # up to ten rows lie in the catalog
        for number, text in enumerate(secrets):
            add(lake, f"{rows}-{number}-", text, rows)
    add(lake, "b", "other", 20)
    release(lake, lake.snapshot())
    assert holding(lake.path, b"secret")
    lake.commit(lambda connection: connection.execute("DELETE FROM captions WHERE contains(text, 'secret')"))
    maintenance.rewrite(lake, ["captions"])
    clean = lake.snapshot()
    lake.commit(lambda connection: connection.execute("UPDATE releases SET snapshot_id = ?", [clean]))
    assert maintenance.expire(lake) > 0
    assert {snapshot for snapshot, _ in maintenance.snapshots(lake)} == {clean, lake.snapshot()}
    assert maintenance.clean_files(lake).files > 0
    assert maintenance.vacuum_catalog(lake)
    assert holding(lake.path, b"secret") == []
    assert texts(lake) == texts(lake, clean) == {"begin": 3, "other": 20}
    assert lake.value("SELECT count(*) FROM captions WHERE text < 'c'") == 3


def test_what_a_release_pins_stays_readable(lake: Lake) -> None:
    kept: dict[int, dict[str, int]] = {}
    for number in range(6):
        add(lake, f"{number}-", f"text {number}", 3 if number % 2 else 30)
        if number % 3 == 0:
            kept[lake.snapshot()] = texts(lake)
            release(lake, lake.snapshot(), f"1.{number}.0")
        lake.commit(lambda connection: connection.execute("DELETE FROM captions WHERE ends_with(caption_id, '1')"))
    asked = lake.snapshot()
    kept[asked] = texts(lake)
    add(lake, "last-", "last", 1)
    maintenance.rewrite(lake, ["captions", "releases"])
    assert maintenance.pinned(lake) == {*kept, lake.snapshot()} - {asked}
    maintenance.expire(lake, keep=[asked])
    maintenance.clean_files(lake)
    assert {snapshot for snapshot, _ in maintenance.snapshots(lake)} == {*kept, lake.snapshot()}
    assert {snapshot: texts(lake, snapshot) for snapshot in kept} == kept
    assert maintenance.expire(lake, keep=[asked]) == 0


def test_orphans_go_when_they_are_old_enough(lake: Lake) -> None:
    add(lake, "a", "text", 20)
    young, old = (lake.path / "data" / "main" / "captions" / f"ducklake-{name}.parquet" for name in ("young", "old"))
    for path in (young, old):
        path.write_bytes(b"a killed writer's")
    os.utime(old, (0, 0))
    day = timedelta(days=1)
    assert maintenance.remove_orphans(lake, day, dry_run=True) == Freed(1, 17)
    assert old.exists()
    assert maintenance.clean_files(lake, older_than=day) == Freed(1, 17)
    assert (young.exists(), old.exists()) == (True, False)
    assert maintenance.clean_files(lake) == Freed(1, 17)
    assert maintenance.clean_files(lake) == Freed(0, 0)
    assert texts(lake) == {"text": 20}


def test_files_that_were_just_replaced_stay_for_readers(tmp_path: Path) -> None:
    with Lake.init(tmp_path / "lake") as lake:  # without a past
        _replace(lake)


def _replace(lake: Lake) -> None:
    add(lake, "a", "text", 20)
    lake.commit(lambda connection: connection.execute("DELETE FROM captions WHERE caption_id = 'a1'"))
    maintenance.rewrite(lake, ["captions"])
    assert maintenance.waiting(lake).files == 0
    gone = [snapshot for snapshot, _ in maintenance.snapshots(lake) if snapshot not in maintenance.pinned(lake)]
    expected = maintenance.waiting(lake, gone)
    maintenance.expire(lake)
    assert (
        maintenance.waiting(lake) == expected and expected.files == 2
    )  # the file, and the one that marks what is deleted
    for age in (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)):
        assert maintenance.remove_scheduled(lake, age) == Freed()
    lake.connection.execute(
        "UPDATE __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion "
        "SET schedule_start = strftime(now() - INTERVAL 2 DAY, '%Y-%m-%d %H:%M:%S.%f+00')"
    )
    assert maintenance.remove_scheduled(lake, timedelta(days=3)) == Freed()
    assert maintenance.remove_scheduled(lake, timedelta(hours=1), dry_run=True) == expected
    assert maintenance.remove_scheduled(lake, timedelta(hours=1)) == expected
    assert maintenance.waiting(lake) == Freed()


def test_a_kill_between_removal_and_its_note_is_mended(lake: Lake) -> None:
    add(lake, "a", "text", 20)
    before = set((lake.path / "data").rglob("*.parquet"))
    lake.commit(lambda connection: connection.execute("DELETE FROM captions"))
    maintenance.rewrite(lake, ["captions"])
    maintenance.expire(lake)
    for path in before:  # as a killed sweep leaves it
        path.unlink()
    maintenance.clean_files(lake)
    assert lake.value("SELECT count(*) FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion") == 0


@pytest.mark.readers
def test_a_reader_goes_on_beside_it(lake: Lake) -> None:
    for number in range(4):
        add(lake, f"{number}-", "text", 50)
    found: list[int] = []
    failed: list[str] = []
    stop = threading.Event()

    def read() -> None:
        with Lake.open(lake.path) as other:
            while not stop.is_set():
                try:
                    found.append(int(other.value("SELECT count(*) FROM captions WHERE text = 'text'")))
                except duckdb.Error as error:
                    failed.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert wait_for(lambda: found, 60)  # its lake is open
        for number in range(4):
            remove(lake, f"{number}-7")
            maintenance.rewrite(lake, ["captions"])
            maintenance.expire(lake)
            maintenance.clean_files(lake, older_than=timedelta(days=1))  # as a reader may be at the files
            maintenance.vacuum_catalog(lake)
    finally:
        stop.set()
        reader.join()
    assert all(
        "locked" in error for error in failed
    )  # on a busy machine a reader waits in vain at times, and asks again
    assert set(found) <= {200, 199, 198, 197, 196}
    assert maintenance.clean_files(lake).files > 0
    assert texts(lake) == {"text": 196}


@pytest.mark.parametrize(
    "step",
    [
        maintenance.expire,
        lambda lake: maintenance.rewrite(lake, ["captions"]),
        maintenance.clean_files,
        maintenance.vacuum_catalog,
    ],
)
def test_a_writer_is_waited_for(lake: Lake, step: Callable[[Lake], object]) -> None:
    done = threading.Event()

    def work() -> None:
        with Lake.open(lake.path) as other:
            step(other)
        done.set()

    with write_lock(lake.path):
        worker = threading.Thread(target=work)
        worker.start()
        assert not done.wait(0.5)
    worker.join()
    assert done.is_set()


def test_a_reader_that_stays_is_told_of(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_place, "_BUSY_MS", 200)
    with Lake.open(lake.path) as other:
        other.connection.execute("BEGIN")
        other.value("SELECT count(*) FROM captions")
        add(lake, "a", "text", 3)
        assert not maintenance.vacuum_catalog(lake)
        other.connection.execute("COMMIT")
    assert maintenance.vacuum_catalog(lake)
