"""Killed at any moment and run again: every caption is there once, and at most what was on its way is asked for again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captionlake.lake import Lake
from captionlake.models.teacher import TeacherConfig, caption
from captionlake.models.teacher.spool import Spool, commit_files, read_spool, spool_files

from .conftest import Photographed
from .teacher_server import TeacherServer

Teacher = Callable[..., TeacherConfig]
KILLS = 6
IN_FLIGHT = 12
RUN = """
import json, sys, time
from captionlake.lake import Lake
from captionlake.models.captions import rows_to_caption
from captionlake.models.teacher import TeacherConfig, caption
import captionlake.models.teacher.asking as asking
told = json.loads(sys.argv[1])
asking.COMMIT_ROWS, asking._COMMIT_PAUSE = 40, 0.1  # so that a kill finds commits as well as spools
with Lake.open(told["lake"]) as lake:
    run = caption(lake, rows_to_caption(lake), TeacherConfig(**told["config"]), "sharegpt4v")
print(run.captioned, run.present)
"""


def start(lake: Path, **config: Any) -> "subprocess.Popen[str]":
    told = {"lake": str(lake), "config": {"model": "test-model", "max_concurrency": IN_FLIGHT, **config}}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(told)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_requests(server: TeacherServer, count: int, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 60
    while len(server.seen) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)


def check(lake: Lake, count: int) -> None:
    assert lake.rows("SELECT count(*), count(DISTINCT caption_id), count(DISTINCT image_id) FROM captions") == [
        (count, count, count)
    ]
    assert not list((lake.path / "spool").glob("*.jsonl"))


def test_killed_at_random_moments(lake: Lake, photographed: Photographed) -> None:
    chance = random.Random(20240517)
    rows = photographed(400)
    kills = 0
    with TeacherServer(latency=0.02) as server:
        for _ in range(KILLS):
            process = start(lake.path, base_url=server.url)
            wait_for_requests(server, len(server.seen) + chance.randrange(1, 70), process)
            time.sleep(chance.uniform(0, 0.05))
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.communicate()
        process = start(lake.path, base_url=server.url)
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert kills == KILLS
        assert sum(map(int, said.split())) == rows.num_rows
        repeated = sum(server.asked().values()) - rows.num_rows
        assert 0 <= repeated <= kills * IN_FLIGHT
        assert len(server.asked()) == rows.num_rows
    check(lake, rows.num_rows)


def test_ctrl_c_waits_for_what_is_paid(lake: Lake, photographed: Photographed) -> None:
    rows = photographed(300)
    with TeacherServer(latency=0.3) as server:
        process = start(lake.path, base_url=server.url)
        wait_for_requests(server, 30, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode != 0 and "KeyboardInterrupt" in errors
        assert lake.value("SELECT count(*) FROM captions") == len(server.seen) < 300
        process = start(lake.path, base_url=server.url)
        process.communicate(timeout=120)
        assert process.returncode == 0 and set(server.asked().values()) == {1}
    check(lake, rows.num_rows)


def test_a_second_ctrl_c_waits_for_nothing(lake: Lake, photographed: Photographed) -> None:
    photographed(20)
    with TeacherServer(latency=30.0) as server:
        process = start(lake.path, base_url=server.url)
        wait_for_requests(server, 5, process)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode != 0 and time.monotonic() - started < 15


def test_a_killed_batch_run_submits_once(lake: Lake, photographed: Photographed) -> None:
    rows = photographed(30)
    chance = random.Random(7)
    config: dict[str, Any] = {"mode": "batch", "batch_poll_s": 0.05}
    with TeacherServer(batch_seconds=0.3) as server:
        for _ in range(4):
            process = start(lake.path, base_url=server.url, **config)
            end = time.monotonic() + 20
            while not server.calls and process.poll() is None and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        process = start(lake.path, base_url=server.url, **config)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert len(server.batches) == 1
    check(lake, rows.num_rows)


def test_a_torn_last_line_is_left_out(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    import asyncio

    rows = photographed(3)
    folder = lake.path / "spool"

    async def write(count: int) -> None:
        spool = Spool(folder, "openai:test-model")
        spool.start()
        await asyncio.gather(*(spool.append(line(number)) for number in range(count)))
        spool.close()

    def line(number: int) -> dict[str, Any]:
        image_id = rows.column("image_id")[number].as_py()
        return {
            "caption_id": f"id{number}",
            "image_id": image_id,
            "producer": "p",
            "text": "é\n",
            "params": "{}",
            "created_at": 1.0,
        }

    asyncio.run(write(2))
    asyncio.run(write(3))
    first, second = spool_files(folder, "openai:test-model")
    whole = first.read_bytes()
    for cut in range(len(whole)):
        first.write_bytes(whole[:cut])
        assert len(list(read_spool(first))) == whole[:cut].count(b"\n")
    first.write_bytes(whole[:-3])
    assert commit_files(lake, [first, second]) == 3  # each key once, though two files have it
    assert not first.exists() and not second.exists()
    assert lake.rows("SELECT DISTINCT text, chars FROM captions") == [("é\n", 2)]
    assert commit_files(lake, []) == 0


def test_replies_of_one_moment_share_a_sync(tmp_path: Path) -> None:
    import asyncio

    async def write() -> int:
        spool = Spool(tmp_path, "p")
        spool.start()
        await asyncio.gather(*(spool.append({"caption_id": str(number)}) for number in range(500)))
        spool.close()
        return spool.syncs

    assert asyncio.run(write()) < 250
    (path,) = spool_files(tmp_path, "p")
    assert [line["caption_id"] for line in read_spool(path)] == [str(number) for number in range(500)]
    assert path.stat().st_mode & 0o077 == 0


def test_a_reply_is_on_the_disk_before_its_slot_is_free(
    lake: Lake, photographed: Photographed, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one slot, each further request finds all replies before it synced."""
    rows = photographed(8)
    synced = [0]
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        time.sleep(0.02)
        fsync(descriptor)
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".jsonl":
            synced[0] += 1

    monkeypatch.setattr("captionlake.models.teacher.spool.os.fsync", counted)
    found: list[int] = []
    with TeacherServer(fault=lambda number, _: found.append(synced[0]) or None) as server:  # type: ignore[func-returns-value]
        caption(lake, rows, teacher(server.url, max_concurrency=1), "sharegpt4v")
    assert found == list(range(8))
