"""Limits of each host that hold across threads and processes: slots, a rate, and pauses.

The processes share a folder, without any daemon. A slot is a lock on one byte of the file ``slots``, far behind its end:
which byte follows from the host's name, so any number of hosts takes no space, and the operating system takes back the
slots of a process that is killed. A pause and the next turn of a host are eight bytes each in a file of the host's own, a
time on the machine's monotonic clock, which its processes share.

What is not solved here: img2dataset's threads take the pictures in the order of the list. Where many of one slow or
paused host stand together, the threads wait there, and pictures of other hosts wait behind them. A shuffled list helps.
"""

import fcntl
import hashlib
import os
import random
import shutil
import struct
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SLOTS_OF_A_HOST = 12  # bits: 4096 bytes of the file of slots belong to a host
_POLL = (0.002, 0.02)  # seconds between two looks for a free slot
_TIME = struct.Struct("<d")


class _Host:
    """A host in use by this process."""

    def __init__(self, per_host: int) -> None:
        self.users = 0
        self.threads = threading.Semaphore(per_host)
        self.looking = threading.Lock()  # one thread at a time asks the operating system for a slot
        self.held: set[int] = set()  # slots that this process holds: its own locks do not exclude its other threads


class HostLimits:
    """``folder`` is shared by the processes that keep the limits together; without one this process keeps them alone.

    One for a folder in each process: the locks belong to the process, and the end of a second one would let go of them.
    """

    def __init__(self, per_host: int, folder: Path | None = None) -> None:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="captionlake-limits-"))
            weakref.finalize(self, shutil.rmtree, folder, True)
        self._folder = folder
        self._per_host = per_host
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}
        # One descriptor for the process's life: closing any would give back every lock that the process has on the file.
        self._slots = os.open(folder / "slots", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        weakref.finalize(self, os.close, self._slots)
        self._start = os.getpid()  # processes look for a free slot from different ends

    @contextmanager
    def slot(self, host: str) -> Iterator[None]:
        """Hold one of the host's slots, waiting for it as long as it takes."""
        with self._lock:
            entry = self._hosts.setdefault(host, _Host(self._per_host))
            entry.users += 1
        try:
            with entry.threads:
                first = int.from_bytes(_digest(host)[:6]) << _SLOTS_OF_A_HOST
                number = self._take(entry, first)
                try:
                    yield
                finally:
                    fcntl.lockf(self._slots, fcntl.LOCK_UN, 1, first + number)
                    entry.held.discard(number)
        finally:
            with self._lock:
                entry.users -= 1
                if not entry.users:
                    del self._hosts[host]

    def _take(self, entry: _Host, first: int) -> int:
        with entry.looking:
            while True:
                for i in range(self._per_host):
                    number = (self._start + i) % self._per_host
                    if number in entry.held:
                        continue
                    try:
                        fcntl.lockf(self._slots, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, first + number)
                    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it
                        continue
                    entry.held.add(number)
                    return number
                time.sleep(random.uniform(*_POLL))

    def pause(self, host: str, seconds: float) -> None:
        """Nobody asks the host for so long; a pause that ends later stays."""
        until = time.monotonic() + seconds
        with self._note(host, "pause") as descriptor:
            if until > _read(descriptor):
                os.pwrite(descriptor, _TIME.pack(until), 0)

    def paused(self, host: str) -> float:
        """Seconds that the host's pause has still to run, 0 where there is none."""
        try:
            descriptor = os.open(self._path(host, "pause"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0.0
        try:
            return max(0.0, _read(descriptor) - time.monotonic())
        finally:
            os.close(descriptor)

    def turn(self, host: str, interval: float) -> float:
        """Take the host's next turn, ``interval`` seconds after the last one; returns the seconds to wait for it."""
        with self._note(host, "turn") as descriptor:
            now = time.monotonic()
            start = max(now, _read(descriptor))
            os.pwrite(descriptor, _TIME.pack(start + interval), 0)
            return start - now

    def _path(self, host: str, kind: str) -> str:
        return f"{self._folder}/{_digest(host).hex()}.{kind}"

    @contextmanager
    def _note(self, host: str, kind: str) -> Iterator[int]:
        """The host's file of that kind, this thread's alone. A new descriptor each time: flock binds to descriptors."""
        descriptor = os.open(self._path(host, kind), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _digest(host: str) -> bytes:
    return hashlib.blake2b(host.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _read(descriptor: int) -> float:
    found = os.pread(descriptor, _TIME.size, 0)
    return float(_TIME.unpack(found)[0]) if len(found) == _TIME.size else 0.0
