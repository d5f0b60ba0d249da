"""Commands that are killed: a process that has imported what takes long, and forks for each command that it is told to run.

Each child runs the real command line. It is killed (SIGKILL) after a time, or at a place in the code: when the n-th
event that Python's profiler sees there (a call, a return, a call into C) comes by.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import captionlake.lake
from captionlake.lake import Lake

_FORKING = """
import importlib, json, os, signal, sys, time
from collections import Counter
root, names, constants = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
for name in ["captionlake.cli", *names]:
    importlib.import_module(name)
for place, value in constants.items():
    module, _, constant = place.rpartition(".")
    assert hasattr(importlib.import_module(module), constant)
    setattr(sys.modules[module], constant, value)
from captionlake.lake import catalog
catalog._checked.update(map(catalog.extension_path, ("ducklake", "sqlite_scanner")))  # else each fork hashes 70 MB

def run(told):
    output = os.open(told["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1), os.dup2(output, 2)
    seen, place, nth = Counter(), told["place"], told["nth"]
    def look(frame, event, _):
        code = frame.f_code
        if code.co_filename.startswith(root) and ".venv" not in code.co_filename and code.co_flags & 1:
            here = f"{code.co_filename[len(root):]}:{frame.f_lineno}:{event}"
            seen[here] += 1
            if here == place and seen[here] == nth:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.argv = ["captionlake", *told["arguments"]]
    if told["places"] or place:
        sys.setprofile(look)
    status = 0
    try:
        sys.modules["captionlake.cli"].main()
    except SystemExit as end:
        status = end.code or 0
    sys.setprofile(None)
    if told["places"]:
        with open(told["places"], "w") as file:
            json.dump(seen, file)
    os._exit(status)

for line in sys.stdin:
    told = json.loads(line)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        run(told)
    if told["after"] is not None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, told["after"])
    _, status = os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - started]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: after ``seconds``, or at the ``nth`` event at ``place``."""

    seconds: float | None = None
    place: str | None = None
    nth: int = 0


class Commands:
    """Runs commands in forks of a process that has imported ``modules`` and set ``constants`` (full name -> value)."""

    def __init__(self, folder: Path, modules: Sequence[str], constants: dict[str, int]) -> None:
        self._folder = folder
        root = f"{Path(captionlake.lake.__file__).parent.parent}{os.sep}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKING, root, json.dumps(list(modules)), json.dumps(constants)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        )
        self.seconds = 0.0  # that the uninterrupted command took, slowed by being looked at
        self.places: dict[str, int] = {}  # and how many events it had at each place

    def __enter__(self) -> "Commands":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(self, *arguments: object, at: Moment | None = None) -> bool:
        """Whether the command came to its end before it was killed. Any other end fails."""
        at = at or Moment()
        status, _ = self._ask(arguments, at, None)
        assert status in (0, -9), self.said()
        assert status == 0 or at != Moment(), "killed by somebody else"
        return bool(status == 0)

    def learn(self, *arguments: object) -> None:
        """Run the command to its end; learn its time, and the places in the code that it comes by."""
        places = self._folder / "places.json"
        status, seconds = self._ask(arguments, Moment(), places)
        assert status == 0, self.said()
        self.seconds, self.places = seconds, json.loads(places.read_text())

    def moment(self, chance: random.Random) -> Moment:
        """Some time, or some place: places weigh the same however often they are passed."""
        if chance.random() < 0.4:
            return Moment(seconds=chance.uniform(0.0, 0.8 * self.seconds))
        place = chance.choice(sorted(self.places))
        return Moment(place=place, nth=chance.randint(1, self.places[place]))

    def said(self) -> str:
        """What the latest command printed."""
        return (self._folder / "said.txt").read_text()

    def _ask(self, arguments: Sequence[object], at: Moment, places: Path | None) -> tuple[int, float]:
        told: dict[str, Any] = {"arguments": [str(a) for a in arguments], "output": str(self._folder / "said.txt")}
        told |= {"after": at.seconds, "place": at.place, "nth": at.nth, "places": str(places) if places else None}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        status, seconds = json.loads(self._process.stdout.readline())
        return int(status), float(seconds)


IMAGES = 'SELECT * EXCLUDE (ingested_at, shard, "row", "offset") FROM images ORDER BY ALL'
CAPTIONS = "SELECT * EXCLUDE (created_at) FROM captions ORDER BY ALL"
FAILURES = "SELECT * EXCLUDE (failed_at) FROM fetch_failures ORDER BY ALL"
SOURCES = "SELECT * FROM sources ORDER BY ALL"


def same_rows(lake: Path, other: Path, *queries: str) -> None:
    """The queries give the same rows in both lakes, and some."""
    with Lake.open(lake) as left, Lake.open(other) as right:
        for query in queries:
            found = right.rows(query)
            assert left.rows(query) == found, query
            assert found or query == FAILURES, query


def sound(path: Path) -> set[tuple[str, str]]:
    """Look at a lake after a kill: every row's picture reads back and is visible, nothing else is. Returns the keys settled."""
    with Lake.open(path) as lake:
        ids = {image_id for (image_id,) in lake.rows("SELECT image_id FROM images")}
        assert {image_id for image_id, _ in lake.pictures(sorted(ids))} == ids  # each is checked against its hash
        visible, right = lake.rows("SELECT count(*), bool_and(sha256(bytes) = image_id) FROM image_bytes")[0]
        assert visible == len(ids) and right is not False
        for table in ("images", "fetch_failures"):
            assert not lake.rows(f"SELECT source, source_key FROM {table} GROUP BY ALL HAVING count(*) > 1")
        assert not lake.rows(
            "SELECT source, source_key FROM images SEMI JOIN fetch_failures USING (source, source_key)"
        )
        assert not lake.rows("SELECT caption_id FROM captions ANTI JOIN images USING (source, source_key, image_id)")
        assert not lake.rows("SELECT caption_id FROM captions GROUP BY ALL HAVING count(*) > 1")
        return set(
            lake.rows("SELECT source, source_key FROM images UNION SELECT source, source_key FROM fetch_failures")
        )


def nothing_staged(lake: Path) -> bool:
    """Whether staging is empty, as a run that came to its end leaves it."""
    return not list((lake / "staging").iterdir())


def wait_for(condition: Any, seconds: float) -> bool:
    """Whether the condition came true in that time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(condition())
