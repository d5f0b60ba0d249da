"""Decoding threads and processes: the same answers, in order; what is left when a process, or its parent, is killed."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.lake import decoders as module
from captionlake.lake.decoders import Decoders
from captionlake.lake.pictures import PictureError
from captionlake.lake.seen import Seen, look
from captionlake.lake.shared_room import SharedRoom

from ..conftest import jpeg

Tiles = Callable[[int], list[bytes]]
ENGLISH = "A small dog runs over the green meadow with a ball in its mouth"
MIB = 2**20


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoders]:
    """Two processes, whatever the machine has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    made = Decoders()
    made.expect(module.MANY)
    assert len(pids(made)) == 2
    yield made
    left = pids(made)
    made.close()
    assert [pid for pid in left if alive(pid)] == []
    assert [thread for thread in threading.enumerate() if "decode" in thread.name] == []


def pids(decoders: Decoders) -> list[int]:
    return [process._running.pid for process in decoders._processes if process._running is not None]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def shown(answer: list[Seen | PictureError]) -> list[object]:
    return [(one.reason, one.detail) if isinstance(one, PictureError) else one for one in answer]


def test_processes_see_what_threads_see(decoders: Decoders, tiles: Tiles, photographs: dict[str, Image.Image]) -> None:
    pictures = [*tiles(20), jpeg(photographs["coffee"]), b"", b"<html>no</html>", tiles(1)[0][:500]]
    tasks = [[(data, ENGLISH if number % 2 else None)] for number, data in enumerate(pictures)]
    tasks += [[(data, None) for data in pictures], []]
    expected = [[look(data, alt, None) for data, alt in task] for task in tasks]
    threads = Decoders()
    for some in (decoders, threads):
        answers = [future.result() for future in [some.submit(task) for task in tasks]]
        assert [shown(answer) for answer in answers] == [shown(answer) for answer in expected]
    threads.close()
    one = expected[1][0]
    assert isinstance(one, Seen) and one.alt_language == "en"


def test_few_pictures_start_no_process() -> None:
    few = Decoders()
    few.expect(module.MANY - 1)
    assert pids(few) == []
    few.close()


def test_scores_of_processes(monkeypatch: pytest.MonkeyPatch, photographs: dict[str, Image.Image]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    scoring = Decoders(nsfw=True)
    task = [(jpeg(photographs["astronaut"]), None)]
    (by_thread,) = scoring.submit(task).result()
    scoring.expect(module.MANY)
    (by_process,) = scoring.submit(task).result()
    scoring.close()
    assert by_thread == by_process and isinstance(by_process, Seen) and by_process.nsfw_score is not None


def test_the_tasks_of_a_killed_process_are_done_by_a_new_one(decoders: Decoders, tiles: Tiles) -> None:
    task = [(data, None) for data in tiles(20) * 5]
    expected = [look(data, alt, None) for data, alt in task]
    assert decoders.submit(task).result() == expected
    before = pids(decoders)
    waiting = [decoders.submit(task) for _ in range(40)]
    waiting[2].result()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert all(future.result(60) == expected for future in waiting)
    assert all(
        decoders.submit(task).result(60) == expected for _ in range(8)
    )  # by both, should all have been done before
    assert not set(before) & set(pids(decoders))


def test_pictures_that_kill_two_processes_are_an_error(decoders: Decoders, tiles: Tiles) -> None:
    assert len(decoders.submit([(tiles(1)[0], None)]).result()) == 1
    waiting = decoders.submit([(data, None) for data in tiles(20) * 200])
    ended: set[int] = set()
    deadline = time.monotonic() + 60
    while not waiting.done() and time.monotonic() < deadline:
        for process in decoders._processes:
            if process._ready and process._running is not None and process._running.pid not in ended:
                time.sleep(0.2)  # until it is at work
                ended.add(process._running.pid)
                process._running.kill()
        time.sleep(0.01)
    with pytest.raises(CaptionlakeError, match=r"killed .* want of memory: free some and run this again"):
        waiting.result(0)
    assert len(decoders.submit([(tiles(1)[0], None)]).result()) == 1


def test_threads_decode_where_no_process_starts(
    monkeypatch: pytest.MonkeyPatch, tiles: Tiles, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    task = [(tiles(1)[0], None)]
    for executable in ("/bin/false", "/nowhere/python"):
        monkeypatch.setattr(sys, "executable", executable)
        made = Decoders()
        made.expect(module.MANY)
        assert made.submit(task).result() == [look(*task[0], None)]
        made.close()
        assert "threads decode" in caplog.text
        caplog.clear()


SCRIPT = """
import os, sys, time
from captionlake.lake import decoders
os.sched_getaffinity = lambda _: {0, 1}
made = decoders.Decoders()
made.expect(decoders.MANY)
data = open(sys.argv[1], "rb").read()
print(len(made.submit([(data, None)]).result()), *(process._running.pid for process in made._processes), flush=True)
waiting = [made.submit([(data, None)] * 2000) for _ in range(8)]
time.sleep(60)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_their_parent(tmp_path: Path, tiles: Tiles, ending: signal.Signals) -> None:
    """Whose script needs no ``if __name__ == "__main__"``."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "one.jpg").write_bytes(tiles(1)[0])
    told = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "one.jpg")]
    with subprocess.Popen(told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stderr is not None
        done, *workers = map(int, parent.stdout.readline().split())
        assert (done, len(workers)) == (1, 2) and all(map(alive, workers))
        parent.send_signal(ending)
        parent.wait()
        deadline = time.monotonic() + 20
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(map(alive, workers))
        assert parent.stderr.read() == ""


# The room that processes share

HOLDER = """
import sys
from captionlake.lake.shared_room import SharedRoom
with SharedRoom(int(sys.argv[1]), 4 * 2**20).of(int(sys.argv[2])):
    print("in", flush=True)
    sys.stdin.readline()
print("out", flush=True)
"""


class Holder:
    """A process with a picture of so many pixels in a room for four MiPixel."""

    def __init__(self, room: int, pixels: int) -> None:
        told = [sys.executable, "-c", HOLDER, str(room), str(pixels)]
        self.process = subprocess.Popen(
            told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[room], bufsize=1
        )
        assert self.process.stdout is not None and self.process.stdin is not None
        self.said, self.told = self.process.stdout, self.process.stdin

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.said.close()
        self.told.close()


def test_a_larger_picture_waits_until_it_is_alone_even_where_others_are_killed() -> None:
    with tempfile.TemporaryFile() as room:
        small = [Holder(room.fileno(), pixels) for pixels in (1, MIB, MIB + 1)]
        assert [holder.said.readline() for holder in small] == ["in\n"] * 3
        own = SharedRoom(room.fileno(), 4 * MIB)
        entered = threading.Event()

        def enter() -> None:
            with own.of(9 * MIB):
                entered.set()

        large = threading.Thread(target=enter)
        large.start()
        assert not entered.wait(0.3)
        small[0].process.kill()
        assert not entered.wait(0.3)
        small[1].told.write("\n")
        assert small[1].said.readline() == "out\n"
        assert not entered.wait(0.3)
        small[2].told.write("\n")
        assert entered.wait(20)
        large.join()
        again = Holder(room.fileno(), 4 * MIB)
        assert again.said.readline() == "in\n"
        for holder in (*small, again):
            holder.end()
