"""Real ``captionlake`` processes, and what is done to them: killed, stopped, their clock shifted, their disk full, their lock held."""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "CAPTIONLAKE_SOAK_MARK"
TIMEOUT = 400.0  # a writer waits for another one for up to five minutes
_FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
HOLD = """
import fcntl, sys, time
with open(sys.argv[1] + "/lake.lock", "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    time.sleep(float(sys.argv[2]))
"""


@dataclass(eq=False)
class Job:
    """A command of ``kind``; ``listed``: rows that the lake accounts for once it has ended well."""

    kind: str
    arguments: list[str]
    listed: list[tuple[str, str]] = field(default_factory=list)
    clock: str | None = None  # such as +3d
    file_size: int | None = None  # a limit for each file, in bytes
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    killed: bool = False

    def start(self, folder: Path) -> None:
        """As a process in a session of its own; what it says lies in ``folder``."""
        environment = os.environ | {MARK: self.mark, "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": "of-nobody"}
        if self.clock is not None and _FAKETIME:
            environment |= {"LD_PRELOAD": str(_FAKETIME[0]), "FAKETIME": self.clock, "DONT_FAKE_MONOTONIC": "1"}
            environment |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.said = folder / f"{self.kind.replace(' ', '-')}-{self.mark[:8]}.txt"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "captionlake", *self.arguments],
                env=environment,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                preexec_fn=self._limit if self.file_size is not None else None,
            )
        self.started = time.monotonic()

    def _limit(self) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        assert self.file_size is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_size, self.file_size))

    def kill(self) -> None:
        """SIGKILL for the process alone: those that it started have to notice."""
        if self.process.poll() is None:
            self.killed = True
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def wait(self) -> str:
        """How it ended: done, killed, refused, or what is no way to end: crashed, or never."""
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            return "never ended"
        self.ended = time.monotonic()
        status, said = self.process.returncode, self.said.read_text(errors="replace")
        if self.killed:
            return "killed"
        if status == 0:
            return "done"
        told = [line for line in said.splitlines() if line.startswith("error: ")]
        return "refused" if status == 1 and told and "Traceback" not in said else "crashed"

    def why(self) -> str:
        """The refusal in short, without what differs from one to the next."""
        lines = [line for line in self.said.read_text(errors="replace").splitlines() if line.startswith("error: ")]
        text = lines[-1].removeprefix("error: ") if lines else ""
        return re.sub(r"/\S+|[0-9a-f]{8,}|\d+", "…", text)[:110]


def descendants(mark: str) -> list[psutil.Process]:
    """What is left of a job."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for_quiet(jobs: list[Job], seconds: float = 30.0) -> list[str]:
    """Wait until nothing of the jobs is left. Returns what still is, which is ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = [one for job in jobs for one in descendants(job.mark)]
        if not left:
            return []
        time.sleep(0.1)
    names = [" ".join(one.cmdline())[:120] for one in left]
    for one in left:
        one.kill()
    return names


class Disk:
    """The lake's disk: a tmpfs of this process's own namespace, or none, where a limit on the size of files stands in for it."""

    def __init__(self, folder: Path, *, mounted: bool, mib: int = 600) -> None:
        self.folder, self.mounted = folder, mounted
        folder.mkdir(parents=True, exist_ok=True)
        if mounted:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)], check=True)

    def fill(self, free: int) -> None:
        """Leave so many bytes."""
        left = os.statvfs(self.folder)
        size = max(0, left.f_bavail * left.f_frsize - free)
        with (self.folder / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, size))

    def make_room(self) -> None:
        """Remove what fills it."""
        (self.folder / "filler").unlink(missing_ok=True)


def hold_lock(lake: Path, seconds: float) -> "subprocess.Popen[bytes]":
    """A process of somebody else's that has the write lock for a while."""
    return subprocess.Popen([sys.executable, "-I", "-c", HOLD, str(lake), str(seconds)])


def disturbances(chance: random.Random, *, full: bool, clocks: bool) -> Iterator[str]:
    """One a round, for ever; kills most."""
    kinds = ["nothing", "kill", "kill", "kill", "stop", "lock", "full disk"]
    kinds += ["clock"] if clocks and _FAKETIME else []
    while True:
        kind = chance.choice(kinds)
        if full or kind != "full disk":
            yield kind
