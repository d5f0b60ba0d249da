"""The limits of a host, held by real threads and processes at once."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from captionlake.lake.fetch_errors import FetchError
from captionlake.lake.guard import FetchPolicy, GuardedOpener
from captionlake.lake.host_limits import HostLimits

from .image_server import ImageServer, jpeg, wait_until


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer() as running:
        yield running


def gatherer(folder: Path, url: str, pictures: int, **policy: Any) -> subprocess.Popen[bytes]:
    """A process with eight threads that fetches so many pictures under the limits of the folder."""
    given = {"allow_private_hosts": True, "robots": False, "tdm_reservation": False, **policy}
    program = f"""
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from captionlake.lake.guard import FetchPolicy, GuardedOpener
        opener = GuardedOpener(FetchPolicy(**{given!r}), limits=Path({str(folder)!r}))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: opener.open({url!r}), range({pictures})))
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.DEVNULL)


def test_slots_hold_across_processes(server: ImageServer, tmp_path: Path) -> None:
    processes = [gatherer(tmp_path, server.url("/slow/0.1"), 15, per_host=3) for _ in range(2)]
    assert [process.wait(30) for process in processes] == [0, 0]
    assert server.requests["/slow/0.1"] == 30
    assert server.peak == 3


def test_a_rate_holds_across_processes(server: ImageServer, tmp_path: Path) -> None:
    began = time.monotonic()
    processes = [gatherer(tmp_path, server.url("/image/1"), 10, per_host_rate=20) for _ in range(2)]
    assert [process.wait(30) for process in processes] == [0, 0]
    assert server.requests["/image/1"] == 20
    assert time.monotonic() - began >= 19 / 20


def test_the_slots_of_a_killed_process_are_free(server: ImageServer, tmp_path: Path) -> None:
    process = gatherer(tmp_path, server.url("/slow/30"), 8, per_host=2)
    assert wait_until(lambda: server.requests["/slow/30"] == 2)
    limits = HostLimits(2, tmp_path)
    taken = threading.Event()

    def take() -> None:
        with limits.slot("127.0.0.1"):
            taken.set()

    waiting = threading.Thread(target=take, daemon=True)
    waiting.start()
    assert not taken.wait(0.3)
    with limits.slot("other.example"):  # another host's slots are its own
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert taken.wait(5)
    waiting.join(5)


def test_a_pause_is_everybodys(server: ImageServer, tmp_path: Path) -> None:
    opener = GuardedOpener(FetchPolicy(allow_private_hosts=True, robots=False, tdm_reservation=False), limits=tmp_path)
    times: list[float] = []

    def fetch(path: str) -> None:
        assert opener.open(server.url(path)).read() in (jpeg(0), jpeg(1))
        times.append(time.monotonic())

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(fetch, "/limited/1")
        assert wait_until(lambda: HostLimits(16, tmp_path).paused("127.0.0.1") > 0)
        began = time.monotonic()
        list(pool.map(fetch, ["/image/1"] * 3))
        first.result()
    assert min(times) - began >= 0.8  # of the one second that the server asked for
    other = gatherer(tmp_path, server.url("/image/1"), 1)
    assert other.wait(30) == 0


def test_a_host_that_wants_a_long_pause_gets_it_from_all_processes(server: ImageServer, tmp_path: Path) -> None:
    policy = FetchPolicy(allow_private_hosts=True, robots=False, tdm_reservation=False)
    with pytest.raises(FetchError, match="rate_limited"):
        GuardedOpener(policy, limits=tmp_path).open(server.url("/patience/9999"))
    with pytest.raises(FetchError, match=r"rate_limited\|127.0.0.1 asks for a pause of \d+ s more"):
        GuardedOpener(policy, limits=tmp_path).open(server.url("/image/1"))
    assert server.requests["/image/1"] == 0


def test_waiting_for_a_turn_takes_nothing_of_a_pictures_time(server: ImageServer) -> None:
    policy = FetchPolicy(
        allow_private_hosts=True, robots=False, tdm_reservation=False, per_host_rate=5, total_timeout=0.5
    )
    opener = GuardedOpener(policy)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda _: opener.open(server.url("/image/1")), range(8)))) == 8


def test_notes_and_slots_of_hosts_are_apart(tmp_path: Path) -> None:
    limits, again = HostLimits(1, tmp_path), HostLimits(1, tmp_path)
    limits.pause("a.example", 50)
    limits.pause("a.example", 10)
    assert 49 < again.paused("a.example") <= 50
    assert again.paused("b.example") == 0
    assert [
        round(limits.turn("a.example", 2)),
        round(again.turn("a.example", 2)),
        round(again.turn("c.example", 2)),
    ] == [*(0, 2, 0)]
    (tmp_path / next(file.name for file in tmp_path.glob("*.pause"))).write_bytes(b"cut")
    assert again.paused("a.example") == 0


def test_many_hosts_leave_no_files(tmp_path: Path) -> None:
    limits = HostLimits(16, tmp_path)
    for number in range(300):
        with limits.slot(f"host-{number}.example"):
            limits.paused(f"host-{number}.example")
    assert [file.name for file in tmp_path.iterdir()] == ["slots"]
    assert (tmp_path / "slots").stat().st_size == 0
    assert limits._hosts == {}
